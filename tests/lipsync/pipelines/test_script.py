"""What is said when: segments, and which timeline the options stand for."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, RetimeConfig
from lipsync.core.errors import UsageError
from lipsync.core.segments import Segment, checked
from lipsync.pipelines.script import script_of
from lipsync.speech.predict import rows_of
from video.clock import FrameClock

CLOCK, SPEECH = FrameClock.constant(100, Fraction(25)), Path("said.wav")


def script(speech_s, *segments, preview_s=None, **retime):
    config = replace(DubConfig(), retime=RetimeConfig(**retime))
    return script_of(SPEECH, Fraction(speech_s), CLOCK, config, segments, preview_s)


@pytest.mark.parametrize(
    ("speech_s", "options", "timeline", "rows"),
    [
        ("4.07", {}, "keep", 100),
        ("3.93", {}, "keep", 100),
        ("3.9", {}, "retime", None),
        ("4.1", {}, "retime", None),
        ("1", {"timeline": "keep"}, "keep", 100),
        ("1", {"length": "target"}, "keep", 100),
        ("4", {"timeline": "retime"}, "retime", None),
        ("1", {"timeline": "keep", "length": "speech"}, "keep", None),
        ("9", {"timeline": "keep", "length": "cut"}, "keep", None),
        ("9", {"length": "loop"}, "retime", None),
    ],
)
def test_the_timeline_is_kept_when_it_should_be(speech_s, options, timeline, rows):
    made = script(speech_s, **options)
    assert made.config.retime.timeline == timeline
    assert (made.segments is None) == (rows is None) and (rows is None or len(made.output_clock) == rows)


def test_speech_beyond_the_picture_is_told_of():
    assert "last 0.05 s" in script("4.05").notes[0] and script("3.99").notes == ()
    with pytest.raises(UsageError, match=r"speech lasts 5.00 s, the target 4.00 s.*--timeline retime"):
        script(5, timeline="keep")


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="leave out --timeline retime"):
        script(4, timeline="retime", length="target")
    for wrong in ({"timeline": "retime"}, {"length": "loop"}):
        with pytest.raises(UsageError, match="only parts"):
            script(1, Segment(Fraction(1), Fraction(2)), **wrong)


def test_a_preview_begins_with_the_first_segment():
    part = Segment(Fraction(1), Fraction(3))
    assert len(script(2, part, preview_s=0.4).output_clock) == 35
    assert len(script(4, preview_s=0.4).output_clock) == 10


def test_segments_are_checked_against_the_target_and_each_other():
    a, b, c = (Segment(Fraction(s), Fraction(e), p) for s, e, p in [(2, 3, 0), (0, 1, 0), (0, 3, 1)])
    assert checked([a, b, c], Fraction(4)) == (b, c, a)
    with pytest.raises(UsageError, match=r"line 3: 0.50-2.50 s: overlaps .* at 0.00-1.00 s"):
        checked([a, b, Segment(Fraction(1, 2), Fraction(5, 2), 0, place="line 3")], Fraction(4))
    with pytest.raises(UsageError, match="from 0 to 4.00 s"):
        checked([Segment(Fraction(3), Fraction(5))], Fraction(4))
    with pytest.raises(UsageError, match="must end after it starts"):
        checked([Segment(Fraction(3), Fraction(3))], Fraction(4))


def test_a_segment_has_the_frames_seen_in_its_time():
    at = lambda a, b: rows_of(Segment(Fraction(a), Fraction(b)), CLOCK)
    assert at(1, 2) == slice(25, 50) and at("0.99", "2.01") == slice(24, 51) and at(0, 4) == slice(0, 100)
    assert at(4, 5) == slice(100, 100) and at("3.99", 5) == slice(99, 100), "beyond the end of a preview is nothing"
    uneven = FrameClock(np.array([0, 10, 11, 40], np.int64), Fraction(1, 10), 50)
    assert rows_of(Segment(Fraction(1), Fraction(4)), uneven) == slice(1, 3)
