"""Training pictures made different: warped, moved as a whole with their lips, and covered. Lots are torch's own,
lengths eye distances."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from lipsync.config.textures import AutoencoderConfig
from lipsync.core.geometry import sample_unit
from lipsync.core.lips import MIRRORED
from lipsync.core.types import MouthSpace
from lipsync.textures.nets import resized

#: Rotation (rad), log of zoom, shift to the right and down (eye distances), mirrored (0 or 1).
N_MOVE = 5
#: Points of the warp's grid across and down.
_GRID = 5


def random_affine(n: int, config: AutoencoderConfig, run: int = 1) -> torch.Tensor:
    """(n,5) moves, the same within a run; a share `config.moved` of them moves."""
    lots = torch.rand(n // run, N_MOVE + 1)
    most = torch.tensor([math.radians(config.rotate_deg), config.zoom, config.shift, config.shift])
    move = torch.cat([(2 * lots[:, :4] - 1) * most, (lots[:, 4:5] < config.flip).float()], 1)
    return torch.where(lots[:, 5:] < config.moved, move, 0.0).repeat_interleave(run, 0)


def move_lips(lips: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """(B,18,2) lips where the moved pictures show them."""
    flip = move[:, 4, None, None] > 0.5
    mirrored = lips[:, MIRRORED] * lips.new_tensor([-1.0, 1.0])
    return torch.where(flip, mirrored, lips) @ _turn(move).mT + move[:, None, 2:4]


def move_pose(pose: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """(B,3) the head's turn; a mirror turns yaw and roll."""
    return torch.where(move[:, 4:] > 0.5, pose * pose.new_tensor([-1.0, 1.0, -1.0]), pose)


def move_picture(x: torch.Tensor, move: torch.Tensor, space: MouthSpace) -> torch.Tensor:
    """(B,C,h,w) pictures of `space`, moved: mirrored at x = 0, turned and zoomed about the face frame's origin,
    shifted."""
    half = x.new_tensor([space.width, space.height]) / (2 * space.scale)
    middle = x.new_tensor([space.left, space.top]) + half
    at = _identity((x.shape[2], x.shape[3]), x.device) * half + middle
    at = (at - move[:, None, None, 2:4]) @ torch.linalg.inv(_turn(move).float()).mT[:, None]
    at = torch.where(move[:, 4, None, None, None] > 0.5, at * x.new_tensor([-1.0, 1.0]), at)
    return sampled(x, (at - middle) / half)


def random_warp(n: int, size: tuple[int, int], spread: float) -> torch.Tensor:
    """(n,h,w,2) positions to sample at, -1 to 1: those of a 5x5 grid moved by lot, `spread` widths at most, smoothly
    between."""
    height, width = size
    aside = (2 * torch.rand(n, 2, _GRID, _GRID) - 1) * 2 * spread * torch.tensor([1.0, width / height])[:, None, None]
    smooth = F.interpolate(aside, size=size, mode="bicubic", align_corners=True)
    return _identity(size, smooth.device) + smooth.movedim(1, -1)


def sampled(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """(B,C,h,w) pictures read at (B,h,w,2) positions from -1 to 1; beyond the rim as at the rim."""
    return sample_unit(x.float(), at.float())


def covered(
    crop: torch.Tensor, truth: torch.Tensor, share: float
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """(B,1,h,w) shapes with soft edges, and both pictures behind them; a `share` of the rows has one.

    Ellipses and polygons with bulges, of one of the picture's own colours or of any, shaded and textured.
    """
    n, _, height, width = truth.shape
    shape = _shapes(n, (height, width)).to(truth.device) * (torch.rand(n, 1, 1, 1) < share).to(truth.device)
    paint = _paints(truth)
    return shape, (torch.lerp(crop, paint, shape), torch.lerp(truth, paint, shape))


def _shapes(n: int, size: tuple[int, int]) -> torch.Tensor:
    """(n,1,h,w) in [0,1]."""
    height, width = size

    def number(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, 1, 1)

    at = _identity(size, "cpu") * torch.tensor([1.0, height / width])
    x, y = at[None, ..., 0] - number(-0.8, 0.8), at[None, ..., 1] - number(-0.6, 0.9)
    angle = number(0, math.pi)
    x, y = x * angle.cos() + y * angle.sin(), (y * angle.cos() - x * angle.sin()) * number(1, 3)
    around, corner = torch.atan2(y, x), math.pi / torch.randint(3, 8, (n, 1, 1))
    polygon = corner.cos() / (torch.remainder(around, 2 * corner) - corner).cos()
    reach = torch.where(torch.rand(n, 1, 1) < 0.5, polygon, 1.0)
    for k in (2, 3, 5):
        reach = reach + number(0, 0.3 / k) * (k * around + number(0, 2 * math.pi)).cos()
    inside = reach * number(0.15, 0.7) - torch.hypot(x, y)
    return (0.5 + inside / number(0.03, 0.12)).clamp(0, 1)[:, None]


def _paints(pictures: torch.Tensor) -> torch.Tensor:
    """(B,3,h,w) surfaces: a colour, a shade across it, coarse and fine texture."""
    n, _, height, width = pictures.shape
    row, column = torch.randint(0, height, (n,)), torch.randint(0, width, (n,))
    own = pictures[torch.arange(n), :, row, column].cpu()[..., None, None] * (0.6 + 0.8 * torch.rand(n, 1, 1, 1))
    colour = torch.where(torch.rand(n, 1, 1, 1) < 0.6, own, torch.rand(n, 3, 1, 1))
    slope = torch.randn(n, 1, 1, 2) * 0.15
    shade = (_identity((height, width), "cpu")[None] * slope).sum(-1)[:, None]
    for across in (4, 16, 64):
        grain = (
            torch.randn(n, 3 if across == 4 else 1, across * height // width, across) * 0.06 * torch.rand(n, 1, 1, 1)
        )
        shade = shade + resized(grain, (height, width))
    return (colour + shade).clamp(0, 1).to(pictures.device)


def _turn(move: torch.Tensor) -> torch.Tensor:
    """(B,2,2) rotation times zoom."""
    cos, sin = move[:, 0].cos() * move[:, 1].exp(), move[:, 0].sin() * move[:, 1].exp()
    return torch.stack([cos, -sin, sin, cos], 1).unflatten(1, (2, 2))


def _identity(size: tuple[int, int], device: torch.device | str) -> torch.Tensor:
    """(h,w,2) positions of the pixel centres, x and y from -1 to 1."""
    y, x = ((2 * torch.arange(n, device=device) + 1) / n - 1 for n in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
