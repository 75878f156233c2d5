"""The retiming programme equals brute force on small cases, and keeps its promises on constructed ones."""

import numpy as np
import pytest

from lipsync.config.schema import RetimeConfig
from lipsync.render import retime as module
from lipsync.render.retime import costs_of, pause_motion, played, retime
from tests.support.retiming import SMALL, check_promises, cost_of_path


def all_paths(n, t):
    """Every sequence of n (frame, half)."""
    states = [(f, h) for f in range(t) for h in (False, True)]
    paths = [[s] for s in states]
    for _ in range(n - 1):
        paths = [[*p, s] for p in paths for s in states]
    return paths


def a_case(seed, n, t):
    rng = np.random.default_rng(seed)
    voiced = rng.random(n) < 0.5
    shot = np.cumsum(rng.random(t) < 0.25)
    valid = rng.random(t) < 0.8
    pose = rng.normal(0, 5, (t, 3))
    origin = rng.normal(0, 0.1, (t, 2))
    return voiced, rng.gamma(1.0, 0.01, t).astype(np.float32), valid, shot, pose, origin


@pytest.mark.parametrize("n, t, seeds", [(4, 4, 12), (5, 3, 12), (6, 2, 4), (3, 6, 6), (1, 5, 2)])
def test_equals_brute_force(n, t, seeds):
    paths = all_paths(n, t)
    for seed in range(seeds):
        voiced, motion, valid, shot, pose, origin = a_case(seed, n, t)
        rng = np.random.default_rng(seed + 99)
        mouths = rng.random((n, 2)) * 2, rng.random((t, 2)) * 2
        timing = retime(voiced, motion, valid, shot, 25, SMALL, pose, origin, mouths)
        costs = costs_of(voiced, motion, valid, shot, 25, SMALL, pose, origin, mouths)
        mine = cost_of_path(list(zip(timing.source, timing.half, strict=False)), costs)
        best = min(cost_of_path(p, costs) for p in paths)
        assert mine == pytest.approx(best, abs=1e-9), f"seed {seed}"


