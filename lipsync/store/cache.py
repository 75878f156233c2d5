"""Results of analysis steps, kept on disk and found again by content.

A step's key is a hash of its name, its version, its parameters and the keys (or content hashes) of what it reads. A
result is a folder, written beside its destination, brought safely to the disk and renamed. Its label holds the sizes
and hashes of its files: what does not fit them when it is used is thrown away and made again. A cache with limits
removes what was unused longest whenever something new has been made, and never what a process uses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lipsync.core.errors import LipsyncError
from lipsync.store.in_use import InUse
from media.atomic import atomic_write, is_alive, sync_file, sync_folder, this_host

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lipsync.config.schema import CacheConfig

#: Left-over work of processes that may still run elsewhere is removed after so long.
STALE_S = 7 * 24 * 3600
#: Raise whenever results are kept in another way: all older ones are then made again.
FORMAT = 2
#: Larger files are hashed again only where their time of change is another: a gigabyte takes a second.
ALWAYS_HASHED_BYTES = 64 << 20
_LABEL = "entry.json"
_PART = re.compile(r"[^.]+\.([A-Za-z0-9-]+)\.([0-9]+)\.[0-9a-f]+\.part")
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_KEPT = (errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM)
_CURE = "Name another folder with --set cache.folder=FOLDER or the environment variable LIPSYNC_CACHE."
_HASHES: dict[tuple[str, int, int], str] = {}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One kept result. label: what it was made from, for people; age_s: seconds since it was made; unused_s: since it
    was last used."""

    step: str
    key: str
    label: str
    size_bytes: int
    age_s: float
    unused_s: float
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
        raise LipsyncError(
            f"{path} cannot be read: {error.strerror or error}. Check the name and its permissions."
        ) from error
    return _HASHES[seen]


