"""The target's own speech: when somebody speaks in it, and the lips at rest when nobody does."""

from __future__ import annotations

import numpy as np

from audio.load import load_track
from audio.vad import voice_activity
from lipsync.core.lips import rest_shape
from lipsync.core.timebase import voiced_at
from lipsync.core.types import Footage, TargetAnalysis
from media import MediaError


def resting_lips(subject: TargetAnalysis) -> np.ndarray:
    """(18,2) face frame: the subject's lips, closed and at rest, from the frames of the target in which nobody
    speaks."""
    track = subject.track
    return rest_shape(track.lips.points, track.lips.valid & track.valid, voiced_frames(subject.films[0]))


def voiced_frames(film: Footage) -> np.ndarray:
    """(T,) bool: frames of the film during which somebody speaks; all False where it has no sound."""
    try:
        return voiced_at(voice_activity(load_track(film.video.path, film.stream.limits)), film.video.clock)
    except MediaError:
        return np.zeros(len(film.track), bool)
