"""The only conversions between pixel, face and mouth frames: points, pictures, and the fit between point sets.

Pixel rule, everywhere: the origin is the corner of the first pixel, the centre of (row r, column c) is (c + 0.5, r +
0.5). Transforms are 3x3 matrices named a_from_b, batch first; numpy for points, torch for pictures (cv2 for one uint8
frame)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from lipsync.core.arrays import Array
from lipsync.core.types import MouthSpace

if TYPE_CHECKING:
    from torch import Tensor

#: What a mouth crop shows, in eye distances: from the nose base to below the chin (at y = +0.505), both mouth sides
#: inside.
MOUTH_LEFT, MOUTH_RIGHT, MOUTH_TOP, MOUTH_BOTTOM = -0.72, 0.72, -0.42, 0.72
#: Half of a pixel: moves between our corner origin and cv2's centre origin.
_CENTRE = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
_UNCENTRE = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])


@overload
def apply(matrix: Array, points: Array) -> Array: ...
@overload
def apply(matrix: Tensor, points: Tensor) -> Tensor: ...
def apply(matrix: Any, points: Any) -> Any:
    """(...,n,2) points moved by affine (...,3,3) matrices; leading shapes broadcast. numpy or torch, the kind of
    `points` is kept."""
    linear, shift = matrix[..., :2, :2], matrix[..., None, :2, 2]
    moved = points @ linear.swapaxes(-1, -2) + shift
    if isinstance(moved, np.ndarray):
        return moved.astype(points.dtype, copy=False)
    return moved.to(points.dtype)


def similarity_fit(a: Array, b: Array, weights: Array | None = None) -> Array:
    """(...,3,3) float64 `a_from_b`: the rotation, scale and shift that bring points b nearest to points a (Umeyama
    1991).

    a, b: (...,n,2), leading shapes broadcast; weights: (...,n) >= 0 or None. Never mirrors. Points of b that coincide
    give scale 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    w = np.ones(a.shape[:-1]) if weights is None else np.broadcast_to(np.asarray(weights, np.float64), a.shape[:-1])
    w = (w / np.maximum(w.sum(-1, keepdims=True), 1e-300))[..., None]
    mean_a, mean_b = (w * a).sum(-2), (w * b).sum(-2)
    da, db = a - mean_a[..., None, :], b - mean_b[..., None, :]
    # As complex numbers the best factor is <b, a> / <b, b>: rotation and scale in one, no singular values needed in the
    # plane.
    norm = np.maximum((w * db * db).sum((-1, -2)), 1e-300)
    real = (w * (da * db)).sum((-1, -2)) / norm
    imag = (w[..., 0] * (da[..., 1] * db[..., 0] - da[..., 0] * db[..., 1])).sum(-1) / norm
    out = np.zeros((*real.shape, 3, 3))
    out[..., 0, 0], out[..., 0, 1], out[..., 1, 0], out[..., 1, 1], out[..., 2, 2] = real, -imag, imag, real, 1
    out[..., :2, 2] = mean_a - (out[..., :2, :2] @ mean_b[..., None])[..., 0]
    return out


def mouth_space(eye_distance_px: float) -> MouthSpace:
    """The mouth crop at native resolution for a face whose eye distance is this many pixels; even sizes."""
    scale = float(eye_distance_px)
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"eye distance must be a positive number of pixels, got {eye_distance_px}")
    width = 2 * math.ceil(scale * (MOUTH_RIGHT - MOUTH_LEFT) / 2)
    height = 2 * math.ceil(scale * (MOUTH_BOTTOM - MOUTH_TOP) / 2)
    return MouthSpace(
        scale,
        (MOUTH_LEFT + MOUTH_RIGHT - width / scale) / 2,
        (MOUTH_TOP + MOUTH_BOTTOM - height / scale) / 2,
        height,
        width,
    )


def translation(by: Array | tuple[float, float]) -> Array:
    """(3,3) float64 that moves points by (x, y)."""
    return np.array([[1, 0, by[0]], [0, 1, by[1]], [0, 0, 1.0]])


def magnification(matrix: Array) -> Array:
    """(...,) float64: by how much affine (...,3,3) matrices enlarge lengths, on average over directions."""
    return np.sqrt(np.abs(np.linalg.det(np.asarray(matrix, np.float64)[..., :2, :2])))


def farthest_points(points: Array, n: int, first: int = 0) -> list[int]:
    """Up to n rows of (K,D) `points`: `first`, then again and again the one farthest from all those taken
    (farthest-point sampling)."""
    taken, nearest = [first], np.full(len(points), np.inf, np.float32)
    while len(taken) < min(n, len(points)):
        nearest = np.minimum(nearest, ((points - points[taken[-1]]) ** 2).sum(1))
        taken.append(int(nearest.argmax()))
    return taken


