"""Work on material that nobody vouches for: in a process with little memory, little time, no network and no other
programs.

`limit_this_process` binds the process that calls it, for good. `run_sandboxed` runs a `lipsync` command in a child that
binds itself before it opens anything, and says in one sentence how the child ended. Linux only; SECURITY.md says what
this keeps out and what not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from lipsync.core.errors import LipsyncError
from lipsync.sandbox.limits import (
    _PR_SET_PDEATHSIG,
    _SPARE,
    OUT_OF_MEMORY,
    OUT_OF_TIME,
    Limits,
    _libc,
    limit_this_process,
    short_of_memory,
    why_not,
)
from media.atomic import remove_stale

_NO_MEMORY_FOR_THREADS = 127  # of the C library
GRACE_S = 10.0  # between asking a child whose time is over to stop and killing it
_NEAR = 0.8  # a child that crashes with this share of its memory in use crashed for want of it
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a child works. folder: that it starts in, None = this process's; stdout, stderr: file descriptors for its
    output, None = where this process's goes; stop: once set, the child is asked to end."""

    folder: Path | None = None
    stdout: int | None = None
    stderr: int | None = None
    stop: threading.Event | None = None


def run_sandboxed(
    argv: Sequence[str],
    limits: Limits,
    inputs: Sequence[Path],
    written: Sequence[Path],
    cache: Path,
    around: Surroundings = Surroundings(),
) -> int:
    """The exit status of `lipsync *argv` in a limited child.

    inputs: what it reads, for messages; written: what it makes, of which a killed child leaves no parts. It may write
    into their folders, into `cache`, which is made, and into a temporary folder of its own. LipsyncError where a limit
    or a crash ended the child."""
    if reason := why_not():
        raise LipsyncError(reason)
    compiled = cache / "numba"  # what the child compiles it may keep, but never where others run it
    with contextlib.suppress(OSError):  # the child will say what is wrong with it
        compiled.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lipsync-", ignore_cleanup_errors=True) as folder:
        writable = (folder, str(cache), *(str(path.absolute().parent) for path in written))
        places = {"TMPDIR": folder, "NUMBA_CACHE_DIR": str(compiled)}
        return _run(argv, replace(limits, writable=writable), inputs, written, os.environ | places, around)


def _run(
    argv: Sequence[str],
    limits: Limits,
    inputs: Sequence[Path],
    written: Sequence[Path],
    environment: Mapping[str, str],
    around: Surroundings,
) -> int:
    start = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from lipsync.cli.sandbox_child import child; child()"
    )
    command = [
        sys.executable,
        "-P",
        "-c",
        start,
        json.dumps([os.path.abspath(path) for path in sys.path]),
        json.dumps(asdict(limits)),
        str(os.getpid()),
        *argv,
    ]
    with _InterruptsHeld() as held:  # between its start and the watch, nobody would stop it
        watched = _Watched(command, environment, limits, [Path(p).resolve() for p in inputs], around)
        try:
            held.let_go()
            watched.wait()
        except KeyboardInterrupt:
            watched.stop()
            if watched.status < 0:
                raise
        finally:
            watched.stop()
            for path in written if watched.status else ():
                remove_stale(path)
    if watched.sentence:
        raise LipsyncError(watched.sentence)
    return watched.status


def in_child() -> bool:
    """Whether this process is the limited child of `run_sandboxed`."""
    return _in_child


_in_child = False


class _TimeIsUp(BaseException):
    """Raised where the child stands when its time ends, so that it tidies up. Not an Exception: nobody takes it for a
    failure of theirs."""


def _end_of_time(*_: object) -> None:
    raise _TimeIsUp


class _InterruptsHeld:
    """SIGINT and SIGTERM that arrive within act when they are let go. A started program does not inherit this."""

    def __enter__(self) -> Self:
        self._arrived: list[int] = []
        # Only the main thread is interrupted, and may say how.
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self._before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in self._before.items():
            if callable(handler):
                signal.signal(number, lambda number, _: self._arrived.append(number))
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._arrived:
            signal.raise_signal(self._arrived.pop())


