"""What varies slowly, at every node of the coarse grid in one pass: `region`, `jaw.Spread` and the jaw's moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.compiled import compiled
from lipsync.core.types import MouthSpace
from lipsync.render.box import STEP, Box
from lipsync.render.jaw import SMOOTH
from lipsync.render.region import BELOW_NOSE, CHIN, LIP_EDGE, LIPS_STAY, OUTER_LIPS
from lipsync.render.shapes import Shapes

_ZERO, _ONE, _TWO, _THREE = (np.float32(n) for n in range(4))


class Fields(NamedTuple):
    """(h,w) float32 each. depth: how far inside the moved jaw line, eye distances; down: the skin's move, eye
    distances; at: (h,w,2) pixels of the mouth texture; mask, support: the blend region; beyond: how far outside both
    mouths and their margin; beside: 1 where skin colours may be learnt; drawn, filmed: where the two mouths are."""

    depth: np.ndarray
    down: np.ndarray
    at: np.ndarray
    mask: np.ndarray
    support: np.ndarray
    beyond: np.ndarray
    beside: np.ndarray
    drawn: np.ndarray
    filmed: np.ndarray


def fields_of(box: Box, shapes: Shapes, drawn_jaw: np.ndarray, space: MouthSpace, config: CompositeConfig) -> Fields:
    """At the box's nodes, of one row's shapes. drawn_jaw: (17,2) of the mouth texture, face frame."""
    jaw, moved, lips, own, region = (
        a[0].numpy() for a in (shapes.jaw, shapes.moved, shapes.lips, shapes.own_lips, shapes.region)
    )
    to_jaw = (jaw - drawn_jaw).clip(-config.jaw_limit, config.jaw_limit)
    corner = [[STEP, 0, float(box.left[0]) + 0.5], [0, STEP, float(box.top[0]) + 0.5], [0, 0, 1]]
    place = (box.face_from_pixel[0].numpy().astype(np.float64) @ corner)[:2].astype(np.float32)
    shape = (-(-box.height // STEP) + 1, -(-box.width // STEP) + 1)
    planes, at = np.empty((8, *shape), np.float32), np.empty((*shape, 2), np.float32)
    polygons, counts = np.zeros((4, len(jaw), 2), np.float32), np.empty(4, np.int64)
    for k, polygon in enumerate((jaw, lips[OUTER_LIPS], own[OUTER_LIPS], region)):
        polygons[k, : len(polygon)], counts[k] = polygon, len(polygon)
    numbers = (
        config.lip_margin,
        LIP_EDGE,
        config.softness,
        config.jaw_inward,
        config.jaw_reach,
        LIPS_STAY,
        BELOW_NOSE,
        space.scale,
        space.left,
        space.top,
    )
    moves = np.column_stack([moved[CHIN, 1], to_jaw[CHIN]])
    _fill(planes, at, place, polygons, counts, *_shares(jaw[CHIN], place, shape), moves, np.array(numbers, np.float32))
    depth, down, mask, support, beyond, beside, drawn, filmed = planes
    return Fields(depth, down, at, mask, support, beyond, beside, drawn, filmed)


def _shares(jaw: np.ndarray, face_from_node: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(P,h) and (P,w) float64 whose products are how much each of P jaw points counts at each node (`jaw.Spread`): a
    Gaussian of the distance, but for a factor that all points share, has no term of row and column together."""
    jaw, place = jaw.astype(np.float64), face_from_node.astype(np.float64)
    across, down, first = (jaw @ place).T / SMOOTH**2
    middle = [(n - 1) / 2 for n in shape]
    first = first + down * middle[0] + across * middle[1] - (jaw**2).sum(1) / (2 * SMOOTH**2)
    rows, columns = (np.arange(n) - m for n, m in zip(shape, middle, strict=True))
    return np.exp(first[:, None] + down[:, None] * rows), np.exp(across[:, None] * columns)


@compiled
def _inside(polygon, x, y, out):  # pragma: no cover - compiled
    """Writes the signed distance of points (n,) to the edge of a polygon (N,2), positive inside."""
    n = len(x)
    sign = np.empty(n, np.float32)
    for k in range(n):
        out[k], sign[k] = np.float32(1e12), -_ONE
    for e in range(len(polygon)):
        (ax, ay), (bx, by) = polygon[e], polygon[(e + 1) % len(polygon)]
        ex, ey = bx - ax, by - ay
        inverse = _ONE / max(ex * ex + ey * ey, np.float32(1e-12))
        for k in range(n):
            rx, ry = x[k] - ax, y[k] - ay
            t = min(max((rx * ex + ry * ey) * inverse, _ZERO), _ONE)
            dx, dy = rx - t * ex, ry - t * ey
            out[k] = min(out[k], dx * dx + dy * dy)
            crosses = ((ay > y[k]) != (by > y[k])) & ((rx * ey < ex * ry) != (ey < _ZERO))
            sign[k] = -sign[k] if crosses else sign[k]
    for k in range(n):
        out[k] = sign[k] * np.sqrt(out[k])


@compiled
def soft_step(x):  # pragma: no cover - compiled
    """As `lipsync.core.lips.soft_step`."""
    x = min(max(x, _ZERO), _ONE)
    return x * x * (_THREE - _TWO * x)


@compiled
def _fill(planes, at, face, polygons, counts, by_row, by_column, moves, numbers):  # pragma: no cover - compiled
    margin, lip_edge, softness, inward, reach, stay, nose, scale, left, top = numbers
    rows, columns = planes.shape[1:]
    x, y = np.empty(columns, np.float32), np.empty(columns, np.float32)
    off, spread = np.empty((4, columns), np.float32), np.empty((4, columns))
    half = softness / _TWO
    for i in range(rows):
        for j in range(columns):
            x[j] = face[0, 0] * np.float32(j) + face[0, 1] * np.float32(i) + face[0, 2]
            y[j] = face[1, 0] * np.float32(j) + face[1, 1] * np.float32(i) + face[1, 2]
        for p in range(4):
            _inside(polygons[p, : counts[p]], x, y, off[p])
        spread[:] = 0
        for p in range(len(moves)):
            for j in range(columns):
                weight = by_row[p, i] * by_column[p, j]
                spread[0, j] += weight
                for k in range(3):
                    spread[k + 1, j] += weight * moves[p, k]
        for j in range(columns):
            depth, off_new, off_old, side = off[0, j], -off[1, j], -off[2, j], off[3, j]
            far = depth / inward if depth > _ZERO else depth / reach
            fade = max(_ONE - far * far, _ZERO)
            share = fade * fade / spread[0, j]  # in double precision: the weights' range is wide
            beyond = min(off_new, off_old) - margin
            free = soft_step(off_new / stay)
            at[i, j, 0] = scale * (x[j] - np.float32(share * spread[2, j]) * free - left)
            at[i, j, 1] = scale * (y[j] - np.float32(share * spread[3, j]) * free - top)
            planes[0, i, j] = depth
            planes[1, i, j] = share * spread[1, j]
            planes[2, i, j] = max(soft_step(side / softness), soft_step(_ONE - beyond / lip_edge))
            planes[3, i, j] = max(soft_step(_ONE + side / half), soft_step(_ONE - (beyond - lip_edge) / half))
            planes[4, i, j] = beyond
            planes[5, i, j] = _ONE if (beyond > _ZERO) & (y[j] > nose) else _ZERO
            planes[6, i, j] = soft_step(np.float32(1.5) - off_new / (_TWO * margin))
            planes[7, i, j] = soft_step(np.float32(1.5) - off_old / (_TWO * margin))
