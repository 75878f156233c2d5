"""Damaged inputs given to workers that may crash, hang or fill the memory: what became of each, and the run goes on."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import re
import resource
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fuzz.mutate import damaged
from tests.support import ROOT

FINE = ("read", "refused")
BUSY = 4
PER_WORKER = 2000  # inputs, before a fresh one
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of small files, all of them flushed


@dataclass(frozen=True, slots=True)
class Input:
    """The `number`-th damaged input of a kind, under a seed."""

    kind: str
    number: int
    seed: int

    def bytes_of(self, kinds: dict, folder: Path) -> tuple[bytes, str]:
        """Its content and the suffix of its file. The same at every call."""
        rng = random.Random(f"{self.seed}/{self.kind}/{self.number}")
        paths = sorted(path for path in (folder / self.kind).iterdir())
        path = paths[self.number % len(paths)]
        others = [other.read_bytes() for other in paths]
        return damaged(path.read_bytes(), kinds[self.kind].form_of(path), rng, others), path.suffix


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict: "read", "refused", or a finding: "crash", "hang", "memory", "unexpected", "wrong", "poor sentence",
    "leftovers"; text: why it is one; seconds: of the clock."""

    input: Input
    verdict: str
    text: str
    seconds: float

    @property
    def signature(self) -> str:
        """Alike for findings of one cause, as far as can be told: the exception's last line and place in the
        product."""
        places = re.findall(
            rf'File "{re.escape(str(ROOT))}/((?:media|audio|video|lipsync|training)/.*)", line (\d+)', self.text
        )
        last = self.text.strip().splitlines()[-1].strip() if self.text.strip() else ""
        return f"{self.input.kind}: {self.verdict}: {last[:100]}" + (f" at {':'.join(places[-1])}" if places else "")


@dataclass(frozen=True, slots=True)
class Limits:
    """hang_s: of the processor's time, for one input; on a busy machine up to BUSY times as much of the clock's."""

    hang_s: float = 30.0
    memory_bytes: int = 2 << 30


@dataclass(slots=True)
class _Worker:
    process: multiprocessing.Process
    pipe: Connection
    folder: Path
    busy: Input | None = None
    since: float = 0.0
    used_s: float = 0.0  # of the processor, before this input
    done: int = 0
    ready: bool = False


def run(
    inputs: Iterator[Input], kinds: Callable[[], dict], seeds: Path, limits: Limits = Limits(), workers: int = 2
) -> Iterator[Outcome]:
    """What became of every input, in the order of ending. kinds: a function of a module, so that workers find it;
    seeds: where `make_seeds` wrote."""
    made = [_start(kinds, seeds, limits) for _ in range(workers)]
    try:
        waiting = True
        while waiting or any(worker.busy for worker in made):
            for i, worker in enumerate(made):
                if worker.ready and worker.busy is None and waiting:
                    if worker.done >= PER_WORKER:
                        _end(worker)
                        made[i] = _start(kinds, seeds, limits)
                        continue
                    given = next(inputs, None)
                    waiting = given is not None
                    if waiting:
                        worker.busy, worker.since, worker.used_s = (
                            given,
                            time.monotonic(),
                            _processor_s(worker.process.pid),
                        )
                        worker.pipe.send(given)
            wait([worker.pipe for worker in made], timeout=0.1)
            for i, worker in enumerate(made):
                outcome = _heard(worker, limits)
                if outcome is not None:
                    yield outcome
                    if outcome.verdict in ("crash", "hang", "memory"):
                        _end(worker)
                        made[i] = _start(kinds, seeds, limits)
    finally:
        for worker in made:
            _end(worker)


