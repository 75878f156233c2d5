"""Sound from any audio file, or from the audio track of a video, at 16 kHz mono."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from media import MediaError
from media.container import InputLimits, check_channels, check_length, open_media
from media.demux import decoded
from media.holes import HOLE_S, MAX_HOLE_S, silences
from media.sound import RATES, is_believable, planes_of, time_of
from media.tracks import sound_track

RATE = 16000
#: Samples handled together.
PIECE = 1 << 16
#: Below this peak (-60 dBFS) there is nothing to hear.
SILENT_PEAK = 1e-3


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound. samples: (S,) float32 torch in [-1, 1]; rate: samples per second.

    duration_s: exact duration of the original stream (its samples over its own rate); notes: sentences for the user;
    name: of the file, for messages."""

    samples: torch.Tensor
    duration_s: Fraction
    rate: int = RATE
    notes: tuple[str, ...] = ()
    name: str = "speech"

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != torch.float32:
            raise ValueError(
                f"Waveform.samples must be (S,) float32, got {tuple(self.samples.shape)} {self.samples.dtype}"
            )

    @classmethod
    def of(cls, samples: np.ndarray, rate: int = RATE, name: str = "speech") -> Waveform:
        """Sound from a (S,) array that is already at 16 kHz, or at any `rate`."""
        return _waveform([np.asarray(samples, np.float32)], rate, Path(name), [])

    def without_samples(self) -> Waveform:
        """What is known of it, for a receipt, when the sound itself (230 MB an hour) has been used."""
        return replace(self, samples=torch.zeros(0))


def load_speech(path: str | Path, limits: InputLimits = InputLimits()) -> Waveform:
    """The sound of an audio file, or of a video's audio track; sample 0 is the first that a player would play, holes in
    the timestamps are silence.

    limits: the most that is opened. MediaError: no such file, a folder, empty, no audio track, unreadable, longer.
    """
    path = _existing(path)
    notes: list[str] = []
    try:
        with _decoded(path, notes, limits) as sound:
            return _waveform(sound.blocks, sound.rate, path, notes, limits)
    except _Unreadable as trouble:
        return _through_soundfile(path, trouble, notes, limits)


def load_track(path: str | Path, limits: InputLimits = InputLimits()) -> Waveform:
    """The audio track of a video on the picture's clock: sample 0 sounds when the first video frame is shown.

    Late sound is preceded by silence, early sound is cut, holes in the timestamps are filled with silence. MediaError
    as `load_speech`."""
    path = _existing(path)
    notes: list[str] = []
    try:
        with _decoded(path, notes, limits, on_clock=True) as sound:
            shift = round((sound.start_s - _first_picture_s(path, limits)) * sound.rate)
            return _waveform(
                _shifted(sound.blocks, min(shift, round(MAX_HOLE_S * sound.rate))), sound.rate, path, notes, limits
            )
    except _Unreadable as trouble:
        raise MediaError(f"{path} {trouble}. Copy it again, or convert it to MP4.") from None


class _Unreadable(Exception):
    """PyAV found no sound; the message says why."""


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise MediaError(f"There is no file {path}. Check the name and the folder.")
    if path.is_dir():
        raise MediaError(f"{path} is a folder; give one audio or video file.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes). Record or copy it again.")
    return path


@dataclass(frozen=True, slots=True)
class _Sound:
    """A track while it is decoded. blocks: mono, one after the other; start_s: time of the first sample on the file's
    clock."""

    rate: int
    start_s: Fraction
    blocks: Iterator[np.ndarray]


