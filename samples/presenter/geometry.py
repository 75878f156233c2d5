"""Triangle surfaces: Loop subdivision as a matrix, smooth vertex normals, lofted sheets.

Coordinates: x right, y down, z away from the camera; unit = outer-eye-corner distance. Triangles turn so that
(b - a) x (c - a) points outwards.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True, slots=True)
class Sheet:
    """A surface. points: (n,3); triangles: (m,3) int; uv: (n,2); occ: (n,) how much light reaches it, 1 = all."""

    points: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    occ: np.ndarray


def grid_triangles(rows: int, cols: int, closed: bool = False) -> np.ndarray:
    """(m,3) triangles of a rows x cols sheet of vertices, row by row; closed: the last column meets the first."""
    out = []
    for r in range(rows - 1):
        for c in range(cols if closed else cols - 1):
            d = (c + 1) % cols
            a, b, e, f = r * cols + c, r * cols + d, (r + 1) * cols + c, (r + 1) * cols + d
            out += [(a, b, e), (b, f, e)]
    return np.array(out, int)


def loft(points: np.ndarray, closed: bool = False, occ: np.ndarray | float = 1.0) -> Sheet:
    """Sheet through (rows, cols, 3) points; uv runs 0..1 along columns and rows."""
    rows, cols = points.shape[:2]
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, cols), indexing="ij")
    return Sheet(
        points.reshape(-1, 3).astype(float),
        grid_triangles(rows, cols, closed),
        np.stack([u, v], -1).reshape(-1, 2),
        np.broadcast_to(np.asarray(occ, float), (rows, cols)).reshape(-1).copy(),
    )


def join(sheets: list[Sheet]) -> Sheet:
    """All sheets as one."""
    start = np.cumsum([0] + [len(s.points) for s in sheets[:-1]])
    return Sheet(
        np.concatenate([s.points for s in sheets]),
        np.concatenate([s.triangles + k for s, k in zip(sheets, start, strict=True)]),
        np.concatenate([s.uv for s in sheets]),
        np.concatenate([s.occ for s in sheets]),
    )


def _edges(triangles: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """Opposite vertices of every edge: one on a border, two inside."""
    edges: dict[tuple[int, int], list[int]] = defaultdict(list)
    for a, b, c in triangles:
        for i, j, k in ((a, b, c), (b, c, a), (c, a, b)):
            edges[(min(i, j), max(i, j))].append(k)
    return edges


def border_loops(triangles: np.ndarray) -> list[list[int]]:
    """Closed border curves as vertex lists."""
    following = defaultdict(list)
    for (i, j), opposite in _edges(triangles).items():
        if len(opposite) == 1:
            following[i].append(j)
            following[j].append(i)
    loops, seen = [], set()
    for first in sorted(following):
        if first in seen:
            continue
        loop, here = [], first
        while here is not None:
            loop.append(here)
            seen.add(here)
            here = next((k for k in following[here] if k not in seen), None)
        loops.append(loop)
    return loops


def loop_matrix(n: int, triangles: np.ndarray, sharp: set[int]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """(m,n) matrix from coarse to once-subdivided vertices, and their triangles (C. Loop 1987).

    Vertex i of the coarse mesh stays vertex i; border curves depend on border vertices only; `sharp` vertices do not
    move."""
    edges = _edges(triangles)
    neighbours, border = defaultdict(set), defaultdict(list)
    for (i, j), opposite in edges.items():
        neighbours[i].add(j)
        neighbours[j].add(i)
        if len(opposite) == 1:
            border[i].append(j)
            border[j].append(i)
    entries: list[tuple[int, int, float]] = []
    for i in range(n):
        if i in sharp or i not in neighbours:
            entries.append((i, i, 1.0))
        elif i in border:
            entries += [(i, i, 0.75)] + [(i, k, 0.125) for k in border[i]]
        else:
            valence = len(neighbours[i])
            beta = (0.625 - (0.375 + 0.25 * np.cos(2 * np.pi / valence)) ** 2) / valence
            entries += [(i, i, 1 - valence * beta)] + [(i, k, beta) for k in sorted(neighbours[i])]
    middle = {}
    for k, ((i, j), opposite) in enumerate(edges.items()):
        middle[(i, j)] = n + k
        if len(opposite) == 1:
            entries += [(n + k, i, 0.5), (n + k, j, 0.5)]
        else:
            entries += [(n + k, i, 0.375), (n + k, j, 0.375), (n + k, opposite[0], 0.125), (n + k, opposite[1], 0.125)]
    fine = []
    for a, b, c in triangles:
        ab, bc, ca = (middle[(min(i, j), max(i, j))] for i, j in ((a, b), (b, c), (c, a)))
        fine += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    row, col, value = (np.array(x) for x in zip(*entries, strict=True))
    return sparse.csr_matrix((value, (row, col)), shape=(n + len(edges), n)), np.array(fine, int)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(n,3) unit outward normals, area weighted."""
    a, b, c = points[triangles[:, 0]], points[triangles[:, 1]], points[triangles[:, 2]]
    face = np.cross(b - a, c - a)
    out = np.zeros_like(points)
    for axis in range(3):
        for k in range(3):
            out[:, axis] += np.bincount(triangles[:, k], face[:, axis], minlength=len(points))
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def biharmonic(n: int, triangles: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """(n, len(fixed)) smoothest extension of values given at the `fixed` vertices to the whole mesh (minimal squared
    Laplacian)."""
    edges = np.array(list(_edges(triangles)))
    one = np.ones(len(edges))
    adjacency = sparse.coo_matrix((one, (edges[:, 0], edges[:, 1])), shape=(n, n))
    adjacency = (adjacency + adjacency.T).tocsr()
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    laplace = sparse.eye(n) - sparse.diags(1 / degree) @ adjacency
    energy = (laplace.T @ laplace).toarray() + 1e-9 * np.eye(n)
    free = np.setdiff1d(np.arange(n), fixed)
    out = np.zeros((n, len(fixed)))
    out[fixed, np.arange(len(fixed))] = 1
    out[free] = -np.linalg.solve(energy[np.ix_(free, free)], energy[np.ix_(free, fixed)])
    return out
