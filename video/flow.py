"""Optical flow between neighbouring frames, and the picture half way between them."""

from __future__ import annotations

import re
from typing import Any

import av
import numpy as np
from av.codec.codec import find_best_pix_fmt_of_list

from video.colour import SCALING, passed, rows_of

_SIDE = 960  # pixels
#: Formats whose samples are drawn as they lie: one plane for each of Y, Cb, Cr (or R, G, B) and alpha.
_PLANAR = re.compile(r"(yuvj?|yuva)4\d\dp(1\dle|9le)?|gray(1\dle|9le)?|gbra?p(1\dle|9le)?")
#: What all others become.
_OTHERS = [f"yuv{n}p{deep}" for n in (420, 422, 444) for deep in ("", "10le", "12le", "16le")]
_OTHERS += ["gbrp", "gbrap", "gbrp10le", "gbrp12le", "gbrp16le", "gray", "gray16le"]


def flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H,W,2) float32: what is at (x, y) in `a` is at (x + u, y + v) in `b`, in pixels.

    a, b: (3,H,W) or (H,W,3) uint8 RGB, numpy or torch. Dense inverse search (Kroeger et al. 2016).
    """
    return _flow(_grey(a), _grey(b))


def half_step(a: av.VideoFrame, b: av.VideoFrame) -> av.VideoFrame:
    """The frame half way in time between two decoded ones, in the samples of `a`, with its side data.

    Each frame is warped half its flow towards the other, and the two are averaged. The flow is that of the frames at
    up to `_SIDE` pixels and without its last refinement: it is smooth, and costs a sixth.
    """
    a = _planar(a)
    if (b.format.name, b.width, b.height) != (a.format.name, a.width, a.height):
        b = b.reformat(a.width, a.height, a.format.name, interpolation=SCALING)
    ours, theirs = _planes(a), _planes(b)
    if all(map(np.array_equal, ours, theirs)):
        return a
    small = [_small(_brightness(frame, planes)) for frame, planes in ((a, ours), (b, theirs))]
    flows = [_flow(*pair, coarse=True) for pair in ((small[1], small[0]), (small[0], small[1]))]
    out = passed(a, "null")
    out.make_writable()
    maps: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
    for target, *pair in zip(_planes(out), ours, theirs, strict=True):
        if target.shape not in maps:
            maps[target.shape] = [_half_way(towards, *target.shape) for towards in flows]
        target[:] = _averaged(*map(_pulled, pair, maps[target.shape]))
    return out


def _planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame, in a format whose planes can be drawn into."""
    name = frame.format.name
    if _PLANAR.fullmatch(name):
        return frame
    best, _ = find_best_pix_fmt_of_list(_OTHERS, name, False)
    return frame.reformat(format="yuv420p" if best is None else best.name, interpolation=SCALING)


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Views of a planar frame's samples."""
    kind = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [rows_of(frame, k, kind)[:, : plane.width] for k, plane in enumerate(frame.planes)]


def _brightness(frame: av.VideoFrame, planes: list[np.ndarray]) -> np.ndarray:
    """(H,W) uint8: Y, or of RGB green, which is stored first."""
    bits = frame.format.components[0].bits
    return planes[0] if bits == 8 else (planes[0] >> (bits - 8)).astype(np.uint8)


def _small(grey: np.ndarray) -> np.ndarray:
    """The picture made smaller by a whole number, its longer side at most `_SIDE` pixels."""
    import cv2

    by = -(-max(grey.shape) // _SIDE)
    size = max(1, grey.shape[1] // by), max(1, grey.shape[0] // by)
    return grey if by == 1 else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def _half_way(towards: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's maps of a picture of this size as seen half way: each pixel is fetched from half of `towards` away,
    which may be of a picture of another size."""
    import cv2

    places: list[np.ndarray] = []
    for k, n in enumerate((width, height)):
        move = np.ascontiguousarray(towards[..., k]) * np.float32(0.5 * n / towards.shape[1 - k])
        at = move if move.shape == (height, width) else cv2.resize(move, (width, height))
        at += np.arange(n, dtype=np.float32)[None if k == 0 else slice(None), None if k else slice(None)]
        places.append(at)
    across, down = places
    return cv2.convertMaps(across, down, cv2.CV_16SC2)


def _pulled(plane: np.ndarray, maps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    import cv2

    return cv2.remap(plane, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _averaged(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.addWeighted(a, 0.5, b, 0.5, 0)


def _flow(a: np.ndarray, b: np.ndarray, coarse: bool = False) -> np.ndarray:
    import cv2

    if min(a.shape) < 32:  # smaller than the search's coarsest patch
        pad = [(0, max(0, 32 - n)) for n in a.shape]
        return _flow(np.pad(a, pad, "edge"), np.pad(b, pad, "edge"), coarse)[: a.shape[0], : a.shape[1]]
    how = cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST if coarse else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    search: Any = cv2.DISOpticalFlow.create(how)
    search.setFinestScale(1)  # as MEDIUM has it: pictures of half the size
    return search.calc(np.ascontiguousarray(a), np.ascontiguousarray(b), None)


def _grey(picture: Any) -> np.ndarray:
    """(H,W) uint8 of either layout."""
    import cv2

    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.dtype != np.uint8 or 3 not in (picture.shape[0], picture.shape[2]):
        raise ValueError(f"flow wants (3,H,W) or (H,W,3) uint8, got {picture.shape} {picture.dtype}")
    return cv2.cvtColor(picture if picture.shape[2] == 3 else cv2.merge(list(picture)), cv2.COLOR_RGB2GRAY)
