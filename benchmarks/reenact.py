"""Lips from a film: a dub against the performance that drives it.  python -m benchmarks.reenact [--seconds 9]
[--speakers 3]

The presenter by a rendered clip of himself, and GRID s1 by clips of other speakers. Landmarks are found again in the
dub; lips are aligned on eyes and nose. "same_head": against the presenter rendered with the head of the dub's own plan,
so that nothing but the mouth differs. Between two people only the course of the opening can be compared, not LMD."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.common import (
    DATA,
    ROOT,
    SAMPLES,
    config_of,
    grid_clips,
    joined,
    means_of,
    parser,
    report,
    sample_target,
)
from lipsync.config.schema import DubConfig
from lipsync.evaluation.evaluate import follow, lip_measures, paired
from lipsync.store.cache import Cache


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=9.0, help="of the presenter's performance; 0 = none")
    options.add_argument("--speakers", type=int, default=5, help="of GRID, a clip each")
    options.add_argument("--target-clips", type=int, default=10, help="training clips joined into the GRID target")
    args = options.parse_args()
    config, found = config_of(args), {}
    if args.seconds:
        actor = _performance(args.work / f"presenter-{args.seconds:g}.mp4", args.seconds)
        out = args.work / "reenact-presenter.mp4"
        _dub(sample_target(), actor, out, config)
        truth = _performance(args.work / "reenact-presenter-truth.mp4", args.seconds, plan=Path(f"{out}.json"))
        found["presenter_by_himself"] = {"same_head": _compared(truth, out, config)}
        found["presenter_by_himself"] |= {"performance": _compared(actor, out, config)}
    actors = [next(iter(sorted(folder.glob("*.mpg")))) for folder in sorted((DATA / "grid" / "others").iterdir())]
    if args.speakers:
        target = joined(grid_clips("train")[: args.target_clips], args.work / f"grid-{args.target_clips}.mkv")
        rows = {
            actor.parent.name: _measured(target, actor, args.work / f"reenact-{actor.parent.name}.mp4", config)
            for actor in actors[: args.speakers]
        }
        found["grid_by_others"] = means_of(list(rows.values())) | {"each": rows}
    report("reenact", found)


def _performance(out: Path, seconds: float, plan: Path | None = None) -> Path:
    """The presenter saying the sample's speech; plan: with the head as in the dub of this receipt, rendered anew."""
    if plan is not None or not out.exists():
        clip = [
            "clip",
            "--speech",
            str(SAMPLES / "speech.wav"),
            "--seconds",
            str(seconds),
            "--crf",
            "12",
            "-o",
            str(out),
        ]
        clip += [] if plan is None else ["--plan", str(plan)]
        subprocess.run([sys.executable, "-m", "samples.presenter", *clip], cwd=ROOT, check=True)
    return out


def _measured(target: Path, actor: Path, out: Path, config: DubConfig) -> dict:
    """Lips of a dub against the actor's."""
    _dub(target, actor, out, config)
    return _compared(actor, out, config)


def _dub(target: Path, actor: Path, out: Path, config: DubConfig) -> None:
    from lipsync.pipelines.dub import dub

    dub(target, None, out, config, lips_from=actor, cache=Cache.of(config.cache), force=True)


def _compared(right: Path, out: Path, config: DubConfig) -> dict:
    """Lips of both, found anew."""
    real, made = (follow(path, name, config.face, config.batch) for path, name in ((right, "real"), (out, "dubbed")))
    rows = paired(real.stream.clock, made.stream.clock)
    return lip_measures(real, made, rows, real.track.valid[rows] & made.track.valid[: len(rows)])


if __name__ == "__main__":
    main()
