"""What a network hears: 100 feature vectors a second.

Default: the 28 numbers of Suwajanakorn et al. 2017: 13 MFCC and the log mean energy of loudness-normalised speech, and
their first differences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch

from audio.load import RATE, Waveform

FEATURE_RATE = 100
HOP = RATE // FEATURE_RATE
#: Rows whose spectra are held together (ten seconds): an hour's would be 740 MB.
PIECE = 10 * FEATURE_RATE


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """How sound becomes numbers. kind: "mfcc" (n_mfcc + log mean energy) or "logmel" (n_mels); floor_db: quieter than
    this is not heard."""

    kind: str = "mfcc"
    n_mels: int = 40
    n_mfcc: int = 13
    differences: bool = True
    window_s: float = 0.025
    n_fft: int = 512
    loudness_db: float = -23.0
    floor_db: float = -75.0

    def __post_init__(self) -> None:
        if self.kind not in ("mfcc", "logmel"):
            raise ValueError(f'FeatureSpec.kind is "mfcc" or "logmel", got {self.kind!r}')

    @property
    def size(self) -> int:
        """Numbers per feature."""
        return (self.n_mels if self.kind == "logmel" else self.n_mfcc + 1) * (2 if self.differences else 1)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> FeatureSpec:
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """values: (F,D) float32 torch; feature f is centred at f / FEATURE_RATE seconds."""

    values: torch.Tensor

    def __len__(self) -> int:
        return len(self.values)


def speech_features(wave: Waveform, spec: FeatureSpec = FeatureSpec()) -> AudioFeatures:
    """(F,D) features, F = 1 + S // 160, on the device of `wave.samples`."""
    return AudioFeatures(FeatureRows(wave, spec)[:])


class FeatureRows:
    """The features of `wave`, made when they are asked for: rows[a:b] is (b - a, D). An hour of them would be 60 MB."""

    def __init__(self, wave: Waveform, spec: FeatureSpec = FeatureSpec()) -> None:
        self.samples, self.spec = wave.samples, spec
        self.gain = _loudness_gain(wave.samples, spec.loudness_db)
        self.n_plain = (
            spec.n_mels if spec.kind == "logmel" else spec.n_mfcc + 1
        )  # numbers a row, before their differences

    def __len__(self) -> int:
        return 1 + len(self.samples) // HOP

    def __getitem__(self, rows: slice) -> torch.Tensor:
        start, stop, _ = rows.indices(len(self))
        before = min(start, 1) if self.spec.differences else 0  # the first difference needs the row before
        window = round(self.spec.window_s * RATE)
        values = self.samples.new_empty(stop - start + before, self.n_plain)
        for part in pieces(len(values)):
            here = slice(start - before + part.start, start - before + part.stop)
            values[part] = _values(power_spectrum(self.samples, self.spec.n_fft, window, here, self.gain), self.spec)
        if self.spec.differences:
            values = torch.cat([values, torch.diff(values, dim=0, prepend=values[:1])], 1)
        return values[before:]


def _values(power: torch.Tensor, spec: FeatureSpec) -> torch.Tensor:
    """(F,D) log-mel bands, or MFCC and energy, of (F,bins) power."""
    bands = log_mel(power, spec)
    if spec.kind == "logmel":
        return bands
    floor = 10 ** (spec.floor_db / 10)
    cepstrum = bands @ dct_matrix(spec.n_mfcc, spec.n_mels, power.device).T
    return torch.cat([cepstrum, torch.log(power.mean(1, keepdim=True) + floor)], 1)


def log_mel(power: torch.Tensor, spec: FeatureSpec) -> torch.Tensor:
    """(F,n_mels) natural logarithms of the mel bands of (F,bins) power."""
    return torch.log(power @ mel_filters(spec.n_mels, spec.n_fft, power.device).T + 10 ** (spec.floor_db / 10))


def loudness_normalised(samples: torch.Tensor, loudness_db: float = -23.0) -> torch.Tensor:
    """(S,) scaled so that its louder parts have this RMS level; silence stays silence.

    Level: RMS over 0.4 s blocks, gated like ITU-R BS.1770 (absolute gate -70 dB, relative gate 10 dB under the mean),
    unweighted."""
    return samples * _loudness_gain(samples, loudness_db)


def _loudness_gain(samples: torch.Tensor, loudness_db: float) -> torch.Tensor | float:
    block = int(0.4 * RATE)
    if len(samples) < block:
        samples = torch.nn.functional.pad(samples, (0, block - len(samples)))
    blocks = samples.unfold(0, block, block // 4)
    energy = samples.new_empty(
        len(blocks)
    )  # filled in place: small results between large passing ones would keep the heap from shrinking
    for rows in pieces(len(blocks), 150):
        energy[rows] = blocks[rows].square().mean(1)
    heard = energy[energy > 1e-7]
    if len(heard) == 0:
        return 1.0
    heard = heard[heard >= 0.1 * heard.mean()]
    return 10 ** (loudness_db / 20) / heard.mean().sqrt()


def power_spectrum(
    samples: torch.Tensor, n_fft: int, window: int, rows: slice | None = None, gain: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """(F, n_fft/2+1) power, Hann window, centred at multiples of 10 ms, zeros beyond the ends; only of `rows` where
    given.

    gain: of the samples.
    """
    rows = rows or slice(0, 1 + len(samples) // HOP)
    first, last = rows.start * HOP - n_fft // 2, (rows.stop - 1) * HOP + n_fft // 2
    part = samples[max(0, first) : last] * gain
    before = max(0, -first)
    part = torch.nn.functional.pad(part, (before, last - first - before - len(part)))
    hann = torch.hann_window(window, device=samples.device)
    return torch.stft(part, n_fft, HOP, window, hann, center=False, return_complex=True).abs().square().T


def pieces(n: int, size: int = PIECE) -> Iterator[slice]:
    """0..n in slices of `size`."""
    return (slice(start, min(n, start + size)) for start in range(0, n, size))


@lru_cache
def mel_filters(n_mels: int, n_fft: int, device: torch.device) -> torch.Tensor:
    """(n_mels, n_fft/2+1) triangles of unit area on Slaney's mel scale, 0 to 8 kHz."""
    edges = torch.tensor(
        [_hz(m) for m in torch.linspace(0, _mel(RATE / 2), n_mels + 2, dtype=torch.float64).tolist()],
        dtype=torch.float64,
    )
    bins = torch.linspace(0, RATE / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return (torch.minimum(rise, fall).clamp(min=0) * area[:, None]).float().to(device)


def _mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


@lru_cache
def dct_matrix(n_out: int, n_in: int, device: torch.device) -> torch.Tensor:
    """(n_out, n_in) orthonormal DCT-II."""
    k, n = torch.arange(n_out, dtype=torch.float64)[:, None], torch.arange(n_in, dtype=torch.float64)[None]
    rows = torch.cos(math.pi / n_in * (n + 0.5) * k) * math.sqrt(2 / n_in)
    rows[0] /= math.sqrt(2)
    return rows.float().to(device)
