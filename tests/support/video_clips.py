"""Small clips whose every frame carries its own number, for the tests of `video`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
import torch

from video.probe import probe
from video.read import read_frames

N_BITS = 8
SIDE = 16


def numbered(i: int, height: int = 64, width: int = 144) -> np.ndarray:
    """(H,W,3) uint8: a row of N_BITS blocks says i in binary, over a moving gradient."""
    y, x = np.mgrid[:height, :width]
    grey = (60 + 60 * np.sin((x + 3 * i) / 11) * np.cos((y - 2 * i) / 7)).astype(np.uint8)
    picture = np.stack([grey, grey // 2 + 40, 160 - grey // 2], -1)
    for bit in range(N_BITS):
        picture[8 : 8 + SIDE, 8 + SIDE * bit : 8 + SIDE * (bit + 1)] = 235 if i >> bit & 1 else 20
    return picture


def number_of(rgb: np.ndarray) -> int:
    """What `numbered` wrote into (3,H,W) uint8, after any encoder."""
    centres = rgb[:, 8 + SIDE // 2, 8 + SIDE // 2 : 8 + SIDE * N_BITS : SIDE].mean(0)
    return int(sum(1 << bit for bit, value in enumerate(centres) if value > 128))


def write_clip(
    path: Path,
    n: int = 60,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    base: Fraction = Fraction(1, 25),
    pix_fmt: str = "yuv420p",
    rotate: int = 0,
    form: str | None = None,
    click_s: float | None = None,
) -> Path:
    """n numbered frames; with click_s, a sound track with one click at that time."""
    with av.open(str(path), "w", format=form) as out:
        video: Any = out.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = 144, 64, pix_fmt
        video.codec_context.time_base = base
        if rotate:
            video.set_display_rotation(rotate)
        if click_s is not None:
            write_click(out, "aac", click_s, n / 25)
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
            frame.pts, frame.time_base = (i if pts is None else pts[i]), base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def write_click(
    out: av.container.OutputContainer, codec: str, click_s: float, length_s: float, rate: int = 44100
) -> None:
    track: Any = out.add_stream(codec, rate=rate)
    track.codec_context.layout = "mono"
    samples = np.zeros((1, round(length_s * rate)), np.float32)
    at = round(click_s * rate)
    samples[0, at : at + 64] = 0.9 * np.hanning(64)
    frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    out.mux(track.encode(frame))
    out.mux(track.encode(None))


def click_file(path: Path, codec: str, click_s: float = 0.5, length_s: float = 1.5) -> Path:
    with av.open(str(path), "w") as out:
        write_click(out, codec, click_s, length_s)
    return path


def find_click_s(path: Path) -> tuple[float, float]:
    """(time of the click after the first video frame, or after 0 without video; end of the sound as the file's header
    says)."""
    with av.open(str(path)) as media:
        track: Any = media.streams.audio[0]
        end_s = float(track.duration * track.time_base) if track.duration else (media.duration or 0) / 1e6
        first_s = next(media.decode(video=0)).time if media.streams.video else 0.0
    with av.open(str(path)) as media:
        mono = av.AudioResampler(format="fltp", layout="mono")
        frames = list(media.decode(audio=0))
        energy = np.concatenate([f.to_ndarray()[0] for frame in frames for f in mono.resample(frame)], dtype=float) ** 2
    assert frames[0].time is not None and first_s is not None
    centre = float((energy * np.arange(len(energy))).sum() / energy.sum()) - 32
    return frames[0].time - first_s + centre / frames[0].sample_rate, end_s


def pictures(n: int, height: int = 64, width: int = 144) -> torch.Tensor:
    return torch.from_numpy(np.stack([numbered(i, height, width).transpose(2, 0, 1) for i in range(n)]))


def read(path: Path) -> torch.Tensor:
    return torch.cat([b.rgb for b in read_frames(probe(path))])


ENCODED = [("libx264", ".mp4"), ("libx265", ".mp4"), ("prores_ks", ".mov"), ("ffv1", ".mkv"), ("libvpx-vp9", ".webm")]
