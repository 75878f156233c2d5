"""How far the watermark can be relied on: found after what others do to a video, never found where there is none, how
much it changes, what it costs.  python -m benchmarks.watermark [--clips 20] [--unmarked 100]

Clips of 5 s: the presenter's, `address` (played to and fro where shorter), GRID as it is and enlarged to 720 lines. The
part of each face that a dub would draw anew is marked, as if it had been; the reader has the file alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from benchmarks.common import DATA, config_of, grid_clips, parser, report, sample_target
from lipsync.config.schema import DubConfig
from lipsync.core.geometry import apply, magnification
from lipsync.core.track import jaw_in_face
from lipsync.core.types import FaceTrack
from lipsync.face.track import FaceTracker, track_video
from lipsync.provenance.watermark import watermark_in
from lipsync.render.region import region_polygon
from video.probe import probe
from video.read import read_frames
from video.watermark import embed, pattern

CONTENT = 0x0123456789ABCDEF
SECONDS = 5.0


@dataclass(frozen=True)
class Attack:
    """crop: share of width and height that is kept; size: factor; rate: frames a second, 0 = as they are; colour:
    warmer and of more contrast."""

    crf: int = 28
    codec: str = "libx264"
    crop: float = 1.0
    size: float = 1.0
    rate: int = 0
    colour: bool = False


ATTACKS = {
    "h264 crf 28 at 2/3 size": Attack(size=2 / 3),
    "crop 80 %": Attack(crop=0.8, crf=18),
    "25 to 30 fps": Attack(rate=30, crf=18),
    "all three": Attack(crop=0.8, size=2 / 3, rate=30),
    "h264 crf 18": Attack(crf=18),
    "h264 crf 32": Attack(crf=32),
    "hevc crf 28": Attack(codec="libx265"),
    "half size": Attack(size=0.5, crf=23),
    "double size": Attack(size=2.0, crf=23),
    "colour": Attack(colour=True, crf=23),
}


@dataclass(frozen=True)
class Clip:
    """frames: (T,H,W,3) uint8 each; pixel_from_face: (T,3,3); edge: (T,16,2) pixels, around what a dub would draw."""

    name: str
    frames: list[np.ndarray]
    pixel_from_face: np.ndarray
    edge: np.ndarray
    valid: np.ndarray
    rate: Fraction

    def stretched(self) -> Clip:
        """Of `SECONDS`: cut, or played to and fro."""
        n, wanted = len(self.frames), round(SECONDS * self.rate)
        there = np.arange(wanted) % max(1, 2 * n - 2)
        rows = np.where(there < n, there, 2 * n - 2 - there)
        return Clip(
            self.name, [self.frames[i] for i in rows], self.pixel_from_face[rows], self.edge[rows], self.valid[rows],
            self.rate,
        )  # fmt: skip


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--clips", type=int, default=20, help="of each kind, at most")
    options.add_argument("--unmarked", type=int, default=0, help="GRID clips looked at as they are")
    options.add_argument("--kinds", default="presenter,address,grid-720,grid")
    options.add_argument("--attacks", default=",".join(ATTACKS))
    args = options.parse_args()
    config = config_of(args)
    rows = []
    for kind in args.kinds.split(","):
        for number, clip in zip(range(args.clips), _clips(kind, config), strict=False):
            row = _measured(clip, args.work, [name for name in ATTACKS if name in args.attacks.split(",")]) | {
                "kind": kind
            }
            print(kind, number, row, flush=True)
            rows.append(row)
    unmarked = [clip for clip in [*grid_clips("train"), *grid_clips("val")][: args.unmarked] if watermark_in(clip).id]
    report(
        "watermark",
        {kind: _summary([row for row in rows if row["kind"] == kind]) for kind in args.kinds.split(",")}
        | {"unmarked": args.unmarked, "false": len(unmarked)},
    )


def _summary(rows: list[dict]) -> dict:
    found = {name: [row["found"][name] for row in rows] for name in (rows[0]["found"] if rows else {})}
    mean = {name: float(np.mean([row[name] for row in rows])) for name in ("psnr", "ms", "eyes_px") if rows}
    return {"clips": len(rows), "found": {name: f"{sum(f)} of {len(f)}" for name, f in found.items()}} | mean


def _measured(clip: Clip, work: Path, attacks: list[str]) -> dict:
    drawn, squares, spent, frames = pattern(CONTENT), [], [], []
    for i, frame in enumerate(clip.frames):
        made = frame.transpose(2, 0, 1).copy()
        inside = np.zeros(frame.shape[:2], np.uint8)
        cv2.fillPoly(inside, [np.round(clip.edge[i]).astype(np.int32)], 1)
        before = np.where(inside > 0, made ^ 1, made)
        was, begun = made.copy(), time.process_time()
        if clip.valid[i]:
            embed(made, before, clip.pixel_from_face[i], drawn, i / float(clip.rate), 1.0)
            spent.append(time.process_time() - begun)
            squares.append(np.square(made.astype(float) - was)[:, inside > 0].mean())
        frames.append(made.transpose(1, 2, 0))
    marked = work / "marked.mp4"
    _encode(marked, frames, clip.rate, 12, "libx264")
    found = {"as written": watermark_in(marked).id == f"{CONTENT:016x}"}
    for name in attacks:
        out = work / "attacked.mp4"
        _attacked(frames, clip.rate, out, ATTACKS[name])
        found[name] = watermark_in(out).id == f"{CONTENT:016x}"
    return {
        "name": clip.name,
        "found": found,
        "psnr": float(10 * np.log10(255**2 / np.mean(squares))),
        "ms": float(1000 * np.mean(spent)),
        "eyes_px": float(np.median(magnification(clip.pixel_from_face))),
    }


def _attacked(frames: list[np.ndarray], rate: Fraction, out: Path, attack: Attack) -> None:
    if attack.rate:
        times = np.arange(int(len(frames) * attack.rate / rate)) * float(rate) / attack.rate
        frames, rate = [frames[min(int(t), len(frames) - 1)] for t in times], Fraction(attack.rate)
    height, width = frames[0].shape[:2]
    dx, dy = (round(n * (1 - attack.crop) / 2) for n in (width, height))
    frames = [frame[dy : height - dy, dx : width - dx] for frame in frames]
    size = tuple(round(n * attack.size) // 2 * 2 for n in frames[0].shape[1::-1])
    by = cv2.INTER_AREA if attack.size < 1 else cv2.INTER_CUBIC
    frames = [cv2.resize(np.ascontiguousarray(frame), size, interpolation=by) for frame in frames]
    if attack.colour:
        warm = np.array([1.14, 1.1, 1.05], np.float32)
        frames = [((f - np.float32(128)) * warm + 132).clip(0, 255).astype(np.uint8) for f in frames]
    _encode(out, frames, rate, attack.crf, attack.codec)


def _encode(out: Path, frames: list[np.ndarray], rate: Fraction, crf: int, codec: str) -> None:
    height, width = (n // 2 * 2 for n in frames[0].shape[:2])
    with av.open(str(out), "w") as container:
        options = {"crf": str(crf), "preset": "veryfast"}
        options |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream: Any = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _clips(kind: str, config: DubConfig) -> Iterator[Clip]:
    if kind == "presenter":
        whole = _clip(sample_target(), config)
        n = round(SECONDS * whole.rate)
        for start in range(0, len(whole.frames) - n + 1, n):
            at = slice(start, start + n)
            yield Clip(
                f"presenter {start}", whole.frames[at], whole.pixel_from_face[at], whole.edge[at], whole.valid[at],
                whole.rate,
            )  # fmt: skip
        return
    paths = sorted((DATA / "address").glob("*.mp4")) if kind == "address" else grid_clips("val")
    for path in paths:
        yield _clip(path, config, 2.5 if kind == "grid-720" else 1.0).stretched()


def _clip(path: Path, config: DubConfig, enlarged: float = 1.0) -> Clip:
    stream = probe(path)
    track: FaceTrack = track_video(FaceTracker(config.face, stream.width, stream.height), stream, 8)
    jaw, lips = torch.from_numpy(jaw_in_face(track)), torch.from_numpy(track.lips.points)
    edge = apply(track.pixel_from_face, region_polygon(jaw, lips[:, None]).numpy())
    frames = [rgb.permute(1, 2, 0).numpy() for part in read_frames(stream) for rgb in part.rgb]
    if enlarged != 1:
        frames = [cv2.resize(f, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC) for f in frames]
    larger = np.diag([enlarged, enlarged, 1.0])
    rate = Fraction(round(1000 / np.median(np.diff(stream.clock.seconds))), 1000)
    return Clip(path.stem, frames, larger @ track.pixel_from_face, enlarged * edge, track.valid, rate)


if __name__ == "__main__":
    main()
