"""A dub in which the n-th operation on the file system goes wrong: `python -m tests.support.faults PLAN` runs many of
them, one JSON line for each.

A process is loaded once and forked for each case, so that a case costs no imports. Operations are counted below one
folder: opening for writing, each write, fsync, rename, mkdir, unlink, rmdir. Python's own; what FFmpeg writes is cut
short with RLIMIT_FSIZE instead."""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

KILL = "kill"
_REAL_OPEN = io.open
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Fault:
    """Keeps the names of operations below `folder` in `seen`; that with number `at` fails with errno `how`, or ends the
    process (`KILL`)."""

    def __init__(self, folder: Path, at: int = 0, how: str = KILL) -> None:
        self.folder, self.at, self.how, self.seen = str(folder), at, how, []

    def install(self) -> None:
        """For good: meant for a forked child."""
        sys.addaudithook(self._audit)
        fsync = os.fsync
        os.fsync = lambda fd: (self.step("fsync"), fsync(fd))[1]
        io.open = builtins.open = self._open

    def step(self, event: str, path: str | None = None) -> None:
        self.seen.append(f"{event} {os.path.basename(path)}" if path else event)
        if len(self.seen) == self.at:
            if self.how == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            number = getattr(errno, self.how)
            raise OSError(number, os.strerror(number), *([path] if path else []))

    def inside(self, path: object) -> bool:
        return isinstance(path, (str, bytes, os.PathLike)) and os.path.abspath(os.fsdecode(path)).startswith(
            self.folder + os.sep
        )

    def _audit(self, event: str, args: tuple) -> None:
        writes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") or (
            event == "open" and (args[2] or 0) & _WRITING
        )
        if not writes or not isinstance(args[0], (str, bytes, os.PathLike)):
            return
        path = os.fsdecode(args[0])
        if event in ("os.remove", "os.rmdir") and args[1] != -1:  # shutil.rmtree works below an open folder
            path = os.path.join(os.readlink(f"/proc/self/fd/{args[1]}"), path)
        if self.inside(path):
            self.step(event, path)

    def _open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not set(mode) & set("wax+") or not self.inside(file):
            return _REAL_OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _FailingFile(file, mode.replace("b", "").replace("t", ""), self)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


class _FailingFile(io.FileIO):
    """A file whose write may stop half-way."""

    def __init__(self, file, mode: str, fault: Fault) -> None:
        super().__init__(file, mode)
        self._fault = fault

    def write(self, content) -> int:
        try:
            self._fault.step("write")
        except OSError:
            super().write(bytes(content)[: len(content) // 2])
            raise
        return super().write(content)


def forked(act: Callable[[], object], fault: Fault | None = None) -> tuple[int | str, list[str]]:
    """How `act` ends in a forked child (0, the name of its exception, or minus the signal), and the operations it
    made."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if child == 0:
        ended: object = 0
        try:
            if fault:
                fault.install()
            act()
        except BaseException as error:
            ended = type(error).__name__
        with suppress(BaseException):
            os.write(outlet, json.dumps([ended, fault.seen if fault else []]).encode())
        os._exit(0)
    os.close(outlet)
    with _REAL_OPEN(inlet) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return tuple(json.loads(said)) if said else (os.waitstatus_to_exitcode(status), [])


def main() -> None:
    """argv[1]: JSON {"work": folder, "cache": made before, "arguments": of the command without --output, "steps":
    entries to make again, "cases": [[n, how, force]], "together": so many processes on one output and one cache}."""
    plan = json.loads(sys.argv[1])
    import torch

    torch.set_num_threads(1)
    from lipsync.cli.app import main as _  # noqa: F401
    from lipsync.pipelines.dub import dub  # noqa: F401

    work = Path(plan["work"])
    _run(plan, _fresh(plan, work / "first"), None)
    whole = _state(work / "first/out")
    print(json.dumps({"whole": whole, "operations": _counted(plan, work)}), flush=True)
    if plan["together"]:
        folder = _fresh(plan, work / "together")
        children = [_start(plan, folder, None, True, work / f"{k}.stderr") for k in range(plan["together"])]
        print(
            json.dumps(
                {
                    "together": [_end(*child) for child in children],
                    "left": _state(folder / "out"),
                    "cache": _parts(folder / "cache"),
                }
            ),
            flush=True,
        )
    for k, (at, how, force) in enumerate(plan["cases"]):
        print(json.dumps({"case": [at, how, force], **_case(plan, work / f"case{k}", at, how, force)}), flush=True)


def _counted(plan: dict, work: Path) -> list[str]:
    folder = _fresh(plan, work / "count")
    _run(plan, folder, Fault(folder))
    seen = (work / "count.seen").read_text().splitlines()
    shutil.rmtree(folder)
    return seen


def _case(plan: dict, folder: Path, at: int, how: str, force: bool) -> dict:
    """What one fault leaves behind, and what the same command makes of it afterwards."""
    _fresh(plan, folder)
    if force:
        (folder / "out/out.mp4").write_bytes(b"an older film")
        (folder / "out/out.mp4.json").write_text(json.dumps({"output": {"bytes": 13}}))
    status, said = _run(plan, folder, Fault(folder, at, how), force)
    found = {
        "status": status,
        "said": said,
        "left": _state(folder / "out"),
        "cache_left": _parts(folder / "cache"),
        "tmp_left": _parts(folder / "tmp", "*"),
    }
    found["again"] = _run(plan, folder, None, (folder / "out/out.mp4").exists() or force)
    found["then"] = _state(folder / "out")
    found["cache_then"] = _parts(folder / "cache")
    shutil.rmtree(folder)
    return found


def _fresh(plan: dict, folder: Path) -> Path:
    for name in ("out", "tmp"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(plan["cache"], folder / "cache")
    for step in plan["steps"]:
        shutil.rmtree(folder / "cache" / step)
    return folder


def _parts(folder: Path, pattern: str = "*.part*") -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(pattern))


def _state(folder: Path) -> dict:
    """Name -> SHA-256 of each file; of the receipt, what it says of the video."""
    found = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        found[path.name] = hashlib.sha256(content).hexdigest()
        if path.name == "out.mp4.json":
            found[path.name] = json.loads(content)["output"]
    return found


def _run(plan: dict, folder: Path, fault: Fault | None, force: bool = False) -> tuple[int, str]:
    """Exit status (negative: the signal) and standard error of the command in a forked process."""
    return _end(*_start(plan, folder, fault, force, folder.with_suffix(".stderr")))


def _start(plan: dict, folder: Path, fault: Fault | None, force: bool, errors: Path) -> tuple[int, Path]:
    arguments = [
        *plan["arguments"],
        "-o",
        str(folder / "out/out.mp4"),
        "--set",
        f"cache.folder={folder / 'cache'}",
        *["--force"] * force,
    ]
    child = os.fork()
    if child == 0:
        _command(arguments, folder, fault, errors)
    return child, errors


def _end(child: int, errors: Path) -> tuple[int, str]:
    _, status = os.waitpid(child, 0)
    said = errors.read_text()
    errors.unlink()
    return os.waitstatus_to_exitcode(status), said


def _command(arguments: list[str], folder: Path, fault: Fault | None, errors: Path) -> None:
    status = 99
    try:
        from lipsync.cli.app import app

        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        sink = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(sink, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if fault:
            fault.install()
        try:
            app(arguments, prog_name="lipsync")
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
        if fault and not fault.at:
            folder.with_suffix(".seen").write_text("\n".join(fault.seen))
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
