"""Style-modulated decoder after StyleGAN2 (Karras et al. 2020): a learned constant grows into a mouth, and lips and the
head's turn say at every size how strongly each of its channels speaks. No noise: the same lips give the same mouth.

Optional: a patch discriminator, non-saturating, with the gradient penalty R1 (Mescheder, Geiger and Nowozin 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from lipsync.config.textures import StyleConfig
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthSpace
from lipsync.textures.decoded import Decoded
from lipsync.textures.nets import N_LIP_NUMBERS, PatchDiscriminator, in_light_of, mlp, of_unit_size, resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch

#: Channels before and after each layer; the size doubles where they become fewer.
_WIDTHS = (128, 128, 96, 64, 48, 16, 16)


class Modulated(nn.Module):
    """Convolution whose input channels are scaled by the style, and whose output channels have about unit size whatever
    the style (weight demodulation), at twice the size if asked; the style shifts these as well, as in adaptive instance
    normalisation (Karras et al. 2019)."""

    def __init__(
        self, n_in: int, n_out: int, n_style: int, size: int = 3, grow: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        n_out = 4 * n_out if grow else n_out
        self.weight = nn.Parameter(torch.randn(n_out, n_in, size, size) / (n_in * size * size) ** 0.5)
        self.shift = of_unit_size(nn.Linear(n_style, n_out))
        self.style = of_unit_size(nn.Linear(n_style, n_in))
        nn.init.ones_(self.style.bias)
        self.grow, self.demodulate = grow, demodulate

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        scale = self.style(style).float()
        x = x * scale[:, :, None, None].to(x.dtype)
        y = F.conv2d(x, self.weight, padding=self.weight.shape[2] // 2)
        if self.demodulate:
            power = F.linear(scale.square(), self.weight.square().sum((2, 3)))
            y = y * torch.rsqrt(power.float() + 1e-8)[:, :, None, None].to(y.dtype)
        y = y + self.shift(style)[:, :, None, None].to(y.dtype)
        return F.pixel_shuffle(y, 2) if self.grow else y


class StyleDecoder(nn.Module):
    """(B,n) styles to (B,3,*size) pictures in [0,1]; every size adds its colours to those of the smaller ones."""

    def __init__(self, n: int, size: tuple[int, int], usual: torch.Tensor) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, _WIDTHS[0], size[0] // 16, size[1] // 16))
        self.usual = nn.Parameter(torch.logit(usual, 0.01))
        steps = list(pairwise(_WIDTHS))
        self.layers = nn.ModuleList(Modulated(a, b, n, grow=a > b) for a, b in steps)
        colours = [Modulated(b, 3, n, size=1, demodulate=False) for _, b in steps]
        for colour in colours:
            nn.init.zeros_(colour.weight)
            nn.init.zeros_(colour.shift.weight)
        self.colours = nn.ModuleList(colours)

    def forward(self, style: torch.Tensor) -> torch.Tensor:
        x, rgb = self.start.expand(len(style), -1, -1, -1), torch.zeros((), device=style.device)
        for layer, colour in zip(self.layers, self.colours, strict=False):
            x = F.leaky_relu(layer(x, style), 0.2) * 2**0.5
            if layer.grow:  # never the first
                rgb = F.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)
            rgb = colour(x, style).float() + rgb
        return torch.sigmoid(rgb + self.usual)


class Method(Decoded[StyleConfig]):
    name = "style"
    Config = StyleConfig
    _fake: torch.Tensor
    _real: torch.Tensor

    def build(self, space: MouthSpace) -> None:
        n = self.config.style
        self.nets["numbers"] = self._numbers
        self.nets["mapping"] = mlp(N_LIP_NUMBERS, 128, 128, n)
        self.nets["decoder"] = StyleDecoder(n, self.size, self._usual)

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        """The mouth of the lips' style, in the frame's own light and surroundings."""
        crop = resized(query.own_crop, self.size)
        return torch.lerp(crop, self._whole(query, crop), self.region), None

    def _whole(self, query: TextureQuery, crop: torch.Tensor) -> torch.Tensor:
        style = self.nets["mapping"](self.nets["numbers"](query.lips, query.pose))
        return in_light_of(self.nets["decoder"](style), crop, 1 - self.region)

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        config, game = self.config, losses.gan("gan")
        discriminator = PatchDiscriminator().to(self.device) if config.gan else None

        def loss(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            crop, truth = resized(batch.query.own_crop, self.size), resized(batch.truth, self.size)
            whole = self._whole(batch.query, crop)
            drawn = torch.lerp(crop, whole, self.region)
            weight = self.weight_of(batch.query.lips)
            terms = {
                "l1": losses.l1(weight * whole, weight * truth),
                "perceptual": 0.5 * losses.perceptual(drawn, truth),
                "temporal": config.temporal * losses.temporal(drawn, truth, batch.run),
            }
            if discriminator is not None:
                self._fake, self._real = drawn.detach(), truth
                terms["fools"] = config.adversarial * game.generator(discriminator(drawn))
            return terms

        objectives = [Objective("style", self.nets, loss, rate=config.rate, betas=(0.9, 0.99))]
        if discriminator is None:
            return objectives

        def discriminate(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            real = self._real.requires_grad_()
            liked = discriminator(real)
            slope = torch.autograd.grad(liked.float().sum(), real, create_graph=True)[0]
            penalty = config.r1 / 2 * slope.square().sum((1, 2, 3)).mean()
            return {"real": game.real(liked), "fake": game.fake(discriminator(self._fake)), "r1": penalty}

        second = Objective("discriminator", discriminator, discriminate, rate=config.rate / 2, betas=(0.5, 0.99))
        return [*objectives, second]
