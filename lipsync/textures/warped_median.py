"""Weighted medians of mouths drawn through their displacement fields, compiled: `CandidateWarp.apply` and
`weighted_median` of the torch reference in one pass over tiles that stay in the processor's cache.

A picture's three colours lie in one 64-bit number, 16 bits each, so that one multiplication weighs all three. Positions
are rounded to 1/256 of a pixel and weights to 1/65535 of their sum; a median is found bit by bit, for many pixels at
once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numba import njit, prange

NODE_STEP = 4  # pixels between the nodes of a displacement field; also the height of a tile
_ACROSS = 32  # width of a tile
_AREA = NODE_STEP * _ACROSS
#: A colour's bits, and where two of the three begin.
COLOUR, GREEN, BLUE = np.uint64(0xFF), np.uint64(16), np.uint64(32)
_ROUND, _ONE, _BYTE = np.uint64(0x0080_0080_0080), np.uint64(1), np.uint64(8)


class PackedCrops:
    """The crops asked for last, as the compiled loops read them, `most` of them; of each thread its own."""

    def __init__(self, take: Callable[[torch.Tensor], torch.Tensor], size: tuple[int, int], most: int) -> None:
        """take: gives the (n,3,H,W) uint8 crops of (n,) rows; size: (H,W)."""
        self.most = most
        self._take, self._size, self._kept = take, size, threading.local()

    def __call__(self, index: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
        """`packed` crops, and which of them those of the (B,C) rows are; no more than `most` are different. They stay
        until the thread asks again."""
        held: OrderedDict[int, int] = self._kept.__dict__.setdefault("held", OrderedDict())
        pictures = self._kept.__dict__.get("pictures")
        if pictures is None:
            pictures = self._kept.pictures = np.empty((self.most, _length(*self._size)), np.uint64)
        asked = index.unique().tolist()
        for row in asked:
            if row in held:
                held.move_to_end(row)
        new = [row for row in asked if row not in held]
        for row in new:  # the one that was not asked for the longest makes room
            held[row] = len(held) if len(held) < self.most else held.popitem(last=False)[1]
        if new:
            places = np.array([held[row] for row in new])
            _pack(self._take(torch.tensor(new)).numpy().reshape(len(new), 3, -1), places, pictures)
        return pictures, torch.tensor([[held[row] for row in rows] for rows in index.tolist()])


def packed(crops: torch.Tensor) -> np.ndarray:
    """(N,n) uint64 of (N,3,H,W) uint8 crops, as the compiled loops read them."""
    out = np.empty((len(crops), _length(*crops.shape[2:])), np.uint64)
    _pack(crops.numpy().reshape(len(crops), 3, -1), np.arange(len(crops)), out)
    return out


def _length(height: int, width: int) -> int:
    return (height + 1) * width + 1  # what lies beyond is read with a share of 0


def warped_medians(
    pictures: np.ndarray,
    size: tuple[int, int],
    which: torch.Tensor,
    field: torch.Tensor,
    weights: torch.Tensor,
    reach: float = 0.0,
    shown: torch.Tensor | None = None,
) -> torch.Tensor:
    """(B,3,H,W) uint8 lower weighted medians of C crops each, drawn through their fields; on the CPU. With a `reach`
    (grey levels) then moved to the mean of what lies within it, `toward_mean`.

    pictures: `packed` crops of `size` (H,W); which: (B,C) rows of it; field: (B,C,h,w,2) float32, how many pixels away
    each node's source lies; weights: (B,C), of which `whole_weights` are counted; shown: (B,h-1,w-1) uint8, 0 between
    nodes where the first crop alone may be drawn. The torch reference's medians, of the same weights, lie within one
    grey level of these."""
    shares = whole_weights(weights).numpy()
    half = (shares.sum(1, dtype=np.int64) + 1) // 2
    out = np.empty((len(which), 3, *size), np.uint8)
    seen = np.ones(cells_of(field), np.uint8) if shown is None else shown.numpy()
    _medians(pictures, which.numpy(), field.numpy(), shares, half.astype(np.uint16), np.float32(reach), seen, out)
    return torch.from_numpy(out)


def cells_of(field: torch.Tensor) -> tuple[int, int, int]:
    """(B,h-1,w-1) as many as lie between the nodes of (B,C,h,w,2) fields."""
    return len(field), field.shape[2] - 1, field.shape[3] - 1


def whole_weights(weights: torch.Tensor) -> torch.Tensor:
    """(B,C) uint16: the weights in 65535ths of their sum, rounded down."""
    return (weights.double() / weights.double().sum(1, keepdim=True) * 65535 + 1e-6).to(torch.uint16)


@njit(cache=True)
def _pack(crops, places, out):  # pragma: no cover - compiled
    """Writes the uint64 pixels of (N,3,H*W) uint8 pictures into the rows `places` of `out`: red from bit 0, green from
    16, blue from 32."""
    for k in range(len(crops)):
        red, green, blue = crops[k]
        line = out[places[k]]
        for i in range(len(red)):
            line[i] = np.uint64(red[i]) | (np.uint64(green[i]) << GREEN) | (np.uint64(blue[i]) << BLUE)


@njit(parallel=True, cache=True, fastmath=True)
def _medians(pictures, which, field, weights, half, reach, shown, out):  # pragma: no cover - compiled
    """Tile by tile, the same tile of all rows in turn, for they share candidates: all values, then their medians."""
    (rows, most), (height, width) = which.shape, out.shape[2:]
    tiles, bands = (width + _ACROSS - 1) // _ACROSS, (height + NODE_STEP - 1) // NODE_STEP
    for i in prange(bands * tiles * rows):
        b, left, top = i % rows, i // rows % tiles * _ACROSS, i // rows // tiles * NODE_STEP
        across, down = min(_ACROSS, width - left), min(NODE_STEP, height - top)
        pixels = down * across
        n = most if shown[b, top // NODE_STEP, left // NODE_STEP : (left + _ACROSS) // NODE_STEP].any() else 1
        moves = np.empty((2, 2, _ACROSS), np.float32)
        offset, fraction = np.empty(_AREA, np.int32), np.empty(_AREA, np.int32)
        seen = np.empty((3, n, _AREA), np.uint8)
        found, reached = np.empty(_AREA, np.uint8), np.empty(_AREA, np.uint16)
        total, moved = np.empty(_AREA, np.float32), np.empty(_AREA, np.float32)
        for k in range(n):
            _along_nodes(field[b, k, top // NODE_STEP :, left // NODE_STEP :], across, moves)
            _sources(moves, (left, top, across, down), (height, width), offset, fraction)
            _fetch(pictures[which[b, k]], width, offset, fraction, pixels, seen[0, k], seen[1, k], seen[2, k])
        for c in range(3):
            if n == 1:
                for y in range(down):
                    out[b, c, top + y, left : left + across] = seen[c, 0, y * across : (y + 1) * across]
                continue
            _median(seen[c], weights[b], half[b], pixels, found, reached)
            if reach > 0:
                _toward_mean(seen[c], weights[b], reach, pixels, found, total, moved)
            for y in range(down):
                out[b, c, top + y, left : left + across] = found[y * across : (y + 1) * across]


@njit(cache=True, fastmath=True)
def _along_nodes(nodes, across, moves):  # pragma: no cover - compiled
    """moves (2,2,across): x and y of the first two rows of (h,w,2) nodes, at every pixel."""
    for i in range(2):
        for c in range(2):
            for j in range((across + NODE_STEP - 1) // NODE_STEP):
                a, b = nodes[i, j, c], nodes[i, j + 1, c]
                for k in range(NODE_STEP):
                    moves[i, c, NODE_STEP * j + k] = a + np.float32(k / NODE_STEP) * (b - a)


@njit(cache=True, fastmath=True)
def _sources(moves, tile, size, offset, fraction):  # pragma: no cover - compiled
    """Where each pixel of the tile (left, top, across, down) comes from in a picture of `size`: offset of the upper
    left of four pixels, and 256ths of a pixel beyond it (x above bit 8, y below)."""
    (left, top, across, down), (height, width) = tile, size
    end_x, end_y = np.int32(256 * (width - 1)), np.int32(256 * (height - 1))
    nearest, low, bits = np.float32(0.5 / 256), np.int32(255), np.int32(8)
    for y in range(down):
        share, here = np.float32(y / NODE_STEP), np.float32(top + y) + nearest
        for x in range(across):
            px = np.float32(left + x) + nearest + moves[0, 0, x] + share * (moves[1, 0, x] - moves[0, 0, x])
            py = here + moves[0, 1, x] + share * (moves[1, 1, x] - moves[0, 1, x])
            qx = min(max(np.int32(px * np.float32(256)), np.int32(0)), end_x)
            qy = min(max(np.int32(py * np.float32(256)), np.int32(0)), end_y)
            offset[y * across + x] = (qy >> bits) * np.int32(width) + (qx >> bits)
            fraction[y * across + x] = ((qx & low) << bits) | (qy & low)


@njit(cache=True)
def _fetch(picture, width, offset, fraction, pixels, red, green, blue):  # pragma: no cover - compiled
    """red, green, blue (pixels,): bilinear values, weights in 256ths that add up to 256."""
    below, all_of_it, half = np.uint64(width), np.uint64(256), np.uint64(128)
    for i in range(pixels):
        o, both = np.uint64(offset[i]), np.uint64(fraction[i])
        u, v = both >> _BYTE, both & COLOUR
        uv = (u * v + half) >> _BYTE
        value = picture[o] * (all_of_it - u - v + uv) + picture[o + _ONE] * (u - uv)
        value += picture[o + below] * (v - uv) + picture[o + below + _ONE] * uv + _ROUND
        red[i] = np.uint8(value >> _BYTE)
        green[i] = np.uint8(value >> (GREEN + _BYTE))
        blue[i] = np.uint8(value >> (BLUE + _BYTE))


@njit(cache=True)
def _median(seen, weights, half, pixels, found, reached):  # pragma: no cover - compiled
    """found (pixels,): the largest value below which (C,pixels) `seen` hold less than half of the weight; that is the
    smallest at which half is reached."""
    for x in range(pixels):
        found[x] = 0
    for shift in range(8):
        bit = np.uint8(128 >> shift)
        for x in range(pixels):
            found[x] |= bit
            reached[x] = 0
        for k in range(len(weights)):
            weight, values = weights[k], seen[k]
            for x in range(pixels):
                reached[x] += weight * np.uint16(values[x] < found[x])
        for x in range(pixels):
            found[x] -= bit * np.uint8(reached[x] >= half)


@njit(cache=True, fastmath=True)
def _toward_mean(seen, weights, reach, pixels, found, total, moved):  # pragma: no cover - compiled
    """found (pixels,): medians of (C,pixels) `seen`, moved by one step of Tukey's biweight."""
    for x in range(pixels):
        total[x] = np.float32(0)
        moved[x] = np.float32(0)
    share, one, none = np.float32(1) / (reach * reach), np.float32(1), np.float32(0)
    for k in range(len(weights)):
        weight, values = np.float32(weights[k]), seen[k]
        for x in range(pixels):
            away = np.float32(values[x]) - np.float32(found[x])
            near = max(one - away * away * share, none)
            near = weight * near * near
            total[x] += near
            moved[x] += near * away
    for x in range(pixels):
        found[x] = np.uint8(np.float32(found[x]) + moved[x] / max(total[x], one) + np.float32(0.5))
