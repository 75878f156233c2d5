"""Whether the lips close where they must: at the bilabial sounds /p b m/.

A gap under CLOSED counts as closed lips. On GRID s1 `train` the real lips are closed within MARGIN_S of the word
boundary in 98.5 % of the 544 bilabials (0 s: 89.9 %, 0.08 s: 98.9 %), and in 52 % of equally long windows anywhere near
speech: always print a control beside a share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from lipsync.core.lips import opening
from lipsync.core.types import LipTrack

#: Mean vertical gap between the inner lip edges, eye distances, below which lips are closed.
CLOSED = 0.02
#: Added to a sound's beginning and end: lips meet before a /b/ is heard, and alignments are rounded.
MARGIN_S = 0.04
#: Ours may close this much earlier or later than the real lips' window: one frame at 25 per second.
SLACK_S = 0.04

#: One sound and when it is heard: start_s, end_s, name (IPA or ARPAbet).
Phone = tuple[float, float, str]

_DIACRITICS = "ʰʲʷˠːˑ̩̚:'0123456789"
_AT_START = {"bin": "b", "blue": "b", "by": "b", "place": "p", "please": "p", "b": "b", "p": "p"}
_AT_END = {"m": "m"}


@dataclass(frozen=True, slots=True)
class Closures:
    """Counts of windows, which add up over clips.

    bilabials: those seen; real: of these the real lips close; both: of those ours close too; ours_only: ours close, the
    real ones do not. open, open_closed: windows of 0.08 s anywhere in which the real lips stay open, and those of them
    in which ours close."""

    bilabials: int = 0
    real: int = 0
    both: int = 0
    ours_only: int = 0
    open: int = 0
    open_closed: int = 0

    def __add__(self, other: Closures) -> Closures:
        return Closures(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def share(self) -> float:
        """Of the closures of the real lips, those that ours make; 1 where there is none."""
        return self.both / self.real if self.real else 1.0

    @property
    def false_share(self) -> float:
        """Of the windows in which the real lips stay open, those that ours close."""
        return self.open_closed / self.open if self.open else 0.0


def closures(phones: Iterable[Phone], ours: LipTrack, real: LipTrack) -> Closures:
    """What ours and the real lips do at the bilabials among `phones`; both tracks on one clock.

    A window with an invalid row, or past the end, is left out.
    """
    if len(ours) != len(real):
        raise ValueError(f"closures: {len(ours)} lips of ours, {len(real)} real ones; they must be on one clock")
    seconds = real.clock.seconds if real.clock is not None else np.arange(len(real)) / 100
    seen = ours.valid & real.valid
    gap_ours, gap_real = opening(ours.points), opening(real.points)
    total = Closures(**_where_open(seconds, seen, gap_ours, gap_real))
    for start_s, end_s, name in phones:
        window = _within(seconds, start_s - MARGIN_S, end_s + MARGIN_S)
        wider = _within(seconds, start_s - MARGIN_S - SLACK_S, end_s + MARGIN_S + SLACK_S)
        if not is_bilabial(name) or not window.any() or not seen[wider].all():
            continue
        real_closes, ours_closes = gap_real[window].min() < CLOSED, gap_ours[wider].min() < CLOSED
        total += Closures(1, int(real_closes), int(real_closes and ours_closes), int(ours_closes and not real_closes))
    return total


def smallest_gaps(phones: Iterable[Phone], lips: LipTrack) -> np.ndarray:
    """(n,) the smallest gap at each bilabial with visible lips, eye distances."""
    seconds = lips.clock.seconds if lips.clock is not None else np.arange(len(lips)) / 100
    windows = (_within(seconds, s - MARGIN_S, e + MARGIN_S) & lips.valid for s, e, name in phones if is_bilabial(name))
    return np.array([opening(lips.points[window]).min() for window in windows if window.any()])


def is_bilabial(name: str) -> bool:
    """Whether a sound's IPA or ARPAbet name is /p/, /b/ or /m/, long, aspirated or otherwise marked."""
    return name.lower().strip(_DIACRITICS) in ("p", "b", "m")


def grid_phones(words: Sequence[tuple[float, float, str]]) -> list[Phone]:
    """The bilabials of `training.grid.words`, each at the word boundary at which it is heard."""
    starting = [(start_s, start_s, _AT_START[word]) for start_s, _, word in words if word in _AT_START]
    ending = [(end_s, end_s, _AT_END[word]) for _, end_s, word in words if word in _AT_END]
    return sorted(starting + ending)


def _within(seconds: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """Rows nearest to the span: half a row beyond either end still counts."""
    half = 0.5 * float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    return (seconds > start_s - half) & (seconds < end_s + half)


def _where_open(seconds: np.ndarray, seen: np.ndarray, gap_ours: np.ndarray, gap_real: np.ndarray) -> dict[str, int]:
    """The counts "open" and "open_closed": a window around every row."""
    step_s = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
    reach = round(MARGIN_S / step_s)
    if len(seconds) <= 2 * reach:
        return {}

    def low(values: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(values, 2 * reach + 1).min(1)

    stays_open = (low(gap_real) >= CLOSED) & low(seen)
    return {"open": int(stays_open.sum()), "open_closed": int((stays_open & (low(gap_ours) < CLOSED)).sum())}
