"""Sound from any audio file, or from the audio track of a video, at 16 kHz mono."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from audio import AudioError

RATE = 16000
#: A hole in the timestamps of a track longer than this is silence; shorter ones are rounding.
GAP_S = Fraction(1, 20)
#: Holes longer than this are broken timestamps, not silence.
MAX_GAP_S = 600
#: Below this peak (-60 dBFS) there is nothing to hear.
SILENT_PEAK = 1e-3


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound. samples: (S,) float32 torch in [-1, 1]; rate: samples per second.

    duration_s: exact duration of the original stream (its samples over its own rate); notes: sentences for the user; name: of the file,
    for messages.
    """

    samples: torch.Tensor
    duration_s: Fraction
    rate: int = RATE
    notes: tuple[str, ...] = ()
    name: str = "speech"

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != torch.float32:
            raise ValueError(f"Waveform.samples must be (S,) float32, got {tuple(self.samples.shape)} {self.samples.dtype}")

    @classmethod
    def of(cls, samples: np.ndarray, rate: int = RATE, name: str = "speech") -> Waveform:
        """Sound from a (S,) array that is already at 16 kHz, or at any `rate`."""
        return _waveform([np.asarray(samples, np.float32)], rate, name, [])


def load_speech(path: str | Path) -> Waveform:
    """The sound of an audio file, or of a video's audio track; sample 0 is the first that a player would play.

    AudioError: no such file, a folder, empty, no audio track, unreadable.
    """
    path = _existing(path)
    notes: list[str] = []
    try:
        rate, blocks, _ = _decoded(path, notes, fill_gaps=False)
    except _Unreadable as trouble:
        rate, blocks = _through_soundfile(path, trouble)
    return _waveform(blocks, rate, path.name, notes)


def load_track(path: str | Path) -> Waveform:
    """The audio track of a video on the picture's clock: sample 0 sounds when the first video frame is shown.

    Late sound is preceded by silence, early sound is cut, holes in the timestamps are filled with silence. AudioError as `load_speech`.
    """
    path = _existing(path)
    notes: list[str] = []
    try:
        rate, blocks, start_s = _decoded(path, notes, fill_gaps=True)
    except _Unreadable as trouble:
        raise AudioError(f"{path.name}: {trouble}.") from None
    shift = round((start_s - _first_picture_s(path)) * rate)
    if shift > 0:
        blocks = [np.zeros(min(shift, MAX_GAP_S * rate), np.float32), *blocks]
    elif shift < 0:
        blocks = [np.concatenate(blocks)[-shift:]]
    return _waveform(blocks, rate, path.name, notes)


class _Unreadable(Exception):
    """PyAV found no sound; the message says why."""


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise AudioError(f"There is no file {path}. Check the name and the folder.")
    if path.is_dir():
        raise AudioError(f"{path} is a folder; give one audio or video file.")
    if path.stat().st_size == 0:
        raise AudioError(f"{path.name} is empty (0 bytes). Record or copy it again.")
    return path


def _decoded(path: Path, notes: list[str], fill_gaps: bool) -> tuple[int, list[np.ndarray], Fraction]:
    """(rate, mono blocks, start time in seconds) of the best audio track; encoder delay is already skipped by the decoder."""
    import av

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as trouble:
        raise _Unreadable(f"is not an audio or video file that can be read ({trouble.__class__.__name__})") from None
    with container:
        stream = container.streams.best("audio")
        if stream is None:
            if container.streams.video:
                raise AudioError(f"{path.name} has no audio track. Give a file with speech.")
            raise _Unreadable("has no audio track")
        stream.thread_type = "AUTO"
        blocks: list[np.ndarray] = []
        rate, start_s, n, n_bad = 0, Fraction(0), 0, 0
        for frame in _frames(container, stream):
            if frame is None:
                n_bad += 1
                continue
            if not rate:
                rate = frame.sample_rate
                start_s = frame.pts * frame.time_base if frame.pts is not None else Fraction(0)
            if frame.sample_rate != rate:
                raise AudioError(f"{path.name} changes its sample rate at {n / rate:.2f} s; convert it to one rate first.")
            if fill_gaps and frame.pts is not None:
                gap_s = frame.pts * frame.time_base - start_s - Fraction(n, rate)
                if GAP_S < gap_s < MAX_GAP_S:
                    blocks.append(np.zeros(round(gap_s * rate), np.float32))
                    n += len(blocks[-1])
            blocks.append(_mono(frame))
            n += len(blocks[-1])
        if n == 0:
            raise _Unreadable("holds no sound that can be decoded; it is empty or damaged")
        if n_bad:
            notes.append(f"{path.name}: {n_bad} damaged audio packets were skipped.")
        return rate, _without_padding(blocks, n, rate, stream), start_s


