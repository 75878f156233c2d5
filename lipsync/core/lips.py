"""The 18-point lip layout, its PCA basis, and closing the mouth in silence.

Order (iBUG-68 numbers in brackets): 0-11 the outer contour (48-59), clockwise on the picture from the left corner;
12-14 the inner edge of the upper lip, left to right (61-63); 15-17 the inner edge of the lower lip, right to left
(65-67). "Left" is the picture's left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from lipsync.core.arrays import Array, runs_of
from lipsync.core.types import LipTrack

if TYPE_CHECKING:
    from torch import Tensor

#: Rows of the iBUG-68 layout that are lip points.
LIPS_FROM_68 = np.array([48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 62, 63, 65, 66, 67])
UPPER_INNER, LOWER_INNER = np.array([12, 13, 14]), np.array([17, 16, 15])
#: The lower lip, both edges.
LOWER = np.concatenate([np.arange(7, 12), LOWER_INNER])
#: Inner edge of the lips as a closed line, from the left corner along the upper lip and back.
INNER_EDGE = np.array([0, 12, 13, 14, 6, 15, 16, 17])
#: Lip point that each becomes in a mirror.
MIRRORED = np.array([6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 14, 13, 12, 17, 16, 15])

#: Lips that are this much further apart than at rest, or less, are closed (eye distances).
CLOSED_GAP = 0.02


@overload
def opening(lips: Array) -> Array: ...
@overload
def opening(lips: Tensor) -> Tensor: ...
def opening(lips: Any) -> Any:
    """(...,) mean vertical gap between the inner lip edges of (...,18,2) lips, in their unit; numpy or torch, the kind
    of `lips` is kept."""
    return (lips[..., LOWER_INNER, 1] - lips[..., UPPER_INNER, 1]).mean(-1)


@dataclass(frozen=True, slots=True)
class LipBasis:
    """Principal components of one person's lips. mean: (18,2); components: (K,18,2) orthonormal, largest first; spread:
    (K,) their std."""

    mean: Array
    components: Array
    spread: Array

    @classmethod
    def fit(cls, points: Array, valid: Array, n_components: int = 20) -> LipBasis:
        """The basis of the valid rows of (N,18,2) lips; fewer components where there are fewer rows."""
        rows = points[valid].reshape(-1, 36).astype(np.float64)
        if len(rows) == 0:
            raise ValueError("LipBasis.fit: no valid lips")
        mean = rows.mean(0)
        _, scale, axes = cast(tuple[Array, Array, Array], np.linalg.svd(rows - mean, full_matrices=False))
        k = min(n_components, len(scale))
        spread = scale[:k] / np.sqrt(len(rows))
        return cls(
            mean.reshape(18, 2).astype(np.float32),
            axes[:k].reshape(k, 18, 2).astype(np.float32),
            spread.astype(np.float32),
        )

    def encode(self, points: Array) -> Array:
        """(N,K) coefficients of (N,18,2) lips."""
        return (points - self.mean).reshape(len(points), 36) @ self.components.reshape(-1, 36).T

    def decode(self, coefficients: Array) -> Array:
        """(N,18,2) lips of (N,K) coefficients."""
        return (self.mean + (coefficients @ self.components.reshape(-1, 36)).reshape(-1, 18, 2)).astype(np.float32)


def uncrossed(points: Array) -> Array:
    """The (...,18,2) lips with the inner edges met half-way wherever the upper lay below the lower."""
    upper, lower = points[..., UPPER_INNER, 1], points[..., LOWER_INNER, 1]
    crossed, middle = upper > lower, (upper + lower) / 2
    fixed = points.copy()
    fixed[..., UPPER_INNER, 1] = np.where(crossed, middle, upper)
    fixed[..., LOWER_INNER, 1] = np.where(crossed, middle, lower)
    return fixed


def rest_shape(points: Array, valid: Array, voiced: Array) -> Array:
    """(18,2) the person's closed, resting lips: the median of the most closed fifth of the silent frames (of all, where
    none is silent).

    points: (N,18,2); valid, voiced: (N,) bool.
    """
    if not valid.any():
        raise ValueError("rest_shape: no valid lips")
    silent = valid & ~voiced
    candidates = points[silent if silent.sum() >= 5 else valid]
    gap = opening(candidates)
    share = 0.2 if silent.sum() >= 5 else 0.05
    return uncrossed(np.median(candidates[gap <= np.quantile(gap, share)], axis=0)).astype(np.float32)


def close_when_silent(
    lips: LipTrack,
    voiced: Array,
    rest: Array,
    pause_s: float = 0.3,
    close_s: float = 0.14,
    open_s: float = 0.14,
    lead_s: float = 0.3,
) -> LipTrack:
    """The lips, eased to the closed `rest` (18,2) in every pause of at least `pause_s`; exactly `rest` inside, never a
    step.

    Closing starts when speech ends and takes `close_s`; opening takes `open_s` and is over `lead_s` before speech
    starts (sooner in short pauses): a breath and the first sound's shape come well before the sound (GRID s1: real lips
    follow such a gate with r .92 at a lead of 0.06 s, .98 at 0.3 s). voiced: (N,) bool on the clock of `lips`. Pauses
    too short for both movements are left alone."""
    seconds = lips.clock.seconds if lips.clock is not None else np.arange(len(lips)) / 100
    closed = np.zeros(len(lips))
    for first, after in runs_of(~voiced):
        at_start, at_end = first == 0, after == len(lips)
        start_s = -np.inf if at_start else seconds[first]
        stop_s = np.inf if at_end else seconds[after]
        slack_s = stop_s - start_s - close_s - open_s
        if stop_s - start_s < pause_s or slack_s < 0:
            continue
        early_s = min(lead_s, slack_s / 2)
        row = slice(first, after)
        leaving = soft_step((seconds[row] - start_s) / close_s)
        arriving = soft_step((stop_s - early_s - seconds[row]) / open_s)
        closed[row] = np.minimum(leaving, arriving)
    weight = closed[:, None, None].astype(np.float32)
    points = np.where(weight == 1, rest, lips.points * (1 - weight) + rest * weight).astype(np.float32)
    return LipTrack(points, lips.valid | (closed == 1), lips.clock)


def with_every_closure(sampled: LipTrack, predicted: LipTrack, rest: Array) -> LipTrack:
    """The `sampled` lips with the frame nearest to each closure of the `predicted` ones (100 per second) closed, where
    the closure fell between two frames: at 25 frames a second a /p/ of 40 ms else shows in every other one only.

    rest: (18,2) the person's closed lips; a mouth within CLOSED_GAP of their gap is closed."""
    if len(sampled) == 0 or len(predicted) == 0:
        return sampled
    moments, closed_gap = sampled.frames.seconds * 100, opening(rest) + CLOSED_GAP
    gap, shown, points = opening(predicted.points), opening(sampled.points) < closed_gap, sampled.points.copy()
    for first, after in runs_of(gap < closed_gap):
        lowest = first + int(np.argmin(gap[first:after]))
        frame = int(np.argmin(np.abs(moments - lowest)))
        around = slice(max(0, frame - 1), frame + 2)
        inside = (moments[around] > first - 1) & (moments[around] < after)
        if not (inside & shown[around]).any():
            points[frame] = predicted.points[lowest]
    return LipTrack(points, sampled.valid, sampled.clock)


