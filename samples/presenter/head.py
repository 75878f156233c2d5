"""The face as a rig: mouth state, blink and brow in, surface out.

Everything here is in the head's own frame: face frame with depth (x right, y down, z away), head pose removed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from lipsync.core.canonical import MESH_FROM_68, canonical_mesh
from samples.presenter.geometry import Sheet, biharmonic, border_loops, grid_triangles, loft, loop_matrix

UPPER_EDGE = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308])
LOWER_EDGE = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308])
UPPER_RIM = np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291])
LOWER_RIM = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291])
LIDS = {
    -1: (np.array([246, 161, 160, 159, 158, 157, 173]), np.array([7, 163, 144, 145, 153, 154, 155]), 33, 133),
    1: (np.array([466, 388, 387, 386, 385, 384, 398]), np.array([249, 390, 373, 374, 380, 381, 382]), 263, 362),
}
BROWS = np.array([70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 336, 296, 334, 293, 300, 276, 283, 282, 295, 285])
_OVAL_TOP = 10
_HINGE = np.array([0.0, -0.48, 0.74])  # the jaw's axis, near the ears
_JAW_RAD = 0.23
EYE_RADIUS = 0.165


def _smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    f = np.clip((x - low) / (high - low), 0, 1)
    return f * f * (3 - 2 * f)


def _own_proportions(points: np.ndarray, person: int) -> np.ndarray:
    """The average face changed into one that is nobody's; origin and unit restored."""
    p = points.astype(float).copy()
    taper, chin, nose, wide = ((0.05, -0.03, 0.88, 1.00), (-0.03, 0.05, 1.12, 1.03))[person % 2]
    p[:, 0] *= wide * (1 - taper * _smooth(p[:, 1], -0.35, 0.5))
    p[:, 1] += chin * _smooth(p[:, 1], 0.15, 0.5)
    on_nose = np.exp(-np.square(p[:, 0] / 0.22)) * _smooth(p[:, 1], -0.95, -0.6) * (1 - _smooth(p[:, 1], -0.3, -0.16))
    p[:, 0] *= 1 - (1 - nose) * on_nose
    p[:, 2] += 0.03 * on_nose * (1.3 - nose)
    for u, v in zip(UPPER_EDGE, LOWER_EDGE, strict=True):  # a mouth that is shut
        seam = (p[u] + p[v]) / 2
        seam[1] = 0.000 - 0.10 * seam[0] ** 2 + 0.004 * np.cos(seam[0] * 30)
        p[u] = p[v] = seam
    p[LOWER_RIM, 1] = np.where(p[LOWER_RIM, 1] > 0.02, p[LOWER_RIM, 1] * 0.74, p[LOWER_RIM, 1])
    p[UPPER_RIM[2:-2], 1] *= 0.88
    p -= (p[61] + p[291]) / 2
    return p / np.linalg.norm(p[33, :2] - p[263, :2])


