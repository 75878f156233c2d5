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
from lipsync.render.cpu.grid import at_nodes, blended, corners_of, fine, means
from lipsync.render.jaw import EDGE
from lipsync.render.skin import BRIGHTER, DARKER, HUE, LEAST_SPREAD, SHADOW
from video.pyramid import half_gaussian, symmetric_filter

_LEAST = np.array(LEAST_SPREAD, np.float32)
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
    other, colours = _other_than_skin(cells, fields.beside * sure, sure)
    specks = cv2.boxFilter(other, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    skin = (specks < 5).astype(np.uint8)
    free = clearance(skin, max(2, round(config.jaw_clearance * scale / STEP)))
    opened = np.maximum(skin, depth > 0).astype(np.float32)
    if not down.any():
        return Bent(under.copy(), opened)
    edge = soft_step(1 + depth / EDGE) * ((down > 0) & (free < 1))
    planes = fine(np.stack([down * free, down, edge, sure], -1), STEP, *under.shape[:2])
    return Bent(_bent(under, planes, np.float32(pixel_from_face[:, 1]), colours), opened)


def clearance(skin: np.ndarray, n_nodes: int) -> np.ndarray:
    """As `lipsync.render.skin.clearance`, of (h,w) uint8 skin; n_nodes: its reach."""
    distance = cv2.distanceTransform(skin, cv2.DIST_C, 3)
    rising = ((distance - 2) / (n_nodes + 1)).clip(0, 1)
    smooth = symmetric_filter(rising, half_gaussian(max(1.0, n_nodes / 4)))
    return smooth * (distance > 1)


@compiled
def _other_than_skin(cells, learn, sure):  # pragma: no cover - compiled
    """((h,w) uint8, 1 = another colour, and (2,3) mean and spread of the skin's `log_colours`) of (h,w,3) means."""
    rows, columns, _ = cells.shape
    logs, out, colours = np.empty((rows, columns, 3), np.float32), np.zeros((rows, columns), np.uint8), np.empty((2, 3))
    for i in range(rows):
        for j in range(columns):
            _log_colours(cells[i, j], logs[i, j])
    limit = np.full(3, 1e9)
    mean = np.zeros(3)
    for _ in range(3):
        total, sums, squares = 1e-6, np.zeros(3), np.zeros(3)
        for i in range(rows):
            for j in range(columns):
                if learn[i, j] > 0:
                    a, b, c = logs[i, j, 0], logs[i, j, 1], logs[i, j, 2]
                    if abs(a - mean[0]) <= limit[0] and abs(b - mean[1]) <= limit[1] and abs(c - mean[2]) <= limit[2]:
                        total += 1
                        for k in range(3):
                            sums[k] += logs[i, j, k]
                            squares[k] += np.float64(logs[i, j, k]) ** 2
        mean = sums / total
        for k in range(3):
            spread = np.sqrt(max(squares[k] / total - mean[k] ** 2, 0.0))
            limit[k] = 2 * spread + 1e-4
            colours[0, k], colours[1, k] = mean[k], max(spread, _LEAST[k])
    found = colours.astype(np.float32)
    for i in range(rows):
        for j in range(columns):
            out[i, j] = sure[i, j] == 0 and _likeness(logs[i, j], found) < np.float32(0.5)
    return out, found


@compiled
def _log_colours(rgb, out):  # pragma: no cover - compiled
    red, green, blue = np.log(rgb[0] + _DARK), np.log(rgb[1] + _DARK), np.log(rgb[2] + _DARK)
    out[0], out[1], out[2] = (red + green + blue) / np.float32(3), red - green, green - blue


@compiled
def _likeness(logs, colours):  # pragma: no cover - compiled
    """As `lipsync.render.skin.skin_likeness` of one colour."""
    light = logs[0] - colours[0, 0]
    wider = _HUE * (_ONE + _SHADOW * max(-light, _ZERO))
    bright = light / max(np.float32(3) * colours[1, 0], _BRIGHTER) if light > 0 else light / _DARKER
    first, second = (logs[1] - colours[0, 1]) / (wider * colours[1, 1]), (logs[2] - colours[0, 2]) / (wider * colours[1, 2])
    square = bright * bright
    x = np.float32(2.5) - _TWO * np.sqrt(square * square + first * first + second * second)
    x = min(max(x, _ZERO), _ONE)
    return x * x * (np.float32(3) - _TWO * x)


@compiled
def _bent(under, planes, way, colours):  # pragma: no cover - compiled
    """(H,W,3) `under` moved `way` (2,), pixels per unit. planes: (H,W,4) units where skin is free, units everywhere,
    the chin's edge, sure skin."""
    out = under.copy()
    logs, corner, weight = np.empty(3, np.float32), np.empty((4, 2), np.int64), np.empty(4, np.float32)
    for y in range(under.shape[0]):
        for x in range(under.shape[1]):
            free, full, edge = planes[y, x, 0], planes[y, x, 1], planes[y, x, 2]
            if free != 0:
                corners_of(under, x - free * way[0], y - free * way[1], corner, weight)
                for c in range(3):
                    out[y, x, c] = blended(under, c, corner, weight)
            if edge > 0 and full != 0:
                corners_of(under, x - full * way[0], y - full * way[1], corner, weight)
                like = _ZERO
                for k in range(4):
                    row, column = corner[k]
                    _log_colours(under[row, column], logs)
                    like += weight[k] * max(_likeness(logs, colours), planes[row, column, 3])
                for c in range(3):
                    out[y, x, c] += edge * like * (blended(under, c, corner, weight) - out[y, x, c])
    return out
