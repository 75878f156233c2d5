"""Speech to lips on real people outside the training data.  python -m benchmarks.lips_wild TRACKS [--prior FILE ...]
[--rows address adapted grid_others s26 ...]

TRACKS: the folder of `python -m benchmarks.grid_tracks TRACKS`; the faces of `data/address` are followed into the work
folder. Wild clips are often out of sync themselves, so each is measured at its best lag within MOST_LAG_S; closures and
false closures at that lag.

Rows
    address     seven HD sentences, the model knowing nothing but the lips at rest
    adapted     the same, each adapted to the others (leave one out)
    others      the speakers of GRID `others/`, mean over speakers, nothing known but the lips at rest
    silence     GRID s1 `val`: share of the silence before speech in which the mouth is open, ours and the real one's
    cues        GRID s1 `val`: share of the words with b, p or m at an end that have the mouth cue A there
    presenter   closures of `samples/speech.wav` at /p b m/ inside words, and frames closed at other sounds
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio.load import load_speech, load_track
from benchmarks.common import DATA, SAMPLES, config_of, grid_clips, parser, report
from benchmarks.lips_grid import Clip, clip_of, eased, predicted_lips
from lipsync.config.schema import DubConfig
from lipsync.core.lips import CLOSED_GAP, opening, rest_shape
from lipsync.core.timebase import voiced_at
from lipsync.core.types import LipTrack
from lipsync.learning.adaptation import adapt_lip_model
from lipsync.learning.lip_examples import LipExample
from lipsync.metrics.lips import articulation, closure_shares, opening_r
from lipsync.speech.cues import mouth_cues
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import lips_for
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache
from lipsync.target.analyse import follow_face
from training.phones import BILABIALS

MOST_LAG_S = 0.32
#: The sentence that is left out, as in earlier measurements: its lips are hardly seen.
ADDRESS = ("01", "02", "03", "04", "06", "07", "08")


@dataclass(frozen=True, slots=True)
class Wild:
    """One clip of data/address as a target."""

    name: str
    example: LipExample
    rest: np.ndarray


def wild_clip(name: str, config: DubConfig) -> Wild:
    path = DATA / "address" / f"{name}.mp4"
    footage = follow_face(path, config, Cache.of(config.cache))
    wave = load_track(path)
    lips = footage.track.lips
    rest = rest_shape(lips.points, lips.valid, voiced_at(voice_activity(wave), footage.video.clock))
    return Wild(name, LipExample(wave, lips, footage.track.shot), rest)


def closures_at(ours: np.ndarray, real: np.ndarray) -> dict[str, float]:
    return dict(zip(("closures", "false_closures"), closure_shares(ours, real), strict=True))


def best_lag(at: Callable[[float], np.ndarray], real: np.ndarray, use: np.ndarray) -> dict[str, float]:
    """r and closures of openings `at(lag_s)` with the real ones, at the lag of the best r."""
    lags = np.arange(-round(MOST_LAG_S * 100), round(MOST_LAG_S * 100) + 1) / 100
    scores = [opening_r(at(lag)[use], real[use]) for lag in lags]
    lag = float(lags[int(np.argmax(scores))])
    ours = at(lag)[use]
    figures = {"r": max(scores), "lag_s": lag, "articulation": articulation(ours, real[use])}
    return figures | closures_at(ours, real[use])


def on_wild(model: LipModel, clip: Wild) -> dict[str, float]:
    """The figures of one clip; positive lag: the picture is behind the sound."""
    gap = opening(model.predict(clip.example.wave).points)
    lips, rows = clip.example.lips, np.arange(len(gap)) / 100
    seconds = clip.example.clock.seconds
    return best_lag(lambda lag: np.interp(seconds - lag, rows, gap), opening(lips.points), lips.valid)


def means(figures: dict[str, dict[str, float]]) -> dict:
    names = next(iter(figures.values()))
    return {name: round(float(np.mean([row[name] for row in figures.values()])), 4) for name in names} | {
        "clips": {clip: {k: round(v, 3) for k, v in row.items()} for clip, row in figures.items()}
    }


def address(model: LipModel, config: DubConfig, tracks: Path) -> dict:
    clips = [wild_clip(name, config) for name in ADDRESS]
    return means({clip.name: on_wild(model.retarget(clip.rest), clip) for clip in clips})


def adapted(model: LipModel, config: DubConfig, tracks: Path) -> dict:
    clips = [wild_clip(name, config) for name in ADDRESS]
    figures = {}
    for clip in clips:
        others = [other for other in clips if other is not clip]
        visible = [other.example.lips for other in others]
        own = adapt_lip_model([o.example for o in others], visible, _rest_of(others), config.lips, model)
        figures[clip.name] = on_wild(own, clip)
    return means(figures)


def _rest_of(clips: list[Wild]) -> np.ndarray:
    """(18,2) the most closed of the clips' resting lips: some start in mid-sentence."""
    return min((clip.rest for clip in clips), key=lambda rest: float(opening(rest)))


