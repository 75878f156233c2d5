"""Everything that is not skin: eyeballs, teeth, gums, tongue, mouth cavity, lashes, hair, torso. Head frame, at
rest."""

from __future__ import annotations

import numpy as np

from samples.presenter.geometry import Sheet, join, loft
from samples.presenter.head import EYE_RADIUS, LIDS


def eyeball() -> Sheet:
    """Front half of a sphere around the origin looking along -z; uv = direction x, y of the surface point (unit
    sphere)."""
    ring, turn = np.meshgrid(np.linspace(0, 1.45, 22), np.linspace(0, 2 * np.pi, 33), indexing="ij")
    d = np.stack([np.sin(ring) * np.cos(turn), np.sin(ring) * np.sin(turn), -np.cos(ring)], -1)
    s = loft(d * EYE_RADIUS)
    return Sheet(s.points, s.triangles[:, ::-1], d.reshape(-1, 3)[:, :2].copy(), s.occ)


_WIDTHS_UPPER = (0.092, 0.072, 0.080, 0.074, 0.072, 0.10)
_WIDTHS_LOWER = (0.058, 0.062, 0.070, 0.074, 0.076, 0.105)


def _arch(s: np.ndarray, half: float, front: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Point (x, z) of the dental arch and outward normal angle at arc position s (0 = midline)."""
    a = s / (half * 1.12)
    x = half * np.sin(a) + 0.05 * half * a
    z = front + 0.46 * (1 - np.cos(a))
    return x, z, np.arctan2(0.46 * np.sin(a), half * np.cos(a) + 0.05 * half)


def _tooth(centre_s: float, width: float, top: float, edge: float, half: float, front: float, pointed: float) -> Sheet:
    """One crown: a bulging patch with rounded corners; y from `top` (gum) to `edge` (biting edge)."""
    rows, cols = 9, 9
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(-1, 1, cols), indexing="ij")
    narrow = 0.86 + 0.14 * np.sin(v * np.pi * 0.62)
    s = centre_s + u * width / 2 * 0.985 * narrow
    x, z, a = _arch(s, half, front)
    drop = 1 - 0.10 * np.abs(u) ** 3 * v**2 - pointed * np.abs(u) * v**2
    y = top + (edge - top) * v * drop + (edge - top) * 0.10 * (np.abs(u) ** 2) * (1 - v) ** 3
    bulge = (
        0.018 * (1 - np.abs(u) ** 4) * np.sin(np.pi * (0.12 + 0.76 * v)) ** 0.7 - 0.030 * (np.abs(u) ** 6) - 0.02 * v**6
    )
    x, z = x + bulge * np.sin(a), z - bulge * np.cos(a)
    occ = 0.95 - 0.45 * np.abs(u) ** 8 - 0.25 * (1 - v) ** 6
    return loft(np.stack([x, y, z], -1), occ=occ)


def _gum(top: float, base: float, half: float, front: float, sign: float) -> Sheet:
    s = np.linspace(-0.47, 0.47, 60)
    x, z, a = _arch(s, half, front)
    scallop = 0.012 * np.cos(s / 0.085 * 2 * np.pi)
    rows = [
        np.stack([x + o * np.sin(a), y + 0 * x, z - o * np.cos(a)], -1)
        for o, y in (
            (-0.02, base + sign * 0.02 + scallop),
            (0.004, base + scallop * 0.7),
            (-0.01, base - sign * 0.03),
            (-0.05, top),
        )
    ]
    return loft(np.stack(rows), occ=np.repeat([[0.7], [0.8], [0.7], [0.4]], 60, 1))


def teeth() -> tuple[Sheet, Sheet, Sheet, Sheet]:
    """Upper teeth, upper gum, lower teeth, lower gum (the lower ones move with the jaw)."""
    rows = []
    for widths, top, edge, half, front in (
        (_WIDTHS_UPPER, -0.105, 0.028, 0.262, -0.088),
        (_WIDTHS_LOWER, 0.125, 0.020, 0.240, -0.062),
    ):
        crowns, s = [], 0.0
        for k, width in enumerate(widths):
            short = (0.0, 0.010, 0.002, 0.014, 0.018, 0.020)[k] * np.sign(edge - top)
            for side in (-1, 1):
                crowns.append(
                    _tooth(side * (s + width / 2), width, top, edge - short, half, front, 0.10 if k == 2 else 0.0)
                )
            s += width
        rows.append(join(crowns))
    return rows[0], _gum(-0.26, -0.092, 0.262, -0.088, 1), rows[1], _gum(0.16, 0.112, 0.240, -0.062, -1)


def tongue() -> Sheet:
    """A rounded blade lying behind the lower teeth."""
    v, u = np.meshgrid(np.linspace(0, 1, 16), np.linspace(-1, 1, 17), indexing="ij")
    half = 0.185 * np.sqrt(np.clip(1 - np.square(1 - np.minimum(v / 0.45, 1)), 0.0, 1)) + 0.001
    x = u * half
    z = 0.0 + 0.48 * v
    y = (
        0.085
        - 0.060 * np.sin(np.pi * np.clip(v * 0.8 + 0.1, 0, 1))
        + 0.09 * np.abs(u) ** 3
        + 0.012 * np.exp(-np.square(u / 0.16))
    )
    return loft(np.stack([x, y, z], -1), occ=0.85 - 0.5 * v)


def cavity() -> Sheet:
    """The dark back of the mouth."""
    v, u = np.meshgrid(np.linspace(-0.25, 0.36, 5), np.linspace(-0.30, 0.30, 5), indexing="ij")
    return loft(np.stack([u, v, 0.36 + 0 * u], -1), occ=0.2)


def lashes(edge: np.ndarray, centre: np.ndarray, length: float, lift: float) -> Sheet:
    """A fringe outwards from a lid edge (k,3); uv: along the lid, root to tip."""
    t = np.linspace(0, 1, 5)[:, None, None]
    away = edge - centre
    away = away / np.linalg.norm(away, axis=1, keepdims=True)
    grow = (
        away * 0.7
        + np.array([0, lift, 0]) * 0.6
        + np.array([0.45, 0, 0]) * np.sign(centre[0]) * np.abs(edge[:, :1] - centre[0]) * 4
    )
    curl = np.array([0, lift, 0]) * 0.35
    s = loft(edge[None] + length * (grow[None] * t + curl * t**2))
    return Sheet(s.points, s.triangles, s.uv, s.occ)


def lid_edges(fine: np.ndarray, border: list[int], side: int, upper: bool) -> np.ndarray:
    """(k,3) points of one lid edge from outer to inner corner."""
    top, _, outer, inner = LIDS[side]
    loop = border[border.index(outer) :] + border[: border.index(outer)]
    if (top[3] in loop[: loop.index(inner)]) != upper:
        loop = [loop[0], *loop[:0:-1]]
    return fine[loop[: loop.index(inner) + 1]]


def hair(person: int) -> Sheet:
    """A bob parted near the middle, one sheet per side; uv: front to back, root to tip."""
    length, part = ((1.42, 0.09), (1.10, -0.07))[person % 2]
    sides = []
    for side in (-1, 1):
        p = np.linspace(0, 1, 110)[:, None]
        rise = -1.53 - 0.68 * np.sin(np.pi * np.clip(p * 0.93 + 0.04, 0, 1)) ** 0.75 + 0.75 * p**6
        root = np.concatenate([part * (1 - 0.6 * p), rise, -0.10 + 2.05 * p**0.95], 1)
        out = side * (0.86 + 0.14 * np.sin(np.pi * np.clip(p * 1.3, 0, 1))) * np.sqrt(np.clip(1 - p**4 * 0.95, 0.03, 1))
        fall = np.concatenate([out, -0.66 + 0.06 * p, 0.26 + 1.60 * p], 1)
        behind = np.clip(p * 4, 0, 1)
        depth = (root[:, 2:] + fall[:, 2:]) / 2 - 0.08
        mid = np.concatenate([fall[:, :1] * (0.86 + 0.16 * behind), root[:, 1:2] + 0.14 * (1 - behind), depth], 1)
        wave = 0.016 * np.sin(19 * p + 2 * side) + 0.010 * np.sin(53 * p + side) + 0.006 * np.sin(131 * p)
        drop = [-side * (0.10 - 0.10 * np.sin(np.pi * p)) + wave, length - 0.18 * (1 - p) ** 2 + wave, 0.14 - 0.30 * p]
        tip = fall + np.concatenate(drop, 1)
        rows = []
        for t in np.linspace(0, 1, 44):
            a = min(t / 0.5, 1.0)
            b = max((t - 0.5) / 0.5, 0.0)
            q = (1 - a) ** 2 * root + 2 * a * (1 - a) * mid + a * a * fall + (tip - fall) * b
            out = 0.12 * np.sin(np.pi * b**1.5) - 0.04 * b**4
            rows.append(q + np.concatenate([side * (wave * t + out), 0 * p, wave * 0.8 * t], 1))
        occ = np.linspace(0.75, 1, 44)[:, None] * np.ones((1, 110))
        s = _with_flap(np.stack(rows), occ, side)
        sides.append(Sheet(s.points, s.triangles if side < 0 else s.triangles[:, ::-1], s.uv, s.occ))
    return join(sides)


def _with_flap(rows: np.ndarray, occ: np.ndarray, side: int) -> Sheet:
    """The hair sheet with its front edge turned in towards the head, so that no gap shows between hair and forehead."""
    front = rows[:, :1]
    flap = [front + np.array([-0.14 * side, 0.06, 0.34]), front + np.array([-0.04 * side, 0.025, 0.12])]
    s = loft(np.concatenate([*flap, rows], 1), occ=np.concatenate([0.3 * occ[:, :2], occ], 1))
    across = np.concatenate([[0.08, 0.06], np.linspace(0, 1, rows.shape[1])])
    return Sheet(s.points, s.triangles, np.stack([np.tile(across, len(rows)), s.uv[:, 1]], 1), s.occ)


def hand() -> Sheet:
    """An open hand with its forearm, fingers up; origin in the palm."""
    v, u = np.meshgrid(np.linspace(0, 1, 22), np.linspace(0, 2 * np.pi, 25), indexing="ij")
    cap = np.sqrt(1 - np.square(np.clip(1 - np.minimum(v, 1 - v) / 0.14, 0, 1))) + 0.001

    def limb(start: tuple[float, float], end: tuple[float, float], wide: float, deep: float) -> Sheet:
        (x0, y0), (x1, y1) = start, end
        return loft(
            np.stack([x0 + (x1 - x0) * v + wide * cap * np.cos(u), y0 + (y1 - y0) * v, deep * cap * np.sin(u)], -1)
        )

    tips = ((-0.25, -0.34, -0.72), (-0.085, -0.10, -0.88), (0.085, 0.10, -0.84), (0.245, 0.31, -0.66))
    fingers = [limb((x0, -0.15), (x1, top), 0.082, 0.075) for x0, x1, top in tips]
    thumb, palm = limb((0.26, 0.30), (0.58, -0.22), 0.095, 0.09), limb((0, 0.48), (0, -0.36), 0.34, 0.14)
    return join([*fingers, thumb, palm, limb((0.0, 0.2), (0.35, 3.2), 0.24, 0.17)])


def torso() -> Sheet:
    """Shoulders and chest in a knitted crew-neck top; uv in eye distances for the knit."""
    a = np.linspace(-np.pi, np.pi, 97)
    # half width, depth and height of each ring: first the rolled collar, then the shoulders, then the chest
    rings = [
        (0.520, 0.47, 1.10),
        (0.535, 0.49, 0.985),
        (0.560, 0.515, 0.965),
        (0.590, 0.54, 0.985),
        (0.605, 0.56, 1.05),
    ]
    rings += [(0.62 + 1.40 * e, 0.57 + 0.32 * e, 1.06 + 0.42 * e**1.35) for e in np.linspace(0.02, 1, 14)]
    rings += [
        (2.02 + 0.26 * np.sin(f), 0.89 + 0.2 * f, 1.48 + 1.5 * (1 - np.cos(f)) + 0.10 * f)
        for f in np.linspace(0.12, 1.4, 12)
    ]
    rows = [
        np.stack([half * np.sin(a), y + 0.07 * np.cos(a) * min(1.0, 0.9 / half), 1.04 - depth * np.cos(a)], -1)
        for half, depth, y in rings
    ]
    s = loft(np.stack(rows), occ=0.9)
    return Sheet(s.points, s.triangles[:, ::-1], s.points[:, :2].copy(), s.occ)
