"""Which kept results are in use, so that nobody removes them: in the cache's folder "in-use" a file for each process
that lists them, and a lock under which results are taken into use and removed."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from media.atomic import is_alive, this_host

#: A process on another machine that has taken nothing into use for so long has ended.
STALE_S = 7 * 24 * 3600
#: How long to wait for the lock.
_WAIT_S = 60.0
#: Names of results, (step, key), by the file that lists them: what this process holds.
_HELD: dict[Path, set[tuple[str, str]]] = {}


class InUse:
    """The results of one cache that processes hold. Where the folder cannot be written nothing is held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "in-use"

    def hold(self, step: str, key: str) -> None:
        """From now on, until `release` or the end of this process, nobody else removes this result to make room."""
        file = self._own
        if (step, key) in _HELD.get(file, ()):
            return
        with suppress(OSError), self.locked():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as stream:
                stream.write(f"{step}\t{key}\n")
            if file not in _HELD:
                atexit.register(_forget, file)
            _HELD.setdefault(file, set()).add((step, key))

    def release(self) -> None:
        """This process holds nothing any more."""
        _forget(self._own)

    def held(self) -> set[tuple[str, str]]:
        """What processes hold; lists of those that have ended are removed."""
        found = set()
        for file in self.folder.glob("*.*"):
            with suppress(OSError):
                alive = is_alive(*file.name.split(".", 1))
                if alive is False or (alive is None and time.time() - file.stat().st_mtime > STALE_S):
                    file.unlink()
                    continue
                for line in file.read_text(encoding="utf-8").splitlines():
                    step, _, key = line.partition("\t")
                    found.add((step, key))
        return found

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Alone among all processes; gives False where the file system has no locks, or one is held too long."""
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock", timeout=_WAIT_S)
            lock.acquire()
        except (OSError, NotImplementedError, Timeout):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @property
    def _own(self) -> Path:
        return self.folder / f"{this_host()}.{os.getpid()}"


def _forget(file: Path) -> None:
    _HELD.pop(file, None)
    with suppress(OSError):
        file.unlink(missing_ok=True)
