"""The drawn mouth put into the target frame: colour match, jaw correction, Laplacian-pyramid blend (Suwajanakorn et al.
2017, section on compositing). Works on the tensor's device, inside a box around the lower face; every pixel outside the
blend region stays as decoded.

Everything that varies slowly (masks, displacements, colour differences) is computed on a coarse grid of every 4th
pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import apply, sample_pixels, signed_distance
from lipsync.core.lips import soft_step
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthSpace
from lipsync.render.plan import PlannedFaces
from video.pyramid import blend, gaussian_blur

_CHIN = slice(3, 14)  # jaw points that bound the blend region
_CHEEKS = torch.tensor(
    [[0.45, -0.12], [0.28, -0.26], [0.0, -0.20], [-0.28, -0.26], [-0.45, -0.12]]
)  # its upper edge, right to left
_OUTER_LIPS = slice(0, 12)
#: How far each jaw point follows the drawn mouth: the chin moves with speech, the sides of the face stay the target's.
_FOLLOWS = torch.tensor([0, 0, 0, 0, 0.15, 0.5, 0.85, 1, 1, 1, 0.85, 0.5, 0.15, 0, 0, 0, 0])[:, None]
#: How far out, of the way to each jaw point, the blend region reaches: to the chin's edge, but not to the sides of the
#: face, where a head
#: turned otherwise shows hair or background.
_INSET = torch.tensor([0.62, 0.68, 0.8, 0.92, 1, 1, 1, 0.92, 0.8, 0.68, 0.62])[:, None]
_STEP = 4  # pixels between nodes of the coarse grid


def composite(
    frames: torch.Tensor,
    mouth: MouthTexture,
    lips: np.ndarray,
    faces: PlannedFaces,
    rows: slice,
    space: MouthSpace,
    config: CompositeConfig,
) -> torch.Tensor:
    """(B,3,H,W) uint8 frames with the mouths in place. frames: (B,3,H,W) uint8; lips: (B,18,2) drawn, face frame;
    faces: the plan's faces.

    Row by row, each in its own box, so that a row is the same in any batch.
    """
    out = frames.clone()
    for b, row in enumerate(range(rows.start, rows.stop)):
        if faces.strength[row] > 0:
            here = slice(b, b + 1)
            one = MouthTexture(mouth.rgb[here], mouth.alpha[here], mouth.jaw[here])
            _draw_over(out[here], one, lips[here], faces, slice(row, row + 1), space, config)
    return out


def jaw_move(target_jaw: torch.Tensor, drawn_jaw: torch.Tensor, config: CompositeConfig) -> torch.Tensor:
    """(B,17,2) by how much the target's jaw line is moved towards the drawn mouths', face frame."""
    return ((drawn_jaw - target_jaw) * _FOLLOWS.to(drawn_jaw)).clamp(-config.jaw_limit, config.jaw_limit)


def _draw_over(frames, mouth, lips, faces, rows, space, config) -> None:
    lips, target_lips, target_jaw, strength, pixel_from_face = (
        torch.from_numpy(a).to(frames.device).float()
        for a in (lips, faces.lips[rows], faces.jaw[rows], faces.strength[rows], faces.pixel_from_face[rows])
    )
    moved = jaw_move(target_jaw, mouth.jaw, config)
    jaw = target_jaw + moved
    box = Box.around(torch.cat([target_jaw, jaw], 1), pixel_from_face, frames.shape[2:], config)
    under = box.cut(frames)
    coarse = box.positions(_STEP)
    strength = strength[:, None, None, None]
    region = blend_region(jaw, coarse, config)
    inside = sample_pixels(mouth.alpha, space.scale * (coarse - coarse.new_tensor([space.left, space.top])), "bilinear")
    mask, support = box.fine(region[0] * inside * strength), box.fine(region[1] * strength)

    bent, reach = _bend_jaw(under, box, coarse, jaw, moved, config)
    over = sample_pixels(
        mouth.rgb, space.scale * (box.positions(1) - coarse.new_tensor([space.left, space.top])), "bicubic"
    )
    off_lips = (
        -torch.maximum(_depth(lips[:, _OUTER_LIPS], coarse), _depth(target_lips[:, _OUTER_LIPS], coarse))
        - config.lip_margin
    )
    skin, sigma = region[0] * (off_lips > 0), config.colour_sigma * box.scale / _STEP
    light = box.fine(_slow_difference(bent, over, skin, sigma))
    # other light changes each colour in proportion (von Kries): added in full, it would tint the dark inside of the
    # mouth
    level = box.fine(_slow_difference(over, torch.zeros_like(over), skin, sigma))
    over = over + light * (over / level.clamp_min(0.05)).clamp(0, 1)
    # skin keeps the frame's own pores and grain, which a median of many frames has not
    grain = _fine_detail(bent - over, config.grain * box.scale)
    over = over + box.fine(soft_step(off_lips / config.lip_margin)) * grain
    # the pyramid spreads a little beyond the mask: the wider support fades that out and bounds what changes
    result = torch.lerp(bent, blend(bent, over, mask, config.levels), support)
    result = torch.lerp(under, result, torch.maximum(support, box.fine(reach) * strength).sign() * strength.clamp(0, 1))
    box.paste(frames, (result * 255).round().clamp(0, 255).to(torch.uint8))


@dataclass(frozen=True, slots=True)
class Box:
    """Equal pixel boxes around B lower faces. left, top: (B,) int64; face_from_pixel: (B,3,3); scale: pixels per eye
    distance."""

    left: torch.Tensor
    top: torch.Tensor
    height: int
    width: int
    face_from_pixel: torch.Tensor
    scale: float

    @classmethod
    def around(
        cls, jaws: torch.Tensor, pixel_from_face: torch.Tensor, size: torch.Size, config: CompositeConfig
    ) -> Box:
        """Boxes that hold (B,P,2) jaw points, the cheeks and everything that may change around them, inside a frame of
        (height, width) `size`."""
        points = apply(pixel_from_face, torch.cat([jaws, _CHEEKS.to(jaws).expand(len(jaws), -1, -1)], 1))
        scale = float(torch.linalg.det(pixel_from_face[:, :2, :2]).abs().sqrt().mean())
        margin = scale * (config.jaw_reach + 0.02) + _STEP
        low = (points.amin(1) - margin).floor().long()
        span = ((points.amax(1) + margin).ceil().long() - low).amax(0)
        width, height = min(int(span[0]), size[1]), min(int(span[1]), size[0])
        return cls(
            low[:, 0].clamp(0, size[1] - width),
            low[:, 1].clamp(0, size[0] - height),
            height,
            width,
            torch.linalg.inv(pixel_from_face),
            scale,
        )

    def cut(self, frames: torch.Tensor) -> torch.Tensor:
        """(B,3,h,w) float32 in [0,1]."""
        parts = [
            f[:, y : y + self.height, x : x + self.width]
            for f, x, y in zip(frames, self.left.tolist(), self.top.tolist(), strict=True)
        ]
        return torch.stack(parts).float() / 255

    def paste(self, frames: torch.Tensor, boxes: torch.Tensor) -> None:
        """Writes the boxes into the frames."""
        for f, part, x, y in zip(frames, boxes, self.left.tolist(), self.top.tolist(), strict=True):
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
        size = [(n - 1) * _STEP + 1 for n in coarse.shape[2:]]
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[:, :, : self.height, : self.width]


def blend_region(jaw: torch.Tensor, face: torch.Tensor, config: CompositeConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,1,h,w) blend mask in [0,1], the lower face from under the nose to the jaw line softened inwards, and the wider
    support around it.

    jaw: (B,17,2); face: (B,h,w,2) positions; both face frame. The support is 1 wherever the mask is not 0.
    """
    polygon = torch.cat([jaw[:, _CHIN] * _INSET.to(jaw), _CHEEKS.to(jaw).expand(len(jaw), -1, -1)], 1)
    depth = _depth(polygon, face)
    return soft_step(depth / config.softness), soft_step(1 + depth / (0.5 * config.softness))


