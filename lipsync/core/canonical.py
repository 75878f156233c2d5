"""An average face in three dimensions, measured by us: MediaPipe's 478 points, made symmetric, averaged over six GRID
speakers at rest.

x right, y down, z away from the camera; origin midway between the mouth corners; unit = outer-eye-corner distance (the
face frame with depth)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from lipsync.core.arrays import Array

#: MediaPipe mesh vertex of each iBUG-68 landmark.
MESH_FROM_68 = np.array([
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,  # jaw, picture left to right
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,  # outer lips
    78, 81, 13, 311, 308, 402, 14, 178,  # inner lips
])  # fmt: skip
#: iBUG-68 points that do not move with speech: eye corners, nose bridge, nostrils.
RIGID_68 = np.array([27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45])


@cache
def canonical_mesh() -> Array:
    """(478,3) float32."""
    return np.load(Path(__file__).with_name("canonical.npy"))


def canonical_68() -> Array:
    """(68,3) float32."""
    return canonical_mesh()[MESH_FROM_68]
