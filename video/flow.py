"""Optical flow between neighbouring frames, and the picture half way between them."""

from __future__ import annotations

from typing import Any

import numpy as np

_SIDE = 960  # pixels


def flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H,W,2) float32: what is at (x, y) in `a` is at (x + u, y + v) in `b`, in pixels.

    a, b: (3,H,W) or (H,W,3) uint8 RGB, numpy or torch. Dense inverse search (Kroeger et al. 2016).
    """
    return _flow(_grey(_rows(a)), _grey(_rows(b)))


def half_step(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The frame half way in time between uint8 RGB frames `a` and `b`, same layout and type (numpy) as `a`.

    Each frame is warped half its flow towards the other, and the two are averaged. The flow is that of the frames at
    up to `_SIDE` pixels: it is smooth, and costs a quarter.
    """
    import cv2

    channels_first = a.shape[0] == 3 and a.shape[-1] != 3
    a, b = _rows(a), _rows(b)
    if np.array_equal(a, b):
        middle = a.copy()
    else:
        small_a, small_b = _small(_grey(a)), _small(_grey(b))
        forward, backward = (_flow(*pair, coarse=True) for pair in ((small_a, small_b), (small_b, small_a)))
        middle = cv2.addWeighted(_pulled(a, backward), 0.5, _pulled(b, forward), 0.5, 0)
    return np.stack(cv2.split(middle)) if channels_first else middle


def _small(grey: np.ndarray) -> np.ndarray:
    """The picture made smaller by a whole number, its longer side at most `_SIDE` pixels."""
    import cv2

    by = -(-max(grey.shape) // _SIDE)
    size = max(1, grey.shape[1] // by), max(1, grey.shape[0] // by)
    return grey if by == 1 else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _pulled(picture: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """`picture` as seen half way: each pixel fetched from half of `towards` away, which may be of a smaller picture."""
    import cv2

    height, width = picture.shape[:2]
    per_pixel = np.array([width / towards.shape[1], height / towards.shape[0]], np.float32)
    at = cv2.resize(towards, (width, height), interpolation=cv2.INTER_LINEAR) * (0.5 * per_pixel)
    at[..., 0] += np.arange(width, dtype=np.float32)
    at[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(picture, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore


def _flow(a: np.ndarray, b: np.ndarray, coarse: bool = False) -> np.ndarray:
    import cv2

    if min(a.shape) < 32:  # smaller than the search's coarsest patch
        pad = [(0, max(0, 32 - n)) for n in a.shape]
        return _flow(np.pad(a, pad, "edge"), np.pad(b, pad, "edge"), coarse)[: a.shape[0], : a.shape[1]]
    how = cv2.DISOPTICAL_FLOW_PRESET_FAST if coarse else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    search: Any = cv2.DISOpticalFlow.create(how)
    search.setFinestScale(1)  # as MEDIUM has it: pictures of half the size
    return search.calc(np.ascontiguousarray(a), np.ascontiguousarray(b), None)


def _rows(picture) -> np.ndarray:
    """(H,W,3) from either layout."""
    import cv2

    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.dtype != np.uint8 or 3 not in (picture.shape[0], picture.shape[2]):
        raise ValueError(f"flow wants (3,H,W) or (H,W,3) uint8, got {picture.shape} {picture.dtype}")
    return picture if picture.shape[2] == 3 else cv2.merge(list(picture))


def _grey(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
