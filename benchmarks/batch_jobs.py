"""Jobs for benchmarks.batch: small targets, short speeches, and ten jobs that cannot be done."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.common import SAMPLES, sample_target

SIZE, TARGET_S, N_TARGETS = (240, 136), 4, 4


def targets(folder: Path) -> list[Path]:
    """Stretches of the presenter, small, made once."""
    import cv2
    import torch

    from video.clock import FrameClock
    from video.probe import probe
    from video.read import read_frames
    from video.write import VideoWriter

    made = []
    for number in range(N_TARGETS):
        out = folder / f"target-{number}.mp4"
        made.append(out)
        if out.exists():
            continue
        stream = probe(sample_target())
        n = round(TARGET_S * stream.clock.rate)
        clock = FrameClock.constant(n, Fraction(stream.clock.rate))
        with VideoWriter(out, width=SIZE[0], height=SIZE[1], clock=clock, crf=8) as writer:
            for batch in read_frames(stream, 25, start=number * n, stop=(number + 1) * n):
                small = [
                    cv2.resize(rgb, SIZE, interpolation=cv2.INTER_AREA) for rgb in batch.rgb.permute(0, 2, 3, 1).numpy()
                ]
                writer.write(torch.stack([torch.from_numpy(rgb) for rgb in small]).permute(0, 3, 1, 2).contiguous())
    return made


def speeches(folder: Path, n: int, seconds: float) -> list[Path]:
    """Stretches of the sample speech, made once."""
    import soundfile

    samples, rate = soundfile.read(SAMPLES / "speech.wav", dtype="int16")
    length, made = round(seconds * rate), []
    for number in range(n):
        start = number * (len(samples) - length) // max(1, n - 1)
        made.append(folder / f"speech-{seconds:g}-{number}-of-{n}.wav")
        if not made[-1].exists():
            soundfile.write(made[-1], samples[start : start + length], rate)
    return made


def good_jobs(folder: Path, n: int, seconds: float, n_targets: int = N_TARGETS) -> list[dict]:
    """Jobs that can be done, spread over the targets."""
    videos, voices = targets(folder)[:n_targets], speeches(folder, -(-n // n_targets), seconds)
    pairs = [(video, voice) for video in videos for voice in voices][:n]
    return [
        {"target": str(video), "speech": str(voice), "out": f"{i % 7}/{i:04d}.mp4"}
        for i, (video, voice) in enumerate(pairs)
    ]


def bad_jobs(folder: Path, good: dict, other: dict) -> dict[str, dict]:
    """Ten jobs that cannot be done, each for another reason, by what is wrong with a good one. other: a job that comes
    before."""
    faceless, empty, damaged = folder / "faceless.mp4", folder / "empty.mp4", folder / "damaged.wav"
    _faceless(faceless)
    empty.write_bytes(b"")
    damaged.write_bytes(np.random.default_rng(0).bytes(30_000))
    changes = {
        "missing target": {"target": str(folder / "gone.mp4")},
        "faceless target": {"target": str(faceless)},
        "speech without sound": {"speech": str(faceless)},
        "damaged speech": {"speech": str(damaged)},
        "empty target": {"target": str(empty)},
        "unknown option": {"textur": "median"},
        "wrong value": {"write.crf": "plenty"},
        "weights missing": {"texture": "pix2pix", "texture_weights": str(folder / "gone.safetensors")},
        "output outside": {"out": "../outside.mp4"},
        "output of another job": {"out": other["out"]},
    }
    return {name: good | {"out": f"bad/{i}.mp4"} | change for i, (name, change) in enumerate(changes.items())}


def _faceless(out: Path) -> None:
    import torch

    from video.clock import FrameClock
    from video.write import VideoWriter

    if out.exists():
        return
    noise = torch.randint(
        0, 256, (50, 3, SIZE[1] // 8, SIZE[0] // 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    with VideoWriter(out, width=SIZE[0], height=SIZE[1], clock=FrameClock.constant(50, Fraction(25))) as writer:
        writer.write(noise.repeat_interleave(8, 2).repeat_interleave(8, 3))


def manifest(jobs: list[dict], path: Path) -> Path:
    """`path`, written: a line a job."""
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    return path
