"""Inputs, outputs and analyses that lie on another machine: any address that fsspec knows (s3://, gs://, https://,
sftp://, ...).

Local paths never need fsspec. Credentials are never options: each store takes them from its own environment variables
and files, for example AWS_ACCESS_KEY_ID or GOOGLE_APPLICATION_CREDENTIALS, on every machine that works."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.store.cache import Cache, content_hash, default_folder
from lipsync.store.preflight import receipt_path
from media.atomic import atomic_write

#: Seconds before a store that failed is asked again.
PAUSES_S = (0.5, 2.0, 8.0)
#: Stores without folders: a name with slashes needs nothing made before it.
_FLAT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2", "http", "https", "memory"}
_VERSIONS = ("md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "created")
LABEL = "entry.json"  # of the cache: written anew wherever a result is unpacked
_DIGESTS = "digests.json"
_MAX_DIGESTS = 16 << 20
_CHUNK = 4 << 20
_HOPELESS = (PermissionError, FileNotFoundError, NotImplementedError)
T = TypeVar("T")


def is_url(name: str | Path) -> bool:
    """Whether a name is an address such as s3://bucket/a.mp4, not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(name)) is not None


def shown(name: str | Path) -> str:
    """A name for messages and receipts: an address without password and query, which may be secret."""
    if not is_url(name):
        return str(name)
    parts = urlsplit(str(name))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def fetched(name: str | Path, folder: str | Path) -> Path:
    """A local copy of an input: of an address below `folder`, fetched once for each version of its content; a path is
    returned as it is."""
    if not is_url(name):
        return Path(name)
    store = _Store(str(name))
    facts = store.facts()
    copy = Path(folder) / _short_hash([name, facts.get("size"), _version(facts)]) / _file_name(name)
    if copy.is_file():
        return copy
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(copy) as part:
            store.get(part, facts.get("size"))
    except FileNotFoundError as error:
        raise LipsyncError(f"{shown(name)} vanished while it was read. Check the address.") from error
    except OSError as error:
        raise LipsyncError(
            f"{shown(name)} could not be copied to {folder}: {error.strerror or error}. Check free disk space."
        ) from error
    return copy


def content_id(name: str | Path) -> str:
    """What identifies an input's content: SHA-256 (hex) of a file; of an address the store's checksum ("md5:...",
    "etag:..."), or where it has none, SHA-256 of what it sends. A weak ETag does not count: equal ones may stand for
    different bytes."""
    if not is_url(name):
        return content_hash(name)
    store = _Store(str(name))
    facts = store.facts()
    if facts.get("md5Hash"):
        return f"md5:{facts['md5Hash']}"
    etag = str(facts.get("ETag") or facts.get("etag") or "")
    if etag and not etag.startswith("W/"):
        return f"etag:{_short_hash([name, etag, facts.get('size')])}"  # unique only under its own address
    return store.tried(store.sha256, "read")


class OutputStore:
    """The folder or address below which a batch's videos and receipts go. `out`: a video's name below it, with forward
    slashes."""

    def __init__(self, where: str | Path, scratch: str | Path | None = None) -> None:
        """scratch: a local folder for videos on their way to an address."""
        self.where = str(where).rstrip("/") if is_url(where) else str(where)
        self._scratch = Path(scratch or default_folder() / "outputs") / _short_hash([self.where])

    @property
    def is_remote(self) -> bool:
        return is_url(self.where)

    def receipt_of(self, out: str) -> dict | None:
        """What the receipt of `out` says; None: there is none, or it is damaged."""
        try:
            if self.is_remote:
                store = self._store(receipt_path(out))
                content = store.tried(lambda: store.fs.cat_file(store.path), "read")
            else:
                content = receipt_path(self._local(out)).read_bytes()
            facts = json.loads(content)
        except (OSError, ValueError, RecursionError):
            return None
        return facts if isinstance(facts, dict) else None

    def size_of(self, out: str) -> int | None:
        """Bytes of the video; None where there is none."""
        try:
            return (
                self._store(out).facts(missing_ok=True).get("size")
                if self.is_remote
                else self._local(out).stat().st_size
            )
        except OSError:
            return None

    def hash_of(self, out: str) -> str:
        """SHA-256 (hex) of the video; of one at an address it is read there."""
        if not self.is_remote:
            return content_hash(self._local(out))
        store = self._store(out)
        return store.tried(store.sha256, "read")

    def workfile(self, out: str) -> Path:
        """The local file to render into, the same at every call; its folder exists. For a local place the final file
        itself."""
        path = self._local(out)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LipsyncError(
                f"The output folder {path.parent} cannot be made: {error.strerror or error}. Choose another with -o."
            ) from error
        return path

    def keep(self, workfile: Path, out: str) -> None:
        """Brings a rendered video and its receipt to an address, the receipt last: where a reader finds a receipt, its
        video is complete. Nothing to do for a local place."""
        if not self.is_remote:
            return
        receipt = self._store(receipt_path(out))
        receipt.remove()
        self._store(out).put(workfile)
        receipt.put(receipt_path(workfile))
        for file in (workfile, receipt_path(workfile)):
            file.unlink(missing_ok=True)

    def put(self, file: Path, name: str) -> None:
        """Brings another file to an address."""
        self._store(name).put(file)

    def _local(self, out: str) -> Path:
        return (self._scratch if self.is_remote else Path(self.where)) / out

    def _store(self, out: str | Path) -> _Store:
        return _Store(f"{self.where}/{Path(out).as_posix()}")


