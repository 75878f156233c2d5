"""The drawn mouth given the light, the colour and the grain of the frame it is put into."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lipsync.config.schema import CompositeConfig
from lipsync.core.lips import soft_step
from lipsync.render.box import STEP, Box
from video.pyramid import gaussian_blur

#: Detail up to so many times its mean strength on skin is grain.
GRAIN_LIMIT = 3.0


def matched(
    over: torch.Tensor,
    bent: torch.Tensor,
    beyond: torch.Tensor,
    region: torch.Tensor,
    box: Box,
    config: CompositeConfig,
) -> torch.Tensor:
    """(B,3,h,w) the drawn mouths `over` as they would look in the frame's light, with the frame's own fine detail on
    skin.

    bent: (B,3,h,w) the frame, its jaw in place; beyond: (B,1,h,w) coarse, how far outside both mouths and their
    margin; region: (B,1,h,w) coarse blend mask."""
    skin, sigma = region * (beyond > 0), config.colour_sigma * box.scale / STEP
    light, level = (box.fine(x) for x in _slow((bent - over, over), skin, sigma))
    # other light changes each colour in proportion (von Kries): added in full, it would tint the dark inside of the
    # mouth
    over = over + light * (over / level.clamp_min(0.05)).clamp(0, 1)
    # skin keeps the frame's own pores and grain, which a median of many frames has not
    grain = _fine_detail(bent - over, config.grain * box.scale)
    # but not the creases and the lip edges of the mouth that was filmed: they stand out of the grain
    some = skin[:, :, : (box.height - 1) // STEP + 1, : (box.width - 1) // STEP + 1]
    strength = (grain[..., ::STEP, ::STEP].abs() * some).sum((1, 2, 3), keepdim=True)
    usual = GRAIN_LIMIT * strength / (3 * some.sum((1, 2, 3), keepdim=True)).clamp_min(1)
    return over + box.fine(soft_step(beyond / config.lip_margin)) * torch.minimum(torch.maximum(grain, -usual), usual)


def _fine_detail(rgb: torch.Tensor, sigma: float) -> torch.Tensor:
    return rgb - gaussian_blur(rgb, sigma)


def _slow(pictures: tuple[torch.Tensor, ...], weight: torch.Tensor, sigma: float) -> tuple[torch.Tensor, ...]:
    """(B,3,h,w) coarse each: (B,3,H,W) pictures averaged over Gaussians of `sigma` nodes with the coarse (B,1,h,w)
    weight."""
    coarse = F.avg_pool2d(torch.cat(pictures, 1), STEP, ceil_mode=True, count_include_pad=False)
    coarse = F.interpolate(coarse, size=weight.shape[2:], mode="nearest")
    layers = torch.cat([coarse * weight, weight], 1)
    # wide means need no more than every other node
    half = F.avg_pool2d(layers, 2, ceil_mode=True, count_include_pad=False)
    smooth = F.interpolate(gaussian_blur(half, sigma / 2), size=weight.shape[2:], mode="bilinear")
    return (smooth[:, :-1] / (smooth[:, -1:] + 1e-3)).split(3, 1)
