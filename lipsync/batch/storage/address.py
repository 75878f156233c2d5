"""Files on another machine: any address that fsspec knows (s3://, gs://, https://, sftp://, ...).

Local paths never need fsspec. Credentials are never options: each store takes them from its own environment variables
and files, for example AWS_ACCESS_KEY_ID or GOOGLE_APPLICATION_CREDENTIALS, on every machine that works."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.store.cache import content_hash
from media.atomic import atomic_write

#: Seconds before a store that failed is asked again.
PAUSES_S = (0.5, 2.0, 8.0)
#: Stores without folders: a name with slashes needs nothing made before it.
_FLAT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2", "http", "https", "memory"}
_VERSIONS = ("md5Hash", "ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "created")
_HOPELESS = (PermissionError, FileNotFoundError, NotImplementedError)
T = TypeVar("T")


def is_url(name: str | Path) -> bool:
    """Whether a name is an address such as s3://bucket/a.mp4, not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(name)) is not None


def redacted(name: str | Path) -> str:
    """A name for messages and receipts: of an address all but its password and query, which may be secret."""
    if not is_url(name):
        return str(name)
    parts = urlsplit(str(name))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def fetched(name: str | Path, folder: str | Path) -> Path:
    """A local copy of an input: of an address below `folder`, fetched once for each version of its content; a path is
    returned as it is."""
    if not is_url(name):
        return Path(name)
    remote = RemoteFile(str(name))
    facts = remote.facts()
    copy = Path(folder) / short_hash([name, facts.get("size"), _version(facts)]) / _file_name(str(name))
    if copy.is_file():
        return copy
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(copy) as part:
            remote.get(part, facts.get("size"))
    except FileNotFoundError as error:
        raise LipsyncError(f"{redacted(name)} vanished while it was read. Check the address.") from error
    except OSError as error:
        raise LipsyncError(
            f"{redacted(name)} could not be copied to {folder}: {error.strerror or error}. Check free disk space."
        ) from error
    return copy


def content_id(name: str | Path) -> str:
    """What identifies an input's content: SHA-256 (hex) of a file; of an address the store's checksum ("md5:...",
    "etag:..."), or where it has none, SHA-256 of what it sends. A weak ETag does not count: equal ones may stand for
    different bytes."""
    if not is_url(name):
        return content_hash(name)
    remote = RemoteFile(str(name))
    facts = remote.facts()
    if facts.get("md5Hash"):
        return f"md5:{facts['md5Hash']}"
    etag = str(facts.get("ETag") or facts.get("etag") or "")
    if etag and not etag.startswith("W/"):
        return f"etag:{short_hash([name, etag, facts.get('size')])}"  # unique only under its own address
    return remote.sha256()


class RemoteFile:
    """A file at an address. fs, path: as fsspec sees it."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise UsageError(
                f"{redacted(url)} needs the package fsspec: pip install 'lipsync-dub[cluster]'."
            ) from error
        self.url, self._kind = url, url.partition("://")[0].lower()
        try:
            self.fs, self.path = url_to_fs(url)
        except ImportError as error:
            raise UsageError(f"{redacted(url)} cannot be opened here: {error}.") from error
        except ValueError as error:
            raise UsageError(f"{redacted(url)} is not an address that fsspec knows: {error}.") from error

    def facts(self, missing_ok: bool = False) -> dict[str, Any]:
        """What the store tells of it: "size" and more; {} where it is missing and may be. LipsyncError for a folder."""
        try:
            facts = self.tried(lambda: (self.fs.invalidate_cache(), self.fs.info(self.path))[1], "read")
        except FileNotFoundError as error:
            if missing_ok:
                return {}
            raise LipsyncError(f"{redacted(self.url)} does not exist. Check the address.") from error
        if facts.get("type") == "directory":
            raise LipsyncError(f"{redacted(self.url)} is a folder. Name the file itself.")
        return facts

    def sha256(self) -> str:
        """Of what the store sends, in hex."""

        def digest() -> str:
            with self.fs.open(self.path, "rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()

        return self.tried(digest, "read")

    def read(self) -> bytes:
        """All that it holds. FileNotFoundError where it is missing."""
        return self.tried(lambda: self.fs.cat_file(self.path), "read")

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

    def tried(self, do: Callable[[], T], done: str, passed_on: tuple[type[Exception], ...] = ()) -> T:
        """What do() gives, asked again while the store fails. LipsyncError: it went on failing. passed_on: errors that
        are no fault of the store; what is missing when it is read is FileNotFoundError."""
        last = Exception()
        for pause_s in (*PAUSES_S, 0.0):
            try:
                return do()
            except passed_on:
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
        raise LipsyncError(f"{redacted(self.url)} could not be {done}: {why.rstrip('.')}. {cure}") from last

    def _make_folder(self) -> None:
        if self._kind not in _FLAT:
            self.fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)


def short_hash(values: list) -> str:
    """Sixteen hex digits that differ where the values do."""
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:16]


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
