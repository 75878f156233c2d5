"""The mouth as a weighted median of the target's own best-matching frames (Suwajanakorn et al. 2017, section on texture
synthesis).

Beyond the paper: candidates are chosen by lip *trajectory* (the shape now and over the neighbouring frames), which
keeps the choice steady over time; every candidate is warped so that its lips and jaw lie where they are wanted before
the median is taken, so that the median of many frames stays sharp and shows the wanted shape instead of their mean;
what agrees with the median is averaged, so that no pixel jumps from one real mouth to another; mouths of other light
are first brought into one; blurred frames weigh less; and each drawn mouth is given back the fine detail that fusing
cost it, until it is as sharp as the mouths it was made of."""

from __future__ import annotations

import torch

from lipsync.config.textures import MedianConfig
from lipsync.core.runtime import start_numba
from lipsync.core.texture import MouthTexture, Need, TextureQuery
from lipsync.core.types import TargetAnalysis
from lipsync.textures.candidates import (
    Candidates,
    CandidateWarp,
    around_lips,
    lips_part,
    radius,
    resampling_loss,
    resharpened,
)
from lipsync.textures.detail import with_detail
from lipsync.textures.shown import shown_cells
from lipsync.textures.warped_median import PackedCrops, warped_medians

#: Pixels of crops that each thread keeps for its next rows, which share most of them; all of one row's in any case.
_KEPT = 16_000_000


class Method:
    needs = frozenset[Need]()
    name = "median"
    radius = 5

    def __init__(self, config: MedianConfig | None = None) -> None:
        self.config = config or MedianConfig()
        self.radius = radius(self.config)

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Method:
        """Ready to draw `subject`: candidate descriptors built; on a GPU the bank is uploaded once."""
        if torch.device(device).type == "cpu":
            start_numba()
        self.device, self.space = torch.device(device), subject.bank.space
        self.candidates = Candidates(subject.bank, self.config, self.device)
        light: set[Need] = {"crop"} if self.candidates.light.several else set()
        where: set[Need] = {"shown"} if self.device.type == "cpu" else set()
        self.needs = frozenset(light | where)
        self.warp = CandidateWarp(self.space, self.device)
        self.resampling_loss = resampling_loss(subject)
        n, size = self.config.candidates, (self.space.height, self.space.width)
        self.packed = PackedCrops(self.candidates.crops, size, max(n, min(2 * n, _KEPT // (size[0] * size[1]))))
        return self

    def render(self, query: TextureQuery) -> MouthTexture:
        """Drawn mouths; alpha is 1 everywhere. Rows are independent of how they are batched."""
        index, weight = self.candidates.for_query(query)
        lips = query.lips[self.radius : self.radius + len(index)].to(self.device)
        jaw = (self.candidates.jaw[index] * weight[..., None, None]).sum(1)
        field = self.warp.fields(lips, jaw, self.candidates.lips[index], self.candidates.jaw[index])
        shown = shown_cells(query.shown, jaw, self.space, field)
        at_once = self.packed.most // self.config.candidates
        parts = zip(*(each.split(at_once) for each in (index, weight, field, lips, shown)), strict=True)
        rgb = torch.cat([self._draw(*part) for part in parts])
        return MouthTexture(rgb=rgb, alpha=torch.ones_like(rgb[:, :1]), jaw=jaw)

    def _draw(
        self,
        index: torch.Tensor,
        weight: torch.Tensor,
        field: torch.Tensor,
        lips: torch.Tensor,
        shown: torch.Tensor,
    ) -> torch.Tensor:
        """(B,3,Hm,Wm) mouths: medians of the warped candidates, as sharp around the lips as these are on average; on a
        CPU the nearest candidate alone where nothing is shown."""
        given = (self.resampling_loss, self.config.resharpen)
        if self.device.type == "cpu":
            pictures, which = self.packed(index)
            size = (self.space.height, self.space.width)
            fused = warped_medians(pictures, size, which, field, weight, self.config.reach, shown)
            return with_detail(fused, pictures, which, weight, [lips_part(each, self.space) for each in lips], *given)
        rows, which = index.unique(return_inverse=True)
        crops = self.candidates.crops(rows)
        fused = [
            robust_mean(self.warp.apply(crops[some].float(), each).round(), share, self.config.reach)
            for some, each, share in zip(which, field, weight, strict=True)
        ]
        sharp = [
            resharpened(rgb, around_lips(crops, wanted, self.space)[some], share, wanted, self.space, *given)
            for rgb, some, share, wanted in zip(fused, which, weight, lips, strict=True)
        ]
        return (torch.stack(sharp) / 255).clamp(0, 1)


def weighted_median(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(...) lower weighted median of (C,...) values with (C,) weights: the smallest value at which half of the weight
    is reached."""
    ordered, order = values.sort(0)
    reached = weights[order].cumsum(0) >= 0.5 * weights.sum()
    return ordered.gather(0, reached.int().argmax(0, keepdim=True))[0]


def robust_mean(values: torch.Tensor, weights: torch.Tensor, reach: float) -> torch.Tensor:
    """(...) the weighted median of (C,...) values, moved to the mean of what lies within `reach` of it: one step of
    Tukey's biweight (Beaton and Tukey 1974). reach 0: the median."""
    median = weighted_median(values, weights)
    if reach <= 0:
        return median
    away = values - median
    near = (1 - (away / reach).square()).clamp_min(0).square() * weights.reshape(-1, *[1] * median.dim())
    return median + (near * away).sum(0) / near.sum(0).clamp_min(1e-9)
