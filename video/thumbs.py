"""A frame, small enough to be remembered: block means, and a few pixels of each that tell its fine detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video.picture import Picture, pictured

_LINES = 36  # of the thumbnail's short side
_CELLS = 8  # samples along a block's side that its detail is taken from
# A graphic that comes or goes: levels by which blocks change, the share of the picture that a box around them takes up
# at most, the detail there at least (levels squared), and the change of the rest that always passes for none.
_STRONG, _GRAPHIC_BOX, _STROKES, _STILL = 12.0, 0.25, 3000.0, 2.0


@dataclass(frozen=True, slots=True)
class Thumb:
    """colour: (3,h,w) float32 block means in levels, short side about 36; fine: (h',w') uint8 brightness of some pixels
    of every block, of which `scale` times the difference is one of levels."""

    colour: np.ndarray
    fine: np.ndarray
    scale: float = 1.0

    @classmethod
    def of(cls, picture: Picture | np.ndarray) -> Thumb:
        """Of a picture, or (H,W,3) uint8 RGB."""
        picture = pictured(picture)
        block = max(1, min(picture.height, picture.width) // _LINES)
        colour, fine, scale = picture.blocks(block, max(1, block // _CELLS))
        return cls(colour.astype(np.float32), fine, scale)

    @property
    def detail(self) -> np.ndarray:
        """(h,w) float32 mean square of the Laplacian of each block's brightness, levels squared. Computed when asked
        for: few frames are."""
        import cv2

        edges = cv2.Laplacian(self.fine, cv2.CV_16S, ksize=1)
        squares = cv2.multiply(edges, edges, scale=self.scale**2, dtype=cv2.CV_32F)
        return cv2.resize(squares, self.colour.shape[:0:-1], interpolation=cv2.INTER_AREA)


def change(a: Thumb, b: Thumb) -> float:
    """Root mean square difference in levels, overall brightness of each channel aside; inf between sizes."""
    if a.colour.shape != b.colour.shape:
        return float("inf")
    return size_of(difference(a, b))


def difference(a: Thumb, b: Thumb) -> np.ndarray:
    """(3,h,w) float32 b - a, without the mean of each channel."""
    moved = b.colour - a.colour
    return moved - moved.mean((1, 2), keepdims=True)


def size_of(moved: np.ndarray) -> float:
    """Root mean square over blocks of the mean over channels of (3,h,w) differences."""
    return float(np.sqrt(np.square(np.abs(moved).mean(0)).mean()))


def only_graphics(a: Thumb, b: Thumb, usual: float) -> bool:
    """Whether all that changed from one picture to the next is a small box of sharp strokes: a caption, a logo. usual:
    the change from frame to frame, levels, in which the rest of the picture goes on.

    (Captions over two words: box 0.03 to 0.08 of the picture, detail 12,000; joins of two takes of one person: box 0.5
    to 0.7, detail 350 to 540; jumps within HD footage: box 0.3 or more.)"""
    moved = b.colour - a.colour
    moved = np.abs(moved - np.median(moved, axis=(1, 2), keepdims=True)).mean(0)
    strong = moved > max(_STRONG, 4 * usual)
    if not strong.any():
        return False
    rows, columns = np.nonzero(strong)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    detail = np.maximum(a.detail, b.detail)
    if moved[box].size > _GRAPHIC_BOX * moved.size or detail[strong].mean() < _STROKES:
        return False
    moved[box] = 0
    return float(np.sqrt(np.square(moved).mean())) < max(_STILL, 1.5 * usual)
