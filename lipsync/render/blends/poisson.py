"""Gradients of the mouth, colours of the frame at its edge (Perez, Gangnet and Blake 2003, "Poisson image editing").

Inside the region the result is the mouth plus a membrane: the harmonic function that is frame minus mouth along the
region's edge. It is solved on the tensor's device by conjugate gradients, with a multigrid cycle before each step
(McAdams, Sifakis and Teran 2010): some ten steps whatever the region's size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from lipsync.config.schema import CompositeConfig
from lipsync.render.blends.base import around, row_by_row

#: Error at which the solver stops, as a share of the start's, in the norm of the energy; and the most steps.
TOLERANCE, MOST_STEPS = 1e-4, 60
#: Weight of a Jacobi sweep, sweeps on each side of a finer grid's correction, and on the coarsest grid.
_DAMPING, _SWEEPS, _COARSEST = 0.8, 2, 12


class Blend:
    """Exact up to the solver's tolerance; the region is where the mask is above half of its largest value."""

    name = "poisson"
    removes_offset = True

    def __init__(self, config: CompositeConfig, device: torch.device) -> None: ...

    def __call__(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        return row_by_row(_cloned, under, over, mask)


def _cloned(under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
    """One row: (1,3,h,w)."""
    most, out = mask.amax(), under.clone()
    inside = mask > 0.5 * most
    if not bool(inside.any()):
        return out
    part = around(inside)
    here, low, high = inside[part], under[part], over[part]
    # less than 1 only where a drawn mouth comes or goes
    out[part] = torch.where(here, torch.lerp(low, high + membrane(low - high, here), most), low)
    return out


def membrane(edge: Tensor, inside: Tensor) -> Tensor:
    """(1,C,h,w): harmonic inside, `edge` elsewhere. edge: (1,C,h,w) float; inside: (1,1,h,w) bool.

    Every pixel inside is the mean of its neighbours within the picture (4, at the picture's border 3 or 2): the
    discrete Poisson equation of Perez et al., eq. 7, for the difference of result and mouth. 0 where the whole picture
    is inside and nothing is known at an edge."""
    if bool(inside.all()):
        return torch.zeros_like(edge)
    grids = _grids(inside.to(edge))
    finest = grids[0]
    height, width = edge.shape[2:]
    known = pad(edge * ~inside, (0, finest.inside.shape[3] - width, 0, finest.inside.shape[2] - height))
    solved = _solved(grids, _neighbours(known) * finest.inside)
    return torch.where(inside, solved[..., :height, :width], edge)


@dataclass(frozen=True, slots=True)
class _Grid:
    """inside: (1,1,h,w), 1 where a value is sought, else 0; count: neighbours of each within the picture."""

    inside: Tensor
    count: Tensor

    def of(self, x: Tensor) -> Tensor:
        """The negative Laplacian of `x`, which is 0 outside, at the places inside."""
        return (self.count * x - _neighbours(x)) * self.inside


def _grids(inside: Tensor) -> list[_Grid]:
    """From fine to coarse; places outside are added until every size can be halved."""
    halvings = max(0, min(inside.shape[2:]).bit_length() - 3)
    more = [-size % 2**halvings for size in inside.shape[2:]]
    inside, there = (pad(x, (0, more[1], 0, more[0])) for x in (inside, torch.ones_like(inside)))
    grids = [_Grid(inside, _neighbours(there).clamp_min(1))]
    for _ in range(halvings):
        # a coarse place is sought where all four fine ones are
        inside, there = -max_pool2d(-inside, 2), max_pool2d(there, 2)
        if not bool(inside.any()):
            break
        grids.append(_Grid(inside, _neighbours(there).clamp_min(1)))
    return grids


def _solved(grids: list[_Grid], right: Tensor) -> Tensor:
    """Conjugate gradients, every channel with its own steps."""
    grid, x, left = grids[0], torch.zeros_like(right), right
    direction = corrected = _cycle(grids, 0, left)
    energy = start = _dot(left, corrected)
    for _ in range(MOST_STEPS):
        if not bool((energy > TOLERANCE**2 * start).any()):
            break
        pushed = grid.of(direction)
        step = energy / _dot(direction, pushed).clamp_min(1e-30)
        x, left = x + step * direction, left - step * pushed
        corrected = _cycle(grids, 0, left)
        before, energy = energy, _dot(left, corrected)
        direction = corrected + energy / before.clamp_min(1e-30) * direction
    return x


def _cycle(grids: list[_Grid], level: int, right: Tensor) -> Tensor:
    """One V-cycle from nothing: symmetric, so that conjugate gradients may use it."""
    grid = grids[level]
    weight = _DAMPING * grid.inside / grid.count
    x = weight * right
    last = level + 1 == len(grids)
    for _ in range(_COARSEST if last else _SWEEPS - 1):
        x = x + weight * (right - grid.of(x))
    if not last:
        x = x + grid.inside * _finer(_cycle(grids, level + 1, _coarser(right - grid.of(x)) * grids[level + 1].inside))
        for _ in range(_SWEEPS):
            x = x + weight * (right - grid.of(x))
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((2, 3), keepdim=True)


def _neighbours(x: Tensor) -> Tensor:
    """The sum of the four neighbours, 0 beyond the picture."""
    total = torch.zeros_like(x)
    total[..., 1:, :] += x[..., :-1, :]
    total[..., :-1, :] += x[..., 1:, :]
    total[..., :, 1:] += x[..., :, :-1]
    total[..., :, :-1] += x[..., :, 1:]
    return total


def _finer(x: Tensor) -> Tensor:
    """Twice the size, bilinear between the centres, 0 beyond."""
    for axis in (2, 3):
        n = x.shape[axis]
        wide = pad(x, (0, 0, 1, 1) if axis == 2 else (1, 1))
        before, after = wide.narrow(axis, 0, n), wide.narrow(axis, 2, n)
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1).flatten(axis, axis + 1)
    return x


def _coarser(x: Tensor) -> Tensor:
    """Half the size: the transpose of `_finer`, as conjugate gradients need it."""
    for axis in (2, 3):
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
        n = even.shape[axis]
        first, last = (pad(y, (0, 0, 1, 1) if axis == 2 else (1, 1)) for y in (even, odd))
        x = 0.75 * (even + odd) + 0.25 * (first.narrow(axis, 2, n) + last.narrow(axis, 0, n))
    return x
