"""The target's jaw moved to where the drawn mouth has its own."""

from __future__ import annotations

import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import sample_pixels
from lipsync.render.box import Box
from lipsync.render.region import CHIN

#: How far each jaw point follows the drawn mouth: the chin moves with speech, the sides of the face stay the target's.
_FOLLOWS = torch.tensor([0, 0, 0, 0, 0.15, 0.5, 0.85, 1, 1, 1, 0.85, 0.5, 0.15, 0, 0, 0, 0])[:, None]


def jaw_move(target_jaw: torch.Tensor, drawn_jaw: torch.Tensor, config: CompositeConfig) -> torch.Tensor:
    """(B,17,2) by how much the target's jaw line is moved towards the drawn mouths', face frame."""
    return ((drawn_jaw - target_jaw) * _FOLLOWS.to(drawn_jaw)).clamp(-config.jaw_limit, config.jaw_limit)


def bend_jaw(
    under: torch.Tensor, box: Box, face: torch.Tensor, jaw: torch.Tensor, moved: torch.Tensor, config: CompositeConfig
):
    """The target's pixels moved so that its jaw line lies on `jaw` (B,17,2), and (coarse) where any moved.

    The moves (B,17,2) are spread by compact kernels of radius `jaw_reach` (eye distances): nothing farther away moves.
    """
    distance = torch.cdist(face.flatten(1, 2), jaw[:, CHIN])
    kernel = (1 - (distance / config.jaw_reach) ** 2).clamp_min(0) ** 2
    total = kernel.sum(-1, keepdim=True)
    shift = (kernel @ moved[:, CHIN]) / (total + 0.5)
    pixel_from_face = torch.linalg.inv(box.face_from_pixel)
    shift = (shift @ pixel_from_face[:, :2, :2].transpose(1, 2)).reshape(face.shape).permute(0, 3, 1, 2)
    corner = torch.stack([box.left, box.top], -1)[:, None, None]
    bent = sample_pixels(under, box.pixels(1) - corner - box.fine(shift).permute(0, 2, 3, 1), "bilinear")
    reach = (total.reshape(face.shape[:3]) > 0).float()[:, None]
    return torch.where(box.fine(reach) > 0, bent, under), reach
