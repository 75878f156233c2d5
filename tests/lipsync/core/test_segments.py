"""Times as people write them, and the segments made of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from lipsync.core.errors import UsageError
from lipsync.core.segments import part_of, seconds_of


@pytest.mark.parametrize(
    "time,seconds",
    [
        ("4", 4),
        (" 83.5 ", Fraction(167, 2)),
        ("1:23.5", Fraction(167, 2)),
        ("01:02:03,25", 3723 + Fraction(1, 4)),
        ("90:00", 5400),
        (0.1, Fraction(1, 10)),
        (Fraction(1, 3), Fraction(1, 3)),
        (7, 7),
    ],
)
def test_times_are_exact(time, seconds):
    assert seconds_of(time) == seconds


@pytest.mark.parametrize(
    "time", ["", "-1", "1:60", "1:60:00", "1:2:3:4", "4s", "nan", "1e3", "٣", ":5", "5:", float("nan"), float("inf")]
)
def test_what_is_no_time_is_told(time):
    with pytest.raises(UsageError, match="is no time|time is missing"):
        seconds_of(time)


def test_a_part_names_its_options_in_messages():
    part = part_of(("0:04", 7), Path("new.wav"), Fraction(12))
    assert (part.start_s, part.end_s, part.speech, str(part)) == (4, 7, Path("new.wav"), "--from/--to: 4.00-7.00 s")


@pytest.mark.parametrize("span,ends", [((None, 7), (0, 7)), ((7.5, None), (Fraction(15, 2), 12))])
def test_a_part_with_one_end_reaches_to_the_films_other(span, ends):
    part = part_of(span, Path("new.wav"), Fraction(12))
    assert (part.start_s, part.end_s) == ends