@contextmanager
def _decoded(path: Path, notes: list[str], limits: InputLimits, on_clock: bool = False) -> Iterator[_Sound]:
    """The best audio track that can be decoded, with silence in the holes of its timestamps; encoder delay is already
    skipped by the decoder. on_clock: every block lies where its time says, also where that drifts from the number of
    samples. A note on damage comes when all blocks have been read."""
    import av
    import av.error

    try:
        container = open_media(path, limits)
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as trouble:
        raise _Unreadable(f"is not an audio or video file that can be read ({trouble.__class__.__name__})") from None
    with container:
        stream, left = sound_track(container, path, limits)
        notes += left
        if stream is None:
            if container.streams.video:
                raise MediaError(f"{path} has no audio track. Give a file with speech.")
            raise _Unreadable("has no audio track")
        if stream.codec_context is None:
            raise _Unreadable("holds sound of a kind that cannot be decoded")
        check_channels(stream.codec_context.channels, path)
        stream.thread_type = "AUTO"
        frames, n_bad = decoded(container, stream), 0
        first: Any = None
        while (first := next(frames, _END)) is None:
            n_bad += 1
        if first is _END:
            raise _Unreadable("holds no sound that can be decoded; it is empty or damaged")
        start_s = time_of(first) or Fraction(0)
        blocks = _blocks(itertools.chain([None] * n_bad, [first], frames), path, notes, start_s if on_clock else None)
        yield _Sound(first.sample_rate, start_s, _without_padding(blocks, first.sample_rate, stream))


_END = object()


def _blocks(frames: Iterable[Any], path: Path, notes: list[str], start_s: Fraction | None) -> Iterator[np.ndarray]:
    """Mono blocks of decoded frames (None: a damaged one), and silence in the holes of their times: after `start_s`
    where they are counted from there, else from frame to frame."""
    rate, n, n_bad = 0, 0, 0

    def sound() -> Iterator[tuple[Fraction | None, Fraction, Any]]:
        nonlocal rate, n_bad
        for frame in frames:
            if frame is None:
                n_bad += 1
                continue
            rate = rate or frame.sample_rate
            if frame.sample_rate != rate:
                raise MediaError(f"{path} changes its sample rate at {n / rate:.2f} s; convert it to one rate first.")
            yield time_of(frame), Fraction(frame.samples, rate), frame

    for hole_s, frame in silences(sound()):
        at_s = time_of(frame)
        if start_s is not None and at_s is not None:
            hole_s = at_s - start_s - Fraction(n, rate)
            hole_s = hole_s if HOLE_S < hole_s < MAX_HOLE_S else Fraction(0)
        n += round(hole_s * rate)
        yield from _silence(round(hole_s * rate))
        block = _mono(frame)
        n += len(block)
        yield block
    if n_bad:
        notes.append(f"{path.name}: {n_bad} damaged audio packets were skipped.")


def _silence(n: int) -> Iterator[np.ndarray]:
    """n zeros, in pieces."""
    return (np.zeros(min(PIECE, n - i), np.float32) for i in range(0, n, PIECE))


