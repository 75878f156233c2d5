"""What the skin looks like: reflectance, gloss and fine relief, painted as functions of the resting surface."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter

from samples.presenter.head import LIDS, LOWER_EDGE, LOWER_RIM, UPPER_EDGE, UPPER_RIM, Head
from samples.presenter.raster import hash01, rasterise

#: The texture shows this range of angle about the head's axis (radians) and of height (eye distances).
ANGLE, TOP, BOTTOM, AXIS_Z = 2.2, -2.3, 1.7, 0.75


def unwrap(points: np.ndarray) -> np.ndarray:
    """(n,2) texture position 0..1 of resting surface points."""
    angle = np.arctan2(points[:, 0], np.maximum(AXIS_Z - points[:, 2], -10))
    return np.stack([(angle + ANGLE) / (2 * ANGLE), (points[:, 1] - TOP) / (BOTTOM - TOP)], 1)


@njit(cache=True)
def _noise3(p, scale, salt, out):
    """Smooth noise in [-1, 1] at every point of p (m,3), `scale` cells per eye distance."""
    for k in range(len(p)):
        x, y, z = p[k, 0] * scale + 100, p[k, 1] * scale + 100, p[k, 2] * scale + 100
        i, j, h = math.floor(x), math.floor(y), math.floor(z)
        f, g, e = x - i, y - j, z - h
        f, g, e = f * f * (3 - 2 * f), g * g * (3 - 2 * g), e * e * (3 - 2 * e)
        total = 0.0
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    w = (f if a else 1 - f) * (g if b else 1 - g) * (e if c else 1 - e)
                    total += w * hash01((i + a) * 4099 + (h + c) + salt * 7919, j + b)
        out[k] = 2 * total - 1
    return out


def _noise(p: np.ndarray, scale: float, salt: int) -> np.ndarray:
    return _noise3(p, scale, salt, np.empty(len(p)))


def _inside(polygon: np.ndarray, shape: tuple[int, int], soft: float) -> np.ndarray:
    """(h,w) soft mask of a polygon in texels."""
    import cv2

    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    return gaussian_filter(mask.astype(np.float32) / 255, soft)


def _strokes(shape: tuple[int, int], start: np.ndarray, step: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(h,w) darkness of many short curved hairs; start, step: (k,2) texels."""
    import cv2

    out = np.zeros(shape, np.uint8)
    for a, d, w in zip(start, step, width, strict=True):
        mid = a + d * 0.5 + np.array([0.0, -0.05]) * np.linalg.norm(d)
        line = np.round(np.stack([a, mid, a + d]) * 16).astype(np.int32)
        cv2.polylines(out, [line], False, (int(255 * w),), 1, cv2.LINE_AA, 4)
    return out.astype(np.float32) / 255