def test_segments_change_nothing(monkeypatch):
    voiced, motion, valid, shot, pose, origin = a_case(3, 500, 60)
    whole = retime(voiced, motion, valid, shot, 25, SMALL, pose, origin)
    monkeypatch.setattr(module, "_TABLE_BYTES", 60 * 100)
    parts = retime(voiced, motion, valid, shot, 25, SMALL, pose, origin)
    for name in ("source", "half", "seeks"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def moving_target(t=400, calm=((0, 12), (150, 170), (300, 330)), seed=0):
    """A head that moves all the time but in the `calm` spans."""
    motion = np.random.default_rng(seed).uniform(0.01, 0.03, t).astype(np.float32)
    for begin, end in calm:
        motion[begin:end] = 0.0005
    return motion, np.ones(t, bool), np.zeros(t, int)


def speech_with_pauses(n, pauses):
    voiced = np.ones(n, bool)
    for begin, end in pauses:
        voiced[begin:end] = False
    return voiced


def test_head_rests_while_speech_pauses():
    voiced = speech_with_pauses(250, [(0, 10), (100, 125), (235, 250)])
    motion, valid, shot = moving_target(400, ((0, 12), (90, 115), (225, 255)))
    timing = retime(voiced, motion, valid, shot, 25)
    check_promises(timing, shot, 250)
    plain = played(250, shot)
    assert pause_motion(timing, voiced, motion) < 0.4 * pause_motion(plain, voiced, motion)
    assert len(timing.seeks) == 0


def test_motion_after_onset_is_sought():
    voiced = speech_with_pauses(60, [(0, 30)])
    motion = np.full(400, 0.006, np.float32)
    motion[210:220] = 0.02
    valid, shot = np.ones(400, bool), np.zeros(400, int)
    timing = retime(voiced, motion, valid, shot, 25)
    motion_weight = motion[timing.source[30:40]]
    assert (motion_weight > 0.01).sum() >= 9
    without = retime(voiced, motion, valid, shot, 25, RetimeConfig(onset=0.0))
    assert (motion[without.source[30:40]] > 0.01).sum() == 0


def test_steady_target_is_played_from_its_start():
    timing = retime(
        np.ones(100, bool),
        np.full(200, 0.01, np.float32),
        np.ones(200, bool),
        np.zeros(200, int),
        25,
        RetimeConfig(onset=0.0),
    )
    np.testing.assert_array_equal(timing.source, np.arange(100))
    assert not timing.half.any() and len(timing.seeks) == 0


def test_long_speech_cuts_back_in_pauses_to_calm_frames():
    pauses = [(k, k + 20) for k in range(120, 3000, 140)]
    voiced = speech_with_pauses(3000, pauses)
    motion, valid, shot = moving_target(400, [(k, k + 15) for k in range(0, 400, 45)])
    timing = retime(voiced, motion, valid, shot, 25)
    check_promises(timing, shot, 3000)
    assert 7 <= len(timing.seeks) <= 30
    assert not voiced[timing.seeks].any()
    landed = timing.source[timing.seeks]
    assert (motion[landed] < 0.01).mean() > 0.8
    assert (len(motion) - landed).min() > 12


def test_speech_without_pause_longer_than_the_target():
    motion, valid, shot = moving_target(50, ())
    timing = retime(np.ones(400, bool), motion, valid, shot, 25)
    check_promises(timing, shot, 400)
    assert len(timing.seeks) >= 1


def test_seeks_prefer_a_similar_pose():
    motion = np.full(200, 0.01, np.float32)
    yaw = np.where(np.arange(200) < 100, 0.0, 30.0) + np.arange(200) * 0.01
    pose = np.stack([yaw, 0 * yaw, 0 * yaw], 1)
    voiced = speech_with_pauses(600, [(k, k + 25) for k in range(50, 600, 60)])
    timing = retime(voiced, motion, np.ones(200, bool), np.zeros(200, int), 25, RetimeConfig(), pose)
    before, after = timing.source[timing.seeks - 1], timing.source[timing.seeks]
    assert len(timing.seeks) >= 1
    assert (np.abs(yaw[before] - yaw[after]) < 5).all()


def test_shots_are_crossed_by_seeks_only_and_a_fitting_stretch_is_found():
    shot = np.repeat([0, 1, 2], [60, 140, 60])
    motion, valid = np.full(260, 0.01, np.float32), np.ones(260, bool)
    timing = retime(np.ones(120, bool), motion, valid, shot, 25)
    assert len(timing.seeks) == 0 and set(shot[timing.source]) == {1}
    voiced = speech_with_pauses(500, [(k, k + 20) for k in range(100, 500, 100)])
    check_promises(retime(voiced, motion, valid, shot, 25), shot, 500)


def test_seeks_land_well_before_the_end_of_a_shot():
    shot = np.repeat([0, 1, 2], [20, 3, 10])
    args = np.zeros(5, bool), np.zeros(33, np.float32), np.ones(33, bool), shot, 25
    may_land = np.isfinite(costs_of(*args, RetimeConfig(seek_landing_s=0.2)).landing)
    assert np.flatnonzero(may_land).tolist() == [*range(15), *range(23, 28)]
    only_the_best = np.isfinite(costs_of(*args, RetimeConfig(seek_landing_s=10)).landing)
    assert np.flatnonzero(only_the_best).tolist() == [0]


def test_frames_without_a_mouth_are_avoided_while_voiced():
    motion, valid, shot = np.full(300, 0.01, np.float32), np.ones(300, bool), np.zeros(300, int)
    valid[20:60] = False
    timing = retime(np.ones(100, bool), motion, valid, shot, 25)
    assert valid[timing.source].all()
    nowhere = retime(np.ones(100, bool), motion, np.zeros(300, bool), shot, 25)
    assert len(nowhere) == 100


def test_half_steps_make_motion_even():
    """With a pause a little longer than the calm stretch, each repeat lies between its neighbours."""
    voiced = speech_with_pauses(80, [(20, 60)])
    motion, valid, shot = moving_target(200, ((100, 130),), 1)
    timing = retime(voiced, motion, valid, shot, 25)
    assert timing.half.any()
    position = timing.source + timing.half / 2
    for row in np.flatnonzero(timing.half[:-1]):
        assert position[row] - position[row - 1] == position[row + 1] - position[row] == 0.5


@pytest.mark.parametrize("n, t", [(1, 1), (10, 1), (1, 10), (30, 2), (30, 3)])
def test_tiny(n, t):
    timing = retime(np.arange(n) % 3 == 0, np.full(t, 0.01, np.float32), np.ones(t, bool), np.zeros(t, int), 25)
    assert len(timing) == n and timing.source.max() < t
    if t == 1:
        assert len(timing.seeks) == 0
    else:
        check_promises(timing, np.zeros(t, int), n)


def test_fixed_policies():
    shot = np.array([0, 0, 1, 1])
    assert played(9, shot, "cut").source.tolist() == [0, 1, 2, 3]
    assert played(3, shot, "cut").source.tolist() == [0, 1, 2]
    assert played(9, shot, "loop").source.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert played(9, shot, "loop").seeks.tolist() == [2, 4, 6, 8]
    assert played(9, shot, "bounce").source.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert played(9, shot, "bounce").seeks.tolist() == [2, 5, 8]
    assert played(9, shot, "hold").source.tolist() == [0, 1, 2, 3, 3, 3, 3, 3, 3]


def test_pause_motion_is_the_motion_shown():
    timing = module.Timing(np.array([3, 3, 4, 0, 1]), np.array([False, True, False, False, False]), np.array([3]))
    motion = np.array([9, 1, 2, 3, 4], np.float32)
    assert pause_motion(timing, np.zeros(5, bool), motion) == pytest.approx((0 + 2 + 2 + 0 + 1) / 5)
    assert pause_motion(timing, np.array([1, 0, 1, 1, 1], bool), motion) == pytest.approx(2)
    known = np.array([1, 1, 1, 0, 1], bool)
    assert pause_motion(timing, np.zeros(5, bool), motion, known) == pytest.approx((2 + 0 + 1) / 3)


def test_of_frames_that_are_alike_those_whose_mouth_is_near_are_shown():
    """A still head whose mouth opens once in 40 frames, and a speech that does so: they are laid upon each other."""
    t, n = 400, 160
    motion, filmed, wanted = np.full(t, 0.001, np.float32), np.zeros((t, 2)), np.zeros((n, 2))
    filmed[:, 0] = 0.3 * (np.arange(t) % 40 < 12)
    wanted[:, 0] = 0.3 * ((np.arange(n) + 25) % 40 < 12)
    given = np.ones(n, bool), motion, np.ones(t, bool), np.zeros(t, int), 25
    timing = retime(*given, mouths=(wanted, filmed))
    check_promises(timing, np.zeros(t, int), n)
    assert np.abs(filmed[timing.source] - wanted).sum() < 1 < np.abs(filmed[retime(*given).source] - wanted).sum()
    assert (np.diff(timing.source) == 1).all(), "that costs nothing: another start is enough"
