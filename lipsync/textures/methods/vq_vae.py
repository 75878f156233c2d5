"""Vector-quantised autoencoder of two levels (VQ-VAE-2: Razavi, van den Oord and Vinyals 2019), its codes foretold from
the lips.

Real mouths become codes at a quarter and an eighth of the size; a small network learns which codes to expect for the
lips and the head's turn. Mouths are drawn from the *expected* code vector of each place (all codes, weighted by their
likelihood), not from the likeliest code: that one switches from frame to frame and flickers. So half of the training
rows are decoded from expected codes as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from lipsync.config.textures import VqVaeConfig
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthSpace
from lipsync.textures.decoded import Decoded
from lipsync.textures.nets import N_LIP_NUMBERS, conv, grow_freely, in_light_of, mlp, resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch

#: A code used less than this share of its fair one becomes a vector of the present batch.
_UNUSED = 0.02


class Codebook(nn.Module):
    """K vectors of D numbers that follow, as running means, the vectors nearest to them (van den Oord et al. 2017,
    appendix A.1)."""

    codes: torch.Tensor
    share: torch.Tensor  # of all vectors, times K: 1 = a code's fair share; 0 = not yet used

    def __init__(self, n_codes: int, n: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.randn(n_codes, n))
        self.register_buffer("share", torch.zeros(n_codes))

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """(B,h,w) int64 code numbers of (B,D,h,w) vectors."""
        rows = x.movedim(1, -1)
        return (self.codes.square().sum(1) - 2 * rows @ self.codes.T).argmin(-1)

    def vectors(self, numbers: torch.Tensor) -> torch.Tensor:
        """(B,D,h,w) the codes of (B,h,w) numbers."""
        return self.codes[numbers].movedim(-1, 1)

    def expected(self, logits: torch.Tensor) -> torch.Tensor:
        """(B,D,h,w) mean of the codes, weighted by (B,K,h,w) logits."""
        return (logits.float().softmax(1).movedim(1, -1) @ self.codes).movedim(-1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Nearest codes, their numbers, and how far `x` strays. Gradients pass straight through to `x`; in training the
        codes follow."""
        x = x.float()
        with torch.autocast(x.device.type, enabled=False):
            numbers = self.nearest(x.detach())
            codes = self.vectors(numbers)
            if self.training:
                self._follow(x.detach().movedim(1, -1).reshape(-1, x.shape[1]), numbers.reshape(-1))
        return x + (codes - x).detach(), numbers, (x - codes.detach()).square().mean()

    @torch.no_grad()
    def _follow(self, rows: torch.Tensor, numbers: torch.Tensor) -> None:
        k = len(self.codes)
        counts = torch.bincount(numbers, minlength=k).float()
        means = torch.zeros_like(self.codes).index_add_(0, numbers, rows) / counts.clamp_min(1)[:, None]
        share = counts * k / len(rows)
        old = self.share * self.decay
        self.share.copy_(old + share * (1 - self.decay))
        part = (share * (1 - self.decay) / self.share.clamp_min(1e-9))[:, None]
        self.codes.lerp_(means, part)
        idle = self.share < _UNUSED
        chosen = torch.randint(0, len(rows), (k,), device=rows.device)
        self.codes.copy_(torch.where(idle[:, None], rows[chosen], self.codes))
        self.share.copy_(torch.where(idle, 0.2, self.share))


