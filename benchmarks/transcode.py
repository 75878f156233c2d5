"""The same frames, plainly decoded and encoded: what any dub must take. Prints JSON.  python -m benchmarks.transcode
TARGET OUT --frames N [--crf 16] [--preset veryfast]

No module of the product and no torch: only FFmpeg, through PyAV, in a process of its own."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    options.add_argument("target", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--frames", type=int, required=True)
    options.add_argument("--crf", type=int, default=16)
    options.add_argument("--preset", default="veryfast")
    options.add_argument("--decode-only", action="store_true")
    options.add_argument("--started", type=float, default=time.time(), help="time.time() before this process")
    args = options.parse_args()
    seen = sum(1 for _ in frames_of(args.target, args.frames)) if args.decode_only else transcode(args)
    print(json.dumps({"frames": seen, "whole_s": time.time() - args.started, "processor_s": time.process_time()}))


def transcode(args: argparse.Namespace) -> int:
    """Encodes the frames with the product's settings; how many."""
    with av.open(str(args.target)) as film:
        rate = film.streams.video[0].average_rate or Fraction(25)
    with av.open(str(args.out), "w", options={"movflags": "use_metadata_tags+faststart"}) as container:
        given = {"crf": str(args.crf), "preset": args.preset, "x264-params": "cpu-independent=1"}
        stream, n = None, 0
        for frame in frames_of(args.target, args.frames):
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=given)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.thread_type = "AUTO"
            frame.pts, frame.time_base, frame.pict_type = n, 1 / rate, 0
            container.mux(stream.encode(frame))
            n += 1
        if stream is not None:
            container.mux(stream.encode(None))
    return n


def frames_of(path: Path, wanted: int) -> Iterator[av.VideoFrame]:
    """The first frames of a film; from its start again where it has fewer."""
    left = wanted
    while left:
        with av.open(str(path)) as film:
            stream = film.streams.video[0]
            stream.thread_type = "AUTO"
            before = left
            for frame in film.decode(stream):
                yield frame
                left -= 1
                if not left:
                    return
        if left == before:
            return


if __name__ == "__main__":
    main()
