"""Which parts of a job's target are dubbed, and who says them: the keys `segments`, `cast`, `from` and `to`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync.batch.job import Parts
from lipsync.batch.storage.address import is_url
from lipsync.config.load import Text
from lipsync.config.schema import DubConfig
from lipsync.core.errors import UsageError
from lipsync.core.progress import Hook
from lipsync.core.segments import Span, checked, part_of, seconds_of
from lipsync.store.cache import Cache, content_hash
from lipsync.store.segment_file import AUTO, labels_of, read_cast, read_cues

if TYPE_CHECKING:
    from lipsync.pipelines.casting import Casting


def parts_of(values: Mapping[str, object], path: Callable[[str, str], str]) -> Parts:
    """What a job's keys ask for. path: makes the name of a file (text, key) absolute. UsageError: they contradict each
    other, or are of another kind."""
    file, start, end = (_text(values, key) for key in ("segments", "from", "to"))
    cast = _cast(values.get("cast"))
    if file and (start or end):
        raise UsageError("A job has either segments or from and to: a file says the times itself.")
    if cast and not file:
        raise UsageError("cast says which faces the names in segments are: give segments too.")
    if is_url(file):
        raise UsageError(f"segments {file} is an address: copy the file beside the manifest.")
    for key, value in (("from", start), ("to", end)):
        if value:
            seconds_of(value, key)
    read_cast(cast)
    return Parts(file if file in ("", AUTO) else path(file, "segments"), cast, start, end)


def files_of(parts: Parts) -> list[str]:
    """The recordings that the segments name. UsageError, with file and line: they cannot be read."""
    if parts.segments in ("", AUTO):
        return []
    cues = read_cues(parts.segments)
    labels_of(cues, read_cast(parts.cast))
    return [str(path) for path in dict.fromkeys(cue.speech for cue in cues) if path is not None]


def marks_of(parts: Parts) -> list[object]:
    """What of a dub's identity hangs on them: plain values, contents in the place of files."""
    if parts == Parts():
        return []
    own = [] if parts.segments in ("", AUTO) else [content_hash(parts.segments)]
    spoken = [content_hash(path) for path in files_of(parts)]
    return [parts.segments if parts.segments == AUTO else "", list(parts.cast), parts.start, parts.end, own, spoken]


def casting_of(parts: Parts, target: Path, config: DubConfig, cache: Cache, hook: Hook) -> Casting:
    """Who says what when, in a target that is here."""
    from lipsync.pipelines.casting import NOBODY, segments_from

    if parts.segments:
        return segments_from(parts.segments, target, config, read_cast(parts.cast), cache, hook)
    return NOBODY


def span_of(parts: Parts) -> Span | None:
    """The only part in which the speech is said."""
    return (parts.start or None, parts.end or None) if parts.start or parts.end else None


def check_span(parts: Parts, speech: str, speech_s: float, target_s: float, fit: bool) -> None:
    """UsageError where `from` and `to` leave the target, or the speech does not fit between them."""
    from lipsync.pipelines.sound import refuse_too_long

    span = span_of(parts)
    if span is None:
        return
    one = replace(part_of(span, Path(speech), Fraction(target_s)), place="from and to")
    checked([one], Fraction(target_s))
    refuse_too_long(Path(speech), Fraction(speech_s), one.end_s - one.start_s, one, fit)


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if key != "segments" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if not isinstance(value, str):
        raise UsageError(f"{key} must be {'the name of a file, or auto' if key == 'segments' else 'a time'}.")
    return value


def _cast(value: object) -> tuple[str, ...]:
    """LABEL=N texts from a table, a list, or a cell of texts parted by semicolons."""
    if value is None:
        return ()
    if isinstance(value, dict):
        return tuple(f"{label}={face}" for label, face in value.items())
    texts = value.split(";") if isinstance(value, (Text, str)) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError("cast must be a list of LABEL=N, such as Anna=1, or a table of names and faces.")
    return tuple(text.strip() for text in texts if text.strip())
