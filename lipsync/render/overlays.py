"""Captions and logos over the face: taken out before anything is drawn or learnt, put back untouched afterwards."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.core.geometry import apply
from lipsync.core.graphics import Graphics
from lipsync.core.types import MouthSpace
from lipsync.render.box import Box
from lipsync.render.plan import PlannedFaces
from video.picture import Picture, Rect, inside
from video.pyramid import pull_push

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
    """(B,3,h,w) pictures whose `hole` (B,1,h,w) is filled from around it, from farther away where nothing is near."""
    known = 1 - hole
    return torch.lerp(pictures, pull_push(pictures * known, known), hole)


def beside_mouth(picture: Picture, mouth_from_pixel: np.ndarray, space: MouthSpace) -> Rect:
    """The box of a picture with its mouth crop, and what the crop is filled from."""
    corners = np.array([[0.0, 0], [space.width, 0], [0, space.height], [space.width, space.height]])
    pixels = apply(np.linalg.inv(mouth_from_pixel), corners)
    return inside(picture, pixels.min(0) - _BESIDE, pixels.max(0) + _BESIDE)


def without_graphics(rgb: np.ndarray, graphics: Graphics | None, frame: int, box: Rect) -> np.ndarray:
    """A box of a frame, (h,w,3) uint8, graphics in it filled over; itself where there are none."""
    mask = None if graphics is None else graphics.over(frame, *box)
    if mask is None:
        return rgb
    part = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    part = filled(part, torch.from_numpy(mask.astype(np.float32))[None, None])
    return (part[0] * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
