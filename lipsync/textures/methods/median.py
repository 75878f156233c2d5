"""The mouth as a weighted median of the target's own best-matching frames (Suwajanakorn et al. 2017, section on texture
synthesis).

Beyond the paper: candidates are chosen by lip *trajectory* (the shape now and over the neighbouring frames), which
keeps the choice steady over time; every candidate is warped so that its lips and jaw lie where they are wanted before
the median is taken, so that the median of many frames stays sharp and shows the wanted shape instead of their mean;
blurred frames weigh less; and each drawn mouth is given back the fine detail that fusing cost it, until it is as sharp
as the mouths it was made of."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange

from lipsync.config.textures import MedianConfig
from lipsync.core.runtime import start_numba
from lipsync.core.texture import MouthTexture, Need, TextureQuery
from lipsync.core.types import TargetAnalysis
from lipsync.textures.candidates import NODE_STEP, Candidates, CandidateWarp, radius, resampling_loss, resharpened


class Method:
    needs = frozenset[Need]()
    name = "median"
    radius = 4

    def __init__(self, config: MedianConfig | None = None) -> None:
        self.config = config or MedianConfig()
        self.radius = radius(self.config)

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Method:
        """Ready to draw `subject`: candidate descriptors built; on a GPU the bank is uploaded once."""
        if torch.device(device).type == "cpu":
            start_numba()
        self.device, self.space = torch.device(device), subject.bank.space
        self.candidates = Candidates(subject.bank, self.config, self.device)
        self.warp = CandidateWarp(self.space, self.device)
        self.resampling_loss = resampling_loss(subject)
        return self

    def render(self, query: TextureQuery) -> MouthTexture:
        """Drawn mouths; alpha is 1 everywhere. Rows are independent of how they are batched."""
        index, weight = self.candidates.for_query(query)
        lips = query.lips[self.radius : self.radius + len(index)].to(self.device)
        jaw = (self.candidates.jaw[index] * weight[..., None, None]).sum(1)
        field = self.warp.fields(lips, jaw, self.candidates.lips[index], self.candidates.jaw[index])
        rgb = torch.stack([self._draw(*row) for row in zip(index, weight, field, lips, strict=True)])
        return MouthTexture(rgb=rgb, alpha=torch.ones_like(rgb[:, :1]), jaw=jaw)

    def _draw(self, index: torch.Tensor, weight: torch.Tensor, field: torch.Tensor, lips: torch.Tensor) -> torch.Tensor:
        """(3,Hm,Wm) one mouth: the median of the warped candidates, as sharp around the lips as they are on average."""
        crops = self.candidates.crops(index)
        if self.device.type == "cpu":
            out = np.empty(crops.shape[1:], np.uint8)
            _warped_median(crops.numpy(), field.numpy(), weight.numpy(), out, NODE_STEP)
            rgb = torch.from_numpy(out).float()
        else:
            rgb = weighted_median(self.warp.apply(crops.float(), field).round(), weight)
        rgb = resharpened(rgb, crops.float(), weight, lips, self.space, self.resampling_loss, self.config.resharpen)
        return (rgb / 255).clamp(0, 1)


def weighted_median(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(...) lower weighted median of (C,...) values with (C,) weights: the smallest value at which half of the weight
    is reached."""
    ordered, order = values.sort(0)
    reached = weights[order].cumsum(0) >= 0.5 * weights.sum()
    return ordered.gather(0, reached.int().argmax(0, keepdim=True))[0]


@njit(parallel=True, fastmath=True, cache=True)
def _warped_median(crops, field, weights, out, step):  # pragma: no cover - compiled
    """`CandidateWarp.apply` and `weighted_median` in one pass: 256 bins per channel, found through 16 coarse ones."""
    (n, _, height, width), half = crops.shape, 0.5 * weights.sum()
    for y in prange(height):
        fine, coarse = np.zeros((3, 256), np.float32), np.zeros((3, 16), np.float32)
        seen = np.empty((3, n), np.uint8)
        ny, fy = y // step, (y % step) / step
        for x in range(width):
            nx, fx = x // step, (x % step) / step
            a, b, c, d = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
            for k in range(n):
                f = field[k]
                sx = x + a * f[ny, nx, 0] + b * f[ny, nx + 1, 0] + c * f[ny + 1, nx, 0] + d * f[ny + 1, nx + 1, 0]
                sy = y + a * f[ny, nx, 1] + b * f[ny, nx + 1, 1] + c * f[ny + 1, nx, 1] + d * f[ny + 1, nx + 1, 1]
                sx = min(max(sx, 0.0), width - 1.001)
                sy = min(max(sy, 0.0), height - 1.001)
                x0, y0 = int(sx), int(sy)
                u, v = sx - x0, sy - y0
                for ch in range(3):
                    p = crops[k, ch]
                    value = (1 - v) * ((1 - u) * p[y0, x0] + u * p[y0, x0 + 1]) + v * (
                        (1 - u) * p[y0 + 1, x0] + u * p[y0 + 1, x0 + 1]
                    )
                    q = np.uint8(value + 0.5)
                    seen[ch, k] = q
                    fine[ch, q] += weights[k]
                    coarse[ch, q >> 4] += weights[k]
            for ch in range(3):
                total, i = np.float32(0), 0
                while i < 15 and total + coarse[ch, i] < half:
                    total += coarse[ch, i]
                    i += 1
                j = i * 16
                while j < i * 16 + 15 and total + fine[ch, j] < half:
                    total += fine[ch, j]
                    j += 1
                out[ch, y, x] = j
                for k in range(n):
                    fine[ch, seen[ch, k]] = 0
                    coarse[ch, seen[ch, k] >> 4] = 0
