"""A result of the cache as one uncompressed archive that carries the digests of its files."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from io import BytesIO
from pathlib import Path
from typing import IO

from lipsync.store.cache import content_hash

LABEL = "entry.json"  # of the cache: written anew wherever a result is unpacked
_DIGESTS = "digests.json"
_MAX_DIGESTS = 16 << 20
_CHUNK = 4 << 20
#: What reading a damaged archive may raise.
_DAMAGES = (ValueError, TypeError, LookupError, AttributeError, RecursionError, EOFError, FileExistsError)


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
            left = _digests(archive, next(members, None), result)
            for member in members:
                size, sha256 = left.pop(member.name)
                if not member.isreg() or member.issparse() or not _is_inside(member.name) or member.size != size:
                    raise DamagedArchive
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as copy:
                    shutil.copyfileobj(_content(archive, member), copy, _CHUNK)
                if content_hash(path) != sha256:
                    raise DamagedArchive
    except (*_DAMAGES, tarfile.TarError) as error:
        raise DamagedArchive from error
    if left:
        raise DamagedArchive


def _digests(archive: tarfile.TarFile, first: tarfile.TarInfo | None, result: str) -> dict[str, list]:
    """Size and SHA-256 (hex) of every file that must follow, by name."""
    if first is None or first.name != _DIGESTS or first.size > _MAX_DIGESTS:
        raise DamagedArchive
    label = json.loads(_content(archive, first).read())
    if label["result"] != result:
        raise DamagedArchive
    return label["files"]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:  # a folder, or something odder
        raise DamagedArchive
    return content


class DamagedArchive(Exception):
    """An archive does not hold what its digests say."""


def _is_inside(name: str) -> bool:
    """Whether an archive's member stays below the folder it is put in, on every system."""
    return (
        bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name))
        and not any(part.strip(".") == "" for part in name.split("/"))
        and name != LABEL
    )