def _surface(head: Head, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(h*w,3) resting surface point under every texel, and (h,w) whether there is one."""
    h, w = shape
    uv = unwrap(head.rest)
    flat = np.concatenate([uv * (w, h), np.zeros((len(uv), 1))], 1)
    wide = np.ptp(uv[head.triangles][..., 0], axis=1) < 0.4
    triangles = head.triangles[wide]
    index = np.full(shape, -1, np.int32)
    rasterise(flat, triangles, np.zeros(len(triangles), np.int64), uv, np.full(shape, 1e9), index, 0, 0, w, h)
    hit = index >= 0
    t = triangles[np.maximum(index, 0).ravel()]
    centre = np.stack(np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5), -1).reshape(-1, 2)
    a, b, c = (flat[t[:, k], :2] for k in range(3))
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-9, 1, area)
    w0, w1 = _cross(b - centre, c - centre) / area, _cross(c - centre, a - centre) / area
    p = (
        w0[:, None] * head.rest[t[:, 0]]
        + w1[:, None] * head.rest[t[:, 1]]
        + (1 - w0 - w1)[:, None] * head.rest[t[:, 2]]
    )
    return np.where(hit.reshape(-1, 1), p, 0.0), hit


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) of (N,2)."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def paint(head: Head, density: float, person: int = 0) -> np.ndarray:
    """(h,w,5) float32: linear RGB reflectance, gloss, height; `density` texels per eye distance."""
    h, w = int(density * (BOTTOM - TOP)), int(density * 2 * ANGLE * 0.8)
    p, hit = _surface(head, (h, w))
    rng = np.random.default_rng(77 + person)
    tone = np.array(((0.60, 0.365, 0.265), (0.36, 0.205, 0.135))[person % 2])
    blotch = (0.5 * _noise(p, 3, 1) + 0.3 * _noise(p, 7, 2) + 0.25 * _noise(p, 16, 3)).reshape(h, w, 1)
    colour = tone * (1 + 0.05 * blotch)
    colour *= 1 + blotch * np.array([0.03, -0.02, -0.03])
    x, y = p[:, 0].reshape(h, w), p[:, 1].reshape(h, w)

    def flush(cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
        return np.exp(-np.square((np.abs(x) - cx) / sx) - np.square((y - cy) / sy))[..., None]

    red = 0.8 * flush(0.42, -0.42, 0.20, 0.20) + 0.7 * flush(0, -0.36, 0.14, 0.14)  # cheeks and nose
    red += 0.45 * flush(0, 0.42, 0.2, 0.10) + 0.35 * flush(0.78, -0.5, 0.1, 0.3)  # chin and ears
    colour *= 1 + red * np.array([0.02, -0.13, -0.12])
    colour *= 1 - flush(0.30, -0.68, 0.17, 0.05) * np.array([0.10, 0.13, 0.10])  # under the eyes
    colour *= 1 - flush(0.32, -0.93, 0.20, 0.05) * np.array([0.06, 0.10, 0.10])  # upper lids
    colour *= 1 - flush(0.078, -0.305, 0.036, 0.017) * np.array([0.80, 0.88, 0.90])  # nostrils
    height = np.zeros((h, w))
    for scale, size in ((28, 0.05), (55, 0.07), (95, 0.07), (150, 0.06)):
        if scale < density * 0.5:
            height += size * _noise(p, scale, int(scale)).reshape(h, w)
    pores = height.copy()
    colour *= 1 + 0.10 * pores[..., None]
    uv = unwrap(head.rest) * (w, h)
    _freckle(colour, x, y, density, rng, 130 if person % 2 == 0 else 25)
    gloss = np.full((h, w), 0.075) + 0.05 * flush(0, -0.75, 0.10, 0.5)[..., 0] + 0.03 * flush(0, -1.2, 0.4, 0.2)[..., 0]
    gloss *= 1 + 0.8 * pores
    colour, gloss, height = _lips(uv, colour, gloss, height, p, density, person)
    colour = _brows_and_lids(uv, colour, density, rng)
    out = np.concatenate([colour, gloss[..., None], height[..., None] * 0.55 * min(1.0, 220 / density)], 2).astype(
        np.float32
    )
    out[~hit, :3] = tone
    return out


def _freckle(
    colour: np.ndarray, x: np.ndarray, y: np.ndarray, density: float, rng: np.random.Generator, count: int
) -> None:
    """Darken `count` small spots on nose and cheeks, in place."""
    middle, row = colour.shape[1] // 2, np.arange(len(y))
    for _ in range(count):
        fx, fy, size, dark = (
            rng.normal(0, 0.30),
            rng.normal(-0.52, 0.16),
            rng.uniform(0.003, 0.007),
            rng.uniform(0.08, 0.28),
        )
        r = int((fy - TOP) / (BOTTOM - TOP) * len(row))
        rows = slice(r - int(4 * size * density) - 2, r + int(4 * size * density) + 3)
        c = int(np.argmin(np.abs(x[r] - fx) + 9 * (np.abs(np.arange(x.shape[1]) - middle) > x.shape[1] // 3)))
        cols = slice(c - int(6 * size * density) - 2, c + int(6 * size * density) + 3)
        near = np.exp(-(np.square(x[rows, cols] - fx) + np.square(y[rows, cols] - fy)) / (2 * size**2))
        colour[rows, cols] *= 1 - dark * near[..., None] * np.array([0.7, 1.0, 1.1])


def _lips(
    uv: np.ndarray,
    colour: np.ndarray,
    gloss: np.ndarray,
    height: np.ndarray,
    p: np.ndarray,
    density: float,
    person: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, gloss and height with the lips painted: fine upright creases, a dark seam."""
    h, w = gloss.shape
    mask = _inside(_rounded(np.concatenate([uv[UPPER_RIM], uv[LOWER_RIM][-2:0:-1]])), (h, w), 0.010 * density)
    lip = np.array(((0.37, 0.105, 0.098), (0.26, 0.095, 0.085))[person % 2])
    crease = _noise(p * np.array([1.0, 0.22, 0.6]), 62, 40) + 0.6 * _noise(p * np.array([1.0, 0.3, 0.6]), 30, 41)
    crease = crease.reshape(h, w)
    outline = np.concatenate([uv[UPPER_EDGE] - [0, 0.007 * density], (uv[LOWER_EDGE] + [0, 0.006 * density])[::-1]])
    seam = _inside(outline, (h, w), 0.006 * density)
    painted = lip * (1 + 0.10 * crease[..., None]) * (1 - 0.75 * seam[..., None])
    m = mask[..., None] * 0.92
    return (
        colour * (1 - m) + painted * m,
        gloss * (1 - mask) + mask * (0.10 + 0.03 * crease),
        height * (1 - mask) + mask * 0.16 * crease,
    )


def _rounded(polygon: np.ndarray) -> np.ndarray:
    """The polygon with its corners cut twice (Chaikin)."""
    for _ in range(2):
        following = np.roll(polygon, -1, axis=0)
        polygon = np.stack([0.75 * polygon + 0.25 * following, 0.25 * polygon + 0.75 * following], 1).reshape(-1, 2)
    return polygon


_BROW_LINES = {
    -1: ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107)),
    1: ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336)),
}


