"""The sound of an output that is more than one file as it is: recordings laid on its clock, each heard in parts of it,
faded into each other."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from media import MediaError
from media.container import InputLimits, check_channels, open_media
from media.demux import decoded
from media.holes import silences
from media.sound import LAYOUTS, RATES, is_believable, planes_of, time_of
from media.tracks import sound_track

#: Length of a cross-fade.
FADE_S = Fraction(1, 100)
#: Samples mixed together.
PIECE = 1 << 15
#: A mix that peaks higher than this (0.1 dB above full scale) is told of.
FULL_SCALE = 10 ** (0.1 / 20)
Spans = Sequence[tuple[Fraction, Fraction]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One recording in a sound track. at_s: when its first audible sample sounds, on the output's clock; spans: [from,
    to) on that clock; inside, outside: its gains in and out of them; fades lie inside the spans."""

    path: Path
    at_s: Fraction = Fraction(0)
    spans: Spans = ()
    inside: float = 1.0
    outside: float = 0.0

    @property
    def end_s(self) -> Fraction | None:
        """After which it is not heard; None = heard to the end."""
        return None if self.outside else max((end for _, end in self.spans), default=Fraction(0))


@dataclass(slots=True)
class Soundtrack:
    """The layers' sum, `length_s` long: the highest rate and the most channels of them. gain: of all of it; limits: of
    the files. A `media.sound.Sound`. Raises MediaError where a file holds no sound that can be read."""

    layers: Sequence[Layer]
    length_s: Fraction
    limits: InputLimits = InputLimits()
    gain: float = 1.0
    rate: int = 0
    n_channels: int = 0
    notes: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        kinds = [sound_kind(path, self.limits) for path in dict.fromkeys(layer.path for layer in self.layers)]
        self.rate = max(rate for rate, _ in kinds)
        self.n_channels = max(n for _, n in kinds)

    def blocks(self) -> Iterator[np.ndarray]:
        """(C,n) float32 one after the other, full scale 1, `length_s` in all."""
        total, peak = round(self.length_s * self.rate), 0.0
        with closing(_Feeds(self)) as feeds:
            for start in range(0, total, PIECE):
                stop = min(start + PIECE, total)
                block = np.zeros((self.n_channels, stop - start), np.float32)
                for layer in self.layers:
                    weight = self._weight(layer, start, stop)
                    if weight is not None:
                        block += weight * feeds.take(layer, start, stop)
                feeds.close_until(stop)
                peak = max(peak, float(np.abs(block).max()))
                yield block
        if peak > FULL_SCALE:
            self.notes = [
                f"the sound peaks {20 * np.log10(peak):.1f} dB above full scale and is clipped there: lower "
                "--background-db, or add --loudness"
            ]

    def _weight(self, layer: Layer, start: int, stop: int) -> np.ndarray | float | None:
        """Gain of a layer, or (n,) float32 gains, at samples of the output; None: it is silent there."""
        near = [(a, b) for a, b in joined(layer.spans) if a * self.rate < stop and b * self.rate > start]
        if not near or layer.inside == layer.outside:
            return layer.outside * self.gain or None
        inside = np.interp(np.arange(start, stop), *_knots(near, self.rate, self.length_s))
        weight = (layer.outside + (layer.inside - layer.outside) * inside) * self.gain
        return weight.astype(np.float32) if weight.any() else None


