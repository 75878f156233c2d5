"""Every option of a dub, once, with its default and unit. Command line and Python build the same `DubConfig`.

One section per stage; a section belongs to the stage of that name. Seconds end in `_s`, pixels in `_px`; lengths
without a unit are in eye distances (the face frame)."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from lipsync.config.choices import Backend, LengthPolicy, LipNetwork
from media.container import InputLimits

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_LIMITS = InputLimits()


def option(default: Any, about: str = "", ge: float | None = None, le: float | None = None) -> Any:
    """A field with its description, which `lipsync config` prints, and perhaps ge= and le=."""
    return Field(default, description=about or None, ge=ge, le=le)


@dataclass(config=_STRICT, frozen=True, slots=True)
class FaceConfig:
    """Finding and following one face (lipsync/face)."""

    backend: Backend = "mediapipe"
    dlib_predictor: str = option("", "path of a 68-point predictor file; empty = that of face_recognition_models")
    index: int = option(-1, "which face, 0 = leftmost where faces are first seen; -1 = the largest and most often seen")
    at: tuple[float, float] | None = option(None, "or: the face nearest this pixel position when first seen")
    max_yaw_deg: float = 40.0
    max_pitch_deg: float = 35.0
    min_eye_distance_px: float = 20.0
    smooth_s: float = option(0.06, "half width of the pose filter")


@dataclass(config=_STRICT, frozen=True, slots=True)
class AnalysisConfig:
    """Collecting the target's mouths (lipsync/target/analyse.py)."""

    crop_scale: float = option(1.25, "crop pixels per video pixel: above 1, so that resampling twice loses nothing")
    max_mouths: int = option(8000, "at most this many mouths are kept, the most different ones")
    max_bank_gib: float = option(2.0, "and at most this much disk")


@dataclass(config=_STRICT, frozen=True, slots=True)
class LipsConfig:
    """Speech to lips (lipsync/speech/lip_model.py) and closing the mouth in silence (lipsync/core/lips.py)."""

    model: str = option("", "path of a trained model; empty = train on the target's own speech")
    network: LipNetwork = option(
        "bidirectional",
        'uses the whole speech; "causal": 0.09 s ahead; "paper": 60 units, 28 numbers, 0.2 s late',
    )
    prior: str = option(
        "bundled", 'what learning starts from: "bundled", "none", or the path of a model; for network "bidirectional"'
    )
    members: int = option(0, 'networks averaged; 0 = 3 of "bidirectional", 1 of the others')
    steps: int = option(0, "training steps of each; 0 = 600 to 1200 by the amount of speech")
    pause_s: float = option(0.3, "shorter pauses do not close the mouth")


@dataclass(config=_STRICT, frozen=True, slots=True)
class RetimeConfig:
    """Choosing a target frame for every output row (lipsync/render/retime.py)."""

    length: LengthPolicy = option(
        "speech",
        '"speech": retimed, exactly as long as the speech; or a fixed policy: "cut", "loop", "bounce", "hold"',
    )
    enabled: bool = option(
        True, "False = play the target from its start at its own pace, back and forth when it runs out"
    )
    # Costs, per row of 1/25 s where a row is meant; motion 1 = a lively frame of the target (its 90th percentile)
    motion_cost: float = option(1.0, "a silent row that shows motion 1")
    onset: float = option(0.5, "gained by a row just after speech begins that shows motion 1")
    onset_s: float = option(0.4, 'how long "just after" lasts')
    pause_s: float = option(0.2, "a shorter silence is not a pause")
    repeat: float = option(0.4, "one half-step more")
    repeat_motion: float = option(0.5, "the same, per motion of the step it divides")
    skip: float = option(0.8, "one frame left out")
    skip_motion: float = option(0.4, "skip no step with more motion than this")
    seek: float = option(20.0, "a jump, also the target's own cuts")
    seek_voiced: float = option(200.0, "more, if the voice sounds")
    seek_motion: float = option(12.0, "more, per motion at either end")
    jump: float = option(8.0, "more, per unit of distance: jump_deg of pose or jump_distance of position")
    jump_deg: float = 5.0
    jump_distance: float = 0.1
    seek_landing_s: float = option(0.5, "land no closer than this before the end of a shot")
    invalid: float = option(1.0, "a voiced row whose mouth cannot be drawn")
    start: float = option(0.01, "beginning one second later")


