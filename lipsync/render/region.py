"""Which part of the lower face is replaced."""

from __future__ import annotations

import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import signed_distance
from lipsync.core.lips import soft_step

CHIN = slice(3, 14)  # jaw points that bound the blend region
CHEEKS = torch.tensor(
    [[0.45, -0.12], [0.28, -0.26], [0.0, -0.20], [-0.28, -0.26], [-0.45, -0.12]]
)  # its upper edge, right to left
#: How far out, of the way to each jaw point, the blend region reaches: to the chin's edge, but not to the sides of the
#: face, where a head turned otherwise shows hair or background.
_INSET = torch.tensor([0.62, 0.68, 0.8, 0.92, 1, 1, 1, 0.92, 0.8, 0.68, 0.62])[:, None]


def blend_region(jaw: torch.Tensor, face: torch.Tensor, config: CompositeConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,1,h,w) blend mask in [0,1], the lower face from under the nose to the jaw line softened inwards, and the wider
    support around it.

    jaw: (B,17,2); face: (B,h,w,2) positions; both face frame. The support is 1 wherever the mask is not 0.
    """
    polygon = torch.cat([jaw[:, CHIN] * _INSET.to(jaw), CHEEKS.to(jaw).expand(len(jaw), -1, -1)], 1)
    depth = depth_inside(polygon, face)
    return soft_step(depth / config.softness), soft_step(1 + depth / (0.5 * config.softness))


def depth_inside(polygon: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B,1,h,w) signed distance of (B,h,w,2) points to the edge of the (B,N,2) polygon."""
    return signed_distance(polygon, points.flatten(1, 2)).reshape(len(points), 1, *points.shape[1:3])
