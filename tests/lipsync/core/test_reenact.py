"""An actor's lips on another person: rest on rest, range on range, nothing smoothed."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lipsync.core.lips import CLOSED_GAP, LOWER_INNER, UPPER_INNER, opening
from lipsync.core.reenact import EASE_S, LipRange, as_person, lips_at_moments, lost_spans
from lipsync.core.types import LipTrack
from video.clock import FrameClock


def mouth(gap, widening=0.0, width=0.6, lift=0.0):
    """(18,2) lips: an ellipse of points with this gap between the inner edges."""
    angle = np.pi - 2 * np.pi * np.arange(12) / 12
    lips = np.zeros((18, 2))
    lips[:12] = np.stack([(width + widening) / 2 * np.cos(angle), -(0.08 + gap / 2) * np.sin(angle)], -1)
    for k, (up, low) in enumerate(zip(UPPER_INNER, LOWER_INNER, strict=True)):
        lips[up] = lips[low] = [(k - 1) * (width + widening) / 6, 0]
        lips[up, 1], lips[low, 1] = -gap / 2, gap / 2
    return lips + np.array([0, lift])


def speaking(scale=1.0, n=200, **how):
    t = np.arange(n) / 25
    gaps, wide = scale * 0.1 * np.maximum(0, np.sin(9 * t)), scale * 0.04 * np.sin(5 * t)
    return np.stack([mouth(g, w, **how) for g, w in zip(gaps, wide, strict=True)]).astype(np.float32)


def range_of(points, rest, seen_s=1e6):
    return LipRange.of(points, rest, seen_s)


def test_the_same_person_is_left_alone():
    lips = speaking()
    own = range_of(lips, mouth(0))
    np.testing.assert_allclose(as_person(lips, own, own), lips, atol=1e-6)


@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_rest_and_range_become_the_persons(scale):
    actor, person = speaking(), speaking(scale, width=0.7, lift=0.1)
    got = as_person(actor, range_of(actor, mouth(0)), range_of(person, mouth(0, width=0.7, lift=0.1)))
    np.testing.assert_allclose(got[0], mouth(0, width=0.7, lift=0.1), atol=1e-6)
    assert np.abs(np.quantile(opening(got), 0.9) - np.quantile(opening(person), 0.9)) < 0.004
    assert np.corrcoef(opening(got), opening(actor))[0, 1] > 0.99
    width = lambda lips: lips[:, 6, 0] - lips[:, 0, 0]
    assert np.abs(np.ptp(width(got)) - np.ptp(width(person))) < 0.01 and np.abs(width(got) - width(person)).max() < 0.01


def test_closed_stays_closed_and_wider_is_never_narrower():
    actor, wide_talker = speaking(), speaking(1.9)
    gaps = np.linspace(-0.01, 0.12, 100)
    got = as_person(np.stack([mouth(g) for g in gaps]), range_of(actor, mouth(0)), range_of(wide_talker, mouth(0.0)))
    assert (opening(got)[gaps <= CLOSED_GAP] <= CLOSED_GAP + 1e-6).all() and opening(got)[-1] > 0.18
    assert (np.diff(opening(got)) >= -1e-6).all()


def test_a_face_that_hardly_moves_tells_no_range():
    lips, still = speaking(), speaking(0.05)
    got = as_person(lips, range_of(lips, mouth(0)), range_of(still, mouth(0)))
    np.testing.assert_allclose(got, lips, atol=1e-6)
    assert range_of(lips[:0], mouth(0)).opens == 0


def track(points, valid=None, rate=25):
    n = len(points)
    return LipTrack(points, np.ones(n, bool) if valid is None else valid, FrameClock.constant(n, Fraction(rate)))


def test_moments_lie_between_frames_and_nothing_is_smoothed():
    lips = track(speaking())
    on, found = lips_at_moments(lips, lips.frames.seconds, mouth(0))
    assert found.all()
    np.testing.assert_allclose(on, lips.points, atol=1e-6)
    half, _ = lips_at_moments(lips, lips.frames.seconds[:-1] + 0.02, mouth(0))
    np.testing.assert_allclose(half, (lips.points[:-1] + lips.points[1:]) / 2, atol=1e-6)


def test_short_gaps_are_bridged_and_long_ones_rest():
    wide, rest = np.repeat(mouth(0.1)[None], 100, 0).astype(np.float32), mouth(0)
    lips, seconds = track(wide), np.arange(100) / 25
    short, long = (np.ones(100, bool) for _ in range(2))
    short[40:44], long[40:70] = False, False
    got, found = lips_at_moments(replace(lips, valid=short), seconds, rest)
    assert found.all() and np.abs(opening(got) - 0.1).max() < 1e-6
    got, found = lips_at_moments(replace(lips, valid=long), seconds, rest)
    assert np.abs(opening(got)[long] - 0.1).max() < 1e-6 and np.abs(opening(got)[46:64]).max() < 1e-6
    assert np.abs(np.diff(opening(got))).max() < 0.1 * 0.04 / EASE_S * 1.6, "no step"
    [(first, last)] = lost_spans(found, seconds)
    assert first == pytest.approx(1.64) and last == pytest.approx(2.72)


def test_beyond_the_film_the_mouth_rests():
    got, found = lips_at_moments(track(np.repeat(mouth(0.1)[None], 25, 0)), np.array([-1, 0, 0.98, 3]), mouth(0))
    np.testing.assert_allclose(opening(got), [0, 0.1, 0.1, 0], atol=1e-6)
    assert found.tolist() == [False, True, True, False]
    nothing = track(np.repeat(mouth(0.1)[None], 5, 0), np.zeros(5, bool))
    assert not opening(lips_at_moments(nothing, np.arange(3) / 25, mouth(0))[0]).any()


def test_a_frame_that_is_held_stays():
    clock = FrameClock(np.array([0, 1, 2, 100, 101], np.int64), Fraction(1, 25), 102)
    points = np.stack([mouth(g) for g in (0, 0, 0.1, 0.02, 0)])
    got, found = lips_at_moments(LipTrack(points, np.ones(5, bool), clock), np.array([2.0, 3.9, 4.0]), mouth(0))
    assert found.all() and opening(got) == pytest.approx([0.1, 0.1, 0.02])


def test_lips_that_are_parted_at_rest_still_close():
    gaps = 0.05 + 0.05 * np.sin(np.arange(200) / 3)
    actor = np.stack([mouth(g) for g in gaps])
    person = speaking()
    got = as_person(actor, range_of(actor, mouth(0.05)), range_of(person, mouth(0)))
    assert np.corrcoef(opening(got), gaps)[0, 1] > 0.99 and opening(got).min() < 0.003
    assert np.abs(opening(got)[gaps < 0.02]).max() <= CLOSED_GAP + 1e-6


def test_a_few_seconds_tell_little_of_a_range():
    actor, person = speaking(), speaking(1.8)
    opens = lambda seen_s: opening(
        as_person(actor, range_of(actor, mouth(0), seen_s), range_of(person, mouth(0)))
    ).max()
    assert opening(actor).max() < opens(1) < opens(10) < opens(1000) and opens(1) < 1.1 * opening(actor).max()
    assert opens(1e6) == pytest.approx(opening(person).max(), rel=0.03)