@dataclass(config=_STRICT, frozen=True, slots=True)
class MedianConfig:
    """The weighted-median mouth texture (lipsync/textures/methods/median.py)."""

    candidates: int = option(20, "real mouths fused for one row")
    n: int = option(10, "the n best of them hold the share alpha of the weight")
    alpha: float = 0.9
    gap_weight: float = option(1.0, "weight of the inner-lip gaps in the distance")
    pose_weight: float = option(0.005, "eye distances per degree of yaw and pitch")
    sharpness_power: float = option(1.0, "how much a blurred mouth's weight falls with its sharpness")
    trajectory: tuple[float, ...] = option(
        (0.1, 0.2, 0.4, 0.2, 0.1), "weights of the neighbouring frames in the distance"
    )
    fade: tuple[float, ...] = option((0.1, 0.2, 0.4, 0.2, 0.1), "weights are averaged over neighbouring rows")
    resharpen: float = option(2.0, "at most this much fine detail is given back for what fusing costs; 0 = none")


@dataclass(config=_STRICT, frozen=True, slots=True)
class TrainableConfig:
    """What the sections of all trained textures share (lipsync/textures/trainable.py)."""

    width: int = option(128, "of the pictures that the networks draw, pixels")
    steps: int = option(1500, "of training")
    batch: int = option(8, "mouths per step")
    run: int = option(1, "of them neighbours in time: 2 where a loss looks at change")
    rate: float = option(2e-4, "learning rate")


@dataclass(config=_STRICT, frozen=True, slots=True)
class Pix2PixConfig(TrainableConfig):
    """A U-Net against a PatchGAN (lipsync/textures/methods/pix2pix.py); 64 channels and 8 levels are the published
    network."""

    width: int = 192
    steps: int = 1200
    batch: int = 4
    rate: float = option(5e-4, "the paper's is 2e-4; minutes of training need more")
    levels: int = option(5, "halvings of the picture")
    channels: int = option(24, "of the generator's first layer")
    discriminator_channels: int = 24
    l1: float = option(100.0, "weight of the difference against the discriminator")


@dataclass(config=_STRICT, frozen=True, slots=True)
class Pix2PixHdConfig(TrainableConfig):
    """A coarse and a fine generator against two discriminators (lipsync/textures/methods/pix2pix_hd.py)."""

    width: int = 192
    steps: int = 800
    batch: int = 4
    rate: float = 5e-4
    channels: int = option(24, "of the generators at half the size")
    blocks: int = option(4, "residual blocks of the coarse generator")
    fine_blocks: int = 2
    discriminator_channels: int = 24
    matching: float = option(10.0, "weight of what the discriminators see in between")
    perceptual: float = 10.0
    l1: float = 50.0


@dataclass(config=_STRICT, frozen=True, slots=True)
class NearestConfig:
    """The single best real mouth (lipsync/textures/methods/nearest.py)."""

    candidates: int = option(16, "real mouths looked at for one row")
    window: int = option(6, "rows on either side over which the run of mouths is planned")
    jump: float = option(
        0.5, "cost of a change of picture that the video does not have, against a wrong shape of the lips"
    )
    gap_weight: float = option(1.0, "weight of the inner-lip gaps in the distance")
    pose_weight: float = option(0.01, "eye distances per degree of yaw and pitch")
    trajectory: tuple[float, ...] = option(
        (0.1, 0.2, 0.4, 0.2, 0.1), "weights of the neighbouring frames in the distance"
    )
    warp: bool = option(True, "moved onto the wanted lips; False = as filmed")
    resharpen: float = option(2.0, "at most this much fine detail is given back for what moving costs; 0 = none")


@dataclass(config=_STRICT, frozen=True, slots=True)
class AppearanceMapConfig:
    """Views indexed by head turn and lip shape, blended (lipsync/textures/methods/appearance_map.py)."""

    pose_weight: float = option(0.01, "eye distances per degree of yaw and pitch")
    opening_weight: float = option(2.0, "of the mouth's opening against its width")
    flat_axis: float = option(0.006, "an axis of the map along which the views' standard deviation is less is left out")
    duplicate: float = option(0.008, "of two views nearer than this the sharper one stays")
    resharpen: float = option(2.0, "at most this much fine detail is given back for what blending costs; 0 = none")


