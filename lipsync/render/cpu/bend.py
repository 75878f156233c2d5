"""The jaw moved: `lipsync.render.skin` and `lipsync.render.jaw.bend_jaw` in few passes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.lips import soft_step
from lipsync.render.box import STEP
from lipsync.render.cpu.fields import Fields
from lipsync.render.cpu.compiled import compiled
from lipsync.render.cpu.grid import around, at_nodes, bilinear, fine, means
from lipsync.render.jaw import EDGE
from lipsync.render.skin import BRIGHTER, DARKER, HUE, LEAST_SPREAD, SHADOW
from video.pyramid import half_gaussian, symmetric_filter

_HUE, _BRIGHTER, _DARKER, _SHADOW = (np.float32(v) for v in (HUE, BRIGHTER, DARKER, SHADOW))
_ZERO, _ONE, _TWO, _DARK = (np.float32(v) for v in (0, 1, 2, 0.02))


class Bent(NamedTuple):
    """rgb: (H,W,3) the box with its jaw moved; open: (h,w) coarse in [0,1], 0 where something other than skin shows."""

    rgb: np.ndarray
    open: np.ndarray


def bend_jaw(
    under: np.ndarray, fields: Fields, pixel_from_face: np.ndarray, scale: float, config: CompositeConfig
) -> Bent:
    """As `lipsync.render.jaw.bend_jaw`. under: (H,W,3) in [0,1]; pixel_from_face: (2,2); scale: pixels per eye
    distance."""
    depth, down = fields.depth, fields.down
    sure = (depth - np.maximum(down, 0) > 0.05).astype(np.float32)
    cells = at_nodes(means(under, STEP), *depth.shape)
    colours, other = skin_colours(cells, fields.beside * sure), np.empty(sure.shape, np.uint8)
    _other_than_skin(cells, sure, colours, other)
    specks = cv2.boxFilter(other, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    skin = (specks < 5).astype(np.uint8)
    free = clearance(skin, max(2, round(config.jaw_clearance * scale / STEP)))
    opened = np.maximum(skin, depth > 0).astype(np.float32)
    if not down.any():
        return Bent(under.copy(), opened)
    edge = soft_step(1 + depth / EDGE) * ((down > 0) & (free < 1))
    planes = fine(np.stack([down * free, down, edge, sure], -1), STEP, *under.shape[:2])
    out = under.copy()
    _bent(under, planes, np.float32(pixel_from_face[:, 1]), colours, out)
    return Bent(out, opened)


def skin_colours(cells: np.ndarray, learn: np.ndarray) -> np.ndarray:
    """As `lipsync.render.skin.skin_colours`: (2,3) mean and spread of (h,w,3) colours where (h,w) `learn` is 1."""
    limits, mean, spread = np.full((3, 2), [0.0, 1e9]), np.zeros(3), np.zeros(3)
    for _ in range(3):
        sums = np.zeros((3, 3))
        _colour_sums(cells, learn, limits, sums)
        mean, square = (sums[:, 1:] / np.maximum(sums[:, :1], 1e-6)).T
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        limits = np.column_stack([mean, 2 * spread + 1e-4])
    return np.array([mean, np.maximum(spread, LEAST_SPREAD)], np.float32)


def clearance(skin: np.ndarray, n_nodes: int) -> np.ndarray:
    """As `lipsync.render.skin.clearance`, of (h,w) uint8 skin; n_nodes: its reach."""
    distance = cv2.distanceTransform(skin, cv2.DIST_C, 3)
    rising = ((distance - 2) / (n_nodes + 1)).clip(0, 1)
    smooth = symmetric_filter(rising, half_gaussian(max(1.0, n_nodes / 4)))
    return smooth * (distance > 1)


@compiled
def _log_colours(red, green, blue):  # pragma: no cover - compiled
    """As `lipsync.render.skin.log_colours` of one colour."""
    red, green, blue = np.log(red + _DARK), np.log(green + _DARK), np.log(blue + _DARK)
    return (red + green + blue) / np.float32(3), red - green, green - blue


@compiled
def _likeness(red, green, blue, colours):  # pragma: no cover - compiled
    """As `lipsync.render.skin.skin_likeness` of one colour."""
    light, first, second = _log_colours(red, green, blue)
    light -= colours[0, 0]
    wider = _HUE * (_ONE + _SHADOW * max(-light, _ZERO))
    bright = light / max(np.float32(3) * colours[1, 0], _BRIGHTER) if light > 0 else light / _DARKER
    first, second = (first - colours[0, 1]) / (wider * colours[1, 1]), (second - colours[0, 2]) / (wider * colours[1, 2])
    square = bright * bright
    x = np.float32(2.5) - _TWO * np.sqrt(square * square + first * first + second * second)
    x = min(max(x, _ZERO), _ONE)
    return x * x * (np.float32(3) - _TWO * x)


@compiled
def _colour_sums(cells, learn, limits, sums):  # pragma: no cover - compiled
    """Adds to (3,3) `sums` how many (first column), the sum and the squares of the `log_colours` (rows) of (h,w,3)
    where `learn` is 1 and each lies within `limits` (3,2: middle, farthest)."""
    for i in range(cells.shape[0]):
        for j in range(cells.shape[1]):
            if learn[i, j] > 0:
                logs = _log_colours(cells[i, j, 0], cells[i, j, 1], cells[i, j, 2])
                near = True
                for k in range(3):
                    near &= abs(logs[k] - limits[k, 0]) <= limits[k, 1]
                for k in range(3):
                    if near:
                        sums[k, 0] += 1
                        sums[k, 1] += logs[k]
                        sums[k, 2] += np.float64(logs[k]) * logs[k]


@compiled
def _other_than_skin(cells, sure, colours, out):  # pragma: no cover - compiled
    """Writes 1 where the colours of (h,w,3) are not the skin's and nothing is sure."""
    for i in range(cells.shape[0]):
        for j in range(cells.shape[1]):
            like = _likeness(cells[i, j, 0], cells[i, j, 1], cells[i, j, 2], colours)
            out[i, j] = sure[i, j] == 0 and like < np.float32(0.5)


@compiled
def _bent(under, planes, way, colours, out):  # pragma: no cover - compiled
    """Writes (H,W,3) `under` moved `way` (2,), pixels per unit. planes: (H,W,4) units where skin is free, units
    everywhere, the chin's edge, sure skin."""
    height, width, _ = under.shape
    for row in range(height):
        for column in range(width):
            edge = planes[row, column, 2]
            for covers in range(2):  # what is free moves; then the chin is drawn over what is not
                move = planes[row, column, covers]
                if move == 0 or (covers and edge == 0):
                    continue
                at_x, at_y = np.float32(column) - move * way[0], np.float32(row) - move * way[1]
                x, y, right, below, u, v = around(at_x, at_y, width, height)
                weight = _ONE
                if covers:
                    like = _ZERO
                    for k in range(4):
                        yy, xx = below if k > 1 else y, right if k % 2 else x
                        part = (u if k % 2 else _ONE - u) * (v if k > 1 else _ONE - v)
                        skin = _likeness(under[yy, xx, 0], under[yy, xx, 1], under[yy, xx, 2], colours)
                        like += part * max(skin, planes[yy, xx, 3])
                    weight = edge * like
                for c in range(3):
                    value = bilinear(under[y, x, c], under[y, right, c], under[below, x, c], under[below, right, c], u, v)
                    out[row, column, c] += weight * (value - out[row, column, c])
