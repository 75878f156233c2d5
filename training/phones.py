"""Phones on a clock, and the nearest ARPAbet phone, by lip shape, of any sound that IPA can write."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    def of_ends(cls, name: Sequence[str], end_s: Sequence[float], start_s: float = 0.0) -> Phones:
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
_IPA = {
    # diphthongs and affricates that ARPAbet has as one
    "aʊ": "aw",
    "æʊ": "aw",
    "ɑʊ": "aw",
    "au": "aw",
    "aɪ": "ay",
    "ɑɪ": "ay",
    "ai": "ay",
    "ʌɪ": "ay",
    "aj": "ay",
    "eɪ": "ey",
    "ɛɪ": "ey",
    "ei": "ey",
    "əʊ": "ow",
    "oʊ": "ow",
    "ɔʊ": "ow",
    "ɔɪ": "oy",
    "oɪ": "oy",
    "ɔø": "oy",
    "ɔi": "oy",
    "oi": "oy",
    "tʃ": "ch",
    "dʒ": "jh",
    "tɕ": "ch",
    "dʑ": "jh",
    "tʂ": "ch",
    "dʐ": "jh",
    "ʧ": "ch",
    "ʤ": "jh",
    "ʨ": "ch",
    "ʥ": "jh",
    "ʦ": "t s",
    "ʣ": "d z",
    # vowels: rounding decides, then openness
    "i": "iy",
    "ɪ": "ih",
    "ᵻ": "ih",
    "ɨ": "ih",
    "ɘ": "ih",
    "ɯ": "ih",
    "y": "uw",
    "ʏ": "uh",
    "ʉ": "uw",
    "u": "uw",
    "ʊ": "uh",
    "ɵ": "uh",
    "ø": "uh",
    "e": "eh",
    "ɛ": "eh",
    "ε": "eh",
    "ɤ": "ah",
    "ə": "ax",
    "ɐ": "ah",
    "ʌ": "ah",
    "ɜ": "er",
    "ɝ": "er",
    "ɚ": "er",
    "œ": "er",
    "ɞ": "er",
    "ɶ": "ao",
    "o": "ao",
    "ɔ": "ao",
    "ɒ": "aa",
    "a": "aa",
    "ɑ": "aa",
    "æ": "ae",
    # lips
    "p": "p",
    "b": "b",
    "m": "m",
    "ɓ": "b",
    "ʙ": "b",
    "ɸ": "f",
    "β": "v",
    "f": "f",
    "v": "v",
    "ʋ": "v",
    "ɱ": "v",
    "w": "w",
    "ʍ": "w",
    "ɥ": "w",
    # tongue tip and blade
    "θ": "th",
    "ð": "dh",
    "t": "t",
    "d": "d",
    "ʈ": "t",
    "ɖ": "d",
    "ɗ": "d",
    "n": "n",
    "ɳ": "n",
    "ɲ": "n",
    "s": "s",
    "z": "z",
    "l": "l",
    "ɫ": "l",
    "ɬ": "l",
    "ɮ": "l",
    "ɭ": "l",
    "ʎ": "l",
    "r": "l",
    "ɾ": "l",
    "ɽ": "l",
    "ɺ": "l",
    "ɹ": "r",
    "ɻ": "r",
    "ʃ": "sh",
    "ʒ": "zh",
    "ɕ": "sh",
    "ʑ": "zh",
    "ʂ": "sh",
    "ʐ": "zh",
    "ɧ": "sh",
    # tongue body and throat
    "j": "y",
    "ʝ": "y",
    "ç": "y",
    "k": "k",
    "ɡ": "g",
    "g": "g",
    "c": "k",
    "ɟ": "g",
    "ɠ": "g",
    "q": "k",
    "ɢ": "g",
    "x": "k",
    "χ": "k",
    "ɣ": "g",
    "ɰ": "g",
    "ʁ": "g",
    "ʀ": "g",
    "ŋ": "ng",
    "ɴ": "ng",
    "ʟ": "l",
    "h": "hh",
    "ɦ": "hh",
    "ħ": "hh",
    "ʕ": "hh",
    "ʔ": "hh",
}
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
                f"IPA {plain[0]!r} (U+{ord(plain[0]):04X}) in {ipa!r} has no nearest phone; "
                "add it to training/phones.py"
            )
        phones += _IPA[plain[:size]].split()
        plain = plain[size:]
    return tuple(phones)