def _bend_jaw(
    under: torch.Tensor, box: Box, face: torch.Tensor, jaw: torch.Tensor, moved: torch.Tensor, config: CompositeConfig
):
    """The target's pixels moved so that its jaw line lies on `jaw` (B,17,2), and (coarse) where any moved.

    The moves (B,17,2) are spread by compact kernels of radius `jaw_reach` (eye distances): nothing farther away moves.
    """
    distance = torch.cdist(face.flatten(1, 2), jaw[:, _CHIN])
    kernel = (1 - (distance / config.jaw_reach) ** 2).clamp_min(0) ** 2
    total = kernel.sum(-1, keepdim=True)
    shift = (kernel @ moved[:, _CHIN]) / (total + 0.5)
    pixel_from_face = torch.linalg.inv(box.face_from_pixel)
    shift = (shift @ pixel_from_face[:, :2, :2].transpose(1, 2)).reshape(face.shape).permute(0, 3, 1, 2)
    corner = torch.stack([box.left, box.top], -1)[:, None, None]
    bent = sample_pixels(under, box.pixels(1) - corner - box.fine(shift).permute(0, 2, 3, 1), "bilinear")
    reach = (total.reshape(face.shape[:3]) > 0).float()[:, None]
    return torch.where(box.fine(reach) > 0, bent, under), reach


def _fine_detail(rgb: torch.Tensor, sigma: float) -> torch.Tensor:
    return rgb - gaussian_blur(rgb, sigma)


def _slow_difference(under: torch.Tensor, over: torch.Tensor, weight: torch.Tensor, sigma: float) -> torch.Tensor:
    """(B,3,h,w) coarse: under - over, averaged over Gaussians of `sigma` nodes with the coarse (B,1,h,w) weight."""
    difference = F.interpolate(
        F.avg_pool2d(under - over, _STEP, ceil_mode=True, count_include_pad=False),
        size=weight.shape[2:],
        mode="nearest",
    )
    smooth = gaussian_blur(torch.cat([difference * weight, weight], 1), sigma)
    return smooth[:, :3] / (smooth[:, 3:] + 1e-3)


def _depth(polygon: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B,1,h,w) signed distance of (B,h,w,2) points to the edge of the (B,N,2) polygon."""
    return signed_distance(polygon, points.flatten(1, 2)).reshape(len(points), 1, *points.shape[1:3])
