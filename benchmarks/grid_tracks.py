"""One npz of lips and pose per GRID clip.  python -m benchmarks.grid_tracks OUTDIR [CLIP...]

OUTDIR/<speaker>/<clip>.npz: lips (75,18,2) float32 face frame, valid (75,), pose (75,3) degrees, eyes (75,), pixel_from_face (75,3,3).
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.common import DATA
from lipsync.config import FaceConfig
from lipsync.face.track import FaceTracker
from lipsync.types import FaceTrack
from video.frames import FrameClock


def track_clip(path: Path, tracker_of) -> FaceTrack:
    """The face of one GRID clip."""
    import av

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    tracker = tracker_of(frames[0].shape[1], frames[0].shape[0])
    for rgb in frames:
        tracker.push(rgb)
    return tracker.finish(FrameClock.constant(len(frames), Fraction(25)))


def main(out: Path, clips: list[Path]) -> None:
    from lipsync.face.backend import get_backend

    config = FaceConfig()
    backend = get_backend(config.backend, config)
    start, n_frames = time.perf_counter(), 0
    for path in clips:
        backend.reset()
        track = track_clip(path, lambda w, h: FaceTracker(config, w, h, backend))
        n_frames += len(track)
        target = out / path.parent.name / f"{path.stem}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = dict(lips=track.lips.points, valid=track.valid, pose=track.pose, eyes=track.eyes, pixel_from_face=track.pixel_from_face)
        np.savez(target, **kept)
        if not track.valid.all():
            print(f"{path.stem}: {np.bincount(track.reason, minlength=6).tolist()} frames per reason")
    print(f"{len(clips)} clips, {n_frames} frames, {(time.perf_counter() - start) / n_frames * 1000:.1f} ms a frame")


if __name__ == "__main__":
    root = DATA / "grid"
    chosen = [Path(p) for p in sys.argv[2:]] or sorted(root.glob("s1/*.mpg")) + sorted(root.glob("others/*/*.mpg"))
    main(Path(sys.argv[1]), chosen)
