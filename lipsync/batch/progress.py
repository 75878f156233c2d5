"""How a batch shows what happens: a live table on a terminal, plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, TextIO

from lipsync.batch import events
from lipsync.batch.job import JobRecord, Outcome
from lipsync.batch.stats import BatchStats, Running
from lipsync.core.text import counted, format_duration, percent, printable, readable, rough_duration, shortened

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

Clock = Callable[[], float]


def exit_status(stats: BatchStats) -> int:
    """0 where every job is done or was found done, else 1."""
    return 0 if stats.counts["done"] + stats.counts["kept"] == len(stats.records) else 1


def summary(stats: BatchStats, now_s: float) -> list[str]:
    """What stays at the end, for a person: failures with their reasons, the slowest jobs, totals."""
    lines = [f"Failed: {printable(out)}: {printable(reason)}" for out, reason in stats.failures]
    if unnamed := stats.counts["failed"] - len(stats.failures):
        lines.append(f"And {unnamed} more failed.")
    if len(stats.slowest) > 1:
        slow = ", ".join(f"{printable(out)} ({format_duration(seconds)})" for seconds, out, *_ in stats.slowest[:3])
        lines.append(f"Slowest: {slow}.")
    return [*lines, totals(stats, now_s)]


def totals(stats: BatchStats, now_s: float) -> str:
    """One sentence: jobs by what became of them, what was made, and how long it took."""
    n = len(stats.records)
    became = [f"{count} {state}" for state, count in stats.counts.items() if count]
    if n > stats.ended:
        became.append(f"{n - stats.ended} not ended")
    dubbed = f", {percent(stats.dubbed / stats.counted)} dubbed" if stats.counted else ""
    made = f"; {stats.frames} frames, {format_duration(stats.duration_s)} of video{dubbed}" if stats.frames else ""
    jobs = f"{counted(n, 'job')}: {', '.join(became) or 'nothing to do'}"
    return f"{jobs}{made}; took {format_duration(now_s - stats.began_s)}."


class SilentObserver:
    """Counts, and shows nothing. Also a context manager, which ends what it shows."""

    def __init__(self, records: Sequence[JobRecord], workers: int = 1, *, now: Clock = time.monotonic) -> None:
        self.now = now
        self.stats = BatchStats(records, workers, now())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def expected(self, jobs: int, seconds: float) -> None:
        """Before the first: so many will be begun, and take so long, about."""

    def started(self, number: int, worker: int) -> None:
        self.stats.start(number, worker, self.now())

    def progress(self, number: int, step: str, done: int, total: int) -> None:
        self.stats.move(number, step, done, total, self.now())

    def ended(self, number: int, outcome: Outcome) -> None:
        self.stats.end(number, outcome, self.now())


class PlainLines(SilentObserver):
    """A line for every job that ended, and one about the whole every `every_s` seconds."""

    def __init__(
        self,
        stream: TextIO,
        records: Sequence[JobRecord],
        workers: int = 1,
        *,
        every_s: float = 30.0,
        now: Clock = time.monotonic,
    ) -> None:
        super().__init__(records, workers, now=now)
        self.stream, self.every_s = stream, every_s
        self.written_s = self.stats.began_s

    def __exit__(self, *error: object) -> None:
        self._write(*summary(self.stats, self.now()))

    def started(self, number: int, worker: int) -> None:
        super().started(number, worker)
        self._whole()

    def progress(self, number: int, step: str, done: int, total: int) -> None:
        super().progress(number, step, done, total)
        self._whole()

    def ended(self, number: int, outcome: Outcome) -> None:
        super().ended(number, outcome)
        if outcome.state == "stopped" and not outcome.attempts:
            return  # there may be many; the total says how many
        if outcome.state == "done":
            share = "" if outcome.dubbed is None else f"{percent(outcome.dubbed)} dubbed, "
            made = f"{outcome.frames} frames, {outcome.duration_s:.2f} s, {share}"
            how = f": {made}took {format_duration(outcome.seconds)}"
        else:
            how = f": {printable(outcome.told)}" if outcome.reason else ""
        self._write(
            f"[{self.stats.ended}/{len(self.stats.records)}] {outcome.state} {printable(outcome.job.name)}{how}"
        )
        self._whole()

    def _whole(self) -> None:
        now_s = self.now()
        if now_s - self.written_s >= self.every_s:
            self.written_s = now_s
            self._write(", ".join(filter(None, (_counted(self.stats).replace("  ", ", "), _pace(self.stats, now_s)))))

    def _write(self, *lines: str) -> None:
        self.stream.write("".join(f"{line}\n" for line in lines))
        self.stream.flush()


class BatchJsonLines(SilentObserver):
    """One JSON object a line: "event" is "estimate", the first, "started", "progress" (at most one for a job and
    second), the state in which a job ended, or "summary", the last."""

    def __init__(
        self,
        stream: TextIO,
        records: Sequence[JobRecord],
        workers: int = 1,
        *,
        every_s: float = 1.0,
        now: Clock = time.monotonic,
    ) -> None:
        super().__init__(records, workers, now=now)
        self.stream, self.every_s = stream, every_s
        self.reported_s: dict[int, float] = {}

    def __exit__(self, *error: object) -> None:
        stats, n = self.stats, len(self.stats.records)
        took_s = round(self.now() - stats.began_s, 3)
        made = {"frames": stats.frames, "duration_s": round(stats.duration_s, 3)}
        counts = {**stats.counts, "unended": n - stats.ended}
        self._write(events.Summary(jobs=n, **counts, **made, seconds=took_s, status=exit_status(stats)))

    def expected(self, jobs: int, seconds: float) -> None:
        self._write(events.Estimate(jobs, self.stats.workers, round(seconds, 1)))

    def started(self, number: int, worker: int) -> None:
        super().started(number, worker)
        self._write(events.Started(number, self._out(number), worker))

    def progress(self, number: int, step: str, done: int, total: int) -> None:
        now_s = self.now()
        is_news = self.stats.move(number, step, done, total, now_s)
        if is_news and now_s - self.reported_s.get(number, -self.every_s) >= self.every_s:
            self.reported_s[number] = now_s
            self._write(events.Progress(number, self._out(number), step, done, total))

    def ended(self, number: int, outcome: Outcome) -> None:
        super().ended(number, outcome)
        self.reported_s.pop(number, None)
        self._write(
            events.Ended(
                number,
                self._out(number),
                event=outcome.state,
                reason=outcome.reason,
                frames=outcome.frames,
                duration_s=round(outcome.duration_s, 3),
                seconds=round(outcome.seconds, 3),
                attempts=outcome.attempts,
                dubbed=outcome.dubbed,
                notes=list(outcome.notes),
            )
        )

    def _out(self, number: int) -> str:
        return self.stats.records[number].job.out

    def _write(self, event: events.BatchEvent) -> None:
        self.stream.write(event_line(event))
        self.stream.flush()


def event_line(event: events.BatchEvent) -> str:
    """A line of JSON."""
    names = sorted(event.__slots__, key="event".__ne__)  # that first, the others as they stand
    return json.dumps(readable({name: getattr(event, name) for name in names})) + "\n"


class LiveTable(SilentObserver):
    """On a terminal: counts, speed and time left, a row for every worker, the last failures. At the end a table of the
    outcome stays."""

    def __init__(
        self, stream: TextIO, records: Sequence[JobRecord], workers: int = 1, *, now: Clock = time.monotonic
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(records, workers, now=now)
        self.console = Console(file=stream)
        self._lock = threading.Lock()  # rich draws from a thread of its own
        self._live = Live(get_renderable=self.draw, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        with self._lock:
            self.console.print(_final(self.stats, self.now(), self.console.width))

    def started(self, number: int, worker: int) -> None:
        with self._lock:
            super().started(number, worker)

    def progress(self, number: int, step: str, done: int, total: int) -> None:
        with self._lock:
            super().progress(number, step, done, total)

    def ended(self, number: int, outcome: Outcome) -> None:
        with self._lock:
            super().ended(number, outcome)

    def draw(self) -> Group:
        """What the terminal shows now, never higher than it."""
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            now_s, width = self.now(), self.console.width
            head = [Text(_counted(self.stats), style="bold"), Text(_pace(self.stats, now_s))]
            failed = [
                _one_line(f"failed  {shortened(out, width // 3)}: {printable(reason)}", "red")
                for out, reason in self.stats.last_failures
            ]
            room = self.console.height - len(head) - len(failed) - 3
            at_work = {one.worker: (number, one) for number, one in self.stats.running.items()}
            listed = sorted(at_work.keys() | set(range(self.stats.workers)))
            if len(listed) > room:
                listed = sorted(at_work)[: max(1, room)]
            table = _rows([at_work.get(worker) for worker in listed], self.stats.records, width, now_s)
            more = len(at_work.keys() - set(listed))
            return Group(*head, table, *([_one_line(f"and {more} more running", "dim")] if more else []), *failed)


def _counted(stats: BatchStats) -> str:
    stopped = f"  stopped {stats.counts['stopped']}" if stats.counts["stopped"] else ""
    counts = "  ".join(f"{state} {stats.counts[state]}" for state in ("done", "kept", "failed"))
    return f"{counts}{stopped}  running {len(stats.running)}  waiting {stats.waiting}"


def _pace(stats: BatchStats, now_s: float) -> str:
    """Speed and time left, as far as they are known."""
    rate, left_s = stats.frames_per_s(now_s), stats.left_s(now_s)
    speed = None if rate is None else f"{rate:.1f} frames/s"
    left = None if left_s is None else f"about {rough_duration(left_s)} left"
    return ", ".join(filter(None, (speed, left)))


def _one_line(text: str, style: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _rows(
    workers: Sequence[tuple[int, Running] | None], records: Sequence[JobRecord], width: int, now_s: float
) -> Table:
    """A row for each worker: job, step, how far, speed."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    step_w, bar_w, rate_w = (14 if width >= 90 else 8), max(8, min(30, width // 4)), 9
    name_w = max(8, width - step_w - bar_w - rate_w - 4 * 2)
    table = Table.grid(padding=(0, 2, 0, 0))
    for wide in (name_w, step_w, bar_w):
        table.add_column(width=wide, no_wrap=True)
    table.add_column(width=rate_w, no_wrap=True, justify="right")
    for entry in workers:
        if entry is None:
            table.add_row(Text("idle", style="dim"), "", "", "")
            continue
        number, one = entry
        rate = one.frames_per_s(now_s)
        bar: RenderableType = Text(str(one.done or ""))
        if one.total > 0:
            bar = ProgressBar(total=one.total, completed=one.done, width=bar_w, complete_style="cyan")
        speed = "" if rate is None else f"{rate:.1f} f/s"
        table.add_row(
            Text(shortened(records[number].job.out, name_w)), Text(shortened(one.step, step_w)), bar, Text(speed)
        )
    return table


