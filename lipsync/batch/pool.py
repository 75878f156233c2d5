"""Worker processes on this machine. Each is a plain child that talks in lines of JSON; one that dies is replaced, and
only its job is lost."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import IO, Protocol

from lipsync.core.environment import THREADS
from lipsync.core.errors import UsageError
from lipsync.sandbox.limits import (
    OUT_OF_MEMORY,
    OUT_OF_TIME,
    Limits,
    limit_this_process,
    restart_clock,
    short_of_memory,
)

GRACE_S = 15.0  # a worker that is asked to stop removes what it had begun
_PROGRESS_S = 0.2  # between two messages of a worker on how far it is


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """What a worker reports of a job. kind, and what is in its message: "progress" (step, done, total), "ended" (the
    result of `worker.perform`), or "lost" with its worker (reason, a sentence; final: True where another try would end
    the same way)."""

    worker: int
    number: int
    kind: str
    message: dict


class Workers(Protocol):
    """Where jobs are done. Workers have the numbers 0 to count - 1; a lost one is replaced under its number."""

    count: int

    def submit(self, worker: int, number: int, task: dict) -> None:
        """Gives a free worker the job `number`."""

    def wait(self, timeout_s: float) -> list[WorkerEvent]:
        """What happened since; empty where nothing did for `timeout_s`."""
        ...

    def close(self, now: bool) -> None:
        """Ends the workers. now: jobs still run; they are stopped and tidied up."""


class _Child:
    """A worker's process. number: of its job; errors: its standard error; unread: bytes of an unfinished line."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("A worker's process needs pipes.")
        self.process, self.stdin, self.stdout, self.errors = process, process.stdin, process.stdout, errors
        self.number: int | None = None
        self.unread = b""

    def close(self) -> None:
        self.stdin.close()
        self.stdout.close()
        self.errors.close()


