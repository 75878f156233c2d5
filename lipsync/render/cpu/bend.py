"""The jaw moved: `lipsync.render.jaw.bend_jaw` in few passes."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.compiled import compiled
from lipsync.core.lips import soft_step
from lipsync.render.box import STEP, Box
from lipsync.render.cpu.fields import Fields
from lipsync.render.cpu.grid import around, at_nodes, bilinear, fine, means, zone_of
from lipsync.render.cpu.skin import clearance, likeness, skin_colours, skin_likeness
from lipsync.render.jaw import EDGE

_ZERO, _ONE, _STEP = np.float32(0), np.float32(1), np.float32(STEP)


class Bent(NamedTuple):
    """rgb: (H,W,3) the box with its jaw moved; open: (h,w) coarse in [0,1], 0 where something other than skin shows."""

    rgb: np.ndarray
    open: np.ndarray


def bend_jaw(under: np.ndarray, fields: Fields, pixel_from_face: np.ndarray, box: Box, config: CompositeConfig) -> Bent:
    """As `lipsync.render.jaw.bend_jaw`. under: (H,W,3) in [0,1]; pixel_from_face: (2,2)."""
    depth, down = fields.depth, fields.down
    sure = (depth - np.maximum(down, 0) > 0.05).astype(np.float32)
    cells = at_nodes(means(under, STEP), *depth.shape)
    colours = skin_colours(cells, fields.beside * sure)
    other = (skin_likeness(cells, colours) < 0.5) & (sure == 0)
    specks = cv2.boxFilter(other.astype(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    skin = (specks < 5).astype(np.uint8)
    free = clearance(skin, max(2, round(config.jaw_clearance * box.scale / STEP)))
    opened = np.maximum(skin, depth > 0).astype(np.float32)
    if not down.any():
        return Bent(under.copy(), opened)
    way = np.float32(pixel_from_face[:, 1])
    bent = moved(under, fine((down * free)[..., None], *under.shape[:2]), way)
    edge = soft_step(1 + depth / EDGE) * ((down > 0) & (free < 1))
    chin = zone_of(edge, under.shape)
    if chin is not None:
        place = (chin.pixels[1].start, chin.pixels[0].start)
        _cover(bent, under, *place, chin.fine(np.stack([down, edge], -1)), sure, way, colours)
    return Bent(bent, opened)


@compiled
def moved(under, down, way):  # pragma: no cover - compiled
    """(H,W,3) `under`, bilinear, moved `down` (H,W,1) units of `way` (2,), pixels."""
    height, width, _ = under.shape
    out = np.empty_like(under)
    for row in range(height):
        for column in range(width):
            move = down[row, column, 0]
            if move == 0:
                for c in range(3):
                    out[row, column, c] = under[row, column, c]
                continue
            at_x, at_y = np.float32(column) - move * way[0], np.float32(row) - move * way[1]
            x, y, right, below, u, v = around(at_x, at_y, width, height)
            for c in range(3):
                out[row, column, c] = bilinear(
                    under[y, x, c], under[y, right, c], under[below, x, c], under[below, right, c], u, v
                )
    return out


@compiled
def _cover(bent, under, left, top, fields, sure, way, colours):  # pragma: no cover - compiled
    """Draws the chin, where it comes down upon something else, over that in the (H,W,3) `bent`, without what else was
    filmed beside it. fields: (h,w,2) the whole move and the chin's edge in a zone whose first pixel is (left, top);
    sure: (n,m) coarse."""
    height, width, _ = under.shape
    likely = np.full((height, width), -_ONE)
    for row in range(fields.shape[0]):
        for column in range(fields.shape[1]):
            move, edge = fields[row, column, 0], fields[row, column, 1]
            if edge == 0:
                continue
            at_x, at_y = np.float32(left + column) - move * way[0], np.float32(top + row) - move * way[1]
            x, y, right, below, u, v = around(at_x, at_y, width, height)
            like = _ZERO
            for k in range(4):
                yy, xx = below if k > 1 else y, right if k % 2 else x
                if likely[yy, xx] < 0:  # each is asked for by several pixels
                    i, j = yy // STEP, xx // STEP
                    s, t = np.float32(xx - j * STEP) / _STEP, np.float32(yy - i * STEP) / _STEP
                    known = bilinear(sure[i, j], sure[i, j + 1], sure[i + 1, j], sure[i + 1, j + 1], s, t)
                    skin = likeness(under[yy, xx, 0], under[yy, xx, 1], under[yy, xx, 2], colours)
                    likely[yy, xx] = max(skin, known)
                like += (u if k % 2 else _ONE - u) * (v if k > 1 else _ONE - v) * likely[yy, xx]
            for c in range(3):
                value = bilinear(under[y, x, c], under[y, right, c], under[below, x, c], under[below, right, c], u, v)
                bent[top + row, left + column, c] += edge * like * (value - bent[top + row, left + column, c])
