"""How fast a dub is.  python -m benchmarks.speed [--sizes 720 1080 2160] [--textures median hybrid pix2pix] [--runs 3]
[--lengths 10 60 600] [--candidates 10 20 40] [--profile FILE.svg]

Prints, for every size and way to draw: the seconds of a cold dub, frames a second of warm ones, seconds to the first
frame, processor time a frame, own time of every stage, and how many times as long as a plain transcode of as many
frames it takes. Every dub and every transcode is a process of its own, in turn. Given are medians and, as "spread", the
least and the greatest.

Larger sizes are the target enlarged. --warm keeps the cache of the work folder instead of beginning cold."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, SAMPLES, config_of, parser, report, sample_target
from benchmarks.hour import long_speech


def main() -> None:
    args = _asked()
    write = config_of(args).write
    target = args.target or sample_target()
    targets = {size: enlarged(target, size, args.work / f"{target.stem}-{size}.mp4") for size in args.sizes}
    rows, cache = [], args.work / "speed-cache"
    if not args.warm:
        shutil.rmtree(cache, ignore_errors=True)
    for size, film in targets.items():
        for texture in args.textures if size == args.sizes[0] else args.textures[:1]:
            given = [*args.set, f"texture={texture}", *([] if texture == "median" else ["train_texture=true"])]
            run = Runs(film, args.speech, args.work, cache, given, (write.crf, write.preset))
            rows.append({"size": size, "texture": texture} | run.measured(args.runs, cold=not args.warm))
            _say(rows[-1])
    small = targets[args.sizes[0]]
    base = Runs(small, args.speech, args.work, cache, [*args.set], (write.crf, write.preset))
    report(
        "speed",
        {
            "rows": rows,
            "by_candidates": [_with_candidates(base, n, args.runs) for n in args.candidates],
            "by_length": _by_length(base, args.lengths, args.runs),
            "flame_graph": None if args.profile is None else base.profiled(args.profile),
        },
    )


def _asked() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--target", type=Path, help="default: the shipped 1280x720 clip")
    options.add_argument("--speech", type=Path, default=SAMPLES / "speech.wav")
    options.add_argument("--sizes", type=int, nargs="+", default=[720, 1080, 2160], help="lines of the picture")
    options.add_argument("--textures", nargs="+", default=["median"], help="all at the first size, the first at all")
    options.add_argument("--runs", type=int, default=3, help="warm dubs and transcodes, in turn")
    options.add_argument("--lengths", type=float, nargs="*", default=[], help="seconds of speech, at the first size")
    options.add_argument("--candidates", type=int, nargs="*", default=[], help="of the median, at the first size")
    options.add_argument("--warm", action="store_true", help="with the cache of the last call")
    options.add_argument("--profile", type=Path, metavar="FILE.svg", help="write a flame graph of one warm dub")
    return options.parse_args()


class Runs:
    """Dubs of one target and speech, and plain transcodes of as many frames."""

    def __init__(
        self, target: Path, speech: Path, work: Path, cache: Path, given: Sequence[str], write: tuple[int, str]
    ) -> None:
        self.target, self.speech, self.work, self.cache, self.given = target, speech, work, cache, list(given)
        self.write = write

    def measured(self, runs: int, cold: bool = True) -> dict[str, Any]:
        """One cold dub where asked for, else one that is not counted; then warm ones, each beside a transcode."""
        first = self.dub()
        frames = first["frames"]
        dubs, plain, decoded = [], [], []
        for _ in range(runs):
            plain.append(self.transcode(frames))
            decoded.append(self.transcode(frames, "--decode-only"))
            dubs.append(self.dub())
        encode_s = [a["processor_s"] - b["processor_s"] for a, b in zip(plain, decoded, strict=True)]
        apart = [
            1000 * (dub["drawing_processor_s"] - encoding) / frames
            for dub, encoding in zip(dubs, encode_s, strict=True)
        ]
        return {
            "frames": frames,
            "cold_s": first["whole_s"] if cold else None,
            "cold_seconds": first["seconds"] if cold else None,
            "frames_per_s": spread([frames / dub["drawing_s"] for dub in dubs]),
            "whole_s": spread([dub["whole_s"] for dub in dubs]),
            "plain_s": spread([one["whole_s"] for one in plain]),
            "times_plain": spread([a["whole_s"] / b["whole_s"] for a, b in zip(dubs, plain, strict=True)]),
            "first_frame_s": spread([dub["first_frame_s"] for dub in dubs]),
            "import_s": spread([dub["import_s"] for dub in dubs]),
            "processor_ms_per_frame": spread([1000 * dub["drawing_processor_s"] / frames for dub in dubs]),
            "without_encoding_ms_per_frame": spread(apart),
            "peak_rss_mib": spread([dub["peak_rss_mib"] for dub in dubs]),
        } | self.stages()

    def stages(self) -> dict[str, Any]:
        """Own time of every stage of one more warm dub."""
        made = self.dub("--stages")
        return {name: made[name] for name in ("stages_ms_per_frame", "stages_processor_ms_per_frame")}

    def profiled(self, graph: Path) -> str:
        """Writes the flame graph of one more warm dub; its name."""
        self.dub("--profile", str(graph.absolute()))
        return graph.name

    def dub(self, *words: str) -> dict[str, Any]:
        """One dub: what `benchmarks.stages` prints."""
        given = [word for setting in self.given for word in ("--set", setting)]
        paths = [str(self.target), str(self.speech), str(self.work / "speed.mp4"), "--cache", str(self.cache)]
        return apart("benchmarks.stages", *paths, *given, *words)

    def transcode(self, frames: int, *words: str) -> dict[str, Any]:
        """As many frames of the target decoded and encoded: what `benchmarks.transcode` prints."""
        (crf, preset), out = self.write, self.work / "plain.mp4"
        settings = ["--frames", str(frames), "--crf", str(crf), "--preset", preset]
        return apart("benchmarks.transcode", str(self.target), str(out), *settings, *words)


def apart(module: str, *words: str) -> dict[str, Any]:
    """The JSON that a module prints in a process of its own, and that process's "peak_rss_mib"."""
    import os
    import tempfile

    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", module, *words, "--started", str(time.time())]
        child = subprocess.Popen(command, cwd=ROOT, stdout=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} ended with status {child.returncode}")
        said.seek(0)
        return json.loads(said.read()) | {"peak_rss_mib": usage.ru_maxrss / 1024}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and greatest."""
    return {"median": round(median(values), 3), "spread": [round(min(values), 3), round(max(values), 3)]}


def enlarged(target: Path, height: int, out: Path) -> Path:
    """The target with pictures of this height, and its sound; itself where it has it. Made once."""
    import torch
    from torch.nn.functional import interpolate

    from video.probe import probe
    from video.read import read_frames
    from video.write import VideoWriter

    stream = probe(target)
    if stream.height == height or out.exists():
        return target if stream.height == height else out
    size = height, round(stream.width * height / stream.height / 2) * 2
    sound = target if stream.has_audio else None
    with VideoWriter(out, width=size[1], height=size[0], clock=stream.clock, crf=14, speech=sound) as writer:
        for batch in read_frames(stream, 4):
            large = interpolate(batch.rgb.float(), size=size, mode="bicubic", align_corners=False)
            writer.write(large.round().clamp(0, 255).to(torch.uint8))
    return out


def _with_candidates(base: Runs, n: int, runs: int) -> dict[str, Any]:
    given = [*base.given, f"median.candidates={n}"]
    run = Runs(base.target, base.speech, base.work, base.cache, given, base.write)
    dubs = [run.dub() for _ in range(runs)]
    return {"candidates": n, "frames_per_s": spread([one["frames"] / one["drawing_s"] for one in dubs])}


def _by_length(base: Runs, lengths: Sequence[float], runs: int) -> list[dict[str, Any]]:
    """Seconds of drawing for each frame, and peak memory, of speeches of these seconds."""
    rows = []
    for length_s in lengths:
        speech = long_speech(length_s / 60, base.work / f"speech-{length_s:g}s.flac")
        run = Runs(base.target, speech, base.work, base.cache, base.given, base.write)
        dubs = [run.dub() for _ in range(runs)]
        rows.append(
            {
                "speech_s": length_s,
                "frames": dubs[0]["frames"],
                "frames_per_s": spread([one["frames"] / one["drawing_s"] for one in dubs]),
                "whole_s": spread([one["whole_s"] for one in dubs]),
                "peak_rss_mib": spread([one["peak_rss_mib"] for one in dubs]),
            }
        )
        _say(rows[-1])
    return rows


def _say(row: dict[str, Any]) -> None:
    """What is known so far, on standard error: the whole takes long."""
    rate = row["frames_per_s"]["median"]
    about = f"{row['size']} {row['texture']}" if "size" in row else f"{row['speech_s']:g} s"
    print(f"{about}: {rate:.1f} frames/s", file=sys.stderr)


if __name__ == "__main__":
    main()
