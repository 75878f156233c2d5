"""Which part of a frame around the lower face is this person's skin: what the jaw may move, and what it may not."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lipsync.core.lips import soft_step
from lipsync.render.box import STEP, Box
from video.pyramid import gaussian_blur

#: Least spread of skin colours, natural logarithms: brightness, red over green, green over blue. A face lit evenly has
#: less; its neck has not.
LEAST_SPREAD = (0.12, 0.05, 0.05)
#: Skin lies within this many spreads in hue, and brighter or darker by at most so much (logarithm). Neck in the shadow
#: of the chin is dark.
HUE, BRIGHTER, DARKER = 3.6, 0.5, 1.5
#: In shadow hues wander: the spreads grow by this much for each unit of the logarithm below the face.
SHADOW = 0.9


def skin_colours(rgb: torch.Tensor, face: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and spread (B,3,1,1) of the skin's `log_colours` in (B,3,h,w) pictures where the weight `face` (B,1,h,w) is
    1: moles, stubble and highlights, beyond two spreads, are left out."""
    colours, weight = log_colours(rgb), face
    for _ in range(3):
        total = weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
        mean = (weight * colours).sum((2, 3), keepdim=True) / total
        spread = ((weight * (colours - mean).square()).sum((2, 3), keepdim=True) / total).sqrt()
        weight = face * ((colours - mean).abs() <= 2 * spread + 1e-4).all(1, keepdim=True)
    return mean, torch.maximum(spread, spread.new_tensor(LEAST_SPREAD)[None, :, None, None])


def skin_likeness(rgb: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """(B,1,h,w) in [0,1]: how surely the colours of (B,3,h,w) pictures are the skin's; 0.5 at its edge."""
    off = log_colours(rgb) - mean
    light = off[:, :1]
    wider = 1 + SHADOW * (-light).clamp_min(0)
    brightness = torch.where(
        light > 0, light / torch.maximum(3 * spread[:, :1], spread.new_tensor(BRIGHTER)), light / DARKER
    )
    hue = off[:, 1:] / (HUE * spread[:, 1:] * wider)
    return soft_step(2.5 - 2 * torch.sqrt(brightness.pow(4) + hue.square().sum(1, keepdim=True)))


def log_colours(rgb: torch.Tensor) -> torch.Tensor:
    """(B,3,h,w) of pictures in [0,1]: logarithms of the brightness, of red over green, and of green over blue; more or
    less light on a surface changes the first alone."""
    red, green, blue = (rgb + 0.02).log().unbind(1)
    return torch.stack([(red + green + blue) / 3, red - green, green - blue], 1)


def coarse_skin(
    under: torch.Tensor, face: torch.Tensor, sure: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """((B,1,h,w) coarse, 1 = skin, 0 = anything else), and the `skin_colours` it was told by.

    under: (B,3,H,W) box; face: (B,1,h,w) bool coarse, where to learn the colours from; sure: (B,1,h,w) bool, skin
    whatever its colour. Specks of other colours are skin."""
    small = F.interpolate(F.avg_pool2d(under, STEP, ceil_mode=True, count_include_pad=False), size=face.shape[2:])
    mean, spread = skin_colours(small, face.float())
    other = (skin_likeness(small, mean, spread) < 0.5) & ~sure
    other = F.avg_pool2d(other.float(), 3, 1, 1) > 0.5
    return (~other).float(), mean, spread


def clearance(skin: torch.Tensor, box: Box, reach: float) -> torch.Tensor:
    """(B,1,h,w) in [0,1] coarse: 0 on and beside whatever is not skin, rising evenly to 1 at `reach` (eye distances)
    from it."""
    n_nodes = max(2, round(reach * box.scale / STEP))
    kept = skin
    total = torch.zeros_like(skin)
    for k in range(n_nodes + 2):
        kept = -F.max_pool2d(-kept, 3, 1, 1)
        if k >= 1:
            total = total + kept
    return gaussian_blur(total / (n_nodes + 1), max(1.0, n_nodes / 4)) * -F.max_pool2d(-skin, 3, 1, 1)
