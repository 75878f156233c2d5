"""How much the head moves and blinks from frame to frame: what retiming must not show while speech pauses."""

from __future__ import annotations

import numpy as np

from lipsync.core.canonical import RIGID_68
from lipsync.core.types import FaceTrack

#: A full blink (the eyes' usual opening lost within a frame) weighs as much as this movement, in eye distances a frame.
BLINK = 0.1


def head_motion(track: FaceTrack) -> np.ndarray:
    """(T,) float32 visual motion in eye distances a frame (after Suwajanakorn et al. 2017): mean speed of eye corners
    and nose on the picture, plus blinks.

    Speed at frame t is the mean of the steps to its two neighbours; steps across a cut, or to a frame without a usable
    face, do not count. The blink term grows with the part of the person's usual eye opening that is missing. 0 where
    the frame itself is not usable."""
    unit = np.linalg.norm(track.landmarks[:, 45] - track.landmarks[:, 36], axis=-1)
    rigid = track.landmarks[:, RIGID_68].astype(np.float64)
    step = np.linalg.norm(np.diff(rigid, axis=0), axis=-1).mean(-1) / np.maximum((unit[1:] + unit[:-1]) / 2, 1e-6)
    counts = track.valid[1:] & track.valid[:-1] & (track.shot[1:] == track.shot[:-1])
    total, n = np.zeros(len(track)), np.zeros(len(track))
    for side in (slice(None, -1), slice(1, None)):
        total[side] += np.where(counts, step, 0)
        n[side] += counts
    speed = total / np.maximum(n, 1)
    if not track.valid.any():
        return np.zeros(len(track), np.float32)
    usual = max(float(np.median(track.eyes[track.valid])), 1e-6)
    shut = np.clip(1 - track.eyes / usual - 0.25, 0, 0.75) / 0.75
    return np.where(track.valid, speed + BLINK * shut, 0).astype(np.float32)
