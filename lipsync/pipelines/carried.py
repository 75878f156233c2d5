"""What a dub takes over from its target, and the marks that say what the dub itself is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lipsync.config.schema import Timeline
from lipsync.core.types import DubPlan
from lipsync.provenance.labels import AIGC
from lipsync.provenance.manifest import own_sidecar
from video.carry import Carry
from video.extras import Extras, extras_of
from video.probe import VideoStream

SOURCE_TYPE = "digital_source_type"
#: Frames may lie so far from the target's times, seconds.
_SAME_TIME_S = 0.002


def with_targets(own: Mapping[str, str], carry: Carry, signed: bool = False) -> tuple[dict[str, str], Carry]:
    """The tags of an output: the target's under their names, and the dub's `own`. Of title, comment and digital source
    type the dub's stay, and keep what the target said there. With them the same `carry`, and its notes on the target's
    tags and origin. signed: the dub gets content credentials."""
    extras, tags = carry.extras, {**carry.extras.tags, **own}
    notes, was = _of_origin(extras, signed), extras.tags
    if title := was.get("title"):
        mark = own.get("title", "").removeprefix(extras.path.stem)
        tags["title"] = title if title.endswith(mark) else title + mark
    if comment := was.get("comment"):
        tags["comment"] = f"{own['comment']}\nThe target said: {comment}" if "comment" in own else comment
    before = was | {SOURCE_TYPE: was.get(SOURCE_TYPE) or extras.credentials.source_type}
    for key in (SOURCE_TYPE, AIGC):
        if before.get(key) and own.get(key) and before[key] != own[key]:
            tags[f"target_{key}"] = before[key]
            notes.append(f"the target's {key}, {before[key]}, is kept as the tag target_{key}")
    return tags, replace(carry, notes=(*carry.notes, *notes))


def _of_origin(extras: Extras, signed: bool) -> list[str]:
    """Notes on what says where the target is from and cannot be taken over."""
    origin, notes = extras.credentials, []
    has_credentials = origin.c2pa or own_sidecar(extras.path) is not None
    if has_credentials and signed:
        notes.append("the target's content credentials (C2PA) are kept within the dub's, as those of its parent")
    elif has_credentials:
        notes.append(
            "the target's content credentials (C2PA) are not taken over: they vouch for its own bytes. Keep the target "
            "with the dub, or sign the dub (sign.certificate), which then holds them"
        )
    if origin.xmp:
        said = f" (digital source type {origin.source_type})" if origin.source_type else ""
        notes.append(f"the target's XMP{said} is not taken over: it describes the file before it was edited")
    return notes


def carry_of(stream: VideoStream, plan: DubPlan, timeline: Timeline, instead: str = "the speech replaces") -> Carry:
    """What the output takes over from the target: all where the picture keeps its time, else all that has none.
    instead: how what is heard stands to the target's own sound, as `DubSound.instead` says it."""
    clock = stream.clock
    ends_early = len(plan) < len(clock)
    return Carry(
        extras_of(stream.path, stream.limits),
        int(clock.pts[0]) * clock.base,
        plan.clock.duration_s if ends_early else None,
        _why_not_in_time(stream, plan, timeline),
        limits=stream.limits,
        instead=instead,
    )


def _why_not_in_time(stream: VideoStream, plan: DubPlan, timeline: Timeline) -> str:
    """Why the target's other tracks would not fit the picture; empty = they do."""
    if timeline != "keep":
        return "the picture is retimed; --timeline keep keeps the target's time"
    if stream.by_count:
        return "the target's frames have no usable times; convert it to MP4"
    n, clock = len(plan), stream.clock
    if n > len(clock) or plan.half.any() or not np.array_equal(plan.source, np.arange(n)):
        return "the picture goes on after the target's end; --length target ends with it"
    if np.abs(plan.clock.seconds - plan.clock.seconds[0] - (clock.seconds[:n] - clock.seconds[0])).max() > _SAME_TIME_S:
        return "the picture has a constant frame rate, the target has not; --length target keeps its times"
    return ""
