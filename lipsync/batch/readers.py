"""What stands in a manifest (TOML, CSV or JSON Lines), job by job, and the files that a pattern means; what it asks for
is manifest.py's matter."""

from __future__ import annotations

import csv
import difflib
import glob
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lipsync.batch.storage.address import is_url
from lipsync.config.load import Text, option_names, toml_tables
from lipsync.core.errors import UsageError
from lipsync.core.text import nearest, readable, text_of_file

MAX_BYTES = 64 << 20
#: The keys of a job beside those of the configuration.
KEYS = (
    "target", "speech", "out", "footage", "segments", "cast", "from", "to", "mix", "background", "background_db",
    "lips_from",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """What a manifest says of one job. line: where; values: by key; fault: why it cannot be read ("" = it can)."""

    line: str
    values: dict
    fault: str = ""


def manifest_text(file: Path) -> str:
    """What a manifest holds, or UsageError."""
    text = text_of_file(file, "manifest", MAX_BYTES)
    if not text.strip():
        raise UsageError(f"The manifest {file} is empty. Give every job a target and a speech.")
    return text


def read_toml(text: str, file: Path) -> tuple[dict, list[Entry]]:
    """([defaults], every [[job]])."""
    try:
        tree = toml_tables(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(one_line(f"The manifest {file} is not TOML: {sentence_of(error)}.")) from error
    for name in tree:
        if name not in ("job", "defaults"):
            near = "Did you mean [[job]]? " if name == "jobs" else ""
            tables = "It has a table [defaults] and a table [[job]] per job."
            raise UsageError(one_line(f"Unknown key {name!r} in the manifest {file}. {near}{tables}"))
    jobs, defaults = tree.get("job", []), tree.get("defaults", {})
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs) or not isinstance(defaults, dict):
        raise UsageError(f"In the manifest {file} every job is a table [[job]], and [defaults] is one table.")
    heads = [n for n, line in enumerate(text.split("\n"), 1) if re.match(r"\s*\[\[\s*[\"']?job[\"']?\s*\]\]", line)]
    places = [f"line {n}" for n in heads] if len(heads) == len(jobs) else [f"job {n + 1}" for n in range(len(jobs))]
    return defaults, [Entry(f"{file.name}, {at}", job) for at, job in zip(places, jobs, strict=True)]


def read_csv(text: str, file: Path) -> tuple[dict, list[Entry]]:
    """({}, every row); the first row names the columns, parted by commas, or, as some spreadsheets do, by semicolons or
    tabs."""
    head = text.lstrip().partition("\n")[0]
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True, skipinitialspace=True
    )
    entries, at = [], 1
    try:
        names = [name.strip() for name in next(rows, [])]
        _check_columns(names, file)
        while True:
            at = rows.line_num + 1
            row = next(rows, None)
            if row is None:
                return {}, entries
            cells = [cell.strip() for cell in row]
            if any(cells):
                entries.append(_row(f"{file.name}, line {at}", names, cells))
    except csv.Error as error:
        raise UsageError(f"{file}, line {at}: this is not CSV: {error}.") from error


def _row(line: str, names: list[str], cells: list[str]) -> Entry:
    fault = ""
    if any(cells[len(names) :]):
        count = f"This row has {len(cells)} cells, more than the {len(names)} columns."
        fault = f"{count} Quote cells that hold a comma."
    return Entry(line, {name: Text(cell) for name, cell in zip(names, cells, strict=False) if cell}, fault)


def _check_columns(names: list[str], file: Path) -> None:
    """UsageError where the head of a CSV file cannot be."""
    for name in ("target", "speech"):
        if name not in names and not (name == "speech" and not {"segments", "lips_from"}.isdisjoint(names)):
            near = difflib.get_close_matches(name, names, 1)
            meant = f"Did you mean the column {near[0]!r}? " if near else ""
            cure = f"{meant}The first row names the columns, such as target,speech,out."
            raise UsageError(one_line(f"The manifest {file} has no column {name}. {cure}"))
    twice = next((name for name in names if names.count(name) > 1), None) if len(names) <= 1000 else "of over 1000"
    if twice is not None:
        raise UsageError(one_line(f"The manifest {file} has the column {twice!r} twice. Leave one out."))
    try:
        refuse_unknown(names)
    except UsageError as error:
        raise UsageError(one_line(f"{file}, line 1: {error}")) from error


def read_json_lines(text: str, file: Path) -> tuple[dict, list[Entry]]:
    """({}, every line that is not blank)."""
    entries: list[Entry] = []
    for n, line in enumerate(text.split("\n"), 1):  # splitlines would also split inside JSON's own text
        if not line.strip():
            continue
        values, fault = {}, ""
        try:
            values = json.loads(line, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            fault = f"This line is not JSON: {sentence_of(error)}."
        if not isinstance(values, dict):
            values, fault = {}, 'A job is an object, such as {"target": "a.mp4", "speech": "b.wav"}.'
        entries.append(Entry(f"{file.name}, line {n}", values, fault))
    if entries and all(entry.fault for entry in entries):
        raise UsageError(one_line(f"The manifest {file} is not JSON Lines: {entries[0].line}: {entries[0].fault}"))
    return {}, entries


def _without_repeats(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def matching_files(pattern: str, option: str) -> list[str]:
    """The files that a pattern means, absolute, in order. UsageError: none."""
    if is_url(pattern):
        if glob.has_magic(pattern):
            raise UsageError(
                f"{option} {pattern}: patterns work on local files only. Name URLs one by one in a manifest."
            )
        return [pattern]
    pattern = os.path.expanduser(pattern)
    found = (
        [pattern]
        if os.path.isfile(pattern)
        else sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
    )
    if not found:
        raise UsageError(f"No file matches {option} {pattern!r}. Quote the pattern, and check the folder.")
    return [os.path.abspath(name) for name in found]


def pairs_by_name(videos: Sequence[str], voices: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(target, speech, out) by equal stems; a file without its like comes alone."""
    of_stem: dict[str, list[str]] = {}
    for voice in voices:
        of_stem.setdefault(stem_of(voice), []).append(voice)
    for video in videos:
        for voice in of_stem.get(stem_of(video), [""]):
            yield video, voice, f"{stem_of(video)}.mp4"
    known = set(map(stem_of, videos))
    yield from (("", voice, "") for voice in voices if stem_of(voice) not in known)


def stem_of(name: str) -> str:
    """The last part of a path or an address, without its ending."""
    return os.path.splitext(os.path.basename(re.split("[?#]", name)[0] if is_url(name) else name))[0]


def refuse_unknown(keys: Iterable[str]) -> None:
    """UsageError for a key that no job has."""
    for key in keys:
        if key not in KEYS and key not in option_names():
            raise UsageError(_unknown(key))


@lru_cache(1000)
def _unknown(key: str) -> str:
    return f"Unknown key {key[:80]!r}. {nearest(key, [*KEYS, *option_names()])}"


def sentence_of(error: Exception) -> str:
    """What is wrong, for a message."""
    if isinstance(error, RecursionError):
        return "the values are nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        cure = " (write a path with slashes, or with two backslashes for one)" if "\\" in error.msg else ""
        return f"{error.msg}{cure}, column {error.colno}"
    return str(error)


def one_line(text: str) -> str:
    """A message safe to print: no line breaks, no control or direction characters, not endless."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in readable(text[:1000]))
    return text if len(text) <= 500 else f"{text[:497]}..."
