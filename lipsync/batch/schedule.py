"""Which job a free worker does next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from lipsync.batch.job import Job


class Schedule:
    """Jobs by number, grouped by target: one worker alone does the first job of a group, whose analysis the others then
    find in the cache; a worker stays with the group whose target it has ready."""

    def __init__(self, jobs: Sequence[Job], numbers: Sequence[int]) -> None:
        self._group_of = {n: jobs[n].group for n in numbers}
        self._waiting: dict[tuple, deque[int]] = {}
        for n in numbers:
            self._waiting.setdefault(jobs[n].group, deque()).append(n)
        self._analysed: set[tuple] = set()
        self._running: dict[int, tuple] = {}
        self._last: dict[int, tuple] = {}

    def __len__(self) -> int:
        """Jobs neither finished nor given up."""
        return sum(map(len, self._waiting.values())) + len(self._running)

    def next_for(self, worker: int) -> int | None:
        """The job `worker` should do now; None = nothing that it may begin yet, or at all."""
        own = self._last.get(worker)
        choices = [
            g
            for g, waiting in self._waiting.items()
            if waiting and (g in self._analysed or g not in self._running.values())
        ]
        if not choices:
            return None
        # Its own target first, then one that nobody works on, then where most is left.
        busy = set(self._running.values())
        group = (
            own
            if own in choices
            else next((g for g in choices if g not in busy), None) or max(choices, key=lambda g: len(self._waiting[g]))
        )
        number = self._waiting[group].popleft()
        self._running[number], self._last[worker] = group, group
        return number

    def finished(self, number: int, well: bool) -> None:
        """Job `number` has ended; well: its target is analysed now."""
        group = self._running.pop(number)
        if well:
            self._analysed.add(group)

    def again(self, number: int) -> None:
        """Job `number` was lost with its worker: it waits again, first of its group."""
        self._waiting[self._running.pop(number)].appendleft(number)

    def left(self) -> list[int]:
        """Jobs that wait, in order."""
        return sorted(n for waiting in self._waiting.values() for n in waiting)
