"""Between pixels and the coarse grid: means, bilinear fields, planes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from lipsync.core.compiled import compiled
from lipsync.render.box import STEP

_ZERO, _STEP, _LEVEL = np.float32(0), np.float32(STEP), np.float32(1 / 255)


class Zone(NamedTuple):
    """A part of a box. nodes: (rows, columns) of the coarse grid; pixels: of the fine one."""

    nodes: tuple[slice, slice]
    pixels: tuple[slice, slice]

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The part of a (H,W,C) picture, a copy."""
        return np.ascontiguousarray(picture[self.pixels])

    def fine(self, nodes: np.ndarray) -> np.ndarray:
        """(h,w,C) at the part's pixels, of coarse values (H,W,C) of the whole box."""
        y, x = self.pixels
        return fine(np.ascontiguousarray(nodes[self.nodes]), y.stop - y.start, x.stop - x.start)


def zone_of(values: np.ndarray, shape: tuple[int, ...]) -> Zone | None:
    """As `Box.around_zone`: the smallest part that holds all of the coarse (h,w) values above 0; shape: the box's."""
    left, top, width, height = cv2.boundingRect((values > 0).astype(np.uint8))
    if not width:
        return None
    rows = slice(max(0, top - 1), min(top + height + 1, values.shape[0]))
    columns = slice(max(0, left - 1), min(left + width + 1, values.shape[1]))
    y, x = (
        slice(s.start * STEP, min((s.stop - 1) * STEP + 1, n)) for s, n in zip((rows, columns), shape[:2], strict=True)
    )
    return Zone((rows, columns), (y, x))


def at_nodes(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height,width,C) of (h,w,C) cell means, the nearest cell for each node (torch's `interpolate`)."""
    h, w = cells.shape[:2]
    if (h, w) == (height, width):
        return cells
    return cells[(np.arange(height) * h // height)[:, None], np.arange(width) * w // width]


def cut(frame: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """(height,width,3) float32 in [0,1] of the box in a (3,H,W) uint8 frame."""
    planes = frame[:, top : top + height, left : left + width]
    return np.multiply(cv2.merge(list(planes)), _LEVEL, dtype=np.float32)


def paste(frame: np.ndarray, left: int, top: int, under: np.ndarray, drawn: np.ndarray, strength: float) -> None:
    """Writes (h,w,3) pictures in [0,1], `drawn` over `under` as strong as `strength`, into the (3,H,W) uint8 frame."""
    height, width = under.shape[:2]
    levels = cv2.addWeighted(drawn, 255 * strength, under, 255 * (1 - strength), 0, dtype=cv2.CV_8U)
    for plane, drawn_plane in zip(frame, cv2.split(levels), strict=True):
        plane[top : top + height, left : left + width] = drawn_plane


@compiled
def mix(under, over, weight):  # pragma: no cover - compiled
    """Brings (h,w,C) `under` nearer to `over` by the (h,w) weight."""
    for y in range(under.shape[0]):
        for x in range(under.shape[1]):
            for c in range(under.shape[2]):
                under[y, x, c] += weight[y, x] * (over[y, x, c] - under[y, x, c])


@compiled
def means(picture, step):  # pragma: no cover - compiled
    """(ceil(h/step),ceil(w/step),C) means of (h,w,C) float32 over squares of `step`, those at the edges smaller."""
    height, width, channels = picture.shape
    rows, columns = (height + step - 1) // step, (width + step - 1) // step
    out, sums = np.zeros((rows, columns, channels), np.float32), np.empty(width * channels, np.float32)
    for i in range(rows):
        end = min((i + 1) * step, height)
        sums[:] = 0
        for y in range(i * step, end):
            line = picture[y].ravel()
            for k in range(len(line)):
                sums[k] += line[k]
        for j in range(columns):
            first, last = j * step, min((j + 1) * step, width)
            share = np.float32(1) / np.float32((end - i * step) * (last - first))
            for x in range(first, last):
                for c in range(channels):
                    out[i, j, c] += share * sums[x * channels + c]
    return out


@compiled
def fine(nodes, height, width):  # pragma: no cover - compiled
    """(height,width,C) float32, bilinear between (h,w,C) nodes."""
    rows, columns, channels = nodes.shape
    out, lines = np.empty((height, width, channels), np.float32), np.empty((rows, width, channels), np.float32)
    for i in range(rows):
        for x in range(width):
            j = x // STEP
            right, part = min(j + 1, columns - 1), np.float32(x - j * STEP) / _STEP
            for c in range(channels):
                lines[i, x, c] = nodes[i, j, c] + part * (nodes[i, right, c] - nodes[i, j, c])
    for y in range(height):
        i = y // STEP
        part = np.float32(y - i * STEP) / _STEP
        here, below, line = lines[i].ravel(), lines[min(i + 1, rows - 1)].ravel(), out[y].ravel()
        for k in range(len(line)):
            line[k] = here[k] + part * (below[k] - here[k])
    return out


@compiled
def around(x, y, width, height):  # pragma: no cover - compiled
    """(column, row, next column, next row, part, part): the four pixels around a position (pixel centres at whole
    numbers; edges repeated), and how far it lies towards the next ones."""
    x, y = min(max(x, _ZERO), np.float32(width - 1)), min(max(y, _ZERO), np.float32(height - 1))
    left, top = int(x), int(y)
    return left, top, min(left + 1, width - 1), min(top + 1, height - 1), x - np.float32(left), y - np.float32(top)


@compiled
def bilinear(a, b, c, d, u, v):  # pragma: no cover - compiled
    """Between four values: left and right above, left and right below."""
    above, below = a + u * (b - a), c + u * (d - c)
    return above + v * (below - above)
