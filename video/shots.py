"""Where a shot ends and the next one begins, while the frames go by."""

from __future__ import annotations

from collections import deque

import numpy as np

_LINES = 36  # of the thumbnail's short side
# Root mean square difference in levels below which no join is seen: neighbours inside GRID clips stay under 2.4 (99.9
# %), a key frame of the shipped H.264 clip refreshes the picture by 3.2, joins of two takes lie over 4.4 (99.5 %).
_LEAST = 4.0
_SUDDEN = 2.6  # times the change seen just before: steady motion, zooms and noise explain themselves
_MEMORY = 8  # frames


class ShotDetector:
    """Tells of each frame whether it starts a new shot. One thumbnail is remembered, nothing is decoded twice.

    A cut is a change of the thumbnail (overall brightness aside, per channel) that is visible and much larger than the
    changes just before it: so another take of the same person before the same wall is a cut, and noise, speech, pans
    and flashes are not."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=_MEMORY)

    def push(self, rgb) -> bool:
        """True if `rgb`, (3,H,W) or (H,W,3) uint8, starts a new shot; the first frame of all does not count as a
        cut."""
        thumb = _thumbnail(rgb)
        last, self._last = self._last, thumb
        if last is None:
            return False
        if last.shape != thumb.shape:
            self._changes.clear()
            return True
        change = thumb - last
        change -= change.mean((1, 2), keepdims=True)
        size = float(np.sqrt(np.square(np.abs(change).mean(0)).mean()))
        # Just after a cut nothing is known of the new shot's motion; calling its second frame a cut would break a pan
        # into single frames.
        cut = bool(self._changes) and size > max(
            _LEAST, _SUDDEN * float(np.median(self._changes)), _SUDDEN * self._changes[-1]
        )
        if cut:
            self._changes.clear()
        else:
            self._changes.append(size)
        return cut


def _thumbnail(rgb) -> np.ndarray:
    """(3,h,w) float32 block means, short side about 36."""
    import cv2

    picture = np.asarray(rgb)
    if picture.ndim != 3 or picture.dtype != np.uint8 or 3 not in (picture.shape[0], picture.shape[2]):
        raise ValueError(f"ShotDetector.push wants (3,H,W) or (H,W,3) uint8, got {picture.shape} {picture.dtype}")
    first = picture.shape[0] == 3 and picture.shape[2] != 3
    height, width = picture.shape[1:] if first else picture.shape[:2]
    block = max(1, min(height, width) // _LINES)
    size = (width // block, height // block)  # whole blocks: the fast path
    planes = picture if first else [picture]
    small = [cv2.resize(p[: size[1] * block, : size[0] * block], size, interpolation=cv2.INTER_AREA) for p in planes]
    thumb = np.stack(small) if first else small[0].transpose(2, 0, 1)
    return thumb.astype(np.float32)
