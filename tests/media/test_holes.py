"""Which holes in timestamps are silence."""

from fractions import Fraction

from media.holes import silences

STEP = Fraction(1, 50)


def holes(*starts):
    """Silence before each of the parts of 20 ms, in milliseconds."""
    parts = [(None if s is None else Fraction(s, 1000), STEP, i) for i, s in enumerate(starts)]
    found = list(silences(parts))
    assert [what for _, what in found] == list(range(len(starts)))
    return [round(1000 * hole) for hole, _ in found]


def test_a_hole_is_silence_and_rounding_is_none():
    assert holes(0, 20, 1040, 1060) == [0, 0, 1000, 0]
    assert holes(0, 20, 41, 59, 80) == [0] * 5
    assert holes(500, 520, 640) == [0, 0, 100], "what comes before the first part is no hole"
    assert holes(0, 20, 420, 820, 840) == [0, 0, 380, 380, 0], "packets of a pause, far apart"


def test_broken_times_are_not_silence():
    assert holes(0, 20, 9_000, 60, 80) == [0] * 5, "one that jumps ahead and back"
    assert holes(1000, 1020, 200, 1060, 1080) == [0] * 5, "one that falls back"
    assert holes(1000, 1020, 0, 20, 40, 140) == [0, 0, 0, 0, 0, 80], "a clock that starts anew"
    assert holes(*range(0, 2000, 200)) == [0] * 10, "a unit that is wrong everywhere"
    assert holes(0, 20, 5_000_000, 5_000_020) == [0] * 4, "hours"
    assert holes(0, 20, None, None, 80, 180) == [0, 0, 0, 0, 0, 80], "some without any"
