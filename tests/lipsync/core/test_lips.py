"""The lip basis, and closing the mouth in silence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lipsync.core.canonical import canonical_68
from lipsync.core.lips import (
    LIPS_FROM_68,
    LOWER_INNER,
    UPPER_INNER,
    LipBasis,
    close_when_silent,
    opening,
    rest_shape,
    uncrossed,
    with_every_closure,
)
from lipsync.core.timebase import lips_at
from lipsync.core.types import LipTrack
from video.clock import FrameClock

REST = canonical_68()[LIPS_FROM_68, :2].astype(np.float32)


def opened(gap: np.ndarray | float) -> np.ndarray:
    """(...,18,2) the average lips with the inner edges `gap` apart."""
    gap = np.asarray(gap, np.float32)
    lips = np.broadcast_to(REST, (*gap.shape, 18, 2)).copy()
    lips[..., LOWER_INNER, 1] = lips[..., UPPER_INNER, 1] + gap[..., None]
    return lips


def test_basis_finds_the_two_ways_lips_were_moved():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(36, 2)))[0].T
    amounts = rng.normal(size=(300, 2)) * [0.1, 0.03]
    points = (REST.reshape(36) + amounts @ axes).reshape(-1, 18, 2).astype(np.float32)
    valid = np.ones(300, bool)
    points[::7], valid[::7] = 99, False
    basis = LipBasis.fit(points, valid, 2)
    assert np.abs(basis.decode(basis.encode(points[valid])) - points[valid]).max() < 1e-5
    assert abs(abs(basis.components[0].reshape(36) @ axes[0]) - 1) < 1e-2
    assert basis.encode(points[valid]).std(0) == pytest.approx(basis.spread, rel=1e-3)
    assert len(LipBasis.fit(points[:3], np.ones(3, bool), 20).components) == 3


def test_crossed_lips_meet_and_others_stay():
    assert np.array_equal(uncrossed(opened(0.05)), opened(0.05))
    fixed = uncrossed(opened(-0.04))
    assert opening(fixed) == pytest.approx(0, abs=1e-6) and (fixed[LOWER_INNER, 1] >= fixed[UPPER_INNER, 1]).all()
    assert np.array_equal(
        np.delete(fixed, [*UPPER_INNER, *LOWER_INNER], 0), np.delete(opened(0), [*UPPER_INNER, *LOWER_INNER], 0)
    )


def test_rest_is_the_closed_mouth_of_the_silent_frames():
    gap = np.r_[np.full(50, 0.2), np.full(50, 0.01), np.full(20, 0.1), 0.0]
    voiced = np.r_[np.ones(50, bool), np.zeros(70, bool), True]
    assert opening(rest_shape(opened(gap), np.ones(121, bool), voiced)) == pytest.approx(0.01, abs=1e-4)
    assert opening(rest_shape(opened(gap), np.ones(121, bool), np.ones(121, bool))) < 0.02
    with pytest.raises(ValueError, match="no valid"):
        rest_shape(opened(gap), np.zeros(121, bool), voiced)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(60000, 1001), None])
def test_mouth_closes_in_pauses_without_a_step(rate):
    per_s = float(rate or 100)
    n = round(6 * per_s)
    clock = FrameClock.constant(n, rate) if rate else None
    t = np.arange(n) / per_s
    voiced = ((t >= 1) & (t < 2)) | ((t >= 2.15) & (t < 3)) | ((t >= 4) & (t < 5))
    lips = LipTrack(opened(np.full(n, 0.3)), np.ones(n, bool), clock)
    rest = opened(0.0)
    got = close_when_silent(lips, voiced, rest)
    gap = opening(got.points)
    for inside in ((t < 0.5), (t > 3.2) & (t < 3.5), (t > 5.2)):
        assert np.array_equal(got.points[inside], np.broadcast_to(rest, got.points[inside].shape))
    assert gap[voiced] == pytest.approx(0.3) and gap[(t >= 2) & (t < 2.15)] == pytest.approx(0.3)
    assert gap[(t > 3.72) & (t < 4)] == pytest.approx(0.3)
    assert np.abs(np.diff(gap)).max() < 0.3 * 1.6 / (0.14 * per_s)


def test_silence_alone_is_a_closed_mouth():
    lips = LipTrack(opened(np.linspace(0, 0.3, 75)), np.zeros(75, bool), FrameClock.constant(75, Fraction(25)))
    got = close_when_silent(lips, np.zeros(75, bool), opened(0.0))
    assert (got.points == opened(0.0)).all() and got.valid.all()


@pytest.mark.parametrize("first", range(20, 32))
def test_a_closure_between_two_frames_shows_in_the_nearer_one(first):
    """Three rows closed: at ten frames a second most of them fall between frames."""
    gap = np.full(60, 0.1)
    gap[first : first + 3] = 0.01, 0.005, 0.01
    predicted = LipTrack(opened(gap), np.ones(60, bool))
    clock = FrameClock.constant(6, 10)
    shown = with_every_closure(lips_at(predicted, clock), predicted, opened(0.0))
    closed = np.flatnonzero(opening(shown.points) < 0.015)
    assert closed.tolist() == [round((first + 1) / 10)]
    others = np.setdiff1d(np.arange(6), closed)
    assert np.allclose(opening(shown.points)[others], 0.1, atol=0.001)
