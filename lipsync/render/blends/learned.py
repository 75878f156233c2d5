"""A small network adds what a blend in the gradient domain would: trained towards the Poisson result as the blending
network of FSGAN (Nirkin, Keller and Hassner 2019), by `training/blend.py`.

It sees frame and mouth small and answers with a smooth change of colour, which is enlarged and added to the mouth: any
size of picture, all the mouth's detail, and nothing of a person to remember."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from lipsync.config.schema import CompositeConfig
from lipsync.render.blends.base import around, row_by_row
from lipsync.store.cache import save_tensors
from lipsync.store.registry import BLEND
from lipsync.store.weights_file import read_weights_file
from media.atomic import atomic_write
from video.pyramid import pull_push

#: What the network sees: (height, width) in pixels, and how much around the region, as a share of its larger side.
SIZE, MARGIN = (80, 96), 0.05
WIDTHS = (16, 24, 32, 48)
#: Below this the mask's rim is not looked at: a drawn mouth may end there.
_RIM = 0.02


class BlendNet(nn.Module):
    """(B,3,h,w) frame and mouth and (B,1,h,w) soft mask, sides multiples of 8, to the (B,3,h,w) change of the mouth's
    colours: a U-Net (Ronneberger et al. 2015).

    Of the frame it sees the rim of the hole alone, as the difference from the mouth there, and that difference spread
    over the hole, which it makes better: a difference that is the same everywhere needs no network."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = _Two(10, WIDTHS[0])
        self.down = nn.ModuleList(_Two(a, b, 2) for a, b in pairwise(WIDTHS))
        self.up = nn.ModuleList(_Two(a + b, b) for a, b in pairwise(WIDTHS[::-1]))
        self.leave = nn.Conv2d(WIDTHS[0], 3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.get_parameter("bias"))

    def forward(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        rim = (1 - mask) * (mask > _RIM)
        difference = rim * (under - over)
        first = pull_push(difference, rim)
        x = self.enter(torch.cat([4 * difference, 4 * first, 2 * over - 1, mask], 1))
        kept = [x]
        for down in self.down:
            x = down(x)
            kept.append(x)
        for up, wider in zip(self.up, kept[-2::-1], strict=True):
            x = up(torch.cat([interpolate(x, size=wider.shape[2:], mode="bilinear"), wider], 1))
        return first + 0.25 * self.leave(x)

    def save(self, path: Path, about: dict[str, str]) -> None:
        """Writes the network, 16-bit floats, with `about` beside it."""
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        with atomic_write(path) as part:
            save_tensors(part, tensors, {"what": "blend"} | about)


class _Two(nn.Module):
    """Two convolutions with leaky ReLUs, the first of a stride; no normalisation: colours must come through."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride, 1, padding_mode="replicate")
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1, padding_mode="replicate")
        for layer in (self.first, self.second):  # of unit size on the way, or nothing arrives (He et al. 2015)
            nn.init.kaiming_normal_(layer.weight, 0.2)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.second(leaky_relu(self.first(x), 0.2)), 0.2)


@lru_cache(maxsize=4)
def blend_net(device: str = "cpu", path: Path = BLEND) -> BlendNet:
    """The network of a file, float32, ready to use: the one that ships. Read once for each device. LipsyncError: not
    such a file."""
    net, file = BlendNet(), read_weights_file(path, "a blending network", "Install lipsync again.")
    with file.whole():
        file.fill(net)
    return net.to(device).eval().requires_grad_(False)


class Blend:
    """The mouth, its colours changed by the network, in the soft mask."""

    name = "learned"
    removes_offset = True

    def __init__(self, config: CompositeConfig, device: torch.device) -> None:
        self.net = blend_net(str(device))

    def __call__(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        return row_by_row(self._joined, under, over, mask)

    def _joined(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        """One row: (1,3,h,w)."""
        most, out = mask.amax(), under.clone()
        if not bool(most > 0):
            return out
        part = around(mask > 0, MARGIN)
        low, high = under[part], over[part]
        change = self.net(*seen_small(low, high, mask[part] / most))
        change = interpolate(change, size=high.shape[2:], mode="bicubic", align_corners=False)
        out[part] = torch.lerp(low, high + change, mask[part])
        return out


def seen_small(*pictures: Tensor) -> list[Tensor]:
    """The (B,C,h,w) pictures at the network's size."""
    return [interpolate(x, size=SIZE, mode="bilinear", antialias=True, align_corners=False) for x in pictures]