class CodePredictor(nn.Module):
    """(B,19) lips and pose to the logits of the codes of both levels: (B,K,h/8,w/8) and (B,K,h/4,w/4)."""

    def __init__(self, size: tuple[int, int], n_codes: int) -> None:
        super().__init__()
        self.small = (96, size[0] // 16, size[1] // 16)
        self.enter = mlp(N_LIP_NUMBERS, 128, math.prod(self.small))
        self.eighth, self.quarter = grow_freely(96, 64), grow_freely(64, 48)
        self.top, self.bottom = nn.Conv2d(64, n_codes, 1), nn.Conv2d(48, n_codes, 1)

    def forward(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        eighth = self.eighth(self.enter(numbers).unflatten(1, self.small))
        return self.top(eighth), self.bottom(self.quarter(eighth))


class Method(Decoded[VqVaeConfig]):
    name = "vq-vae"
    Config = VqVaeConfig

    def build(self, space: MouthSpace) -> None:
        n, k = self.config.code, self.config.codes
        self.nets["numbers"] = self._numbers
        self.nets["quarter"] = nn.Sequential(conv(3, 24, 3, 2), conv(24, 48, 3, 2))
        self.nets["eighth"] = nn.Sequential(conv(48, 64, 3, 2), nn.Conv2d(64, n, 1), nn.BatchNorm2d(n, affine=False))
        self.nets["enlarge"] = grow_freely(n, n)
        self.nets["join"] = nn.Sequential(nn.Conv2d(48 + n, n, 1), nn.BatchNorm2d(n, affine=False))
        self.nets["top"], self.nets["bottom"] = Codebook(k, n, self.config.decay), Codebook(k, n, self.config.decay)
        self.nets["decoder"] = nn.Sequential(
            nn.Conv2d(2 * n, 96, 3, padding=1),
            nn.LeakyReLU(0.2),
            grow_freely(96, 48),
            grow_freely(48, 16),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 3, 3, padding=1),
        )
        self.nets["usual"] = nn.ParameterList([torch.logit(self._usual, 0.01)])
        self.nets["foretell"] = CodePredictor(self.size, k)

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        """The mouth of the expected codes, in the frame's own light and surroundings."""
        crop = resized(query.own_crop, self.size)
        top, bottom = self.nets["foretell"](self.nets["numbers"](query.lips, query.pose))
        whole = self._lit(self._codes("top").expected(top), self._codes("bottom").expected(bottom), crop)
        return torch.lerp(crop, whole, self.region), None

    def encode(self, truth: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """(codes, numbers, stray) of real mouths, of the top level and of the bottom one."""
        quarter = self.nets["quarter"](2 * truth - 1)
        top = self.nets["top"](self.nets["eighth"](quarter))
        bottom = self.nets["bottom"](
            self.nets["join"](torch.cat([quarter.float(), self.nets["enlarge"](top[0]).float()], 1))
        )
        return top, bottom

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        def loss(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            crop, truth = resized(batch.query.own_crop, self.size), resized(batch.truth, self.size)
            top, bottom = self.encode(truth)
            likely = self.nets["foretell"](self.nets["numbers"](batch.query.lips, batch.query.pose))
            real = (torch.rand(len(truth) // batch.run, 1, 1, 1, device=truth.device) < 0.5).repeat_interleave(
                batch.run, 0
            )
            mixed = [
                torch.where(real, seen[0], self._codes(level).expected(told))
                for level, seen, told in zip(("top", "bottom"), (top, bottom), likely, strict=True)
            ]
            whole = self._lit(mixed[0], mixed[1], crop)
            drawn = torch.lerp(crop, whole, self.region)
            weight = self.weight_of(batch.query.lips)
            return {
                "l1": losses.l1(weight * whole, weight * truth),
                "perceptual": 0.5 * losses.perceptual(drawn, truth),
                "commit": self.config.commit * (top[2] + bottom[2]),
                "codes": self.config.code_prediction_weight
                * (F.cross_entropy(likely[0].float(), top[1]) + F.cross_entropy(likely[1].float(), bottom[1])),
                "temporal": self.config.temporal * losses.temporal(drawn, truth, batch.run),
            }

        return [Objective("vq-vae", self.nets, loss, rate=self.config.rate, betas=(0.9, 0.999))]

    def _lit(self, top: torch.Tensor, bottom: torch.Tensor, crop: torch.Tensor) -> torch.Tensor:
        larger = self.nets["enlarge"](top)
        rgb = self.nets["decoder"](torch.cat([larger.float(), bottom.float()], 1)).float()
        return in_light_of(torch.sigmoid(rgb + self.nets["usual"].get_parameter("0")), crop, 1 - self.region)

    def _codes(self, level: str) -> Codebook:
        return cast(Codebook, self.nets[level])
