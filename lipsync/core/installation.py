"""Whether our own packages are the ones that Python finds, and what to do where a library does not load."""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

OURS = ("media", "audio", "video")


HOME = Path(__file__).resolve().parents[2]


_SYSTEM_LIBRARIES = (
    "Install what OpenCV needs (Debian, Ubuntu: apt-get install libgl1 libglib2.0-0), "
    "or replace opencv-contrib-python by opencv-contrib-python-headless of the same version."
)


def misplaced() -> list[str]:
    """A sentence for each of our packages that Python would find somewhere else than beside `lipsync`. Imports nothing;
    quick."""
    sentences: list[str] = []
    for name in OURS:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != HOME / name / "__init__.py":
            where = f"is taken from {found.parent}" if found else "is missing"
            sentences.append(
                f"The package {name!r} of lipsync {where}, not from {HOME / name}. "
                "Another distribution or folder has the same name: install lipsync-dub in an environment of its own "
                "(pipx does)."
            )
    return sentences


def overwritten() -> list[str]:
    """A sentence for each of our packages whose files in site-packages another distribution has replaced."""
    sentences: list[str] = []
    try:
        files = metadata.files("lipsync-dub") or []
    except metadata.PackageNotFoundError:
        return []
    for file in files:
        if file.parts[0] not in OURS or file.parts[1:] != ("__init__.py",) or not file.hash:
            continue
        path = Path(str(file.locate()))
        if path.is_file() and _digest(path) != file.hash.value:
            others = [
                d.metadata["Name"] for d in metadata.distributions() if any(str(f) == str(file) for f in d.files or [])
            ]
            others = [name for name in others if name != "lipsync-dub"]
            sentences.append(
                f"{file} was replaced by {', '.join(others) or 'something unknown'}. "
                "Install lipsync-dub in an environment of its own (pipx does)."
            )
    return sentences


def _digest(path: Path) -> str:
    return urlsafe_b64encode(sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def cure_for_import(error: ImportError) -> str | None:
    """What to do about a failed import, where it is the machine's fault and not ours; else None."""
    first = str(error).splitlines()[0]
    if "libGL" in first or "libgthread" in first or "libglib" in first:
        return f"OpenCV does not load: {first}. {_SYSTEM_LIBRARIES}"
    if error.name in OURS:
        return " ".join(overwritten()) or None
    return None
