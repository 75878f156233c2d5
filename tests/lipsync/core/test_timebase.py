"""Clocks: positions are exact, interpolation stays inside shots, the output has exactly the frames it should."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lipsync.core.timebase import (
    feature_position,
    lips_at,
    nominal_rate,
    output_clock,
    shot_at_features,
    to_feature_clock,
    voiced_at,
)
from lipsync.core.types import LipTrack
from video.clock import FrameClock

NTSC = Fraction(30000, 1001)


def ramp(n: int, step: float = 1.0, start: float = 0.0) -> np.ndarray:
    """(n,18,2) lips whose every number is start + step * row."""
    return (start + step * np.arange(n, dtype=np.float32))[:, None, None] * np.ones((1, 18, 2), np.float32)


def test_an_hour_of_ntsc_does_not_drift():
    clock = FrameClock.constant(107892, NTSC)
    whole, part = feature_position(clock)
    for i in (1, 1001, 107891):
        exact = Fraction(i * 100) / NTSC
        assert whole[i] == exact.numerator // exact.denominator
        assert abs(part[i] - float(exact - int(whole[i]))) < 1e-12
    assert len(output_clock(Fraction(3600), clock)) == 107892
    assert output_clock(Fraction(3600), clock).duration_s == 107892 / NTSC


def test_lips_at_frames_are_interpolated_in_time():
    track = LipTrack(ramp(400), np.ones(400, bool))
    clock = FrameClock.constant(90, NTSC)
    got = lips_at(track, clock)
    assert got.clock is clock and got.valid.all()
    assert np.abs(got.points[:, 3, 1] - np.arange(90) * 100 / float(NTSC)).max() < 1e-3


def test_variable_rate_and_a_clock_that_does_not_start_at_zero():
    clock = FrameClock(np.array([900, 1000, 1300, 1310], np.int64), Fraction(1, 1000), 1350)
    got = lips_at(LipTrack(ramp(60), np.ones(60, bool)), clock)
    assert got.points[:, 0, 0] == pytest.approx([0, 10, 40, 41])


def test_a_frame_is_valid_only_between_valid_features_and_the_end_is_held():
    valid = np.ones(11, bool)
    valid[4] = False
    got = lips_at(LipTrack(ramp(11), valid), FrameClock.constant(5, Fraction(25)))
    assert got.valid.tolist() == [True, False, True, True, True]
    assert got.points[-1, 0, 0] == 10
    shifted = lips_at(LipTrack(ramp(11), valid), FrameClock.constant(4, Fraction(30)))
    assert shifted.valid.tolist() == [True, False, True, True]


def test_to_features_and_back_is_the_same():
    clock = FrameClock.constant(50, NTSC)
    curve = np.cumsum(np.random.default_rng(0).normal(size=(50, 18, 2)), 0).astype(np.float32)
    lips = LipTrack(curve, np.ones(50, bool), clock)
    fine = to_feature_clock(LipTrack(ramp(50), np.ones(50, bool), clock), 160)
    inside = np.arange(160) <= 49 * 100 / float(NTSC)
    assert (fine.valid == inside).all()
    assert np.abs(fine.points[inside, 0, 0] - np.arange(160)[inside] * float(NTSC) / 100).max() < 1e-3
    even = FrameClock.constant(50, Fraction(25))
    back = lips_at(to_feature_clock(LipTrack(lips.points, lips.valid, even), 200), even)
    assert back.valid.all() and np.abs(back.points - curve).max() < 1e-5


def test_nothing_is_interpolated_across_a_cut_or_a_lost_face():
    clock = FrameClock.constant(6, Fraction(25))
    valid = np.array([1, 1, 1, 1, 0, 1], bool)
    fine = to_feature_clock(LipTrack(ramp(6), valid, clock), 24, np.array([0, 0, 1, 1, 1, 1]))
    usable = [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 20]
    assert np.flatnonzero(fine.valid).tolist() == usable
    assert fine.points[usable, 0, 0] == pytest.approx(np.array(usable) / 4)
    assert shot_at_features(np.array([0, 0, 1, 1, 1, 1]), clock, 24).tolist() == [0] * 8 + [1] * 16


def test_voice_at_frames():
    voice = np.zeros(20, bool)
    voice[4:8] = True
    assert voiced_at(voice, FrameClock.constant(7, Fraction(25))).tolist() == [
        False,
        True,
        False,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "duration_s,rate,n",
    [(Fraction(3), 25, 75), (Fraction(1, 100), 25, 1), (Fraction(2977, 1000), 25, 74), (Fraction(10), NTSC, 300)],
)
def test_output_frames(duration_s, rate, n):
    assert len(output_clock(duration_s, FrameClock.constant(40, Fraction(rate)))) == n


def test_output_keeps_the_targets_base_and_period():
    like = FrameClock(np.arange(40, dtype=np.int64) * 3003 + 777, Fraction(1, 90000), 777 + 40 * 3003)
    got = output_clock(Fraction(2), like)
    assert got.base == like.base and got.pts[0] == 0 and (np.diff(got.pts) == 3003).all() and len(got) == 60


def test_nominal_rate_of_rounded_and_of_variable_stamps():
    stamps = np.round(np.arange(300) * 1001 / 30).astype(np.int64)
    rounded = FrameClock(stamps, Fraction(1, 1000), 10010)
    assert nominal_rate(rounded) == NTSC
    got = output_clock(Fraction(10), rounded)
    assert len(got) == 300 and got.rate == NTSC
    variable = FrameClock(np.cumsum(np.r_[0, np.tile([20, 60], 50)]).astype(np.int64), Fraction(1, 1000), 4040)
    assert nominal_rate(variable) == 25


def test_a_constant_clock_with_frames_left_out_keeps_its_rate():
    pts = np.delete(np.arange(40, dtype=np.int64), [1, 2, 20])
    assert nominal_rate(FrameClock(pts, Fraction(1, 25), 40)) == 25
    assert nominal_rate(FrameClock(pts * 3003, Fraction(1, 90000), 40 * 3003)) == NTSC


def stamped(times_s, base=Fraction(1, 1000)):
    """The clock of these moments, rounded to its base; the last frame lasts 1/30 s."""
    pts = np.round(np.asarray(times_s) / float(base)).astype(np.int64)
    return FrameClock(pts, base, int(pts[-1]) + round(Fraction(1, 30) / base))


def test_holds_and_jitter_do_not_slow_the_rate():
    even, rng = np.arange(180) / 30, np.random.default_rng(0)
    hold = even + 4.987 * (np.arange(180) >= 90)
    assert nominal_rate(stamped(hold)) == 30  # the mean is 16.4
    assert nominal_rate(stamped(np.arange(180) * 1.001 / 30 + 2 * (np.arange(180) >= 50))) == NTSC
    dropped = even[(even < 2) | (even >= 4) | (np.arange(180) % 4 == 0)]
    assert nominal_rate(stamped(dropped)) == 30  # the mean is 22.4
    for _ in range(20):
        jitter = even + rng.uniform(-0.0015, 0.0015, 180) + 1.5 * (np.arange(180) >= 90)
        assert nominal_rate(stamped(jitter, Fraction(1, 90000))) == 30
    exact = FrameClock(np.r_[0:40, 57:90].astype(np.int64) * 3003 + 700, Fraction(1, 90000), 90 * 3003 + 700)
    assert nominal_rate(exact) == NTSC


def test_an_even_mixture_of_steps_has_its_mean_rate():
    film_in_thirtieths = FrameClock(np.cumsum([0, *[1, 1, 1, 2] * 30]).astype(np.int64), Fraction(1, 30), 151)
    assert nominal_rate(film_in_thirtieths) == 24
