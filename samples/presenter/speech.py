"""Mouth states from phoneme timing: overlapping dominance of neighbouring phonemes (after Cohen and Massaro 1993).

A mouth state is a row of `CHANNELS`, each 0..1 (spread may be negative). The clock is the speech's own, in seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHANNELS = ("jaw", "round", "spread", "upper", "lower", "tuck", "tongue", "close", "press")
N_SHAPED = 7  # blended channels; close and press follow their own rule
REST = np.array([0, 0, 0, 0, 0, 0, 0.1, 1.0, 0.0])
BILABIAL = {"p", "b", "m"}

#: phoneme: jaw, round, spread, upper, lower, tuck, tongue; then how strongly it insists on jaw and on lips.
_TARGETS = {
    "aa": (0.95, 0.00, 0.05, 0.35, 0.35, 0.0, 0.00, 1.0, 0.7),
    "ae": (0.85, 0.00, 0.45, 0.50, 0.45, 0.0, 0.10, 1.0, 0.8),
    "ah": (0.60, 0.05, 0.05, 0.25, 0.25, 0.0, 0.15, 0.7, 0.5),
    "ao": (0.80, 0.55, 0.00, 0.25, 0.25, 0.0, 0.00, 1.0, 1.0),
    "aw": (0.90, 0.20, 0.00, 0.30, 0.30, 0.0, 0.00, 1.0, 0.7),
    "ax": (0.35, 0.05, 0.05, 0.20, 0.20, 0.0, 0.20, 0.4, 0.3),
    "ay": (0.90, 0.00, 0.25, 0.40, 0.40, 0.0, 0.10, 1.0, 0.7),
    "eh": (0.60, 0.00, 0.40, 0.35, 0.35, 0.0, 0.20, 0.8, 0.7),
    "er": (0.35, 0.45, 0.00, 0.25, 0.25, 0.0, 0.40, 0.6, 0.8),
    "ey": (0.50, 0.00, 0.60, 0.40, 0.40, 0.0, 0.30, 0.8, 0.8),
    "ih": (0.36, 0.00, 0.35, 0.30, 0.30, 0.0, 0.40, 0.6, 0.5),
    "iy": (0.26, 0.00, 0.85, 0.45, 0.45, 0.0, 0.50, 0.8, 1.0),
    "ow": (0.55, 0.80, 0.00, 0.15, 0.15, 0.0, 0.05, 0.9, 1.2),
    "oy": (0.60, 0.65, 0.00, 0.20, 0.20, 0.0, 0.05, 0.9, 1.0),
    "uh": (0.35, 0.60, 0.00, 0.15, 0.15, 0.0, 0.20, 0.7, 0.9),
    "uw": (0.25, 1.00, 0.00, 0.12, 0.12, 0.0, 0.30, 0.8, 1.4),
    "w": (0.18, 1.00, 0.00, 0.05, 0.05, 0.0, 0.20, 0.9, 1.6),
    "r": (0.25, 0.55, 0.00, 0.20, 0.25, 0.0, 0.40, 0.6, 0.9),
    "y": (0.20, 0.00, 0.60, 0.30, 0.30, 0.0, 0.60, 0.7, 0.7),
    "l": (0.38, 0.00, 0.15, 0.25, 0.25, 0.0, 1.00, 0.6, 0.3),
    "b": (0.12, 0.00, 0.00, 0.00, 0.00, 0.0, 0.10, 1.2, 0.8),
    "p": (0.12, 0.00, 0.00, 0.00, 0.00, 0.0, 0.10, 1.2, 0.8),
    "m": (0.12, 0.00, 0.05, 0.00, 0.00, 0.0, 0.10, 1.2, 0.8),
    "f": (0.12, 0.00, 0.15, 0.35, 0.00, 1.0, 0.10, 1.2, 1.3),
    "v": (0.12, 0.00, 0.15, 0.35, 0.00, 0.9, 0.10, 1.2, 1.3),
    "s": (0.10, 0.05, 0.45, 0.40, 0.45, 0.0, 0.60, 1.3, 0.8),
    "z": (0.10, 0.05, 0.45, 0.40, 0.45, 0.0, 0.60, 1.3, 0.8),
    "sh": (0.14, 0.75, 0.00, 0.50, 0.50, 0.0, 0.60, 1.2, 1.3),
    "zh": (0.14, 0.75, 0.00, 0.50, 0.50, 0.0, 0.60, 1.2, 1.3),
    "ch": (0.14, 0.70, 0.00, 0.45, 0.45, 0.0, 0.60, 1.2, 1.2),
    "jh": (0.14, 0.70, 0.00, 0.45, 0.45, 0.0, 0.60, 1.2, 1.2),
    "th": (0.22, 0.00, 0.15, 0.25, 0.30, 0.0, 1.00, 0.9, 0.6),
    "dh": (0.22, 0.00, 0.15, 0.25, 0.30, 0.0, 1.00, 0.8, 0.5),
    "t": (0.20, 0.00, 0.15, 0.25, 0.30, 0.0, 0.90, 0.8, 0.3),
    "d": (0.20, 0.00, 0.15, 0.25, 0.30, 0.0, 0.90, 0.8, 0.3),
    "n": (0.22, 0.00, 0.15, 0.25, 0.28, 0.0, 0.90, 0.7, 0.3),
    "ng": (0.30, 0.00, 0.15, 0.25, 0.25, 0.0, 0.30, 0.5, 0.3),
    "k": (0.28, 0.00, 0.10, 0.25, 0.25, 0.0, 0.20, 0.5, 0.3),
    "g": (0.28, 0.00, 0.10, 0.25, 0.25, 0.0, 0.20, 0.5, 0.3),
    "hh": (0.40, 0.00, 0.05, 0.20, 0.20, 0.0, 0.10, 0.3, 0.2),
    "pau": (0.00, 0.00, 0.00, 0.00, 0.00, 0.0, 0.10, 1.0, 0.8),
}
_ONSET_S, _RELEASE_S = 0.075, 0.085  # how long before and after its sound a phoneme still half rules the mouth


@dataclass(frozen=True, slots=True)
class Speech:
    """Phonemes on the speech clock. name: P strings; start, end: (P,) seconds, in order, without gaps."""

    name: tuple[str, ...]
    start: np.ndarray
    end: np.ndarray

    @property
    def duration_s(self) -> float:
        return float(self.end[-1])

    def spans(self, names: set[str]) -> np.ndarray:
        """(K,2) start and end of every phoneme whose name is in `names`."""
        chosen = [k for k, name in enumerate(self.name) if name in names]
        return np.stack([self.start[chosen], self.end[chosen]], 1)

    def mouth(self, t: float) -> np.ndarray:
        """(9,) mouth state at `t` seconds."""
        target = np.array([_TARGETS[name] for name in self.name])
        length = self.end - self.start
        vowel = target[:, 0] > 0.3
        target[:, 0] *= np.where(
            vowel, np.clip(0.72 + 2.8 * (length - 0.06), 0.65, 1.2), 1.0
        )  # short vowels undershoot
        before, after = np.maximum(self.start - t, 0), np.maximum(t - self.end, 0)
        edge = np.minimum(length / 2, 0.04)
        apart = np.maximum(
            before + np.minimum(edge, np.maximum(self.start + edge - t, 0)),
            after + np.minimum(edge, np.maximum(t - self.end + edge, 0)),
        )
        decay = np.exp(
            -np.square(apart / np.where(t < self.start + length / 2, _ONSET_S, _RELEASE_S)) * np.log(2) * 2.2
        )
        state = np.empty(len(CHANNELS))
        for c in range(N_SHAPED):
            insists = target[:, 7] if c in (0, 6) else target[:, 8]
            weight = decay * insists + 1e-9
            state[c] = (weight * target[:, c]).sum() / weight.sum()
        state[7] = max(
            self._ramp(t, self.spans(BILABIAL), 0.055, 0.06, 0.012), self._ramp(t, self.pauses(), 0.16, 0.16, 0.09)
        )
        state[8] = 0.8 * self._ramp(t, self.spans(BILABIAL), 0.05, 0.05, 0.02)
        return state

    def pauses(self) -> np.ndarray:
        """(K,2) start and end of pauses over 0.18 s; the silences before and after the speech reach a second
        further."""
        spans = self.spans({"pau"})
        spans = np.where(spans == 0, -1.0, np.where(spans == self.duration_s, spans + 1.0, spans))
        return spans[spans[:, 1] - spans[:, 0] > 0.18]

    @staticmethod
    def _ramp(t: float, spans: np.ndarray, rise_s: float, fall_s: float, inside_s: float) -> float:
        """1 inside the spans (narrowed by `inside_s` at both ends), falling smoothly to 0 outside."""
        if not len(spans):
            return 0.0
        up = (t - spans[:, 0] - inside_s) / rise_s + 1
        down = (spans[:, 1] - inside_s - t) / fall_s + 1
        x = np.clip(np.minimum(up, down), 0, 1).max()
        return float(x * x * (3 - 2 * x))


def load_phones(path: str | Path) -> Speech:
    """Speech from a JSON file with `phones`: list of [name, end in seconds]. ValueError names an unknown phoneme."""
    rows = json.loads(Path(path).read_text())["phones"]
    unknown = sorted({name for name, _ in rows} - set(_TARGETS))
    if unknown:
        raise ValueError(f"{path}: unknown phonemes {unknown}")
    end = np.array([float(e) for _, e in rows])
    return Speech(tuple(name for name, _ in rows), np.concatenate([[0.0], end[:-1]]), end)


def as_mouth(mouth: np.ndarray | dict[str, float] | None) -> np.ndarray:
    """(9,) mouth state from an array, from named channels (others 0), or at rest from None."""
    if mouth is None:
        return REST.copy()
    if isinstance(mouth, dict):
        return np.array([float(mouth.get(name, 0.0)) for name in CHANNELS])
    return np.asarray(mouth, float)
