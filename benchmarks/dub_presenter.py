"""The presenter says a new speech: the dub against the rendered truth, the same head saying it.  python -m
benchmarks.dub_presenter"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.common import ROOT, SAMPLES, config_of, joined, make_dub, parser, report, sample_target
from lipsync.evaluation.evaluate import evaluate


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--target", type=Path, help="default: the shipped clip")
    args = options.parse_args()
    config = config_of(args)
    target, speech, out = args.target or sample_target(), SAMPLES / "speech.wav", args.work / "presenter.mp4"
    receipt = make_dub(target, speech, out, config)

    truth = args.work / "presenter-truth.mp4"
    size = _size_of(target)
    command = [
        sys.executable,
        "-m",
        "samples.presenter",
        "clip",
        "--speech",
        str(speech),
        "--plan",
        str(out) + ".json",
        "--size",
        size,
        "--crf",
        "10",
        "-o",
        str(truth),
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    floor = args.work / "presenter-floor.mp4"
    floor.unlink(missing_ok=True)
    joined([truth], floor)
    report(
        "dub_presenter",
        {
            "dub": evaluate(truth, out, config.face, config.batch),
            "floor_reencoded_truth": evaluate(truth, floor, config.face, config.batch),
            "control_undubbed_target": evaluate(truth, target, config.face, config.batch),
            "receipt": {name: receipt[name] for name in ("speakers", "retiming", "rendered_share", "seconds")},
        },
    )


def _size_of(path: Path) -> str:
    from video.probe import probe

    stream = probe(path)
    return f"{stream.width}x{stream.height}"


if __name__ == "__main__":
    main()
