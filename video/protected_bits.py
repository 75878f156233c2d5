"""64 bits, a check of 24 more, and a tail-biting convolutional code that protects them (Ma, Wolf: On Tail Biting
Convolutional Codes, IEEE Trans. Communications 34(2), 1986): of rate 1/6, for what is hardly to be made out."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np

_BITS, _CHECK = 64, 24
#: Which of the last bits, the newest on top, make each coded one; how many bits are remembered.
_TAPS, _MEMORY = (0o457, 0o755, 0o551, 0o637, 0o523, 0o727), 8
#: Coded bits of a content.
CODED = len(_TAPS) * (_BITS + _CHECK)
#: Words that are checked.
_WORDS = 8


def coded(content: int) -> np.ndarray:
    """(CODED,) of 0 and 1: the coded bits of a content, of 64 bits."""
    return _coded_bits(np.unpackbits(np.frombuffer(_checked(content.to_bytes(_BITS // 8, "big")), np.uint8))).ravel()


def _coded_bits(bits: np.ndarray) -> np.ndarray:
    """(n,6) of (n,), of 0 and 1."""
    memory = range(_MEMORY + 1)
    register = np.stack([np.roll(bits, k) for k in memory])  # tail-biting: the register begins with the last bits
    return np.stack([register[[k for k in memory if tap >> (_MEMORY - k) & 1]].sum(0) % 2 for tap in _TAPS], -1)


def _checked(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "big")[: _CHECK // 8]


def decoded(soft: np.ndarray) -> int | None:
    """The content of what is known of each coded bit, (CODED,), of any scale: more than 0 for a bit that is 0. None
    where the check holds for none of the likeliest words."""
    if not soft.any():
        return None
    for word in _likeliest_words(soft.reshape(-1, len(_TAPS))):
        data = word[: _BITS // 8]
        if _checked(data) == word:
            return int.from_bytes(data, "big")
    return None


@cache
def _trellis() -> tuple[np.ndarray, np.ndarray]:
    """For each state (the remembered bits, the newest on top) the (S,2) states before it, and the (S,2,6) signs sent on
    the way from them."""
    after = np.arange(1 << _MEMORY)
    before = ((after[:, None] << 1) % len(after)) | np.arange(2)
    register = ((after[:, None] >> (_MEMORY - 1)) << _MEMORY) | before
    sent = np.array([[[bin(r & tap).count("1") % 2 for tap in _TAPS] for r in row] for row in register])
    return before, (1 - 2 * sent).astype(np.float32)


def _likeliest_words(soft: np.ndarray) -> Iterator[bytes]:
    """Of the `_WORDS` likeliest states in which the code may begin and end, the likeliest word through each, the
    likeliest first: Viterbi's algorithm twice around to find the states, once from each to read."""
    before, sent = _trellis()
    gains = np.einsum("nk,sbk->nsb", soft, sent).astype(np.float32)
    gains /= np.abs(gains).max()
    n, score = len(soft), np.zeros(len(before), np.float32)
    for gain in np.concatenate([gains, gains]):
        score = (score[before] + gain).max(-1)
    ends = np.argsort(-score)[:_WORDS]
    every = np.arange(len(ends))
    score = np.full((len(ends), len(before)), -np.inf, np.float32)
    score[every, ends] = 0
    chosen = np.zeros((n, *score.shape), np.uint8)
    for i, gain in enumerate(gains):
        ways = score[:, before] + gain
        chosen[i] = ways[..., 1] > ways[..., 0]
        score = ways.max(-1)
    order = np.argsort(-score[every, ends])
    state, bits = ends.copy(), np.zeros((len(ends), n), np.uint8)
    for i in range(n - 1, -1, -1):
        bits[:, i] = state >> (_MEMORY - 1)
        state = before[state, chosen[i, every, state]]
    return (np.packbits(bits[row]).tobytes() for row in order)
