"""What a speech encoder is: sound in, rows of numbers that a lip network reads out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from audio.features import AudioFeatures, FeatureRows, FeatureSpec
from audio.load import Waveform


class Rows(Protocol):
    """(F,D) rows that are made when they are asked for; rows[a:b] is (b - a, D) float32 on the CPU and the same as that
    part of rows[:]. An hour of them at once would be hundreds of MB."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> torch.Tensor: ...


class SpeechEncoder(Protocol):
    """Sound to rows. An encoder that names this as its base has `encode` from it.

    name: as in `lips.encoder`; identity: changes whenever the same sound would give other numbers; rate: rows a
    second that it makes by itself (all are handed out on the feature clock, 100 a second); size: numbers a row;
    latency_s: how much of the sound after a row must be known; varies: whether its rows are log-mel bands, which
    training may change as another voice, microphone or room would."""

    name: str
    identity: str
    rate: int
    size: int
    latency_s: float
    varies: bool

    def rows(self, wave: Waveform) -> Rows:
        """(F,D), F = 1 + S // 160."""
        ...

    def encode(self, wave: Waveform) -> AudioFeatures:
        """All of them at once."""
        return AudioFeatures(self.rows(wave)[:])


class Acoustic(SpeechEncoder):
    """Plain signal processing: log-mel bands, or the 28 numbers of Suwajanakorn et al. 2017 (audio/features.py)."""

    rate = 100

    def __init__(self, name: str, spec: FeatureSpec) -> None:
        self.name, self.spec = name, spec
        self.identity, self.size = f"{name} {sorted(spec.to_dict().items())}", spec.size
        self.latency_s, self.varies = spec.window_s / 2, spec.kind == "logmel"

    def rows(self, wave: Waveform) -> FeatureRows:
        return FeatureRows(wave, self.spec)


class Joint(SpeechEncoder):
    """Several encoders' rows side by side: networks that hear by one of them each can then be averaged."""

    rate, varies = 100, False

    def __init__(self, name: str, parts: Sequence[SpeechEncoder]) -> None:
        self.name, self.parts = name, tuple(parts)
        self.identity = f"{name}: {'; '.join(part.identity for part in parts)}"
        self.size = sum(part.size for part in parts)
        self.latency_s = max(part.latency_s for part in parts)

    def rows(self, wave: Waveform) -> JointRows:
        return JointRows([part.rows(wave) for part in self.parts])


class JointRows:
    """Rows of one length, side by side."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: slice) -> torch.Tensor:
        return torch.cat([part[rows].cpu() for part in self.parts], 1)


class OnFeatureClock:
    """(F,D) rows at 100 a second of an encoder that makes 50: row 2k is its row k, the rows between are means of their
    neighbours. make(a, b): its rows a to b - 1."""

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size

    def __len__(self) -> int:
        return self.n

    def make(self, first: int, after: int) -> torch.Tensor:
        """(after - first, D) of the encoder's own rows; 0 <= first < after <= (F + 1) // 2."""
        raise NotImplementedError

    def __getitem__(self, rows: slice) -> torch.Tensor:
        start, stop, _ = rows.indices(self.n)
        if stop <= start:
            return torch.zeros(0, self.size)
        n_own = (self.n + 1) // 2
        first, after = start // 2, min(n_own, (stop - 1) // 2 + 2)
        own = self.make(first, after)
        wanted = torch.arange(start, stop)
        low = wanted // 2 - first
        high = (low + wanted % 2).clamp(max=len(own) - 1)
        return (own[low] + own[high]) / 2