class _Watched:
    """A child process, what it has used, and the sentence about how it ended if that was not its own doing."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits,
        inputs: Sequence[Path],
        around: Surroundings = Surroundings(),
    ) -> None:
        self.limits, self.inputs = limits, inputs
        self._stop = around.stop or threading.Event()
        self.read: list[Path] = []  # of the inputs, those that were open when last looked
        self.peak_gib = 0.0
        self.sentence = ""

        # A group of its own: Ctrl-C reaches this process, which passes it on once.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=around.stdout,
            stderr=around.stderr,
            cwd=around.folder,
            process_group=0,
            env=environment,
        )

    @property
    def status(self) -> int:
        return self.process.returncode

    def wait(self) -> None:
        """Until the child ends, or its time."""
        end_s = time.monotonic() + self.limits.seconds if self.limits.seconds else float("inf")
        while True:
            try:
                self.process.wait(_POLL_S)
                break
            except subprocess.TimeoutExpired:
                self._look()
            if self._stop.is_set():
                self.stop()
                return
            late, large = time.monotonic() > end_s, 0 < self.limits.memory_gib < self.peak_gib
            if late or large:
                self.stop(signal.SIGALRM)
                self.sentence = self._out_of_time() if late else self._out_of_memory()
                return
        self.sentence = self._of_status()

    def stop(self, request: signal.Signals = signal.SIGTERM) -> None:
        """Asks the child to end, and kills it if it does not."""
        for signal_number in (request, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            self.process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_S)

    def _look(self) -> None:
        folder = Path(f"/proc/{self.process.pid}")
        with contextlib.suppress(OSError, KeyError):  # it has just ended
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            self.peak_gib = max(self.peak_gib, int(status["VmData"].split()[0]) / 2**20)
            opened = {os.path.realpath(link) for link in (folder / "fd").iterdir()}
            self.read = [path for path in self.inputs if str(path) in opened] or self.read

    def _of_status(self) -> str:
        """What to say of a child that ended by itself."""
        crashed = self.status < 0 or self.status == _NO_MEMORY_FOR_THREADS
        if self.status == OUT_OF_MEMORY or (crashed and self.peak_gib > _NEAR * self.limits.memory_gib > 0):
            return self._out_of_memory()
        if self.status in (OUT_OF_TIME, -signal.SIGXCPU, -signal.SIGALRM):
            return self._out_of_time()
        if crashed:
            how = signal.Signals(-self.status).name if self.status < 0 else "want of memory"
            return (
                f"{self._names()}: reading it crashed ({how}): it is damaged, or made to break a decoder. Copy it "
                "again, or leave it out."
            )
        return ""

    def _out_of_memory(self) -> str:
        return self._stopped("memory_gib", f"{self.limits.memory_gib:g} GiB of memory")

    def _out_of_time(self) -> str:
        return self._stopped("seconds", f"{self.limits.seconds:g} seconds")

    def _stopped(self, option: str, limit: str) -> str:
        return (
            f"{self._names()}: stopped at the limit of {limit}. If you trust this material, raise it with --set "
            f"sandbox.{option}=NUMBER."
        )

    def _names(self) -> str:
        return " and ".join(str(path.name) for path in self.read or self.inputs)


def run_limited(command: Callable[[], None]) -> None:
    """The child's part of `run_sandboxed`: limits itself, then does `command`, whose words are in sys.argv."""
    global _in_child
    limits, parent, *argv = sys.argv[2:]
    limits = Limits(**json.loads(limits))
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the line above
        sys.exit(130)
    # The parent's watch comes first, so that there is time to tidy up.
    limit_this_process(
        replace(limits, memory_gib=limits.memory_gib * _SPARE, seconds=limits.seconds and limits.seconds + 2 * GRACE_S)
    )
    _in_child = True
    signal.signal(signal.SIGALRM, _end_of_time)
    warnings.filterwarnings("ignore", "Could not obtain multiprocessing lock")  # numba's; there is one process
    sys.argv = ["lipsync", *argv]
    try:
        command()
    except _TimeIsUp:
        sys.exit(OUT_OF_TIME)
    except KeyboardInterrupt:  # outside the command, which would have said so: the parent will
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    except Exception as error:
        if not short_of_memory(error):
            raise
        sys.exit(OUT_OF_MEMORY)
