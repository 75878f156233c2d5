"""The code of the watermark's bits, by brute force and against chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from video import protected_bits
from video.protected_bits import CODED, coded, decoded

CONTENT = 0x0123456789ABCDEF


def signs(content: int) -> np.ndarray:
    """0 as +1."""
    return 1 - 2.0 * coded(content)


def test_the_code_is_the_likeliest_of_all_by_brute_force():
    """Ten bits without a check: all 1,024 words compared."""
    generator = np.random.default_rng(0)
    words = np.array(list(itertools.product([0, 1], repeat=10)))
    coded = np.stack([1 - 2.0 * protected_bits._coded_bits(word) for word in words])
    for _ in range(40):
        truth = int(generator.integers(len(words)))
        seen = coded[truth] + generator.normal(0, 1.2, coded[0].shape)
        best = words[np.tensordot(coded, seen, 2).argmax()]
        read = np.unpackbits(np.frombuffer(next(protected_bits._likeliest_words(seen)), np.uint8))[:10]
        assert (read == best).all()


@pytest.mark.parametrize("content", [0, 1, CONTENT, 2**64 - 1])
def test_any_content_is_read_from_its_own_signs(content):
    assert decoded(signs(content)) == content and decoded(0.01 * signs(content)) == content


def test_some_signs_may_be_wrong_and_chance_is_no_content():
    generator = np.random.default_rng(1)
    for _ in range(10):
        assert decoded(np.where(generator.random(CODED) < 0.15, -1, 1) * signs(CONTENT)) == CONTENT
        assert decoded(generator.normal(size=CODED)) is None
    assert decoded(np.zeros(CODED)) is None
