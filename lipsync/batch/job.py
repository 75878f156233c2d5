"""One dub of a batch: what is asked for, what was checked, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from lipsync.config.schema import DubConfig
from lipsync.core.segments import ORIGINAL

#: What can become of a job: done now, found done, failed, or never begun because the batch was stopped.
State = Literal["done", "kept", "failed", "stopped"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts of a target are dubbed; all where everything is empty. segments: a file, or "auto"; cast: LABEL=N of
    its names; start, end: times, instead of a file."""

    segments: str = ""
    cast: tuple[str, ...] = ()
    start: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Files of a job beside target, speech and footage: paths or URLs, "" = none. mix: finished sound; background:
    sound under the speech, or "original", the target's own; lips_from: a film of an actor whose lips are shown."""

    mix: str = ""
    background: str = ""
    lips_from: str = ""

    @property
    def files(self) -> dict[str, str]:
        """Those that are read, by their key."""
        known = {"mix": self.mix, "background": self.background, "lips_from": self.lips_from}
        return {key: name for key, name in known.items() if name and name != ORIGINAL}


@dataclass(frozen=True, slots=True)
class Job:
    """What one line of a manifest asks for.

    target, speech, footage: paths or URLs, speech "" where segments or a film of lips have it; out: the video to write,
    relative to the batch's folder, with forward slashes; config: of this job, wholly resolved; line: where it was asked
    for, for messages, such as "jobs.csv, row 3"; fault: why it cannot be done, known from the manifest alone ("" = none
    known); parts: of the target, that are dubbed; sources: more files."""

    target: str
    speech: str
    out: str
    footage: tuple[str, ...] = ()
    config: DubConfig = field(default_factory=DubConfig)
    line: str = ""
    fault: str = ""
    parts: Parts = Parts()
    sources: Sources = Sources()

    @property
    def name(self) -> str:
        """What to call it: its video, or its line where that cannot be named."""
        return self.out or self.line

    @property
    def group(self) -> tuple:
        """Equal for jobs that share an analysis of the target."""
        return self.target, self.footage, self.config.face, self.config.analysis


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a job before it begins. fault: why it cannot be done ("" = nothing known); frames, duration_s:
    of its video (0 = not known); n_bytes: about, of its video; cache_bytes: about, of what it is the first to analyse;
    seconds: about, of one worker, of which first_s for that analysis."""

    fault: str = ""
    frames: int = 0
    duration_s: float = 0.0
    n_bytes: int = 0
    cache_bytes: int = 0
    seconds: float = 0.0
    first_s: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job. reason: the sentence of a failure; frames, duration_s: of its video; seconds: it took;
    attempts: begun so many times; notes: what its receipt says the user should know; dubbed: share of the frames to be
    dubbed that were, doubt: share of all that are doubtful, None = no video; page: its quality report lies beside
    it."""

    job: Job
    state: State
    reason: str = ""
    frames: int = 0
    duration_s: float = 0.0
    seconds: float = 0.0
    attempts: int = 1
    notes: tuple[str, ...] = ()
    dubbed: float | None = None
    doubt: float | None = None
    page: bool = False

    @property
    def told(self) -> str:
        """The reason, as it is said beside the job's name, which may be its line."""
        return self.reason.removeprefix(f"{self.job.name}: ")

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"Outcome.state must be one of {', '.join(STATES)}, got {self.state!r}")


@dataclass(slots=True)
class JobRecord:
    """All that a batch knows of a job. outcome: None until it has ended; attempts: begun so many times, last at began_s
    of the monotonic clock; kept: its video was found done, only the quality report of it is to be made."""

    job: Job
    checked: Checked = Checked()
    outcome: Outcome | None = None
    attempts: int = 0
    began_s: float = 0.0
    kept: Outcome | None = None

    @property
    def is_kept(self) -> bool:
        """Whether its video was found done."""
        return self.kept is not None or (self.outcome is not None and self.outcome.state == "kept")


class BatchObserver(Protocol):
    """Learns what happens, job by its number in the batch (from 0)."""

    def started(self, number: int, worker: int) -> None: ...

    def progress(self, number: int, step: str, done: int, total: int) -> None: ...

    def ended(self, number: int, outcome: Outcome) -> None: ...
