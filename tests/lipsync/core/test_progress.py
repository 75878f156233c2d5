"""Progress: what a person reads at 80 columns, what a file gets, what a program gets; and how far all of it is."""

import io
import json

import pytest
from rich.console import Console

from lipsync.core import progress as hooks


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_lines_start_end_and_every_ten_seconds():
    clock, stream = Clock(), io.StringIO()
    hook = hooks.Lines(stream, now=clock)
    for second in range(26):
        clock.now_s = float(second)
        hook("faces", second, 25)
    hook("dub", 0, 0)
    assert stream.getvalue().splitlines() == [
        "faces  0 %, 0/25",
        "faces  40 %, 15 s left, 10/25",
        "faces  80 %, 5 s left, 20/25",
        "faces  100 %, took 25 s, 25/25",
        "dub  0",
    ]


def test_json_lines_are_objects():
    stream = io.StringIO()
    with hooks.JsonLines(stream) as hook:
        hooks.expect(hook, 61.04)
        hook("faces", 0, 2)
        hooks.whole(hook, 0.25, 30.0)
        hook("faces", 2, 2)
    estimate, *steps = map(json.loads, stream.getvalue().splitlines())
    assert estimate == {"estimate_s": 61.0}
    assert [one["done"] for one in steps] == [0, 2] and steps[1]["whole"] == 0.25 and "whole" not in steps[0]


def test_a_line_says_how_far_all_is_and_no_control_characters_reach_a_file():
    clock, stream = Clock(), io.StringIO()
    with hooks.Lines(stream, now=clock) as hook:
        hooks.expect(hook, 754)
        hook("lips", 0, 400)
        clock.now_s = 12.0
        hooks.whole(hook, 0.341, 312)
        hooks.note(hook, "loss 0.02")
        hook("lips", 100, 400)
    text = stream.getvalue()
    assert text.splitlines()[0].startswith("This will take about 13 min (an estimate")
    assert text.splitlines()[-1] == "lips  25 %, 36 s left, 100/400, all 34 %, 5 min left  loss 0.02"
    assert all(c.isprintable() or c == "\n" for c in text)


def drawn(bars, width):
    """What bars show at this width, line by line."""
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(bars.draw())
    return stream.getvalue().rstrip("\n").split("\n")


LOSSES = "pixel 0.0231, perceptual 0.114, adversarial 0.693, feature matching 1.23"


@pytest.fixture
def bars():
    clock = Clock()
    shown = hooks.Bars(io.StringIO(), now=clock)
    shown("faces of the real video, take 12", 0, 264)
    clock.now_s = 40.0
    shown("faces of the real video, take 12", 264, 264)
    shown("texture pix2pix-hd", 0, 12000)
    clock.now_s = 100.0
    hooks.note(shown, LOSSES)
    hooks.whole(shown, 0.45, 125.0)
    shown("texture pix2pix-hd", 3000, 12000)
    return shown


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_percent_and_time_left_come_first_and_no_line_is_wider_than_the_terminal(bars, width):
    bars.console.width = width
    done, running, whole = drawn(bars, width)
    assert max(map(len, (done, running, whole))) <= width
    assert "100 %" in done and "took 40 s" in done
    assert " 25 %" in running and "3 min left" in running, "60 s for a quarter"
    assert whole.startswith("all") and "45 %" in whole and "2 min left" in whole
    assert ("3000/12000" in running) == (width >= 60), "then the count"
    assert (LOSSES in running) == (width >= 160) and ("pixel 0.02" in running) == (width >= 80), "then the words"
    assert ("━" in done) == (width >= 100), "and a bar"


def test_without_words_there_is_a_bar_at_80_columns():
    bars = hooks.Bars(io.StringIO())
    bars("faces of the dubbed video", 66, 264)
    (line,) = drawn(bars, 80)
    assert line.startswith("faces of the dubbed video ") and "66/264" in line and line.count("━") >= 5, (
        "a quarter of twenty"
    )


def test_a_step_that_starts_again_is_timed_anew():
    clock = Clock()
    bars = hooks.Bars(io.StringIO(), now=clock)
    bars("faces", 10, 10)
    clock.now_s = 50.0
    bars("faces", 0, 10)
    clock.now_s = 51.0
    bars("faces", 2, 10)
    (line,) = drawn(bars, 80)
    assert "20 %" in line and "4 s left" in line


def test_a_step_first_told_of_when_a_part_is_done_began_after_the_call_before():
    clock, stream = Clock(), io.StringIO()
    bars, lines = hooks.Bars(io.StringIO(), now=clock), hooks.Lines(stream, now=clock)
    for hook in (bars, lines):
        clock.now_s = 10.0
        hook("faces", 4, 4)
        clock.now_s = 40.0
        hook("disguise", 1, 5)
    assert "2 min left" in drawn(bars, 80)[1]
    assert stream.getvalue().splitlines()[-1] == "disguise  20 %, 2 min left, 1/5"


def test_of_more_steps_than_rows_the_last_are_shown_and_the_whole():
    bars = hooks.Bars(io.StringIO())
    bars.console.height = 6
    for number in range(30):
        bars(f"step {number}", 1, 1)
    bars.whole(0.5, None)
    lines = drawn(bars, 80)
    assert len(lines) == 5 and lines[-1].startswith("all") and lines[-2].startswith("step 29")


def test_an_unknown_total_is_a_count():
    bars = hooks.Bars(io.StringIO())
    bars("dub", 7, 0)
    (line,) = drawn(bars, 80)
    assert line.split()[0] == "dub" and "7" in line and "%" not in line


class Told:
    """A hook that remembers."""

    def __init__(self):
        self.wholes, self.expected = [], None

    def expect(self, seconds):
        self.expected = seconds

    def whole(self, share, left_s):
        self.wholes.append((round(share, 3), None if left_s is None else round(left_s, 3)))

    def __call__(self, step, done, total):
        pass


def test_the_whole_is_weighed_by_what_each_step_takes():
    told, clock = Told(), Clock()
    hook = hooks.Whole(told, {"faces": 10.0, "lips": 30.0, "draw": 60.0}, now=clock)
    assert told.expected == 100.0
    clock.now_s = 20.0  # twice as slow as expected
    hook("faces", 5, 5)
    assert told.wholes[-1] == (0.1, 180.0)
    hook("something else", 1, 2)
    clock.now_s = 50.0
    hook("lips", 1, 2)
    assert told.wholes == [(0.1, 180.0), (0.25, 150.0)]


def test_what_was_kept_and_never_comes_is_left_out_of_the_whole():
    told, clock = Told(), Clock()
    hook = hooks.Whole(told, {"faces": 10.0, "lips": 30.0, "draw": 60.0}, now=clock)
    clock.now_s = 30.0
    hook("draw", 1, 2)
    assert told.wholes == [(0.5, 30.0)]
    hook("draw", 2, 2)
    assert told.wholes[-1] == (1.0, 0.0)


def test_a_hook_that_shows_no_whole_is_left_alone():
    hooks.Whole(hooks.silent, {"a": 1.0})("a", 1, 2)
