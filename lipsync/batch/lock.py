"""One batch at a time writes to an output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lipsync.batch.storage.address import is_url
from lipsync.core.errors import LipsyncError

#: In the output folder, while a batch writes there.
LOCK_NAME = ".lipsync.lock"


@contextmanager
def locked(out: str) -> Iterator[str]:
    """Holds a local output folder, which is made where it is missing; gives "", or a sentence where the file system has
    no locks. LipsyncError: another batch writes there, or nobody can.

    Where the platform lacks file locks, filelock's own marker does: the file is there = the folder is held."""
    if is_url(out):
        yield ""
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        os.scandir(out).close()
    except OSError as error:
        raise LipsyncError(
            f"The output folder {out} cannot be used: {error.strerror}. Choose another with -o."
        ) from error
    if not os.access(out, os.W_OK | os.X_OK):  # `check_jobs` says so
        yield ""
        return
    from filelock import FileLock, Timeout

    file = Path(out) / LOCK_NAME
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LipsyncError(
            f"Another batch is writing to {out}. Wait for it, or choose another folder with -o."
        ) from None
    except (OSError, NotImplementedError):
        yield f"The file system of {out} has no locks: take care that no other batch writes there."
        return
    try:
        yield ""
    finally:
        with suppress(OSError):  # still held, so that nobody else's can be hit
            file.unlink()
        lock.release()
