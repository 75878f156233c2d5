"""Error against minutes of training speech.  python -m benchmarks.lips_study TRACKS --out FOLDER [--prior FILE ...]
[--quick]

The data-amount study of Suwajanakorn et al. 2017 on data anyone can get: GRID s1, lips of `python -m
benchmarks.grid_tracks TRACKS`. Learnt from evenly spaced `train` clips, tested on all `val` clips, as predicted. The
prior must never have seen a recording of s1. At 0 minutes it speaks from s1's resting lips, taken from the silent
frames of the first `train` clip; networks that start from nothing have nothing to say there. Writes lips_study.json,
.md and .png (extra `report`), and prints the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import lips_grid
from benchmarks.common import config_of, grid_clips, parser, report
from benchmarks.lips_grid import measured, next_clips, predicted_lips, still
from lipsync.config.schema import LipsConfig
from lipsync.core.lips import rest_shape
from lipsync.learning.lips import train_lip_model
from lipsync.speech.lip_model import LipModel
from lipsync.speech.merge import merged
from training import grid

MINUTES = (0, 0.25, 1, 5, 20)
COLUMNS = {"lmd": "LMD", "lmd_centred": "LMD, means removed", "opening_r": "opening r", "articulation": "articulation"}
PAPER, SCRATCH, ADAPTED = "paper network from nothing", "bidirectional from nothing", "prior, adapted"
Learner = Callable[[Sequence[Path]], LipModel | None]


def spaced(clips: Sequence[Path], minutes: float) -> list[Path]:
    """So many minutes of the clips, evenly spaced."""
    n = round(minutes * 60 / grid.CLIP_S)
    if n > len(clips):
        raise SystemExit(f"{minutes} minutes are {n} clips; there are {len(clips)}.")
    return [clips[i * len(clips) // n] for i in range(n)]


def learners(config: LipsConfig, prior: LipModel | None, tracks: Path) -> dict[str, Learner]:
    """By name: what makes a model of some clips; None where it cannot."""

    def from_nothing(network: str) -> Learner:
        own = replace(config, network=network)
        return lambda clips: train_lip_model([lips_grid.joined(clips, tracks)], own) if clips else None

    def adapted(clips: Sequence[Path]) -> LipModel | None:
        if prior is None:
            return None
        own = replace(config, network=prior.network)
        return train_lip_model([lips_grid.joined(clips, tracks)], own, prior=prior) if clips else prior

    made = {PAPER: from_nothing("paper"), SCRATCH: from_nothing("bidirectional")}
    return made | ({ADAPTED: adapted} if prior is not None else {})


def study(
    minutes: Sequence[float], made: dict[str, Learner], train: Sequence[Path], val: Sequence[Path], tracks: Path
) -> dict:
    """{"curves": {name: {minutes: figures}}, "floor": figures}."""
    test = [lips_grid.clip_of(path, tracks) for path in val]
    first = lips_grid.clip_of(train[0], tracks)
    curves: dict[str, dict] = {name: {} for name in made}
    for amount in minutes:
        clips = spaced(train, amount) if amount else []
        for name, learn in made.items():
            model = learn(clips)
            if model is not None:
                rest = None if clips else first.rest
                curves[name][f"{amount:g}"] = measured([predicted_lips(model, clip, rest) for clip in test], test)
    known = [lips_grid.clip_of(path, tracks).lips for path in train]
    mean = np.concatenate([lips.points[lips.valid] for lips in known]).mean(0)
    shape = rest_shape(first.lips.points, first.lips.valid, first.voiced)
    floor = {
        "mean shape": measured([still(mean, clip) for clip in test], test),
        "resting lips": measured([still(shape, clip) for clip in test], test),
        "real lips of another clip": measured(next_clips(test), test),
    }
    return {"curves": curves, "floor": floor, "test_clips": len(test)}


def rows_of(found: dict) -> list[list[str]]:
    """The table, heading first."""
    heading = ["", "minutes", *COLUMNS.values(), "closures made"]
    lines = [(name, minutes, figures) for name, curve in found["curves"].items() for minutes, figures in curve.items()]
    lines += [(name, "-", figures) for name, figures in found["floor"].items()]

    def cells(figures: dict) -> list[str]:
        return [_with_spread(figures[column], 4 if "lmd" in column else 3) for column in COLUMNS]

    return [heading, *([name, minutes, *cells(figures), _closed(figures)] for name, minutes, figures in lines)]


def _with_spread(figure: dict, digits: int) -> str:
    return f"{figure['mean']:.{digits}f} ({figure['low']:.{digits}f}-{figure['high']:.{digits}f})"


def _closed(figures: dict) -> str:
    counts = figures.get("closures")
    return f"{counts['both']}/{counts['real']} ({counts['false_share']:.1%} wrongly)" if counts else "-"


def as_text(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def as_markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


def draw(found: dict, path: Path) -> None:
    """A picture of error and correlation over the minutes, with 95 % intervals over clips."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    amounts = sorted({minutes for curve in found["curves"].values() for minutes in curve}, key=float)
    place = {minutes: i for i, minutes in enumerate(amounts)}
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    titles = {
        "lmd": "LMD (eye distances)",
        "opening_r": "correlation of mouth opening",
        "articulation": "articulation (1 = real)",
    }
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        for i, (name, curve) in enumerate(found["curves"].items()):
            figures = [curve[minutes][column] for minutes in curve]
            mean = [f["mean"] for f in figures]
            reach = [[f["mean"] - f["low"] for f in figures], [f["high"] - f["mean"] for f in figures]]
            at = [place[minutes] + 0.06 * (i - 1) for minutes in curve]
            axes.errorbar(at, mean, reach, marker="o", capsize=3, label=name)
        for style, (name, figures) in zip(("--", "-.", ":"), found["floor"].items(), strict=False):
            if column == "lmd" or name == "real lips of another clip":
                axes.axhline(figures[column]["mean"], color="0.5", linestyle=style, linewidth=1, label=name)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(amounts)), amounts)
        axes.set_xlabel("minutes of the speaker's own speech")
        axes.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    figure.suptitle(f"GRID s1, {found['test_clips']} held-out clips; 95 % intervals over clips", fontsize=11)
    figure.savefig(path, dpi=120)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("tracks", type=Path)
    options.add_argument("--out", type=Path, default=Path("lips_study"))
    options.add_argument(
        "--prior", type=Path, nargs="+", help="a lip model that never saw s1; two: the parts of a joint one"
    )
    options.add_argument("--minutes", type=float, nargs="+", default=MINUTES)
    options.add_argument(
        "--quick", action="store_true", help="a minute at most, few steps, four clips: to see that it runs"
    )
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    config, minutes, val = config_of(args).lips, args.minutes, grid_clips("val")
    if args.quick:
        config, minutes, val = replace(config, steps=20, members=1), [m for m in args.minutes if m <= 1], val[:4]
    models = [LipModel.load(path) for path in args.prior or []]
    prior = merged(models) if len(models) > 1 else next(iter(models), None)
    found = study(minutes, learners(config, prior, args.tracks), grid_clips("train"), val, args.tracks)
    rows = rows_of(found)
    print(as_text(rows))
    (args.out / "lips_study.md").write_text(as_markdown(rows), encoding="utf-8")
    with (args.out / "lips_study.json").open("w", encoding="utf-8") as file, redirect_stdout(file):
        report(
            "lips_study",
            {"prior": [path.name for path in args.prior or []], "quick": args.quick} | json.loads(json.dumps(found)),
        )
    draw(found, args.out / "lips_study.png")


if __name__ == "__main__":
    main()
