"""Progress: `hook(step, done, total)`; total 0 = unknown. Every hook is also a context manager that ends what it shows.

A hook may also have `note(text)`: a few words to show beside the step, such as the losses of a training. Call it as
`note(hook, text)`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import TaskID

Hook = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    """Shows nothing."""


def note(hook: Hook, text: str) -> None:
    """Says `text` beside the current step, where the hook shows such words."""
    say: Callable[[str], None] | None = getattr(hook, "note", None)
    if say is not None:
        say(text)


class Lines:
    """A line when a step starts, one when it ends, and one about every `every_s` seconds between."""

    def __init__(self, stream: TextIO, every_s: float = 10.0, now: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.every_s, self.now = stream, every_s, now
        self.step: str | None = None
        self.started_s = self.shown_s = 0.0
        self.words = ""

    def note(self, text: str) -> None:
        self.words = text

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.flush()

    def __call__(self, step: str, done: int, total: int) -> None:
        now_s = self.now()
        new, ended = step != self.step, 0 < total <= done
        if new:
            self.started_s = now_s
        elif not ended and now_s - self.shown_s < self.every_s:
            return
        self.step, self.shown_s = (None if ended else step), now_s
        self.show(step, done, total, now_s - self.started_s)
        self.words = ""

    def show(self, step: str, done: int, total: int, elapsed_s: float) -> None:
        """Writes one line."""
        of = f"/{total}" if total else ""
        when = f"  {elapsed_s:.1f} s" if done else ""
        left = f", {elapsed_s * (total - done) / done:.0f} s left" if self.words and 0 < done < total else ""
        self.stream.write(f"{step}  {done}{of}{when}{left}{'  ' if self.words else ''}{self.words}\n")
        self.stream.flush()


class JsonLines(Lines):
    """The same moments as JSON objects, one a line: step, done, total, elapsed_s."""

    def show(self, step: str, done: int, total: int, elapsed_s: float) -> None:
        note = {"note": self.words} if self.words else {}
        self.stream.write(
            json.dumps({"step": step, "done": done, "total": total, "elapsed_s": round(elapsed_s, 3)} | note) + "\n"
        )
        self.stream.flush()


class Bars:
    """One bar a step, for a terminal (rich). The bars go away at the end: the summary tells what stays."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.progress = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=Console(file=stream),
            transient=True,
        )
        self.tasks: dict[str, TaskID] = {}
        self.words = ""

    def note(self, text: str) -> None:
        self.words = text

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def __call__(self, step: str, done: int, total: int) -> None:
        if step not in self.tasks:
            self.tasks[step] = self.progress.add_task(step, total=total or None, words="")
        self.progress.update(self.tasks[step], completed=done, total=total or None, words=self.words)
        self.words = ""