def _heard(worker: _Worker, limits: Limits) -> Outcome | None:
    """What a worker's input came to, if that is known now."""
    seconds = time.monotonic() - worker.since
    try:
        if worker.pipe.poll():
            verdict, text = worker.pipe.recv()
            if verdict == "ready":
                worker.ready = True
                return None
            given, worker.busy = worker.busy, None
            worker.done += 1
            return Outcome(given, verdict, text, seconds)
    except (EOFError, OSError):
        pass
    else:
        if worker.busy is None:
            if not worker.ready and not worker.process.is_alive():
                raise SystemExit(f"A worker could not start:\n{_last_words(worker)}")
            return None
        if worker.process.is_alive():
            if _resident(worker.process.pid) > limits.memory_bytes:  # first: filling memory takes a busy machine long
                return Outcome(worker.busy, "memory", f"more than {limits.memory_bytes >> 20} MiB in use", seconds)
            used_s = _processor_s(worker.process.pid) - worker.used_s if seconds > limits.hang_s else 0.0
            if used_s > limits.hang_s or seconds > BUSY * limits.hang_s:
                return Outcome(
                    worker.busy, "hang", f"no answer in {seconds:.0f} s, {used_s:.0f} s of them at work", seconds
                )
            return None
    worker.process.join(5)
    if worker.busy is None:
        raise SystemExit(f"A worker ended by itself:\n{_last_words(worker)}")
    return Outcome(
        worker.busy, "crash", f"{_last_words(worker)}\nprocess ended with status {worker.process.exitcode}", seconds
    )


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _peak() -> int:
    """The most memory that this process has had. Not getrusage's, which on Linux may be that of the process that
    started it."""
    with suppress(OSError, ValueError):
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor_s(pid: int) -> float:
    """Seconds of the processor that a process has used; those of the clock where that is not known."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return time.monotonic()


def _last_words(worker: _Worker) -> str:
    with suppress(OSError):
        return (worker.folder / "stderr").read_text(errors="replace")[-3000:]
    return ""


def _start(kinds: Callable[[], dict], seeds: Path, limits: Limits) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    folder = Path(tempfile.mkdtemp(prefix="lipsync-fuzz-", dir=_IN_MEMORY))
    given = theirs, kinds, seeds, folder, limits.memory_bytes
    process = multiprocessing.get_context("spawn").Process(target=_work, args=given, daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, folder)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()
    shutil.rmtree(worker.folder, ignore_errors=True)


def _work(pipe: Connection, kinds: Callable[[], dict], seeds: Path, folder: Path, memory_bytes: int) -> None:
    """The worker: inputs in, verdicts out, until it is ended."""
    words = open(folder / "stderr", "w", buffering=1)  # noqa: SIM115  the process's own output from here on
    os.dup2(words.fileno(), 2)
    os.dup2(words.fileno(), 1)
    faulthandler.enable(words)
    stray: list[str] = []
    threading.excepthook = lambda args: stray.append("".join(traceback.format_exception(args.exc_value)))
    known = kinds()
    pipe.send(("ready", ""))
    while True:
        given = pipe.recv()
        work = folder / "work"
        work.mkdir()
        whole, suffix = given.bytes_of(known, seeds)
        path = work / f"{given.number}{suffix}"
        path.write_bytes(whole)
        verdict, text = _verdict(known[given.kind].read, path, folder)
        if stray:
            verdict, text = "unexpected", stray.pop()
        if _peak() > memory_bytes:
            verdict, text = "memory", f"more than {memory_bytes >> 20} MiB were in use"
        left = [p.name for p in work.rglob("*") if "part" in p.name]
        if verdict in FINE and left:
            verdict, text = "leftovers", f"left behind: {left}"
        shutil.rmtree(work, ignore_errors=True)
        words.seek(0)
        words.truncate()
        pipe.send((verdict, text))


def _verdict(read: Callable, path: Path, folder: Path) -> tuple[str, str]:
    from lipsync.core.errors import user_message
    from tests.fuzz.readers import Wrong, may_refuse, poor_sentence

    try:
        read(path, path.parent)
    except may_refuse() as trouble:
        said = user_message(trouble)[0]
        poor = poor_sentence(said)
        return (
            ("poor sentence", f"{poor}: {said[:1000]!r}\n{traceback.format_exc()[-3000:]}")
            if poor
            else ("refused", said)
        )
    except Wrong as trouble:
        return "wrong", f"{traceback.format_exc()}\n{trouble}"
    except Exception:
        return "unexpected", traceback.format_exc()
    return "read", ""


def make_seeds(kinds: dict, names: Sequence[str], folder: Path) -> None:
    """The whole files of these kinds, each in a folder of its own."""
    for name in names:
        (folder / name).mkdir(parents=True)
        kinds[name].make(folder / name)
