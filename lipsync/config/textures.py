"""The options of texture methods: one section each, of the method's name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from lipsync.config.base import STRICT

Engine = Literal["torch", "onnx"]


@dataclass(frozen=True, slots=True, config=STRICT)
class MedianConfig:
    """The weighted-median mouth texture (lipsync/textures/methods/median.py)."""

    candidates: int = Field(default=20, description="real mouths fused for one row")
    n: int = Field(default=10, description="the n best of them hold the share alpha of the weight")
    alpha: float = 0.9
    gap_weight: float = Field(default=1.0, description="weight of the inner-lip gaps in the distance")
    pose_weight: float = Field(default=0.005, description="eye distances per degree of yaw and pitch")
    sharpness_power: float = Field(
        default=1.0, description="how much a blurred mouth's weight falls with its sharpness"
    )
    trajectory: tuple[float, ...] = Field(
        default=(0.1, 0.2, 0.4, 0.2, 0.1), description="weights of the neighbouring frames in the distance"
    )
    fade: tuple[float, ...] = Field(
        default=(0.05, 0.12, 0.2, 0.26, 0.2, 0.12, 0.05), description="weights are averaged over neighbouring rows"
    )
    reach: float = Field(
        default=60.0,
        description="grey levels from the median within which the mouths' mean is taken; 0 = the median itself, "
        "which flickers more",
    )
    resharpen: float = Field(
        default=1.0,
        description="at most this much fine detail is given back for what fusing costs; 0 = none. Compositing makes "
        "the mouth as sharp as the frame",
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class TrainableConfig:
    """What the sections of all trained textures share (lipsync/textures/trainable.py)."""

    width: int = Field(default=128, description="of the pictures that the networks draw, pixels")
    steps: int = Field(default=1500, description="of training")
    batch: int = Field(default=8, description="mouths per step")
    run: int = Field(default=1, description="of them neighbours in time: 2 where a loss looks at change")
    rate: float = Field(default=2e-4, description="learning rate")


@dataclass(frozen=True, slots=True, config=STRICT)
class Pix2PixConfig(TrainableConfig):
    """A U-Net against a PatchGAN (lipsync/textures/methods/pix2pix.py); the published one: 64 channels, 8 levels."""

    width: int = 192
    steps: int = 1200
    batch: int = 4
    rate: float = Field(default=5e-4, description="the paper's is 2e-4; minutes of training need more")
    levels: int = Field(default=5, description="halvings of the picture")
    channels: int = Field(default=24, description="of the generator's first layer")
    discriminator_channels: int = 24
    l1: float = Field(default=100.0, description="weight of the difference against the discriminator's word")


@dataclass(frozen=True, slots=True, config=STRICT)
class Pix2PixHdConfig(TrainableConfig):
    """A coarse and a fine generator against two discriminators (lipsync/textures/methods/pix2pix_hd.py)."""

    width: int = 192
    steps: int = 800
    batch: int = 4
    rate: float = 5e-4
    channels: int = Field(default=24, description="of the generators at half the size")
    blocks: int = Field(default=4, description="residual blocks of the coarse generator")
    fine_blocks: int = 2
    discriminator_channels: int = 24
    matching: float = Field(default=10.0, description="weight of what the discriminators see in between")
    perceptual: float = 10.0
    l1: float = 50.0


@dataclass(frozen=True, slots=True, config=STRICT)
class NearestConfig:
    """The single best real mouth (lipsync/textures/methods/nearest.py)."""

    candidates: int = Field(default=16, description="real mouths looked at for one row")
    window: int = Field(default=6, description="rows on either side over which the run of mouths is planned")
    jump: float = Field(
        default=0.5,
        description="cost of a change of picture that the film does not have, against a wrong shape of the lips",
    )
    gap_weight: float = Field(default=1.0, description="weight of the inner-lip gaps in the distance")
    pose_weight: float = Field(default=0.01, description="eye distances per degree of yaw and pitch")
    trajectory: tuple[float, ...] = Field(
        default=(0.1, 0.2, 0.4, 0.2, 0.1), description="weights of the neighbouring frames in the distance"
    )
    warp: bool = Field(default=True, description="moved onto the wanted lips; False = as filmed")
    resharpen: float = Field(
        default=2.0, description="at most this much fine detail is given back for what moving costs; 0 = none"
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class AppearanceMapConfig:
    """Views indexed by head turn and lip shape, blended (lipsync/textures/methods/appearance_map.py)."""

    pose_weight: float = Field(default=0.01, description="eye distances per degree of yaw and pitch")
    opening_weight: float = Field(default=2.0, description="of the mouth's opening against its width")
    flat_axis: float = Field(
        default=0.006, description="an axis of the map along which the views' standard deviation is less is left out"
    )
    duplicate: float = Field(default=0.008, description="of two views nearer than this the sharper one stays")
    resharpen: float = Field(
        default=2.0, description="at most this much fine detail is given back for what blending costs; 0 = none"
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class AutoencoderConfig(TrainableConfig):
    """The deepfake-style autoencoder (lipsync/textures/methods/autoencoder.py)."""

    steps: int = 1000
    rate: float = 1e-3
    code: int = Field(default=128, description="numbers between encoder and decoder")
    warp: float = Field(
        default=0.04, description="how far the points of the 5x5 grid are moved, share of the picture's width"
    )
    rotate_deg: float = Field(default=5.0, description="at most; so are the next two")
    zoom: float = 0.05
    shift: float = Field(default=0.03, description="share of the width")
    flip: float = Field(default=0.3, description="share of the moved mouths that are mirrored")
    moved: float = Field(default=0.3, description="share of mouths that are rotated, zoomed, shifted, mirrored")
    covered: float = Field(default=0.5, description="share of mouths that something is held before")
    speech_dropout: float = Field(default=0.3, description="share of mouths drawn without the speech")
    reconstruction_share: float = Field(
        default=0.3, description="share of mouths decoded from their own picture, not from the lips"
    )
    temporal: float = Field(default=0.5, description="weight of changing as filmed, for run = 2")
    gan: bool = Field(default=False, description="a patch discriminator as well")
    adversarial: float = Field(default=0.01, description="weight of fooling it")


@dataclass(frozen=True, slots=True, config=STRICT)
class VaeConfig(TrainableConfig):
    """The variational autoencoder (lipsync/textures/methods/vae.py)."""

    steps: int = 1000
    rate: float = 1e-3
    code: int = Field(default=64, description="latent numbers")
    kl: float = Field(default=0.01, description="weight of the divergence, per number")
    temporal: float = Field(default=0.5, description="weight of changing as filmed, for run = 2")


@dataclass(frozen=True, slots=True, config=STRICT)
class VqVaeConfig(TrainableConfig):
    """The two-level vector-quantised autoencoder (lipsync/textures/methods/vq_vae.py)."""

    steps: int = 1000
    rate: float = 1e-3
    codes: int = Field(default=256, description="of each of the two codebooks")
    code: int = Field(default=32, description="numbers in one")
    decay: float = Field(default=0.98, description="of the codebooks' running means")
    commit: float = Field(default=0.02, description="weight of staying near the codes")
    code_prediction_weight: float = Field(default=0.05, description="weight of guessing the codes, nats")
    temporal: float = Field(default=0.5, description="weight of changing as filmed, for run = 2")


@dataclass(frozen=True, slots=True, config=STRICT)
class StyleConfig(TrainableConfig):
    """The style-modulated decoder (lipsync/textures/methods/style.py)."""

    steps: int = 1000
    rate: float = 1e-3
    style: int = Field(default=96, description="numbers of a style")
    temporal: float = Field(default=0.5, description="weight of changing as filmed, for run = 2")
    gan: bool = Field(default=False, description="a patch discriminator as well")
    adversarial: float = Field(default=0.01, description="weight of fooling it")
    r1: float = Field(default=1.0, description="weight of its gradient penalty")


@dataclass(frozen=True, slots=True, config=STRICT)
class CycleConfig(TrainableConfig):
    """The median over other footage in the target's look (lipsync/textures/methods/cycle.py); width: of its windows."""

    steps: int = 600
    batch: int = 4
    rate: float = 1e-3
    channels: int = Field(default=16, description="of the generators' first layer")
    cycle: float = Field(default=10.0, description="weight of coming back as one went")
    identity: float = Field(default=5.0, description="weight of leaving alone what has the look already")


