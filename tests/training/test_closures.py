"""Bilabial closures: constructed lips that close, or do not, at known moments."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lipsync.core.canonical import canonical_68
from lipsync.core.lips import LIPS_FROM_68, LOWER_INNER, UPPER_INNER
from lipsync.core.types import LipTrack
from training import grid
from training.closures import Closures, closures, grid_phones, is_bilabial, smallest_gaps
from video.clock import FrameClock

REST = canonical_68()[LIPS_FROM_68, :2].astype(np.float32)


def lips(gap, valid=None) -> LipTrack:
    """The average lips at 25 frames per second with the inner edges `gap` apart."""
    gap = np.asarray(gap, np.float32)
    points = np.broadcast_to(REST, (len(gap), 18, 2)).copy()
    points[:, LOWER_INNER, 1] = points[:, UPPER_INNER, 1] + gap[:, None]
    return LipTrack(
        points, np.ones(len(gap), bool) if valid is None else valid, FrameClock.constant(len(gap), Fraction(25))
    )


def closed_at(*frames: int, n: int = 75) -> np.ndarray:
    gap = np.full(n, 0.1)
    gap[list(frames)] = 0.001
    return gap


PHONES = [(0.8, 0.8, "b"), (1.6, 1.6, "m"), (2.4, 2.4, "p"), (2.0, 2.1, "s")]


def test_counts_of_windows():
    found = closures(PHONES, lips(closed_at(20)), lips(closed_at(20, 40)))
    assert (found.bilabials, found.real, found.both, found.ours_only) == (3, 2, 1, 0) and found.share == 0.5
    assert closures(PHONES, lips(closed_at(60)), lips(closed_at(20))).ours_only == 1
    both_ways = closures(PHONES, lips(closed_at(20)), lips(closed_at(20))) + found
    assert (both_ways.bilabials, both_ways.real, both_ways.both) == (6, 3, 2)


@pytest.mark.parametrize(("frame", "closes"), [(17, False), (18, True), (22, True), (23, False)])
def test_ours_may_be_one_frame_off_the_window_of_the_real_lips(frame, closes):
    assert closures(PHONES[:1], lips(closed_at(frame)), lips(closed_at(21))).both == closes
    assert closures(PHONES[:1], lips(closed_at(20)), lips(closed_at(frame))).real == (frame in (19, 20, 21))


def test_lips_that_never_open_are_caught_by_the_false_share():
    real = lips(closed_at(20, 40, 60))
    always = closures(PHONES, lips(np.zeros(75)), real)
    assert always.share == 1 and always.false_share == 1 and always.open == 73 - 9
    assert closures(PHONES, real, real).false_share == 0


def test_windows_without_visible_lips_are_left_out():
    valid = np.ones(75, bool)
    valid[22] = False
    assert closures(PHONES, lips(closed_at(20)), lips(closed_at(20, 40), valid)).bilabials == 2
    assert closures([(5.0, 5.0, "b")], lips(closed_at(3)), lips(closed_at(3))).bilabials == 0
    assert Closures().share == 1 and Closures().false_share == 0


def test_any_clock_and_sounds_that_last():
    """100 rows per second, a /m/ of 0.2 s with lips together only in its middle."""
    gap = np.full(200, 0.1)
    gap[108:112] = 0
    track = LipTrack(lips(gap).points, np.ones(200, bool))
    found = closures([(1.0, 1.2, "M"), (1.5, 1.6, "AA1")], track, track)
    assert (found.bilabials, found.real, found.both) == (1, 1, 1)
    assert smallest_gaps([(1.0, 1.2, "M"), (1.5, 1.6, "p")], track) == pytest.approx([0, 0.1], abs=1e-6)
    with pytest.raises(ValueError, match="one clock"):
        closures(PHONES, lips(gap[:50]), track)


def test_names_of_bilabials():
    assert all(is_bilabial(name) for name in ("p", "B", "m", "pʰ", "mː", "m̩", "bʲ"))
    assert not any(is_bilabial(name) for name in ("pau", "f", "n", "", "sil", "w"))


def test_grid_words(tmp_path):
    path = tmp_path / "bbam2p.align"
    path.write_text(
        "0 17250 sil\n17250 22500 bin\n22500 26500 blue\n"
        "26500 28500 at\n28500 33000 m\n33000 38000 two\n38000 47250 please\n"
    )
    words = grid.words(path)
    assert words[1] == (0.69, 0.9, "bin") and len(words) == 7
    assert grid_phones(words) == [(0.69, 0.69, "b"), (0.9, 0.9, "b"), (1.32, 1.32, "m"), (1.52, 1.52, "p")]
