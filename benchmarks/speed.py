"""How fast a warm dub is: frames per second, and seconds per stage.  python -m benchmarks.speed [--target FILE]
[--speech FILE]"""

from __future__ import annotations

from pathlib import Path

from benchmarks.common import SAMPLES, config_of, make_dub, parser, report, sample_target


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--target", type=Path, help="default: the shipped 1280x720 clip")
    options.add_argument("--speech", type=Path, default=SAMPLES / "speech.wav")
    options.add_argument("--runs", type=int, default=3, help="warm runs; the first, cold one comes on top")
    args = options.parse_args()
    config, target = config_of(args), args.target or sample_target()
    runs = [make_dub(target, args.speech, args.work / "speed.mp4", config) for _ in range(args.runs + 1)]
    warm = [
        {"frames_per_s": run["output"]["frames"] / run["seconds"]["total"], "seconds": run["seconds"]}
        for run in runs[1:]
    ]
    report(
        "speed",
        {
            "frames": runs[0]["output"]["frames"],
            "frames_per_s": max(run["frames_per_s"] for run in warm),
            "warm": warm,
            "first": runs[0]["seconds"],
        },
    )


if __name__ == "__main__":
    main()
