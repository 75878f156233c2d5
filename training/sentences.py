"""Texts for synthetic speakers: sentences of the GRID corpus' grammar, everyday English, and numbers for other languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Words of each place in a GRID sentence (Cooke et al. 2006).
GRID_WORDS = (
    ("bin", "lay", "place", "set"), ("blue", "green", "red", "white"), ("at", "by", "in", "with"), tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), ("again", "now", "please", "soon"),
)
#: Letters that a synthesiser would not read as British speakers name them.
_SPELLED = {"a": "eigh", "z": "zed"}


def text_of_grid(words: Sequence[str]) -> str:
    """What a synthesiser must be given to say these words of a GRID sentence; the fourth is a letter."""
    return " ".join(_SPELLED.get(word, word) for word in words)


def words_of(align: str | Path) -> list[tuple[str, float, float]]:
    """Word, start and end in seconds of each word of a GRID `.align` file (1/25,000 s), silences left out."""
    rows = [line.split() for line in Path(align).read_text().splitlines() if line.strip()]
    return [(word, int(start) / 25000, int(end) / 25000) for start, end, word in rows if word not in ("sil", "sp")]


def sentence_of(align: str | Path) -> str:
    """What a synthesiser must be given to say what a GRID clip says, from the clip's `.align` file."""
    return text_of_grid([word for word, _, _ in words_of(align)])


_CODES = tuple({word[0]: word for word in words} for words in GRID_WORDS[:3])


def sentence_of_name(clip: str) -> str:
    """The same from the name of a clip, "bbaf2n" = bin blue at f two now."""
    stem = Path(clip).stem
    digit = GRID_WORDS[4][0 if stem[4] == "z" else int(stem[4])]
    last = {word[0]: word for word in GRID_WORDS[5]}[stem[5]]
    return text_of_grid([*(codes[letter] for codes, letter in zip(_CODES, stem)), stem[3], digit, last])


def grid_sentence(dice: np.random.Generator) -> str:
    """A random sentence of the GRID grammar, as a synthesiser must be given it."""
    return text_of_grid([words[dice.integers(len(words))] for words in GRID_WORDS])
