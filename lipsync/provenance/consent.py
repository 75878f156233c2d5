"""Who agreed to a dub, as it is recorded."""

from __future__ import annotations

from pathlib import Path

from lipsync.core.errors import UsageError
from lipsync.store.cache import content_hash

_NAME = 255  #: longer names of files do not exist


def names_file(said: str) -> bool:
    """Whether it is the name of a file, or is meant as one: a single word with an ending."""
    if not said or len(said) > _NAME or "\n" in said:
        return False
    return Path(said).is_file() or (" " not in said and bool(Path(said).suffix))


def consent_of(said: str) -> dict[str, str]:
    """A file by its name and hash, anything else as it is; empty where nothing is said. UsageError: it is meant as a
    file, and there is none."""
    if not said:
        return {}
    if not names_file(said):
        return {"text": said}
    path = Path(said)
    if not path.is_file():
        raise UsageError(f"--consent {said}: there is no such file. Name one, or say in words who agreed.")
    return {"file": path.name, "sha256": content_hash(path)}
