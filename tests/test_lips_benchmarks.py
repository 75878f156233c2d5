"""The benchmarks of speech to lips: their measures on constructed lips, and their rows on a few real clips where those exist."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from benchmarks import lips_grid
from lipsync.face.canonical import canonical_68
from lipsync.lips import LIPS_FROM_68, LOWER_INNER, UPPER_INNER, opening
from lipsync.types import LipTrack
from training.closures import Closures
from video.frames import FrameClock

REST = canonical_68()[LIPS_FROM_68, :2].astype(np.float32)


def lips(gap: np.ndarray) -> LipTrack:
    points = np.broadcast_to(REST, (len(gap), 18, 2)).copy()
    points[:, LOWER_INNER, 1] = points[:, UPPER_INNER, 1] + gap[:, None].astype(np.float32)
    return LipTrack(points, np.ones(len(gap), bool), FrameClock.constant(len(gap), Fraction(25)))


def clip(gap: np.ndarray, bilabials=()) -> lips_grid.Clip:
    return lips_grid.Clip(None, lips(gap), np.ones(len(gap), bool), tuple(bilabials))


def test_a_constant_offset_and_half_the_movement_are_told_apart():
    gap = 0.05 + 0.05 * np.sin(np.arange(75) / 3)
    real = lips(gap)
    shifted = lips_grid.compared(lips_grid.moved(real, np.float32([0.03, 0.04])), real)
    assert shifted["lmd"] == pytest.approx(0.05, rel=1e-4) and shifted["lmd_centred"] < 1e-6 and shifted["opening_r"] > 0.9999
    half = lips_grid.compared(lips(gap / 2), real)
    assert half["articulation"] == pytest.approx(0.5, rel=1e-3) and half["opening_r"] > 0.9999
    assert lips_grid.compared(lips_grid.still(REST, clip(gap)), real)["opening_r"] == 0


def test_rows_come_with_closures_only_where_words_are_known():
    gap = np.full(75, 0.1)
    gap[20] = 0
    known, unknown = clip(gap, [(0.8, 0.8, "b")]), clip(gap)
    out = lips_grid.measured([known.lips, lips(np.full(75, 0.1) + 0.01 * np.arange(75))], [known, clip(gap, [(0.8, 0.8, "b")])])
    assert out["lmd"]["n"] == 2 and (out["closures"]["real"], out["closures"]["both"], out["closures"]["share"]) == (2, 1, 0.5)
    assert out["closures"]["low"] == 0 and out["closures"]["high"] == 1
    assert "closures" not in lips_grid.measured([unknown.lips], [unknown])


def test_the_interval_of_closures_is_over_clips():
    sure = lips_grid.closure_summary([Closures(2, 2, 2, 0, 10, 1)] * 5)
    assert sure["share"] == sure["low"] == sure["high"] == 1 and sure["real"] == 10 and sure["false_share"] == pytest.approx(0.1)


def test_the_control_is_another_clip():
    clips = [clip(np.full(75, g)) for g in (0.1, 0.2, 0.3)]
    assert [opening(t.points).mean() for t in lips_grid.next_clips(clips)] == pytest.approx([0.2, 0.3, 0.1])
