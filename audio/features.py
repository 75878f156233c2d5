"""What a network hears: 100 feature vectors a second.

Default: the 28 numbers of Suwajanakorn et al. 2017: 13 MFCC and the log mean energy of loudness-normalised speech, and their first
differences.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch

from audio.load import RATE, Waveform
from audio.selfsupervised import PREFIX, parsed_kind, self_supervised_features

FEATURE_RATE = 100
HOP = RATE // FEATURE_RATE


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """How sound becomes numbers. kind: "mfcc" (n_mfcc + log mean energy) or "logmel" (n_mels) or "ssl:NAME", "ssl:NAME:LAYER" of
    `audio.selfsupervised`, which only heeds loudness_db; floor_db: quieter than this is not heard."""

    kind: str = "mfcc"
    n_mels: int = 40
    n_mfcc: int = 13
    differences: bool = True
    window_s: float = 0.025
    n_fft: int = 512
    loudness_db: float = -23.0
    floor_db: float = -75.0

    def __post_init__(self) -> None:
        if self.kind.startswith(PREFIX):
            parsed_kind(self.kind)
        elif self.kind not in ("mfcc", "logmel"):
            raise ValueError(f'FeatureSpec.kind is "mfcc", "logmel" or "{PREFIX}NAME", got {self.kind!r}')

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> FeatureSpec:
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """values: (F,D) float32 torch; feature f is centred at f / FEATURE_RATE seconds."""

    values: torch.Tensor
    spec: FeatureSpec

    def __len__(self) -> int:
        return len(self.values)


def speech_features(wave: Waveform, spec: FeatureSpec = FeatureSpec()) -> AudioFeatures:
    """(F,D) features, F = 1 + S // 160, on the device of `wave.samples`."""
    samples = loudness_normalised(wave.samples, spec.loudness_db)
    if spec.kind.startswith(PREFIX):
        return AudioFeatures(self_supervised_features(samples, spec.kind), spec)
    power = power_spectrum(samples, spec.n_fft, round(spec.window_s * RATE))
    floor = 10 ** (spec.floor_db / 10)
    log_mel = torch.log(power @ mel_filters(spec.n_mels, spec.n_fft, power.device).T + floor)
    if spec.kind == "logmel":
        values = log_mel
    else:
        cepstrum = log_mel @ dct_matrix(spec.n_mfcc, spec.n_mels, power.device).T
        values = torch.cat([cepstrum, torch.log(power.mean(1, keepdim=True) + floor)], 1)
    if spec.differences:
        values = torch.cat([values, torch.diff(values, dim=0, prepend=values[:1])], 1)
    return AudioFeatures(values.float(), spec)


def loudness_normalised(samples: torch.Tensor, loudness_db: float = -23.0) -> torch.Tensor:
    """(S,) scaled so that its louder parts have this RMS level; silence stays silence.

    Level: RMS over 0.4 s blocks, gated like ITU-R BS.1770 (absolute gate -70 dB, relative gate 10 dB under the mean), unweighted.
    """
    block = int(0.4 * RATE)
    padded = torch.nn.functional.pad(samples, (0, max(0, block - len(samples))))
    energy = padded.unfold(0, block, block // 4).square().mean(1)
    heard = energy[energy > 1e-7]
    if len(heard) == 0:
        return samples
    heard = heard[heard >= 0.1 * heard.mean()]
    return samples * (10 ** (loudness_db / 20) / heard.mean().sqrt())


def power_spectrum(samples: torch.Tensor, n_fft: int, window: int) -> torch.Tensor:
    """(F, n_fft/2+1) power, Hann window, centred at multiples of 10 ms, zeros beyond the ends."""
    hann = torch.hann_window(window, device=samples.device)
    return torch.stft(samples, n_fft, HOP, window, hann, center=True, pad_mode="constant", return_complex=True).abs().square().T


@lru_cache
def mel_filters(n_mels: int, n_fft: int, device: torch.device) -> torch.Tensor:
    """(n_mels, n_fft/2+1) triangles of unit area on Slaney's mel scale, 0 to 8 kHz."""
    edges = torch.tensor([_hz(m) for m in torch.linspace(0, _mel(RATE / 2), n_mels + 2, dtype=torch.float64).tolist()], dtype=torch.float64)
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