def _left_justified(title: str, style: str) -> Table:
    from rich.table import Table

    return Table(title=title, title_style=style, title_justify="left", box=None, padding=(0, 2, 0, 0))


def _final(stats: BatchStats, now_s: float, width: int) -> Group:
    """What stays on the terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    if stats.slowest:
        slow = _left_justified("Slowest jobs", "bold")
        for name in ("took", "video", "dubbed"):
            slow.add_column(name, justify="right", no_wrap=True)
        slow.add_column("output", no_wrap=True)
        for seconds, out, length_s, share in stats.slowest:
            length, dubbed = format_duration(length_s) if length_s else "", "" if share is None else percent(share)
            slow.add_row(format_duration(seconds), length, dubbed, Text(shortened(out, max(8, width - 38))))
        parts += [slow, Text()]
    if stats.failures:
        failed = _left_justified(f"Failed ({stats.counts['failed']})", "bold red")
        failed.add_column("output", width=max(12, width // 3), no_wrap=True)
        failed.add_column("reason", overflow="fold")
        for out, reason in stats.failures:
            failed.add_row(Text(shortened(out, max(12, width // 3))), Text(printable(reason)))
        if unnamed := stats.counts["failed"] - len(stats.failures):
            failed.add_row(Text(f"and {unnamed} more"), "")
        parts += [failed, Text()]
    return Group(*parts, Text(totals(stats, now_s), style="bold"))
