"""The only conversions between the clocks: samples (16,000 a second), features (100 a second) and frames (the video's
own time stamps).

Time 0 is the first sample, the first feature and the first frame. Feature f is centred at f/100 s; a frame's picture
belongs to the moment it is first shown. Positions are integer arithmetic on the frame clock's rational base, so nothing
drifts."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain

import numpy as np

from audio.features import FEATURE_RATE
from lipsync.core.arrays import Array, runs_of
from lipsync.core.types import LipTrack
from video.clock import FrameClock

#: Frame rates that cameras and editors use; a measured mean rate this near (in ticks over the whole video) is one of
#: them.
NOMINAL_RATES = tuple(Fraction(r) for r in (12, 15, 24, 25, 30, 48, 50, 60, 90, 100, 120)) + tuple(
    Fraction(r * 1000, 1001) for r in (24, 30, 48, 60, 120)
)
SNAP_TICKS = 2
#: A clock with holds, or frames left out: at least so many of its steps are the usual one, within this share of it.
FEW_LEFT_OUT, JITTER = 0.8, 0.25


def feature_position(clock: FrameClock) -> tuple[Array, Array]:
    """Where each frame falls among features: (N,) int64 feature at or before it, and (N,) float64 in [0, 1) of the way
    to the next."""
    ticks = (clock.pts - clock.pts[0]) * (clock.base.numerator * FEATURE_RATE)
    whole, rest = np.divmod(ticks, clock.base.denominator)
    return whole, rest / clock.base.denominator


def lips_at(track: LipTrack, clock: FrameClock) -> LipTrack:
    """The lips of a 100-per-second track at the frames of `clock`, interpolated; the last lips are held beyond the end.

    A frame is valid where both neighbours (or the one it falls on) are.
    """
    if track.clock is not None:
        raise ValueError("lips_at expects a track of 100 rows per second (clock None)")
    a, b, _ = _neighbours(clock)
    last = len(track) - 1
    valid = track.valid[np.minimum(a, last)] & track.valid[np.minimum(b, last)]
    return LipTrack(features_at(track.points, clock), valid, clock)


def features_at(values: Array, clock: FrameClock) -> Array:
    """(N,...) float32 rows of (F,...) `values` at 100 per second at the frames of `clock`, interpolated; the last is
    held beyond the end."""
    return pieces_at([values], clock)


def pieces_at(pieces: Iterable[Array], clock: FrameClock) -> Array:
    """`features_at` of values that come in pieces, (f,...) after (f,...), of which two are held at a time."""
    before, after, part = _neighbours(clock)
    rest = iter(pieces)
    first_piece = next(rest)
    out, begin, last = np.empty((len(clock), *first_piece.shape[1:]), np.float32), 0, first_piece[:0]
    for piece in chain([first_piece], rest):
        end = begin + len(piece)
        known = np.concatenate([last, piece])
        first = end - len(known)
        rows = slice(*np.searchsorted(after, [begin, end]))
        out[rows] = _between(known[before[rows] - first], known[after[rows] - first], part[rows])
        begin, last = end, piece[-1:]
    beyond = part[np.searchsorted(after, begin) :]
    out[len(out) - len(beyond) :] = _between(last, last, beyond)
    return out


def _between(a: Array, b: Array, part: Array) -> Array:
    weight = part.reshape(-1, *[1] * (a.ndim - 1)).astype(np.float32)
    return (a * (1 - weight) + b * weight).astype(np.float32)


def _neighbours(clock: FrameClock) -> tuple[Array, Array, Array]:
    """The features before and after each frame, and how far the frame is on the way between them."""
    before, part = feature_position(clock)
    return before, before + (part > 0), part


def to_feature_clock(lips: LipTrack, n_features: int, shot: Array | None = None) -> LipTrack:
    """Lips of a video at 100 per second, linear between neighbouring frames.

    Valid only where both frames are valid and belong to one shot (`shot`: (T,) numbers; None = one shot). Paper:
    Suwajanakorn et al. 2017."""
    before, part = feature_position(lips.frames)
    moments = before + part
    rows = np.arange(n_features)
    a = np.clip(np.searchsorted(moments, rows, side="right") - 1, 0, len(lips) - 1)
    b = np.minimum(a + 1, len(lips) - 1)
    gap = np.where(b > a, moments[b] - moments[a], 1.0)
    weight = np.clip((rows - moments[a]) / gap, 0, 1)
    on_a = rows == moments[a]
    together = lips.valid[a] & lips.valid[b] & (b > a)
    if shot is not None:
        together &= shot[a] == shot[b]
    weight = np.where(together, weight, 0)[:, None, None].astype(np.float32)
    points = lips.points[a] * (1 - weight) + lips.points[b] * weight
    return LipTrack(points.astype(np.float32), together | (on_a & lips.valid[a]))


def shot_at_features(shot: Array, clock: FrameClock, n_features: int) -> Array:
    """(F,) the shot number shown at each feature."""
    before, part = feature_position(clock)
    rows = np.searchsorted(before + part, np.arange(n_features), side="right") - 1
    return shot[np.clip(rows, 0, len(shot) - 1)]


def voiced_at(voice: Array, clock: FrameClock) -> Array:
    """(N,) bool: whether somebody speaks at each frame, from (F,) bool at 100 per second; False beyond its end."""
    before, part = feature_position(clock)
    nearest = before + (part >= 0.5)
    return (nearest < len(voice)) & voice[np.minimum(nearest, len(voice) - 1)]


def output_clock(duration_s: Fraction, like: FrameClock) -> FrameClock:
    """A constant clock of exactly round(duration x rate) frames, at least one, at the frame rate of `like`.

    On the time base of `like` where that divides the frame period, else on one that does; a variable-rate `like` lends
    its nominal rate."""
    rate = nominal_rate(like)
    n_frames = max(1, round(Fraction(duration_s) * rate))
    period = 1 / (rate * like.base)
    if period.denominator == 1:
        ticks = period.numerator
        return FrameClock(np.arange(n_frames, dtype=np.int64) * ticks, like.base, n_frames * ticks)
    return FrameClock.constant(n_frames, rate)


def nominal_rate(clock: FrameClock) -> Fraction:
    """Frames per second: exact where the usual step is; else a standard rate, if the usual steps are its own but for
    rounding and jitter.

    A step much longer or shorter than the usual one is a hold or frames left out, and tells nothing of the rate; a
    clock without a usual step has its mean rate."""
    steps = np.diff(clock.pts)
    if len(steps) == 0:
        return clock.rate
    usual = float(np.median(steps))
    near = np.abs(steps - usual) <= JITTER * usual
    if near.mean() < FEW_LEFT_OUT:
        near[:] = True
    chosen = steps[near]
    spread = int(chosen.max() - chosen.min())
    if spread == 0:
        return 1 / (int(chosen[0]) * clock.base)
    n_steps, length_s = len(chosen), int(chosen.sum()) * clock.base
    step_s = _steady_step(clock.pts, near) * float(clock.base)
    standard = min(NOMINAL_RATES, key=lambda rate: abs(1 / float(rate) - step_s))
    is_steady = spread <= max(SNAP_TICKS, 2 * JITTER * usual)
    if is_steady and n_steps * abs(1 / float(standard) - step_s) <= max(SNAP_TICKS, spread) * clock.base:
        return standard
    return (n_steps / length_s).limit_denominator(1001)


def _steady_step(pts: Array, near: Array) -> float:
    """The step of the line through (T,) stamps, least squares, that starts anew wherever a step is not `near` the usual
    one, (T - 1,) bool: jitter of the first and last stamp alone would tell 30 from 29.97 only in a long film."""
    over = under = 0.0
    for first, after in runs_of(near):
        row = np.arange(after - first + 1) - (after - first) / 2
        over += float((row * (pts[first : after + 1] - pts[first])).sum())
        under += float((row**2).sum())
    return over / under