def from_inner_edges(lips: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How far below the upper and above the lower inner edge of (N,18,2) lips, vertically, each point of the grid of x
    (W,) and y (H,) lies: both (N,H,W), both positive inside; all in one unit."""
    import torch

    edge = lips[:, INNER_EDGE]
    upper = _height_at(edge[:, :5], x, outside=torch.inf)
    lower = _height_at(torch.cat([edge[:, :1], edge[:, 5:].flip(1), edge[:, 4:5]], 1), x, outside=-torch.inf)
    return y[None, :, None] - upper[:, None], lower[:, None] - y[None, :, None]


def _height_at(line: Tensor, x: Tensor, outside: float) -> Tensor:
    """(N,W) y of the polylines (N,P,2), ascending in x, at each x; `outside` beyond their ends."""
    import torch

    out = torch.full((len(line), len(x)), outside, device=line.device, dtype=line.dtype)
    for a, b in zip(line.unbind(1)[:-1], line.unbind(1)[1:], strict=True):
        t = (x - a[:, :1]) / (b[:, :1] - a[:, :1]).clamp_min(1e-6)
        out = torch.where((t >= 0) & (t <= 1), a[:, 1:] + t * (b[:, 1:] - a[:, 1:]), out)
    return out


@overload
def soft_step(x: Array) -> Array: ...
@overload
def soft_step(x: Tensor) -> Tensor: ...
def soft_step(x: Any) -> Any:
    """0 below 0, 1 above 1, smooth between and level at both ends; numpy or torch, the kind of `x` is kept."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)
