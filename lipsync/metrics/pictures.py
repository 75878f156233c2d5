"""Picture against picture, in numbers; pictures are (H,W,3) uint8 RGB unless a function says otherwise.

CPBD (Narvekar and Karam 2011) is left out: it counts edges in blocks of 64 x 64 pixels, and a mouth is often less than
one block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lipsync.core.geometry import apply

if TYPE_CHECKING:
    from torch import Tensor

#: The mouth region of the picture measures, in the face frame (eye distances): left, top, right, bottom.
MOUTH_REGION = (-0.5, -0.25, 0.5, 0.5)
#: Best PSNR reported, dB: equal pictures.
PSNR_CAP = 100.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def region_box(pixel_from_face: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """(rows, columns) of the mouth region in a picture: the upright box around it, inside the picture."""
    left, top, right, bottom = MOUTH_REGION
    corners = apply(pixel_from_face, np.array([[left, top], [right, top], [right, bottom], [left, bottom]]))
    low = np.clip(np.floor(corners.min(0)), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, [width, height]).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def face_box(landmarks: np.ndarray, height: int, width: int, margin: float = 0.1) -> tuple[slice, slice]:
    """(rows, columns) of the upright box around (68,2) landmarks, `margin` of its larger side wider on every side,
    inside the picture."""
    low, high = landmarks.min(0), landmarks.max(0)
    wider = margin * (high - low).max()
    low = np.clip(np.floor(low - wider), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(high + wider), 0, [width, height]).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H,W) float32 in 0..255 (BT.601 weights) of (H,W,3)."""
    return rgb.astype(np.float32) @ _LUMA