class SharedCache(Cache):
    """A local cache that also looks into, and adds to, a store that several machines share: one uncompressed archive
    per result.

    An archive begins with the size and SHA-256 of each of its files; one that does not fit its own digests is made
    again and replaced."""

    def __init__(self, folder: str | Path | None, url: str) -> None:
        super().__init__(folder)
        self.url = url.rstrip("/")
        self._offered: set[tuple[str, str]] = set()

    def get_or_make(self, step: str, key: str, make: Callable[[Path], None], *, label: str = "") -> Path:
        """As in Cache; made only where neither this machine nor the store has it. LipsyncError where the store cannot
        be used."""
        archive = _Store(f"{self.url}/{step}/{key}.tar")
        made = fetched = False

        def fetch_or_make(folder: Path) -> None:
            nonlocal made, fetched
            fetched = _fetch(archive, folder, f"{step}/{key}")
            if not fetched:
                make(folder)
                made = True

        done = super().get_or_make(step, key, fetch_or_make, label=label)
        if made or (not fetched and (step, key) not in self._offered and not archive.facts(missing_ok=True)):
            archive.write(lambda stream: pack(done, stream, f"{step}/{key}"))
        self._offered.add((step, key))
        return done


def cache_for(folder: str | Path | None, shared: str = "") -> Cache:
    """The cache of a worker: its own folder, joined by what an address shares; a shared path is the cache itself."""
    return SharedCache(folder, shared) if is_url(shared) else Cache(shared or folder)


def pack(folder: Path, stream: IO[bytes], result: str) -> None:
    """Writes the files of a cached result as an uncompressed tar: its name and their digests first; nothing of when,
    where or by whom they were made."""
    files = {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / LABEL
    }
    sizes = {name: file.stat().st_size for name, file in files.items()}
    text = json.dumps(
        {"result": result, "files": {name: [sizes[name], content_hash(file)] for name, file in files.items()}}
    ).encode()
    with tarfile.open(fileobj=stream, mode="w|", bufsize=_CHUNK, format=tarfile.PAX_FORMAT) as archive:
        first = tarfile.TarInfo(_DIGESTS)
        first.size = len(text)
        archive.addfile(first, BytesIO(text))
        for name, file in files.items():
            member = tarfile.TarInfo(name)
            member.size = sizes[name]
            with file.open("rb") as content:
                archive.addfile(member, content)


