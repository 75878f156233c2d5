"""What a job's keys ask for beside target, speech and footage: which parts are dubbed, and who says them (`segments`,
`cast`, `from`, `to`); what else is heard, and whose lips are shown (`mix`, `background`, `lips_from`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync.batch.job import Job, Parts, Sources
from lipsync.batch.storage.address import content_id, is_url
from lipsync.config.load import Text
from lipsync.config.schema import DubConfig
from lipsync.core.errors import UsageError
from lipsync.core.progress import Hook
from lipsync.core.segments import ORIGINAL, Span, checked, part_of, seconds_of
from lipsync.store.cache import Cache, content_hash
from lipsync.store.segment_file import AUTO, check_recordings, labels_of, read_cast, read_cues

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


def sources_of(values: Mapping[str, object], path: Callable[[str, str], str]) -> Sources:
    """The same for the keys that name more files."""
    mix, background, lips_from = (_text(values, key) for key in ("mix", "background", "lips_from"))
    if mix and background:
        raise UsageError("mix is the finished sound already: leave out background, or mix.")
    if lips_from and any(values.get(key) for key in ("segments", "from", "to")):
        raise UsageError("lips_from drives a whole dub: leave out segments, from and to.")
    under = background if background in ("", ORIGINAL) else path(background, "background")
    return Sources(mix and path(mix, "mix"), under, lips_from and path(lips_from, "lips_from"))


def files_of(parts: Parts) -> list[str]:
    """The recordings that the segments name. UsageError, with file and line: they cannot be read."""
    if parts.segments in ("", AUTO):
        return []
    cues = read_cues(parts.segments)
    labels_of(cues, read_cast(parts.cast))
    return [str(path) for path in dict.fromkeys(cue.speech for cue in cues) if path is not None]


def check_parts(parts: Parts) -> None:
    """LipsyncError, with file and line, where the segments cannot be read, or their recordings."""
    if parts.segments not in ("", AUTO):
        check_recordings(read_cues(parts.segments))


def marks_of(parts: Parts, sources: Sources) -> list[object]:
    """What of a dub's identity hangs on them: plain values, contents in the place of files."""
    more: list[object] = []
    if sources != Sources():
        more = [{key: content_id(name) for key, name in sources.files.items()}, sources.background == ORIGINAL]
    if parts == Parts():
        return more
    own = [] if parts.segments in ("", AUTO) else [content_hash(parts.segments)]
    spoken = [content_hash(path) for path in files_of(parts)]
    by = parts.segments if parts.segments == AUTO else ""
    return [by, list(parts.cast), parts.start, parts.end, own, spoken, *more]


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


def check_sound(job: Job, has_audio: bool, keeps_time: bool) -> None:
    """UsageError where what a job is heard with does not go together, or does not fit its target. keeps_time: the
    picture does, where the whole target is dubbed."""
    from lipsync.pipelines.sound import DubSound

    sound = DubSound.of(job.sources.mix or None, job.sources.background or None)
    sound.check(job.config.sound)
    kept = keeps_time or job.parts != Parts() or job.config.retime.timeline == "keep"
    sound.check_original(has_audio, "keep" if kept else "retime", job.config.retime.length)


#: What the keys hold that hold text.
_HOLD = {"segments": "the name of a file, or auto", "from": "a time", "to": "a time"}
_HOLD |= {"background": "the name of a file, or original"}


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if key in ("from", "to") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if not isinstance(value, str):
        raise UsageError(f"{key} must be {_HOLD.get(key, 'the name of a file')}.")
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
