"""OpenCV's `seamlessClone` (Perez et al. 2003, after Tanaka et al. 2012), as many programs use it. It knows 8-bit
pictures on the CPU only: a tensor on a GPU goes there and back, and the result has 256 levels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lipsync.config.schema import CompositeConfig
from lipsync.render.blends.base import row_by_row

#: OpenCV takes three pixels off the region's rim: nothing is left of a smaller one.
_LEAST_PX = 9


class Blend:
    """NORMAL_CLONE; the region is where the mask is above half of its largest value. OpenCV solves in the rectangle
    around it: a trace of that beyond the region is kept as far as the mask reaches."""

    name = "seamless"
    removes_offset = True

    def __init__(self, config: CompositeConfig, device: torch.device) -> None: ...

    def __call__(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        return row_by_row(_cloned, under, over, mask)


def _cloned(under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
    """One row: (1,3,h,w)."""
    import cv2

    most = mask.amax()
    region = (mask[0, 0] > 0.5 * most).to(torch.uint8).mul(255).cpu().numpy()
    left, top, width, height = cv2.boundingRect(region)
    if min(width, height) < _LEAST_PX:
        return under.clone()
    # the rectangle must not touch the picture's border
    source, target = (np.pad(_bytes(x), ((2, 2), (2, 2), (0, 0)), mode="edge") for x in (over, under))
    centre = (left + 2 + width // 2, top + 2 + height // 2)
    cloned = cv2.seamlessClone(source, target, np.pad(region, 2), centre, cv2.NORMAL_CLONE)[2:-2, 2:-2]
    result = torch.from_numpy(np.ascontiguousarray(cloned)).to(under.device).permute(2, 0, 1)[None].to(under) / 255
    return torch.where(mask > 0, torch.lerp(under, result, most), under)


def _bytes(rgb: Tensor) -> np.ndarray:
    """(h,w,3) uint8 of (1,3,h,w)."""
    return (rgb[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
