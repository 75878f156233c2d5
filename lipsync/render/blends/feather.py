"""The soft mask alone: what face-swapping programs do."""

from __future__ import annotations

import torch

from lipsync.config.schema import CompositeConfig


class Blend:
    """Linear in the mask."""

    name = "feather"

    def __init__(self, config: CompositeConfig, device: torch.device) -> None: ...

    def __call__(self, under: torch.Tensor, over: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.lerp(under, over, mask)
