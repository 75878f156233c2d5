"""Frames and the clock they are shown on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class FrameClock:
    """Presentation times of frames: frame i is shown at `pts[i] * base` seconds (rational, variable rate included).

    pts: (T,) int64, strictly increasing. base: seconds per tick. end: tick at which the last frame ends.
    """

    pts: NDArray[np.int64]
    base: Fraction
    end: int

    def __post_init__(self) -> None:
        if self.pts.ndim != 1 or self.pts.dtype != np.int64 or len(self.pts) == 0:
            raise ValueError(f"FrameClock.pts must be (T,) int64 with T >= 1, got {self.pts.shape} {self.pts.dtype}")
        if len(self.pts) > 1 and (np.diff(self.pts) <= 0).any():
            raise ValueError("FrameClock.pts must increase strictly")
        if self.end <= self.pts[-1]:
            raise ValueError(f"FrameClock.end {self.end} must lie after the last frame {self.pts[-1]}")

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(T,) float64 start time of each frame, relative to the first."""
        return (self.pts - self.pts[0]) * (self.base.numerator / self.base.denominator)

    @property
    def duration_s(self) -> Fraction:
        """From the start of the first frame to the end of the last."""
        return (self.end - int(self.pts[0])) * self.base

    @property
    def rate(self) -> Fraction:
        """Mean frames per second."""
        return len(self.pts) / self.duration_s

    @classmethod
    def constant(cls, n_frames: int, rate: Fraction) -> FrameClock:
        """`n_frames` frames at a constant `rate` (frames per second)."""
        rate = Fraction(rate)
        return cls(
            np.arange(n_frames, dtype=np.int64) * rate.denominator,
            Fraction(1, rate.numerator),
            n_frames * rate.denominator,
        )


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Decoded frames. rgb: (B,3,H,W) uint8 torch tensor, of all of them or of one box that begins at pixel `at` (x, y);
    index: (B,) int64 numpy, frame numbers in the video; pictures: the same B frames, whole, as the decoder gave them or
    drawn half way to the next, where they were asked for; not to be changed."""

    rgb: Tensor
    index: NDArray[np.int64]
    pictures: tuple[av.VideoFrame, ...] = ()
    at: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 4 or self.rgb.shape[1] != 3 or len(self.index) != len(self.rgb):
            raise ValueError(
                f"FrameBatch: rgb {tuple(self.rgb.shape)} and index {self.index.shape} do not fit (B,3,H,W) and (B,)"
            )

    def part(self, rows: slice) -> FrameBatch:
        """Some of them."""
        return FrameBatch(self.rgb[rows], self.index[rows], self.pictures[rows], self.at)
