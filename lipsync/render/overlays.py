"""Captions and logos over the face: taken out before anything is drawn or learnt, put back untouched afterwards."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lipsync.core.geometry import apply
from lipsync.core.graphics import Graphics
from lipsync.core.types import MouthSpace
from lipsync.render.box import Box
from lipsync.render.plan import PlannedFaces

_ENOUGH = 0.5  # share of known pixels about a pixel from which it is filled well
_BESIDE = 16  # pixels around a crop that it may be filled from


def graphics_in(box: Box, faces: PlannedFaces, row: int) -> torch.Tensor | None:
    """(1,1,h,w) float32, 1 where a graphic lies in the frame or frames shown at this row; None: nowhere."""
    if faces.graphics is None or faces.shown is None:
        return None
    x, y = int(box.left[0]), int(box.top[0])
    shown = {int(frame) for frame in faces.shown[row]}
    masks = [m for f in shown if (m := faces.graphics.over(f, x, y, x + box.width, y + box.height)) is not None]
    if not masks:
        return None
    return torch.from_numpy(np.logical_or.reduce(masks).astype(np.float32))[None, None].to(box.left.device)


def filled(pictures: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """(B,3,h,w) pictures whose `hole` (B,1,h,w) is filled from around it, from farther away where nothing is near (pull
    and push: Gortler et al. 1996)."""
    known = 1 - hole
    levels = [torch.cat([pictures * known, known], 1)]
    while max(levels[-1].shape[2:]) > 1 and bool((levels[-1][:, 3:] < 1).any()):
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    out = levels[-1][:, :3] / levels[-1][:, 3:].clamp_min(1e-6)
    for level in reversed(levels[:-1]):
        far = F.interpolate(out, size=level.shape[2:], mode="bilinear", align_corners=False)
        near = level[:, :3] / level[:, 3:].clamp_min(1e-6)
        out = torch.lerp(far, near, (level[:, 3:] / _ENOUGH).clamp(0, 1))
    return torch.lerp(pictures, out, hole)


def without_graphics(
    rgb: np.ndarray, graphics: Graphics | None, frame: int, mouth_from_pixel: np.ndarray, space: MouthSpace
) -> np.ndarray:
    """The (H,W,3) uint8 frame, graphics in and beside its mouth crop filled over; the frame itself where there are
    none."""
    if graphics is None:
        return rgb
    corners = np.array([[0.0, 0], [space.width, 0], [0, space.height], [space.width, space.height]])
    pixels = apply(np.linalg.inv(mouth_from_pixel), corners)
    x0, y0 = np.clip(np.floor(pixels.min(0)).astype(int) - _BESIDE, 0, None).tolist()
    x1, y1 = np.minimum(np.ceil(pixels.max(0)).astype(int) + _BESIDE, [rgb.shape[1], rgb.shape[0]]).tolist()
    mask = graphics.over(frame, x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
    if mask is None:
        return rgb
    part = torch.from_numpy(np.ascontiguousarray(rgb[y0:y1, x0:x1])).permute(2, 0, 1)[None].float() / 255
    part = filled(part, torch.from_numpy(mask.astype(np.float32))[None, None])
    out = rgb.copy()
    out[y0:y1, x0:x1] = (part[0] * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return out