def _shifted(blocks: Iterator[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """The blocks after n zeros, or without their first -n samples."""
    yield from _silence(n)
    for block in blocks:
        yield block[max(0, -n) :]
        n = min(0, n + len(block)) if n < 0 else 0


def _without_padding(blocks: Iterator[np.ndarray], rate: int, stream) -> Iterator[np.ndarray]:
    """The blocks without the last codec block's filling, where the container states a duration."""
    padded = stream.duration and stream.codec_context.name in ("aac", "mp3", "mp3float", "opus", "vorbis")
    n, held = 0, np.zeros(0, np.float32)
    for block in blocks:
        yield held
        n, held = n + len(block), block
    surplus = n - round(stream.duration * stream.time_base * rate) if padded else 0
    yield held[:-surplus] if 0 < surplus < min(2048, len(held)) else held


def _mono(frame) -> np.ndarray:
    """(S,) float32: the mean of the channels, full scale = 1."""
    return planes_of(frame).mean(0).astype(np.float32)


def _through_soundfile(path: Path, trouble: _Unreadable, notes: list[str], limits: InputLimits) -> Waveform:
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            check_channels(file.channels, path)
            blocks = (block.mean(1) for block in file.blocks(PIECE, dtype="float32", always_2d=True))
            return _waveform(blocks, file.samplerate, path, notes, limits)
    except (soundfile.SoundFileError, OSError, ValueError):  # ValueError: "non-seekable", of damaged GSM
        raise MediaError(f"{path} {trouble}. Give a WAV, FLAC, MP3, M4A, OGG file or a video with sound.") from None


def _first_picture_s(path: Path, limits: InputLimits) -> Fraction:
    """Time stamp of the first video frame that can be decoded; 0 where there is none."""
    import av
    import av.stream

    with open_media(path, limits) as container:
        cover = av.stream.Disposition.attached_pic
        picture = next((s for s in container.streams.video if not s.disposition & cover), None)
        if picture is not None:
            for frame in filter(None, decoded(container, picture)):
                return frame.pts * frame.time_base if frame.pts is not None else Fraction(0)
    return Fraction(0)


@dataclass(slots=True)
class _Seen:
    """What has gone by: samples, those of them that are no numbers, and the loudest."""

    n: int = 0
    n_broken: int = 0
    peak: float = 0.0


def _waveform(
    blocks: Iterable[np.ndarray], rate: int, path: Path, notes: list[str], limits: InputLimits | None = None
) -> Waveform:
    """Checked, resampled and described; of the blocks only what is left of them at 16 kHz is ever held.

    notes: may still grow while the blocks are read.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"{path} states a sample rate of {rate} Hz; use 8,000 to 192,000 Hz.")
    seen = _Seen()
    held = _at_16k(_no_longer(_checked(blocks, seen), seen, rate, path, limits), rate)
    if seen.n == 0:
        raise MediaError(f"{path} holds no sound (0 samples). Record it again.")
    notes = list(notes)
    if seen.n_broken:
        notes.append(f"{path.name}: {seen.n_broken} samples were not numbers and are taken as silence.")
    if seen.peak < SILENT_PEAK:
        notes.append(
            f"{path.name} is silent (peak {20 * np.log10(max(seen.peak, 1e-6)):.0f} dB); the mouth will stay closed."
        )
    duration_s = Fraction(seen.n, rate)
    n_bytes = 4 * round(duration_s * RATE)
    held.extend(bytes(max(0, n_bytes - len(held))))
    samples = np.frombuffer(held, np.float32, n_bytes // 4)
    if seen.peak > 1:
        samples /= seen.peak
    np.clip(samples, -1, 1, out=samples)
    return Waveform(torch.from_numpy(samples), duration_s, RATE, tuple(notes), path.name)


def _checked(blocks: Iterable[np.ndarray], seen: _Seen) -> Iterator[np.ndarray]:
    """The blocks in pieces, what is no number as 0; counted in `seen`."""
    for block in blocks:
        for i in range(0, len(block), PIECE):
            piece = block[i : i + PIECE]
            good = is_believable(piece)
            if not good.all():
                piece = np.where(good, piece, np.float32(0))
                seen.n_broken += int((~good).sum())
            seen.n += len(piece)
            seen.peak = max(seen.peak, float(np.abs(piece).max()))
            yield piece


def _no_longer(
    pieces: Iterator[np.ndarray], seen: _Seen, rate: int, path: Path, limits: InputLimits | None
) -> Iterator[np.ndarray]:
    """The pieces, until they are more than is opened: MediaError."""
    for piece in pieces:
        if limits is not None:
            check_length(seen.n, rate, path, limits)
        yield piece


def _at_16k(pieces: Iterator[np.ndarray], rate: int) -> bytearray:
    """The float32 samples at 16 kHz, band-limited, without a time shift; their number is only about right at the end.

    A bytearray grows where it lies: pieces joined at the end would be there twice.
    """
    held = bytearray()
    for piece in pieces if rate == RATE else _resampled(pieces, rate):
        held.extend(piece.tobytes())
    return held


def _resampled(pieces: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    import av

    resampler, start = av.AudioResampler(format="flt", layout="mono", rate=RATE), 0
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece[None]), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        start += frame.samples
        yield from (out.to_ndarray()[0] for out in resampler.resample(frame))
    yield from (out.to_ndarray()[0] for out in resampler.resample(None))
