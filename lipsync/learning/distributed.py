"""Several processes that train the same networks, each on its own part of the data, one for each GPU (through Lightning
Fabric).

`lipsync.learning.loop.train(..., ranks=ranks)` starts from the weights of the first rank, moves every rank by the mean
of all gradients, and lets the first one alone evaluate, report and save. Gradients are averaged after the backward
pass, not inside of it, so that losses may call the networks as often and in whatever order they like (the games of
GANs)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from lipsync.core.errors import LipsyncError


class Ranks:
    """This process among its equals. rank: 0 to n - 1; device: its own; first: it is rank 0."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.n, self.rank, self.device = fabric.world_size, fabric.global_rank, fabric.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    @torch.no_grad()
    def mean_gradients(self, net: nn.Module) -> None:
        """Every gradient becomes its mean over all ranks; a rank without it counts as 0, and where all are without it
        there stays none."""
        learned = [p for p in net.parameters() if p.requires_grad]
        has = torch.tensor([float(p.grad is not None) for p in learned], device=self.device)
        rows = [p.grad.float() if p.grad is not None else torch.zeros_like(p, dtype=torch.float32) for p in learned]
        *means, some = self._reduced([*rows, has], "mean")
        for parameter, mean, found in zip(learned, means, some.tolist(), strict=True):
            parameter.grad = mean.to(parameter.dtype) if found else None

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """The tensors take the first rank's values, exactly."""
        kinds: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for alike in kinds.values():
            values = [t.byte() if t.dtype == torch.bool else t for t in alike]
            values = [t if self.first else torch.zeros_like(t) for t in values]
            for tensor, value in zip(alike, self._reduced(values, "sum"), strict=True):
                tensor.copy_(value)

    def of_the_first(self, number: float) -> float:
        """The first rank's number, on every rank."""
        shared = torch.tensor([number], dtype=torch.float64)
        self.broadcast([shared])
        return float(shared)

    def gathered(self, row: torch.Tensor) -> list[torch.Tensor]:
        """The (K,) uint8 rows of all ranks, by rank, on the CPU."""
        rows = torch.zeros(self.n, *row.shape, dtype=torch.int32)
        rows[self.rank] = row.int()
        return list(self._reduced([rows], "sum")[0].to(torch.uint8).cpu())

    def _reduced(self, tensors: Sequence[torch.Tensor], how: str) -> list[torch.Tensor]:
        """Sums or means over all ranks, in one message."""
        flat = torch.cat([t.detach().reshape(-1).to(self.device) for t in tensors])
        parts = self._fabric.all_reduce(flat, reduce_op=how).split([t.numel() for t in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def launch(n: int, function: Callable[..., Any], *arguments: object, accelerator: str = "auto") -> Any:
    """What `function(ranks, *arguments)` returns on the first of n ranks, each a new process with its own GPU
    (accelerator "cpu": cores).

    function: importable by name, and arguments: small and plain, for they are sent to the new processes. An error on
    any rank ends all of them. LipsyncError: Lightning is not installed, or there are fewer devices than asked for."""
    if importlib.util.find_spec("lightning") is None:
        raise LipsyncError("Training on several devices needs Lightning: pip install 'lipsync-dub[train]'.")
    from lightning.fabric import Fabric  # pyright: ignore[reportMissingImports]  an extra

    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and n > torch.cuda.device_count():
        raise LipsyncError(
            f"{n} devices were asked for, but this machine has {torch.cuda.device_count()}. "
            "Ask for fewer with --devices."
        )
    return Fabric(accelerator=accelerator, devices=n, strategy="ddp_spawn").launch(_on_rank, function, arguments)


def _on_rank(fabric: Any, function: Callable[..., Any], arguments: Sequence[object]) -> Any:
    if fabric.device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // fabric.world_size))
    try:
        return function(Ranks(fabric), *arguments)
    finally:
        # Its threads would otherwise now and then outlive the interpreter, which ends the process with an abort.
        torch.distributed.destroy_process_group()
