"""A still, frontal face with a neck, a collar and a background of squares, for tests of the jaw and of skin."""

import numpy as np

from lipsync.core.geometry import apply
from tests.support.drawn import JAW, lips_open

SCALE, WIDTH, HEIGHT = 100.0, 300, 280
PIXEL_FROM_FACE = np.array([[SCALE, 0, 150], [0, SCALE, 110], [0, 0, 1.0]])
SKIN, LIPS = (196, 146, 122), (150, 80, 80)


def portrait(
    gap: float = 0.0, collar_at: float = 0.75, drop: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(H,W,3) uint8 RGB, and (H,W) bool where collar and background show.

    gap: of the lips; collar_at: how low the collar begins (face frame), on a neck in the shadow of the chin; drop: by
    how much the chin is lower."""
    import cv2

    y, x = np.mgrid[:HEIGHT, :WIDTH]
    squares = ((x // 6 + y // 6) % 2)[..., None]
    rgb = np.where(squares, (60, 90, 70), (150, 160, 175)).astype(np.float32)  # background
    neck = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(
        neck,
        [_fixed([[-0.5, -0.2], [0.5, -0.2], [0.5, collar_at + 0.2], [0.0, collar_at], [-0.5, collar_at + 0.2]])],
        (1,),
        8,
        4,
    )
    face = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(face, [_fixed(moved_jaw(drop))], (1,), 8, 4)
    rng = np.random.default_rng(seed)
    pores = cv2.GaussianBlur(rng.normal(0, 6, (HEIGHT, WIDTH, 1)).astype(np.float32), (0, 0), 1.0)[..., None]
    skin = np.array(SKIN, np.float32) + pores
    collar = np.where(squares, (235, 235, 240), (40, 45, 60))
    rgb = np.where((y > 110 + SCALE * 0.45)[..., None], collar, rgb)
    rgb = np.where(neck[..., None] > 0, 0.55 * skin, rgb)
    rgb = np.where(face[..., None] > 0, skin, rgb).clip(0, 255).astype(np.uint8)
    lips = lips_open(gap)
    cv2.fillPoly(rgb, [_fixed(lips[:12])], LIPS, cv2.LINE_AA, 4)
    cv2.fillPoly(rgb, [_fixed(lips[[0, 12, 13, 14, 6, 15, 16, 17]])], (30, 10, 10), cv2.LINE_AA, 4)
    return rgb, (neck == 0) & (face == 0)


def moved_jaw(drop: float) -> np.ndarray:
    """(17,2) face frame: the chin lower by `drop`, the sides where they are."""
    follows = np.clip(1.4 - np.abs(np.arange(17) - 8) / 3, 0, 1)
    return JAW + np.stack([0 * follows, drop * follows], 1).astype(np.float32)


def _fixed(points) -> np.ndarray:
    return (apply(PIXEL_FROM_FACE, np.asarray(points, np.float64)) * 16 - 8).round().astype(np.int32)
