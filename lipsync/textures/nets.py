"""What the learned textures share: the region that is redrawn, lips drawn as a picture, sizes, and small blocks of
layers.

No block lets a picture depend on the others of its batch: rows are rendered alone and in any order.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lipsync.core.geometry import signed_distance
from lipsync.core.lips import INNER_EDGE, LipBasis, soft_step
from lipsync.core.types import MouthBank, MouthSpace
from lipsync.textures.norm import NormLeakyReLU

#: Part of the face that speech moves, face frame: centre, half width and half height of a superellipse.
_CENTRE, _HALF_WIDTH, _HALF_HEIGHT = (0.0, 0.2), 0.58, 0.51
#: Share of that size over which the region fades out at its rim.
_RIM = 0.15
#: The outer edge of the lips.
_OUTER = slice(0, 12)
#: Width of a drawn contour, eye distances; nothing of drawn lips is farther from them than `_BESIDE`.
_LINE, _BESIDE = 0.02, 0.1
#: Half width and half height of a hill about as large as a mouth.
_HILL = (0.35, 0.25)
#: How many numbers `LipNumbers` makes.
N_LIP_NUMBERS = 19
#: Variance of a colour below which its scale is not trusted.
_RIDGE = 1e-3


@functools.lru_cache(maxsize=8)
def lower_face(space: MouthSpace, device: torch.device | str = "cpu") -> torch.Tensor:
    """(1,1,Hm,Wm) in [0,1]: the part of the crop that may be redrawn, 0 on the crop's rim. The same tensor each time:
    not to be written to."""
    at = positions(space, (space.height, space.width), device) - torch.tensor(_CENTRE, device=device)
    away = ((at / torch.tensor([_HALF_WIDTH, _HALF_HEIGHT], device=device)) ** 4).sum(-1) ** 0.25
    return soft_step((1 - away) / _RIM)[None, None]


def blanked(crop: torch.Tensor, space: MouthSpace) -> torch.Tensor:
    """The (B,3,Hm,Wm) crops, grey wherever they may be redrawn: what is left shows nothing of the words that were
    said."""
    return torch.where(lower_face(space, crop.device) > 0, 0.5, crop)


def drawn_lips(lips: torch.Tensor, space: MouthSpace, size: tuple[int, int]) -> torch.Tensor:
    """(B,3,height,width) in [0,1] picture of (B,18,2) lips: outer contour, inner contour, and the opening filled.
    Worked out only near the lips: the rest is most of the picture, and nothing is there."""
    at = positions(space, size, lips.device)
    low, high = lips.amin((0, 1)) - _BESIDE, lips.amax((0, 1)) + _BESIDE
    edges = [end for k, line in enumerate((at[0, :, 0], at[:, 0, 1])) for end in ((line < low[k]), (line <= high[k]))]
    x0, x1, y0, y1 = torch.stack([edge.sum() for edge in edges]).tolist()
    drawn = lips.new_zeros(len(lips), 3, *size)
    if x0 < x1 and y0 < y1:
        drawn[:, :, y0:y1, x0:x1] = lips_at(lips, at[y0:y1, x0:x1])
    return drawn


def lips_at(lips: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """(B,3,h,w) the same at (h,w,2) places of the face frame."""
    size, at = at.shape[:2], at.reshape(1, -1, 2)
    outer, inner = signed_distance(lips[:, _OUTER], at), signed_distance(lips[:, INNER_EDGE], at)
    layers = [
        torch.exp(-((outer / _LINE) ** 2)),
        torch.exp(-((inner / _LINE) ** 2)),
        soft_step(0.5 + inner / _LINE),
    ]
    return torch.stack(layers, 1).reshape(len(lips), 3, *size)


def heatmaps(points: torch.Tensor, space: MouthSpace, size: tuple[int, int], spread: float) -> torch.Tensor:
    """(B,P,*size) in [0,1]: for each of (B,P,2) face-frame points a Gaussian of 1 at the point, `spread` eye distances
    wide (FSGAN: Nirkin et al. 2019, after Wang et al. 2019)."""
    at = positions(space, size, points.device)
    x, y = at[0, :, 0], at[:, 0, 1]
    across, down = (
        torch.exp(-((place - points[..., axis, None]) ** 2) / (2 * spread**2)) for axis, place in ((0, x), (1, y))
    )
    return down[..., :, None] * across[..., None, :]


def lip_parts(lips: torch.Tensor, space: MouthSpace, size: tuple[int, int]) -> torch.Tensor:
    """(B,*size) int64 what a pixel of (B,18,2) lips shows: 0 neither, 1 the lips, 2 the opening between them."""
    at = positions(space, size, lips.device).reshape(1, -1, 2)
    outer, inner = (signed_distance(lips[:, edge], at) > 0 for edge in (_OUTER, INNER_EDGE))
    return torch.where(inner, 2, outer.long()).reshape(len(lips), *size)


def lip_numbers(lips: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """(B,39) lips (B,18,2) and pose (B,3) as numbers of about unit size."""
    return torch.cat([lips.flatten(1) * 4, pose / 10], 1)


def net_size(space: MouthSpace, width: int, multiple: int = 16) -> tuple[int, int]:
    """(height, width) nearest to the crop's aspect whose sides a network can halve: multiples of `multiple`."""
    return max(multiple, round(width * space.height / space.width / multiple) * multiple), max(
        multiple, round(width / multiple) * multiple
    )


