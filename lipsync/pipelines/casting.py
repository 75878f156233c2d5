"""Which face says which segment: numbers and --cast as given, other labels and `auto` by lips and sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.progress import Hook, silent
from lipsync.core.segments import Segment
from lipsync.store.cache import Cache
from lipsync.store.segment_file import AUTO, Cue, labels_of, read_cues, segments_of
from lipsync.target.analyse import follow_people, probed
from lipsync.target.speakers import Speakers, find_speakers


class Casting(NamedTuple):
    """The segments of a dub, and what the user should know of how their people were found."""

    segments: list[Segment]
    notes: tuple[str, ...] = ()


NOBODY = Casting([])


def segments_from(
    file: str | Path,
    target: str | Path,
    config: DubConfig = DubConfig(),
    cast: Mapping[str, int] | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
) -> Casting:
    """Who says what when in `target`, from a file or, for "auto", from the lips and the sound of the target. cast:
    which face a label of the file is. UsageError, with file and line, for what the file says wrongly; LipsyncError
    where nobody who is seen speaks."""
    cache, target = cache or Cache(config.cache.folder or None), Path(target)
    if str(file) == AUTO:
        return Casting(spoken_segments(target, config, cache, hook))
    cues, cast = read_cues(file), dict(cast or {})
    unknown = labels_of(cues, cast)
    if not unknown:
        return Casting(segments_of(cues, cast))
    films = follow_people(target, config, cache, hook)
    found = _matched(cues, unknown, cast, find_speakers(films, cache))
    told = ", ".join(f"{label!r} is face {found[label]}" for label in unknown)
    note = f"By their lips, {told}; if that is wrong, say so with --cast LABEL=N"
    return Casting(segments_of(cues, cast | found), (note,))


def spoken_segments(target: Path, config: DubConfig, cache: Cache, hook: Hook = silent) -> list[Segment]:
    """The segments in which people who are seen speak in a film."""
    films = follow_people(target, config, cache, hook)
    turns = find_speakers(films, cache).turns(probed(target, config).clock.duration_s)
    if not turns:
        raise LipsyncError(
            f"Nobody who is seen in {target} speaks in its sound. Say who speaks when with --segments FILE."
        )
    return turns


def _matched(cues: Sequence[Cue], labels: list[str], cast: Mapping[str, int], speakers: Speakers) -> dict[str, int]:
    """{label: face}: the faces, one for each label, that fit the sound of the labels' cues best. UsageError where none
    does."""
    fit = np.zeros((len(labels), len(speakers.evidence)))
    for cue in cues:
        if cue.label in labels:
            fit[labels.index(cue.label)] += speakers.total(cue.start_s, cue.end_s)
    fit[:, [face for face in cast.values() if face < fit.shape[1]]] = 0  # these are taken
    rows, faces = linear_sum_assignment(-np.maximum(fit, 0))
    pairs = zip(rows.tolist(), faces.tolist(), strict=True)
    found = {labels[row]: face for row, face in pairs if fit[row, face] > 0}
    for label in labels:
        if label not in found:
            place = next(cue.place for cue in cues if cue.label == label)
            raise UsageError(
                f"{place}: nobody is seen to speak where {label!r} does. Say which face it is with --cast "
                f"'{label}=N'; `lipsync people` shows them."
            )
    return found
