"""One shot that turns into another over several frames: dissolves, morphs, soft wipes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from video.thumbs import Thumb, difference, size_of

#: Half lengths of the windows tried around a frame, longest first.
HALF_LENGTHS = (32, 24, 16, 10, 6, 3)
#: Root mean square difference in levels between the two pictures of a transition at least.
_LEAST = 8.0
#: The frames between miss the straight way from one picture to the other by at most this share of its length: the
#: middle one, and any.
_OFF_MIDDLE, _OFF = 0.25, 0.35
#: Detail of the middle, as a share of what the two ends would have there if theirs were the same detail. Two pictures
#: laid over each other have about half; one picture that moves, or is lit otherwise, has all of it.
_DETAIL_LEFT = 0.75
#: A frame is a blend where its share of the second picture lies so far from 0 and 1.
_SEEN = 0.04


def transition_around(at: int, thumb: Callable[[int], Thumb], first: int, last: int) -> tuple[int, int] | None:
    """The blended frames (from, to, exclusive) of the transition in whose middle frame `at` lies; None where there is
    none. thumb: of the frames first..last.

    In a dissolve every frame is a mixture of the same two pictures, in growing shares, and detail that the two do not
    have in common cancels in part (the fall of variance of Alattar 1993)."""
    for half in HALF_LENGTHS:
        begin, end = at - half, at + half
        if begin < first or end > last:
            continue
        found = _blended(at, begin, end, thumb)
        if found is not None:
            return found
    return None


def _blended(at: int, begin: int, end: int, thumb: Callable[[int], Thumb]) -> tuple[int, int] | None:
    a, b = thumb(begin), thumb(end)
    if a.colour.shape != b.colour.shape or thumb(at).colour.shape != a.colour.shape:
        return None
    whole = difference(a, b)
    length = size_of(whole)
    if length < _LEAST:
        return None
    middle, off = _share(a, thumb(at), whole)
    if not 0.25 < middle < 0.75 or off > _OFF_MIDDLE * length or not _detail_falls(a, thumb(at), b, middle, whole):
        return None
    way = [_share(a, thumb(i), whole) for i in range(begin, end + 1) if thumb(i).colour.shape == a.colour.shape]
    shares = np.array([share for share, _ in way])
    if len(way) != end - begin + 1 or max(off for _, off in way) > _OFF * length or np.diff(shares).min() < -0.08:
        return None
    mixed = (shares > _SEEN) & (shares < 1 - _SEEN)
    plain = np.flatnonzero(~mixed)
    before, after = plain[plain < at - begin], plain[plain > at - begin]
    if not len(before) or not len(after):  # longer than this window
        return None
    return begin + int(before[-1]) + 1, begin + int(after[0])


def _share(a: Thumb, between: Thumb, whole: np.ndarray) -> tuple[float, float]:
    """How much of the second picture is in `between` (least squares), and by how many levels it misses that mixture.
    whole: the second picture minus `a`."""
    part = difference(a, between)
    share = float((part * whole).sum() / np.square(whole).sum())
    return share, size_of(part - share * whole)


def _detail_falls(a: Thumb, between: Thumb, b: Thumb, share: float, whole: np.ndarray) -> bool:
    """Where the two pictures differ most, the mixture has less detail than either's share of it."""
    where = np.abs(whole).mean(0)
    where = where >= np.quantile(where, 0.7)
    one, two, mixed = (float(t.detail[where].mean()) for t in (a, b, between))
    same = ((1 - share) * one**0.5 + share * two**0.5) ** 2
    return mixed < _DETAIL_LEFT * same
