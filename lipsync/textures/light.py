"""The light of each shot of a mouth bank, so that mouths of several days and rooms can be fused: without it, what is
fused of two lights is patched of both, and flickers as candidates come and go."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lipsync.core.geometry import signed_distance
from lipsync.core.types import MouthBank, MouthSpace
from lipsync.textures.nets import lower_face, positions
from video.pyramid import gaussian_blur

#: Light is told at every so many crop pixels, and varies over this much (eye distances).
_STEP, _SIGMA = 8, 0.15
#: Mouths of a shot that are looked at, at most, and of all shots together, about.
_OF_SHOT, _OF_ALL = 12, 1000
#: Skin: so far beyond the lips, and lower than this (eye distances; nostrils are dark).
_BEYOND, _BELOW_NOSE = 0.05, -0.28
#: Shots whose light differs by less than this share, on average, are of one light; no gain is beyond this.
_ALIKE, _MOST = 0.06, 2.5
#: Eye distances that a look e times brighter or darker counts among the lips' distances.
_LOOK = 0.2


class EvenLight:
    """Brings mouths of a bank into one light: the geometric mean of its shots', each counted by its mouths.

    A shot's light is the mean colour of its skin around each place (the mouth's own colours are not looked at); each
    colour is changed in proportion (von Kries)."""

    def __init__(self, bank: MouthBank) -> None:
        shots, self._shot, counts = np.unique(bank.shot, return_inverse=True, return_counts=True)
        self._gain: torch.Tensor | None = None
        if len(shots) < 2:
            return
        most = min(_OF_SHOT, max(2, _OF_ALL // len(shots)))
        some = [_spread(np.flatnonzero(self._shot == s), most) for s in range(len(shots))]
        lights = torch.cat([_light(bank, rows) for rows in some]).log()
        share = torch.from_numpy(counts / counts.sum()).float()[:, None, None, None]
        gain = (lights * share).sum(0) - lights
        if float(gain.abs().mean((1, 2, 3)).max()) >= _ALIKE:
            self._gain = gain.exp().clamp(1 / _MOST, _MOST)
            self._rim = (lower_face(bank.space) == 0)[0, 0, ::_STEP, ::_STEP]
            self._looks = torch.stack([self._look(_coarse(bank.take(rows))).mean(0) for rows in some])

    @property
    def several(self) -> bool:
        """Whether the shots differ in light."""
        return self._gain is not None

    def unlike(self, crop: torch.Tensor) -> torch.Tensor:
        """(B,K) how unlike (B,3,Hm,Wm) frames' own crops, in [0,1], and the bank's shots look around the mouth, in eye
        distances: lips of another day are of another colour, too. 0 where all shots have one light."""
        if self._gain is None:
            return crop.new_zeros(len(crop), len(self._shot))
        here = self._look(_coarse(crop.float().cpu().numpy() * 255))
        away = torch.stack([(one - self._looks).abs().clamp(max=1).mean(1) for one in here])
        return _LOOK * away[:, torch.from_numpy(self._shot)].to(crop.device)

    def _look(self, coarse: torch.Tensor) -> torch.Tensor:
        """(B,D) logarithms of the colours at the rim of (B,3,h,w) crops, where no mouth is drawn."""
        return coarse[:, :, self._rim].flatten(1).clamp_min(4).log()

    def __call__(self, crops: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """The (n,3,Hm,Wm) uint8 crops of these bank rows in the common light; themselves where all shots have one."""
        if self._gain is None:
            return crops
        gain = self._gain[torch.from_numpy(self._shot[rows])].to(crops.device)
        fine = F.interpolate(gain, size=crops.shape[2:], mode="bilinear", align_corners=False)
        return fine.mul_(crops).round_().clamp_(0, 255).to(torch.uint8)


def _spread(rows: np.ndarray, n: int) -> np.ndarray:
    """At most n of these rows, evenly chosen."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, n).astype(int))]


def _coarse(crops: np.ndarray) -> torch.Tensor:
    """(n,3,h,w) means of every _STEP x _STEP pixels."""
    return F.avg_pool2d(torch.from_numpy(crops).float(), _STEP, ceil_mode=True, count_include_pad=False)


def _light(bank: MouthBank, rows: np.ndarray) -> torch.Tensor:
    """(1,3,h,w) mean colours of the skin around each place, in 0..255."""
    coarse = _coarse(bank.take(rows))
    skin = _skin(torch.from_numpy(bank.lips[rows]).float(), bank.space, coarse.shape[2:])
    layers = torch.cat([(coarse * skin).sum(0), skin.sum(0)])[None]
    smooth = gaussian_blur(layers, _SIGMA * bank.space.scale / _STEP)
    return (smooth[:, :3] / smooth[:, 3:].clamp_min(1e-6)).clamp_min(4.0)


def _skin(lips: torch.Tensor, space: MouthSpace, size: torch.Size) -> torch.Tensor:
    """(n,1,*size) 1 where the crops of (n,18,2) lips show skin, else 0."""
    at = positions(space, (size[0], size[1]), lips.device)
    off_lips = signed_distance(lips[:, :12], at.reshape(1, -1, 2)).reshape(len(lips), 1, *size) < -_BEYOND
    return (off_lips & (at[..., 1] > _BELOW_NOSE)).float()
