"""The jaw moved: `lipsync.render.jaw.bend_jaw` in few passes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.lips import soft_step
from lipsync.render.box import Box
from lipsync.render.cpu.fields import Fields
from lipsync.render.cpu.compiled import compiled
from lipsync.render.cpu.grid import around, at_nodes, bilinear, fine, means
from lipsync.render.cpu.skin import clearance, likeness, skin_colours, skin_likeness
from lipsync.render.jaw import EDGE

_ZERO, _ONE = np.float32(0), np.float32(1)


class Bent(NamedTuple):
    """rgb: (H,W,3) the box with its jaw moved; open: (h,w) coarse in [0,1], 0 where something other than skin shows."""

    rgb: np.ndarray
    open: np.ndarray


def bend_jaw(under: np.ndarray, fields: Fields, pixel_from_face: np.ndarray, box: Box, config: CompositeConfig) -> Bent:
    """As `lipsync.render.jaw.bend_jaw`. under: (H,W,3) in [0,1]; pixel_from_face: (2,2)."""
    depth, down = fields.depth, fields.down
    sure = (depth - np.maximum(down, 0) > 0.05).astype(np.float32)
    cells = at_nodes(means(under, box.step), *depth.shape)
    colours = skin_colours(cells, fields.beside * sure)
    other = (skin_likeness(cells, colours) < 0.5) & (sure == 0)
    specks = cv2.boxFilter(other.astype(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    skin = (specks < 5).astype(np.uint8)
    free = clearance(skin, max(2, round(config.jaw_clearance * box.scale / box.step)))
    opened = np.maximum(skin, depth > 0).astype(np.float32)
    if not down.any():
        return Bent(under.copy(), opened)
    edge = soft_step(1 + depth / EDGE) * ((down > 0) & (free < 1))
    planes = fine(np.stack([down * free, down, edge, sure], -1), box.step, *under.shape[:2])
    out = under.copy()
    _bent(under, planes, np.float32(pixel_from_face[:, 1]), colours, out)
    return Bent(out, opened)


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
                        skin = likeness(under[yy, xx, 0], under[yy, xx, 1], under[yy, xx, 2], colours)
                        like += part * max(skin, planes[yy, xx, 3])
                    weight = edge * like
                for c in range(3):
                    value = bilinear(
                        under[y, x, c], under[y, right, c], under[below, x, c], under[below, right, c], u, v
                    )
                    out[row, column, c] += weight * (value - out[row, column, c])
