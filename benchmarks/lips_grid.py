"""Speech to lips on GRID, before any picture is made.  python -m benchmarks.lips_grid TRACKS [--rows full two_minutes
...] [--prior FILE]

TRACKS: the folder that `python -m benchmarks.grid_tracks TRACKS` wrote. Each set of test clips is compared with its own
real lips, as predicted and with the mouth closed in pauses as in a dub. Lengths in eye distances; "centred": each
clip's mean shape removed from both. Closures: training/closures.py. Controls: the real lips of another clip, and a
shape that never moves.

Rows
    full         s1 `val` by networks trained on all `train` clips
    two_minutes  the same from the first 40 `train` clips
    zero_shot    the speakers of `others/`, by a model that knows nothing of them but their lips at rest
    s26          adapted to 8 clips of s26, tested on the other 2, all 5 rotations
    voices       synthetic voices never trained on say the sentences of `val`
    languages    synthetic voices in languages never trained on, against the coarticulation model's lips
    speed        training on 20 minutes, adapting to 30 s, predicting; on the threads of --threads
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch

from audio.load import Waveform
from benchmarks.common import DATA, config_of, grid_clips, parser, report, with_interval
from lipsync.core.lips import close_when_silent, opening, rest_shape, uncrossed
from lipsync.core.timebase import lips_at, voiced_at
from lipsync.core.types import LipTrack
from lipsync.learning.lip_examples import LipExample
from lipsync.learning.lips import train_lip_model
from lipsync.metrics.lips import articulation, bootstrap_interval, lmd, opening_r
from lipsync.speech.lip_model import SHAPES, LipModel
from lipsync.speech.voice import voice_activity
from training import grid
from training.closures import Closures, closures, grid_phones
from video.clock import FrameClock

#: Networks of which "full" trains one each; "two_minutes" trains those of --networks too.
NETWORKS = tuple(SHAPES)


@dataclass(frozen=True, slots=True)
class Clip:
    """One GRID clip. wave: 3 s; lips: (75,) real ones; voiced: (75,) bool; bilabials: none where there is no
    alignment."""

    wave: Waveform
    lips: LipTrack
    voiced: np.ndarray
    bilabials: tuple

    @property
    def rest(self) -> np.ndarray:
        """(18,2) the lips at rest, from the frames in which nobody speaks."""
        return rest_shape(self.lips.points, self.lips.valid, self.voiced)


@cache
def clip_of(path: Path, tracks: Path) -> Clip:
    wave, lips = grid.sound(path), grid.lips(path, tracks)
    words = path.with_suffix(".align")
    bilabials = tuple(grid_phones(grid.words(words))) if words.exists() else ()
    return Clip(wave, lips, voiced_at(voice_activity(wave), grid.CLOCK), bilabials)


def joined(clips: Sequence[Path], tracks: Path) -> LipExample:
    """The clips as one target, a shot each."""
    read = [clip_of(clip, tracks) for clip in clips]
    sound = torch.cat([clip.wave.samples for clip in read]).numpy()
    points, valid = np.concatenate([c.lips.points for c in read]), np.concatenate([c.lips.valid for c in read])
    track = LipTrack(points, valid, FrameClock.constant(len(points), grid.FRAME_RATE))
    return LipExample(Waveform.of(sound), track, np.repeat(np.arange(len(clips)), grid.N_FRAMES))


def compared(ours: LipTrack, real: LipTrack) -> dict[str, float]:
    """LMD, LMD with means removed, opening r and the two openings' spread, over frames valid in both."""
    n = min(len(ours), len(real))
    use = ours.valid[:n] & real.valid[:n]
    a, b = ours.points[:n][use], real.points[:n][use]
    gap_a, gap_b = opening(a), opening(b)
    r = opening_r(gap_a, gap_b) if gap_a.std() > 1e-6 else 0.0
    return {
        "lmd": lmd(a, b),
        "lmd_centred": lmd(a, b, True),
        "opening_r": r,
        "articulation": articulation(gap_a, gap_b),
    }


def measured(ours: Iterable[LipTrack], clips: Sequence[Clip]) -> dict:
    """Means over clips with intervals, and the closures of all where the words are known."""
    ours = list(ours)
    rows = [compared(lips, clip.lips) for lips, clip in zip(ours, clips, strict=True)]
    out = {name: with_interval([row[name] for row in rows]) for name in rows[0]}
    counts = [closures(clip.bilabials, lips, clip.lips) for lips, clip in zip(ours, clips, strict=True)]
    return out | ({"closures": closure_summary(counts)} if any(c.bilabials for c in counts) else {})


