"""Several clips joined into one video, picture and sound of each kept together (for benchmarks and tests of joins)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from media import MediaError
from media.atomic import atomic_write
from media.container import open_media
from video.colour import ColourTags
from video.probe import VideoStream, probe
from video.read import decoded_pictures

_SOUND = {".mov": "pcm_s16le", ".mkv": "pcm_s16le", ".mp4": "aac"}


def join_clips(
    paths: Sequence[str | Path], out: str | Path, *, crf: int = 8, rate: Fraction = Fraction(25)
) -> np.ndarray:
    """Writes the clips one after the other at a constant `rate`; returns (len(paths) + 1,) int64: first frame of each
    clip, and the total.

    Pictures go to H.264 as they are decoded, without a trip through RGB (crf 0 is lossless). Each clip's sound is
    padded with zeros or cut to the exact length of its pictures. .mov and .mkv hold PCM sound, .mp4 AAC. All clips must
    share one size and sample rate."""
    streams = [probe(p) for p in paths]
    if not streams:
        raise ValueError("join_clips needs at least one clip")
    first = streams[0]
    for s in streams:
        if (s.width, s.height, s.pix_fmt, s.rotation) != (first.width, first.height, first.pix_fmt, 0):
            raise MediaError(
                f"{s.path} is {s.width}x{s.height} {s.pix_fmt}, {first.path} is not. "
                "Only clips of one size and format can be joined."
            )
    out = Path(out)
    if out.suffix.lower() not in _SOUND:
        raise MediaError(f"{out}: joined clips are written as .mov, .mkv or .mp4.")
    starts = np.concatenate([[0], np.cumsum([len(s) for s in streams])]).astype(np.int64)
    try:
        with atomic_write(out) as part, av.open(str(part), "w") as container:
            _write(container, streams, starts, crf, Fraction(rate), _SOUND[out.suffix.lower()])
    except (FFmpegError, OSError) as error:
        raise MediaError(
            f"{out} could not be written ({getattr(error, 'strerror', None) or error}). "
            "Check the folder and free disk space."
        ) from error
    return starts


def _write(container, streams: list[VideoStream], starts: np.ndarray, crf: int, rate: Fraction, codec: str) -> None:
    first = streams[0]
    picture = container.add_stream(
        "libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast", "x264-params": "keyint=50"}
    )
    context = picture.codec_context
    context.width, context.height, context.pix_fmt, context.thread_type = (
        first.width,
        first.height,
        first.pix_fmt,
        "AUTO",
    )
    context.time_base, context.sample_aspect_ratio = 1 / rate, first.sample_aspect
    tags: ColourTags = first.colour.resolved(first.width, first.height)
    context.colorspace, context.color_range = tags.matrix, tags.range
    context.color_primaries, context.color_trc = tags.primaries, tags.transfer
    sample_rate = next((r for r in map(_sample_rate, streams) if r), None)
    sound = None
    if sample_rate:
        sound = container.add_stream(codec, rate=sample_rate)
        sound.codec_context.layout = "mono"
        if codec == "aac":
            sound.codec_context.bit_rate = 192_000
    n_written = 0
    for stream, begin, end in zip(streams, starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        for k, frame in enumerate(decoded_pictures(stream)):
            frame.pts, frame.time_base, frame.pict_type = begin + k, 1 / rate, 0
            container.mux(picture.encode(frame))
        if sample_rate:
            n_end = round(end / rate * sample_rate)
            samples = _samples(stream, sample_rate, n_end - n_written)
            _mux_sound(container, sound, samples, n_written, sample_rate)
            n_written = n_end
    container.mux(picture.encode(None))
    if sound is not None:
        container.mux(sound.encode(None))


def _mux_sound(container, sound, samples: np.ndarray, at: int, sample_rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, at, Fraction(1, sample_rate)
    container.mux(sound.encode(frame))


def _sample_rate(stream: VideoStream) -> int | None:
    if not stream.has_audio:
        return None
    with open_media(stream.path, stream.limits) as container:
        return container.streams.audio[0].codec_context.sample_rate


def _samples(stream: VideoStream, sample_rate: int, n: int) -> np.ndarray:
    """(n,) float32 mono, sample 0 at the clip's first frame; channels averaged."""
    out = np.zeros(n, np.float32)
    if stream.audio_start_s is None:
        return out
    at = round(stream.audio_start_s * sample_rate)
    mix = av.AudioResampler(
        format="flt", rate=sample_rate
    )  # interleaved: PyAV (18) reads beyond the end of eight planes
    with open_media(stream.path, stream.limits) as container:
        for decoded in container.decode(container.streams.audio[0]):
            for frame in mix.resample(decoded):
                values = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).mean(1)
                begin, end = max(at, 0), min(at + len(values), n)
                if end > begin:
                    out[begin:end] = values[begin - at : end - at]
                at += len(values)
    return out
