"""What a batch has come to so far: counts, a few names, frames a second and the time left, in memory that does not grow
with the jobs."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lipsync.batch.job import STATES, JobRecord, Outcome, State

#: The step that writes rows of a video; and those counted in frames, whose speed can be called frames a second.
WRITES, IN_FRAMES = "dub", ("dub", "faces")
_WINDOW_S = 30
_MOST_FAILURES, _MOST_SLOW = 20, 10
#: More rows than this at once were not drawn now but found from an earlier run.
_FOUND_ROWS = 1000


@dataclass(slots=True)
class Running:
    """A job that a worker is doing. since_s, since_done: when its step was first reported, and how far it was."""

    worker: int
    began_s: float
    step: str = ""
    done: int = 0
    total: int = 0
    since_s: float = 0.0
    since_done: int = 0

    def frames_per_s(self, now_s: float) -> float | None:
        """Of its step; None = not in frames, or not known yet."""
        if self.step not in IN_FRAMES or now_s - self.since_s < 1 or self.done <= self.since_done:
            return None
        return (self.done - self.since_done) / (now_s - self.since_s)


@dataclass(slots=True)
class BatchStats:
    """Counts of a batch; times are of one clock, in seconds."""

    records: Sequence[JobRecord]
    workers: int
    began_s: float
    counts: dict[State, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    running: dict[int, Running] = field(default_factory=dict)
    frames: int = 0
    duration_s: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)
    last_failures: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=3))
    dubbed: float = 0.0  # frames' worth, of the `counted` frames of videos whose share is known
    counted: int = 0
    _slow: list[tuple[float, int, str, float, float | None]] = field(default_factory=list)
    _written: deque[list[float]] = field(default_factory=deque)
    _by_job: tuple[float, int] = (0.0, 0)  # seconds that a worker spent on finished jobs, and their number
    _by_length: tuple[float, float] = (0.0, 0.0)  # the same of those of known length, and the seconds of their videos
    _ahead_s: float = 0.0  # seconds of video not ended, where known
    _ahead_unknown: int = 0  # jobs not ended of unknown length

    def __post_init__(self) -> None:
        lengths_s = [self._length(number) for number in range(len(self.records))]
        self._ahead_s, self._ahead_unknown = sum(lengths_s), lengths_s.count(0.0)

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def waiting(self) -> int:
        return len(self.records) - self.ended - len(self.running)

    @property
    def slowest(self) -> list[tuple[float, str, float, float | None]]:
        """(seconds, name, seconds of video, share dubbed) of the slowest jobs done, slowest first."""
        return [
            (seconds, out, length_s, dubbed) for seconds, _, out, length_s, dubbed in sorted(self._slow, reverse=True)
        ]

    def start(self, number: int, worker: int, now_s: float) -> None:
        """A worker began a job, or began it again. What it was doing before, it lost."""
        for lost in [other for other, one in self.running.items() if one.worker == worker]:
            del self.running[lost]
        self.running[number] = Running(worker, now_s)

    def move(self, number: int, step: str, done: int, total: int, now_s: float) -> bool:
        """A running job got on; False = it is not running (a late report of a worker that was given up)."""
        one = self.running.get(number)
        if one is None:
            return False
        new = 0
        if step != one.step:
            one.step, one.since_s, one.since_done = step, now_s, done
            new = done
        elif done > one.done:
            new = done - one.done
        one.done, one.total = done, total
        if step == WRITES and 0 < new <= _FOUND_ROWS:
            self._write(new, now_s)
        return True

    def end(self, number: int, outcome: Outcome, now_s: float) -> None:
        """A job ended."""
        one = self.running.pop(number, None)
        length_s = self._length(number)
        self.counts[outcome.state] += 1
        self._ahead_s -= length_s
        self._ahead_unknown -= not length_s
        if outcome.state in ("done", "kept"):
            self.frames += outcome.frames
            self.duration_s += outcome.duration_s
            if outcome.dubbed is not None:
                self.dubbed += outcome.dubbed * outcome.frames
                self.counted += outcome.frames
        if outcome.state == "failed":
            self.last_failures.append((outcome.job.name, outcome.told))
            if len(self.failures) < _MOST_FAILURES:
                self.failures.append((outcome.job.name, outcome.told))
        if outcome.state == "done":
            took_s = now_s - one.began_s if one else outcome.seconds
            self._by_job = self._by_job[0] + took_s, self._by_job[1] + 1
            if made_s := outcome.duration_s or length_s:
                self._by_length = self._by_length[0] + took_s, self._by_length[1] + made_s
            row = outcome.seconds or took_s, -number, outcome.job.out, outcome.duration_s, outcome.dubbed
            heapq.heappush(self._slow, row)
            if len(self._slow) > _MOST_SLOW:
                heapq.heappop(self._slow)

    def frames_per_s(self, now_s: float) -> float | None:
        """Rows written over the last 30 s, by all workers; None before any was."""
        if not self._written or now_s - self.began_s < 1:
            return None
        recent = sum(n for at_s, n in self._written if at_s > now_s - _WINDOW_S)
        return recent / min(_WINDOW_S, now_s - self.began_s)

    def left_s(self, now_s: float) -> float | None:
        """Until all is done, from what finished jobs cost by second of video, or by job where lengths are not known;
        None = not known."""
        by_length = self._by_length[1] > 0 and self._ahead_unknown == 0
        spent_s, made = self._by_length if by_length else self._by_job
        if not made:
            return None
        size = self._length if by_length else lambda number: 1.0
        ahead = self._ahead_s if by_length else len(self.records) - self.ended
        begun = [(size(number), now_s - one.began_s) for number, one in self.running.items()]
        waits_s = max(0.0, ahead - sum(s for s, _ in begun)) * spent_s / made if self.waiting else 0.0
        lasting_s = [max(0.0, s * spent_s / made - on_it_s) for s, on_it_s in begun]
        # All hands share what is left, but the longest job under way, and one that waits, take one worker as long as
        # they take.
        shared_s = (sum(lasting_s) + waits_s) / max(1, self.workers, len(begun))
        return max(shared_s, *lasting_s, waits_s / max(1, self.waiting), 0.0) or None

    def _length(self, number: int) -> float:
        """Seconds of a job's video, as they were foreseen; 0 = not known."""
        return max(0.0, self.records[number].checked.duration_s)

    def _write(self, rows: int, now_s: float) -> None:
        """Counts rows by the second, so that the window holds few entries however often it is called."""
        if self._written and now_s - self._written[-1][0] < 1 and int(self._written[-1][0]) == int(now_s):
            self._written[-1][1] += rows
        else:
            self._written.append([now_s, rows])
        while len(self._written) > 1 and self._written[0][0] <= now_s - _WINDOW_S:
            self._written.popleft()
