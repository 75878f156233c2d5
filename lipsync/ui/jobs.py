"""The jobs of the local page: `lipsync` commands in limited children, one at a time, in a folder that goes away."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from lipsync.core.errors import LipsyncError, user_message
from lipsync.core.text import counted, printable
from lipsync.sandbox.limits import Limits, why_not
from lipsync.sandbox.supervise import Surroundings, run_sandboxed

State = Literal["waiting", "running", "done", "failed", "cancelled"]
#: Jobs of one visitor that may wait; jobs that are kept once they have ended, the newest.
MOST_WAITING, MOST_KEPT = 10, 30
_PREFIX = "lipsync-ui-"
_TAIL = 40  # lines of a child's words that are kept
_FAULT = "lipsync failed where it should not have. The terminal that runs `lipsync ui` says more."


@dataclass(frozen=True, slots=True)
class Command:
    """One `lipsync` command. words: its arguments, file names relative to the job's folder; reads, writes: those
    files; optional: the job is done even if this fails."""

    words: Sequence[str]
    reads: Sequence[str]
    writes: Sequence[str]
    optional: bool = False


@dataclass(eq=False, slots=True)
class Job:
    """A piece of work, and how far it is. kind: "people", "preview" or "dub"; owner: the visitor, a secret word; name:
    of the files it makes, for people; expected: seconds that each step may take, for the share that is done; outputs:
    names of its files in `folder`, by use; sentence: why it failed; after: a job
    that must have ended before this one starts; unwanted: nobody will look at it."""

    kind: str
    owner: str
    name: str
    folder: Path
    commands: Sequence[Command]
    limits: Limits
    cache: Path
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    expected: Mapping[str, float] = field(default_factory=dict[str, float])
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    step: str = ""
    share: float = 0.0
    left_s: float | None = None
    sentence: str = ""
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    stop: threading.Event = field(default_factory=threading.Event)
    seen: dict[str, float] = field(default_factory=dict[str, float])
    started_s: float = 0.0
    after: Job | None = None
    unwanted: bool = False

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def progress(self, step: str, done: int, total: int) -> None:
        """Takes one report of the child. Steps that were skipped, because their results were kept, count as nothing."""
        self.step = step
        self.seen[step] = min(1.0, done / total) if total else 0.0
        steps = list(self.expected)
        if step not in steps:
            return
        behind = sum(self.expected[name] * share for name, share in self.seen.items() if name in self.expected)
        ahead = self.expected[step] * (1 - self.seen[step])
        ahead += sum(self.expected[name] for name in steps[steps.index(step) + 1 :])
        self.share = max(self.share, behind / (behind + ahead) if behind + ahead else 0.0)
        elapsed_s = time.monotonic() - self.started_s
        self.left_s = elapsed_s * ahead / behind if behind > 0.05 * (behind + ahead) else None


class Workplace:
    """A folder for everything that the page holds; it goes away with `close`, and a later one sweeps up what a killed
    process left."""

    def __init__(self) -> None:
        _sweep_up()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = FileLock(self.folder / "lock")
        self._lock.acquire()

    def new_folder(self) -> Path:
        """An empty folder whose name nobody can guess."""
        folder = self.folder / "jobs" / secrets.token_urlsafe(12)
        folder.mkdir(parents=True)
        return folder

    def close(self) -> None:
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def _sweep_up() -> None:
    """Removes the folders of processes that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):
            if (folder / "lock").exists():
                with FileLock(folder / "lock", timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)


