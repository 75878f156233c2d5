"""What `lipsync batch --json` writes, a line each. `docs/schemas/` holds their JSON Schema, made from these types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lipsync.batch.job import State


@dataclass(frozen=True, slots=True)
class Estimate:
    """The first line. jobs: that are to be done; workers; seconds: all of them will take, about."""

    jobs: int
    workers: int
    seconds: float
    event: Literal["estimate"] = "estimate"


@dataclass(frozen=True, slots=True)
class Started:
    """A worker begins a job. job: its number in the batch, from 0; out: its video, within the output folder."""

    job: int
    out: str
    worker: int
    event: Literal["started"] = "started"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step of a job is, at most once a second. total: 0 = not known."""

    job: int
    out: str
    step: str
    done: int
    total: int
    event: Literal["progress"] = "progress"


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a job. event: "kept" = found done; reason: the sentence of a failure; frames, duration_s: of its
    video; seconds: it took; attempts: begun so many times; dubbed: share of the frames to be dubbed that were, null =
    no video; notes: what its receipt says the user should know."""

    job: int
    out: str
    event: State
    reason: str
    frames: int
    duration_s: float
    seconds: float
    attempts: int
    dubbed: float | None
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Summary:
    """The last line. done, kept, failed, stopped, unended: so many of the jobs; frames, duration_s: of the videos that
    were made; seconds: it took; status: the exit status."""

    jobs: int
    done: int
    kept: int
    failed: int
    stopped: int
    unended: int
    frames: int
    duration_s: float
    seconds: float
    status: int
    event: Literal["summary"] = "summary"


@dataclass(frozen=True, slots=True)
class CheckedJob:
    """What a dry run knows of a job. fault: why it cannot be done, empty = nothing known; frames, duration_s, n_bytes:
    of its video; cache_bytes: of the analysis that it is the first to make; seconds: of one worker, of which first_s
    for that analysis; kept: it was found done."""

    job: int
    out: str
    fault: str
    frames: int
    duration_s: float
    n_bytes: int
    cache_bytes: int
    seconds: float
    first_s: float
    warnings: list[str] = field(default_factory=list[str])
    kept: bool = False
    event: Literal["checked"] = "checked"


BatchEvent = Estimate | Started | Progress | Ended | Summary | CheckedJob
