"""Peak memory of a cold dub of a target, and of one ten times as long.  python -m benchmarks.memory [--target FILE]
[--times 10]"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import SAMPLES, config_of, dub_apart, joined, parser, report, sample_target


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--target", type=Path, help="default: the shipped clip")
    options.add_argument("--speech", type=Path, default=SAMPLES / "speech.wav")
    options.add_argument("--times", type=int, default=10)
    args = options.parse_args()
    config_of(args)
    target = args.target or sample_target()
    long = joined([target] * args.times, args.work / f"{target.stem}-{args.times}x.mkv")
    runs = {}
    for name, path in (("1x", target), (f"{args.times}x", long)):
        with tempfile.TemporaryDirectory(dir=args.work) as cache:  # cold: analysis and training count too
            facts = dub_apart(path, args.speech, args.work / "memory.mp4", args.set, Path(cache))
        runs[name] = {
            "peak_rss_mib": facts["peak_rss_mib"],
            "seconds": facts["seconds"],
            "mouths": facts["speakers"][0]["mouths"],
        }
    report("memory", {"runs": runs, "ratio": runs[f"{args.times}x"]["peak_rss_mib"] / runs["1x"]["peak_rss_mib"]})


if __name__ == "__main__":
    main()
