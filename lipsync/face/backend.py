"""Landmark backends: a picture in, faces out. Two of them, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from video.picture import Picture

#: More faces than this in one picture are not followed.
MAX_FACES = 4


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face in one picture. landmarks: (68,2) float32 pixels, iBUG-68 order; score in [0, 1]; box: (x0, y0, x1, y1)
    of the landmarks."""

    landmarks: np.ndarray
    score: float

    @property
    def box(self) -> np.ndarray:
        """(4,) float32 pixels."""
        return np.concatenate([self.landmarks.min(0), self.landmarks.max(0)])


class Backend(Protocol):
    """Finds faces. It may follow them from call to call, so pictures come in order; `reset` at each cut."""

    def detect(self, picture: Picture | np.ndarray) -> list[DetectedFace]:
        """Faces in a picture, or (H,W,3) uint8 RGB, at most MAX_FACES, largest first."""
        ...

    def reset(self) -> None:
        """Forget the last picture: the next one is of another shot."""

    def close(self) -> None:
        """Free what it holds; not to be used afterwards."""


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (size <= 0).any():
        return 0.0
    inner = float(size.prod())
    return inner / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - inner)
