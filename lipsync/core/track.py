"""What follows from a face track alone."""

from __future__ import annotations

import numpy as np

from lipsync.core.arrays import Array
from lipsync.core.geometry import apply, magnification
from lipsync.core.types import REASONS, FaceTrack

#: A graphic lies over the lips where it takes up more than this share of them.
GRAPHIC_TOUCHES = 0.02


def jaw_in_face(track: FaceTrack) -> Array:
    """(T,17,2) float32 jaw line in the face frame."""
    return apply(np.linalg.inv(track.pixel_from_face), track.landmarks[:, :17]).astype(np.float32)


def eye_distance_px(track: FaceTrack) -> float:
    """Median outer-eye-corner distance over the usable frames, pixels."""
    return float(np.median(magnification(track.pixel_from_face[track.valid])))


def unusable_reasons(track: FaceTrack) -> str:
    """The reasons for unusable frames, most frequent first: '12 x no face, 3 x blurred'."""
    counts = np.bincount(track.reason, minlength=len(REASONS))
    order = [i for i in np.argsort(-counts) if i > 0 and counts[i] > 0]
    return ", ".join(f"{counts[i]} frames: {REASONS[i]}" for i in order) or "every frame is usable"


def behind_graphics(track: FaceTrack) -> Array:
    """(T,) bool: a caption or a logo lies over the lips."""
    return np.zeros(len(track), bool) if track.graphics is None else track.graphics.mouth > GRAPHIC_TOUCHES