def _brows_and_lids(uv: np.ndarray, colour: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """The colour with brows (single hairs over a soft shade), lid creases and lash lines."""
    height, width = colour.shape[:2]

    def band(line: np.ndarray, thick: float, soft: float) -> np.ndarray:
        edge = np.concatenate([line, (line + np.array([0, thick * density]))[::-1]])
        return _inside(edge, (height, width), soft * density)[..., None]

    for side, (low, high) in _BROW_LINES.items():
        cover = _brow(uv[list(low)], uv[list(high)], side, (height, width), density, rng)[..., None]
        colour = colour * (1 - cover) + np.array([0.035, 0.022, 0.016]) * cover
        upper, lower, outer, inner = LIDS[side]
        above, below = uv[[outer, *upper, inner]], uv[[outer, *lower, inner]]
        colour = colour * (1 - band(above - [0, 0.052 * density], -0.010, 0.009) * np.array([0.30, 0.42, 0.42]))
        cover = 0.8 * np.clip(np.maximum(band(above, -0.016, 0.006), 0.45 * band(below, 0.012, 0.006)), 0, 1)
        colour = colour * (1 - cover) + np.array([0.06, 0.035, 0.03]) * cover
    return colour


def _brow(
    low: np.ndarray, high: np.ndarray, side: int, shape: tuple[int, int], density: float, rng: np.random.Generator
) -> np.ndarray:
    """(h,w) how much of the skin one brow hides; low, high: (5,2) its lower and upper line, outer end first."""
    n = 330
    s, t = rng.uniform(0, 1, n) ** 0.9, rng.uniform(0, 1, n)
    k, f = (s * 3.999).astype(int), (s * 3.999 % 1)[:, None]
    lower, upper = low[k] * (1 - f) + low[k + 1] * f, high[k] * (1 - f) + high[k + 1] * f
    band = 0.22 + 0.56 * s  # thin outside, fuller inside
    root = lower + (upper - lower) * (0.62 + (t[:, None] - 0.5) * band[:, None])
    step = np.stack([0.9 * side * (0.75 - 0.5 * s), -0.18 - 0.55 * s**2 + 0.35 * (1 - s)], 1)
    hairs = _strokes(shape, root, density * 0.062 * step * rng.uniform(0.7, 1.2, (n, 1)), rng.uniform(0.35, 0.8, n))
    shade = _inside(
        np.concatenate([low + (high - low) * 0.34, (low + (high - low) * 0.86)[::-1]]), shape, 0.022 * density
    )
    return np.clip(0.42 * shade + 0.75 * gaussian_filter(hairs, 0.4 + density / 500), 0, 0.92)
