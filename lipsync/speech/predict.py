"""Lips for a recording, on the clock they are wanted on."""

from __future__ import annotations

import numpy as np

from audio.load import Waveform
from lipsync.core.timebase import pieces_at
from lipsync.speech.prior import bundled_lip_model
from video.clock import FrameClock


def speech_embedding(wave: Waveform, clock: FrameClock) -> np.ndarray:
    """(N,256) float32: what the bundled lip model's LSTM makes of the sound at the frames of `clock`."""
    return pieces_at(bundled_lip_model().hear(wave), clock)
