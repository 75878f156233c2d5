"""Who says what when, from a file of an editor or a speech tool: CSV, SubRip, WebVTT or RTTM (NIST RT-09)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.segments import Segment, seconds_of
from lipsync.core.text import nearest, printable, shortened, text_of_file
from lipsync.store.preflight import check_readable, written_whole

#: Instead of a file: whoever is seen to speak in the target says what runs beside it.
AUTO = "auto"
LARGEST_BYTES = 16 << 20
COLUMNS = ("start", "end", "person", "speech")
_ARROW = re.compile(r"\s*(\S+)\s+-->\s+(\S+)(?:\s.*)?")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
#: A name before the words: at most three words, as in "2: words" or "- ANNA: words".
_NAMED = re.compile(r"\s*-?\s*((?:[^\s:<>]+ ?){1,3}?)\s*:(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Cue:
    """One line of such a file. start_s, end_s: on the target's clock; label: who, as the file says, "" = it does not
    say; speech: the recording, None = the track below; place: of the line, for messages."""

    start_s: Fraction
    end_s: Fraction
    label: str
    speech: Path | None
    place: str


def read_cues(path: str | Path) -> list[Cue]:
    """The cues of a file, in its order. UsageError, with file and line, for what cannot be read."""
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: segments are read from .csv, .srt, .vtt and .rttm files. Name it by what it is.")
    lines = _lines(path)
    if not any(line.strip() for line in lines):
        raise UsageError(f"{path} is empty. Give each segment a start and an end.")
    cues = list(reader(lines, path))
    if not cues:
        raise UsageError(f"{path} has no segments. Give each a start and an end.")
    return cues


def check_recordings(said: Iterable[Segment | Cue]) -> None:
    """LipsyncError, with the place, where one of the recordings that segments name cannot be read."""
    for path, place in {one.speech: one.place for one in said if one.speech is not None}.items():
        try:
            check_readable(path, "speech file")
        except LipsyncError as error:
            raise type(error)(f"{place}: {error}" if place else str(error)) from error


def labels_of(cues: Sequence[Cue], cast: Mapping[str, int]) -> list[str]:
    """The labels that name nobody yet: neither a number nor in `cast`. UsageError: `cast` names a label that no cue
    has."""
    known = dict.fromkeys(cue.label for cue in cues if cue.label)
    for label in cast:
        if label not in known:
            has = f"It has {', '.join(map(repr, known))}." if known else "It names nobody."
            raise UsageError(_bounded(f"--cast {label}={cast[label]}: no segment has this label. {has}"))
    return [label for label in known if label not in cast and not label.isdecimal()]


def segments_of(cues: Sequence[Cue], cast: Mapping[str, int]) -> list[Segment]:
    """The segments, when `cast` says which face each label is; a number is its own face, no label the chosen one."""
    return [Segment(cue.start_s, cue.end_s, _person(cue, cast), cue.speech, cue.place) for cue in cues]


def _person(cue: Cue, cast: Mapping[str, int]) -> int | None:
    if not cue.label:
        return None
    if cue.label in cast:
        return cast[cue.label]
    if cue.label.isdecimal():
        return int(cue.label)
    raise UsageError(f"{cue.place}: nothing says which face {cue.label!r} is. Add --cast '{cue.label}=N'.")


def read_cast(given: Sequence[str]) -> dict[str, int]:
    """{label: face} of options LABEL=N. UsageError: not of this form, or a label twice."""
    cast: dict[str, int] = {}
    for text in given:
        label, is_there, number = text.rpartition("=")
        if not is_there or not label.strip() or not number.strip().isdecimal():
            raise UsageError(f"--cast {text!r} must be LABEL=N, a name in the segments and a face: --cast Anna=1.")
        if cast.setdefault(label.strip(), int(number)) != int(number):
            raise UsageError(f"--cast names two faces for {label.strip()!r}.")
    return cast


def write_segments(path: Path, segments: Sequence[Segment]) -> None:
    """A CSV file that `read_cues` reads, to be edited."""
    rows = [
        [f"{float(one.start_s):.3f}", f"{float(one.end_s):.3f}", "" if one.person is None else one.person, one.speech]
        for one in segments
    ]
    with written_whole(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([list(COLUMNS), *rows])


def _lines(path: Path) -> list[str]:
    """Its lines; UTF-8 or UTF-16, as Windows writes them too. UsageError: unreadable."""
    text = text_of_file(path, "segment file", LARGEST_BYTES)
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _csv(lines: list[str], path: Path) -> Iterator[Cue]:
    at = next(k for k, line in enumerate(lines) if line.strip())
    head = lines[at]
    mark = max(",;\t", key=head.count)
    names = [name.strip().lower() for name in head.split(mark)]
    while len(names) > 1 and not names[-1]:  # a spreadsheet's empty columns
        names.pop()
    for name in names:
        if name not in COLUMNS:
            cure = nearest(name, COLUMNS, f"The first row is {','.join(COLUMNS)}.")
            what = f"there is no column {name[:80]!r}" if name else "a column has no name"
            raise UsageError(f"{path}, line {at + 1}: {what}. {cure}")
    if not {"start", "end"} <= set(names) or len(set(names)) < len(names):
        raise UsageError(
            f"{path}, line {at + 1}: the first row must name start and end, once each: {','.join(COLUMNS)}."
        )
    rows = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=mark, strict=True, skipinitialspace=True)
    try:
        for row in islice(rows, at + 1, None):
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield _row(dict(zip(names, cells, strict=False)), cells[len(names) :], path, rows.line_num)
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: this is not CSV: {error}.") from error


def _row(values: dict[str, str], more: list[str], path: Path, line: int) -> Cue:
    place = f"{path}, line {line}"
    if any(more):
        raise UsageError(f"{place}: more cells than columns. Quote what holds a comma, and write seconds as 12.5.")
    start_s, end_s = (_time(values.get(name, ""), place, name) for name in ("start", "end"))
    speech = values.get("speech", "")
    return Cue(start_s, end_s, values.get("person", ""), path.parent / speech if speech else None, place)


def _subtitles(lines: list[str], path: Path) -> Iterator[Cue]:
    """Of SubRip and WebVTT: blocks of lines, of which one has an arrow between two times."""
    is_vtt = path.suffix.lower() == ".vtt"
    if is_vtt and not re.match(r"WEBVTT(\s|$)", lines[0]):
        raise UsageError(f"{path}, line 1: a WebVTT file begins with the word WEBVTT.")
    at = 0
    while at < len(lines):
        block = at
        while at < len(lines) and lines[at].strip():
            at += 1
        found, at = lines[block:at], at + 1
        if not found or (is_vtt and (block == 0 or re.match(r"(NOTE|STYLE|REGION)(\s|$)", found[0]))):
            continue
        arrow = next((k for k, line in enumerate(found[:2]) if "-->" in line), None)
        if arrow is None:
            kind = "WebVTT" if is_vtt else "SRT"
            raise UsageError(
                f"{path}, line {block + 1}: this is no {kind}: {shortened(found[0], 40)!r} stands where a time such as "
                "00:00:01,500 --> 00:00:04,000 should."
            )
        place = f"{path}, line {block + arrow + 1}"
        times = _ARROW.fullmatch(found[arrow])
        if times is None:
            raise UsageError(
                f"{place}: {shortened(found[arrow], 60)!r} is no time such as 00:00:01,500 --> 00:00:04,000."
            )
        start_s, end_s = (_time(text, place, "time") for text in times.groups())
        yield Cue(start_s, end_s, _label(" ".join(found[arrow + 1 :])), None, place)


def _label(words: str) -> str:
    """Who says a subtitle: <v NAME>, or the name before a colon."""
    found = _VOICE.search(words) or _NAMED.match(words)
    return found.group(1).strip() if found else ""


def _rttm(lines: list[str], path: Path) -> Iterator[Cue]:
    for number, line in enumerate(lines, 1):
        fields, place = line.split(), f"{path}, line {number}"
        if not fields or fields[0].startswith(";;"):
            continue
        if not re.fullmatch(r"[A-Z][A-Z-]+", fields[0]) or len(fields) < 8:
            raise UsageError(
                f"{place}: this is no RTTM, whose lines are SPEAKER, file, channel, start, duration, <NA>, <NA>, name."
            )
        if fields[0] == "SPEAKER":
            start_s, length_s = _time(fields[3], place, "start"), _time(fields[4], place, "duration")
            yield Cue(start_s, start_s + length_s, "" if fields[7] == "<NA>" else fields[7], None, place)


def _time(text: str, place: str, name: str) -> Fraction:
    """The same, with the place in the message."""
    try:
        return seconds_of(text, name)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def _bounded(text: str) -> str:
    """A message on one line, not endless."""
    text = printable(text)
    return text if len(text) <= 400 else f"{text[:397]}..."


_READERS = {".csv": _csv, ".srt": _subtitles, ".vtt": _subtitles, ".rttm": _rttm}
