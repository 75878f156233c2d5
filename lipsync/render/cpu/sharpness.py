"""`lipsync.render.sharpness` by OpenCV's filters."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from lipsync.core.compiled import compiled
from lipsync.render.box import Box
from lipsync.render.cpu.grid import mix, zone_of
from lipsync.render.sharpness import BLURS, DETAILS, FINEST, LUMA, REBLUR, WIDEST
from video.pyramid import half_gaussian, symmetric_filter

_LUMA = np.array([LUMA], np.float32)


def as_sharp(
    over: np.ndarray, frame: np.ndarray, drawn: np.ndarray, filmed: np.ndarray, box: Box, slack: float
) -> np.ndarray:
    """As `lipsync.render.sharpness.as_sharp`, written into `over`. over, frame: (H,W,3); drawn, filmed: (h,w)
    coarse."""
    ours, theirs = (zone_of(m, over.shape) for m in (drawn, filmed))
    if ours is None or theirs is None:
        return over
    weight, their_weight = (z.fine(m[..., None])[..., 0] for z, m in ((ours, drawn), (theirs, filmed)))
    picture, grey = ours.cut(over), cv2.transform(theirs.cut(frame), _LUMA)
    here = picture
    for axes in ((1,), (0,), (0, 1)):
        wanted = _sharpness(grey, their_weight, axes)
        luma = cv2.transform(picture, _LUMA)
        picture = _filtered(picture, _amount(luma, weight, axes, wanted, slack, WIDEST * box.scale), axes)
    if picture is not here:
        mix(over[ours.pixels], picture, weight)
    return over


def _amount(
    grey: np.ndarray,
    weight: np.ndarray,
    axes: tuple[int, ...],
    wanted: float,
    slack: float,
    widest: float,
) -> float:
    """As in the reference, of (h,w)."""
    now = _sharpness(grey, weight, axes)
    if abs(now - wanted) <= slack * wanted:
        return 0.0
    blurs = tuple(widest * share for share in BLURS)
    tried, level = (blurs, wanted * (1 + slack)) if now > wanted else (DETAILS, wanted * (1 - slack))
    before = now
    for last, amount in pairwise(tried):
        found = _sharpness(_filtered(grey, amount, axes), weight, axes)
        if (found - level) * (before - level) <= 0:
            return last + (amount - last) * (before - level) / (before - found) if before != found else last
        before = found
    return tried[-1]


def _sharpness(grey: np.ndarray, weight: np.ndarray, axes: tuple[int, ...]) -> float:
    before, after = (sum(_edges(x, weight)[a] for a in axes) for x in (grey, _filtered(grey, REBLUR, axes)))
    return float(1 - (after / max(before, 1e-9)) ** 0.5)


@compiled
def _edges(grey, weight):  # pragma: no cover - compiled
    """Weighted squares of the differences along columns and along rows, summed."""
    height, width = grey.shape
    down = across = 0.0
    for y in range(height):
        along = below = np.float32(0)
        for x in range(width - 1):
            step = grey[y, x + 1] - grey[y, x]
            along += weight[y, x + 1] * step * step
        if y:
            for x in range(width):
                step = grey[y, x] - grey[y - 1, x]
                below += weight[y, x] * step * step
        across += along
        down += below
    return down, across


def _filtered(picture: np.ndarray, amount: float, axes: tuple[int, ...]) -> np.ndarray:
    if amount == 0:
        return picture
    soft = symmetric_filter(picture, half_gaussian(amount if amount > 0 else FINEST), axes)
    return soft if amount > 0 else picture - np.float32(amount) * (picture - soft)
