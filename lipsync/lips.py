"""The 18-point lip layout, its PCA basis, and closing the mouth in silence.

Order (iBUG-68 numbers in brackets): 0-11 the outer contour (48-59), clockwise on the picture from the left corner; 12-14 the inner
edge of the upper lip, left to right (61-63); 15-17 the inner edge of the lower lip, right to left (65-67). "Left" is the picture's left.
"""

from __future__ import annotations

import numpy as np

#: Rows of the iBUG-68 layout that are lip points.
LIPS_FROM_68 = np.array([48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 62, 63, 65, 66, 67])
LEFT_CORNER, RIGHT_CORNER = 0, 6
UPPER_INNER, LOWER_INNER = np.array([12, 13, 14]), np.array([17, 16, 15])
#: The point of the same lip on the other side of the face.
MIRRORED = np.array([6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 14, 13, 12, 17, 16, 15])


def opening(lips: np.ndarray) -> np.ndarray:
    """(...,) mean vertical gap between the inner lip edges of (...,18,2) lips, in their unit."""
    return (lips[..., LOWER_INNER, 1] - lips[..., UPPER_INNER, 1]).mean(-1)


def width(lips: np.ndarray) -> np.ndarray:
    """(...,) distance between the mouth corners of (...,18,2) lips, in their unit."""
    return np.linalg.norm(lips[..., RIGHT_CORNER, :] - lips[..., LEFT_CORNER, :], axis=-1)
