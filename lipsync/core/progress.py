"""Progress: `hook(step, done, total)`; total 0 = unknown. Every hook is also a context manager that ends what it shows.

A hook may also have `note(text)`: a few words to show beside the step, such as the losses of a training;
`expect(seconds)`: how long all will take, about, told before it; and `whole(share, left_s)`: how far all of it is.
Call them as `note(hook, text)`, `expect(hook, seconds)`, `whole(hook, share, left_s)`: a hook that has none shows
none."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TextIO

from lipsync.core.text import format_duration, percent, rough_duration, shortened

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Hook = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    """Shows nothing."""


def note(hook: Hook, text: str) -> None:
    """Says `text` beside the current step, where the hook shows such words."""
    say: Callable[[str], None] | None = getattr(hook, "note", None)
    if say is not None:
        say(text)


def expect(hook: Hook, seconds: float) -> None:
    """Says, before the work, how long it will take, about."""
    say: Callable[[float], None] | None = getattr(hook, "expect", None)
    if say is not None:
        say(seconds)


def whole(hook: Hook, share: float, left_s: float | None) -> None:
    """Says how far all of the work is, 0 to 1, and the seconds left, None = not known yet."""
    say: Callable[[float, float | None], None] | None = getattr(hook, "whole", None)
    if say is not None:
        say(share, left_s)


def expected_text(seconds: float) -> str:
    """The sentence before a long work."""
    return f"This will take about {rough_duration(seconds)} (an estimate; what was kept from before is quicker)."


class Whole:
    """A hook that passes every call on and says, beside, how far the whole work is.

    expected: seconds of each step, about, in the order of the work; steps it does not name count nothing. A step that
    never comes (its result was kept) is left out as soon as a later one begins."""

    def __init__(self, hook: Hook, expected: Mapping[str, float], now: Callable[[], float] = time.monotonic) -> None:
        self._hook, self._now = hook, now
        self._order = {step: number for number, step in enumerate(expected)}
        self._waiting = {step: max(seconds, 0.01) for step, seconds in expected.items()}
        self._done_s, self._share = 0.0, 0.0
        self._step: str = ""
        self._began_s = now()
        expect(hook, sum(expected.values()))

    def note(self, text: str) -> None:
        note(self._hook, text)

    def __call__(self, step: str, done: int, total: int) -> None:
        if step in self._waiting and total > 0:
            self._forward(step, done / total)
            running_s = self._done_s + self._waiting[step] * self._share
            ahead_s = sum(self._waiting.values()) - self._waiting[step] * self._share
            took_s = self._now() - self._began_s
            left_s = ahead_s * took_s / running_s if running_s > 0.02 * (running_s + ahead_s) else None
            whole(self._hook, running_s / (running_s + ahead_s), left_s)
        self._hook(step, done, total)

    def _forward(self, step: str, share: float) -> None:
        """To this share of the step; what is before it and never began is left out."""
        if step != self._step:
            number = self._order[step]
            for earlier in [name for name in self._waiting if self._order[name] < number]:
                seconds = self._waiting.pop(earlier)
                self._done_s += seconds if earlier == self._step else 0.0
            self._step, self._share = step, 0.0
        self._share = max(self._share, share)


class Lines:
    """A line when a step starts, one when it ends, and one about every `every_s` seconds between."""

    def __init__(self, stream: TextIO, every_s: float = 10.0, now: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.every_s, self.now = stream, every_s, now
        self.step: str | None = None
        self.started_s = self.shown_s = 0.0
        self.called_s = now()
        self.words = ""
        self.all: tuple[float, float | None] | None = None

    def note(self, text: str) -> None:
        self.words = text

    def expect(self, seconds: float) -> None:
        self.stream.write(f"{expected_text(seconds)}\n")
        self.stream.flush()

    def whole(self, share: float, left_s: float | None) -> None:
        self.all = share, left_s

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.flush()

    def __call__(self, step: str, done: int, total: int) -> None:
        now_s = self.now()
        new, ended = step != self.step, 0 < total <= done
        if new:
            self.started_s = self.called_s if done else now_s  # what is done was begun after the last call
        self.called_s = now_s
        if not new and not ended and now_s - self.shown_s < self.every_s:
            return
        self.step, self.shown_s = (None if ended else step), now_s
        self.show(step, done, total, now_s - self.started_s)
        self.words = ""

    def show(self, step: str, done: int, total: int, elapsed_s: float) -> None:
        """Writes one line: step, percent, time left or taken, then the details."""
        parts = [percent(done / total)] if total else []
        if 0 < done < total:
            parts.append(f"{rough_duration(elapsed_s * (total - done) / done)} left")
        elif done:
            parts.append(f"took {format_duration(elapsed_s)}")
        parts += [f"{done}/{total}" if total else str(done)]
        if self.all is not None:
            parts.append(f"all {_all_text(*self.all)}")
        self.stream.write(f"{step}  {', '.join(parts)}{'  ' if self.words else ''}{self.words}\n")
        self.stream.flush()


@dataclass(frozen=True, slots=True)
class EstimateLine:
    """Before a long work: about how many seconds it will take."""

    estimate_s: float


@dataclass(frozen=True, slots=True)
class StepLine:
    """How far a step is. total: 0 = not known; elapsed_s: since the step began; whole: share of all the work that is
    done, left out where that is not known; note: a few words, left out where there are none."""

    step: str
    done: int
    total: int
    elapsed_s: float
    whole: float | None = None
    note: str = ""


class JsonLines(Lines):
    """The same moments as JSON objects, one a line: an `EstimateLine` before a long work, then `StepLine`s."""

    def expect(self, seconds: float) -> None:
        self._write(EstimateLine(round(seconds, 1)))

    def show(self, step: str, done: int, total: int, elapsed_s: float) -> None:
        share = None if self.all is None else round(self.all[0], 4)
        self._write(StepLine(step, done, total, round(elapsed_s, 3), share, self.words))

    def _write(self, line: EstimateLine | StepLine) -> None:
        facts = {name: value for name, value in asdict(line).items() if value is not None and value != ""}
        self.stream.write(json.dumps(facts) + "\n")
        self.stream.flush()


@dataclass(slots=True)
class Step:
    """What a row of `Bars` shows. left_s: None = not known yet, or not known at all."""

    name: str
    began_s: float
    done: int = 0
    total: int = 0
    share: float | None = None
    left_s: float | None = None
    took_s: float = 0.0
    words: str = ""

    @property
    def ended(self) -> bool:
        return self.share == 1

    @property
    def time_text(self) -> str:
        if self.left_s is not None and not self.ended:
            return f"{rough_duration(self.left_s)} left"
        return f"took {format_duration(self.took_s)}" if self.ended else ""

    @property
    def count_text(self) -> str:
        return f"{self.done}/{self.total}" if self.total else str(self.done or "")


class Bars:
    """A row for each step, for a terminal: name, percent, time left; then a bar, the count and words as far as the
    width has room for them. The rows go away at the end: the summary tells what stays."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console, self.now = Console(file=stream), now
        self.steps: dict[str, Step] = {}
        self._all: Step | None = None
        self._called_s = now()
        self._words, self._lock = "", threading.Lock()  # rich draws from a thread of its own
        self._live = Live(get_renderable=self.draw, console=self.console, refresh_per_second=4, transient=True)

    def note(self, text: str) -> None:
        self._words = text

    def expect(self, seconds: float) -> None:
        self.console.print(expected_text(seconds), highlight=False)

    def whole(self, share: float, left_s: float | None) -> None:
        with self._lock:
            self._all = self._all or Step("all", self.now())
            self._all.share, self._all.left_s = share, left_s
            self._all.took_s = self.now() - self._all.began_s

    def __enter__(self) -> Bars:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        with self._lock:
            one = self.steps.get(step)
            if one is None or done < one.done:  # again, of another file
                self.steps.pop(step, None)
                began_s = self._called_s if done else self.now()  # what is done was begun after the last call
                one = self.steps[step] = Step(step, began_s)
            self._called_s = self.now()
            one.done, one.total, one.words, self._words = done, total, self._words, ""
            one.took_s = self.now() - one.began_s
            one.share = min(1.0, done / total) if total else None
            one.left_s = one.took_s * (total - done) / done if 0 < done < total else None

    def draw(self) -> Table:
        """What the terminal shows now: the last steps, as many as it is high, and the whole."""
        with self._lock:
            rows = [*self.steps.values(), *([self._all] if self._all else [])]
            return _table(rows[-max(1, self.console.height - 1) :], self.console.width)