@dataclass(config=_STRICT, frozen=True, slots=True)
class AutoencoderConfig(TrainableConfig):
    """The deepfake-style autoencoder (lipsync/textures/methods/autoencoder.py)."""

    steps: int = 1000
    rate: float = 1e-3
    code: int = option(128, "numbers between encoder and decoder")
    warp: float = option(0.04, "how far the points of the 5x5 grid are moved, share of the picture's width")
    rotate_deg: float = option(5.0, "at most; so are the next two")
    zoom: float = 0.05
    shift: float = option(0.03, "share of the width")
    flip: float = option(0.3, "share of the moved mouths that are mirrored")
    moved: float = option(0.3, "share of mouths that are rotated, zoomed, shifted, mirrored")
    covered: float = option(0.5, "share of mouths that something is held before")
    speech_dropout: float = option(0.3, "share of mouths drawn without the speech")
    reconstruction_share: float = option(0.3, "share of mouths decoded from their own picture, not from the lips")
    temporal: float = option(0.5, "weight of changing as filmed, for run = 2")
    gan: bool = option(False, "a patch discriminator as well")
    adversarial: float = option(0.01, "weight of fooling it")


@dataclass(config=_STRICT, frozen=True, slots=True)
class VaeConfig(TrainableConfig):
    """The variational autoencoder (lipsync/textures/methods/vae.py)."""

    steps: int = 1000
    rate: float = 1e-3
    code: int = option(64, "latent numbers")
    kl: float = option(0.01, "weight of the divergence, per number")
    temporal: float = option(0.5, "weight of changing as filmed, for run = 2")


@dataclass(config=_STRICT, frozen=True, slots=True)
class VqVaeConfig(TrainableConfig):
    """The two-level vector-quantised autoencoder (lipsync/textures/methods/vq_vae.py)."""

    steps: int = 1000
    rate: float = 1e-3
    codes: int = option(256, "of each of the two codebooks")
    code: int = option(32, "numbers in one")
    decay: float = option(0.98, "of the codebooks' running means")
    commit: float = option(0.02, "weight of staying near the codes")
    code_prediction_weight: float = option(0.05, "weight of guessing the codes, nats")
    temporal: float = option(0.5, "weight of changing as filmed, for run = 2")


@dataclass(config=_STRICT, frozen=True, slots=True)
class StyleConfig(TrainableConfig):
    """The style-modulated decoder (lipsync/textures/methods/style.py)."""

    steps: int = 1000
    rate: float = 1e-3
    style: int = option(96, "numbers of a style")
    temporal: float = option(0.5, "weight of changing as filmed, for run = 2")
    gan: bool = option(False, "a patch discriminator as well")
    adversarial: float = option(0.01, "weight of fooling it")
    r1: float = option(1.0, "weight of its gradient penalty")


@dataclass(config=_STRICT, frozen=True, slots=True)
class CycleConfig(TrainableConfig):
    """The median over mouths of other footage in the target's look (lipsync/textures/methods/cycle.py); width: of the
    windows it learns from."""

    steps: int = 600
    batch: int = 4
    rate: float = 1e-3
    channels: int = option(16, "of the generators' first layer")
    cycle: float = option(10.0, "weight of coming back as one went")
    identity: float = option(5.0, "weight of leaving alone what has the look already")


@dataclass(config=_STRICT, frozen=True, slots=True)
class HybridConfig(TrainableConfig):
    """Real mouths fused by a network (lipsync/textures/methods/hybrid.py). The options of choosing mean what they mean
    for the median."""

    steps: int = 160
    batch: int = 4
    run: int = 2
    rate: float = 4e-4
    channels: int = option(12, "of the networks' first layers")
    candidates: int = 12
    train_candidates: int = option(6, "of them in training: it takes half the time")
    n: int = 5
    alpha: float = 0.9
    gap_weight: float = 1.0
    pose_weight: float = 0.005
    sharpness_power: float = 1.0
    trajectory: tuple[float, ...] = (0.1, 0.2, 0.4, 0.2, 0.1)
    fade: tuple[float, ...] = (0.05, 0.12, 0.2, 0.26, 0.2, 0.12, 0.05)
    sharpness_gain: float = option(
        1.15, "how much sharper than the real mouths, in edge energy: what the way into the video costs"
    )
    resharpen: float = option(8.0, "at most this much of the finest detail is given back for what fusing costs")


