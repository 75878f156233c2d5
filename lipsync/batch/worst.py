"""The worst moment of a finished video, for the report: when, why, and a small picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lipsync.core.html import jpeg_text
from lipsync.store.receipt import Receipt

#: Pixels across a picture.
_WIDTH = 240


@dataclass(frozen=True, slots=True)
class WorstMoment:
    """row: of the output; at_s: seconds; why: for people."""

    row: int
    at_s: float
    why: str


def worst_moment(receipt: Receipt) -> WorstMoment | None:
    """What to look at first: the longest stretch that was to be dubbed and was not, else the most doubtful one. None:
    neither was."""
    if receipt.passed_through:
        span = max(receipt.passed_through, key=lambda one: one.to_row - one.from_row)
        row, at_s = (span.from_row + span.to_row) // 2, (span.from_s + span.to_s) / 2
        return WorstMoment(row, at_s, f"unchanged: {span.reason}")
    if receipt.doubt.spans:
        span = max(receipt.doubt.spans, key=lambda one: one.value)
        curve = receipt.doubt.curve[span.from_row : span.to_row + 1]
        row = span.from_row + (curve.index(max(curve)) if curve else 0)
        part = (row - span.from_row) / max(1, span.to_row + 1 - span.from_row)
        return WorstMoment(row, span.from_s + part * (span.to_s - span.from_s), f"doubtful: {span.reason}")
    return None


def picture_of(video: Path, row: int) -> str:
    """One frame as a JPEG in a data address; "" where it cannot be read."""
    import cv2
    import numpy as np

    from media import MediaError
    from video.probe import probe
    from video.read import read_rows

    try:
        stream = probe(video)
        _, frames = next(read_rows(stream, np.array([min(row, len(stream) - 1)]), 1))
    except (MediaError, OSError, ValueError, StopIteration):
        return ""
    rgb = frames.rgb[0].permute(1, 2, 0).numpy()
    size = _WIDTH, max(1, round(_WIDTH * rgb.shape[0] / rgb.shape[1]))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + jpeg_text(small, 80)
