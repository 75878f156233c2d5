"""The texture `pix2pix`: a U-Net turns drawn lips into a mouth, a PatchGAN judges drawing and mouth together (Isola et
al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lipsync.config.textures import Pix2PixConfig
from lipsync.core.runtime import channels_last
from lipsync.core.types import MouthSpace
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch
from lipsync.textures.translation import Canvas, PatchDiscriminator, Translator, UNet, signed


class Method(Translator[Pix2PixConfig]):
    name = "pix2pix"
    Config = Pix2PixConfig
    _query: torch.Tensor
    _truth: torch.Tensor
    _drawn: torch.Tensor

    def build(self, space: MouthSpace) -> None:
        """The generator: the crop's own pixels up to `width`, the published network with fewer levels and channels."""
        self.canvas = Canvas(space, self.config.width, 2**self.config.levels)
        self.nets["generator"] = UNet(3, 3, self.config.channels, self.config.levels)
        channels_last(self.nets)

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        """The generator, then the discriminator of (query, drawn) pairs."""
        config, game = self.config, losses.gan("gan")
        discriminator = PatchDiscriminator(6, config.discriminator_channels)
        shows = self.canvas.from_crop(self.shows)

        def generator(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            discriminator.requires_grad_(False)
            self._query, self._truth = self.canvas.draw_query(batch.query), self.canvas.from_crop(batch.truth)
            drawn = torch.lerp(self._truth, self.picture(self._query), shows)
            self._drawn = drawn.detach()
            logits = discriminator(signed(torch.cat([self._query, drawn], 1)))[-1]
            # the paper's weight of 100 is for pictures in [-1,1]
            return {"l1": 2 * config.l1 * losses.l1(drawn, self._truth), "gan": game.generator(logits)}

        def discriminate(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            discriminator.requires_grad_(True)
            real, fake = (
                discriminator(signed(torch.cat([self._query, shown], 1)))[-1] for shown in (self._truth, self._drawn)
            )
            return {"real": 0.5 * game.real(real), "fake": 0.5 * game.fake(fake)}

        return [
            Objective("generator", self.nets, generator, config.rate),
            Objective("discriminator", discriminator, discriminate, config.rate),
        ]