def unpack(stream: IO[bytes], folder: Path, result: str) -> None:
    """Puts the files of an archive made by `pack` into a folder. DamagedArchive where it is of another result, or a
    file is missing, surplus, different or not a plain one inside the folder."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
            members = iter(archive)
            first = next(members, None)
            if first is None or first.name != _DIGESTS or first.size > _MAX_DIGESTS:
                raise DamagedArchive
            label = json.loads(archive.extractfile(first).read())
            left = label["files"]
            if label["result"] != result:
                raise DamagedArchive
            for member in members:
                size, sha256 = left.pop(member.name)
                if not member.isreg() or member.issparse() or not _is_inside(member.name) or member.size != size:
                    raise DamagedArchive
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as copy:
                    shutil.copyfileobj(archive.extractfile(member), copy, _CHUNK)
                if content_hash(path) != sha256:
                    raise DamagedArchive
    except (
        tarfile.TarError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        EOFError,
        FileExistsError,
    ) as error:
        raise DamagedArchive from error
    if left:
        raise DamagedArchive


class DamagedArchive(Exception):
    """An archive does not hold what its digests say."""


def _fetch(archive: _Store, folder: Path, result: str) -> bool:
    """Whether the store has a sound archive, whose files are now in `folder`; after False the folder is empty."""

    def read() -> None:
        _empty(folder)
        with archive.fs.open(archive.path, "rb") as stream:
            unpack(stream, folder, result)

    try:
        archive.tried(read, "read")
    except (FileNotFoundError, DamagedArchive):
        _empty(folder)
        return False
    return True


class _Store:
    """One address. fs, path: as fsspec sees it."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise UsageError(f"{shown(url)} needs the package fsspec: pip install 'lipsync-dub[cluster]'.") from error
        self.url, self._kind = url, url.partition("://")[0].lower()
        try:
            self.fs, self.path = url_to_fs(url)
        except ImportError as error:
            raise UsageError(f"{shown(url)} cannot be opened here: {error}.") from error
        except ValueError as error:
            raise UsageError(f"{shown(url)} is not an address that fsspec knows: {error}.") from error

    def facts(self, missing_ok: bool = False) -> dict[str, Any]:
        """What the store tells of it: "size" and more; {} where it is missing and may be. LipsyncError for a folder."""
        try:
            facts = self.tried(lambda: (self.fs.invalidate_cache(), self.fs.info(self.path))[1], "read")
        except FileNotFoundError as error:
            if missing_ok:
                return {}
            raise LipsyncError(f"{shown(self.url)} does not exist. Check the address.") from error
        if facts.get("type") == "directory":
            raise LipsyncError(f"{shown(self.url)} is a folder. Name the file itself.")
        return facts

    def sha256(self) -> str:
        with self.fs.open(self.path, "rb") as stream:
            return _sha256_of(stream)

    def get(self, file: Path, n_bytes: int | None) -> None:
        """Copies its content to a local file; n_bytes: what must arrive, None = not known."""

        def download() -> None:
            self.fs.get_file(self.path, str(file))
            _check_size(file.stat().st_size, n_bytes)

        self.tried(download, "read")

    def put(self, file: Path) -> None:
        """Copies a local file there."""

        def upload() -> None:
            self._make_folder()
            self.fs.put_file(str(file), self.path)
            self.fs.invalidate_cache()
            _check_size(self.fs.info(self.path).get("size"), file.stat().st_size)

        self.tried(upload, "written")

    def write(self, fill: Callable[[IO[bytes]], None]) -> None:
        """Stores what `fill` writes to a stream."""

        def upload() -> None:
            self._make_folder()
            with self.fs.open(self.path, "wb") as stream:
                fill(stream)

        self.tried(upload, "written")

    def remove(self) -> None:
        """Removes it where it exists."""

        def remove() -> None:
            with suppress(FileNotFoundError):
                self.fs.rm_file(self.path)

        self.tried(remove, "removed")

    def tried(self, do: Callable[[], T], done: str) -> T:
        """What do() gives, asked again while the store fails. LipsyncError: it went on failing. What is missing when
        read, or damaged, is passed on as FileNotFoundError, DamagedArchive."""
        for pause_s in (*PAUSES_S, 0.0):
            try:
                return do()
            except DamagedArchive:
                raise
            except Exception as error:  # each store has its own kinds
                if done == "read" and isinstance(error, FileNotFoundError):
                    raise
                last = error
                if isinstance(error, _HOPELESS) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                    break
            time.sleep(pause_s)
        why = " ".join(str(last).split())[:300] or type(last).__name__
        cure = "Check the network, free space, and the store's credentials in the environment."
        raise LipsyncError(f"{shown(self.url)} could not be {done}: {why.rstrip('.')}. {cure}") from last

    def _make_folder(self) -> None:
        if self._kind not in _FLAT:
            self.fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)


def _version(facts: dict[str, Any]) -> str:
    """What changes when the content does, as far as a store tells."""
    return next((f"{name} {facts[name]}" for name in _VERSIONS if facts.get(name)), "")


def _check_size(arrived: int | None, wanted: int | None) -> None:
    if wanted is not None and arrived != wanted:
        raise OSError(f"{arrived} of {wanted} bytes arrived")


def _file_name(url: str) -> str:
    """A safe file name like the last part of an address, ending kept."""
    name = re.sub(r"[^\w .()+-]", "_", unquote(urlsplit(url).path.rpartition("/")[2])).strip(". ") or "file"
    stem, dot, ending = name.rpartition(".")
    return name if len(name) <= 80 else f"{stem[:60]}{dot}{ending[:19]}"


def _is_inside(name: str) -> bool:
    """Whether an archive's member stays below the folder it is put in, on every system."""
    return (
        bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name))
        and not any(part.strip(".") == "" for part in name.split("/"))
        and name != LABEL
    )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _sha256_of(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _short_hash(values: list) -> str:
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:16]
