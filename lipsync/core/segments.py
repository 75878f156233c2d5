"""Who says what when: the stretches of a target's time in which its people speak."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from pathlib import Path

from lipsync.core.errors import UsageError
from lipsync.core.text import shortened

#: A speech this much longer or shorter than the target, as a share of it, is about as long.
ABOUT = Fraction(2, 100)
#: In the place of a background file: the target's own sound.
ORIGINAL = "original"
Time = str | float | Fraction
#: From and to; None: from the target's beginning, to its end.
Span = tuple[Time | None, Time | None]
_TIME = re.compile(r"(?:(?:(?P<h>\d{1,4}):)?(?P<m>\d{1,4}):)?(?P<s>\d{1,7}(?:[.,]\d{1,9})?)", re.ASCII)


def is_about_as_long(speech_s: Fraction | float, target_s: Fraction | float) -> bool:
    """Whether a target keeps its own time for a speech without being asked to."""
    return abs(speech_s - target_s) <= ABOUT * target_s


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of speech. start_s, end_s: on the target's clock, whose first frame is 0; person: as `face.index`
    counts, None = the one that the options choose; speech: the file that is said, from its beginning; None = the dub's
    own speech, which then runs beside the whole target; place: where the user wrote it, for messages."""

    start_s: Fraction
    end_s: Fraction
    person: int | None = None
    speech: Path | None = None
    place: str = ""

    @property
    def where(self) -> str:
        """The place, before what is said of it."""
        return f"{self.place}: " if self.place else ""

    def __str__(self) -> str:
        return f"{self.where}{float(self.start_s):.2f}-{float(self.end_s):.2f} s"


def seconds_of(time: Time, name: str = "time") -> Fraction:
    """Seconds of a time as people write it: seconds or [[hh:]mm:]ss[.fff]; a number of seconds stays what it is.
    UsageError: neither. name: what it is to the user."""
    if not isinstance(time, str):
        if not isfinite(time):
            raise UsageError(f"{time} is no {name}.")
        return Fraction(time).limit_denominator(1_000_000)
    known = _TIME.fullmatch(time.strip())
    if known is None:
        what = f"{shortened(time, 40)!r} is no {name}" if time.strip() else f"the {name} is missing"
        raise UsageError(f"{what}: write seconds, such as 83.5, or [[hh:]mm:]ss[.fff], such as 1:23.5.")
    hours, minutes, seconds = known["h"], known["m"], Fraction(known["s"].replace(",", "."))
    if known["m"] is not None and (seconds >= 60 or (hours is not None and int(minutes) >= 60)):
        raise UsageError(f"{time!r} is no {name}: after a colon, minutes and seconds end at 59.")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + seconds


def part_of(span: Span, speech: Path, length_s: Fraction) -> Segment:
    """The segment from one time to another of a target of `length_s` in which `speech` is said from its beginning.
    UsageError: no times."""
    start, end = span
    start_s = Fraction(0) if start is None else seconds_of(start)
    return Segment(start_s, length_s if end is None else seconds_of(end), speech=speech, place="--from/--to")


def checked(segments: Sequence[Segment], length_s: Fraction) -> tuple[Segment, ...]:
    """The segments in order of time. UsageError, with the place, where one is empty, leaves a target of `length_s`, or
    overlaps another of the same person."""
    for one in segments:
        # frames end a little off the times of an editor
        if one.start_s < 0 or one.start_s >= length_s:
            raise UsageError(
                f"{one.where}{float(one.start_s):.2f} s: the target lasts from 0 to {float(length_s):.2f} s."
            )
        if one.end_s > length_s + Fraction(1, 10):
            raise UsageError(f"{one}: the target lasts from 0 to {float(length_s):.2f} s.")
        if one.end_s <= one.start_s:
            raise UsageError(f"{one}: a segment must end after it starts.")
    ordered = sorted(segments, key=lambda one: (one.start_s, one.end_s))
    for person in {one.person for one in ordered}:
        for before, after in pairwise([one for one in ordered if one.person == person]):
            if after.start_s < before.end_s:
                raise UsageError(f"{after}: overlaps the segment of the same person at {before}.")
    return tuple(ordered)