class Queue:
    """Jobs in the order in which they came, `at_once` at a time, each in a thread that waits for its child. What looks
    at people has a lane of its own, so that a long dub does not hold up the next visitor's first step."""

    def __init__(
        self, at_once: int = 1, most_waiting: int = MOST_WAITING, on_fault: Callable[[str], None] = print
    ) -> None:
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closing = False
        self._most_waiting, self._on_fault = most_waiting, on_fault
        lanes = [*([False] * at_once), True]
        self._threads = [threading.Thread(target=self._work, args=(looks,), daemon=True) for looks in lanes]
        for thread in self._threads:
            thread.start()

    def add(self, job: Job) -> Job:
        """LipsyncError, and the job's folder goes, where the visitor has too many waiting already."""
        with self._changed:
            waiting = [one for one in self._jobs.values() if one.owner == job.owner and one.state == "waiting"]
            if self._closing or len(waiting) >= self._most_waiting:
                shutil.rmtree(job.folder, ignore_errors=True)
                raise LipsyncError(f"{counted(len(waiting), 'job')} of yours wait already. Cancel some, or wait.")
            self._jobs[job.id] = job
            self._forget_oldest()
            self._changed.notify_all()
        return job

    def of(self, owner: str) -> list[Job]:
        """The visitor's jobs, the newest first."""
        with self._changed:
            return [job for job in reversed(self._jobs.values()) if job.owner == owner and not job.unwanted]

    def get(self, id: str, owner: str) -> Job | None:
        """A job, if it is this visitor's."""
        with self._changed:
            job = self._jobs.get(id)
        return job if job is not None and secrets.compare_digest(job.owner.encode(), owner.encode()) else None

    def find(self, id: str) -> Job | None:
        """A job by its name that nobody can guess."""
        with self._changed:
            return self._jobs.get(id)

    def ahead_of(self, job: Job) -> int:
        """How many jobs come before one that waits."""
        with self._changed:
            lane = [one for one in self._jobs.values() if (one.kind == "people") == (job.kind == "people")]
        return sum(not one.ended for one in lane[: lane.index(job)]) if job in lane else 0

    def cancel(self, job: Job) -> None:
        """Stops a job; its files go."""
        with self._changed:
            job.stop.set()
            if job.state == "waiting":
                self._end(job, "cancelled")
            self._changed.notify_all()

    def remove(self, job: Job) -> None:
        """Cancels a job, and forgets it as soon as it has ended."""
        with self._changed:
            job.unwanted = True
            self.cancel(job)
            if job.ended:
                self._forget(job)

    def wait(self, job: Job, timeout_s: float | None = None) -> None:
        """Until a job has ended."""
        with self._changed:
            self._changed.wait_for(lambda: job.ended, timeout_s)

    def close(self) -> None:
        """Stops everything and waits for it."""
        with self._changed:
            self._closing = True
            for job in self._jobs.values():
                job.stop.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(30)

    def _work(self, looks: bool) -> None:
        while (job := self._next(looks)) is not None:
            sentence, state = "", "done"
            try:
                self._do(job)
            except LipsyncError as error:
                sentence, state = str(error), "failed"
            except Exception as error:  # whatever one job does, the page goes on
                sentence, state = user_message(error)[0] or _FAULT, "failed"
                self._on_fault(f"{type(error).__name__}: {error}")
            with self._changed:
                job.sentence = sentence
                self._end(job, "cancelled" if job.stop.is_set() else state)
                self._changed.notify_all()

    def _next(self, looks: bool) -> Job | None:
        def first() -> Job | None:
            waiting = (job for job in self._jobs.values() if job.state == "waiting")
            ready = (job for job in waiting if job.after is None or job.after.ended)
            return next((job for job in ready if (job.kind == "people") == looks), None)

        with self._changed:
            self._changed.wait_for(lambda: self._closing or first() is not None)
            job = first()
            if self._closing or job is None:
                return None
            job.state, job.started_s = "running", time.monotonic()
            return job

    def _do(self, job: Job) -> None:
        for command in job.commands:
            if job.stop.is_set():
                return
            try:
                job.result |= _run(job, command)
            except LipsyncError:
                if not command.optional:
                    raise

    def _end(self, job: Job, state: State) -> None:
        job.state, job.left_s = state, None
        if state != "done":
            shutil.rmtree(job.folder, ignore_errors=True)
        if job.unwanted:
            self._forget(job)

    def _forget_oldest(self) -> None:
        ended = [job for job in self._jobs.values() if job.ended]
        for job in ended[: max(0, len(ended) - MOST_KEPT)]:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)


def _run(job: Job, command: Command) -> dict[str, Any]:
    """What the command prints as JSON. LipsyncError with its sentence where it fails."""
    words: list[str] = []
    with (job.folder / ".result").open("w+b") as result:
        reader, writer = os.pipe()
        listener = threading.Thread(target=_listen, args=(reader, job, words), daemon=True)
        listener.start()
        try:
            status = _start(job, command, Surroundings(job.folder, result.fileno(), writer, job.stop))
        finally:
            os.close(writer)
            listener.join(5)
        if status == 0:
            result.seek(0)
            return json.load(result)
    if job.stop.is_set():
        return {}
    said = next((line for line in reversed(words) if line.startswith("lipsync: ")), None)
    if said is None:
        raise RuntimeError("\n".join(words))
    raise LipsyncError(said.removeprefix("lipsync: "))


def run_beside(job: Job) -> threading.Thread:
    """Does a job that nobody asked for, and of whose end nothing is told, until its `stop`."""

    def work() -> None:
        with open(os.devnull, "wb") as nowhere, contextlib.suppress(LipsyncError, OSError):
            around = Surroundings(job.folder, nowhere.fileno(), nowhere.fileno(), job.stop)
            for command in job.commands:
                _start(job, command, around)

    thread = threading.Thread(target=work, name=job.kind, daemon=True)
    thread.start()
    return thread


def _start(job: Job, command: Command, around: Surroundings) -> int:
    """The exit status of the command: in the sandbox where there is one, else in a plain child."""
    reads, writes = ([job.folder / name for name in names] for names in (command.reads, command.writes))
    if not why_not():
        return run_sandboxed(command.words, job.limits, reads, writes, job.cache, around)
    child = subprocess.Popen(
        [sys.executable, "-m", "lipsync", *command.words],
        stdin=subprocess.DEVNULL,
        stdout=around.stdout,
        stderr=around.stderr,
        cwd=job.folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
    )
    while child.poll() is None:
        if job.stop.wait(0.1):
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
    return child.returncode


def _listen(reader: int, job: Job, words: list[str]) -> None:
    """Takes a child's progress, and keeps its last other words."""
    with open(reader, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                report = json.loads(line)
                job.progress(str(report["step"]), int(report["done"]), int(report["total"]))
            except (ValueError, TypeError, KeyError):
                words.append(printable(line.rstrip())[:2000])
                del words[:-_TAIL]