def _frames(container, stream) -> Iterator:
    """Decoded frames; None in place of each packet that cannot be decoded."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            yield None
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            yield None


def _without_padding(blocks: list[np.ndarray], n: int, rate: int, stream) -> list[np.ndarray]:
    """The blocks without the last codec block's filling, where the container states a duration."""
    if not stream.duration or stream.codec_context.name not in ("aac", "mp3", "mp3float", "opus", "vorbis"):
        return blocks
    surplus = n - round(stream.duration * stream.time_base * rate)
    if 0 < surplus < min(2048, len(blocks[-1])):
        blocks[-1] = blocks[-1][:-surplus]
    return blocks


def _mono(frame) -> np.ndarray:
    """(S,) float32: the mean of the channels, full scale = 1."""
    values = frame.to_ndarray()
    n_channels = frame.layout.nb_channels
    channels = values if frame.format.is_planar else values.reshape(-1, n_channels).T
    if values.dtype == np.uint8:
        return ((channels.astype(np.float32) - 128) / 128).mean(0)
    if values.dtype.kind == "i":
        return (channels.astype(np.float64).mean(0) / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return channels.mean(0).astype(np.float32)


def _through_soundfile(path: Path, trouble: _Unreadable) -> tuple[int, list[np.ndarray]]:
    import soundfile

    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        raise AudioError(f"{path.name} {trouble}. Give a WAV, FLAC, MP3, M4A, OGG file or a video with sound.") from None
    if len(samples) == 0:
        raise AudioError(f"{path.name} holds no sound (0 samples). Record it again.")
    return rate, [samples.mean(1)]


def _first_picture_s(path: Path) -> Fraction:
    """Time stamp of the first shown video frame; 0 where there is no picture."""
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            return Fraction(0)
        for frame in container.decode(container.streams.video[0]):
            return frame.pts * frame.time_base if frame.pts is not None else Fraction(0)
    return Fraction(0)


def _waveform(blocks: list[np.ndarray], rate: int, name: str, notes: list[str]) -> Waveform:
    """Checked, resampled and described."""
    blocks = list(blocks)
    n = sum(map(len, blocks))
    if n == 0:
        raise AudioError(f"{name} holds no sound (0 samples). Record it again.")
    if not 4000 <= rate <= 768000:
        raise AudioError(f"{name} states a sample rate of {rate} Hz; use 8,000 to 192,000 Hz.")
    n_broken = sum(int((~np.isfinite(b)).sum()) for b in blocks)
    if n_broken:
        blocks = [np.nan_to_num(b, nan=0.0, posinf=0.0, neginf=0.0) for b in blocks]
        notes = [*notes, f"{name}: {n_broken} samples were not numbers and are taken as silence."]
    peak = max(float(np.abs(b).max(initial=0)) for b in blocks)
    if peak > 1:
        blocks = [b / peak for b in blocks]
    if peak < SILENT_PEAK:
        notes = [*notes, f"{name} is silent (peak {20 * np.log10(max(peak, 1e-6)):.0f} dB); the mouth will stay closed."]
    duration_s = Fraction(n, rate)
    samples = _at_16k(blocks, rate, round(duration_s * RATE))
    return Waveform(torch.from_numpy(samples), duration_s, RATE, tuple(notes), name)


def _at_16k(blocks: list[np.ndarray], rate: int, n_out: int) -> np.ndarray:
    """(n_out,) float32 at 16 kHz, band-limited, without a time shift."""
    import av

    if rate == RATE:
        resampled = blocks
    else:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        resampled = [out.to_ndarray()[0] for frame in (*_as_frames(blocks, rate), None) for out in resampler.resample(frame)]
    joined = np.concatenate(resampled) if resampled else np.zeros(0, np.float32)
    joined = np.pad(joined[:n_out], (0, max(0, n_out - len(joined))))
    return np.clip(joined, -1, 1).astype(np.float32)


def _as_frames(blocks: list[np.ndarray], rate: int, size: int = 1 << 16) -> Iterator:
    import av

    start = 0
    for block in blocks:
        for i in range(0, len(block), size):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block[None, i : i + size]), format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            start += frame.samples
            yield frame
