"""Analyses that several machines share: a local cache beside a store of archives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from lipsync.batch.storage.address import RemoteFile, is_url
from lipsync.batch.storage.archive import DamagedArchive, pack, unpack
from lipsync.config.schema import CacheConfig
from lipsync.store.cache import Cache


class SharedCache(Cache):
    """A local cache that also looks into, and adds to, a store that several machines share: one uncompressed archive
    per result.

    An archive begins with the size and SHA-256 of each of its files; one that does not fit its own digests is made
    again and replaced."""

    def __init__(self, folder: str | Path | None, url: str, *, max_gib: float = 0.0, max_days: float = 0.0) -> None:
        super().__init__(folder, max_gib=max_gib, max_days=max_days)
        self.url = url.rstrip("/")
        self._offered: set[tuple[str, str]] = set()

    def get_or_make(self, step: str, key: str, make: Callable[[Path], None], *, label: str = "") -> Path:
        """As in Cache; made only where neither this machine nor the store has it. LipsyncError where the store cannot
        be used."""
        archive = RemoteFile(f"{self.url}/{step}/{key}.tar")
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


def cache_for(options: CacheConfig, shared: str = "") -> Cache:
    """The cache of a worker: its own folder, joined by what an address shares; a shared path is the cache itself, and
    has no limits: other machines use it."""
    if is_url(shared):
        return SharedCache(options.folder or None, shared, max_gib=options.max_gib, max_days=options.max_days)
    return Cache(shared) if shared else Cache.of(options)


def _fetch(archive: RemoteFile, folder: Path, result: str) -> bool:
    """Whether the store has a sound archive, whose files are now in `folder`; after False the folder is empty."""

    def read() -> None:
        _empty(folder)
        with archive.fs.open(archive.path, "rb") as stream:
            unpack(stream, folder, result)

    try:
        archive.tried(read, "read", passed_on=(DamagedArchive,))
    except (FileNotFoundError, DamagedArchive):
        _empty(folder)
        return False
    return True


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