@dataclass(config=_STRICT, frozen=True, slots=True)
class TeethConfig:
    """Choosing teeth references and transferring their detail (lipsync/render/teeth.py)."""

    references: int = 12
    tried: int = option(200, "the most open, sharpest mouths looked at")
    min_gap: float = option(0.04, "a mouth opened less shows no usable teeth")
    min_area: float = option(0.002, "square eye distances of teeth that a reference must show")
    min_contrast: float = option(0.12, "between teeth and the rest of the open mouth, of full scale")
    detail: float = option(0.025, "blur that parts detail from the rest")
    nearness: float = option(0.02, "lip distance over which a reference loses its say")
    strength: float = option(0.8, "share of the detail that is replaced")


@dataclass(config=_STRICT, frozen=True, slots=True)
class CompositeConfig:
    """Putting the mouth into the frame (lipsync/render/composite.py)."""

    softness: float = option(0.12, "width of the blend region's soft edge")
    levels: int = option(4, "of the Laplacian pyramid")
    colour_sigma: float = option(0.22, "how locally colours are matched")
    lip_margin: float = option(0.03, "skin this near to the lips is left out of the colour match")
    grain: float = option(0.015, "detail finer than this is the frame's own on skin")
    jaw_reach: float = option(0.22, "how far the jaw correction reaches")
    jaw_limit: float = option(0.15, "the farthest the target's jaw is moved")
    fade_rows: int = option(3, "rows over which the drawn mouth comes and goes beside passed-through frames")


@dataclass(config=_STRICT, frozen=True, slots=True)
class WriteConfig:
    """The output file (video/write.py)."""

    codec: str = "libx264"
    crf: int = option(12, ge=0, le=63)
    preset: str = "fast"
    range_s: float = option(
        120.0,
        "longer videos are written in ranges of about this length; a stopped dub goes on after the last",
        ge=1,
        le=86400,
    )


@dataclass(config=_STRICT, frozen=True, slots=True)
class CacheConfig:
    """Kept analyses and models (lipsync/store/cache.py)."""

    folder: str = option("", "empty = the environment variable LIPSYNC_CACHE, else the user's cache folder")


@dataclass(config=_STRICT, frozen=True, slots=True)
class LimitsConfig(InputLimits):
    """The largest material that is opened: more would fill the memory (media/container.py, audio/load.py)."""

    megapixels: float = option(_LIMITS.megapixels, "of one picture; 8192x4320 is 35")
    frames: int = option(_LIMITS.frames, "of one video")
    hours: float = option(_LIMITS.hours, "of picture or sound")


@dataclass(config=_STRICT, frozen=True, slots=True)
class SandboxConfig:
    """A limited process for material that nobody vouches for (lipsync/sandbox/supervise.py); changes no result."""

    enabled: bool = option(False, "of the commands dub, analyse and lips")
    memory_gib: float = option(8.0, "that it may use; 0 = no limit")
    seconds: float = option(3600.0, "after which it is stopped; 0 = no limit")


@dataclass(config=_STRICT, frozen=True, slots=True)
class DubConfig:
    """A whole dub."""

    texture: str = "median"
    texture_weights: str = option("", "file of `lipsync train texture`, for the textures that learn")
    train_texture: bool = option(False, "without such a file: learn from the target now, and keep the result")
    device: str = "auto"
    batch: int = option(8, "output rows rendered together", ge=1, le=1024)
    face: FaceConfig = FaceConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    lips: LipsConfig = LipsConfig()
    retime: RetimeConfig = RetimeConfig()
    median: MedianConfig = MedianConfig()
    nearest: NearestConfig = NearestConfig()
    appearance_map: AppearanceMapConfig = AppearanceMapConfig()
    pix2pix: Pix2PixConfig = Pix2PixConfig()
    pix2pix_hd: Pix2PixHdConfig = Pix2PixHdConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    vae: VaeConfig = VaeConfig()
    vq_vae: VqVaeConfig = VqVaeConfig()
    style: StyleConfig = StyleConfig()
    cycle: CycleConfig = CycleConfig()
    hybrid: HybridConfig = HybridConfig()
    teeth: TeethConfig = TeethConfig()
    composite: CompositeConfig = CompositeConfig()
    write: WriteConfig = WriteConfig()
    cache: CacheConfig = CacheConfig()
    limits: LimitsConfig = LimitsConfig()
    sandbox: SandboxConfig = SandboxConfig()

    @property
    def input_limits(self) -> InputLimits:
        return self.limits