def closure_summary(counts: Sequence[Closures], n_draws: int = 2000) -> dict:
    """The counts of all clips, the share closed and its 95 % bootstrap interval over clips."""
    total = sum(counts, Closures())
    both, real = np.array([c.both for c in counts]), np.array([c.real for c in counts])
    drawn = np.random.default_rng(0).integers(0, len(counts), (n_draws, len(counts)))
    shares = both[drawn].sum(1) / np.maximum(real[drawn].sum(1), 1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return asdict(total) | {
        "share": total.share,
        "low": float(low),
        "high": float(high),
        "false_share": total.false_share,
    }


def moved(lips: LipTrack, by: np.ndarray) -> LipTrack:
    return LipTrack(lips.points + by, lips.valid, lips.clock)


def predicted_lips(model: LipModel, clip: Clip, rest: np.ndarray | None = None) -> LipTrack:
    """What the model says at the clip's frames; with `rest` (18,2): as a person with these lips at rest."""
    lips = lips_at(model.predict(clip.wave), grid.CLOCK)
    return lips if rest is None else moved(lips, rest - model.rest)


def eased(lips: LipTrack, clip: Clip, rest: np.ndarray, pause_s: float) -> LipTrack:
    """The lips as a dub shows them: closed in pauses."""
    closed = close_when_silent(lips, clip.voiced, rest, pause_s)
    return LipTrack(uncrossed(closed.points), closed.valid, closed.clock)


def still(shape: np.ndarray, clip: Clip) -> LipTrack:
    return LipTrack(np.broadcast_to(shape, clip.lips.points.shape), clip.lips.valid, clip.lips.clock)


def next_clips(clips: Sequence[Clip]) -> list[LipTrack]:
    """Another clip's real lips for each clip."""
    return [clip.lips for clip in (*clips[1:], clips[0])]


class Bench:
    """What the rows share: options, clips, the prior. Models made for one row serve the next."""

    def __init__(self, args) -> None:
        self.args, self.config = args, config_of(args).lips
        self.train, self.val = grid_clips("train"), [self.clip(path) for path in grid_clips("val")]
        self.models: dict = {}

    def clip(self, path: Path) -> Clip:
        return clip_of(path, self.args.tracks)

    @cached_property
    def prior(self) -> LipModel | None:
        """The model that training starts from; None = from nothing."""
        if self.args.prior == "none":
            return None
        if self.args.prior == "bundled":
            from lipsync.speech.prior import bundled_lip_model

            return bundled_lip_model(self.config.encoder)
        return LipModel.load(self.args.prior)

    def learnt(self, paths: Sequence[Path], network: str) -> tuple[LipModel, dict]:
        """A model of the clips, from the prior where that is of the same network; and what it cost."""
        key = (tuple(paths), network)
        if key not in self.models:
            example, config = joined(paths, self.args.tracks), replace(self.config, network=network)
            prior = self.prior
            start, cpu = time.perf_counter(), time.process_time()
            if prior is not None and prior.network == network:
                model = train_lip_model([example], config, prior=prior)
            else:
                model = train_lip_model([example], config)
            cost = {"training_s": time.perf_counter() - start, "training_cpu_s": time.process_time() - cpu}
            self.models[key] = model, cost | {"train_clips": len(paths), "own_report": model.report}
            if self.args.save:
                self.args.save.mkdir(parents=True, exist_ok=True)
                model.save(
                    self.args.save / f"{network}_{len(paths)}_{paths[0].parent.name}_{paths[0].stem}.safetensors"
                )
        return self.models[key]

    def on_val(self, model: LipModel) -> dict:
        """The model's figures on all `val` clips and on the first 20 of them."""
        predicted = [predicted_lips(model, clip) for clip in self.val]
        closed = [
            eased(lips, clip, model.rest, self.config.pause_s) for lips, clip in zip(predicted, self.val, strict=True)
        ]
        flat = [still(model.basis.mean, clip) for clip in self.val]
        tracks = {
            "predicted": predicted,
            "closed_in_pauses": closed,
            "mean_shape": flat,
            "control_other_clip": next_clips(self.val),
        }
        tests = {"val_58": slice(None), "val_first_20": slice(20)}
        return {
            test: {name: measured(lips[part], self.val[part]) for name, lips in tracks.items()}
            for test, part in tests.items()
        }

    def given(self) -> LipModel | None:
        """The model of --model, else that of --prior."""
        return LipModel.load(self.args.model) if self.args.model else self.prior

    def starts_from(self, network: str) -> str:
        prior = self.prior
        if prior is None or prior.network != network:
            return "nothing"
        return "the bundled prior, which has seen s1 `train`" if self.args.prior == "bundled" else str(self.args.prior)


def on_s1(bench: Bench, paths: Sequence[Path], networks: Sequence[str]) -> dict:
    out = {}
    for network in networks:
        model, facts = bench.learnt(paths, network)
        out[network] = {"starts_from": bench.starts_from(network)} | bench.on_val(model) | facts
    return out


def full(bench: Bench) -> dict:
    if bench.args.model:
        return {str(bench.args.model): bench.on_val(LipModel.load(bench.args.model))}
    return on_s1(bench, bench.train, bench.args.networks)


def two_minutes(bench: Bench) -> dict:
    return on_s1(bench, bench.train[:40], bench.args.networks)


def zero_shot(bench: Bench) -> dict:
    """Rest shape known only: the model's movements from its own rest, from the speaker's rest of the same clip."""
    model = bench.given() or bench.learnt(bench.train, "bidirectional")[0]
    paths = sorted((DATA / "grid" / "others").glob("*/*.mpg"))
    clips = {path: bench.clip(path) for path in paths}
    s26 = [clips[path] for path in paths if path.parent.name == "s26"]
    groups = {
        "all": list(clips.values()),
        "s26": s26,
        "not_s26": [c for p, c in clips.items() if p.parent.name != "s26"],
    }
    out: dict = {"model": str(bench.args.model or bench.args.prior)}
    for name, group in groups.items():
        predicted = [predicted_lips(model, clip, clip.rest) for clip in group]
        closed = [
            eased(lips, clip, clip.rest, bench.config.pause_s) for lips, clip in zip(predicted, group, strict=True)
        ]
        flat = [still(clip.rest + model.basis.mean - model.rest, clip) for clip in group]
        tracks = {
            "predicted": predicted,
            "closed_in_pauses": closed,
            "mean_shape": flat,
            "rest_shape": [still(c.rest, c) for c in group],
        }
        out[name] = {kind: measured(lips, group) for kind, lips in tracks.items()}
    others = [moved(wrong.lips, clip.rest - wrong.rest) for wrong, clip in zip((*s26[1:], s26[0]), s26, strict=True)]
    out["s26"]["control_other_clip"] = measured(others, s26)
    return out


def s26(bench: Bench) -> dict:
    """Adapted to 8 clips, tested on the other 2: each clip is tested once."""
    paths = sorted((DATA / "grid" / "others" / "s26").glob("*.mpg"))
    predicted, closed, flat, clips, facts = [], [], [], [], []
    for fold in range(5):
        test = [bench.clip(path) for path in paths[2 * fold : 2 * fold + 2]]
        learnt_from = [*paths[: 2 * fold], *paths[2 * fold + 2 :]]
        model, fact = bench.learnt(learnt_from, bench.config.network)
        learnt_lips = joined(learnt_from, bench.args.tracks).lips
        new = [predicted_lips(model, clip) for clip in test]
        clips += test
        predicted += new
        closed += [eased(lips, clip, model.rest, bench.config.pause_s) for lips, clip in zip(new, test, strict=True)]
        flat += [still(learnt_lips.points[learnt_lips.valid].mean(0), clip) for clip in test]
        facts.append(fact)
    tracks = {
        "predicted": predicted,
        "closed_in_pauses": closed,
        "mean_shape": flat,
        "control_other_clip": next_clips(clips),
    }
    out = {name: measured(lips, clips) for name, lips in tracks.items()}
    pairs = zip(predicted, flat, clips, strict=True)
    ratio = [compared(lips, c.lips)["lmd"] / compared(mean, c.lips)["lmd"] for lips, mean, c in pairs]
    low, high = bootstrap_interval(ratio)
    mean_lmd, flat_lmd = (out[kind]["lmd"]["mean"] for kind in ("predicted", "mean_shape"))
    below = {"below_mean_shape": 1 - mean_lmd / flat_lmd, "below_mean_shape_by_clip": [1 - high, 1 - low]}
    return out | below | {"starts_from": bench.starts_from(bench.config.network), "rotations": facts}


def voices(bench: Bench) -> dict:
    """Synthetic voices that nothing was trained on say the sentences of s1 `val`, laid onto their time: the real lips
    are the truth."""
    from training.alignment import time_map
    from training.sentences import sentence_of
    from training.tts import HELD_OUT_VOICES, synthesize

    model = bench.given()
    if model is None:
        raise SystemExit("This row needs --model or --prior.")
    predicted, flat = [], []
    for i, (path, clip) in enumerate(zip(grid_clips("val"), bench.val, strict=True)):
        utterance = synthesize(sentence_of(path.with_suffix(".align")), HELD_OUT_VOICES[i % len(HELD_OUT_VOICES)])
        lips = model.retarget(clip.rest).predict(utterance.wave).points
        rows = np.clip(np.round(time_map(clip.wave, utterance.wave)).astype(int), 0, len(lips) - 1)
        predicted.append(lips_at(LipTrack(lips[rows], np.ones(len(rows), bool)), grid.CLOCK))
        flat.append(still(clip.rest + model.basis.mean - model.rest, clip))
    return {
        "predicted": measured(predicted, bench.val),
        "mean_shape": measured(flat, bench.val),
        "control_other_clip": measured(next_clips(bench.val), bench.val),
    }


def languages(bench: Bench) -> dict:
    """Synthetic voices in languages that nothing was trained on; the truth is what --mouth (training.coarticulation)
    makes of their phones."""
    from training.coarticulation import Coarticulation
    from training.sentences import text_for
    from training.tts import HELD_OUT_LANGUAGE_VOICES, synthesize

    model = bench.given()
    if model is None:
        raise SystemExit("This row needs --model or --prior.")
    if bench.args.mouth is None:
        return {"left out": "needs --mouth"}
    mouth, rng = Coarticulation.load(bench.args.mouth), np.random.default_rng(0)
    out = {}
    for language in sorted({voice.language for voice in HELD_OUT_LANGUAGE_VOICES}):
        rows = []
        for voice in [v for v in HELD_OUT_LANGUAGE_VOICES if v.language == language] * 5:
            utterance = synthesize(text_for(language, rng), voice)
            ours = model.predict(utterance.wave)
            real = LipTrack(uncrossed(model.rest + mouth.lips(utterance.phones, len(ours))), ours.valid)
            rows.append(compared(ours, real))
        out[language] = {name: with_interval([row[name] for row in rows]) for name in rows[0]}
    return out


def speed(bench: Bench) -> dict:
    """Wall-clock and processor seconds; on a busy machine the processor's are the ones to trust."""
    bench.models.clear()
    network = bench.config.network
    model, whole = bench.learnt(bench.train, network)
    _, half_minute = bench.learnt(bench.train[:10], network)
    wave = joined(bench.train, bench.args.tracks).wave
    start, cpu = time.perf_counter(), time.process_time()
    model.predict(wave)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    seconds = len(wave.samples) / wave.rate
    prediction = {"speech_s": seconds, "times_real_time": seconds / wall, "times_real_time_cpu": seconds / cpu}

    def cost(facts: dict) -> dict:
        return {name: facts[name] for name in ("training_s", "training_cpu_s", "train_clips")}

    return {
        "network": network,
        "threads": torch.get_num_threads(),
        "starts_from": bench.starts_from(network),
        "train_20_min": cost(whole),
        "adapt_30_s": cost(half_minute),
        "prediction": prediction,
    }


ROWS = {row.__name__: row for row in (full, two_minutes, zero_shot, s26, voices, languages, speed)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("tracks", type=Path)
    options.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="of the rows full and two_minutes"
    )
    options.add_argument(
        "--prior",
        default="none",
        metavar="none|bundled|FILE",
        help="what training starts from, and what zero_shot asks",
    )
    options.add_argument(
        "--model", type=Path, help="a trained model to measure instead, in the rows full and zero_shot"
    )
    options.add_argument("--mouth", type=Path, help="for the row languages: mouth.safetensors of the prior's training")
    options.add_argument("--save", type=Path, help="a folder for the models that are trained")
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    bench = Bench(args)
    report("lips_grid", {"prior": args.prior} | {row: ROWS[row](bench) for row in args.rows})


if __name__ == "__main__":
    main()
