"""Clips of the presenter and the truth beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np

from samples.presenter.render import FrameTruth, Presenter
from samples.presenter.speech import Speech


@dataclass(frozen=True, slots=True)
class Truth:
    """FrameTruth of T frames, stacked: lips (T,18,2), landmarks (T,68,2), pixel_from_face (T,3,3), lips_face (T,18,2),
    pose (T,3), gap, blink, visible, covered (T,), mouth (T,9); head_s, speech_s: (T,) the two clocks."""

    lips: np.ndarray
    landmarks: np.ndarray
    pixel_from_face: np.ndarray
    lips_face: np.ndarray
    pose: np.ndarray
    gap: np.ndarray
    blink: np.ndarray
    mouth: np.ndarray
    visible: np.ndarray
    covered: np.ndarray
    head_s: np.ndarray
    speech_s: np.ndarray

    def __len__(self) -> int:
        return len(self.lips)

    def save(self, path: str | Path) -> None:
        with open(path, "wb") as out:
            np.savez_compressed(out, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        with np.load(path, allow_pickle=False) as found:
            return cls(**{f.name: found[f.name] for f in fields(cls)})


def n_frames(duration_s: float, fps: Fraction) -> int:
    """Frames of a clip as long as the speech."""
    return max(1, round(Fraction(duration_s).limit_denominator(1_000_000) * Fraction(fps)))


def truth_of(presenter: Presenter, phones: Speech, head_s: np.ndarray, speech_s: np.ndarray) -> Truth:
    """The truth of every row without drawing it."""
    rows = [presenter.truth(float(h), phones.mouth(float(s))) for h, s in zip(head_s, speech_s, strict=True)]
    stacked = {f.name: np.array([getattr(row, f.name) for row in rows]) for f in fields(FrameTruth)}
    return Truth(**stacked, head_s=np.asarray(head_s, float), speech_s=np.asarray(speech_s, float))


def clocks(
    duration_s: float, fps: Fraction, head_time: np.ndarray | Callable[[float], float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """(T,) head and speech seconds per row; head_time: None = the same clock, an array of seconds per row, or a
    function of seconds."""
    speech_s = np.arange(n_frames(duration_s, fps)) / float(fps)
    if head_time is None:
        return speech_s, speech_s
    if callable(head_time):
        return np.array([head_time(float(t)) for t in speech_s]), speech_s
    head_s = np.asarray(head_time, float)[: len(speech_s)]
    return head_s, speech_s[: len(head_s)]


def render_clip(
    out_path: str | Path,
    wav_path: str | Path | None,
    phones: Speech,
    *,
    size: tuple[int, int],
    fps: Fraction,
    duration_s: float | None = None,
    head_time: np.ndarray | Callable[[float], float] | None = None,
    codec: str = "libx264",
    crf: int = 18,
    presenter: Presenter | None = None,
    hook: Callable[[int, int], None] | None = None,
) -> Truth:
    """Truth of the clip written to `out_path`: the presenter saying `phones`, with the speech of `wav_path` as AAC.

    head_time: see `clocks`. presenter: its size wins over `size`; by default person 0 resting in the pauses of
    `phones`."""
    presenter = presenter or Presenter(size, pauses=phones.pauses())
    head_s, speech_s = clocks(phones.duration_s if duration_s is None else duration_s, Fraction(fps), head_time)
    truth = truth_of(presenter, phones, head_s, speech_s)

    def frames() -> Iterable[np.ndarray]:
        for k, (h, m) in enumerate(zip(head_s, truth.mouth, strict=True)):
            yield presenter.frame(float(h), m)
            if hook:
                hook(k + 1, len(head_s))

    write_mp4(out_path, frames(), (presenter.width, presenter.height), Fraction(fps), wav_path, len(head_s), codec, crf)
    return truth


def write_mp4(
    path: str | Path,
    frames: Iterable[np.ndarray],
    size: tuple[int, int],
    fps: Fraction,
    wav_path: str | Path | None,
    count: int,
    codec: str = "libx264",
    crf: int = 18,
) -> None:
    """An mp4 of RGB frames, BT.709 limited range, and the sound of `wav_path` cut or padded to the picture's length."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        video = cast("av.VideoStream", out.add_stream(codec, rate=fps))
        video.width, video.height, video.pix_fmt = size[0] - size[0] % 2, size[1] - size[1] % 2, "yuv420p"
        video.time_base = 1 / fps
        video.options = {"crf": str(crf), "preset": "medium"} if codec in ("libx264", "libx265") else {}
        video.codec_context.color_primaries = video.codec_context.color_trc = video.codec_context.colorspace = 1
        video.codec_context.color_range = 1
        sound = _add_sound(out, wav_path) if wav_path else None
        for k, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[: video.height, : video.width]), format="rgb24")
            frame = frame.reformat(
                format="yuv420p",
                src_colorspace=Colorspace.ITU709,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = k, 1 / fps
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound and wav_path:
            _write_sound(out, sound, wav_path, math.ceil(count / fps * sound.rate))


def _add_sound(out, wav_path: str | Path):
    import soundfile

    sound = out.add_stream("aac", rate=soundfile.info(str(wav_path)).samplerate, layout="mono")
    sound.bit_rate = 64_000
    return sound


def _write_sound(out, sound, wav_path: str | Path, n_samples: int) -> None:
    import av
    import soundfile

    samples, rate = soundfile.read(str(wav_path), dtype="float32", always_2d=True)
    mono = np.zeros(n_samples, np.float32)
    mono[: min(n_samples, len(samples))] = samples.mean(1)[:n_samples]
    for start in range(0, n_samples, 1024):
        frame = av.AudioFrame.from_ndarray(mono[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))
