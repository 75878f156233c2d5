"""Variational autoencoder (Kingma and Welling 2014) with a prior that knows the lips (Sohn, Lee and Yan 2015).

A mouth's latent numbers are what the lips and the head's turn foretell plus what they do not; an encoder of the real
mouth gives the second part, held near N(0, 1). Mouths are drawn from the mean that the lips foretell, so half of the
training rows are decoded from it as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lipsync.config.textures import VaeConfig
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthSpace
from lipsync.textures.decoded import Decoded
from lipsync.textures.nets import N_LIP_NUMBERS, Decoder, Encoder, in_light_of, mlp, resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch


class Method(Decoded[VaeConfig]):
    name = "vae"
    Config = VaeConfig

    def build(self, space: MouthSpace) -> None:
        n = self.config.code
        self.nets["numbers"] = self._numbers
        self.nets["prior"] = mlp(N_LIP_NUMBERS, 128, 128, n)
        self.nets["encoder"] = Encoder(self.size, 2 * n)
        self.nets["decoder"] = Decoder(n, self.size, self._usual)

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        """The mean mouth for the lips, in the frame's own light and surroundings."""
        crop = resized(query.own_crop, self.size)
        return torch.lerp(crop, self._lit(self.foretold(query), crop), self.region), None

    def foretold(self, query: TextureQuery) -> torch.Tensor:
        """(B,n) the mean of the latent numbers, given lips and pose."""
        return self.nets["prior"](self.nets["numbers"](query.lips, query.pose))

    def posterior(self, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,n) mean and log variance of what real mouths add to it."""
        mean, logvar = self.nets["encoder"](truth).float().chunk(2, 1)
        return mean, logvar.clamp(-10, 4)

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        def loss(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            crop, truth = resized(batch.query.own_crop, self.size), resized(batch.truth, self.size)
            mean, logvar = self.posterior(truth)
            added = mean + torch.randn_like(mean) * (logvar / 2).exp()
            seen = (torch.rand(len(mean) // batch.run, 1, device=mean.device) < 0.5).repeat_interleave(batch.run, 0)
            whole = self._lit(self.foretold(batch.query).float() + seen * added, crop)
            drawn = torch.lerp(crop, whole, self.region)
            weight = self.weight_of(batch.query.lips)
            return {
                "l1": losses.l1(weight * whole, weight * truth),
                "perceptual": 0.5 * losses.perceptual(drawn, truth),
                "kl": self.config.kl * losses.kl(mean, logvar),
                "temporal": self.config.temporal * losses.temporal(drawn, truth, batch.run),
            }

        return [Objective("vae", self.nets, loss, rate=self.config.rate, betas=(0.9, 0.999))]

    def _lit(self, numbers: torch.Tensor, crop: torch.Tensor) -> torch.Tensor:
        return in_light_of(self.nets["decoder"](numbers), crop, 1 - self.region)
