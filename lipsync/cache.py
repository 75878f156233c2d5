"""Results of analysis steps, kept on disk and found again by content.

A step's key is a hash of its name, its version, its parameters and the keys (or content hashes) of what it reads. A result is a folder,
written beside its destination and renamed: existing = complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from fractions import Fraction
from pathlib import Path

from lipsync.errors import LipsyncError

STALE_S = 24 * 3600
_LABEL = "entry.json"
_CURE = "Name another folder with --set cache.folder=FOLDER or the environment variable LIPSYNC_CACHE."
_HASHES: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One kept result. label: what it was made from, for people; age_s: seconds since it was made."""

    step: str
    key: str
    label: str
    size_bytes: int
    age_s: float
    folder: Path


def content_hash(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's content. Read once per process while size and modification time stay the same."""
    path = Path(path)
    try:
        stat = path.stat()
        seen = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        if seen not in _HASHES:
            with path.open("rb") as stream:
                _HASHES[seen] = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise LipsyncError(f"{path} cannot be read: {error.strerror or error}. Check the name and its permissions.") from error
    return _HASHES[seen]


def step_key(name: str, version: int | str, parameters: object = None, inputs: Sequence[str] = ()) -> str:
    """Hex key of a step: equal exactly when name, version, parameters (plain values, dataclasses) and inputs (keys, in order) are equal."""
    text = json.dumps([name, version, parameters, list(inputs)], sort_keys=True, allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (Fraction, Path)):
        return str(value)
    raise TypeError(f"a step's parameters must be plain values, not {type(value).__name__}")


def default_folder() -> Path:
    """`LIPSYNC_CACHE`, else the platform's folder for a user's caches."""
    if os.environ.get("LIPSYNC_CACHE"):
        return Path(os.environ["LIPSYNC_CACHE"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "lipsync"


class Cache:
    """A folder of results: folder/step/key/. Nothing is created before the first result is made."""

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder = Path(folder).expanduser() if folder else default_folder()

    def get_or_make(self, step: str, key: str, make: Callable[[Path], None], *, label: str = "") -> Path:
        """The folder of result `key`; made by `make(empty folder)` where it does not exist yet.

        Two processes may make the same result: the one that is later discards its own. After an exception nothing stays.
        """
        done = self.folder / step / key
        if done.is_dir():
            return done
        part = self._new_part(step, key)
        try:
            make(part)
            (part / _LABEL).write_text(json.dumps({"step": step, "label": label}), encoding="utf-8")
            try:
                os.rename(part, done)
            except OSError:
                if not done.is_dir():
                    raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise LipsyncError(f"No space left for the cache in {self.folder}. {_CURE}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return done

    def unfinished(self, step: str, key: str, *, label: str = "") -> Path:
        """A folder in which work on `key` waits to be continued: the same at every call, listed and cleared like results. Whoever finishes
        the work removes it."""
        folder = self.folder / step / key
        if not (folder / _LABEL).exists():
            shutil.rmtree(self._new_part(step, key), ignore_errors=True)  # raises, with a cure, where nothing can be kept
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _LABEL).write_text(json.dumps({"step": step, "label": label}), encoding="utf-8")
        return folder

    def entries(self) -> list[CacheEntry]:
        """All complete results, newest first."""
        now = time.time()
        found = []
        for folder in self._results():
            with suppress(OSError, ValueError):  # another process may have removed it
                label = json.loads((folder / _LABEL).read_text(encoding="utf-8")).get("label", "")
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                age_s = max(0.0, now - (folder / _LABEL).stat().st_mtime)
                found.append(CacheEntry(folder.parent.name, folder.name, label, size, age_s, folder))
        return sorted(found, key=lambda entry: entry.age_s)

    def clear(self, step: str | None = None, older_than_s: float = 0.0) -> tuple[int, int]:
        """(results removed, bytes freed). Only what this cache made is touched, whatever else lies in its folder."""
        gone = [entry for entry in self.entries() if step in (None, entry.step) and entry.age_s >= older_than_s]
        for entry in gone:
            # Renamed first: a half-removed result must not look complete.
            part = self._new_part(entry.step, entry.key)
            with suppress(OSError):
                os.rename(entry.folder, part / "gone")
            shutil.rmtree(part, ignore_errors=True)
        self._sweep()
        return len(gone), sum(entry.size_bytes for entry in gone)

    def check_writable(self) -> None:
        """Raises LipsyncError, with a cure, where no result could be kept."""
        shutil.rmtree(self._new_part(".", "check"), ignore_errors=True)

    def _results(self) -> Iterator[Path]:
        for label in sorted(self.folder.glob(f"*/*/{_LABEL}")):
            if not label.parent.name.endswith(".part"):
                yield label.parent

    def _new_part(self, step: str, key: str) -> Path:
        try:
            (self.folder / step).mkdir(parents=True, exist_ok=True)
            self._sweep()
            part = self.folder / step / f"{key[:16]}.{os.getpid()}.{secrets.token_hex(4)}.part"
            part.mkdir()
        except OSError as error:
            raise LipsyncError(f"The cache folder {self.folder} cannot be written: {error.strerror or error}. {_CURE}") from error
        return part

    def _sweep(self) -> None:
        for part in [*self.folder.glob("*.*.*.part"), *self.folder.glob("*/*.*.*.part")]:
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > STALE_S and not _alive(part.name.split(".")[1]):
                    shutil.rmtree(part, ignore_errors=True)


def _alive(pid: str) -> bool:
    if not pid.isdigit() or sys.platform == "win32":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def save_arrays(path: Path, arrays: dict) -> None:
    """Writes numpy arrays by name as safetensors. Made contiguous first: safetensors would store a transposed array's bytes as they lie."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
