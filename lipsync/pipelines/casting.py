"""Which face says which segment: numbers and --cast as given, other labels and `auto` by lips and sound."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.progress import Hook, silent
from lipsync.core.segments import Segment
from lipsync.core.text import faces_seen
from lipsync.store.cache import Cache
from lipsync.store.segment_file import AUTO, Cue, labels_of, read_cues, segments_of
from lipsync.target.analyse import follow_people, probed
from lipsync.target.speakers import CHANGE_IN_PAUSE, Speakers, find_speakers


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
    cache, target = cache or Cache.of(config.cache), Path(target)
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
    """{label: face}: the faces, one for each label, that fit the sound of the labels' cues best. UsageError, with the
    line, where that is not clear: another choice, or nobody, fits a label nearly as well."""
    fit = np.zeros((len(labels), len(speakers.evidence)))
    for cue in cues:
        if cue.label in labels:
            fit[labels.index(cue.label)] += speakers.total(cue.start_s, cue.end_s)
    fit[:, [face for face in cast.values() if face < fit.shape[1]]] = 0  # these are taken
    best, chosen = _best_choice(fit)
    found, unclear = {}, []
    for row, label in enumerate(labels):
        without = fit.copy()
        if row in chosen:
            without[row, chosen[row]] = 0
        if row not in chosen or best - _best_choice(without)[0] < CHANGE_IN_PAUSE:
            unclear.append(label)
        else:
            found[label] = chosen[row]
    if unclear:
        place = next(cue.place for cue in cues if cue.label in unclear)
        names, verb = " and ".join(map(repr, unclear)), "is" if len(unclear) == 1 else "are"
        cure = " ".join(f"--cast {shlex.quote(f'{label}=N')}" for label in unclear)
        raise UsageError(
            f"{place}: lips and sound do not tell which face {names} {verb}. Add {cure}; {faces_seen(fit.shape[1])}, "
            "and `lipsync people` shows them."
        )
    return found


def _best_choice(fit: np.ndarray) -> tuple[float, dict[int, int]]:
    """How well the best choice of one face for each row fits in all, and {row: face} where one fits at all."""
    from scipy.optimize import linear_sum_assignment

    rows, faces = linear_sum_assignment(-np.maximum(fit, 0))
    chosen = {row: face for row, face in zip(rows.tolist(), faces.tolist(), strict=True) if fit[row, face] > 0}
    return float(sum(fit[row, face] for row, face in chosen.items())), chosen
