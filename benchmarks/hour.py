"""Peak memory and speed of a dub of one minute and of one of an hour.  python -m benchmarks.hour [--speech-minutes 60]
[--target FILE]"""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.common import SAMPLES, config_of, dub_apart, parser, report, sample_target

RATE = 48000
SIZE = (360, 288)
TARGET_S = 30


def long_speech(minutes: float, out: Path, rate: int = RATE) -> Path:
    """FLAC of exactly this length, made once: samples/speech.wav over and over, each time at another speed and gain and
    after another pause."""
    import soundfile

    if out.exists():
        return out
    samples, own_rate = soundfile.read(SAMPLES / "speech.wav", dtype="float32")
    left, rng = round(minutes * 60 * rate), np.random.default_rng(0)
    part = out.with_name(f"part-{out.name}")
    with soundfile.SoundFile(part, "w", rate, 1, "PCM_16") as file:
        while left:
            speed, gain, pause_s = rng.uniform(0.9, 1.1), rng.uniform(0.4, 1.0), rng.uniform(0.3, 2.5)
            moments = np.arange(0, len(samples) - 1, speed * own_rate / rate)
            said = gain * np.interp(moments, np.arange(len(samples)), samples)
            block = np.concatenate([said, np.zeros(round(pause_s * rate))])[:left]
            file.write(block.astype(np.float32))
            left -= len(block)
    return part.rename(out)


def small_target(out: Path) -> Path:
    """The presenter at 360x288 for 30 s, made once: the shipped clip, then back from its end; its sound ends with the
    first."""
    import cv2
    import torch

    from video.clock import FrameClock
    from video.probe import probe
    from video.read import read_rows
    from video.write import VideoWriter

    if out.exists():
        return out
    stream = probe(sample_target())
    n, last = round(TARGET_S * stream.clock.rate), len(stream) - 1
    rows = last - np.abs(last - np.arange(n) % (2 * last))
    width = stream.height * SIZE[0] // SIZE[1]
    left = (stream.width - width) // 2
    clock = FrameClock.constant(n, Fraction(stream.clock.rate))
    with VideoWriter(out, width=SIZE[0], height=SIZE[1], clock=clock, crf=8, speech=SAMPLES / "target.wav") as writer:
        for _, frames in read_rows(stream, rows, 25):
            middle = frames.rgb[..., left : left + width].permute(0, 2, 3, 1).numpy()
            small = np.stack([cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA) for rgb in middle])
            writer.write(torch.from_numpy(small).permute(0, 3, 1, 2).contiguous())
    return out


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--target", type=Path, help="default: the presenter, 30 s at 360x288")
    options.add_argument("--speech-minutes", type=float, default=60)
    args = options.parse_args()
    config_of(args)
    target = args.target or small_target(args.work / "target-30s.mp4")
    runs = {}
    for minutes in (1, args.speech_minutes):
        speech = long_speech(minutes, args.work / f"speech-{minutes:g}min.flac")
        begin = time.perf_counter()
        facts = dub_apart(target, speech, args.work / "hour.mp4", args.set, args.work / f"cache-{minutes:g}min")
        wanted = round(minutes * 60 * Fraction(facts["output"]["rate"]))
        runs[f"{minutes:g} min"] = {
            "peak_rss_mib": facts["peak_rss_mib"],
            "frames": facts["output"]["frames"],
            "frames_wanted": wanted,
            "seconds": facts["seconds"],
            "wall_s": time.perf_counter() - begin,
        }
    first, last = runs.values()
    report("hour", {"runs": runs, "ratio": last["peak_rss_mib"] / first["peak_rss_mib"]})


if __name__ == "__main__":
    main()
