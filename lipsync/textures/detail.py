"""Drawn mouths given back their fine detail, compiled: `candidates.resharpened` of the torch reference without
pictures in between."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.core.compiled import compiled
from lipsync.textures.warped_median import BLUE, COLOUR, GREEN


def with_detail(
    fused: torch.Tensor,
    pictures: np.ndarray,
    which: torch.Tensor,
    weights: torch.Tensor,
    parts: list[tuple[slice, slice]],
    loss: float,
    limit: float,
) -> torch.Tensor:
    """(B,3,H,W) float32 in [0,1]: uint8 mouths, each with its detail as `resharpened` adds it.

    fused: (B,3,H,W) uint8; pictures: `warped_median.packed` crops; which: (B,C) rows of it that each was made of;
    weights: (B,C) their shares; parts: of each, the rows and columns around its lips."""
    out = np.empty(fused.shape, np.float32)
    mouths, rows = fused.numpy(), which.numpy()
    for k, ((y, x), shares) in enumerate(zip(parts, weights.double().numpy(), strict=True)):
        y0, y1, _ = y.indices(fused.shape[2])
        x0, x1, _ = x.indices(fused.shape[3])
        _with_detail(mouths[k], pictures, rows[k], shares, (y0, y1, x0, x1), loss, limit, out[k])
    return torch.from_numpy(out)


@compiled
def _with_detail(mouth, pictures, which, shares, part, loss, limit, out):  # pragma: no cover - compiled
    """out (3,H,W) float32 in [0,1], of a (3,H,W) uint8 mouth."""
    y0, y1, x0, x1 = part
    _, height, width = mouth.shape
    for c in range(3):
        _soft(mouth[c], out[c])  # for now
    shape = (max(y1 - y0, 0), max(x1 - x0, 0))
    grey, more = np.empty(shape, np.float32), np.empty(shape, np.float32)
    third = np.float32(1 / 3)
    for y in range(shape[0]):
        for x in range(shape[1]):
            i, j = y0 + y, x0 + x
            grey[y, x] = third * (np.float32(mouth[0, i, j]) + np.float32(mouth[1, i, j]) + np.float32(mouth[2, i, j]))
            more[y, x] = grey[y, x] - third * (out[0, i, j] + out[1, i, j] + out[2, i, j])
    drawn, detail = _edges(grey), _edges(more)
    aa, ab, bb = _mean_product(drawn, drawn), _mean_product(drawn, detail), _mean_product(detail, detail)
    wanted = 0.0
    for k in range(len(which)):
        picture = pictures[which[k]]
        for y in range(shape[0]):
            line = picture[(y0 + y) * width + x0 :]
            for x in range(shape[1]):
                value = line[x]
                levels = (value & COLOUR) + (value >> GREEN & COLOUR) + (value >> BLUE & COLOUR)
                grey[y, x] = third * np.float32(np.int32(levels))
        edges = _edges(grey)
        wanted += shares[k] * _mean_product(edges, edges)
    boost = (np.sqrt(max(ab * ab - bb * (aa - loss * wanted), 0.0)) - ab) / max(bb, 1e-6)
    gain, level = np.float32(min(max(boost, 0.0), limit)), np.float32(1 / 255)
    for c in range(3):
        for y in range(height):
            for x in range(width):
                value = np.float32(mouth[c, y, x])
                value = level * (value + gain * (value - out[c, y, x]))
                out[c, y, x] = min(max(value, np.float32(0)), np.float32(1))


@compiled
def _soft(plane, out):  # pragma: no cover - compiled
    """out (H,W): two 3x3 means of a uint8 plane, edges repeated: 1 2 3 2 1 along both sides."""
    height, width = plane.shape
    line = np.empty(width + 4, np.float32)
    two, three, share = np.float32(2), np.float32(3), np.float32(1 / 81)
    for y in range(height):
        above, over = plane[max(y - 2, 0)], plane[max(y - 1, 0)]
        here, under, below = plane[y], plane[min(y + 1, height - 1)], plane[min(y + 2, height - 1)]
        for x in range(width):
            near, far = np.float32(over[x]) + np.float32(under[x]), np.float32(above[x]) + np.float32(below[x])
            line[x + 2] = far + two * near + three * np.float32(here[x])
        line[0] = line[1] = line[2]
        line[width + 2] = line[width + 3] = line[width + 1]
        for x in range(width):
            near, far = line[x + 1] + line[x + 3], line[x] + line[x + 4]
            out[y, x] = share * (far + two * near + three * line[x + 2])


@compiled
def _edges(grey):  # pragma: no cover - compiled
    """(h-4,w-4) Laplacian of 3x3 means of (h,w)."""
    height, width = grey.shape
    mean = np.empty((max(height - 2, 0), max(width - 2, 0)), np.float32)
    out = np.empty((max(height - 4, 0), max(width - 4, 0)), np.float32)
    line, ninth, four = np.empty(width, np.float32), np.float32(1 / 9), np.float32(4)
    for y in range(height - 2):
        for x in range(width):
            line[x] = grey[y, x] + grey[y + 1, x] + grey[y + 2, x]
        for x in range(width - 2):
            mean[y, x] = ninth * (line[x] + line[x + 1] + line[x + 2])
    for y in range(height - 4):
        for x in range(width - 4):
            beside = mean[y + 1, x] + mean[y + 1, x + 2] + mean[y, x + 1] + mean[y + 2, x + 1]
            out[y, x] = beside - four * mean[y + 1, x + 1]
    return out


@compiled
def _mean_product(a, b):  # pragma: no cover - compiled
    total = 0.0
    for y in range(a.shape[0]):
        line = np.float32(0)
        for x in range(a.shape[1]):
            line += a[y, x] * b[y, x]
        total += line
    return total / max(a.size, 1)
