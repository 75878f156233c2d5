"""Who learns what: one entry of a training, the same for lips, textures and the perceptual network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")
Terms = Mapping[str, Tensor]


@dataclass(slots=True)
class Objective(Generic[Batch]):
    """`loss(batch)` gives named, weighted terms; their sum is stepped down by `optimiser`, which is Adam (Kingma and Ba
    2015) of this rate and these betas where none is given."""

    name: str
    net: nn.Module
    loss: Callable[[Batch], Terms]
    rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    clip: float = 1.0  # largest norm of a gradient
    optimiser: torch.optim.Optimizer | None = None
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
