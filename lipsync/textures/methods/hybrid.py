"""Real mouths fused by a small network, with a generator for what none of them shows (ours).

The mouths that come nearest to the wanted lips are warped onto them by their landmarks. A network looks at each of them
beside the others, the wanted lips and the frame's surroundings, and answers with a residual flow that aligns it further
and with its weight at every place; the weighted mean has the mouths' own pixels at full resolution. A generator draws
what no candidate shows, and the slow differences of light. Related: weights per place and flow of several views (Thies
et al. 2018, Ha et al. 2020), here learned on one person in minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lipsync.config.textures import HybridConfig
from lipsync.core.geometry import sample_pixels
from lipsync.core.runtime import all_threads
from lipsync.core.texture import MouthTexture, TextureQuery
from lipsync.core.types import MouthSpace, TargetAnalysis
from lipsync.textures.candidates import (
    Candidates,
    CandidateWarp,
    around_lips,
    lips_part,
    radius,
    resampling_loss,
    resharpened,
)
from lipsync.textures.nets import (
    Beside,
    Residual,
    blanked,
    conv,
    drawn_lips,
    from_nothing,
    lower_face,
    net_size,
    resized,
)
from lipsync.textures.trainable import LossTerms, Objective, TextureBatch, TrainableTexture
from lipsync.textures.warped_mean import fused_mouth, mean_and_spread, small_mouths
from lipsync.textures.warped_median import packed

#: In training, no candidate of the same shot is nearer in time than this many frames: a dub has none either.
_APART = 13
#: Farthest that a candidate is moved beyond its landmarks, net pixels.
_REACH = 3.0
#: The generator changes the light by so much at most, share of white.
_LIGHT = 0.2
#: Pixels of candidates that are looked at together: rows share most of theirs, but memory has to stay small.
_AT_ONCE = 10_000_000
#: Pixels around the redrawn region and around the lips that what is drawn there is sharpened by.
_AROUND = 3


class Method(TrainableTexture[HybridConfig]):
    name = "hybrid"
    step_s = 1.2
    Config = HybridConfig

    def __init__(self, config: HybridConfig | None = None) -> None:
        super().__init__(config)
        self.radius = radius(self.config)

    def build(self, space: MouthSpace) -> None:
        n = self.config.channels
        # a candidate, the mean, their difference; the wanted lips, the surroundings
        self.nets["look"] = Beside(3, conv(15, n, stride=2), conv(n, 2 * n), Residual(2 * n), differences=True)
        # itself and the mean of all to weight, flow across, flow down
        self.nets["compare"] = Beside(
            2 * n, conv(4 * n, 2 * n, 1), Residual(2 * n), conv(2 * n, n), from_nothing(nn.Conv2d(n, 3, 3, 1, 1))
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
        self.size = net_size(self.space, self.config.width, 8)
        self.candidates = Candidates(subject.bank, self.config, self.device)
        self.radius = self.candidates.radius
        self.warp = CandidateWarp(self.space, self.device)
        self.region = lower_face(self.space, self.device)
        self.resampling_loss = resampling_loss(subject)
        bank = subject.bank
        self.shot = torch.from_numpy(np.ascontiguousarray(bank.shot)).to(self.device)
        self.shots = len(np.unique(bank.shot))
        self.source = torch.from_numpy(np.ascontiguousarray(bank.source)).to(self.device)
        if self.device.type == "cpu":
            self.small_from_nodes = _small_from_nodes(self.warp, self.size)
            self.spans = _spans(self.region[0, 0])

    # --- drawing ---

    def render(self, query: TextureQuery) -> MouthTexture:
        """The drawn mouths; on the CPU by compiled loops, row by row, which draw what `draw` draws."""
        if self.device.type != "cpu":
            return super().render(query)
        with torch.no_grad(), all_threads():
            index, weight = self.candidates.for_query(query)
            own = slice(self.radius, self.radius + len(index))
            lips, pose = query.lips[own], query.pose[own]
            jaw = torch.cat([self.jaw_of(*row) for row in zip(lips.split(1), pose.split(1), strict=True)])
            at_once = max(1, _AT_ONCE // (index.shape[1] * self.space.height * self.space.width))
            parts = zip(*(each.split(at_once) for each in (lips, jaw, query.own_crop, index, weight)), strict=True)
            rgb = torch.cat([self._drawn(*part) for part in parts])
        return MouthTexture(rgb=rgb, alpha=torch.ones_like(rgb[:, :1]), jaw=jaw)

    def _drawn(self, lips, jaw, crop, index, weight) -> torch.Tensor:
        """`_sharp` of rows that share candidates, without gradients."""
        rows, which = index.unique(return_inverse=True)
        crops = self.candidates.crops(rows)
        filmed = packed(crops), torch.cat([self._small(one[None].float() / 255) for one in crops]).numpy()
        out = []
        for b, wanted in enumerate(lips):
            some = slice(b, b + 1)
            rgb = self._fused_row(lips[some], jaw[some], crop[some], index[some], weight[some], which[b], filmed)
            real = around_lips(crops, wanted, self.space)[which[b]].float() / 255
            out.append(self._resharpened(rgb, real, weight[b], wanted))
        return torch.lerp(crop, torch.stack(out).clamp(0, 1), self.region)

    def _fused_row(self, lips, jaw, crop, index, weight, which, filmed: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
        """(3,Hm,Wm) `fused` of one row, as far as its result is looked at; elsewhere the crop itself. which: (C,) rows
        of `filmed`, the pictures `packed` and (N,3,h,w) as the network sees them."""
        (pictures, small), chosen, (h, w) = filmed, which.numpy(), self.size
        field = self.warp.fields(lips, jaw, self.candidates.lips[index], self.candidates.jaw[index])[0]
        down, across = self.small_from_nodes
        flow = (down @ (field * self._shrink).permute(0, 3, 1, 2) @ across).numpy()
        moved, mean = np.empty((len(chosen), h, w, 3), np.float32), np.empty((h, w, 3), np.float32)
        small_mouths(small, chosen, flow, weight[0].numpy(), moved, mean)
        asked = self._asked(lips, crop)
        share, more = self._place_of(_planes(moved)[None], _planes(mean)[None], asked, weight)
        seen = np.empty((h, w, 6), np.float32)
        mean_and_spread(moved, share[0].contiguous().numpy(), seen)
        made = self.nets["generator"](torch.cat([_planes(seen)[None], asked], 1))[0]
        placed = torch.cat([share[0, :, None], more[0] / self._shrink[:, None, None]], 1)
        out = crop[0].clone()
        spans = _with_part(self.spans, lips_part(lips[0], self.space), out.shape[1:])
        nodes, at, drawn = (each.contiguous().numpy() for each in (field, placed, made))
        fused_mouth(pictures, chosen, nodes, at, drawn, np.float32(_LIGHT), spans, out.numpy())
        return out

    def _small(self, pictures: torch.Tensor) -> torch.Tensor:
        """As the network sees them."""
        return resized(pictures, self.size)

    @property
    def _shrink(self) -> torch.Tensor:
        """(2,) how much smaller across and down the network sees crops."""
        return torch.tensor([self.size[1] / self.space.width, self.size[0] / self.space.height], device=self.device)

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
            sharp = [self._resharpened(one, around_lips(each, at, self.space), w, at) for one, each, w, at in rows]
            return torch.lerp(crop, torch.stack(sharp).clamp(0, 1), self.region)

    def _resharpened(self, rgb, real, weight, lips) -> torch.Tensor:
        """(3,Hm,Wm) as sharp around the (18,2) lips as the (C,3,h,w) real mouths there."""
        loss, limit = self.resampling_loss * self.config.sharpness_gain, self.config.resharpen
        return resharpened(rgb, real, weight, lips, self.space, loss, limit, 1)

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
            flow, shrink = self.warp.dense(field.flatten(0, 1)), self._shrink[:, None, None]
            small = _moved(self._small(real), self._small(flow) * shrink).unflatten(0, (b, c))
            mean = (small * weight[..., None, None, None]).sum(1)
        asked = self._asked(lips, crop)
        share, more = self._place_of(small, mean, asked, weight)
        with exact():
            moved = _moved(real, flow + _smooth(more.flatten(0, 1) / shrink, flow.shape[2:])).unflatten(0, (b, c))
            fused = _mean(moved, _smooth(share, flow.shape[2:]).softmax(1))
        mean = _mean(small, _smooth(share, self.size).softmax(1))
        spread = (small - mean[:, None]).abs().mean(1)
        made = _smooth(self.nets["generator"](torch.cat([mean, spread, asked], 1)).float(), flow.shape[2:])
        picture, part, light = made[:, :3].sigmoid(), made[:, 3:4].sigmoid(), _LIGHT * made[:, 4:].tanh()
        return torch.lerp(fused + light, picture, part), real.unflatten(0, (b, c))

    def _asked(self, lips: torch.Tensor, crop: torch.Tensor) -> torch.Tensor:
        """(B,6,h,w) the wanted lips, drawn, and the crop's surroundings."""
        return torch.cat([drawn_lips(lips, self.space, self.size), self._small(blanked(crop, self.space))], 1)

    def _place_of(
        self, small: torch.Tensor, mean: torch.Tensor, asked: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,C,h/2,w/2) log weights and (B,C,2,h/2,w/2) residual flow, net pixels, of the (B,C,3,h,w) warped candidates
        of this (B,3,h,w) mean, where (B,6,h,w) is `_asked`."""
        b, c = small.shape[:2]
        look, compare = (cast(Beside, self.nets[name]) for name in ("look", "compare"))
        each = lambda x: x[:, None].expand(b, c, *x.shape[1:]).flatten(0, 1)  # noqa: E731
        looked = look(small.flatten(0, 1), each(look.common(torch.cat([mean, asked], 1)))).float()
        # channels are innermost where networks draw: sums over candidates are quicker so
        others = looked.movedim(1, -1).unflatten(0, (b, c)).mean(1).movedim(-1, 1)
        placed = compare(looked, each(compare.common(others))).float().contiguous().unflatten(0, (b, c))
        return placed[:, :, 0] * 4 + weight.clamp_min(1e-4).log()[..., None, None], _REACH * placed[:, :, 1:].tanh()

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


def _planes(pictures: np.ndarray) -> torch.Tensor:
    """(...,C,h,w) view of (...,h,w,C) pictures."""
    return torch.from_numpy(pictures).movedim(-1, -3)


def _small_from_nodes(warp: CandidateWarp, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(h,nodes down) and (nodes across,w): what makes of a field's nodes, down @ nodes @ across, what `dense` and
    `resized` make of them."""
    rows, columns = warp.shape
    down, across = torch.zeros(rows, rows, columns, 2), torch.zeros(columns, rows, columns, 2)
    down[torch.arange(rows), torch.arange(rows)] = 1
    across[torch.arange(columns), :, torch.arange(columns)] = 1
    return resized(warp.dense(down), size)[:, 0, :, 0].T.contiguous(), resized(warp.dense(across), size)[:, 0, 0]


def _spans(region: torch.Tensor) -> np.ndarray:
    """(H,2) first and one past the last pixel of each row that the (H,W) region's sharpened pixels depend on."""
    near = F.max_pool2d((region > 0)[None].float(), 2 * _AROUND + 1, 1, _AROUND)[0].numpy() > 0
    first, last = near.argmax(1), near.shape[1] - near[:, ::-1].argmax(1)
    return np.where(near.any(1)[:, None], np.stack([first, last], 1), 0)


def _with_part(spans: np.ndarray, part: tuple[slice, slice], size: torch.Size) -> np.ndarray:
    """The spans, and a part of the picture with what is around it."""
    (top, under), (left, right) = (
        (max(one.start - _AROUND, 0), min(one.stop + _AROUND, n)) for one, n in zip(part, size, strict=True)
    )
    out = spans.copy()
    rows = out[top:under]
    empty = rows[:, 1] == 0
    rows[:, 0] = np.where(empty, left, np.minimum(rows[:, 0], left))
    rows[:, 1] = np.maximum(rows[:, 1], right)
    return out
