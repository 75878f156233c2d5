"""Optical flow between neighbouring frames, and the picture half way between them."""

from __future__ import annotations

from typing import Any

import numpy as np


def flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H,W,2) float32: what is at (x, y) in `a` is at (x + u, y + v) in `b`, in pixels.

    a, b: (3,H,W) or (H,W,3) uint8 RGB, numpy or torch. Dense inverse search (Kroeger et al. 2016).
    """
    return _flow(_grey(_rows(a)), _grey(_rows(b)))


def half_step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The frame half way in time between uint8 RGB frames `a` and `b`, same layout and type (numpy) as `a`.

    Each frame is warped half its flow towards the other, and the two are averaged.
    """
    import cv2

    channels_first = a.shape[0] == 3 and a.shape[-1] != 3
    a, b = _rows(a), _rows(b)
    if np.array_equal(a, b):
        middle = a.copy()
    else:
        grey_a, grey_b = _grey(a), _grey(b)
        forward, backward = _flow(grey_a, grey_b), _flow(grey_b, grey_a)
        middle = cv2.addWeighted(_pulled(a, backward), 0.5, _pulled(b, forward), 0.5, 0)
    return np.ascontiguousarray(middle.transpose(2, 0, 1)) if channels_first else middle


def _pulled(picture: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """`picture` as seen half way: each pixel fetched from half of `towards` away."""
    import cv2

    height, width = towards.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    half = 0.5 * towards
    return cv2.remap(picture, x + half[..., 0], y + half[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import cv2

    if min(a.shape) < 32:  # smaller than the search's coarsest patch
        pad = [(0, max(0, 32 - n)) for n in a.shape]
        return _flow(np.pad(a, pad, "edge"), np.pad(b, pad, "edge"))[: a.shape[0], : a.shape[1]]
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(np.ascontiguousarray(a), np.ascontiguousarray(b), None)


def _rows(picture) -> np.ndarray:
    """(H,W,3) from either layout."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.dtype != np.uint8 or 3 not in (picture.shape[0], picture.shape[2]):
        raise ValueError(f"flow wants (3,H,W) or (H,W,3) uint8, got {picture.shape} {picture.dtype}")
    return picture if picture.shape[2] == 3 else np.ascontiguousarray(picture.transpose(1, 2, 0))


def _grey(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
