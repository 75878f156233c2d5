"""Real mouths fused by a small network, with a generator for what none of them shows (ours).

The mouths that come nearest to the wanted lips are warped onto them by their landmarks. A network looks at each of them
beside the others, the wanted lips and the frame's surroundings, and answers with a residual flow that aligns it further
and with its weight at every place; the weighted mean has the mouths' own pixels at full resolution. A generator draws
what no candidate shows, and the slow differences of light. Related: weights per place and flow of several views (Thies
et al. 2018, Ha et al. 2020), here learned on one person in minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lipsync.config.textures import HybridConfig
from lipsync.core.geometry import sample_pixels
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthSpace, TargetAnalysis
from lipsync.textures.candidates import Candidates, CandidateWarp, around_lips, radius, resampling_loss, resharpened
from lipsync.textures.nets import Residual, blanked, conv, drawn_lips, from_nothing, lower_face, net_size, resized
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch, TrainableTexture

#: In training, no candidate of the same shot is nearer in time than this many frames: a dub has none either.
_APART = 13
#: Farthest that a candidate is moved beyond its landmarks, net pixels.
_REACH = 3.0


class Method(TrainableTexture[HybridConfig]):
    name = "hybrid"
    step_s = 1.2
    Config = HybridConfig

    def __init__(self, config: HybridConfig | None = None) -> None:
        super().__init__(config)
        self.radius = radius(self.config)

    def build(self, space: MouthSpace) -> None:
        self.size = net_size(space, self.config.width, 8)
        n = self.config.channels
        self.nets["look"] = nn.Sequential(conv(15, n, stride=2), conv(n, 2 * n), Residual(2 * n))
        # weight, flow across, flow down
        self.nets["compare"] = nn.Sequential(
            conv(4 * n, 2 * n, 1), Residual(2 * n), conv(2 * n, n), from_nothing(nn.Conv2d(n, 3, 3, 1, 1))
        )
        self.nets["generator"] = nn.Sequential(
            conv(12, n),
            conv(n, 2 * n, stride=2),
            conv(2 * n, 4 * n, stride=2),
            Residual(4 * n),
            Residual(4 * n),
            Residual(4 * n),
            nn.Upsample(scale_factor=2),
            conv(4 * n, 2 * n),
            nn.Upsample(scale_factor=2),
            conv(2 * n, n),
            last := from_nothing(nn.Conv2d(n, 7, 3, 1, 1)),  # picture, its share, light
        )
        if last.bias is not None:
            nn.init.constant_(last.bias[3:4], -3.0)  # at first, real mouths only

    def _place(self, subject: TargetAnalysis, device: torch.device | str) -> None:
        super()._place(subject, device)
        self.candidates = Candidates(subject.bank, self.config, self.device)
        self.radius = self.candidates.radius
        self.warp = CandidateWarp(self.space, self.device)
        self.region = lower_face(self.space, self.device)
        self.resampling_loss = resampling_loss(subject)
        bank = subject.bank
        self.shot = torch.from_numpy(np.ascontiguousarray(bank.shot)).to(self.device)
        self.shots = len(np.unique(bank.shot))
        self.source = torch.from_numpy(np.ascontiguousarray(bank.source)).to(self.device)

    # --- drawing ---

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, None]:
        index, weight = self.candidates.for_query(query)
        own = slice(self.radius, self.radius + len(index))
        return self._sharp(query.lips[own], query.pose[own], query.own_crop, index, weight), None

    def _sharp(self, lips, pose, crop, index, weight) -> torch.Tensor:
        """`fused` mouths in their surroundings, as sharp as the real ones. (Learning through the sharpening was tried:
        it learns noise.)"""
        rgb, real = self.fused(lips, pose, crop, index, weight)
        with torch.autocast(self.device.type, enabled=False):
            rows = zip(rgb, real, weight, lips, strict=True)
            wanted_loss, limit = self.resampling_loss * self.config.sharpness_gain, self.config.resharpen
            rgb = torch.stack(
                [
                    resharpened(
                        one, around_lips(each, wanted, self.space), w, wanted, self.space, wanted_loss, limit, 1
                    )
                    for one, each, w, wanted in rows
                ]
            )
            return torch.lerp(crop, rgb.clamp(0, 1), self.region)

    def fused(self, lips, pose, crop, index, weight) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,3,Hm,Wm) mouths, and the (B,C,3,Hm,Wm) real ones they are made of.

        lips: (B,18,2); pose: (B,3); crop: (B,3,Hm,Wm), all of the rows alone; index, weight: (B,C) candidates.
        """
        b, c = index.shape
        exact = lambda: torch.autocast(self.device.type, enabled=False)  # noqa: E731  # geometry is never in half precision
        with exact(), torch.no_grad():
            real = self.candidates.crops(index.flatten()).float() / 255
            field = self.warp.fields(
                lips, self.jaw_of(lips, pose), self.candidates.lips[index], self.candidates.jaw[index]
            )
            flow = self.warp.dense(field.flatten(0, 1))
            shrink = flow.new_tensor([self.size[1] / flow.shape[3], self.size[0] / flow.shape[2]])[:, None, None]
            small = _moved(resized(real, self.size), resized(flow, self.size) * shrink).unflatten(0, (b, c))
        asked = drawn_lips(lips, self.space, self.size), resized(blanked(crop, self.space), self.size)
        share, more = self._place_of(small, asked, weight)
        with exact():
            moved = _moved(real, flow + _smooth(more.flatten(0, 1), flow.shape[2:]) / shrink).unflatten(0, (b, c))
            mean = _mean(moved, _smooth(share, flow.shape[2:]).softmax(1))
        made = _smooth(self._generated(small, asked, _smooth(share, self.size).softmax(1)), flow.shape[2:])
        picture, part, light = made[:, :3].sigmoid(), made[:, 3:4].sigmoid(), 0.2 * made[:, 4:].tanh()
        return torch.lerp(mean + light, picture, part), real.unflatten(0, (b, c))

    def _place_of(
        self, small: torch.Tensor, asked: tuple[torch.Tensor, torch.Tensor], weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,C,h/2,w/2) log weights and (B,C,2,h/2,w/2) residual flow, net pixels, of the (B,C,3,h,w) warped
        candidates. asked: the (B,3,h,w) drawn lips and the crop's surroundings."""
        (b, c), (contour, around) = small.shape[:2], asked
        mean = (small * weight[..., None, None, None]).sum(1)
        each = lambda x: x[:, None].expand(b, c, *x.shape[1:])  # noqa: E731
        seen = torch.cat([small, each(mean), small - mean[:, None], each(contour), each(around)], 2)
        looked = self.nets["look"](seen.flatten(0, 1)).float()
        others = looked.unflatten(0, (b, c)).mean(1, keepdim=True).expand(b, c, *looked.shape[1:]).flatten(0, 1)
        placed = self.nets["compare"](torch.cat([looked, others], 1)).float().unflatten(0, (b, c))
        return placed[:, :, 0] * 4 + weight.clamp_min(1e-4).log()[..., None, None], _REACH * placed[:, :, 1:].tanh()

    def _generated(
        self, small: torch.Tensor, asked: tuple[torch.Tensor, torch.Tensor], share: torch.Tensor
    ) -> torch.Tensor:
        """(B,7,h,w): picture, its share, light; before their squashing. share: (B,C,h,w) of the (B,C,3,h,w) warped
        candidates; asked: as for `_place_of`."""
        mean = _mean(small, share)
        spread = (small - mean[:, None]).abs().mean(1)
        return self.nets["generator"](torch.cat([mean, spread, *asked], 1)).float()

    # --- learning ---

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        def loss(batch: TextureBatch) -> Mapping[str, torch.Tensor]:
            whole = self.shots > 1 and bool(torch.rand(()) < 0.5)
            index, weight = self._left_out(batch.row, whole)
            rgb, _ = self.fused(batch.query.lips, batch.query.pose, batch.query.own_crop, index, weight)
            a, b = torch.lerp(batch.query.own_crop, rgb, self.region), batch.truth
            return {
                "l1": 10 * losses.l1(a, b),
                "edge": 10 * losses.edge(a, b),
                "ssim": losses.dissimilarity(a, b),
                "perceptual": losses.perceptual(resized(a, self.size), resized(b, self.size)),
                "temporal": 10 * losses.temporal(a, b, batch.run),
            }

        return [Objective("fusion", self.nets, loss, rate=self.config.rate, betas=(0.9, 0.999))]

    def answer(self, batch: TextureBatch) -> torch.Tensor:
        query = batch.query
        choices = [self._left_out(row[None], self.shots > 1) for row in batch.row]
        parts = [
            self._sharp(query.lips[b : b + 1], query.pose[b : b + 1], query.own_crop[b : b + 1], *choice)
            for b, choice in enumerate(choices)
        ]
        return torch.cat(parts)

    def _left_out(self, row: torch.Tensor, whole: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Candidates for (B,) bank rows as if these and their neighbours in time, or their `whole` shots, were not in
        the bank."""
        same = self.shot == self.shot[row][:, None]
        near = same & (whole | ((self.source - self.source[row][:, None]).abs() < _APART))
        fade = len(self.config.fade)
        parts = []
        for r, out in zip(row.tolist(), near, strict=True):
            around = (torch.arange(fade) - fade // 2 + r).clamp(0, len(self.shot) - 1)
            around = torch.where(self.shot[around] == self.shot[r], around, r)
            parts.append(self.candidates.choose(self.candidates.features[around], ~out[None]))
        index, weight = (torch.cat(part) for part in zip(*parts, strict=True))
        index, weight = (each[:, : self.config.train_candidates] for each in (index, weight))
        return index, weight / weight.sum(1, keepdim=True)


def _mean(pictures: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """(B,3,h,w) mean of (B,C,3,h,w) pictures by their (B,C,h,w) shares; one after the other: a product of all would not
    fit the processor's cache."""
    total = pictures[:, 0] * share[:, :1]
    for k in range(1, pictures.shape[1]):
        total = torch.addcmul(total, pictures[:, k], share[:, k : k + 1])
    return total


def _smooth(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)


def _moved(pictures: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """(N,3,h,w) pictures, each pixel fetched from where its (N,2,h,w) flow (pixels) points."""
    h, w = pictures.shape[2:]
    y, x = torch.arange(h, device=flow.device) + 0.5, torch.arange(w, device=flow.device) + 0.5
    at = torch.stack(torch.meshgrid(x, y, indexing="xy")) + flow
    return sample_pixels(pictures, at.permute(0, 2, 3, 1))
