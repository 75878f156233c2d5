"""Speech with lips that say it, made up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from audio.load import Waveform
from lipsync.core.canonical import canonical_68
from lipsync.core.lips import LIPS_FROM_68, LOWER_INNER, UPPER_INNER
from lipsync.core.types import LipTrack
from lipsync.learning.lip_examples import LipExample
from video.clock import FrameClock


def talk(seconds: float, seed: int, late_s: float = 0.0) -> LipExample:
    """Vowels of changing strength; the mouth opens by that strength, `late_s` after the sound, at 25 frames a
    second."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 25)
    strength = np.clip(
        np.interp(np.arange(n), np.arange(0, n + 8, 4), rng.uniform(-0.5, 1, len(range(0, n + 8, 4)))), 0, 1
    )
    t = np.arange(round(seconds * 16000)) / 16000
    level = np.interp(t, np.arange(n) / 25, strength)
    tone = sum(np.sin(2 * np.pi * 130 * k * t) * np.exp(-(((130 * k - 700) / 300) ** 2)) for k in range(1, 20))
    sound = (0.2 * level * tone + 1e-3 * rng.normal(size=len(t))).astype(np.float32)
    lips = np.repeat(canonical_68()[None, LIPS_FROM_68, :2], n, 0).astype(np.float32)
    gap = 0.2 * np.interp(np.arange(n) / 25 - late_s, np.arange(n) / 25, strength)
    lips[:, LOWER_INNER, 1] = lips[:, UPPER_INNER, 1] + gap[:, None]
    lips[:, 7:12, 1] += gap[:, None]
    return LipExample(
        Waveform.of(sound),
        LipTrack(lips, np.ones(n, bool), FrameClock.constant(n, Fraction(25))),
        np.zeros(n, np.int32),
    )
