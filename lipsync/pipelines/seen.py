"""What a dub shows of its target, and what it changes in it: known before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipsync.core.arrays import runs_of
from lipsync.core.errors import LipsyncError
from lipsync.core.text import counted
from lipsync.core.types import REASONS, DubPlan, FaceTrack
from video.clock import FrameClock

#: Spans that the label of a video names; the receipt has all.
MOST_SPANS = 12
#: A step of more frames than this in the target is a jump; one may be left out.
_STEP = 2


def picture_seen(plan: DubPlan, clock: FrameClock, timeline: str) -> str:
    """For the user: which part of the target, on `clock`, the picture shows. timeline: "keep" or "retime"."""
    source = plan.source
    if np.array_equal(source, np.arange(len(source))) and not plan.half.any():
        if len(source) == len(clock):
            return "the target's own time"
        return f"the first {_seconds(clock, len(source)):.1f} s of the target, in its own time"
    first, after = int(source.min()), int((source + plan.half).max()) + 1
    n_jumps = int((np.abs(np.diff(source)) > _STEP).sum())
    jumps = counted(n_jumps, "jump") if n_jumps else "no jump"
    hint = "; --timeline keep plays it from its start" if timeline == "retime" else ""
    return f"{_seconds(clock, first):.1f}-{_seconds(clock, after):.1f} s of the target, {jumps}{hint}"


def _seconds(clock: FrameClock, frame: int) -> float:
    """When a frame begins; the one after the last: when that ends."""
    return float(clock.duration_s) if frame >= len(clock) else float(clock.seconds[frame])


def changed_spans(plans: Sequence[DubPlan]) -> list[list[float]]:
    """[from, to] seconds of the output in which somebody's mouth is drawn."""
    drawn = np.any([plan.render for plan in plans], axis=0)
    clock = plans[0].clock
    return [[round(_seconds(clock, first), 3), round(_seconds(clock, after), 3)] for first, after in runs_of(drawn)]


def refuse_undubbed(people: Sequence[tuple[DubPlan, FaceTrack, np.ndarray]]) -> None:
    """LipsyncError where nobody's mouth would be drawn anywhere. people: of each the plan, the track and the (N,) bool
    rows in which he was to be dubbed."""
    if any(plan.render.any() for plan, _, _ in people):
        return
    counts = np.zeros(len(REASONS), int)
    for plan, track, spoken in people:
        shown = np.maximum(track.reason[plan.source], track.reason[plan.source + plan.half])
        counts += np.bincount(shown[spoken[: len(plan)]], minlength=len(REASONS))
    why = ", ".join(f"{REASONS[i]} ({counts[i]})" for i in np.argsort(-counts, kind="stable") if i and counts[i])
    total = counted(int(counts.sum()), "frame")
    raise LipsyncError(
        f"Nothing would be changed: of {total} to be dubbed none can be{f': {why}' if why else ''}. "
        "Choose another person with --face or another part of the target, or add --allow-undubbed."
    )
