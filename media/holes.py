"""Holes in the timestamps of a sound track: which are silence, and which are damage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, pairwise
from typing import TypeVar

#: A shorter hole is rounding.
HOLE_S = Fraction(1, 20)
#: A longer one is broken timestamps.
MAX_HOLE_S = Fraction(600)
T = TypeVar("T")
Part = tuple[Fraction | None, Fraction, T]


def silences(parts: Iterable[Part[T]]) -> Iterator[tuple[Fraction, T]]:
    """Every part of a track, with the seconds of silence before it. parts: start on the file's clock (None: unsaid),
    length, and what it is, in order.

    Broken timestamps are not silence: there is none before two parts have followed on each other (a clock whose every
    part leaves a hole has the wrong unit), none where the next part goes back, and none longer than MAX_HOLE_S."""
    end: Fraction | None = None
    follows = False
    for part, after in pairwise(chain(parts, [None])):
        if part is None:
            return
        start, length, what = part
        hole = Fraction(0)
        if start is None or (end is not None and not _is_believable(start - end, start, length, after)):
            start = end
        if start is not None and end is not None:
            gap = start - end
            hole = gap if follows and HOLE_S < gap <= MAX_HOLE_S else hole
            follows = follows or abs(gap) <= HOLE_S
        end = None if start is None else start + length
        yield hole, what


def _is_believable(gap: Fraction, start: Fraction, length: Fraction, after: Part[T] | None) -> bool:
    """Whether a part starts where it says: at once, or after a jump that the next part goes on from."""
    if abs(gap) <= HOLE_S:
        return True
    if after is None or after[0] is None:
        return gap > 0
    return after[0] >= start if gap > 0 else abs(after[0] - start - length) <= HOLE_S
