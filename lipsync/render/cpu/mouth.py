"""The drawn mouth laid on the frame's grid and given its light and grain: `lipsync.render.match` in few passes."""

from __future__ import annotations

import cv2
import numpy as np

from lipsync.config.schema import CompositeConfig
from lipsync.core.compiled import compiled
from lipsync.core.lips import soft_step
from lipsync.render.box import STEP, Box
from lipsync.render.cpu.grid import around, at_nodes, bilinear, fine, means
from lipsync.render.match import GRAIN_LIMIT
from video.pyramid import half_gaussian, symmetric_filter

_AROUND = 4
_SHIFT = np.float32(_AROUND - 0.5)  # from pixel positions to indices into what has edges around it
_A = np.float32(-0.75)  # torch's and OpenCV's cubic
_ZERO, _ONE, _TWO, _HALF, _LEAST = (np.float32(v) for v in (0, 1, 2, 0.5, 0.05))


def sampled(texture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(h,w,3) bicubic values of a (3,H,W) texture at (h,w,2) positions in pixels, edges repeated."""
    # with so many edge pixels around it, no tap needs to be looked after
    wide = cv2.copyMakeBorder(cv2.merge(list(texture)), _AROUND, _AROUND, _AROUND, _AROUND, cv2.BORDER_REPLICATE)
    return _bicubic(wide, at)


@compiled
def _bicubic(wide, at):  # pragma: no cover - compiled
    """(h,w,3): cubic convolution (Keys 1981) of a (H,W,3) picture with `_AROUND` edge pixels around it."""
    rows, columns = at.shape[:2]
    height, width, _ = wide.shape
    out = np.empty((rows, columns, 3), np.float32)
    for i in range(rows):
        for j in range(columns):
            x = min(max(at[i, j, 0] + _SHIFT, _ONE), np.float32(width - 3))
            y = min(max(at[i, j, 1] + _SHIFT, _ONE), np.float32(height - 3))
            left, top = int(x) - 1, int(y) - 1
            across, down = _cubic(x - np.float32(left + 1)), _cubic(y - np.float32(top + 1))
            red = green = blue = _ZERO
            for k in range(4):
                for m in range(4):
                    weight = down[k] * across[m]
                    red += weight * wide[top + k, left + m, 0]
                    green += weight * wide[top + k, left + m, 1]
                    blue += weight * wide[top + k, left + m, 2]
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = red, green, blue
    return out


@compiled
def _cubic(t):  # pragma: no cover - compiled
    """The weights of the four pixels around, `t` from the second to the third."""
    s, n, m = _ONE - t, _ONE + t, _TWO - t
    return (
        ((_A * n - np.float32(5) * _A) * n + np.float32(8) * _A) * n - np.float32(4) * _A,
        ((_A + _TWO) * t - (_A + np.float32(3))) * t * t + _ONE,
        ((_A + _TWO) * s - (_A + np.float32(3))) * s * s + _ONE,
        ((_A * m - np.float32(5) * _A) * m + np.float32(8) * _A) * m - np.float32(4) * _A,
    )


@compiled
def alpha_at(alpha, at):  # pragma: no cover - compiled
    """(h,w) bilinear values of (H,W) at (h,w,2) positions in pixels, edges repeated."""
    out = np.empty(at.shape[:2], np.float32)
    height, width = alpha.shape
    for i in range(at.shape[0]):
        for j in range(at.shape[1]):
            x, y, right, below, u, v = around(at[i, j, 0] - _HALF, at[i, j, 1] - _HALF, width, height)
            out[i, j] = bilinear(alpha[y, x], alpha[y, right], alpha[below, x], alpha[below, right], u, v)
    return out


def matched(
    over: np.ndarray, bent: np.ndarray, beyond: np.ndarray, region: np.ndarray, box: Box, config: CompositeConfig
) -> np.ndarray:
    """As `lipsync.render.match.matched`, written into `over`. over, bent: (H,W,3); beyond, region: (h,w) coarse."""
    height, width = over.shape[:2]
    skin = region * (beyond > 0)
    planes = fine(_slow(over, bent, skin, config.colour_sigma * box.scale / STEP), height, width)
    missing = _lit(over, bent, planes)
    blurred = _blurred(missing, config.grain * box.scale)
    some = skin[: (height - 1) // STEP + 1, : (width - 1) // STEP + 1]
    strength = np.abs(missing[::STEP, ::STEP] - blurred[::STEP, ::STEP]).sum(-1)
    usual = GRAIN_LIMIT * float((strength * some).sum()) / max(3 * float(some.sum()), 1.0)
    share = fine(soft_step(beyond / config.lip_margin)[..., None], height, width)
    _add_grain(over, missing, blurred, share, np.float32(usual))
    return over


def _slow(over: np.ndarray, bent: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """(h,w,6) coarse: what `over` lacks, and `over`, averaged over Gaussians of `sigma` nodes with the (h,w) weight."""
    level = at_nodes(means(over, STEP), *weight.shape)
    light = at_nodes(means(bent, STEP), *weight.shape) - level
    layers = np.concatenate([light, level, np.ones_like(light[..., :1])], 2)
    half = means(layers * weight[..., None], 2)
    soft = symmetric_filter(half, half_gaussian(sigma / 2))
    smooth = cv2.resize(soft, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return smooth[..., :6] / (smooth[..., 6:] + np.float32(1e-3))


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return symmetric_filter(picture, half_gaussian(sigma)) if sigma > 0 else picture


@compiled
def _lit(over, bent, planes):  # pragma: no cover - compiled
    """Writes the frame's light into `over`; (H,W,3) what it lacks then. planes: (H,W,6) light and level."""
    missing = np.empty_like(over)
    for y in range(over.shape[0]):
        for x in range(over.shape[1]):
            for c in range(3):
                value = over[y, x, c]
                share = min(max(value / max(planes[y, x, 3 + c], _LEAST), _ZERO), _ONE)
                value += planes[y, x, c] * share
                over[y, x, c] = value
                missing[y, x, c] = bent[y, x, c] - value
    return missing


@compiled
def _add_grain(over, missing, blurred, share, usual):  # pragma: no cover - compiled
    for y in range(over.shape[0]):
        for x in range(over.shape[1]):
            for c in range(3):
                grain = missing[y, x, c] - blurred[y, x, c]
                over[y, x, c] += share[y, x, 0] * min(max(grain, -usual), usual)
