"""How far drawing a mouth reaches in the frame."""

from __future__ import annotations

import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import apply, magnification
from lipsync.core.types import MouthSpace
from lipsync.render.box import STEP
from lipsync.render.flaws import THUMB_BOX, THUMB_SCALE
from lipsync.render.plan import PlannedFaces
from lipsync.render.region import CHEEKS, CHIN

_BESIDE = 16  # pixels that filters reach


def drawn_within(
    faces: PlannedFaces, space: MouthSpace, rows: np.ndarray, config: CompositeConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(2,) int64 first and last pixels (x, y) of a box around all that compositing, texture methods and the search for
    flaws touch in these rows; it may reach beyond the frame."""
    jaw = faces.jaw[rows, CHIN].reshape(-1, 2)
    crop = np.array([[0, 0], [space.width, space.height]]) / space.scale + [space.left, space.top]
    lower, upper = (jaw + np.array([0, move]) for move in (config.jaw_limit, -config.jaw_limit))
    points = np.concatenate([lower, upper, CHEEKS.numpy(), crop, THUMB_BOX])
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    place = faces.pixel_from_face[rows]
    corners = apply(place, np.broadcast_to(np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]), (len(rows), 4, 2)))
    scale = float(magnification(place).max())
    margin = scale * (config.jaw_reach + 0.02) + 2 * scale / THUMB_SCALE + STEP + _BESIDE
    low, high = corners.min((0, 1)) - margin, corners.max((0, 1)) + margin
    return np.floor(low).astype(np.int64), np.ceil(high).astype(np.int64)
