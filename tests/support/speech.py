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


def vowel(n: int) -> np.ndarray:
    """(n,) one open vowel of one voice, 16 kHz, RMS 1: harmonics of a wavering pitch under three formants."""
    t = np.arange(n) / 16000
    pitch = 125 * 2 ** (0.1 * np.sin(2.2 * t) + 0.03 * np.sin(11 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    formants = (700 + 90 * np.sin(9 * t), 1250 + 200 * np.sin(7 * t), 2550.0 + 0 * t)
    out = sum(np.sin(k * phase) * sum(np.exp(-(((k * pitch - f) / 130) ** 2)) for f in formants) for k in range(1, 28))
    return out / np.sqrt(np.mean(np.square(out)))


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
    sound = (0.1 * level * vowel(len(t)) + 1e-4 * rng.normal(size=len(t))).astype(np.float32)
    lips = np.repeat(canonical_68()[None, LIPS_FROM_68, :2], n, 0).astype(np.float32)
    gap = 0.2 * np.interp(np.arange(n) / 25 - late_s, np.arange(n) / 25, strength)
    lips[:, LOWER_INNER, 1] = lips[:, UPPER_INNER, 1] + gap[:, None]
    lips[:, 7:12, 1] += gap[:, None]
    return LipExample(
        Waveform.of(sound),
        LipTrack(lips, np.ones(n, bool), FrameClock.constant(n, Fraction(25))),
        np.zeros(n, np.int32),
    )
