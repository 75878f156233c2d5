"""Texture methods on held-out frames:  python -m benchmarks.textures presenter|grid [--methods median,hybrid,...]

presenter: samples/target.mp4, blocks of it held out. grid: the first 40 `train` clips of GRID s1 joined are learnt
from, the first 5 `val` clips are the truth. The report (index.html, results.json ...) is written to
WORK/textures-presenter or WORK/textures-grid; printed are its means as JSON and, after that, as a Markdown table."""

from __future__ import annotations

import sys

from benchmarks.common import config_of, grid_clips, joined, parser, report, sample_target
from lipsync.core.progress import Lines
from lipsync.evaluation.table import COSTS, best_names, interval_text, kinds_of, mean_text, table_rows
from lipsync.pipelines.compare import compare
from lipsync.store.cache import Cache

#: Columns of the Markdown table.
SHOWN = ("ssim_mouth", "psnr_mouth", "ssim_face", "psnr_face", "perceptual", "sharpness", "flicker", "lmd", "opening_r")
TARGET_CLIPS, TRUTH_CLIPS = 40, 5


def main() -> None:
    options = parser(__doc__)
    options.add_argument("footage", choices=("presenter", "grid"))
    options.add_argument("--methods", default="", help="names with commas between; default: all")
    options.add_argument("--true-lips-only", action="store_true")
    args = options.parse_args()
    config = config_of(args)
    if args.footage == "presenter":
        target, held_out = sample_target(), []
    else:
        target = joined(grid_clips("train")[:TARGET_CLIPS], args.work / f"grid-{TARGET_CLIPS}.mkv")
        held_out = grid_clips("val")[:TRUTH_CLIPS]
    methods = [name for name in args.methods.split(",") if name]
    results = compare(
        target,
        methods,
        args.work / f"textures-{args.footage}",
        config,
        held_out=held_out,
        true_lips_only=args.true_lips_only,
        cache=Cache.of(config.cache),
        hook=Lines(sys.stderr),
        force=True,
    )
    report(
        f"textures_{args.footage}",
        {
            "rows": results["n_rows"],
            "blocks": results["n_blocks"],
            "perceptual": results["perceptual"],
            "lips": results["lips"],
            "tables": {kind: table_rows(results, kind) for kind in kinds_of(results)},
        },
    )
    for kind in kinds_of(results):
        print(f"\n{kind} lips\n\n{markdown(results, kind)}")


def markdown(results: dict, kind: str) -> str:
    """The table with the columns of SHOWN; clearly best methods in bold, intervals in brackets."""
    measures = [m for m in results["measures"] if m["key"] in SHOWN]
    rows = table_rows(results, kind)
    best = {m["key"]: best_names(rows, m) for m in measures}
    costs = {key: label for key, label, _ in COSTS if key in ("whole_s", "training_s")}
    lines = [
        "| " + " | ".join(["Method", *(m["label"] for m in measures), *costs.values()]) + " |",
        "|---" * (len(measures) + len(costs) + 1) + "|",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['name']} | failed: {row['failed']} |")
            continue
        cells = [_cell(row["measures"][m["key"]], m, row["name"] in best[m["key"]]) for m in measures]
        cells += ["-" if row["costs"].get(key) is None else f"{row['costs'][key]:.3g}" for key in costs]
        lines.append("| " + " | ".join([row["name"], *cells]) + " |")
    return "\n".join(lines)


def _cell(value: dict | None, measure: dict, is_best: bool) -> str:
    if value is None:
        return "-"
    mean = f"**{mean_text(value, measure)}**" if is_best else mean_text(value, measure)
    ends = interval_text(value, measure)
    return mean if ends is None else f"{mean} ({ends[0]}-{ends[1]})"


if __name__ == "__main__":
    main()