def step_key(name: str, version: int | str, parameters: object = None, inputs: Sequence[str] = ()) -> str:
    """Hex key of a step: equal exactly when name, version, parameters (plain values, dataclasses) and inputs (keys, in
    order) are equal."""
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
        return Path(os.environ["LIPSYNC_CACHE"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "lipsync"


class Cache:
    """A folder of results: folder/step/key/. Nothing is created before the first result is made. max_gib, max_days: how
    much is kept, and how long what nobody uses; 0 = without limit."""

    def __init__(self, folder: str | os.PathLike | None = None, *, max_gib: float = 0.0, max_days: float = 0.0) -> None:
        self.folder = Path(folder).expanduser() if folder else default_folder()
        self.max_gib, self.max_days = max_gib, max_days
        self._in_use = InUse(self.folder)

    @classmethod
    def of(cls, options: CacheConfig) -> Cache:
        """As the options say."""
        return cls(options.folder or None, max_gib=options.max_gib, max_days=options.max_days)

    def read(
        self, step: str, key: str, make: Callable[[Path], None], load: Callable[[Path], T], *, label: str = ""
    ) -> T:
        """What `load(folder)` finds in result `key`; made again where another process removes it in that moment."""
        tries_left = 4
        while True:
            folder = self.get_or_make(step, key, make, label=label)
            found = _identity(folder)
            try:
                return load(folder)
            except Exception:
                # In this order: the other way round it may be replaced between the two looks.
                if not tries_left or (_fits(folder, step, key) and _identity(folder) == found):
                    raise
                tries_left -= 1

    def get_or_make(self, step: str, key: str, make: Callable[[Path], None], *, label: str = "") -> Path:
        """The folder of result `key`; made by `make(empty folder)` where it does not exist yet, or is damaged.

        Two processes may make the same result: the one that is later discards its own. After an exception nothing
        stays."""
        done = self.folder / step / key
        if _fits(done, step, key) and self._taken(step, key):
            return done
        with self._said_clearly():
            self._discard(step, key)
            part = self._new_part(step, key)
            try:
                make(part)
                _seal(part, step, key, label)
                self._place(part, step, key)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        self._taken(step, key)
        self._trim()
        return done

    def holds(self, step: str, key: str) -> bool:
        """Whether result `key` is there, so that nothing need be made; not whether it is whole."""
        return (self.folder / step / key / _LABEL).is_file()

    def release(self) -> None:
        """Nothing that this process has read is in use any more: it may be removed to make room."""
        self._in_use.release()

    def _taken(self, step: str, key: str) -> bool:
        """Takes a result into use; False where another process has just removed it."""
        self._in_use.hold(step, key)
        with suppress(OSError):  # the folder's time says when it was used; another's cache may be read only
            os.utime(self.folder / step / key)
        return self.holds(step, key)

    def _trim(self) -> None:
        """Removes results that nobody has used for `max_days`, and those unused longest until the rest fits into
        `max_gib`. What any process uses stays."""
        if not (self.max_gib or self.max_days):
            return
        with self._in_use.locked() as locked, suppress(LipsyncError):
            held = self._in_use.held() if locked else set()
            entries = sorted(self.entries(), key=lambda entry: -entry.unused_s) if locked else []
            size = sum(entry.size_bytes for entry in entries)
            for entry in entries:
                is_old = self.max_days and entry.unused_s > self.max_days * 24 * 3600
                if not is_old and (not self.max_gib or size <= self.max_gib * 2**30):
                    break
                if (entry.step, entry.key) in held:
                    continue
                with suppress(OSError):
                    self._discard(entry.step, entry.key, even_whole=True)
                    size -= entry.size_bytes

    def _place(self, part: Path, step: str, key: str) -> None:
        """Gives a result its name, unless another process was faster."""
        done = self.folder / step / key
        while True:
            try:
                os.rename(part, done)
            except OSError as error:
                if error.errno not in _TAKEN and not os.path.lexists(done):
                    raise
            else:
                return sync_folder(done.parent)
            if _fits(done, step, key):
                return None
            self._discard(step, key)

    def _discard(self, step: str, key: str, even_whole: bool = False) -> None:
        """Removes a result that is damaged. Moved away first: a half-removed one must not look complete."""
        done = self.folder / step / key
        if not os.path.lexists(done):
            return
        away = self._new_part(step, key)
        try:
            with suppress(FileNotFoundError):  # another process was faster
                os.rename(done, away / "gone")
            if not even_whole and _fits(away / "gone", step, key):  # another process had just made it again
                with suppress(OSError):
                    os.rename(away / "gone", done)
        finally:
            shutil.rmtree(away, ignore_errors=True)

    def unfinished(self, step: str, key: str, *, label: str = "") -> Path:
        """A folder in which work on `key` waits to be continued: the same at every call, listed and cleared like
        results. Whoever finishes the work removes it."""
        folder = self.folder / step / key
        if not _read_label(folder):
            shutil.rmtree(
                self._new_part(step, key), ignore_errors=True
            )  # raises, with a cure, where nothing can be kept
            with self._said_clearly():
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_write(folder / _LABEL) as part:
                    part.write_text(json.dumps({"format": FORMAT, "step": step, "label": label}), encoding="utf-8")
        self._taken(step, key)
        return folder

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been kept yet."""
        return next(self._results(), None) is None

    def entries(self) -> list[CacheEntry]:
        """All complete results, newest first."""
        now = time.time()
        found = []
        for folder in self._results():
            with suppress(OSError):  # another process may have removed it
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                age_s = max(0.0, now - (folder / _LABEL).stat().st_mtime)
                unused_s, label = max(0.0, now - folder.stat().st_mtime), str(_read_label(folder).get("label", ""))
                found.append(CacheEntry(folder.parent.name, folder.name, label, size, age_s, unused_s, folder))
        return sorted(found, key=lambda entry: entry.age_s)

    def clear(self, step: str | None = None, older_than_s: float = 0.0) -> tuple[int, int]:
        """(results removed, bytes freed). Only what this cache made is touched, whatever else lies in its folder."""
        gone = [entry for entry in self.entries() if step in (None, entry.step) and entry.age_s >= older_than_s]
        for entry in gone:
            with suppress(OSError):
                self._discard(entry.step, entry.key, even_whole=True)
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
            part = self.folder / step / f"{key[:16]}.{this_host()}.{os.getpid()}.{secrets.token_hex(4)}.part"
            part.mkdir()
        except OSError as error:
            raise LipsyncError(
                f"The cache folder {self.folder} cannot be written: {error.strerror or error}. {_CURE}"
            ) from error
        return part

    def _sweep(self) -> None:
        for part in [*self.folder.glob("*.part"), *self.folder.glob("*/*.part")]:
            if found := _PART.fullmatch(part.name):
                alive = is_alive(*found.groups())
                with suppress(OSError):
                    if alive is False or (alive is None and time.time() - part.stat().st_mtime > STALE_S):
                        shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def _said_clearly(self) -> Iterator[None]:
        """What the disk refuses to keep, as a LipsyncError with a cure; other failures of a step are its own."""
        try:
            yield
        except OSError as error:
            elsewhere = error.filename is not None and not Path(str(error.filename)).is_relative_to(self.folder)
            if elsewhere or error.errno not in _NO_ROOM + _NOT_KEPT:
                raise
            if error.errno in _NO_ROOM:
                raise LipsyncError(f"No space left for the cache in {self.folder}. {_CURE}") from error
            raise LipsyncError(
                f"The cache folder {self.folder} cannot be written: {error.strerror}. {_CURE}"
            ) from error


def _seal(folder: Path, step: str, key: str, label: str) -> None:
    """Writes the label of a finished result and brings all of it to the disk."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_dir():
            sync_folder(file)
        elif file != folder / _LABEL:
            sync_file(file)
            stat = file.stat()
            files[file.relative_to(folder).as_posix()] = [stat.st_size, stat.st_mtime_ns, content_hash(file)]
    text = json.dumps({"format": FORMAT, "step": step, "key": key, "label": label, "files": files})
    (folder / _LABEL).write_text(text, encoding="utf-8")
    sync_file(folder / _LABEL)
    sync_folder(folder)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells a result from the same one made again."""
    try:
        stat = (folder / _LABEL).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _read_label(folder: Path) -> dict:
    """What a result's label says; empty where there is none, or it is damaged."""
    try:
        label = json.loads((folder / _LABEL).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return label if isinstance(label, dict) else {}


def _fits(folder: Path, step: str, key: str) -> bool:
    """Whether a folder is this very result, and its files are those that were written."""
    label = _read_label(folder)
    if (label.get("format"), label.get("step"), label.get("key")) != (FORMAT, step, key):
        return False
    try:
        return all(_is_as_written(folder / name, *facts) for name, facts in label["files"].items())
    except (OSError, LipsyncError, KeyError, TypeError, ValueError, AttributeError):
        return False


def _is_as_written(file: Path, size: int, changed_ns: int, sha256: str) -> bool:
    stat = file.stat()
    if stat.st_size != size:
        return False
    return (size > ALWAYS_HASHED_BYTES and stat.st_mtime_ns == changed_ns) or content_hash(file) == sha256


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes numpy arrays by name as safetensors. Made contiguous first: safetensors would store a transposed array's
    bytes as they lie."""
    import numpy as np
    from safetensors.numpy import save

    _write(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def save_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> None:
    """Writes torch tensors by name, and what is said `about` them, as safetensors."""
    from safetensors.torch import save

    _write(path, save(dict(tensors), dict(about)))


def _write(path: str | Path, content: bytes) -> None:
    # Not safetensors' own save_file: that leaves a nameless file behind when it is killed, and says no OSError.
    Path(path).write_bytes(content)


#: Step of the cache under which interrupted trainings wait.
UNFINISHED = "unfinished"
#: All that results are kept of.
STEPS = (
    "track",
    "voice",
    "mouths",
    "teeth",
    "look",
    "lips",
    "textures",
    "speakers",
    "fitted speech",
    "ranges",
    UNFINISHED,
)
