"""Decoded sound made safe: what reading it, and writing it beside a picture, share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import AudioFrame

#: Samples a second that are believed.
RATES = (4000, 768_000)
#: Full scale is 1. No recording holds larger ones: beside them it would be silent, and encoders never end.
MAX_SAMPLE = 1e6


def is_believable(values: np.ndarray) -> np.ndarray:
    """Where samples, of any shape, are sound: numbers, and no larger than any recording has."""
    return np.abs(values) < MAX_SAMPLE


def interleaved(frame: AudioFrame) -> AudioFrame:
    """The frame with its channels in one plane where they are eight or more: PyAV (18) reads beyond the end of so many
    planes."""
    import av

    if not frame.format.is_planar or frame.layout.nb_channels < 8:
        return frame
    packer = av.AudioResampler(format=frame.format.packed, layout=frame.layout, rate=frame.sample_rate)
    (packed,) = packer.resample(frame)
    return packed
