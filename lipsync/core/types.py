"""The nouns of the product. Frozen, and checked when made: the message shows the shapes received.

Frames of reference
    pixel   x right, y down, origin at the corner of the first pixel; centre of (row r, column c) = (c + 0.5, r + 0.5)
    face    head pose removed; origin midway between the resting mouth corners; x right, y down; unit = outer-eye-corner
    distance mouth   pixels of the mouth crop: a fixed scale and shift of the face frame
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lipsync.core.arrays import Array
from lipsync.core.graphics import Graphics
from video.clock import FrameClock

if TYPE_CHECKING:
    from video.probe import VideoStream

N_LIPS = 18


def _check(name: str, array: Array, *shape: int | None) -> None:
    got = tuple(array.shape)
    if len(got) != len(shape) or any(want is not None and want != have for want, have in zip(shape, got, strict=True)):
        raise ValueError(f"{name} must have shape {shape} (None = any), got {got}")


@dataclass(frozen=True, slots=True)
class LipTrack:
    """Lips over time. points: (N,18,2) float32, face frame; valid: (N,) bool; clock: None = 100 per second."""

    points: Array
    valid: Array
    clock: FrameClock | None = None

    def __post_init__(self) -> None:
        _check("LipTrack.points", self.points, None, N_LIPS, 2)
        _check("LipTrack.valid", self.valid, len(self.points))
        if self.clock is not None and len(self.clock) != len(self.points):
            raise ValueError(f"LipTrack: {len(self.points)} rows on a clock of {len(self.clock)} frames")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def frames(self) -> FrameClock:
        """The clock of a track that lies on a video's frames. ValueError: it lies on the 100 features a second."""
        if self.clock is None:
            raise ValueError("LipTrack: 100 rows per second, not on a video's frames")
        return self.clock


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One person's face in every frame of a video.

    pixel_from_face: (T,3,3) float64 affine, smoothed; landmarks: (T,68,2) float32 pixels, iBUG-68 order, smoothed like
    the pose; lips: LipTrack on the video's clock; pose: (T,3) float32 yaw, pitch, roll in degrees; eyes: (T,) float32
    eye opening (eye distances); valid: (T,) bool; reason: (T,) small int, index into REASONS, 0 where valid; shot: (T,)
    int32 shot number; graphics: captions and logos over the lower face, where there are any."""

    pixel_from_face: Array
    landmarks: Array
    lips: LipTrack
    pose: Array
    eyes: Array
    valid: Array
    reason: Array
    shot: Array
    graphics: Graphics | None = None

    def __post_init__(self) -> None:
        n = len(self.lips)
        _check("FaceTrack.pixel_from_face", self.pixel_from_face, n, 3, 3)
        _check("FaceTrack.landmarks", self.landmarks, n, 68, 2)
        _check("FaceTrack.pose", self.pose, n, 3)
        for name in ("eyes", "valid", "reason", "shot"):
            _check(f"FaceTrack.{name}", getattr(self, name), n)

    def __len__(self) -> int:
        return len(self.lips)


#: Why a frame is passed through unchanged; FaceTrack.reason indexes this.
REASONS = (
    "usable",
    "no face",
    "turned too far",
    "blurred",
    "covered",
    "face too small",
    "between two shots",
    "flash or odd frame",
    "behind a graphic",
)


@dataclass(frozen=True, slots=True)
class MouthSpace:
    """The mouth crop: which part of the face frame it shows, and at what scale.

    scale: crop pixels per eye distance; left, top: face-frame position of the crop's corner; height, width: pixels.
    """

    scale: float
    left: float
    top: float
    height: int
    width: int

    @property
    def mouth_from_face(self) -> Array:
        """(3,3) float64."""
        s = self.scale
        return np.array([[s, 0, -s * self.left], [0, s, -s * self.top], [0, 0, 1.0]])


@dataclass(frozen=True, slots=True)
class MouthBank:
    """The mouths of the target and of all other footage, film after film.

    crops: (K,3,Hm,Wm) uint8, memory-mapped; source: (K,) int64 frame in its own video; lips: (K,18,2) and jaw: (K,17,2)
    face frame; pose: (K,3) yaw, pitch, roll in degrees; sharpness: (K,) variance of the Laplacian around the lips;
    shot: (K,) int64 numbers, unique over all footage. Neighbouring rows are neighbours in time where shot is equal and
    source differs by 1."""

    crops: Array
    source: Array
    lips: Array
    jaw: Array
    pose: Array
    sharpness: Array
    shot: Array
    space: MouthSpace

    def __post_init__(self) -> None:
        k = len(self.crops)
        _check("MouthBank.crops", self.crops, None, 3, self.space.height, self.space.width)
        _check("MouthBank.lips", self.lips, k, N_LIPS, 2)
        _check("MouthBank.jaw", self.jaw, k, 17, 2)
        _check("MouthBank.pose", self.pose, k, 3)
        for name in ("source", "sharpness", "shot"):
            _check(f"MouthBank.{name}", getattr(self, name), k)

    def __len__(self) -> int:
        return len(self.crops)

    def take(self, rows: Array) -> Array:
        """(n,3,Hm,Wm) uint8 copy of these crops. The pages of a mapped file are given back, so that memory does not
        grow with the bank."""
        taken = np.ascontiguousarray(self.crops[rows])
        mapped = getattr(self.crops, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
        return taken


@dataclass(frozen=True, slots=True)
class TeethReference:
    """Sharp teeth of the target in the mouth frame. detail: (R,3,Hm,Wm) float32 high frequencies; mask: (R,Hm,Wm)
    float32 in [0,1]; lips: (R,18,2) face frame of the reference frames; level: (2,) whiteness where teeth begin, and
    over which it becomes certain. R may be 0: no visible teeth."""

    detail: Array
    mask: Array
    lips: Array
    level: Array


@dataclass(frozen=True, slots=True)
class DubPlan:
    """What each output row shows.

    source: (N,) int64 target frame; half: (N,) bool, show the flow half-step between source and source + 1; lips: N
    wanted rows on the output clock; render: (N,) bool, False = pass the frame through; clock: of the output; seeks:
    int64 rows at which the picture jumps, the target's own cuts among them."""

    source: Array
    half: Array
    lips: LipTrack
    render: Array
    clock: FrameClock
    seeks: Array

    def __post_init__(self) -> None:
        n = len(self.source)
        for name in ("half", "render"):
            _check(f"DubPlan.{name}", getattr(self, name), n)
        if len(self.lips) != n or len(self.clock) != n:
            raise ValueError(f"DubPlan: {n} rows, {len(self.lips)} lips, clock of {len(self.clock)}")

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class TargetVideo:
    """The target on disk. rotation is already applied to width and height."""

    path: Path
    clock: FrameClock
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Footage:
    """One video and the face followed through it. stream: `video.probe.VideoStream`; people: how many different ones
    were seen; key: of what depends on this track, in the cache; person: which of them it is, as `face.index` counts;
    speaks: (T,) bool, frames in which no other speaks, None = nobody else is seen, or there is no telling."""

    video: TargetVideo
    stream: VideoStream
    track: FaceTrack
    people: int
    key: str
    person: int = 0
    speaks: Array | None = None


@dataclass(frozen=True, slots=True)
class TargetAnalysis:
    """Everything learnt about a target. video, track: those of films[0]; motion: (T,) head motion and blinks, eye
    distances per frame; bank: the mouths of the target and of all other footage; films: the target first, then the
    other footage with a usable face; key: of the bank in the cache."""

    video: TargetVideo
    track: FaceTrack
    bank: MouthBank
    motion: Array
    teeth: TeethReference
    films: tuple[Footage, ...]
    key: str
    notes: tuple[str, ...] = ()