#: Columns of `Bars`: the widest percent and time; the least and most of a bar, and its most beside words; the
#: least room for words.
_PERCENT_W, _TIME_W, _BAR_W, _WORDS_W = 5, 15, (8, 30, 12), 16


def _table(rows: list[Step], width: int) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    has_words = any(row.words for row in rows)
    name_w = min(max((len(row.name) for row in rows), default=1), max(8, width // (4 if has_words else 3)))
    room = width - name_w - _PERCENT_W - _TIME_W - 3 * 2
    count_w = max((len(row.count_text) for row in rows), default=0)
    count_w = count_w if count_w + 2 <= room else 0
    room -= count_w + 2 if count_w else 0
    words_w = room if has_words and room >= _WORDS_W else 0
    bar_w = min(_BAR_W[2], room - _WORDS_W - 2) if words_w else min(_BAR_W[1], room)
    bar_w = bar_w if bar_w >= _BAR_W[0] else 0
    words_w -= bar_w + 2 if words_w and bar_w else 0
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=name_w, no_wrap=True)
    for wide in (_PERCENT_W, _TIME_W):
        table.add_column(width=wide, no_wrap=True, justify="right")
    for wide in (bar_w, count_w, words_w):
        if wide:
            table.add_column(width=wide, no_wrap=True)
    for row in rows:
        cells: list[RenderableType] = [
            Text(shortened(row.name, name_w)),
            Text("" if row.share is None else percent(row.share), "bold"),
        ]
        cells.append(Text(row.time_text, "dim" if row.ended else "cyan"))
        if bar_w:
            done = row.share if row.share is not None else 0.0
            cells.append(ProgressBar(total=1.0, completed=done, width=bar_w, complete_style="cyan"))
        if count_w:
            cells.append(Text(row.count_text, "dim"))
        if words_w:
            cells.append(Text(_cut(row.words, words_w), "dim"))
        table.add_row(*cells)
    return table


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _all_text(share: float, left_s: float | None) -> str:
    return percent(share) + ("" if left_s is None or share == 1 else f", {rough_duration(left_s)} left")
