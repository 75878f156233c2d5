"""Blending of pictures by Laplacian pyramids (Burt and Adelson 1983), on the tensor's own device."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch.nn import functional as F

_TAPS = (6 / 16, 4 / 16, 1 / 16)  # centre, then outwards


def blend(under: torch.Tensor, over: torch.Tensor, mask: torch.Tensor, levels: int) -> torch.Tensor:
    """`over` where mask is 1, `under` where it is 0, each frequency band joined over a distance that suits it.

    under, over: (B,3,H,W) float32; mask: (B,1,H,W) in [0, 1]; any size. levels: bands above the coarsest; as many as
    the size allows are used. Exactly `under` for a picture whose mask is 0 everywhere. A pixel can only change within
    about 2**(levels + 2) pixels of the mask."""
    if under.shape != over.shape or mask.shape != (under.shape[0], 1, *under.shape[2:]):
        raise ValueError(
            f"blend: under {tuple(under.shape)}, over {tuple(over.shape)}, mask {tuple(mask.shape)} do not fit"
        )
    # Pyramids are linear, so that only the difference needs one: result = under + blended difference, and no difference
    # stays exactly none.
    change = over - under
    if change.device.type == "cpu" and not change.requires_grad:
        return under + torch.stack([_let_through_by_opencv(*row, levels) for row in zip(change, mask, strict=True)])
    return under + _let_through(change, mask, levels)


def _let_through(change: torch.Tensor, mask: torch.Tensor, levels: int) -> torch.Tensor:
    """(B,3,H,W) the part of a change that the (B,1,H,W) mask lets through."""
    weights, bands = [mask], []
    for _ in range(levels):
        if min(change.shape[-2:]) < 4:
            break
        smaller = _down(change)
        bands.append(change - _up(smaller, (change.shape[-2], change.shape[-1])))
        weights.append(_down(weights[-1]))
        change = smaller
    out = change * weights[-1]
    for band, weight in zip(reversed(bands), reversed(weights[:-1]), strict=True):
        out = _up(out, (band.shape[-2], band.shape[-1])) + band * weight
    return out


def _let_through_by_opencv(change: torch.Tensor, mask: torch.Tensor, levels: int) -> torch.Tensor:
    """`_let_through` of one row, (3,H,W) and (1,H,W), on a CPU."""
    import cv2

    pictures = [np.ascontiguousarray(change.permute(1, 2, 0).numpy())]
    weights = [cv2.merge([mask[0].numpy()] * len(change))]
    for _ in range(levels):
        if min(pictures[-1].shape[:2]) < 4:
            break
        for layers in (pictures, weights):
            layers.append(cv2.pyrDown(layers[-1], borderType=cv2.BORDER_REPLICATE))
    out = pictures[-1] * weights[-1]
    for k in range(len(pictures) - 2, -1, -1):
        band = pictures[k] - _up_by_opencv(pictures[k + 1], pictures[k].shape[:2])
        band *= weights[k]
        band += _up_by_opencv(out, band.shape[:2])
        out = band
    return torch.from_numpy(out).permute(2, 0, 1)


def _up_by_opencv(picture: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """`_up`; OpenCV mirrors edges, so the outermost pixels are repeated first."""
    import cv2

    wide = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return cv2.pyrUp(wide)[2 : 2 + size[0], 2 : 2 + size[1]]


def pull_push(weighted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(B,C,H,W) values known where (B,1,H,W) `weight` in [0, 1] is not 0, and given times it, carried smoothly to
    everywhere else: pull and push over halved sizes (Gortler et al. 1996)."""
    here = weighted / weight.clamp_min(1e-4)
    if min(weight.shape[2:]) < 2:
        return weighted.mean((2, 3), keepdim=True) / weight.mean((2, 3), keepdim=True).clamp_min(1e-4)
    coarse = pull_push(F.avg_pool2d(weighted, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True))
    smooth = F.interpolate(coarse, size=weight.shape[2:], mode="bilinear", align_corners=False)
    return torch.lerp(smooth, here, (2 * weight).clamp(0, 1))


def gaussian_blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """`x` (B,C,H,W) float, blurred by a Gaussian of `sigma` pixels; edges replicated; the same size. sigma 0 returns
    `x`."""
    return _filtered(x, half_gaussian(sigma), stride=1) if sigma > 0 else x


def blur_along(x: torch.Tensor, sigma: float, dim: int) -> torch.Tensor:
    """`gaussian_blur` along height (dim 2) or width (dim 3) alone."""
    return _filtered(x, half_gaussian(sigma), stride=1, dims=(dim,)) if sigma > 0 else x


@functools.lru_cache(256)
def half_gaussian(sigma: float) -> tuple[float, ...]:
    """The half kernel of a Gaussian of `sigma` pixels, centre first, out to 3 sigma."""
    radius = max(1, round(3 * sigma))
    half = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)]
    total = half[0] + 2 * sum(half[1:])
    return tuple(tap / total for tap in half)


def _filtered(x: torch.Tensor, half: tuple[float, ...], stride: int, dims: tuple[int, ...] = (2, 3)) -> torch.Tensor:
    """x filtered by the symmetric kernel half[r]..half[0]..half[r] along `dims` (height and width); edges replicated.

    Sums of shifted slices: on a CPU ten times faster than torch's convolution of one channel.
    """
    r = len(half) - 1
    for dim in dims:
        padded = F.pad(x, (0, 0, r, r) if dim == 2 else (r, r, 0, 0), mode="replicate")
        every = (slice(None),) * dim + (slice(None, None, stride),)
        shifted = [padded.narrow(dim, k, x.shape[dim])[every] for k in range(2 * r + 1)]
        x = shifted[r] * half[0]
        for k in range(1, r + 1):
            x.add_(shifted[r - k] + shifted[r + k], alpha=half[k])
    return x


def symmetric_filter(picture: np.ndarray, half: tuple[float, ...], axes: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """(h,w) or (h,w,C) float32 filtered as `_filtered` does it, by OpenCV. axes: 0 = along columns, 1 = along rows."""
    import cv2

    full, one = np.array([*half[:0:-1], *half], np.float32), np.ones(1, np.float32)
    along, down = (full if axis in axes else one for axis in (1, 0))
    return cv2.sepFilter2D(picture, -1, along, down, borderType=cv2.BORDER_REPLICATE)


def _down(x: torch.Tensor) -> torch.Tensor:
    """Half the size, rounded up; the new pixel centres lie on the even old ones."""
    return _filtered(x, _TAPS, stride=2)


def _up(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The inverse sampling: even pixels weigh (1, 6, 1) / 8, odd ones (1, 1) / 2 of their neighbours."""
    for dim in (2, 3):
        n, target = x.shape[dim], size[dim - 2]
        padded = torch.cat([x.narrow(dim, 0, 1), x, x.narrow(dim, n - 1, 1)], dim)
        before, here, after = (padded.narrow(dim, k, n) for k in range(3))
        even, odd = (before + 6 * here + after) / 8, (here + after) / 2
        shape = list(x.shape)
        shape[dim] = 2 * n
        x = torch.stack([even, odd], dim + 1).reshape(shape).narrow(dim, 0, target)
    return x
