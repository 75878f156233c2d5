"""A mask eroded or dilated and softened, and the mouth in the region's colours: what deepfake programs do (Perov et al.
2020, DeepFaceLab)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from lipsync.config.schema import CompositeConfig
from lipsync.render.blends.base import around, row_by_row
from video.pyramid import gaussian_blur

#: sRGB with D65 to XYZ, relative to the white point (IEC 61966-2-1), and XYZ to what CIELAB is made of.
_XYZ = torch.tensor([[0.43395, 0.37622, 0.18983], [0.21267, 0.71516, 0.07217], [0.01776, 0.10947, 0.87277]])
_LAB = torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
#: A spread of colours is scaled by no more than this and no less than its inverse: one of the mouths may be open.
_MOST_SCALE = 1.5


class Blend:
    """Erosion by `feather_erode` and Gaussian softening by `feather_blur`, both as shares of the region's size (the
    root of its area), after colour transfer. The region is where the mask is above half of its largest value."""

    name = "feather"
    removes_offset = True

    def __init__(self, config: CompositeConfig, device: torch.device) -> None:
        self.erode, self.blur = config.feather_erode, config.feather_blur

    def __call__(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        return row_by_row(self._joined, under, over, mask)

    def _joined(self, under: Tensor, over: Tensor, mask: Tensor) -> Tensor:
        """One row: (1,3,h,w)."""
        most, out = mask.amax(), under.clone()
        if not bool(most > 0):
            return out
        part = around(mask > 0)
        low, high, inside = under[part], over[part], (mask[part] > 0.5 * most).to(mask)
        size = float(inside.sum()) ** 0.5
        soft = gaussian_blur(_eroded(inside, round(self.erode * size)), self.blur * size)
        weight = most * soft * (mask[part] > 0)
        out[part] = torch.lerp(low, transferred(high, low, inside), weight)
        return out


def _eroded(inside: Tensor, pixels: int) -> Tensor:
    """The region narrower by so many pixels on every side, wider where they are negative."""
    kernel, sign = 2 * abs(pixels) + 1, -1 if pixels > 0 else 1
    return sign * max_pool2d(sign * inside, kernel, 1, abs(pixels))


def transferred(over: Tensor, under: Tensor, weight: Tensor) -> Tensor:
    """(1,3,h,w) RGB `over` with the mean and the spread of each colour of `under` (Reinhard et al. 2001), weighed by
    (1,1,h,w). In CIELAB, not in their logarithmic space, which magnifies noise in the dark of a mouth."""
    ours, theirs = lab_from_rgb(over), lab_from_rgb(under)
    share = weight / weight.sum()

    def mean(x: Tensor) -> Tensor:
        return (share * x).sum((2, 3), keepdim=True)

    ours_mean, theirs_mean = mean(ours), mean(theirs)
    variances = (mean((x - middle).square()) + 1e-2 for x, middle in ((theirs, theirs_mean), (ours, ours_mean)))
    scale = torch.div(*variances).sqrt().clamp(1 / _MOST_SCALE, _MOST_SCALE)
    return rgb_from_lab(theirs_mean + scale * (ours - ours_mean))


def lab_from_rgb(rgb: Tensor) -> Tensor:
    """(B,3,h,w) CIELAB, L from 0 to 100, of sRGB in [0,1] (values beyond are cut)."""
    rgb = rgb.clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = _mixed(_XYZ, linear).clamp_min(0)
    root = torch.where(xyz > 216 / 24389, xyz.clamp_min(1e-6) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    return _mixed(_LAB, root) - rgb.new_tensor([16.0, 0.0, 0.0])[:, None, None]


def rgb_from_lab(lab: Tensor) -> Tensor:
    """(B,3,h,w) sRGB in [0,1], what lies beyond cut."""
    root = _mixed(torch.linalg.inv(_LAB), lab + lab.new_tensor([16.0, 0.0, 0.0])[:, None, None])
    xyz = torch.where(root > 6 / 29, root**3, (116 * root - 16) * 27 / 24389)
    linear = _mixed(torch.linalg.inv(_XYZ), xyz).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-6) ** (1 / 2.4) - 0.055)


def _mixed(matrix: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", matrix.to(x), x)
