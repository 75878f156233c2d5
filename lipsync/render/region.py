"""Which part of the lower face is replaced."""

from __future__ import annotations

import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import signed_distance
from lipsync.core.lips import soft_step

OUTER_LIPS = slice(0, 12)
CHIN = slice(3, 14)  # jaw points that bound the blend region
CHEEKS = torch.tensor(
    [[0.45, -0.12], [0.28, -0.26], [0.0, -0.20], [-0.28, -0.26], [-0.45, -0.12]]
)  # its upper edge, right to left
#: Skin colours are learnt from what lies lower than this (face frame): nostrils are dark.
BELOW_NOSE = -0.28
#: Over this much (eye distances) beside the drawn lips the drawn skin begins to go with the jaw.
LIPS_STAY = 0.2
#: How far out, of the way to each jaw point, the blend region reaches: to the chin's edge, but not to the sides of the
#: face, where a head turned otherwise shows hair or background.
INSET = torch.tensor([0.62, 0.68, 0.8, 0.92, 1, 1, 1, 0.92, 0.8, 0.68, 0.62])[:, None]
#: Lips end softly over this many eye distances beyond their margin: under the nose there is no room for more.
LIP_EDGE = 0.07
#: Folds that a smile draws are replaced: the region's sides lie farther out by as much as one mouth is wider than the
#: other, up to a limit; the share of each jaw point.
FOLD_LIMIT = 0.12
FOLD = torch.tensor([1, 0.8, 0.5, 0.2, 0, 0, 0, -0.2, -0.5, -0.8, -1])[:, None] * torch.tensor([-1.0, 0.0])


def blend_region(
    polygon: torch.Tensor,
    face: torch.Tensor,
    beyond: torch.Tensor,
    config: CompositeConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,1,h,w) blend mask in [0,1], and the wider support around it.

    The mask is the lower face from under the nose to the jaw line, softened inwards, and 1 on all mouths, the drawn and
    the filmed one, and `lip_margin` around them. The support is 1 wherever the mask is not 0.

    polygon: (B,16,2) of `region_polygon`; face: (B,h,w,2) positions; all face frame; beyond: (B,1,h,w) how far these
    lie outside all mouths and their margin."""
    depth = depth_inside(polygon, face)
    mask = torch.maximum(soft_step(depth / config.softness), soft_step(1 - beyond / LIP_EDGE))
    edge = 0.5 * config.softness
    support = torch.maximum(soft_step(1 + depth / edge), soft_step(1 - (beyond - LIP_EDGE) / edge))
    return mask, support


def region_polygon(jaw: torch.Tensor, lips: torch.Tensor) -> torch.Tensor:
    """(B,16,2) edge of the lower face that `blend_region` replaces, of jaws (B,17,2) and mouths (B,M,18,2)."""
    widths = (lips[:, :, 6] - lips[:, :, 0]).norm(dim=-1)
    wider = (widths.amax(1) - widths.amin(1)).clamp_max(FOLD_LIMIT)[:, None, None]
    cheeks = CHEEKS.to(jaw).expand(len(jaw), -1, -1)
    cheeks = cheeks + wider * torch.sign(cheeks) * cheeks.new_tensor([1.0, 0.5])
    sides = jaw[:, CHIN] * INSET.to(jaw) + wider * FOLD.to(jaw)
    return torch.cat([sides, cheeks], 1)


def off_lips(lips: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
    """(B,M,h,w) how far (B,h,w,2) positions lie outside the outer edges of M mouths (B,M,18,2); negative inside."""
    return -torch.cat([depth_inside(one[:, OUTER_LIPS], face) for one in lips.unbind(1)], 1)


def depth_inside(polygon: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B,1,h,w) signed distance of (B,h,w,2) points to the edge of the (B,N,2) polygon."""
    return signed_distance(polygon, points.flatten(1, 2)).reshape(len(points), 1, *points.shape[1:3])