def resized(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(B,C,*size) pictures: averaged areas where they shrink, bicubic where they grow."""
    if x.shape[2:] == torch.Size(size):
        return x
    if size[0] <= x.shape[2] and size[1] <= x.shape[3]:
        return F.interpolate(x, size=list(size), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(x, size=list(size), mode="bicubic", align_corners=False)


def conv(n_in: int, n_out: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation within the picture, leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride, size // 2, padding_mode="replicate" if size > 1 else "zeros"),
        NormLeakyReLU(_groups(n_out), n_out),
    )


class Residual(nn.Module):
    """Two convolutions beside the identity (He 2016)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(n, n), nn.Conv2d(n, n, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).add_(x)


class Beside(nn.Sequential):
    """Layers whose first `conv` reads channels of each candidate's own and channels common to all of them, which it
    convolves once: (N,n_own,h,w) and what `common` makes of the rest, for each, to what the layers answer.

    differences: the rest begins with as many common channels that are subtracted from the own ones, and the difference
    follows them, as own minus common."""

    def __init__(self, n_own: int, *layers: nn.Module, differences: bool = False) -> None:
        super().__init__(*layers)
        self.n_own, self.differences = n_own, differences

    def common(self, rest: torch.Tensor) -> torch.Tensor:
        """(B,n,h',w') what the common (B,C,h,w) channels add."""
        first = self._first()
        return first._conv_forward(rest, self._weights(first)[1], first.bias)

    def forward(self, own: torch.Tensor, common: torch.Tensor) -> torch.Tensor:
        first, layers = self._first(), self[0]
        x = first._conv_forward(own, self._weights(first)[0], None).add_(common)
        for layer in [*layers.children()][1:] + [*self.children()][1:]:
            x = layer(x)
        return x

    def _first(self) -> nn.Conv2d:
        return next(each for each in self[0].children() if isinstance(each, nn.Conv2d))

    def _weights(self, first: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the own and of the common channels."""
        n = self.n_own
        own, rest = first.weight[:, :n], first.weight[:, n:]
        if not self.differences:
            return own, rest
        less = rest[:, n : 2 * n]
        return own + less, torch.cat([rest[:, :n] - less, rest[:, 2 * n :]], 1)


class Grow(nn.Module):
    """Twice the size: convolution, then pixels out of channels (Shi 2016)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.body, self.shuffle = conv(n_in, 4 * n_out), nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.body(x))


def grow_freely(n_in: int, n_out: int) -> nn.Sequential:
    """Twice the size, without normalisation: decoders that start from numbers learn several times faster so."""
    layer = nn.Conv2d(n_in, 4 * n_out, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, 0.2)
    nn.init.zeros_(layer.get_parameter("bias"))
    return nn.Sequential(layer, nn.LeakyReLU(0.2), nn.PixelShuffle(2))


class LipNumbers(nn.Module):
    """(B,18,2) lips and (B,3) pose to (B,19) numbers of about unit size and little in common: principal components of
    the bank's lips."""

    rest: torch.Tensor
    axes: torch.Tensor
    ahead: torch.Tensor
    turns: torch.Tensor

    def __init__(self, bank: MouthBank) -> None:
        super().__init__()
        basis = LipBasis.fit(bank.lips, np.ones(len(bank), bool), N_LIP_NUMBERS - 3)
        size = np.maximum(basis.spread, 0.1 * basis.spread[0]).clip(1e-4)
        self.register_buffer("rest", torch.from_numpy(basis.mean))
        self.register_buffer("axes", torch.from_numpy(basis.components.reshape(-1, 36).T / size))
        self.register_buffer("ahead", torch.from_numpy(bank.pose.mean(0)))
        self.register_buffer("turns", torch.from_numpy(bank.pose.std(0).clip(1.0)))

    def forward(self, lips: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        with torch.autocast(lips.device.type, enabled=False):
            return torch.cat([(lips - self.rest).flatten(1) @ self.axes, (pose - self.ahead) / self.turns], 1).clamp(
                -5, 5
            )


class Encoder(nn.Module):
    """(B,3,*size) pictures to (B,n) numbers: four halvings and a dense layer."""

    def __init__(self, size: tuple[int, int], n: int, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.body = nn.Sequential(*(conv(a, b, 3, 2) for a, b in zip((3, *widths), widths, strict=False)))
        self.leave = nn.Linear(widths[-1] * (size[0] // 16) * (size[1] // 16), n)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.body(2 * x - 1).flatten(1))


class Decoder(nn.Module):
    """(B,n) numbers to (B,3,*size) pictures in [0,1]: a dense layer and four doublings, on top of a learned picture
    that starts as `usual`."""

    def __init__(
        self, n: int, size: tuple[int, int], usual: torch.Tensor, widths: Sequence[int] = (128, 96, 64, 48, 16)
    ) -> None:
        super().__init__()
        self.small = (widths[0], size[0] // 16, size[1] // 16)
        self.enter = of_unit_size(nn.Linear(n, math.prod(self.small)))
        self.body = nn.Sequential(*(grow_freely(a, b) for a, b in itertools.pairwise(widths)))
        self.leave = smooth_colours(widths[-1])
        self.usual = nn.Parameter(torch.logit(usual, 0.01))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        x = self.enter(numbers).unflatten(1, self.small)
        return torch.sigmoid(self.leave(self.body(x)).float() + self.usual)


def patch_layer(n_in: int, n_out: int, stride: int = 2, *norm: nn.Module) -> list[nn.Module]:
    """A layer of a discriminator of patches (Isola et al. 2017): a 4x4 convolution, a norm if any, leaky ReLU."""
    return [nn.Conv2d(n_in, n_out, 4, stride, 1, bias=not norm), *norm, nn.LeakyReLU(0.2)]


class PatchDiscriminator(nn.Module):
    """(B,3,H,W) pictures to logits of their patches, 46 pixels wide, being real (after Isola et al. 2017)."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96)) -> None:
        super().__init__()
        layers = [nn.Sequential(*patch_layer(a, b)) for a, b in zip((3, *widths), widths, strict=False)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(2 * x - 1)


def mlp(*widths: int) -> nn.Sequential:
    """Dense layers with leaky ReLUs between, set up so that what goes in at unit size comes out at unit size (He et al.
    2015)."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [of_unit_size(nn.Linear(a, b)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


def of_unit_size(layer: nn.Linear) -> nn.Linear:
    nn.init.kaiming_normal_(layer.weight, 0.2)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def smooth_colours(n: int) -> nn.Sequential:
    """(B,n,h,w) to (B,3,h,w), at first 0: a layer of its own at full size, or the doublings' 2x2 pattern shows."""
    return nn.Sequential(nn.Conv2d(n, n, 3, padding=1), nn.LeakyReLU(0.2), from_nothing(nn.Conv2d(n, 3, 3, padding=1)))


def from_nothing(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights 0: what it adds to begins unchanged."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def usual_picture(bank: MouthBank, size: tuple[int, int], rows: int = 100) -> torch.Tensor:
    """(3,*size) mean of some of the bank's mouths, evenly chosen."""
    some = np.unique(np.linspace(0, len(bank) - 1, rows).astype(int))
    return resized(torch.from_numpy(bank.take(some)).float().mean(0, keepdim=True) / 255, size)[0]


def near_lips(lips: torch.Tensor, space: MouthSpace, size: tuple[int, int]) -> torch.Tensor:
    """(B,1,*size) in [0,1]: 1 at the middle of (B,18,2) lips, a hill about as wide as a mouth."""
    away = (positions(space, size, lips.device) - lips.mean(1)[:, None, None]) / torch.tensor(_HILL, device=lips.device)
    return torch.exp(-away.square().sum(-1))[:, None]


def in_light_of(drawn: torch.Tensor, crop: torch.Tensor, around: torch.Tensor) -> torch.Tensor:
    """The (B,3,h,w) pictures in the light of `crop`: each colour scaled and shifted as fits best where `around`
    (.,1,h,w) weighs.

    Least squares, held near no change by a small ridge.
    """
    weight = around / around.sum((2, 3), keepdim=True).clamp_min(1e-6)

    def mean(x: torch.Tensor) -> torch.Tensor:
        return (weight * x).sum((2, 3), keepdim=True)

    ours, theirs = mean(drawn), mean(crop)
    scale = (mean((drawn - ours) * (crop - theirs)) + _RIDGE) / (mean((drawn - ours).square()) + _RIDGE)
    return theirs + scale * (drawn - ours)


def _groups(n: int) -> int:
    return next(g for g in (8, 4, 2, 1) if n % g == 0)


def positions(space: MouthSpace, size: tuple[int, int], device: torch.device | str) -> torch.Tensor:
    """(h,w,2) face-frame positions of the pixel centres of a crop drawn at `size`."""
    y = (torch.arange(size[0], device=device) + 0.5) * (space.height / size[0] / space.scale) + space.top
    x = (torch.arange(size[1], device=device) + 0.5) * (space.width / size[1] / space.scale) + space.left
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
