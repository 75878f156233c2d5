"""Frames that play to and fro, and drawing on them one by one."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.types import DubPlan, LipTrack
from lipsync.pipelines.live import prepare_live
from lipsync.render.live import Held, LiveStage, _stretch, held_frames
from lipsync.render.loop import Role, Scene, render
from lipsync.render.plan import faces_along
from lipsync.store.registry import CAUSAL_LIP_PRIOR
from video.clock import FrameClock


def held(n):
    return Held((None,) * n, None, 0, Fraction(25), None)


def test_to_the_end_and_back_without_showing_the_ends_twice():
    assert held(4).shown(np.arange(13)).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert held(2).shown(np.arange(-2, 4)).tolist() == [0, 1, 0, 1, 0, 1]


class Track:
    def __init__(self, valid, shot):
        self.valid, self.shot = np.array(valid, bool), np.array(shot)

    def __len__(self):
        return len(self.valid)


def test_the_longest_usable_stretch_of_one_shot():
    valid = [1] * 6 + [0] + [1] * 9
    assert _stretch(Track(valid, [0] * 16), np.ones(16), 99) == (7, 16)
    assert _stretch(Track(valid, [0] * 12 + [1] * 4), np.ones(16), 99) == (0, 6)


def test_of_a_longer_one_the_part_whose_ends_are_still():
    motion = np.ones(20)
    motion[[6, 13]] = 0
    assert _stretch(Track([1] * 20, [0] * 20), motion, 8) == (6, 14)


@pytest.fixture(scope="module")
def ready(small_target, shared_cache):
    config = DubConfig()
    lips = replace(config.lips, model=str(CAUSAL_LIP_PRIOR))
    return prepare_live(small_target, replace(config, lips=lips), cache=shared_cache)


def test_drawn_as_the_render_loop_draws(ready):
    """A mouth that stays the same looks the same in both; the loop knows what comes, the stage does not."""
    subject, config = ready.person.subject, ready.config
    stage = LiveStage(ready.held, subject, ready.person.method, config, torch.device("cpu"))
    radius = ready.person.method.radius
    n, first = 2 * radius + 4, ready.held.first
    rows, lips = np.arange(first, first + n), subject.track.lips.points[first + 3]
    live = [stage.draw(k, lips, stage.rgb(k))[0] for k in range(n)]
    clock = FrameClock.constant(n, ready.held.rate)
    same = LipTrack(np.repeat(lips[None], n, 0), np.ones(n, bool), clock)
    plan = DubPlan(rows, np.zeros(n, bool), same, np.ones(n, bool), clock, np.zeros(0, np.int64))
    faces = faces_along(subject.track, plan, 0)
    scene = Scene.of(subject.films[0].stream, faces, subject)
    role = Role.of(plan, scene, ready.person.method, config)
    offline = [frame for _, frames, _ in render([role], config, torch.device("cpu")) for frame in frames]
    target = [stage.rgb(k)[0] for k in range(n)]
    for k in range(
        radius, n - radius
    ):  # elsewhere the stage sees other poses: it turns round and goes on, the plan ends
        assert torch.equal(live[k], offline[k])
        assert not torch.equal(live[k], target[k])


def test_a_target_without_a_face_long_enough_is_refused(ready):
    film = ready.person.subject.films[0]
    film = replace(film, track=replace(film.track, valid=np.zeros(len(film.track), bool)))
    with pytest.raises(LipsyncError, match="half a second"):
        held_frames(replace(ready.person.subject, films=(film,)), ready.config, 1 << 30)


def test_memory_bounds_what_is_held(ready):
    frame = ready.held.stream.width * ready.held.stream.height * 3 // 2
    assert len(held_frames(ready.person.subject, ready.config, 20 * frame)) <= 20
