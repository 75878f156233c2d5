"""What is fixed to the screen and lies over the picture: captions, logos. Where, frame by frame."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from lipsync.core.arrays import Array

#: The arrays of a `Graphics`, as they are kept.
GRAPHICS_ARRAYS = ("begin", "end", "box", "offset", "packed", "step", "mouth")


@dataclass(frozen=True, slots=True)
class Graphics:
    """S spans of frames, each with one mask.

    begin, end: (S,) int64 frames, end exclusive, ascending, apart; box: (S,4) int64 x0, y0, x1, y1 of the mask in mask
    pixels; packed: (n,) uint8 the masks' bits, compressed, span k at offset[k] to offset[k + 1]; step: (1,) int64
    picture pixels along a mask pixel's side; mouth: (T,) float32 share of the followed lips that is under one."""

    begin: Array
    end: Array
    box: Array
    offset: Array
    packed: Array
    step: Array
    mouth: Array

    @classmethod
    def of(cls, spans: list[tuple[int, int, tuple[int, int], Array]], step: int, frames: int) -> Graphics:
        """spans: first frame, end, corner (x, y) and (h,w) bool mask of each, in mask pixels. No lips are known yet."""
        parts = [zlib.compress(np.packbits(mask).tobytes(), 6) for _, _, _, mask in spans]
        boxes = [(x, y, x + mask.shape[1], y + mask.shape[0]) for _, _, (x, y), mask in spans]
        return cls(
            begin=np.array([s[0] for s in spans], np.int64),
            end=np.array([s[1] for s in spans], np.int64),
            box=np.array(boxes, np.int64).reshape(-1, 4),
            offset=np.cumsum([0, *map(len, parts)]).astype(np.int64),
            packed=np.frombuffer(b"".join(parts), np.uint8),
            step=np.array([step], np.int64),
            mouth=np.zeros(frames, np.float32),
        )

    def over(self, frame: int, x0: int, y0: int, x1: int, y1: int) -> Array | None:
        """(y1 - y0, x1 - x0) bool, the picture's pixels in this box that a graphic takes up in `frame`; None: none."""
        k = int(np.searchsorted(self.begin, frame, "right")) - 1
        if k < 0 or frame >= self.end[k]:
            return None
        step, (left, top, right, bottom) = int(self.step[0]), self.box[k].tolist()
        if left * step >= x1 or top * step >= y1 or right * step <= x0 or bottom * step <= y0:
            return None
        bits = np.frombuffer(zlib.decompress(self.packed[self.offset[k] : self.offset[k + 1]].tobytes()), np.uint8)
        mask = np.unpackbits(bits, count=(right - left) * (bottom - top)).reshape(bottom - top, right - left) > 0
        rows, columns = np.arange(y0, y1) // step - top, np.arange(x0, x1) // step - left
        inside = ((rows >= 0) & (rows < bottom - top))[:, None] & ((columns >= 0) & (columns < right - left))
        out = mask[rows.clip(0, bottom - top - 1)][:, columns.clip(0, right - left - 1)] & inside
        return out if out.any() else None

    def at(self, frame: int, points: Array) -> Array:
        """(...) bool: which of the (...,2) picture positions a graphic takes up in `frame`."""
        pixels = np.floor(points).astype(np.int64)
        (x0, y0), (x1, y1) = pixels.reshape(-1, 2).min(0), pixels.reshape(-1, 2).max(0) + 1
        mask = self.over(frame, int(x0), int(y0), int(x1), int(y1))
        if mask is None:
            return np.zeros(points.shape[:-1], bool)
        return mask[pixels[..., 1] - y0, pixels[..., 0] - x0]
