"""Every option of a dub, once, with its default and unit. Command line, Python and batch build the same `DubConfig`.

One section per stage; a section belongs to the stage of that name. Seconds end in `_s`, pixels in `_px`; lengths without a unit are in
eye distances (the face frame).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """Finding and following one face (lipsync/face)."""

    backend: str = "mediapipe"  # or "dlib"
    dlib_predictor: str = ""  # path of a 68-point predictor file; empty = the one of package face_recognition_models
    index: int = -1  # which face, 0 = leftmost in the first frame that has faces; -1 = the one that speaks most of the time (largest)
    at: tuple[float, float] | None = None  # or: the face nearest this pixel position when first seen
    max_yaw_deg: float = 40.0
    max_pitch_deg: float = 35.0
    min_eye_distance_px: float = 20.0
    smooth_s: float = 0.06  # half width of the pose filter


@dataclass(frozen=True, slots=True)
class LipsConfig:
    """Speech to lips (lipsync/speech_to_lips.py) and closing the mouth in silence (lipsync/lips.py)."""

    model: str = ""  # path of a trained model; empty = train on the target's own speech


@dataclass(frozen=True, slots=True)
class RetimeConfig:
    """Choosing a target frame for every output row (lipsync/retime.py)."""

    length: str = "speech"  # "speech": retimed, exactly as long as the speech; or a fixed policy: "cut", "loop", "bounce", "hold"
    enabled: bool = True  # False = play the target from its start


@dataclass(frozen=True, slots=True)
class MedianConfig:
    """The weighted-median mouth texture (lipsync/textures/median.py)."""


@dataclass(frozen=True, slots=True)
class CompositeConfig:
    """Putting the mouth into the frame (lipsync/composite.py)."""


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """The output file (video/write.py)."""

    codec: str = "libx264"
    crf: int = 16
    preset: str = "veryfast"


@dataclass(frozen=True, slots=True)
class DubConfig:
    """A whole dub."""

    texture: str = "median"
    device: str = "auto"
    batch: int = 8  # output rows rendered together
    face: FaceConfig = field(default_factory=FaceConfig)
    lips: LipsConfig = field(default_factory=LipsConfig)
    retime: RetimeConfig = field(default_factory=RetimeConfig)
    median: MedianConfig = field(default_factory=MedianConfig)
    composite: CompositeConfig = field(default_factory=CompositeConfig)
    write: WriteConfig = field(default_factory=WriteConfig)
