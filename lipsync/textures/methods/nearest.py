"""The mouth as the target's single best-matching real frame: what choosing alone can do, and how sharp a real mouth is.

Mouths are chosen like the frames of a video texture (Schödl et al. 2000): over a window of rows the run of real mouths
is found that fits the wanted lips and shows no change of picture that the film does not have; the middle of the run is
drawn. So every row depends on the lips around it only, and neighbouring rows, whose windows overlap, agree."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.config.textures import NearestConfig
from lipsync.core.texture import MouthTexture, Need, TextureQuery
from lipsync.core.types import MouthBank, TargetAnalysis
from lipsync.textures.candidates import (
    CandidateWarp,
    Mouths,
    around_lips,
    describe_query,
    following,
    kernel_weights,
    resampling_loss,
    resharpened,
    trajectories,
)

_SMALL = (12, 15)  # size of the pictures in which changes are measured


class Method:
    needs = frozenset[Need]()
    name = "nearest"
    radius = 8

    def __init__(self, config: NearestConfig | None = None) -> None:
        self.config = config or NearestConfig()
        self.radius = self.config.window + len(self.config.trajectory) // 2

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Method:
        """Ready to draw `subject`. Choosing stays on the CPU, so that every device shows the same mouths."""
        bank = subject.bank
        self.device, self.space = torch.device(device), bank.space
        self.mouths = Mouths(bank, self.device)
        self.features = torch.from_numpy(trajectories(bank, self.config))
        self.small = _small(bank)
        self.after = self.small[torch.from_numpy(following(bank))]
        self.warp = CandidateWarp(self.space, self.device)
        self.resampling_loss = resampling_loss(subject)
        return self

    def render(self, query: TextureQuery) -> MouthTexture:
        """Drawn mouths; alpha is 1 everywhere. Rows are independent of how they are batched."""
        best, jaw = self.choose(query.lips.cpu(), query.pose.cpu())
        index, jaw = best.to(self.device), jaw.to(self.device)
        crops = self.mouths.crops(index).float()
        if not self.config.warp:
            return MouthTexture(rgb=crops / 255, alpha=torch.ones_like(crops[:, :1]), jaw=self.mouths.jaw[index])
        lips = query.lips[self.radius : self.radius + len(index)].to(self.device)
        field = self.warp.fields(lips, jaw, self.mouths.lips[index, None], self.mouths.jaw[index, None])[:, 0]
        moved = self.warp.apply(crops, field)
        given = (self.space, self.resampling_loss, self.config.resharpen)
        rgb = torch.stack(
            [
                resharpened(m, around_lips(c[None], p, self.space), m.new_ones(1), p, *given)
                for m, c, p in zip(moved, crops, lips, strict=True)
            ]
        )
        return MouthTexture(rgb=(rgb / 255).clamp(0, 1), alpha=torch.ones_like(rgb[:, :1]), jaw=jaw)

    def choose(self, lips: torch.Tensor, pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) bank rows and (B,17,2) the jaws that go with the wanted lips: of B + 2 radius rows of lips and head
        pose."""
        cfg = self.config
        distance = torch.cdist(
            describe_query(lips, pose, cfg), self.features, compute_mode="donot_use_mm_for_euclid_dist"
        )
        near, rows = distance.topk(min(cfg.candidates, distance.shape[1]), largest=False)
        step = torch.cdist(self.after[rows[:-1]], self.small[rows[1:]], compute_mode="donot_use_mm_for_euclid_dist")
        best = middle_of_best_run(near.double() ** 2, cfg.jump * step.double() ** 2, cfg.window)
        middle = slice(cfg.window, len(rows) - cfg.window)
        weight = kernel_weights(near[middle], max(1, near.shape[1] // 2), 0.9)
        jaw = self.mouths.jaw.cpu()[rows[middle]] * (weight / weight.sum(1, keepdim=True))[..., None, None]
        return rows[middle].gather(1, best[:, None])[:, 0], jaw.sum(1)


def middle_of_best_run(cost: torch.Tensor, step: torch.Tensor, window: int) -> torch.Tensor:
    """(R-2w,) which candidate the cheapest run through each window of 2w+1 rows has in the window's middle.

    cost: (R,C) of the candidates of each row; step: (R-1,C,C) of going from a row's candidate to one of the next row.
    """
    n = len(cost) - 2 * window
    before, behind = cost[:n], cost[2 * window :]
    for k in range(window):
        before = (before[:, :, None] + step[k : k + n]).amin(1) + cost[k + 1 : k + 1 + n]
        back = 2 * window - 1 - k
        behind = (behind[:, None, :] + step[back : back + n]).amin(2) + cost[back : back + n]
    return (before + behind - cost[window : window + n]).argmin(1)


def _small(bank: MouthBank) -> torch.Tensor:
    """(K,n) float32 small pictures, scaled so that their distances are root mean squares of full scale."""
    rows = np.array_split(np.arange(len(bank)), max(1, len(bank) // 64))
    pictures = [
        torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(bank.take(r)).float() / 255, _SMALL).flatten(1)
        for r in rows
    ]
    return torch.cat(pictures) / pictures[0].shape[1] ** 0.5
