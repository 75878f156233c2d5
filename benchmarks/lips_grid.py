"""Speech to lips on GRID s1, before any picture is made.  python -m benchmarks.lips_grid TRACKS [--minutes 2 22] [--set lips.network=paper]

TRACKS: the folder that `python -m benchmarks.grid_tracks TRACKS` wrote. Trains on 40 (2 minutes) and on all `train` clips,
joined; tests on 20 `val` clips. Lengths in eye distances; "centred": each clip's mean shape removed from both.
Control: the real lips of another val clip.
"""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from audio.load import Waveform, load_track
from audio.voice import voice_activity
from benchmarks.common import config_of, grid_clips, parser, report, with_interval
from training.lip_examples import SpokenLips
from lipsync.lips import close_when_silent, opening, uncrossed
from training.lips import train_lip_model
from lipsync.timebase import lips_at, voiced_at
from lipsync.types import LipTrack
from video.frames import FrameClock

RATE = Fraction(25)
CLIP_S = 3


def real_lips(clip: Path, tracks: Path) -> LipTrack:
    """The clip's 75 frames; those that a few short clips lack are invalid."""
    n = int(RATE) * CLIP_S
    with np.load(tracks / clip.parent.name / f"{clip.stem}.npz") as track:
        lack = max(0, n - len(track["lips"]))
        points, valid = np.pad(track["lips"][:n], ((0, lack), (0, 0), (0, 0))), np.pad(track["valid"][:n], (0, lack))
    return LipTrack(points, valid, FrameClock.constant(n, RATE))


def joined(clips: list[Path], tracks: Path) -> SpokenLips:
    """The clips as one target, a shot each."""
    lips = [real_lips(clip, tracks) for clip in clips]
    n = int(RATE) * CLIP_S
    samples = [load_track(clip).samples[: CLIP_S * 16000].numpy() for clip in clips]
    sound = np.concatenate([np.pad(s, (0, CLIP_S * 16000 - len(s))) for s in samples])
    points, valid = np.concatenate([t.points for t in lips]), np.concatenate([t.valid for t in lips])
    track = LipTrack(points, valid, FrameClock.constant(len(points), RATE))
    return SpokenLips(Waveform.of(sound), track, np.repeat(np.arange(len(clips)), n))


def compared(ours: LipTrack, real: LipTrack) -> dict[str, float]:
    """LMD, LMD with means removed, opening r and the two openings' spread, over frames valid in both."""
    n = min(len(ours), len(real))
    use = ours.valid[:n] & real.valid[:n]
    a, b = ours.points[:n][use], real.points[:n][use]
    distance = lambda x, y: float(np.linalg.norm(x - y, axis=-1).mean())  # noqa: E731
    gap_a, gap_b = opening(a), opening(b)
    r = float(np.corrcoef(gap_a, gap_b)[0, 1]) if gap_a.std() > 1e-6 else 0.0
    centred = distance(a - a.mean(0), b - b.mean(0))
    return {"lmd": distance(a, b), "lmd_centred": centred, "opening_r": r, "articulation": float(gap_a.std() / gap_b.std())}


def summary(rows: list[dict[str, float]]) -> dict:
    return {name: with_interval([row[name] for row in rows]) for name in rows[0]}


def trial(train: list[Path], test: list[Path], args) -> dict:
    """Figures of a model trained on `train`, as predicted and with the mouth closed in pauses."""
    config = config_of(args).lips
    example = joined(train, args.tracks)
    start, cpu = time.perf_counter(), time.process_time()
    model = train_lip_model([example], config)
    spent = {"training_s": time.perf_counter() - start, "training_cpu_s": time.process_time() - cpu}
    spoken, closed, flat = [], [], []
    for clip in test:
        real, wave = real_lips(clip, args.tracks), load_track(clip)
        said = lips_at(model.speak(wave), real.clock)
        voiced = voiced_at(voice_activity(wave), real.clock)
        eased = close_when_silent(said, voiced, model.rest, config.pause_s)
        spoken.append(compared(said, real))
        closed.append(compared(LipTrack(uncrossed(eased.points), eased.valid, real.clock), real))
        mean = np.broadcast_to(model.basis.mean, real.points.shape)
        flat.append(compared(LipTrack(mean, real.valid, real.clock), real))
    measures = {"predicted": summary(spoken), "closed_in_pauses": summary(closed), "mean_shape": summary(flat)}
    return measures | spent | {"own_report": model.report, "train_clips": len(train)}


def main() -> None:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("tracks", type=Path)
    options.add_argument("--minutes", type=int, nargs="+", default=[2, 22])
    options.add_argument("--threads", type=int, default=0)
    args = options.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    train, val = grid_clips("train"), grid_clips("val")
    test = val[:20]
    others = [real_lips(clip, args.tracks) for clip in val[1:21]]
    control = summary([compared(other, real_lips(clip, args.tracks)) for other, clip in zip(others, test)])
    trials = {f"{m}_min": trial(train[: 20 * m] if m < 20 else train, test, args) for m in args.minutes}
    report("lips_grid", trials | {"control_other_clip": control})


if __name__ == "__main__":
    main()
