"""Landmark backends: a picture in, faces out. Two of them, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lipsync.config.choices import BACKENDS
from lipsync.config.schema import FaceConfig
from lipsync.core.errors import UsageError

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

    def detect(self, rgb: np.ndarray) -> list[DetectedFace]:
        """Faces in an (H,W,3) uint8 picture, at most MAX_FACES, largest first."""

    def reset(self) -> None:
        """Forget the last picture: the next one is of another shot."""

    def close(self) -> None:
        """Free what it holds; not to be used afterwards."""


def get_backend(name: str, config: FaceConfig) -> Backend:
    """The backend called `name` ("mediapipe" or "dlib"). LipsyncError where its library is not usable here."""
    if name == "mediapipe":
        from lipsync.face.mediapipe import MediaPipeBackend

        return MediaPipeBackend()
    if name == "dlib":
        from lipsync.face.dlib import DlibBackend

        return DlibBackend(config.dlib_predictor)
    raise UsageError(f"There is no landmark backend {name!r}; choose one of: {', '.join(BACKENDS)} (face.backend).")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (size <= 0).any():
        return 0.0
    inner = float(size.prod())
    return inner / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - inner)
