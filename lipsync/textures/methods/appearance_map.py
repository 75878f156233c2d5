"""The mouth blended from the real views around the wanted one on a map of appearances (Nirkin et al. 2019, FSGAN,
"appearance map"; `lipsync.textures.views`).

Beyond the paper: the views are warped onto the wanted lips before they are blended, so that no lips are seen double."""

from __future__ import annotations

import torch

from lipsync.config.textures import AppearanceMapConfig
from lipsync.core.texture import MouthTexture, Need, TextureQuery
from lipsync.core.types import TargetAnalysis
from lipsync.textures.candidates import CandidateWarp, Mouths, around_lips, resampling_loss, resharpened
from lipsync.textures.views import Views


class Method:
    needs = frozenset[Need]()
    name = "appearance-map"
    radius = 0

    def __init__(self, config: AppearanceMapConfig | None = None) -> None:
        self.config = config or AppearanceMapConfig()

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Method:
        """Ready to draw `subject`: the map is built."""
        bank = subject.bank
        self.device, self.space = torch.device(device), bank.space
        self.mouths, self.views = Mouths(bank, self.device), Views(bank, self.config)
        self.warp = CandidateWarp(self.space, self.device)
        self.resampling_loss = resampling_loss(subject)
        return self

    def render(self, query: TextureQuery) -> MouthTexture:
        """Drawn mouths; alpha is 1 everywhere. Rows are independent of how they are batched."""
        index, weight = (x.to(self.device) for x in self.views.around(query.lips, query.pose))
        lips = query.lips.to(self.device)
        jaw = (self.mouths.jaw[index] * weight[..., None, None]).sum(1)
        field = self.warp.fields(lips, jaw, self.mouths.lips[index], self.mouths.jaw[index])
        rgb = torch.stack([self._draw(*row) for row in zip(index, weight, field, lips, strict=True)])
        return MouthTexture(rgb=rgb, alpha=torch.ones_like(rgb[:, :1]), jaw=jaw)

    def _draw(self, index: torch.Tensor, weight: torch.Tensor, field: torch.Tensor, lips: torch.Tensor) -> torch.Tensor:
        """(3,Hm,Wm) one mouth: the mean of the warped views, as sharp around the lips as they are on average."""
        shown = weight > 0.004  # less is not seen
        crops, weight = self.mouths.crops(index[shown]).float(), weight[shown]
        rgb = (self.warp.apply(crops, field[shown]) * (weight / weight.sum())[:, None, None, None]).sum(0)
        rgb = resharpened(
            rgb,
            around_lips(crops, lips, self.space),
            weight / weight.sum(),
            lips,
            self.space,
            self.resampling_loss,
            self.config.resharpen,
        )
        return (rgb / 255).clamp(0, 1)
