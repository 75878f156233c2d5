"""Who signs in tests, and what is signed."""

from __future__ import annotations

from pathlib import Path

from lipsync.config.schema import SignConfig
from lipsync.provenance.certificates import make_development_certificate
from lipsync.provenance.manifest import Edit, Ingredient

CONTENT = "00112233445566ff"
SPANS = [[0.2, 0.8], [1.2, 1.6]]


def development(folder: Path) -> SignConfig:
    """A new development certificate in `folder`."""
    certificate, key = make_development_certificate(folder)
    return SignConfig(certificate=str(certificate), key=str(key))


def edit_of(target: Path, *heard: Path, **more) -> Edit:
    """A dub of `target`, in which `heard` are heard."""
    parts = [Ingredient(target, "parentOf", "0a"), *(Ingredient(one, "componentOf", "0b") for one in heard)]
    return Edit("dub.mp4", "1dea", CONTENT, "0.0", SPANS, parts, more.get("consent", {}))


def flipped(path: Path, at: int) -> Path:
    """A copy in which one bit is another."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    copy = path.with_stem(f"flipped{at}")
    copy.write_bytes(content)
    return copy


def media_at(path: Path) -> int:
    """A place amid the coded picture of an MP4 file."""
    from media.mp4_tables import outer_boxes

    with path.open("rb") as file:
        return next(at + size // 2 for name, at, size in outer_boxes(file) if name == b"mdat")