def luma_change(real: np.ndarray, ours: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference of the luma of two (H,W,3) pictures where (H,W) bool `where` is, grey levels; 0 where it
    is nowhere."""
    change = np.abs(luma(ours) - luma(real))[where]
    return float(change.mean()) if change.size else 0.0


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all channels of two uint8 pictures, dB, at most PSNR_CAP."""
    error = float(((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean())
    return PSNR_CAP if error == 0 else min(PSNR_CAP, 10 * np.log10(255.0**2 / error))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """(B,) structural similarity (Wang et al. 2004) of torch pictures (B,C,H,W) in [0, 1], computed where the input
    lives.

    11 x 11 Gaussian window of sigma 1.5, mean over channels and over all windows that lie fully inside the picture."""
    import torch
    from torch.nn.functional import conv2d

    if min(a.shape[-2:]) < 11 or a.shape != b.shape:
        raise ValueError(f"ssim: pictures of equal shape, at least 11 x 11, got {tuple(a.shape)} and {tuple(b.shape)}")
    n_channels = a.shape[1]
    tap = torch.exp(-((torch.arange(11, dtype=a.dtype, device=a.device) - 5) ** 2) / (2 * 1.5**2))
    tap = (tap / tap.sum()).expand(n_channels, 1, 1, 11)

    def mean(x: Tensor) -> Tensor:
        return conv2d(conv2d(x, tap, groups=n_channels), tap.transpose(2, 3), groups=n_channels)

    return ssim_map(a, b, mean).mean((1, 2, 3))


def ssim_luma(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of the luma of two (H,W,3) uint8 pictures: what `ssim` gives, some twenty times faster on a CPU."""
    import cv2

    tap = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    tap = (tap / tap.sum()).astype(np.float32)
    if min(a.shape[:2]) < 11 or a.shape != b.shape:
        raise ValueError(f"ssim_luma: pictures of equal shape, at least 11 x 11, got {a.shape} and {b.shape}")

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(x, cv2.CV_32F, tap, tap)[5:-5, 5:-5]

    return float(ssim_map(luma(a) / 255, luma(b) / 255, mean).mean(dtype=np.float64))


def ssim_map(a: Any, b: Any, mean: Callable[[Any], Any]) -> Any:
    """The structural similarity in every window (Wang et al. 2004, K = 0.01 and 0.03) of pictures in [0, 1], numpy or
    torch; `mean`: the windows' weighted means of a picture."""
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def sharpness(rgb: np.ndarray) -> float:
    """Variance of the Laplacian (4 neighbours) of the luma of an (H,W,3) picture, without its border; grey levels
    squared."""
    y = luma(rgb)
    laplacian = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * y[1:-1, 1:-1]
    return float(laplacian.var())


def laplacian_variance(grey: np.ndarray) -> float:
    """The same of (H,W) uint8 brightness in whole grey levels, its border mirrored."""
    import cv2

    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def flicker(before: np.ndarray, after: np.ndarray, margin: int = 0) -> float:
    """What optical flow cannot explain between neighbouring frames: mean |after - before moved along the flow|, grey
    levels.

    before, after: (H,W,3) uint8 of the same region; `margin` pixels at the border help the flow but are not counted.
    """
    import cv2

    from video.flow import flow

    back = flow(after, before)
    x, y = np.meshgrid(np.arange(back.shape[1], dtype=np.float32), np.arange(back.shape[0], dtype=np.float32))
    moved = cv2.remap(
        before, np.add(x, back[..., 0]), np.add(y, back[..., 1]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    residual = np.abs(moved.astype(np.float32) - after).mean(2)
    inner = residual[margin : residual.shape[0] - margin, margin : residual.shape[1] - margin]
    return float((inner if inner.size else residual).mean())


def seam(rgb: np.ndarray, mask: np.ndarray, reach_px: float = 2.0) -> tuple[float, float]:
    """(colour step, gradient step) across the border of (H,W) bool `mask`, grey levels; divide by the real frame's.

    Colour: mean RGB distance between points `reach_px` inside and outside, along the border's normal. Gradient: mean
    difference between the luma gradients (grey levels per pixel) at the same points. (0, 0) where the mask has no
    border."""
    step = _border_steps(rgb, mask, reach_px)[1]
    if not len(step):
        return 0.0, 0.0
    return float(np.linalg.norm(step[:, :3], axis=1).mean()), float(np.linalg.norm(step[:, 3:], axis=1).mean())


def colour_step(real: np.ndarray, drawn: np.ndarray, mask: np.ndarray, reach_px: float = 2.0) -> float:
    """By how much more or less the colour steps across the border of (H,W) bool `mask` as drawn than as filmed, grey
    levels: RGB distance, of the means over 16 sectors around the region's middle, so that noise does not count. 0
    where the mask has no border."""
    at, steps = _border_steps(drawn, mask, reach_px)
    if not len(steps):
        return 0.0
    more = (steps - _border_steps(real, mask, reach_px)[1])[:, :3]
    away = at - at.mean(0)
    sector = ((np.arctan2(away[:, 1], away[:, 0]) / (2 * np.pi) % 1) * 16).astype(int)
    return float(np.mean([np.linalg.norm(more[sector == k].mean(0)) for k in np.unique(sector)]))


def _border_steps(rgb: np.ndarray, mask: np.ndarray, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,2) pixel positions along the border of the mask, and (N,5) what is inside minus what is outside there: RGB and
    the luma's gradient."""
    import cv2

    if not (mask.any() and (~mask).any()):
        return np.zeros((0, 2)), np.zeros((0, 5))
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    signed = cv2.GaussianBlur(np.where(mask, inside - 0.5, 0.5 - outside).astype(np.float32), (0, 0), 1.0)
    rows, columns = np.nonzero(np.abs(np.where(mask, inside, outside)) <= 1.0)
    normal_y, normal_x = np.gradient(signed)
    normal = np.stack([normal_x, normal_y], -1)[rows, columns]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    at = np.stack([columns, rows], 1) - signed[rows, columns, None] * normal
    layers = np.dstack([rgb.astype(np.float32), *np.gradient(luma(rgb))]).astype(np.float32)

    def fetched(points: np.ndarray) -> np.ndarray:
        columns, rows = points.astype(np.float32).T[:, None]
        planes = [np.ascontiguousarray(layers[..., k]) for k in range(5)]
        found = [cv2.remap(p, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0] for p in planes]
        return np.stack(found, 1)

    return at, fetched(at + reach_px * normal) - fetched(at - reach_px * normal)


def displacement(before: np.ndarray, after: np.ndarray, where: np.ndarray, window_px: int = 15) -> float:
    """By how many pixels what (H,W,3) uint8 `before` shows `where` (H,W bool) has moved in `after`, at its worst.

    One step of Lucas and Kanade (1981) on windows of the luma that have structure in both directions or one: along an
    edge nothing is seen, across it the move is. Good below a pixel or two; larger moves come out large, too. 0 where
    the pictures are equal. Pixels outside `where` are not looked at."""
    import cv2

    a, b = luma(before), luma(after)
    mean = cv2.GaussianBlur((a + b) / 2, (0, 0), 1.0)
    change = cv2.GaussianBlur(a - b, (0, 0), 1.0)
    y, x = np.gradient(mean)
    weight = where.astype(np.float32)

    def summed(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values * weight, cv2.CV_32F, (window_px, window_px), normalize=False)

    xx, xy, yy, xc, yc = (summed(v) for v in (x * x, x * y, y * y, x * change, y * change))
    # directions without structure are held still: grey levels squared, over the window
    still = 4.0 * window_px**2
    xx, yy = xx + still, yy + still
    inverse = 1 / (xx * yy - xy * xy)
    moved = np.hypot((yy * xc - xy * yc) * inverse, (xx * yc - xy * xc) * inverse)
    seen = where & (np.maximum(xx, yy) > 10 * still)
    return float(moved[seen].max(initial=0.0))


def edge_sharpness(rgb: np.ndarray, where: np.ndarray, sigma_px: float = 1.5) -> float:
    """How sharp the edges `where` (H,W bool) of an (H,W,3) uint8 picture are, from 0 (soft) to 1 (nothing but finest
    detail): what a further Gaussian blur of `sigma_px` takes from the gradients' energy (after Crete et al. 2007).

    The strength of the edges cancels, so that an open and a closed mouth compare. 0 where nothing is to be seen."""
    import cv2

    y = luma(rgb)
    soft = cv2.GaussianBlur(y, (0, 0), sigma_px)
    before, after = (
        np.square(np.diff(v, axis=0))[where[1:]].sum(dtype=np.float64)
        + np.square(np.diff(v, axis=1))[where[:, 1:]].sum(dtype=np.float64)
        for v in (y, soft)
    )
    return float(1 - np.sqrt(after / before)) if before > 0 else 0.0