@dataclass(frozen=True, slots=True, config=STRICT)
class HybridConfig(TrainableConfig):
    """Real mouths fused by a network (lipsync/textures/methods/hybrid.py); candidates are chosen as for the median."""

    steps: int = 160
    batch: int = 4
    run: int = 2
    rate: float = 4e-4
    channels: int = Field(default=12, description="of the networks' first layers")
    candidates: int = 12
    train_candidates: int = Field(default=6, description="of them in training: it takes half the time")
    n: int = 5
    alpha: float = 0.9
    gap_weight: float = 1.0
    pose_weight: float = 0.005
    sharpness_power: float = 1.0
    trajectory: tuple[float, ...] = (0.1, 0.2, 0.4, 0.2, 0.1)
    fade: tuple[float, ...] = (0.05, 0.12, 0.2, 0.26, 0.2, 0.12, 0.05)
    sharpness_gain: float = Field(
        default=1.15,
        description="how much sharper than the real mouths, in edge energy: what the way into the video costs beyond "
        "what is foreseen",
    )
    resharpen: float = Field(
        default=8.0, description="at most this much of the finest detail is given back for what fusing costs"
    )


@dataclass(frozen=True, slots=True, config=STRICT)
class FsganConfig(TrainableConfig):
    """Views of the target reenacted, blended and completed (lipsync/textures/methods/fsgan.py)."""

    steps: int = 200
    batch: int = 4
    rate: float = Field(default=1e-3, description="the paper's is 2e-4; minutes of training need more")
    channels: int = Field(default=16, description="of the reenactment's first layer, at half the size")
    levels: int = Field(default=3, description="halvings below that size")
    blocks: int = Field(default=2, description="residual blocks at the bottom")
    completion_channels: int = 12
    discriminator_channels: int = 16
    perceptual: float = Field(default=1.0, description="weight of the features of a reconstruction")
    pixel: float = Field(
        default=5.0, description="weight of its pixels; the paper's is 0.1, beside features that know colours better"
    )
    adversarial: float = Field(default=0.001, description="weight of fooling the discriminators")
    segmentation: float = Field(default=0.1, description="weight of the cross entropy of what a pixel shows")
    stepwise: float = Field(
        default=1.0,
        description="share of the unlike pairs that are learnt in two steps as well, by the landmarks half-way",
    )
    covered: float = Field(default=0.3, description="share of sources that something is held before")
    own: float = Field(
        default=0.0, description="share of the frame's own mouth, reenacted, beside the views of the appearance map"
    )
    detail: float = Field(
        default=1.0, description="how much of the views' own detail, finer than the network's pixels, is put back"
    )
    resharpen: float = Field(
        default=2.0, description="at most this much fine detail is given back for what blending costs; 0 = none"
    )
    pose_weight: float = Field(default=0.01, description="of the map: eye distances per degree of yaw and pitch")
    opening_weight: float = Field(default=2.0, description="of the map: the mouth's opening against its width")
    flat_axis: float = Field(
        default=0.006, description="an axis of the map along which the views' standard deviation is less is left out"
    )
    duplicate: float = Field(default=0.008, description="of two views nearer than this the sharper one stays")
