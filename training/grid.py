"""GRID speaker s1 as training material: which clips may be learnt from, their lips, and what they say.

Cooke, Barker, Cunningham, Shao 2006 (CC BY 4.0). The footage is not part of the project; its folder is LIPSYNC_DATA.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from audio.load import RATE, Waveform, load_track
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import rest_shape
from lipsync.core.progress import Hook, silent
from lipsync.core.timebase import voiced_at
from lipsync.core.types import FaceTrack, LipTrack
from lipsync.speech.voice import voice_activity
from media.atomic import atomic_write
from media.container import open_media
from video.clock import FrameClock

FRAME_RATE, CLIP_S = Fraction(25), 3
N_FRAMES = int(FRAME_RATE) * CLIP_S
CLOCK = FrameClock.constant(N_FRAMES, FRAME_RATE)


def data_folder() -> Path:
    """LIPSYNC_DATA, else shared/data beside the repository. LipsyncError: no GRID there."""
    folder = Path(os.environ.get("LIPSYNC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "grid" / "MANIFEST.tsv").exists():
        raise LipsyncError(
            f"There is no GRID footage in {folder / 'grid'}. "
            "Set LIPSYNC_DATA to the folder that holds grid/MANIFEST.tsv."
        )
    return folder


def clips(split: str) -> list[Path]:
    """Clips of speaker s1, "train" or "val", in the manifest's order."""
    folder = data_folder() / "grid"
    with (folder / "MANIFEST.tsv").open(newline="") as rows:
        chosen = [
            row for row in csv.DictReader(rows, delimiter="\t") if row["split"] == split and row["speaker"] == "s1"
        ]
    return [folder / row["file"] for row in chosen]


def sound(clip: Path) -> Waveform:
    """The clip's three seconds of sound, exactly."""
    samples = load_track(clip).samples[: CLIP_S * RATE].numpy()
    return Waveform.of(np.pad(samples, (0, CLIP_S * RATE - len(samples))))


def lips(clip: Path, folder: Path) -> LipTrack:
    """The clip's 75 frames of lips from what `follow` left in `folder`; those that a few short clips lack are
    invalid."""
    with np.load(folder / clip.parent.name / f"{clip.stem}.npz") as track:
        lack = max(0, N_FRAMES - len(track["lips"]))
        points = np.pad(track["lips"][:N_FRAMES], ((0, lack), (0, 0), (0, 0)))
        valid = np.pad(track["valid"][:N_FRAMES], (0, lack))
    return LipTrack(points, valid, CLOCK)


def rest(clip: Path, folder: Path) -> np.ndarray:
    """(18,2) the clip's resting lips."""
    return rest_of(lips(clip, folder), sound(clip))


def rest_of(track: LipTrack, wave: Waveform) -> np.ndarray:
    """(18,2) the resting lips of a track that sounds like `wave`."""
    if track.clock is None:
        raise ValueError("rest_of: the lips need a clock")
    return rest_shape(track.points, track.valid, voiced_at(voice_activity(wave), track.clock))


def words(alignment: str | Path) -> list[tuple[float, float, str]]:
    """(start_s, end_s, word) of an .align file, whose times are in 1/25,000 s; pauses are "sil" and "sp"."""
    rows = (line.split() for line in Path(alignment).read_text(encoding="ascii").splitlines() if line.strip())
    return [(int(start) / 25000, int(end) / 25000, word) for start, end, word in rows]


def follow(paths: Sequence[Path], folder: Path, hook: Hook = silent) -> None:
    """Finds the face in each clip and keeps it as folder/<speaker>/<clip>.npz, where that is not there yet.

    lips (T,18,2) float32 face frame, valid (T,), pose (T,3) degrees, eyes (T,), pixel_from_face (T,3,3).
    """
    from lipsync.config.schema import FaceConfig
    from lipsync.face.registry import get_backend

    config, backend = FaceConfig(), None
    for i, path in enumerate(paths):
        out = folder / path.parent.name / f"{path.stem}.npz"
        if not out.exists():
            backend = backend or get_backend(config.backend, config)
            backend.reset()
            track = _followed(path, config, backend)
            names = ("valid", "pose", "eyes", "pixel_from_face")
            out.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(out) as part:
                np.savez(part, lips=track.lips.points, **{name: getattr(track, name) for name in names})
        hook("faces", i + 1, len(paths))


def _followed(path: Path, config, backend) -> FaceTrack:
    from lipsync.face.track import FaceTracker

    with open_media(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    tracker = FaceTracker(config, frames[0].shape[1], frames[0].shape[0], backend)
    return tracker.track(((rgb, False) for rgb in frames), FrameClock.constant(len(frames), FRAME_RATE))
