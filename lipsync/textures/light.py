"""The light of each shot of a mouth bank, so that mouths of several days and rooms can be fused: without it, what is
fused of two lights is patched of both, and flickers as candidates come and go."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lipsync.core.geometry import signed_distance
from lipsync.core.types import MouthBank, MouthSpace
from lipsync.textures.nets import positions
from video.pyramid import gaussian_blur

#: Light is told at every so many crop pixels, and varies over this much (eye distances); of a shot so many mouths are
#: looked at.
_STEP, _SIGMA, _ROWS = 8, 0.15, 12
#: Skin: so far beyond the lips, and lower than this (eye distances; nostrils are dark).
_BEYOND, _BELOW_NOSE = 0.05, -0.28
#: Shots whose light differs by less than this share, on average, are of one light; no gain is beyond this.
_ALIKE, _MOST = 0.03, 2.5


class EvenLight:
    """Brings mouths of a bank into one light: the geometric mean of its shots', each counted by its mouths.

    A shot's light is the mean colour of its skin around each place (the mouth's own colours are not looked at); each
    colour is changed in proportion (von Kries)."""

    def __init__(self, bank: MouthBank) -> None:
        shots, self._shot, counts = np.unique(bank.shot, return_inverse=True, return_counts=True)
        self._gain: torch.Tensor | None = None
        if len(shots) < 2:
            return
        lights = torch.cat([_light(bank, np.flatnonzero(self._shot == s)) for s in range(len(shots))]).log()
        share = torch.from_numpy(counts / counts.sum()).float()[:, None, None, None]
        gain = (lights * share).sum(0) - lights
        if float(gain.abs().mean((1, 2, 3)).max()) >= _ALIKE:
            self._gain = gain.exp().clamp(1 / _MOST, _MOST)

    def __call__(self, crops: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """The (n,3,Hm,Wm) uint8 crops of these bank rows in the common light; themselves where all shots have one."""
        if self._gain is None:
            return crops
        gain = self._gain[torch.from_numpy(self._shot[rows])].to(crops.device)
        fine = F.interpolate(gain, size=crops.shape[2:], mode="bilinear", align_corners=False)
        return fine.mul_(crops).round_().clamp_(0, 255).to(torch.uint8)


def _light(bank: MouthBank, rows: np.ndarray) -> torch.Tensor:
    """(1,3,h,w) mean colours of the skin around each place, in 0..255, of some of these rows."""
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _ROWS).astype(int))]
    coarse = F.avg_pool2d(torch.from_numpy(bank.take(rows)).float(), _STEP, ceil_mode=True, count_include_pad=False)
    skin = _skin(torch.from_numpy(bank.lips[rows]).float(), bank.space, coarse.shape[2:])
    layers = torch.cat([(coarse * skin).sum(0), skin.sum(0)])[None]
    smooth = gaussian_blur(layers, _SIGMA * bank.space.scale / _STEP)
    return (smooth[:, :3] / smooth[:, 3:].clamp_min(1e-6)).clamp_min(4.0)


def _skin(lips: torch.Tensor, space: MouthSpace, size: torch.Size) -> torch.Tensor:
    """(n,1,*size) 1 where the crops of (n,18,2) lips show skin, else 0."""
    at = positions(space, (size[0], size[1]), lips.device)
    off_lips = signed_distance(lips[:, :12], at.reshape(1, -1, 2)).reshape(len(lips), 1, *size) < -_BEYOND
    return (off_lips & (at[..., 1] > _BELOW_NOSE)).float()
