"""Files that appear whole or not at all: a hidden part is written beside the final name, brought safely to the disk,
and renamed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STALE_S = 24 * 3600


def this_host() -> str:
    """The name under which a process id means one process: the machine's, with this start of it (machines may share a
    name), and in a container or sandbox its numbering of processes."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", platform.node())[:40].strip("-") or "host"
    with suppress(OSError):
        start, numbering = Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")
        return f"{name}-{start[:8]}-{re.sub('[^0-9]', '', numbering)}"
    return name


def part_path(path: str | Path) -> Path:
    """The hidden name beside `path` under which this process writes it: .{stem}.{host}.{process id}.part{suffix}."""
    path = Path(path)
    return path.with_name(f".{_short(path.stem)}.{this_host()}.{os.getpid()}.part{path.suffix}")


def commit(part: str | Path, path: str | Path) -> None:
    """`part`, all of it on the disk, becomes `path`: after a power loss there is the old file or the new one, never a
    piece. OSError: neither was touched."""
    sync_file(part)
    os.replace(part, path)
    sync_folder(Path(path).parent)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A part to write to; it becomes `path` at a clean exit, and after an exception nothing is left."""
    remove_stale(path)
    part = part_path(path)
    try:
        yield part
        commit(part, path)
    finally:
        remove_part(part)


def remove_part(part: str | Path) -> None:
    """Removes a part that may be gone already. Where it cannot be removed it stays: that must not hide why it was given
    up."""
    with suppress(OSError):
        os.unlink(part)


def remove_stale(path: str | Path) -> None:
    """Removes left-over parts of `path`: of processes that are dead on this host, and any that nobody has written to
    for a day."""
    path = Path(path)
    ours = re.compile(rf"\.{re.escape(_short(path.stem))}\.([A-Za-z0-9-]+)\.([0-9]+)\.part{re.escape(path.suffix)}")
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if found := ours.fullmatch(name):
                part = path.with_name(name)
                with suppress(OSError):
                    if is_alive(*found.groups()) is False or time.time() - part.stat().st_mtime > STALE_S:
                        part.unlink()


def is_alive(host: str, pid: str) -> bool | None:
    """Whether the process named in a part still runs; None where that cannot be known."""
    if host != this_host() or os.name == "nt":  # where os.kill would end it
        return None
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sync_file(path: str | Path) -> None:
    """Returns once a file's content is on the disk."""
    with open(path, "rb+") as file:  # Windows refuses to flush what was opened for reading
        os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Returns once the names in a folder are on the disk, where the system can say so."""
    with suppress(OSError):  # Windows and some network drives cannot; what is renamed is whole either way
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _short(stem: str) -> str:
    """The stem, or a hash where host and process number would make the name longer than file systems take."""
    return stem if len(os.fsencode(stem)) <= 160 else hashlib.sha256(os.fsencode(stem)).hexdigest()
