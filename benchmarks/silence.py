"""Three seconds of silence as speech: the mouth must stay still and closed.  python -m benchmarks.silence
[TARGET...]"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.common import config_of, grid_clips, joined, make_dub, parser, report, sample_target
from lipsync.evaluation.evaluate import follow, own_opening, voiced_frames
from lipsync.metrics import lips as lip_metrics


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "targets", type=Path, nargs="*", help="default: 40 joined GRID clips and the shipped presenter"
    )
    options.add_argument("--seconds", type=float, default=3.0)
    args = options.parse_args()
    config = config_of(args)
    targets = args.targets or [joined(grid_clips("train")[:40], args.work / "grid-40.mkv"), sample_target()]
    speech = args.work / "silence.wav"
    write_silence(speech, args.seconds)
    found = {}
    for target in targets:
        out = args.work / f"silence-{target.stem}.mp4"
        make_dub(target, speech, out, config)
        made, real = (follow(path, "", config.face, config.batch) for path in (out, target))
        real_gap, reference = own_opening(real.track)
        gap, _ = own_opening(made.track, reference)
        voiced = voiced_frames(real.stream)
        pauses = [] if voiced is None else lip_metrics.long_silences(voiced, float(real.stream.clock.rate))
        rest = lip_metrics.resting_gap(real_gap, pauses)
        found[target.stem] = {
            "n_frames": len(gap),
            "lip_std": lip_metrics.silent_lip_std(gap, [slice(0, len(gap))]),
            "closed_share": float(lip_metrics.closed(gap, rest).mean()),
            "opening": float(gap.mean()),
            "resting_gap": rest,
            "target_lip_std_in_pauses": lip_metrics.silent_lip_std(real_gap, pauses),
        }
    report("silence", {"targets": found})


def write_silence(path: Path, seconds: float) -> None:
    """A mono WAV of zeros."""
    import soundfile

    soundfile.write(path, np.zeros(round(seconds * 16000), np.float32), 16000)


if __name__ == "__main__":
    main()
