"""Phones on a clock, and the nearest ARPAbet phone, by lip shape, of any sound that IPA can write."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from audio.features import FEATURE_RATE

#: Lower-case ARPAbet as flite writes it, silence first; the numbers of `Phones.at` index this.
PHONES = (
    "pau",
    "aa",
    "ae",
    "ah",
    "ao",
    "aw",
    "ax",
    "ay",
    "b",
    "ch",
    "d",
    "dh",
    "eh",
    "er",
    "ey",
    "f",
    "g",
    "hh",
    "ih",
    "iy",
    "jh",
    "k",
    "l",
    "m",
    "n",
    "ng",
    "ow",
    "oy",
    "p",
    "r",
    "s",
    "sh",
    "t",
    "th",
    "uh",
    "uw",
    "v",
    "w",
    "y",
    "z",
    "zh",
)
SILENCE = "pau"
BILABIALS = frozenset("pbm")
DIPHTHONGS = frozenset({"aw", "ay", "ey", "ow", "oy"})
VOWELS = frozenset({"aa", "ae", "ah", "ao", "ax", "eh", "er", "ih", "iy", "uh", "uw"}) | DIPHTHONGS
_NUMBER = {name: number for number, name in enumerate(PHONES)}


@dataclass(frozen=True, slots=True)
class Phones:
    """What is said when. name: P of PHONES; start_s, end_s: (P,) float64 seconds, in order, without gaps, each longer
    than nothing."""

    name: tuple[str, ...]
    start_s: np.ndarray
    end_s: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.name) == len(self.start_s) == len(self.end_s) or not self.name:
            raise ValueError(f"Phones: {len(self.name)} names, {len(self.start_s)} starts, {len(self.end_s)} ends")
        unknown = sorted(set(self.name) - set(PHONES))
        if unknown:
            raise ValueError(f"Phones: {unknown} are not in PHONES")
        if (self.end_s <= self.start_s).any() or (self.start_s[1:] != self.end_s[:-1]).any():
            raise ValueError("Phones must follow each other without gaps, each longer than nothing")

    def __len__(self) -> int:
        return len(self.name)

    @classmethod
    def of_ends(cls, name: Sequence[str], end_s: Sequence[float] | np.ndarray, start_s: float = 0.0) -> Phones:
        """Phones that follow each other from `start_s`; those of no length are left out, repeated silence is one."""
        names: list[str] = []
        ends: list[float] = []
        for one, end in zip(name, end_s, strict=True):
            if end <= (ends[-1] if ends else start_s):
                continue
            if names and one == SILENCE == names[-1]:
                ends[-1] = float(end)
            else:
                names.append(one)
                ends.append(float(end))
        edges = np.array([start_s, *ends], np.float64)
        return cls(tuple(names), edges[:-1], edges[1:])

    @property
    def number(self) -> np.ndarray:
        """(P,) int64 index of each phone in PHONES."""
        return np.array([_NUMBER[name] for name in self.name])

    def at(self, n_rows: int) -> np.ndarray:
        """(n_rows,) int64 index in PHONES of what sounds at row/100 s; silence outside."""
        seconds = (np.arange(n_rows) + 1e-6) / FEATURE_RATE
        index = np.searchsorted(self.end_s, seconds, side="right")
        inside = (index < len(self)) & (seconds >= self.start_s[0])
        return np.where(inside, self.number[np.minimum(index, len(self) - 1)], 0)


#: IPA, longest first wins: where one symbol is one phone, or is best shown by a pair of them.
_IPA: dict[str, str] = tomllib.loads(Path(__file__).with_name("ipa.toml").read_text(encoding="utf-8"))
_LONGEST = max(map(len, _IPA))


@lru_cache(maxsize=4096)
def arpabet_of(ipa: str) -> tuple[str, ...]:
    """The phones nearest in lip shape to one IPA sound, in order; none for what has no sound of its own (stress,
    length, tone).

    Marks on letters are dropped (nasal vowels, palatal consonants, ...); a letter not known makes ValueError.
    """
    letters = unicodedata.normalize("NFD", ipa).replace("c\u0327", "\u00e7")
    plain = "".join(c for c in letters if unicodedata.category(c) in ("Ll", "Lu", "Lo"))
    phones: list[str] = []
    while plain:
        size = next((n for n in range(min(_LONGEST, len(plain)), 0, -1) if plain[:n] in _IPA), 0)
        if not size:
            raise ValueError(
                f"IPA {plain[0]!r} (U+{ord(plain[0]):04X}) in {ipa!r} has no nearest phone; add it to training/ipa.toml"
            )
        phones += _IPA[plain[:size]].split()
        plain = plain[size:]
    return tuple(phones)
