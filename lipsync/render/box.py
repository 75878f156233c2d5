"""The part of a frame that is drawn over: a box around the lower face, fine (every pixel) and coarse (every 4th)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import apply, magnification
from lipsync.render.region import CHEEKS

STEP = 4  # pixels between nodes of the coarse grid


@dataclass(frozen=True, slots=True)
class Box:
    """Equal pixel boxes around B lower faces. left, top: (B,) int64, in the frame; face_from_pixel: (B,3,3); scale:
    pixels per eye distance; at: (x, y) of the frame's pixel at which the pictures begin that are cut from and pasted
    into. All else is computed in the frame, so that it is the same for every picture of it."""

    left: torch.Tensor
    top: torch.Tensor
    height: int
    width: int
    face_from_pixel: torch.Tensor
    scale: float
    at: tuple[int, int] = (0, 0)

    @classmethod
    def around(
        cls,
        jaws: torch.Tensor,
        pixel_from_face: torch.Tensor,
        size: torch.Size,
        config: CompositeConfig,
        at: tuple[int, int] = (0, 0),
    ) -> Box:
        """Boxes that hold (B,P,2) jaw points, the cheeks and everything that may change around them, inside pictures of
        (height, width) `size` that begin `at` this pixel of the frame."""
        # numpy's small sums start faster than torch's
        place, edge = pixel_from_face.cpu().numpy(), jaws.cpu().numpy()
        points = apply(place, np.concatenate([edge, np.broadcast_to(CHEEKS.numpy(), (len(edge), *CHEEKS.shape))], 1))
        scale = float(magnification(place).mean())
        margin = scale * (config.jaw_reach + 0.02) + STEP
        low = np.floor(points.min(1) - margin).astype(np.int64)
        span = (np.ceil(points.max(1) + margin).astype(np.int64) - low).max(0)
        width, height = min(int(span[0]), size[1]), min(int(span[1]), size[0])
        left, top = (
            torch.from_numpy(low[:, k].clip(at[k], at[k] + size[1 - k] - n)).to(jaws.device)
            for k, n in ((0, width), (1, height))
        )
        return cls(left, top, height, width, torch.linalg.inv(pixel_from_face), scale, at)

    def corners(self) -> list[tuple[int, int]]:
        """(x, y) of each box in the pictures."""
        (x, y), corners = self.at, zip(self.left.tolist(), self.top.tolist(), strict=True)
        return [(left - x, top - y) for left, top in corners]

    def cut(self, frames: torch.Tensor) -> torch.Tensor:
        """(B,3,h,w) float32 in [0,1]."""
        parts = [
            f[:, y : y + self.height, x : x + self.width] for f, (x, y) in zip(frames, self.corners(), strict=True)
        ]
        return torch.stack(parts).float() / 255

    def paste(self, frames: torch.Tensor, boxes: torch.Tensor) -> None:
        """Writes the boxes into the frames."""
        for f, part, (x, y) in zip(frames, boxes, self.corners(), strict=True):
            f[:, y : y + self.height, x : x + self.width] = part

    def pixels(self, step: int) -> torch.Tensor:
        """(B,h,w,2) pixel positions of the box's pixel centres, every `step`-th one and one beyond the edge."""
        extra = 0 if step == 1 else step
        y = torch.arange(0, self.height + extra, step, device=self.left.device) + 0.5
        x = torch.arange(0, self.width + extra, step, device=self.left.device) + 0.5
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        return grid + torch.stack([self.left, self.top], -1)[:, None, None]

    def positions(self, step: int) -> torch.Tensor:
        """(B,h,w,2) face-frame positions of `pixels(step)`."""
        pixels = self.pixels(step)
        return apply(self.face_from_pixel, pixels.flatten(1, 2)).reshape(pixels.shape)

    def fine(self, coarse: torch.Tensor) -> torch.Tensor:
        """(B,C,height,width) bilinear between the nodes of (B,C,h,w) `coarse`."""
        size = [(n - 1) * STEP + 1 for n in coarse.shape[2:]]
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[:, :, : self.height, : self.width]

    def around_zone(self, zone: torch.Tensor) -> Part | None:
        """The smallest part, of whole steps, that holds all of the coarse (B,C,h,w) `zone` that is not 0; None where it
        is 0 everywhere."""
        seen = zone.amax((0, 1)) > 0
        if not bool(seen.any()):
            return None
        at = (torch.nonzero(seen.any(k)).flatten().tolist() for k in (1, 0))
        rows, columns = (
            slice(max(0, found[0] - 1), min(found[-1] + 2, n)) for found, n in zip(at, zone.shape[2:], strict=True)
        )
        y, x = (slice(s.start * STEP, (s.stop - 1) * STEP + 1) for s in (rows, columns))
        height, width = min(y.stop, self.height) - y.start, min(x.stop, self.width) - x.start
        inner = Box(self.left + x.start, self.top + y.start, height, width, self.face_from_pixel, self.scale, self.at)
        return Part((rows, columns), (y, x), inner)


class Part(NamedTuple):
    """A part of a box. nodes: (rows, columns) of the coarse grid; pixels: of the fine one; box: a box of its own."""

    nodes: tuple[slice, slice]
    pixels: tuple[slice, slice]
    box: Box
