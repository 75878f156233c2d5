"""The texture `pix2pix-hd`: a coarse and a fine generator turn drawn lips into a mouth, discriminators judge it at two
scales (Wang et al. 2018).

Both generators learn at once, the coarse one also from its own picture. Beside the published terms stands the
difference of the pictures: minutes of training need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lipsync.config.textures import Pix2PixHdConfig
from lipsync.core.runtime import channels_last
from lipsync.core.types import MouthSpace
from lipsync.textures.nets import resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch
from lipsync.textures.translation import Canvas, CoarseToFine, Discriminators, Translator, from_signed, signed


class Method(Translator[Pix2PixHdConfig]):
    name = "pix2pix-hd"
    step_s = 0.6
    Config = Pix2PixHdConfig
    _pairs: tuple[torch.Tensor, torch.Tensor]

    def build(self, space: MouthSpace) -> None:
        """The generators: the coarse one at half the size."""
        config = self.config
        self.canvas = Canvas(space, config.width, 16)
        self.nets["generator"] = CoarseToFine(3, 3, config.channels, config.blocks, config.fine_blocks)
        channels_last(self.nets)

    def picture(self, query: torch.Tensor) -> torch.Tensor:
        return from_signed(self.nets["generator"](signed(query))[0])

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        """The generators, then the discriminators of (query, drawn) pairs."""
        config, game = self.config, losses.gan("lsgan")
        discriminators = Discriminators(6, config.discriminator_channels)
        shows = self.canvas.from_crop(self.shows)

        def generator(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            discriminators.requires_grad_(False)
            query, truth = self.canvas.draw_query(batch.query), self.canvas.from_crop(batch.truth)
            fine, coarse = (from_signed(picture) for picture in self.nets["generator"](signed(query)))
            drawn = torch.lerp(truth, fine, shows)
            real, fake = signed(torch.cat([query, truth], 1)), signed(torch.cat([query, drawn], 1))
            self._pairs = real, fake.detach()
            with torch.no_grad():
                wanted = discriminators(real)
            seen = discriminators(fake)
            half = resized(truth, coarse.shape[2:])
            between = [[layers[:-1] for layers in nets] for nets in (seen, wanted)]
            return {
                "gan": torch.stack([game.generator(layers[-1]) for layers in seen]).sum(),
                "matching": config.matching * losses.feature_matching(*between),
                "perceptual": config.perceptual * losses.perceptual(drawn, truth),
                "l1": config.l1 * losses.l1(drawn, truth),
                "coarse": config.l1 * losses.l1(torch.lerp(half, coarse, resized(shows, half.shape[2:])), half),
            }

        def discriminate(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            discriminators.requires_grad_(True)
            real, fake = ([layers[-1] for layers in discriminators(pair)] for pair in self._pairs)
            return {
                "real": 0.5 * torch.stack([game.real(x) for x in real]).sum(),
                "fake": 0.5 * torch.stack([game.fake(x) for x in fake]).sum(),
            }

        return [
            Objective("generator", self.nets, generator, config.rate),
            Objective("discriminators", discriminators, discriminate, config.rate),
        ]
