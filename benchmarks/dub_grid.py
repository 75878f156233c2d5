"""A real person says held-out sentences: each dub against the real clip of that sentence.  python -m
benchmarks.dub_grid [--clips 20]

Target: 40 training clips of GRID s1 joined. Speech: validation clips. Landmarks are found again in the output; lips
aligned on eyes and nose. Beside each mean: the control, the real lips of the next validation clip (GRID's fixed grammar
alone correlates)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.common import config_of, grid_clips, joined, make_dub, means_of, parser, report
from lipsync.config.schema import DubConfig
from lipsync.core.progress import silent
from lipsync.evaluation.evaluate import (
    Video,
    follow,
    lip_measures,
    paired,
    picture_measures,
    silence_measures,
    sync_facts,
)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clips", type=int, default=20, help="validation clips to dub")
    options.add_argument("--target-clips", type=int, default=40, help="training clips joined into the target")
    options.add_argument(
        "--footage", choices=("none", "all"), default="none", help="all: the other training clips as more footage"
    )
    options.add_argument("--no-pictures", action="store_true", help="lips only")
    args = options.parse_args()
    config = config_of(args)
    train, val = grid_clips("train"), grid_clips("val")[: args.clips]
    target = joined(train[: args.target_clips], args.work / f"grid-{args.target_clips}.mkv")
    footage = (
        (joined(train[args.target_clips :], args.work / f"grid-rest-{args.target_clips}.mkv"),)
        if args.footage == "all"
        else ()
    )

    truths = [follow(clip, "real", config.face, config.batch) for clip in val]
    rows, controls, fps, receipt = [], [], [], {}
    for clip, truth, other in zip(val, truths, truths[1:] + truths[:1], strict=True):
        out = args.work / f"grid-{args.footage}-{clip.stem}.mp4"
        receipt = make_dub(target, clip, out, config, footage)
        fps.append(receipt["output"]["frames"] / receipt["seconds"]["total"])
        rows.append(measured(truth, out, config, not args.no_pictures))
        controls.append(lip_measures(truth, other, *_both(truth, other)))
    report(
        "dub_grid",
        {
            "target_clips": args.target_clips,
            "footage": args.footage,
            "model": receipt.get("lips"),
            "dub": means_of(rows),
            "control": means_of(controls),
            "frames_per_s_warm": float(np.median(fps[1:])) if len(fps) > 1 else None,
            "clips": {clip.stem: row["lips"] for clip, row in zip(val, rows, strict=True)},
        },
    )


def measured(truth: Video, out: Path, config: DubConfig, pictures: bool) -> dict:
    """Lips, silence and sync of one dub; with `pictures`, sharpness and flicker too (PSNR and SSIM do not apply: other
    head motion)."""
    made = follow(out, "dubbed", config.face, config.batch)
    rows, usable = _both(truth, made)
    found = {
        "lips": lip_measures(truth, made, rows, usable),
        "silence": silence_measures(truth, made),
        "sync": sync_facts(made.stream),
        "frames_missing": len(truth.stream) - len(made.stream),
    }
    if pictures:
        seen = picture_measures(truth, made, rows, usable, False, config.batch, silent)
        found["picture"] = {name: seen[name] for name in ("sharpness", "flicker")}
    return found


def _both(real: Video, ours: Video) -> tuple[np.ndarray, np.ndarray]:
    rows = paired(real.stream.clock, ours.stream.clock)
    return rows, real.track.valid[rows] & ours.track.valid[: len(rows)]


if __name__ == "__main__":
    main()