def others(model: LipModel, config: DubConfig, tracks: Path) -> dict:
    figures = {}
    for folder in sorted((DATA / "grid" / "others").iterdir()):
        clips = [clip_of(path, tracks) for path in sorted(folder.glob("*.mpg"))]
        rows = []
        for clip in clips:
            ours = opening(predicted_lips(model, clip, clip.rest).points)
            real, use = opening(clip.lips.points), clip.lips.valid
            rows.append(
                {"r": opening_r(ours[use], real[use]), "articulation": articulation(ours[use], real[use])}
                | closures_at(ours[use], real[use])
            )
        figures[folder.name] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means(figures)


def silence(model: LipModel, config: DubConfig, tracks: Path) -> dict:
    """Of the frames before speech in GRID s1 `val`, the share in which the mouth is open, ours as a dub shows it."""
    counts = np.zeros(3)
    for path in grid_clips("val"):
        clip = clip_of(path, tracks)
        before = np.cumsum(clip.voiced) == 0
        shown = eased(predicted_lips(model, clip, clip.rest), clip, clip.rest, config.lips.pause_s)
        counts += [before.sum(), _open(shown, clip)[before].sum(), _open(clip.lips, clip)[before].sum()]
    return {"frames": int(counts[0]), "ours_open": counts[1] / counts[0], "real_open": counts[2] / counts[0]}


def _open(lips: LipTrack, clip: Clip) -> np.ndarray:
    return opening(lips.points) > opening(clip.rest) + CLOSED_GAP


def cues(model: LipModel, config: DubConfig, tracks: Path) -> dict:
    """Bilabials of words with an A that reaches within 0.1 s of the boundary where they are heard."""
    hits = bilabials = 0
    share = []
    for path in grid_clips("val"):
        clip = clip_of(path, tracks)
        voice, own = voice_activity(clip.wave), model.retarget(clip.rest)
        lips, _ = lips_for(own.predict(clip.wave), voice, None, clip.rest, config.lips.pause_s)
        closed = [cue for cue in mouth_cues(lips, voice, clip.rest, 3) if cue.shape == "A"]
        share.append(sum(cue.end - cue.start for cue in closed) / max(1, int(voice.sum())))
        for start_s, end_s, _ in clip.bilabials:
            bilabials += 1
            hits += any(cue.start / 100 < end_s + 0.1 and cue.end / 100 > start_s - 0.1 for cue in closed)
    return {"bilabials": bilabials, "share": hits / bilabials, "time_in_A": float(np.mean(share))}


def presenter(model: LipModel, config: DubConfig, tracks: Path) -> dict:
    """Bilabials with speech on both sides; a gap under CLOSED_GAP above rest within 0.02 s of the sound is closed."""
    rows = json.loads((SAMPLES / "speech.json").read_text())["phones"]
    gap = opening(model.predict(load_speech(SAMPLES / "speech.wav")).points) - opening(model.rest)
    ends = [end for _, end in rows]
    spans = [(name, start, end) for (name, end), start in zip(rows, [0.0, *ends[:-1]], strict=True)]
    inside = [i for i in range(1, len(spans) - 1) if "pau" not in (spans[i - 1][0], spans[i][0], spans[i + 1][0])]
    asked = [spans[i] for i in inside if spans[i][0] in BILABIALS]
    met = [gap[int(s * 100) - 2 : int(e * 100) + 3].min() < CLOSED_GAP for _, s, e in asked]
    near = np.zeros(len(gap), bool)
    for name, start, end in spans:
        if name in BILABIALS or name == "pau":
            near[max(0, int(start * 100) - 8) : int(end * 100) + 9] = True
    return {"bilabials": len(met), "closed": int(sum(met)), "wrong": float((gap < CLOSED_GAP)[~near].mean())}


ROWS = {row.__name__: row for row in (address, adapted, others, silence, cues, presenter)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("tracks", type=Path)
    options.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options.add_argument("--prior", default="bundled", metavar="bundled|FILE")
    args = options.parse_args()
    config = config_of(args)
    model = bundled_lip_model(config.lips.encoder) if args.prior == "bundled" else LipModel.load(args.prior)
    report("lips_wild", {"prior": args.prior} | {row: ROWS[row](model, config, args.tracks) for row in args.rows})


if __name__ == "__main__":
    main()
