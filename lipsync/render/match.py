"""The drawn mouth given the light, the colour and the grain of the frame it is put into."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lipsync.config.schema import CompositeConfig
from lipsync.core.lips import soft_step
from lipsync.render.box import STEP, Box
from lipsync.render.region import depth_inside
from video.pyramid import gaussian_blur

_OUTER_LIPS = slice(0, 12)


def matched(
    over: torch.Tensor,
    bent: torch.Tensor,
    lips: torch.Tensor,
    target_lips: torch.Tensor,
    region: torch.Tensor,
    box: Box,
    config: CompositeConfig,
) -> torch.Tensor:
    """(B,3,h,w) the drawn mouths `over` as they would look in the frame's light, with the frame's own fine detail on
    skin.

    bent: (B,3,h,w) the frame, its jaw in place; lips, target_lips: (B,18,2) drawn and filmed, face frame; region:
    (B,1,h,w) coarse blend mask."""
    coarse = box.positions(STEP)
    off_lips = (
        -torch.maximum(depth_inside(lips[:, _OUTER_LIPS], coarse), depth_inside(target_lips[:, _OUTER_LIPS], coarse))
        - config.lip_margin
    )
    skin, sigma = region * (off_lips > 0), config.colour_sigma * box.scale / STEP
    light = box.fine(_slow_difference(bent, over, skin, sigma))
    # other light changes each colour in proportion (von Kries): added in full, it would tint the dark inside of the
    # mouth
    level = box.fine(_slow_difference(over, torch.zeros_like(over), skin, sigma))
    over = over + light * (over / level.clamp_min(0.05)).clamp(0, 1)
    # skin keeps the frame's own pores and grain, which a median of many frames has not
    grain = _fine_detail(bent - over, config.grain * box.scale)
    return over + box.fine(soft_step(off_lips / config.lip_margin)) * grain


def _fine_detail(rgb: torch.Tensor, sigma: float) -> torch.Tensor:
    return rgb - gaussian_blur(rgb, sigma)


def _slow_difference(under: torch.Tensor, over: torch.Tensor, weight: torch.Tensor, sigma: float) -> torch.Tensor:
    """(B,3,h,w) coarse: under - over, averaged over Gaussians of `sigma` nodes with the coarse (B,1,h,w) weight."""
    difference = F.interpolate(
        F.avg_pool2d(under - over, STEP, ceil_mode=True, count_include_pad=False),
        size=weight.shape[2:],
        mode="nearest",
    )
    smooth = gaussian_blur(torch.cat([difference * weight, weight], 1), sigma)
    return smooth[:, :3] / (smooth[:, 3:] + 1e-3)
