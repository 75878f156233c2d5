"""A dub and what it was made from in one film, the original's frames above those of the dub, to be looked at under a
slider."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audio.soundtrack import Layer, Soundtrack
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.store.preflight import check_files, receipt_path
from lipsync.store.receipt import Receipt
from media import MediaError
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames, read_rows
from video.write import VideoWriter

#: Height of each half at most; how much of a dub is shown, and how long before the first drawn mouth it begins.
HEIGHT_PX, LENGTH_S, LEAD_S = 540, 60.0, 2.0


def write_before_after(
    dubbed: Path,
    out: Path,
    target: Path | None = None,
    config: DubConfig = DubConfig(),
    hook: Hook = silent,
    force: bool = False,
) -> dict[str, Any]:
    """Writes the film, as H.264 that every browser plays, with the dub's sound, and returns where of the dub it begins
    and how long it is.

    target: the original, if it is not where the receipt has it. Raises LipsyncError, MediaError: no receipt beside
    `dubbed`, or files that cannot be read."""
    receipt = Receipt.read(receipt_path(dubbed))
    if receipt is None or not receipt.plan.source:
        raise LipsyncError(f"{receipt_path(dubbed)} is not the receipt of a dub. Keep it beside the video.")
    original = target or Path(receipt.inputs.target.path)
    check_files([(dubbed, "dubbed video"), (original, "target video")], [out], force)
    before, after = probe(original, config.input_limits), probe(dubbed, config.input_limits)
    source, half = np.array(receipt.plan.source, np.int64), np.array(receipt.plan.half, bool)
    if len(source) < len(after) or source.max() >= len(before):
        raise LipsyncError(f"{original} is not what {dubbed} was made from. Name the target.")
    clock, rows = _shown(after.clock, receipt.changed)
    scale = min(1.0, HEIGHT_PX / after.height)
    width, height = (max(2, round(side * scale / 2) * 2) for side in (after.width, after.height))
    above = read_rows(before, source[rows], 4, half[rows])
    below = read_frames(after, 4, rows.start, rows.stop)
    sound = _sound(dubbed, float(after.clock.seconds[rows.start]), clock.duration_s, config)
    done = 0
    with VideoWriter(
        out, width=width, height=2 * height, clock=clock, crf=20, speech=sound, sample_aspect=after.sample_aspect
    ) as writer:
        for (_, first), second in zip(above, below, strict=True):
            writer.write(torch.cat([_small(first.rgb, height, width), _small(second.rgb, height, width)], 2))
            done += len(first.index)
            hook("view", done, len(clock))
    return {
        "before_after": str(out),
        "start_s": float(after.clock.seconds[rows.start]),
        "seconds": float(clock.duration_s),
    }


def _shown(clock: FrameClock, changed: list[list[float]]) -> tuple[FrameClock, slice]:
    """The clock of the part that is shown, and which rows of the dub they are."""
    begin_s = max(0.0, changed[0][0] - LEAD_S) if changed else 0.0
    first = int(np.searchsorted(clock.seconds, begin_s, side="right")) - 1
    stop = int(np.searchsorted(clock.seconds, begin_s + LENGTH_S))
    end = clock.end if stop == len(clock) else int(clock.pts[stop])
    return FrameClock(clock.pts[first:stop], clock.base, end), slice(first, stop)


def _sound(dubbed: Path, start_s: float, length_s: Fraction, config: DubConfig) -> Soundtrack | None:
    """What is heard meanwhile; None: the dub has no sound."""
    layer = Layer(dubbed, -Fraction(start_s).limit_denominator(1_000_000), outside=1.0)
    try:
        return Soundtrack([layer], length_s, config.input_limits)
    except MediaError:
        return None


def _small(rgb: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B,3,H,W) uint8 pictures at another size."""
    import cv2

    n, _, *size = rgb.shape
    if size == [height, width]:
        return rgb
    small = np.empty((3 * n, height, width), np.uint8)
    for plane, out in zip(rgb.reshape(3 * n, *size).numpy(), small, strict=True):  # a picture would be laid out anew
        cv2.resize(plane, (width, height), dst=out, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).reshape(n, 3, height, width)