def warp_frame(rgb: Array, out_from_frame: Array, height: int, width: int) -> Array:
    """(height, width, C) uint8 picture of one (H,W,C) uint8 frame under the affine `out_from_frame` (3,3); bicubic,
    edges repeated.

    Shrinking by more than 1.5 is done in area-averaged halves first, on the part of the frame that is needed only.
    """
    import cv2

    frame_from_out = np.linalg.inv(out_from_frame)
    corners = apply(frame_from_out, np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64))
    pad = 2 + 2 * math.ceil(1 / max(float(magnification(out_from_frame)), 1e-3))
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - pad, 0, [rgb.shape[1] - 1, rgb.shape[0] - 1])
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + pad, [x0 + 1, y0 + 1], [rgb.shape[1], rgb.shape[0]])
    part = rgb[y0:y1, x0:x1]
    planar = rgb.strides[1] == rgb.itemsize
    part = cv2.merge(list(part.transpose(2, 0, 1))) if planar else np.ascontiguousarray(part)
    out_from_part = out_from_frame @ np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1.0]])
    shrink = 1 / max(float(magnification(out_from_frame)), 1e-6)
    if shrink > 1.5:
        h, w = max(1, round(part.shape[0] / shrink)), max(1, round(part.shape[1] / shrink))
        out_from_part = out_from_part @ np.diag([part.shape[1] / w, part.shape[0] / h, 1.0])
        part = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA)
    matrix: Array = (_UNCENTRE @ out_from_part @ _CENTRE)[:2]
    return cv2.warpAffine(part, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def warp(image: Tensor, out_from_in: Array | Tensor, size: tuple[int, int], padding: str = "border") -> Tensor:
    """(B,C,height,width) pictures of float (B,C,H,W) `image` under affines `out_from_in` (B,3,3), on the image's
    device; bilinear.

    size: (height, width) of the result. out_from_in: torch or numpy, pixels to pixels. Outside the image: "border"
    repeats the edge, "zeros" is 0. Where the pictures shrink by more than 1.2 the image is blurred first (by the
    batch's strongest shrinking)."""
    import torch

    from video.pyramid import gaussian_blur

    in_from_out = torch.inverse(torch.as_tensor(out_from_in).to(dtype=torch.float64, device="cpu"))
    height, width = size
    shrink = float(torch.det(in_from_out[:, :2, :2]).abs().sqrt().max())
    if shrink > 1.2:  # blurred, so that taking every shrink-th pixel does not alias
        image = gaussian_blur(image, 0.5 * math.sqrt(shrink * shrink - 1))
    # Pixel coordinates to grid_sample's [-1, 1], which with align_corners=False puts -1 and 1 on the outer pixel edges.
    unit_from_in = torch.tensor(
        [[2 / image.shape[3], 0, -1], [0, 2 / image.shape[2], -1], [0, 0, 1]], dtype=torch.float64
    )
    theta = (unit_from_in @ in_from_out)[:, :2].to(image)
    x = torch.arange(width, device=image.device, dtype=image.dtype) + 0.5
    y = torch.arange(height, device=image.device, dtype=image.dtype) + 0.5
    grid = torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], -1)
    grid = torch.einsum("bij,hwj->bhwi", theta[:, :, :2], grid) + theta[:, None, None, :, 2]
    return sample_unit(image, grid, padding=padding)


def sample_unit(image: Tensor, at: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """(B,C,h,w) values of `image` at (B,h,w,2) positions from -1 to 1, which are the outer edges of the outermost
    pixels: the one place that says so to torch."""
    from torch.nn.functional import grid_sample

    return grid_sample(image, at, mode=mode, padding_mode=padding, align_corners=False)


def sample_pixels(image: Tensor, at: Tensor, mode: str = "bilinear") -> Tensor:
    """(B,C,h,w) values of `image` at (B,h,w,2) positions in pixels (pixel rule above), edges repeated."""
    size = at.new_tensor([image.shape[3], image.shape[2]])
    return sample_unit(image, at * 2 / size - 1, mode)


def signed_distance(polygon: Tensor, points: Tensor) -> Tensor:
    """(B,P) distance of (B or 1,P,2) points to the edge of the (B,N,2) polygon, positive inside, negative outside."""
    # x and y apart: sums over an axis of two are slow
    (x, y), (ax, ay) = points[:, :, None].unbind(-1), polygon[:, None].unbind(-1)
    by = ay.roll(-1, -1)
    edge_x, edge_y, rel_x, rel_y = ax.roll(-1, -1) - ax, by - ay, x - ax, y - ay
    t = ((rel_x * edge_x + rel_y * edge_y) / (edge_x * edge_x + edge_y * edge_y).clamp_min(1e-12)).clamp(0, 1)
    distance = ((rel_x - t * edge_x).square() + (rel_y - t * edge_y).square()).amin(-1).sqrt()
    spans = (ay > y) != (by > y)
    left = (rel_x * edge_y < edge_x * rel_y) != (edge_y < 0)
    return distance.where((spans & left).sum(-1) % 2 == 1, -distance)
