"""The invisible watermark of a video: the one place that asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NOT_AVAILABLE = "not looked for: not available in this version"


@dataclass(frozen=True, slots=True)
class Watermark:
    """id: hex, the content that was marked, empty = none was found; note: why it was not looked for, empty = it was."""

    id: str = ""
    note: str = ""


def watermark_in(path: Path) -> Watermark:
    """What the frames of a video hold; nothing where they cannot be read."""
    del path
    return Watermark(note=NOT_AVAILABLE)
