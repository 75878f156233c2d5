"""One person's lips as another's: an actor's performance on the rest and range of the person who is dubbed.

After Thies et al. 2016 (Face2Face: expressions are offsets from each person's own neutral face); here the offsets are
scaled by how far each of the two is seen to move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync.core.arrays import Array, runs_of
from lipsync.core.lips import CLOSED_GAP, LOWER, opening, soft_step, uncrossed
from lipsync.core.types import LipTrack

#: Shares of a person's speaking frames that open no more than his closed lips, and than his range says.
_CLOSED, _WIDE = 0.03, 0.9
#: Between these shares of them lie the widths that his range says.
_NARROW_WIDTH, _BROAD_WIDTH = 0.1, 0.9
#: Ranges smaller than these (eye distances) tell nothing; and how far one range may lie from the other.
_LEAST_OPENING, _LEAST_WIDTH, _MOST_GAIN = 0.05, 0.02, 2.0
#: Of so many seconds of speech half of a difference in range (its logarithm) is believed: in four seconds of the
#: presenter he opens 1.27 times less than in his other 27.
_HALF_TRUSTED_S = 10.0
#: A face that is lost for so long is bridged; longer, the mouth goes to rest in EASE_S.
BRIDGED_S, EASE_S = 0.24, 0.14


@dataclass(frozen=True, slots=True)
class LipRange:
    """How a person moves the lips. closed: (18,2) his rest with the lips met, face frame; opens: from there, hardly
    ever more; widens: from narrow to broad mouths; both in eye distances; seen_s: seconds of speech that tell it."""

    closed: Array
    opens: float
    widens: float
    seen_s: float

    @classmethod
    def of(cls, points: Array, rest: Array, seen_s: float) -> LipRange:
        """Of (N,18,2) lips while the person speaks, `seen_s` seconds in all. rest: (18,2), which may be parted: of some
        the mouth is open while they listen, and closes in speech only."""
        if len(points) == 0:
            return cls(rest, 0.0, 0.0, 0.0)
        gaps = opening(points)
        closed = rest.copy()
        closed[LOWER, 1] -= max(0.0, float(opening(rest) - np.quantile(gaps, _CLOSED)))
        narrow, broad = np.quantile(_width(points), [_NARROW_WIDTH, _BROAD_WIDTH])
        return cls(closed, float(np.quantile(gaps, _WIDE) - opening(closed)), float(broad - narrow), seen_s)


def as_person(points: Array, actor: LipRange, person: LipRange) -> Array:
    """(N,18,2) float32: the actor's lips as the person would make them: offsets from his closed lips, laid on the
    person's, scaled down the face by how far each opens and across it by how far each widens; closed stays closed."""
    seen_s = min(actor.seen_s, person.seen_s)
    trust = seen_s / (seen_s + _HALF_TRUSTED_S)
    down = _gain(actor.opens, person.opens, _LEAST_OPENING) ** trust
    across = _gain(actor.widens, person.widens, _LEAST_WIDTH) ** trust
    offset = points - actor.closed
    gap = opening(points) - opening(actor.closed)
    # up to CLOSED_GAP nothing is made wider; beyond it the rest of the range is spread so that both ends fit
    near = min(down, 1.0)
    beyond = (down * actor.opens - near * CLOSED_GAP) / (actor.opens - CLOSED_GAP) if down > 1 else down
    wanted = np.where(gap <= CLOSED_GAP, near * gap, near * CLOSED_GAP + beyond * (gap - CLOSED_GAP))
    scale = np.where(np.abs(gap) > 1e-4, wanted / np.where(np.abs(gap) > 1e-4, gap, 1), near)
    offset = offset * np.stack([np.full(len(gap), across), scale], -1)[:, None]
    return uncrossed((person.closed + offset).astype(np.float32))


def _gain(actor: float, person: float, least: float) -> float:
    """How much farther the person moves than the actor; 1 where either is not seen to move."""
    if min(actor, person) < least:
        return 1.0
    return float(np.clip(person / actor, 1 / _MOST_GAIN, _MOST_GAIN))


def _width(points: Array) -> Array:
    return points[..., 6, 0] - points[..., 0, 0]


def lips_at_moments(lips: LipTrack, moments_s: Array, rest: Array) -> tuple[Array, Array]:
    """((M,18,2) float32 lips at these seconds of the track's own clock, (M,) bool where they were seen): linear between
    valid frames, across at most BRIDGED_S; a frame that is held stays; at rest elsewhere, which is reached and left in
    EASE_S."""
    rows, seconds = np.flatnonzero(lips.valid), lips.frames.seconds
    if len(rows) == 0:
        return np.repeat(rest[None], len(moments_s), 0).astype(np.float32), np.zeros(len(moments_s), bool)
    seen_s, usual_s = seconds[rows], float(np.median(np.diff(seconds))) + 1e-6 if len(lips) > 1 else EASE_S
    after = np.searchsorted(seen_s, moments_s, side="right")
    low, high = np.maximum(after - 1, 0), np.minimum(after, len(rows) - 1)
    gap_s, since_s, until_s = seen_s[high] - seen_s[low], moments_s - seen_s[low], seen_s[high] - moments_s
    is_short, is_held = gap_s <= max(BRIDGED_S, usual_s), rows[high] - rows[low] == 1
    part = np.where(is_short, since_s / np.maximum(gap_s, 1e-9), np.where(is_held, 0.0, until_s < since_s)).clip(0, 1)
    away_s = np.minimum(np.abs(since_s), np.abs(until_s))
    is_inside = (after > 0) & (after < len(rows))
    found = (is_inside & (is_short | is_held)) | (away_s <= usual_s)
    weight = np.where(found, 0.0, soft_step((away_s - usual_s) / EASE_S))[:, None, None]
    seen = lips.points[rows[low]] * (1 - part)[:, None, None] + lips.points[rows[high]] * part[:, None, None]
    return (seen * (1 - weight) + rest * weight).astype(np.float32), found


def lost_spans(found: Array, moments_s: Array) -> list[tuple[float, float]]:
    """From and to, in seconds, of every stretch at which no lips were found."""
    return [(float(moments_s[first]), float(moments_s[after - 1])) for first, after in runs_of(~found)]
