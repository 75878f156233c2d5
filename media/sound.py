"""Decoded sound made safe: what reading it, and writing it beside a picture, share."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from av import AudioFrame

#: Samples a second that are believed.
RATES = (4000, 768_000)
#: Layouts that the encoders of all containers take, by number of channels.
LAYOUTS = {1: "mono", 2: "stereo", 5: "5.0", 6: "5.1"}
#: Full scale is 1. No recording holds larger ones: beside them it would be silent, and encoders never end.
MAX_SAMPLE = 1e6


class Sound(Protocol):
    """Sound that is made while it is written. rate: samples a second; n_channels: one of LAYOUTS; notes: sentences for
    the user, complete when all blocks have been taken."""

    rate: int
    n_channels: int
    notes: list[str]

    def blocks(self) -> Iterator[np.ndarray]:
        """(C,n) float32 one after the other, full scale 1, from the first."""
        ...


def is_believable(values: np.ndarray) -> np.ndarray:
    """Where samples, of any shape, are sound: numbers, and no larger than any recording has."""
    return np.abs(values) < MAX_SAMPLE


def time_of(frame: AudioFrame) -> Fraction | None:
    """Seconds on the file's own clock at which a decoded frame sounds; None: unsaid."""
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def interleaved(frame: AudioFrame) -> AudioFrame:
    """The frame with its channels in one plane where they are eight or more: PyAV (18) reads beyond the end of so many
    planes."""
    import av

    if not frame.format.is_planar or frame.layout.nb_channels < 8:
        return frame
    packer = av.AudioResampler(format=frame.format.packed, layout=frame.layout, rate=frame.sample_rate)
    (packed,) = packer.resample(frame)
    return packed


def planes_of(frame: AudioFrame) -> np.ndarray:
    """(C,n) float32 or float64: the channels of a decoded frame, full scale 1."""
    frame = interleaved(frame)
    values = frame.to_ndarray()
    channels = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        return (channels.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return channels.astype(np.float64) / -float(np.iinfo(values.dtype.name).min)
    return channels
