"""What varies slowly, at every node of the coarse grid in one pass: `region`, `jaw.Spread` and the jaw's moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.types import MouthSpace
from lipsync.render.box import Box
from lipsync.render.cpu.compiled import compiled
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
    place, step = box.face_from_pixel[0].numpy().astype(np.float64), box.step
    corner = [[step, 0, float(box.left[0]) + 0.5], [0, step, float(box.top[0]) + 0.5], [0, 0, 1]]
    place = (place @ corner)[:2].astype(np.float32)
    shape = (-(-box.height // step) + 1, -(-box.width // step) + 1)
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
        1 / (2 * SMOOTH**2),
        LIPS_STAY,
        BELOW_NOSE,
        space.scale,
        space.left,
        space.top,
    )
    points = np.ascontiguousarray(np.concatenate([jaw[CHIN], moved[CHIN], to_jaw[CHIN]], 1), np.float32)
    _fill(planes, at, place, polygons, counts, points, np.array(numbers, np.float32))
    depth, down, mask, support, beyond, beside, drawn, filmed = planes
    return Fields(depth, down, at, mask, support, beyond, beside, drawn, filmed)


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
def _fill(planes, at, face, polygons, counts, points, numbers):  # pragma: no cover - compiled
    margin, lip_edge, softness, inward, reach, narrow, stay, nose, scale, left, top = numbers
    rows, columns = planes.shape[1:]
    x, y = np.empty(columns, np.float32), np.empty(columns, np.float32)
    share = np.empty(len(points), np.float32)
    off = np.empty((4, columns), np.float32)
    half = softness / _TWO
    for i in range(rows):
        for j in range(columns):
            x[j] = face[0, 0] * np.float32(j) + face[0, 1] * np.float32(i) + face[0, 2]
            y[j] = face[1, 0] * np.float32(j) + face[1, 1] * np.float32(i) + face[1, 2]
        for p in range(4):
            _inside(polygons[p, : counts[p]], x, y, off[p])
        for j in range(columns):
            depth, off_new, off_old, side = off[0, j], -off[1, j], -off[2, j], off[3, j]
            far = depth / inward if depth > _ZERO else depth / reach
            fade = max(_ONE - far * far, _ZERO)
            down = along_x = along_y = _ZERO
            if fade > _ZERO:
                down, along_x, along_y = _spread(points, share, x[j], y[j], narrow)
                fade *= fade
                down, along_x, along_y = fade * down, fade * along_x, fade * along_y
            beyond = min(off_new, off_old) - margin
            free = soft_step(off_new / stay)
            at[i, j, 0] = scale * (x[j] - along_x * free - left)
            at[i, j, 1] = scale * (y[j] - along_y * free - top)
            planes[0, i, j] = depth
            planes[1, i, j] = down
            planes[2, i, j] = max(soft_step(side / softness), soft_step(_ONE - beyond / lip_edge))
            planes[3, i, j] = max(soft_step(_ONE + side / half), soft_step(_ONE - (beyond - lip_edge) / half))
            planes[4, i, j] = beyond
            planes[5, i, j] = _ONE if (beyond > _ZERO) & (y[j] > nose) else _ZERO
            planes[6, i, j] = soft_step(np.float32(1.5) - off_new / (_TWO * margin))
            planes[7, i, j] = soft_step(np.float32(1.5) - off_old / (_TWO * margin))


@compiled
def _spread(points, share, x, y, narrow):  # pragma: no cover - compiled
    """How far down the skin here goes, and (x, y) of the drawn chin's move: means over the jaw's points."""
    nearest, total = np.float32(1e12), _ZERO
    for k in range(len(points)):
        dx, dy = x - points[k, 0], y - points[k, 1]
        share[k] = (dx * dx + dy * dy) * narrow
        nearest = min(nearest, share[k])
    down = along_x = along_y = _ZERO
    for k in range(len(points)):
        weight = np.exp(nearest - share[k])
        total += weight
        down += weight * points[k, 3]
        along_x += weight * points[k, 4]
        along_y += weight * points[k, 5]
    return down / total, along_x / total, along_y / total
