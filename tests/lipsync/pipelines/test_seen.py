"""What is said of a dub before it is drawn: the part of the target that is seen, what changes in it, and whether
anything does."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from lipsync.core.errors import LipsyncError
from lipsync.core.text import few_spans
from lipsync.core.types import REASONS, DubPlan, LipTrack
from lipsync.pipelines.seen import changed_spans, picture_seen, refuse_undubbed
from video.clock import FrameClock

CLOCK = FrameClock.constant(100, Fraction(25))
HINT = "; --timeline keep plays it from its start"


def plan(source, render=True, half=()):
    n, clock = len(source), FrameClock.constant(len(source), Fraction(25))
    halves = np.zeros(n, bool)
    halves[list(half)] = True
    lips = LipTrack(np.zeros((n, 18, 2), np.float32), np.ones(n, bool), clock)
    drawn = np.broadcast_to(np.asarray(render, bool), n).copy()
    return DubPlan(np.asarray(source), halves, lips, drawn, clock, np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("source", "timeline", "says"),
    [
        (range(100), "keep", "the target's own time"),
        (range(60), "keep", "the first 2.4 s of the target, in its own time"),
        ([*range(50, 75)], "retime", "2.0-3.0 s of the target, no jump" + HINT),
        ([*range(50, 75), *range(20, 30)], "retime", "0.8-3.0 s of the target, 1 jump" + HINT),
        ([10, 11, 11, 13, 14, 60, 20], "retime", "0.4-2.4 s of the target, 2 jumps" + HINT),
        ([*range(100), *range(20)], "keep", "0.0-4.0 s of the target, 1 jump"),
        ([*range(100), *range(99, 50, -1)], "keep", "0.0-4.0 s of the target, no jump"),
    ],
)
def test_the_part_of_the_target_that_is_seen(source, timeline, says):
    assert picture_seen(plan([*source]), CLOCK, timeline) == says


def test_a_half_step_shows_the_next_frame_too():
    assert picture_seen(plan([10, 10, 11], half=[2]), CLOCK, "keep").startswith("0.4-0.5 s")


def test_a_target_of_variable_rate_has_its_own_seconds():
    uneven = FrameClock(np.array([0, 1, 2, 12, 13], np.int64), Fraction(1, 2), 14)
    assert picture_seen(plan([2, 3, 4]), uneven, "keep").startswith("1.0-7.0 s")


def test_the_label_says_where():
    first, second = (np.zeros(50, bool) for _ in range(2))
    first[5:10], second[20:30], second[8:12] = True, True, True
    spans = changed_spans([plan(range(50), first), plan(range(50), second)])
    assert spans == [[0.2, 0.48], [0.8, 1.2]] and few_spans(spans) == "0.20-0.48, 0.80-1.20 s"
    assert changed_spans([plan(range(50), False)]) == []
    assert few_spans([[i, i + 0.5] for i in range(15)], most=12).endswith("11.00-11.50 s and 3 more")


def test_nothing_dubbed_is_a_failure_that_says_why():
    reason = np.zeros(100, int)
    reason[:10], reason[10:] = REASONS.index("no face"), REASONS.index("turned too far")
    track, spoken = SimpleNamespace(reason=reason), np.arange(50) >= 5
    why = r"of 45 frames .* none can be: turned too far \(40\), no face \(5\).*--allow-undubbed"
    with pytest.raises(LipsyncError, match=why) as caught:
        refuse_undubbed([(plan(range(50), False), track, spoken)])
    assert caught.value.exit_status == 3
    one = np.arange(50) == 7
    refuse_undubbed([(plan(range(50), False), track, spoken), (plan(range(50), one), track, spoken)])
    with pytest.raises(LipsyncError, match="of 0 frames"):
        refuse_undubbed([(plan(range(50), False), track, np.zeros(50, bool))])
