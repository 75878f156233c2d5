"""Each frequency band joined over a distance that suits it (Burt and Adelson 1983)."""

from __future__ import annotations

import torch

from lipsync.config.schema import CompositeConfig
from video import pyramid


class Blend:
    """Laplacian pyramids of `levels` bands."""

    name = "laplacian"
    removes_offset = False

    def __init__(self, config: CompositeConfig, device: torch.device) -> None:
        self.levels = config.levels

    def __call__(self, under: torch.Tensor, over: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return pyramid.blend(under, over, mask, self.levels)
