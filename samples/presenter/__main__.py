"""Render the presenter.

python -m samples.presenter target -o samples/target.mp4            the shipped target again, from
samples/target.json and .wav python -m samples.presenter clip --speech S.wav --phones S.json --plan OUT.json -o FILE
--truth FILE.npz python -m samples.presenter truth --phones S.json --truth FILE.npz   the truth only, no pictures
python -m samples.presenter speak "Some words." -o NAME              NAME.wav and NAME.json with flite (Debian), for
new texts
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from samples.presenter import Presenter, load_phones
from samples.presenter.clip import clocks, render_clip, truth_of
from samples.presenter.speech import Speech

_SAMPLES = Path(__file__).resolve().parent.parent


def _size(text: str) -> tuple[int, int]:
    width, height = text.lower().split("x")
    return int(width), int(height)


def head_times_of_plan(path: Path, fps: Fraction) -> np.ndarray:
    """(N,) head seconds of a dub's rows from its receipt: {"plan": {"source": [...], "half": [...]}}; a half step shows
    source + 1/2."""
    plan = json.loads(path.read_text())["plan"]
    return (np.array(plan["source"], float) + 0.5 * np.array(plan["half"], float)) / float(fps)


def speak(text: str, out: Path, voice: str, pause_s: float = 0.4) -> None:
    """Write OUT.wav and OUT.json (phonemes and their ends) with flite; a bar | in the text makes a pause."""
    import soundfile

    sound, rows, at, rate = [], [], 0, 0
    for part in text.split("|"):
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "part.wav"
            command = ["flite", "-voice", voice, "-psdur", "-t", part.strip(), "-o", str(wav)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            samples, rate = soundfile.read(wav, dtype="int16")
        rows += [[name, round(at / rate + float(end), 4)] for name, end in re.findall(r"([a-z]+):([0-9.]+)", printed)]
        sound += [samples, np.zeros(int(pause_s * rate), np.int16)]
        at += len(samples) + len(sound[-1])
        rows.append(["pau", round(at / rate, 4)])
    soundfile.write(out.with_suffix(".wav"), np.concatenate(sound), rate, subtype="PCM_16")
    merged = [row for row, after in zip(rows, [*rows[1:], ["", 0]], strict=True) if not (row[0] == after[0] == "pau")]
    out.with_suffix(".json").write_text(json.dumps({"text": text, "voice": f"flite {voice}", "phones": merged}) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m samples.presenter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("target", "clip", "truth", "speak"))
    parser.add_argument("text", nargs="?", help="words for `speak`")
    parser.add_argument("--size", type=_size, default=(1280, 720), metavar="WxH")
    parser.add_argument("--fps", type=Fraction, default=Fraction(25))
    parser.add_argument("--speech", type=Path, help="sound of the clip")
    parser.add_argument("--phones", type=Path, help="its phonemes, JSON; default: beside the sound")
    parser.add_argument(
        "--plan", type=Path, help="a dub's receipt: the head follows its rows, on the clock of the target"
    )
    parser.add_argument(
        "--head-phones",
        type=Path,
        default=_SAMPLES / "target.json",
        help="speech in whose pauses the head rests, with --plan",
    )
    parser.add_argument("--target-fps", type=Fraction, help="frames per second of the plan's target; default: --fps")
    parser.add_argument("--seed", type=int, default=0, help="person")
    parser.add_argument("--seconds", type=float, help="length, default: of the speech")
    parser.add_argument("--crf", type=int, default=20, help="x264 quality, lower is better")
    parser.add_argument("--yaw", type=float, help="fix the head's yaw, degrees")
    parser.add_argument("--absent", type=float, nargs=2, metavar=("FROM", "TO"), help="nobody in the picture, seconds")
    parser.add_argument(
        "--occluder", type=float, nargs=2, metavar=("FROM", "TO"), help="a hand before the mouth, seconds"
    )
    parser.add_argument("--cut", type=float, help="cut to a closer view, seconds")
    parser.add_argument("--voice", default="slt")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--truth", type=Path)
    return parser


def main() -> None:
    args = _parser().parse_args()
    if args.what == "speak":
        return speak(args.text, args.out, args.voice)
    if args.what == "target":
        args.speech, args.phones = args.speech or _SAMPLES / "target.wav", args.phones or _SAMPLES / "target.json"
    phones: Speech = load_phones(args.phones or args.speech.with_suffix(".json"))
    resting = load_phones(args.head_phones) if args.plan else phones
    head_time = head_times_of_plan(args.plan, args.target_fps or args.fps) if args.plan else None
    presenter = Presenter(
        args.size,
        args.seed,
        pauses=resting.pauses(),
        yaw_override=args.yaw,
        absent=args.absent,
        occluder=args.occluder,
        cut_s=args.cut,
    )
    seconds = args.seconds or phones.duration_s
    if args.what == "truth":
        truth = truth_of(presenter, phones, *clocks(seconds, args.fps, head_time))
    else:
        truth = render_clip(
            args.out,
            args.speech,
            phones,
            size=args.size,
            fps=args.fps,
            duration_s=seconds,
            head_time=head_time,
            crf=args.crf,
            presenter=presenter,
        )
    if args.truth:
        truth.save(args.truth)


if __name__ == "__main__":
    main()
