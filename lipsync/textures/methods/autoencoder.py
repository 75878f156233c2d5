"""Autoencoder as the deepfake programs have it (Rossler et al. 2019 describe them): trained to undo random warps of
real mouths.

The few numbers between encoder and decoder are also foretold from the wanted lips and from what the lip model hears;
mouths are drawn from those. A mask keeps what is held before the mouth: it is learned from shapes pasted over the
training pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from lipsync.config.textures import AutoencoderConfig
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthSpace
from lipsync.textures.augmentation import (
    N_MOVE,
    covered,
    move_lips,
    move_picture,
    move_pose,
    random_affine,
    random_warp,
    sampled,
)
from lipsync.textures.decoded import Decoded
from lipsync.textures.nets import (
    N_LIP_NUMBERS,
    Decoder,
    Encoder,
    Grow,
    PatchDiscriminator,
    conv,
    in_light_of,
    mlp,
    resized,
)
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch

_HEARD, _N_HEARD = 256, 48


class CodePredictor(nn.Module):
    """(B,19) lips and pose, (B,5) how the picture was moved, and (B,256) speech or None, to the (B,n) code of the
    mouth."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.listen = nn.Linear(_HEARD, _N_HEARD)
        self.body = mlp(N_LIP_NUMBERS + N_MOVE + _N_HEARD + 1, 192, 192, n)

    def forward(
        self, lips: torch.Tensor, move: torch.Tensor, speech: torch.Tensor | None, hears: torch.Tensor
    ) -> torch.Tensor:
        """hears: (B,1) 0 or 1, whether the speech may be used."""
        if speech is None:
            heard = lips.new_zeros(len(lips), _N_HEARD + 1)
        else:
            heard = torch.cat([self.listen(speech).float() * hears, hears], 1)
        return self.body(torch.cat([lips, move, heard], 1))


class Mask(nn.Module):
    """(B,6,h,w) frame and drawn mouth to (B,1,h,w) logits of showing the drawn one; begins at yes."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(6, 12, 3, 2), conv(12, 24, 3, 2), conv(24, 48, 3, 2), conv(48, 48, 3, 2)])
        self.up = nn.ModuleList([Grow(48, 48), Grow(48, 24), Grow(24, 12), Grow(12, 8)])
        self.leave = nn.Conv2d(8 + 6, 1, 3, padding=1)
        nn.init.constant_(self.leave.get_parameter("bias"), 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [x]
        for down in self.down:
            kept.append(down(kept[-1]))
        y = self.up[0](kept[-1])
        for up, beside in zip(self.up[1:], reversed(kept[1:-1]), strict=True):
            y = up(y + beside)
        return self.leave(torch.cat([y.float(), x.float()], 1))


class Method(Decoded[AutoencoderConfig]):
    name = "autoencoder"
    needs = frozenset({"crop", "speech"})
    Config = AutoencoderConfig
    _fake: torch.Tensor
    _real: torch.Tensor

    def build(self, space: MouthSpace) -> None:
        n = self.config.code
        self.nets["numbers"] = self._numbers
        self.nets["encoder"] = Encoder(self.size, n)
        self.nets["foretell"] = CodePredictor(n)
        self.nets["decoder"] = Decoder(n, self.size, self._usual)
        self.nets["mask"] = Mask()

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, torch.Tensor]:
        """The mouth for lips and speech in the frame's own light and surroundings; alpha falls where something covers
        the frame's mouth."""
        n = len(query.lips)
        code = self.predict_code(
            query.lips, query.pose, query.speech, query.lips.new_zeros(n, N_MOVE), query.lips.new_ones(n, 1)
        )
        crop = resized(query.own_crop, self.size)
        whole, logits = self._lit(code, crop)
        return torch.lerp(crop, whole, self.region), torch.sigmoid(logits)

    def predict_code(
        self,
        lips: torch.Tensor,
        pose: torch.Tensor,
        speech: torch.Tensor | None,
        move: torch.Tensor,
        hears: torch.Tensor,
    ) -> torch.Tensor:
        """(B,n) codes."""
        return self.nets["foretell"](self.nets["numbers"](lips, pose), move, speech, hears).float()

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        config, game = self.config, losses.gan("gan")
        discriminator = PatchDiscriminator().to(self.device) if config.gan else None

        def loss(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            query, run = batch.query, batch.run
            move = random_affine(len(batch.truth), config, run).to(self.device)
            lips, pose = move_lips(query.lips, move), move_pose(query.pose, move)
            both = torch.cat([resized(query.own_crop, self.size), resized(batch.truth, self.size)], 1)
            crop, truth = move_picture(both, move, self.space).chunk(2, 1)
            shape, (front_crop, front_truth) = covered(crop, truth, config.covered)
            code, match = self._code(query.speech, lips, pose, move, truth, run)
            whole, logits = self._lit(code, front_crop, 1 - shape)
            drawn, alpha = torch.lerp(front_crop, whole, self.region), torch.sigmoid(logits)
            final = torch.lerp(front_crop, drawn, alpha)
            weight = self.weight_of(lips)
            terms = {
                "l1": losses.l1(weight * whole, weight * truth),
                "final": losses.l1(weight * final, weight * front_truth),
                "perceptual": 0.5 * losses.perceptual(torch.lerp(truth, whole, self.region), truth),
                "match": 0.01 * match,
                "mask": 0.1 * F.binary_cross_entropy_with_logits(logits, 1 - shape),
                "temporal": config.temporal * losses.temporal(whole, truth, run),
            }
            if discriminator is not None:
                self._fake, self._real = final.detach(), front_truth
                terms["fools"] = config.adversarial * game.generator(discriminator(final))
            return terms

        objectives = [Objective("autoencoder", self.nets, loss, rate=config.rate, betas=(0.9, 0.999))]
        if discriminator is None:
            return objectives

        def discriminate(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            return {"real": game.real(discriminator(self._real)), "fake": game.fake(discriminator(self._fake))}

        return [*objectives, Objective("discriminator", discriminator, discriminate)]

    def _code(
        self,
        speech: torch.Tensor | None,
        lips: torch.Tensor,
        pose: torch.Tensor,
        move: torch.Tensor,
        truth: torch.Tensor,
        run: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes to train the decoder with, some seen in the warped mouth and most foretold; and how far these are
        apart."""

        def random_rows(share: float) -> torch.Tensor:
            return (torch.rand(len(lips) // run, 1) < share).repeat_interleave(run, 0).to(lips.device)

        predicted = self.predict_code(lips, pose, speech, move, 1 - random_rows(self.config.speech_dropout).float())
        warped = sampled(truth, random_warp(len(truth), self.size, self.config.warp).to(truth.device))
        seen = self.nets["encoder"](warped).float()
        return torch.where(random_rows(self.config.reconstruction_share), seen, predicted), (
            predicted - seen
        ).square().mean()

    def _lit(
        self, code: torch.Tensor, crop: torch.Tensor, bare: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The decoded picture in the light of `crop`, and the logits of the mask. What covers the face says nothing of
        its light: it is what the mask keeps, or in training where `bare` (B,1,h,w) is 0."""
        plain, around = self.nets["decoder"](code), 1 - self.region
        first = in_light_of(plain, crop, around if bare is None else around * bare).detach()
        logits = self.nets["mask"](torch.cat([crop, first], 1)).float()
        return in_light_of(plain, crop, around * (torch.sigmoid(logits).detach() if bare is None else bare)), logits
