"""How much light reaches each vertex: counted by looking at the resting scene from many directions."""

from __future__ import annotations

import numpy as np

from samples.presenter.raster import rasterise

KEY = np.array([-0.50, -0.52, -0.74])
FILL = np.array([0.78, -0.10, -0.62])
RIM = np.array([0.55, -0.55, 0.66])


def lights() -> np.ndarray:
    """(5,6) rows key, fill, rim: direction and colour; then sky and ground colour."""
    out = np.zeros((5, 6))
    for row, (direction, colour) in enumerate(
        ((KEY, (0.98, 0.93, 0.86)), (FILL, (0.20, 0.22, 0.25)), (RIM, (0.30, 0.30, 0.32)))
    ):
        out[row, :3], out[row, 3:] = direction / np.linalg.norm(direction), colour
    out[3, :3], out[4, :3] = (0.36, 0.37, 0.40), (0.19, 0.16, 0.145)
    return out


def _seen_from(direction: np.ndarray, points: np.ndarray, triangles: np.ndarray, cells: int = 300) -> np.ndarray:
    """(n,) 1 where a vertex sees the light far away in `direction`, softly 0 behind other surfaces."""
    d = direction / np.linalg.norm(direction)
    side = np.cross(d, [0.0, 1.0, 0.01])
    side /= np.linalg.norm(side)
    up = np.cross(side, d)
    flat = np.stack([points @ side, points @ up, -points @ d], 1)
    low = flat[:, :2].min(0)
    flat[:, :2] = (flat[:, :2] - low) * (cells - 2) / np.ptp(flat[:, :2], axis=0).max() + 1
    depth, index = np.full((cells, cells), 1e9), np.full((cells, cells), -1, np.int32)
    rasterise(
        flat,
        triangles,
        np.zeros(len(triangles), np.int64),
        np.zeros((len(points), 2)),
        depth,
        index,
        0,
        0,
        cells,
        cells,
    )
    x, y = flat[:, 0].astype(int), flat[:, 1].astype(int)
    nearest = np.stack(
        [depth[np.clip(y + j, 0, cells - 1), np.clip(x + i, 0, cells - 1)] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    )
    behind = flat[:, 2] - nearest
    return (1 - np.clip((behind - 0.05) / 0.05, 0, 1)).mean(0)


def light_reaching(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(n,2) share of the ambient light and of the large key light that arrives."""
    golden = np.pi * (3 - np.sqrt(5))
    k = np.arange(48) + 0.5
    z = 1 - 2 * k / 48
    around = np.stack([np.sqrt(1 - z * z) * np.cos(golden * k), z, np.sqrt(1 - z * z) * np.sin(golden * k)], 1)
    total, weight = np.zeros(len(points)), np.zeros(len(points))
    for d in around:
        if d[1] > 0.75:
            continue
        w = np.clip(normals @ d, 0, 1) + 0.05
        total += w * _seen_from(d, points, triangles)
        weight += w
    key = np.zeros(len(points))
    spread = [np.array([a, b, 0.0]) * 0.30 for a in (-1, 0, 1) for b in (-1, 0, 1)]
    for s in spread:
        key += _seen_from(KEY + s, points, triangles) / len(spread)
    return np.stack([0.25 + 0.75 * total / weight, key], 1)
