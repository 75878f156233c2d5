"""How far a dub changes what it does not draw: encoding, and whatever else went wrong."""

from __future__ import annotations

import numpy as np

from lipsync.core.types import FaceTrack
from lipsync.metrics.pictures import face_box, luma_change
from lipsync.store.cache import content_hash
from lipsync.store.preflight import receipt_path
from lipsync.store.receipt import Receipt
from video.probe import VideoStream
from video.read import read_rows


def untouched_measures(target: VideoStream, track: FaceTrack, dubbed: VideoStream, batch: int) -> dict | None:
    """Mean absolute difference of the luma (grey levels) outside the box around the face, between the dub's frames and
    the target's that they show; None without a receipt beside the dub that names this target, or other sizes.

    track: of the dub, whose frames are looked at one by one; half-steps are left out."""
    receipt = Receipt.read(receipt_path(dubbed.path))
    if receipt is None or receipt.inputs.target.sha256 != content_hash(target.path):
        return None
    source, half = np.array(receipt.plan.source, np.int64), np.array(receipt.plan.half, bool)
    if len(source) != len(dubbed) or (target.width, target.height) != (dubbed.width, dubbed.height):
        return None
    found = []
    ours = read_rows(dubbed, np.arange(len(source)), batch)
    for (rows, shown), (_, made) in zip(read_rows(target, source, batch), ours, strict=True):
        for k, row in enumerate(range(rows.start, rows.stop)):
            if not half[row]:
                was, now = (x.rgb[k].permute(1, 2, 0).numpy() for x in (shown, made))
                outside = np.ones(was.shape[:2], bool)
                outside[face_box(track.landmarks[row], *outside.shape)] = False
                found.append(luma_change(was, now, outside))
    return {"luma_outside": float(np.mean(found)), "n_frames": len(found)} if found else None
