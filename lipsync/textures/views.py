"""Real mouths as views on a map of appearances (Nirkin et al. 2019, FSGAN, "appearance map"): which of them surround a
wanted one, and how much each counts.

Views are points on a map whose axes are the head's yaw and pitch and the mouth's opening and width. Near-duplicates are
removed, a Delaunay triangulation joins the rest, and a wanted point shows the views at the corners of its simplex by
its barycentric weights: a wanted view that moves smoothly changes smoothly. Beyond the paper: the axes include the
lips, and axes along which this footage hardly varies are left out, as a still head has no triangles."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from lipsync.core.lips import opening
from lipsync.core.types import MouthBank


class MapConfig(Protocol):
    """The options that lay out a map; `AppearanceMapConfig` says what each means."""

    @property
    def pose_weight(self) -> float: ...
    @property
    def opening_weight(self) -> float: ...
    @property
    def flat_axis(self) -> float: ...
    @property
    def duplicate(self) -> float: ...


class Views:
    """The map of one bank's mouths. places: (K,4) float64, where every mouth lies on it; kept: (V,) the bank rows that
    are its views. It stays on the CPU, so that every device shows the same views."""

    def __init__(self, bank: MouthBank, config: MapConfig) -> None:
        self.config = config
        self.places = self.place(bank.lips.astype(np.float64), bank.pose.astype(np.float64))
        spread = self.places.std(0)
        self.axes = np.flatnonzero(spread >= min(config.flat_axis, spread.max()))
        self.kept = without_duplicates(self.places[:, self.axes], bank.sharpness, config.duplicate)
        self.map = ViewMap(self.places[self.kept][:, self.axes])

    def place(self, lips: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """(N,4) places on the map of (N,18,2) lips and (N,3) head pose: yaw, pitch, mouth opening, mouth width; eye
        distances."""
        width = lips[:, 6, :1] - lips[:, 0, :1]
        return np.concatenate(
            [pose[:, :2] * self.config.pose_weight, opening(lips)[:, None] * self.config.opening_weight, width], 1
        )

    def around(self, lips: torch.Tensor, pose: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,C) int64 bank rows around (B,18,2) lips and (B,3) pose, and their (B,C) float32 shares; on the CPU."""
        places = self.place(lips.cpu().numpy().astype(np.float64), pose.cpu().numpy().astype(np.float64))
        corner, share = self.map.blend(places[:, self.axes])
        return torch.from_numpy(self.kept[corner]), torch.from_numpy(share.astype(np.float32))


class ViewMap:
    """Points in any few dimensions, joined by a Delaunay triangulation; `blend` finds barycentric weights. Where all
    points lie in a plane, on a line or are too few, the directions in which they spread are what is triangulated."""

    def __init__(self, points: np.ndarray) -> None:
        """points: (V,D)."""
        self.mean = points.mean(0)
        _, spread, axes = np.linalg.svd(points - self.mean, full_matrices=False)
        self.basis = axes[spread > 1e-6 * max(spread.max(), 1e-12)]
        self.points = (points - self.mean) @ self.basis.T
        self.order = np.argsort(self.points[:, 0]) if len(self.basis) == 1 else None
        if len(self.basis) > 1:
            from scipy.spatial import Delaunay

            self.triangles = Delaunay(self.points)
            self.outside = _hull(self.points)

    def blend(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B,C) points around each of the (B,D) wanted ones, and their (B,C) weights >= 0, which add up to 1. What lies
        outside is first drawn in to the outline, straight towards the middle: a step there is continuous as well."""
        at = (wanted - self.mean) @ self.basis.T
        if len(self.basis) == 0:
            return np.zeros((len(at), 1), np.int64), np.ones((len(at), 1))
        return self._in_triangles(at) if self.order is None else self._on_a_line(at[:, 0], self.order)

    def _on_a_line(self, at: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self.points[order, 0]
        right = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
        share = np.clip((at - x[right - 1]) / np.maximum(x[right] - x[right - 1], 1e-12), 0, 1)
        return order[np.stack([right - 1, right], 1)], np.stack([1 - share, share], 1)

    def _in_triangles(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        normal, offset = self.outside
        at = at / np.maximum(1, (at @ normal.T / offset).max(1) * (1 + 1e-9))[:, None]
        simplex = self.triangles.find_simplex(at)
        matrix = self.triangles.transform[simplex]
        share = np.einsum("bij,bj->bi", matrix[:, :-1], at - matrix[:, -1])
        share = np.concatenate([share, 1 - share.sum(1, keepdims=True)], 1).clip(0, 1)
        corner = self.triangles.simplices[simplex].astype(np.int64)
        lost = (simplex < 0) | ~np.isfinite(share).all(1)  # in a crack of rounding: the nearest point
        nearest = ((at[:, None] - self.points) ** 2).sum(-1).argmin(1)
        corner[lost], share[lost] = nearest[lost, None], 1.0
        return corner, share / share.sum(1, keepdims=True)


def _hull(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F,D) outward normals and (F,) distances from the origin, which lies inside, of the outline's flat parts."""
    from scipy.spatial import ConvexHull

    flat = ConvexHull(points).equations
    return flat[:, :-1], np.maximum(-flat[:, -1], 1e-12)


def without_duplicates(points: np.ndarray, sharpness: np.ndarray, radius: float) -> np.ndarray:
    """Rows of (K,D) points of which no two are nearer than `radius`: of near ones the sharpest stays. (V,)
    ascending."""
    from scipy.spatial import KDTree

    tree, left = KDTree(points), np.ones(len(points), bool)
    kept = []
    for k in np.argsort(-sharpness, kind="stable"):
        if left[k]:
            kept.append(k)
            left[tree.query_ball_point(points[k], radius)] = False
    return np.sort(np.array(kept))
