"""The target's own speech: when somebody speaks in it, and the lips at rest when nobody does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from audio.load import load_track
from lipsync.core.lips import rest_shape
from lipsync.core.timebase import voiced_at
from lipsync.core.types import Footage
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache, save_arrays, step_key
from media import MediaError

#: Raise whenever the same sound would give other frames.
VERSION = 2


def resting_lips(target: Footage, cache: Cache) -> np.ndarray:
    """(18,2) face frame: the person's lips, closed and at rest, from the frames in which nobody speaks."""
    track = target.track
    return rest_shape(track.lips.points, track.lips.valid & track.valid, voiced_frames(target, cache))


def voiced_frames(film: Footage, cache: Cache) -> np.ndarray:
    """(T,) bool: frames of the film during which somebody speaks (cached by content); all False where it has no
    sound."""
    key = step_key("voice", VERSION, inputs=[film.video.sha256])

    def make(folder: Path) -> None:
        save_arrays(folder / "voice.safetensors", {"voiced": _voiced(film)})

    def load(folder: Path) -> np.ndarray:
        return load_file(folder / "voice.safetensors")["voiced"]

    return cache.read("voice", key, make, load, label=film.video.path.name)


def _voiced(film: Footage) -> np.ndarray:
    try:
        wave = load_track(film.video.path, film.stream.limits)
    except MediaError:
        return np.zeros(len(film.track), bool)
    return voiced_at(voice_activity(wave), film.video.clock)
