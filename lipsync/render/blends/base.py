"""What a blending method is: one file of `lipsync/render/blends/` with one class `Blend`, its name in
`CompositeConfig.blend`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch

from lipsync.config.schema import CompositeConfig

#: (under, over, mask) -> the picture: what a `BlendMethod` does.
Join: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class BlendMethod(Protocol):
    """Joins a drawn mouth and the frame around it."""

    name: str  # must equal the file's name
    #: Whether a constant difference of colour between mouth and frame is gone from the result.
    removes_offset: bool

    def __init__(self, config: CompositeConfig, device: torch.device) -> None: ...

    def __call__(self, under: torch.Tensor, over: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B,3,h,w) float32: `over` where the mask is 1, in the colours of `under` where the method adapts them, and
        `under` where it is 0.

        under, over: (B,3,h,w) float32 in [0,1], boxes around the lower face; mask: (B,1,h,w) in [0,1], soft. The result
        may differ from `under` a little beyond the mask; what calls bounds the change."""
        ...


def row_by_row(join: Join, under: torch.Tensor, over: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What `join` makes of every row alone, stacked: a row is then the same in any batch."""
    return torch.cat([join(*row) for row in zip(under.split(1), over.split(1), mask.split(1), strict=True)])


def around(inside: torch.Tensor, margin: float = 0.0) -> tuple[slice, slice, slice, slice]:
    """Where a (1,1,h,w) bool region lies, for indexing (1,C,h,w): a pixel more on every side, and `margin` of its
    larger side, inside the picture."""
    ends = [torch.nonzero(inside[0, 0].any(axis)).flatten()[[0, -1]].tolist() for axis in (1, 0)]
    wider = 1 + round(margin * max(last - first + 1 for first, last in ends))
    rows, columns = (slice(max(0, first - wider), last + 1 + wider) for first, last in ends)
    return slice(None), slice(None), rows, columns