class Head:
    """A face rig. person: 0 or 1 chooses the proportions."""

    def __init__(self, person: int = 0) -> None:
        coarse = _own_proportions(canonical_mesh(), person)
        triangles = np.load(Path(__file__).with_name("triangles.npy")).astype(int)
        self.n_mesh = len(coarse)
        points, triangles, self.follow = self._with_neck(coarse, triangles)
        first, fine = loop_matrix(len(points), triangles, {78, 308})
        second, fine = loop_matrix(first.get_shape()[0], fine, {78, 308})
        self.coarse, self.coarse_triangles, self.triangles = points, triangles, fine
        self.fine_from_coarse = csr_matrix(second @ first)
        self._make_fields()
        borders = border_loops(fine)
        self.mouth_border, *self.eye_borders = [next(loop for loop in borders if k in loop) for k in (13, 33, 263)]
        self.rest = rest = self.fine_from_coarse @ points
        self.follow_fine = np.clip(self.fine_from_coarse @ self.follow, 0, 1)
        self.eyes = [self._eye_centre(rest, side) for side in (-1, 1)]
        self._near_eye = [np.flatnonzero(np.linalg.norm(rest - c, axis=1) < EYE_RADIUS + 0.12) for c in self.eyes]
        self.origin = (rest[61] + rest[291]) / 2

    def _with_neck(self, points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Skull, underside of the jaw and neck grown from the face's outline: curves from each outline vertex to the
        collar.

        follow: 1 moves with the head .. 0 stays with the body.
        """
        oval = next(loop for loop in border_loops(triangles) if _OVAL_TOP in loop)
        start = oval.index(_OVAL_TOP)
        oval = oval[start:] + oval[:start]
        if points[oval[1], 0] < 0:
            oval = [oval[0], *oval[:0:-1]]
        ring0 = points[oval]
        angle = np.linspace(0, 2 * np.pi, len(oval), endpoint=False)  # 0 top, pi chin
        up = (1 + np.cos(angle)) / 2
        collar = np.stack([0.55 * np.sin(angle), np.full(len(oval), 1.30), 1.04 + 0.48 * np.cos(angle)], 1)
        throat = np.stack([0.50 * np.sin(angle), np.full(len(oval), 0.62), 1.0 + 0.47 * np.cos(angle)], 1)
        throat[:, 1] -= 0.55 * up
        back1 = ring0 + np.stack([0.25 * np.sin(angle) * up, -0.95 * up**2, 0.30 + 0.5 * up], 1)
        back1[:, 0] += 0.08 * np.sign(ring0[:, 0]) * np.abs(np.sin(angle))
        back2 = throat + np.stack([0.55 * np.sin(angle) * up, -1.3 * up**1.5, 1.1 * up**2], 1)
        chin = 1 - _smooth(up, 0.0, 0.45)
        under = ring0 + np.array([0, 0.06, 0.16]) + 0.1 * up[:, None] * np.array([0, 0, 1])
        back1 = (1 - chin[:, None]) * back1 + chin[:, None] * under
        back2 = (1 - chin[:, None]) * back2 + chin[:, None] * (throat + np.array([0, -0.10, -0.14]))
        rings, follow = [], [np.ones(len(points))]
        for t in np.linspace(0, 1, 6)[1:]:
            b = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            rings.append(b[0] * ring0 + b[1] * back1 + b[2] * back2 + b[3] * throat)
            follow.append(np.full(len(oval), 1 - 0.25 * _smooth(np.array(t), 0.4, 1.0)))
        for t in np.linspace(0, 1, 5)[1:]:
            rings.append(throat + (collar - throat) * t)
            follow.append(np.full(len(oval), 0.75 * (1 - _smooth(np.array(t), 0.0, 1.0))))
        n = len(oval)
        index = np.concatenate([[oval], len(points) + np.arange(n * len(rings)).reshape(len(rings), n)])
        grown = index.reshape(-1)[grid_triangles(len(rings) + 1, n, closed=True)]
        every = np.concatenate([points, *rings])
        normal = np.cross(every[grown[:, 1]] - every[grown[:, 0]], every[grown[:, 2]] - every[grown[:, 0]])
        if (normal * (every[grown].mean(1) - np.array([0, 0, 1.0])))[:, :2].sum() < 0:
            grown = grown[:, ::-1]
        return every, np.concatenate([triangles, grown]), np.concatenate(follow)

    def _make_fields(self) -> None:
        """Smooth displacement fields on the coarse mesh for every mouth channel, blink and brow."""
        p, n = self.coarse, len(self.coarse)
        every = np.arange(n)
        lips = np.unique(np.concatenate([UPPER_EDGE, LOWER_EDGE, UPPER_RIM, LOWER_RIM]))
        beyond = every[
            (every >= self.n_mesh) | (np.hypot(p[:, 0] / 0.62, (p[:, 1] - 0.05) / 0.40) > 1) | (p[:, 1] < -0.34)
        ]
        self._from_lips = biharmonic(n, self.coarse_triangles, np.concatenate([lips, beyond]))[:, : len(lips)]
        self._lips = lips
        row = {k: i for i, k in enumerate(lips)}
        self._rows = {
            name: np.array([row[k] for k in rows])
            for name, rows in {"ue": UPPER_EDGE, "le": LOWER_EDGE, "ur": UPPER_RIM, "lr": LOWER_RIM}.items()
        }
        self._jaw = self._jaw_weight()
        self._blinks = {side: self._lid_field(side) for side in (-1, 1)}
        far = every[(every >= self.n_mesh) | (p[:, 1] > -0.95) | (np.abs(p[:, 0]) > 0.72)]
        far = np.setdiff1d(far, BROWS)
        self._brow = biharmonic(n, self.coarse_triangles, np.concatenate([BROWS, far]))[:, : len(BROWS)].sum(1)

    def _jaw_weight(self) -> np.ndarray:
        p, n = self.coarse, len(self.coarse)
        value = dict.fromkeys(
            (152, 148, 176, 149, 150, 377, 400, 378, 379, 175, 199, 200, 171, 396, 201, 421, 208, 428), 1.0
        )
        value |= {
            k: v
            for pair, v in (((136, 365), 0.92), ((172, 397), 0.8), ((58, 288), 0.5), ((132, 361), 0.2))
            for k in pair
        }
        corner = 0.36
        for rows, lower in ((UPPER_EDGE, 0), (UPPER_RIM, 0), (LOWER_EDGE, 1), (LOWER_RIM, 1)):
            half = abs(p[rows[0], 0])
            round_ = np.sqrt(np.clip(1 - np.square(p[rows, 0] / half), 0, 1)) ** 1.15
            for k, r in zip(rows, round_, strict=True):
                value[k] = corner + (1 - corner) * r if lower else corner * (1 - r) ** 1.5
        still = np.flatnonzero((np.arange(n) < self.n_mesh) & (p[:, 1] < -0.30))
        value |= dict.fromkeys(still, 0.0)
        grown = np.arange(self.n_mesh, n)
        ring = (grown - self.n_mesh) // 36
        for k, r in zip(grown, ring, strict=True):
            if r >= 2:
                value[k] = 0.0
        fixed = np.array(sorted(value))
        return np.clip(biharmonic(n, self.coarse_triangles, fixed) @ np.array([value[k] for k in fixed]), 0, 1.05)

    def _lid_field(self, side: int) -> np.ndarray:
        """(n,3) displacement that shuts one eye."""
        p, n = self.coarse, len(self.coarse)
        upper, lower, outer, inner = LIDS[side]
        meet = 0.12 * p[upper] + 0.88 * p[lower]
        want = {
            **{k: m - p[k] for k, m in zip(upper, meet, strict=True)},
            **{k: m - p[k] for k, m in zip(lower, meet, strict=True)},
        }
        centre = p[np.concatenate([upper, lower])].mean(0)
        far = np.flatnonzero(
            (np.abs(p[:, 0] - centre[0]) > 0.26) | (p[:, 1] < centre[1] - 0.20) | (p[:, 1] > centre[1] + 0.17)
        )
        want |= {int(k): np.zeros(3) for k in np.union1d(far, [outer, inner])}
        fixed = np.array(sorted(want))
        return biharmonic(n, self.coarse_triangles, fixed) @ np.array([want[k] for k in fixed])

    def _eye_centre(self, rest: np.ndarray, side: int) -> np.ndarray:
        upper, lower, outer, inner = LIDS[side]
        lids = rest[np.concatenate([upper[2:5], lower[2:5]])].mean(0)
        return np.array([rest[[outer, inner], 0].mean(), lids[1], lids[2] + EYE_RADIUS * 0.93])

    def jaw_matrix(self, mouth: np.ndarray) -> np.ndarray:
        """(3,3) rotation of the lower teeth and tongue about the hinge."""
        a = _JAW_RAD * float(mouth[0])
        return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])

    def in_jaw(self, points: np.ndarray, mouth: np.ndarray) -> np.ndarray:
        """Points fixed to the lower jaw, moved with it."""
        return (points - _HINGE) @ self.jaw_matrix(mouth).T + _HINGE

    def _lip_displacement(self, mouth: np.ndarray) -> np.ndarray:
        """(len(lips),3) what the lip muscles add to the jaw."""
        jaw, rounded, spread, upper, lower, tuck, _, _, press = mouth
        p = self.coarse[self._lips]
        d = np.zeros_like(p)
        half = abs(self.coarse[61, 0])
        u = np.clip(np.abs(p[:, 0]) / half, 0, 1)
        middle = (1 - u**2) ** 0.8
        d[:, 0] += p[:, 0] * (-0.36 * rounded + 0.20 * spread - 0.05 * jaw)
        d[:, 2] += -0.085 * rounded * middle**0.5 + 0.06 * spread * u**2 + 0.05 * rounded * (-0.3 + u**2)
        d[:, 1] += -0.020 * spread * u**2
        r = self._rows
        for names, sign in ((("ue", "ur"), -1), (("le", "lr"), 1)):
            for name in names:
                k = r[name]
                raise_ = self._pull(name, upper, lower, jaw)
                d[k, 1] += sign * raise_ * middle[k] ** 0.7
        d[r["ue"], 1] -= 0.030 * rounded * middle[r["ue"]] ** 0.6
        d[r["le"], 1] += 0.034 * rounded * middle[r["le"]] ** 0.6
        d[r["lr"], 1] += 0.010 * rounded * middle[r["lr"]]
        d[r["ur"], 1] += 0.022 * press * middle[r["ur"]]
        d[r["lr"], 1] -= 0.026 * press * middle[r["lr"]]
        for name in ("ue", "le", "ur", "lr"):
            d[r[name], 2] += 0.02 * press * middle[r[name]]
        d[r["le"], 1] -= 0.010 * tuck * middle[r["le"]]
        d[r["le"], 2] += 0.050 * tuck * middle[r["le"]]
        d[r["lr"], 1] -= 0.022 * tuck * middle[r["lr"]]
        return d

    @staticmethod
    def _pull(name: str, upper: float, lower: float, jaw: float) -> float:
        """How far raising (upper) and lowering (lower lip) pulls a lip contour at the middle; lips get thinner as they
        stretch."""
        return {
            "ue": 0.062 * upper + 0.022 * jaw,
            "ur": 0.030 * upper - 0.004 * jaw,
            "le": 0.052 * lower + 0.010 * jaw,
            "lr": 0.036 * lower - 0.004 * jaw,
        }[name]

    def face(self, mouth: np.ndarray, blink: float, brow: float) -> np.ndarray:
        """(n,3) fine surface vertices; the first 478 are MediaPipe's."""
        angle = _JAW_RAD * float(mouth[0]) * self._jaw[:, None]
        arm = self.coarse - _HINGE
        turned = np.stack(
            [
                arm[:, 0],
                arm[:, 1] * np.cos(angle[:, 0]) - arm[:, 2] * np.sin(angle[:, 0]),
                arm[:, 1] * np.sin(angle[:, 0]) + arm[:, 2] * np.cos(angle[:, 0]),
            ],
            1,
        )
        moved = turned + _HINGE + self._from_lips @ self._lip_displacement(mouth)
        moved += self._from_lips @ self._closing(moved[self._lips], float(mouth[7]))
        moved[UPPER_EDGE[1:-1]], moved[LOWER_EDGE[1:-1]] = self._no_overlap(moved)
        moved[:, 1] -= 0.075 * brow * self._brow
        for side in (-1, 1):
            moved += blink * self._blinks[side]
        fine = self.fine_from_coarse @ moved
        for centre, near in zip(self.eyes, self._near_eye, strict=True):
            away = fine[near] - centre
            far = np.linalg.norm(away, axis=1, keepdims=True)
            fine[near] = centre + away * np.maximum(1, (EYE_RADIUS + 0.012) / far)
        return fine

    def _closing(self, lips: np.ndarray, close: float) -> np.ndarray:
        """(len(lips),3) displacement that shuts the mouth by the share `close`; the lower lip does most of the way."""
        r, d = self._rows, np.zeros_like(lips)
        gap = lips[r["le"]] - lips[r["ue"]]
        d[r["le"]] -= 0.68 * close * gap
        d[r["ue"]] += 0.32 * close * gap
        d[r["lr"]] -= 0.50 * close * gap
        d[r["ur"]] += 0.16 * close * gap
        return d

    def _no_overlap(self, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        upper, lower = moved[UPPER_EDGE[1:-1]], moved[LOWER_EDGE[1:-1]]
        middle = (upper + lower) / 2
        touch = (lower[:, 1] - upper[:, 1] <= 0)[:, None]
        return np.where(touch, middle, upper), np.where(touch, middle, lower)

    def lip_lining(self, fine: np.ndarray) -> Sheet:
        """The wet inside of both lips, rolled back from the seam."""
        loop = np.array(self.mouth_border)
        edge = fine[loop]
        upper = self._is_upper_border()[:, None]
        depth = ((0.0, 0.0), (0.020, 0.008), (0.055, 0.030), (0.085, 0.07), (0.13, 0.11))
        rest = self.rest[loop]
        scale = np.clip(1 - np.square(rest[:, :1] / 0.26), 0.15, 1)
        rings = [
            edge
            + np.concatenate(
                [0 * edge[:, :1], np.where(upper, -dy, dy) * scale, 0 * scale + dz * (0.4 + 0.6 * scale)], 1
            )
            for dz, dy in depth
        ]
        occ = np.repeat(np.array([0.9, 0.62, 0.35, 0.2, 0.1])[:, None], len(loop), 1)
        return loft(np.stack(rings), closed=True, occ=occ)

    def _is_upper_border(self) -> np.ndarray:
        loop = self.mouth_border
        a, b = loop.index(78), loop.index(308)
        low, high = min(a, b), max(a, b)
        inside = np.zeros(len(loop), bool)
        inside[low : high + 1] = True
        return inside if low <= loop.index(13) <= high else ~inside

    def lid_margins(self, fine: np.ndarray) -> list[Sheet]:
        """Thin rims from the lid edges back to the eyeball, one sheet per eye."""
        out = []
        for loop, centre in zip(self.eye_borders, self.eyes, strict=True):
            edge = fine[loop]
            back = centre + (edge - centre) * (
                0.985 * EYE_RADIUS / np.linalg.norm(edge - centre, axis=1, keepdims=True)
            )
            deep = centre + (back - centre) * np.array([1.1, 1.1, 0.85])
            out.append(
                loft(np.stack([edge, back, deep]), closed=True, occ=np.repeat([[0.95], [0.7], [0.4]], len(loop), 1))
            )
        return out

    def landmarks_68(self, fine: np.ndarray) -> np.ndarray:
        """(68,3) the iBUG-68 points."""
        return fine[MESH_FROM_68]
