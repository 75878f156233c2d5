"""Landmark backends by name."""

from __future__ import annotations

from typing import get_args

from lipsync.config.schema import Backend as BackendName
from lipsync.config.schema import FaceConfig
from lipsync.core.errors import UsageError
from lipsync.face.backend import Backend


def get_backend(name: str, config: FaceConfig) -> Backend:
    """The backend called `name` ("mediapipe" or "dlib"). LipsyncError where its library is not usable here."""
    if name == "mediapipe":
        from lipsync.face.mediapipe import MediaPipeBackend

        return MediaPipeBackend(config.mediapipe_landmarker)
    if name == "dlib":
        from lipsync.face.dlib import DlibBackend

        return DlibBackend(config.dlib_predictor)
    raise UsageError(
        f"There is no landmark backend {name!r}; choose one of: {', '.join(get_args(BackendName))} (face.backend)."
    )


def landmark_models(config: FaceConfig) -> str:
    """Which models the backend of `config` looks with: another name, other landmarks. For the keys of the cache."""
    if config.backend == "mediapipe":
        from lipsync.face.mediapipe_models import models_name

        return models_name(config.mediapipe_landmarker)
    return config.dlib_predictor