def joined(spans: Spans) -> list[tuple[Fraction, Fraction]]:
    """The spans in order, those that touch or overlap as one."""
    out: list[tuple[Fraction, Fraction]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(end, out[-1][1])
        else:
            out.append((start, end))
    return out


def _knots(spans: Spans, rate: int, length_s: Fraction) -> tuple[list[float], list[float]]:
    """Samples and values between which the share of the spans' sound runs straight: 0 outside of them, 1 inside, no
    fade where the output begins or ends."""
    at, value = [], []
    for start, end in spans:
        fade = min(FADE_S, (end - start) / 2)
        rise, fall = 0 if start <= 0 else fade, 0 if end >= length_s else fade
        at += [float(second * rate) for second in (start, start + rise, end - fall, end)]
        value += [0.0 if rise else 1.0, 1.0, 1.0, 0.0 if fall else 1.0]
    return at, value


class _Feeds:
    """The open recordings of a sound track, read once, from front to back."""

    def __init__(self, track: Soundtrack) -> None:
        self._track = track
        self._open: dict[int, _Feed] = {}

    def take(self, layer: Layer, start: int, stop: int) -> np.ndarray:
        """(C,n) of a layer at samples of the output."""
        if id(layer) not in self._open:
            self._open[id(layer)] = _Feed(layer, self._track)
        return self._open[id(layer)].take(start, stop)

    def close_until(self, stop: int) -> None:
        """Closes the files of layers that are not heard again."""
        rate = self._track.rate
        over = [key for key, one in self._open.items() if one.end_s is not None and one.end_s * rate <= stop]
        for key in over:
            self._open.pop(key).close()

    def close(self) -> None:
        for one in self._open.values():
            one.close()


class _Feed:
    """One recording at the output's rate and channels, by the output's samples."""

    def __init__(self, layer: Layer, track: Soundtrack) -> None:
        self.end_s = layer.end_s
        self._at, self._n_channels = round(layer.at_s * track.rate), track.n_channels
        self._pieces = samples_of(layer.path, track.rate, track.n_channels, track.limits)
        self._held = np.zeros((track.n_channels, 0), np.float32)

    def take(self, start: int, stop: int) -> np.ndarray:
        """(C,n); silence before and after the recording. Never asked for samples before those given."""
        out = np.zeros((self._n_channels, stop - start), np.float32)
        while self._at < stop:
            n = self._held.shape[1]
            if n == 0:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._held = piece
                continue
            first, last = max(start, self._at), min(stop, self._at + n)
            if last > first:
                out[:, first - start : last - start] = self._held[:, first - self._at : last - self._at]
            used = min(n, stop - self._at)
            self._at, self._held = self._at + used, self._held[:, used:]
        return out

    def close(self) -> None:
        self._pieces.close()


def samples_of(path: Path, rate: int, n_channels: int, limits: InputLimits = InputLimits()) -> Generator[np.ndarray]:
    """(C,n) float32 blocks of a file's sound from its first audible sample on, holes in its timestamps filled with
    silence, at a rate and a number of channels of LAYOUTS no smaller than its own. MediaError: no sound in it that can
    be read."""
    with _opened(path, limits) as frames:
        first = next(frames)
        own = first.sample_rate
        same = _SameKind(path, own)
        frames = (same(frame) for frame in chain([first], frames))
        parts = silences((time_of(frame), Fraction(frame.samples, own), frame) for frame in frames)
        pieces = (piece for hole_s, frame in parts for piece in _planes(frame, round(hole_s * own)))
        for piece in pieces if own == rate else _resampled(pieces, own, rate):
            yield _spread(piece, n_channels)


class _SameKind:
    """Frames as they are, or mixed down to stereo where no encoder takes so many channels; MediaError where the kind
    changes on the way."""

    def __init__(self, path: Path, rate: int) -> None:
        self._path, self._rate, self._n = path, rate, None
        self._mixer: Any = None

    def __call__(self, frame: av.AudioFrame) -> av.AudioFrame:
        n = frame.layout.nb_channels
        if frame.sample_rate != self._rate or self._n not in (None, n):
            raise MediaError(f"{self._path}: its sound changes its rate or its channels. Convert it to WAV.")
        self._n = n
        if n in LAYOUTS:
            return frame
        self._mixer = self._mixer or av.AudioResampler(format="flt", layout="stereo", rate=self._rate)
        at_s, (mixed,) = time_of(frame), self._mixer.resample(frame)
        mixed.time_base = Fraction(1, self._rate)
        mixed.pts = None if at_s is None else round(at_s * self._rate)
        return mixed


def _planes(frame: av.AudioFrame, n_silent: int) -> Iterator[np.ndarray]:
    """(C,n) float32: silence, then the frame; samples that are no sound are silence."""
    values = planes_of(frame)
    for i in range(0, n_silent, PIECE):
        yield np.zeros((len(values), min(PIECE, n_silent - i)), np.float32)
    yield np.where(is_believable(values), values, 0).astype(np.float32)


def _resampled(pieces: Iterator[np.ndarray], own: int, rate: int) -> Iterator[np.ndarray]:
    """At another rate, band-limited, without a shift in time."""
    resampler, n = None, 0
    for piece in pieces:
        layout = LAYOUTS[len(piece)]
        resampler = resampler or av.AudioResampler(format="fltp", layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = own, n, Fraction(1, own)
        n += frame.samples
        yield from (out.to_ndarray() for out in resampler.resample(frame))
    if resampler is not None:
        yield from (out.to_ndarray() for out in resampler.resample(None))


def _spread(piece: np.ndarray, n_channels: int) -> np.ndarray:
    """(c,n) as (C,n): mono in both of stereo and in the centre of surround, stereo in front; without a low-frequency
    channel the others go to their places."""
    c = len(piece)
    if c == n_channels:
        return piece
    out = np.zeros((n_channels, piece.shape[1]), np.float32)
    places = {(1, 2): [0, 1], (1, 5): [2], (1, 6): [2], (2, 5): [0, 1], (2, 6): [0, 1], (5, 6): [0, 1, 2, 4, 5]}
    out[places[c, n_channels]] = piece
    return out


@contextmanager
def _opened(path: Path, limits: InputLimits) -> Iterator[Iterator[Any]]:
    """The frames of the track that is heard; at least one."""
    try:
        container = open_media(path, limits)
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path} is not a sound file that can be opened ({reason}). Convert it to WAV.") from error
    with container:
        track, _ = sound_track(container, path, limits)
        none: Iterator[Any] = iter(())
        frames = none if track is None or track.codec_context is None else decoded(container, track)
        frames = (frame for frame in frames if frame is not None)
        if (first := next(frames, None)) is None:
            raise MediaError(f"{path} has no sound that can be decoded. Convert it to WAV.")
        yield chain([first], frames)


def sound_kind(path: Path, limits: InputLimits) -> tuple[int, int]:
    """Rate, and number of channels as they are mixed: of what is decoded, which headers of AAC may state at half.
    MediaError: no sound in it that can be read."""
    with _opened(path, limits) as frames:
        first = next(frames)
    rate, n_channels = first.sample_rate, first.layout.nb_channels
    check_channels(n_channels, path)
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"{path} states {rate} samples a second of sound. Convert it to WAV.")
    return rate, n_channels if n_channels in LAYOUTS else 2