@dataclass
class LocalWorkers:
    """`count` processes with an equal share of the cores; limits: binds them (lipsync.sandbox.supervise), the time anew
    for each job; compiled: where bound ones keep what numba compiles, which nobody else may run."""

    count: int
    limits: Limits | None = None
    work: str = "lipsync.batch.worker:perform"
    compiled: Path | None = None
    _own: tempfile.TemporaryDirectory | None = None
    _children: dict[int, _Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not hasattr(select, "poll"):
            raise UsageError("A batch needs select.poll, which this system lacks. Dub one by one with lipsync dub.")

    def submit(self, worker: int, number: int, task: dict) -> None:
        child = self._children.get(worker)
        if child is None or child.process.poll() is not None:
            child = self._children[worker] = self._start()
        child.number = number
        try:
            child.stdin.write(json.dumps(task).encode() + b"\n")
            child.stdin.flush()
        except OSError:
            pass  # it is dead: `wait` says so

    def wait(self, timeout_s: float) -> list[WorkerEvent]:
        busy = {child.stdout.fileno(): worker for worker, child in self._children.items() if child.number is not None}
        if not busy:
            return []
        poll = select.poll()
        for pipe in busy:
            poll.register(pipe, select.POLLIN)
        return [event for pipe, _ in poll.poll(timeout_s * 1000) for event in self._read(busy[pipe])]

    def close(self, now: bool) -> None:
        for child in self._children.values():
            child.stdin.close()  # a worker that notices stops, whatever it does
        end_s = time.monotonic() + GRACE_S
        for child in self._children.values():
            try:
                child.process.wait(max(0.0, end_s - time.monotonic()) if now else None)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.close()
        self._children.clear()
        if self._own is not None:
            self._own.cleanup()
            self._own = None

    def _start(self) -> _Child:
        share = str(max(1, (os.cpu_count() or 1) // self.count))
        threads = {
            name: str(min(int(os.environ.get(name) or share), int(share)))
            for name in THREADS
            if (os.environ.get(name) or share).isdigit()
        }
        start = (
            "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from lipsync.batch.pool import serve; "
            "serve(*sys.argv[2:])"
        )
        limits, environment = self._bounds()
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        # A group of its own: Ctrl-C reaches this process, which then stops the workers.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", start, json.dumps(sys.path), self.work, json.dumps(limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            process_group=0,
            env=os.environ | threads | environment,
        )
        child = _Child(process, errors)
        os.set_blocking(child.stdout.fileno(), False)
        return child

    def _bounds(self) -> tuple[dict | None, dict[str, str]]:
        """The limits as plain values, and the environment of a process that may write in few folders."""
        if self.limits is None or self.limits.writable is None:
            return self.limits and asdict(self.limits), {}
        self._own = self._own or tempfile.TemporaryDirectory(prefix="lipsync-", ignore_cleanup_errors=True)
        compiled = Path(self.compiled or self._own.name)
        compiled.mkdir(parents=True, exist_ok=True)
        writable = (*self.limits.writable, self._own.name, str(compiled))
        return asdict(replace(self.limits, writable=writable)), {
            "TMPDIR": self._own.name,
            "NUMBA_CACHE_DIR": str(compiled),
        }

    def _read(self, worker: int) -> list[WorkerEvent]:
        child, events = self._children[worker], []
        piece = os.read(child.stdout.fileno(), 1 << 20)
        *lines, child.unread = (child.unread + piece).split(b"\n")
        number = child.number
        if number is None:
            return events
        for kind, message in map(json.loads, lines):
            events.append(WorkerEvent(worker, number, kind, message))
            if kind == "ended":
                child.number = None
        if not piece and child.number is not None:
            events.append(WorkerEvent(worker, number, "lost", self._cause(child)))
            del self._children[worker]
            child.close()
        return events

    def _cause(self, child: _Child) -> dict:
        status = child.process.wait()
        limit = {OUT_OF_MEMORY: "memory", OUT_OF_TIME: "time", -signal.SIGALRM: "time", -signal.SIGXCPU: "time"}.get(
            status
        )
        if limit and self.limits:
            option = {"memory": "sandbox.memory_gib", "time": "sandbox.seconds"}[limit]
            return {
                "reason": f"It reached the {limit} limit of the sandbox. Raise it with --set {option}=VALUE.",
                "final": True,
            }
        if status == -signal.SIGKILL:
            return {"reason": "Its worker was killed, perhaps because the memory was full. Use fewer --workers."}
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        child.errors.seek(max(0, child.errors.seek(0, os.SEEK_END) - 2000))
        last = child.errors.read().decode(errors="replace").strip().splitlines()
        return {"reason": f"Its worker ended {how}{f' ({last[-1][:200]})' if last else ''}. Dub it alone to see more."}


def serve(work: str, limits: str) -> None:
    """What a worker's process runs: a line of JSON in is a job, lines out are how far it is and its result. Ends with
    its standard input."""
    signal.signal(signal.SIGTERM, _stop_once)
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # stray prints of libraries must not be taken for events
    jobs, waiting = [], threading.Semaphore(0)

    def send(kind: str, message: dict) -> None:
        out.write(json.dumps([kind, message]).encode() + b"\n")
        out.flush()

    def listen() -> None:
        for line in sys.stdin.buffer:
            jobs.append(json.loads(line))
            waiting.release()
        # The batch is over, or dead: whatever runs is given up, tidily at first.
        jobs.append(None)
        waiting.release()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(1)

    try:
        perform = _limited(work, json.loads(limits))
        threading.Thread(target=listen, daemon=True).start()
        while True:
            waiting.acquire()
            job = jobs.pop(0)
            if job is None:
                return
            send("ended", perform(job, _throttled(send)))
            os.ftruncate(2, 0)
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # not the usual way: Python would abort over the standard input that `listen` reads


def _stop_once(number: int, frame: object) -> None:
    """Ends the job like Ctrl-C; a second request must not interrupt its tidying up."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _limited(work: str, limits: dict | None) -> Callable[[dict, Callable], dict]:
    """The function that does a job, in this process bound by `limits`."""
    module, _, name = work.partition(":")
    if limits is None:
        return getattr(import_module(module), name)
    bounds = Limits(**limits)
    limit_this_process(bounds)  # before a thread is started
    restart_clock(0)
    perform = getattr(import_module(module), name)

    def bounded(job: dict, hook: Callable) -> dict:
        restart_clock(bounds.seconds)
        try:
            return perform(job, hook)
        except Exception as error:
            if short_of_memory(error):
                os._exit(OUT_OF_MEMORY)
            raise
        finally:
            restart_clock(0)

    return bounded


def _throttled(send: Callable[[str, dict], None]) -> Callable[[str, int, int], None]:
    """A hook that sends every step's start and end, and at most a few times a second how far it is."""
    last, sent_s = "", 0.0

    def hook(step: str, done: int, total: int) -> None:
        nonlocal last, sent_s
        now_s = time.monotonic()
        if step != last or done == total or now_s - sent_s >= _PROGRESS_S:
            last, sent_s = step, now_s
            send("progress", {"step": step, "done": done, "total": total})

    return hook
