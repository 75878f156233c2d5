"""Skin's colours: `lipsync.render.skin` compiled."""

from __future__ import annotations

import cv2
import numpy as np

from lipsync.core.compiled import compiled
from lipsync.render.skin import BRIGHTER, DARKER, HUE, LEAST_SPREAD, SHADOW
from video.pyramid import half_gaussian, symmetric_filter

_HUE, _BRIGHTER, _DARKER, _SHADOW = (np.float32(v) for v in (HUE, BRIGHTER, DARKER, SHADOW))
_ZERO, _ONE, _TWO, _THREE, _DARK, _EDGE = (np.float32(v) for v in (0, 1, 2, 3, 0.02, 2.5))


def skin_colours(rgb: np.ndarray, face: np.ndarray) -> np.ndarray:
    """As `lipsync.render.skin.skin_colours`: (2,3) mean and spread of (h,w,3) colours where (h,w) `face` is 1."""
    limits, mean, spread = np.full((3, 2), [0.0, 1e9]), np.zeros(3), np.zeros(3)
    for _ in range(3):
        sums = np.zeros((3, 3))
        _colour_sums(rgb, face, limits, sums)
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
def skin_likeness(rgb, colours):  # pragma: no cover - compiled
    """As `lipsync.render.skin.skin_likeness`: (h,w) of (h,w,3). colours: of `skin_colours`."""
    out = np.empty(rgb.shape[:2], np.float32)
    for i in range(rgb.shape[0]):
        for j in range(rgb.shape[1]):
            out[i, j] = likeness(rgb[i, j, 0], rgb[i, j, 1], rgb[i, j, 2], colours)
    return out


@compiled
def likeness(red, green, blue, colours):  # pragma: no cover - compiled
    """`skin_likeness` of one colour."""
    light, first, second = _log_colours(red, green, blue)
    light -= colours[0, 0]
    wider = _HUE * (_ONE + _SHADOW * max(-light, _ZERO))
    bright = light / max(_THREE * colours[1, 0], _BRIGHTER) if light > 0 else light / _DARKER
    first, second = (
        (first - colours[0, 1]) / (wider * colours[1, 1]),
        (second - colours[0, 2]) / (wider * colours[1, 2]),
    )
    square = bright * bright
    x = min(max(_EDGE - _TWO * np.sqrt(square * square + first * first + second * second), _ZERO), _ONE)
    return x * x * (_THREE - _TWO * x)


@compiled
def _log_colours(red, green, blue):  # pragma: no cover - compiled
    """As `lipsync.render.skin.log_colours` of one colour."""
    red, green, blue = np.log(red + _DARK), np.log(green + _DARK), np.log(blue + _DARK)
    return (red + green + blue) / _THREE, red - green, green - blue


@compiled
def _colour_sums(rgb, face, limits, sums):  # pragma: no cover - compiled
    """Adds to (3,3) `sums` how many (first column), the sum and the squares of the `log_colours` (rows) of (h,w,3)
    where `face` is 1 and each lies within `limits` (3,2: middle, farthest)."""
    for i in range(rgb.shape[0]):
        for j in range(rgb.shape[1]):
            if face[i, j] > 0:
                logs = _log_colours(rgb[i, j, 0], rgb[i, j, 1], rgb[i, j, 2])
                near = True
                for k in range(3):
                    near &= abs(logs[k] - limits[k, 0]) <= limits[k, 1]
                for k in range(3):
                    if near:
                        sums[k, 0] += 1
                        sums[k, 1] += logs[k]
                        sums[k, 2] += np.float64(logs[k]) * logs[k]
