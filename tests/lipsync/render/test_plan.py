import dataclasses
import types
from fractions import Fraction

import numpy as np
import torch

from lipsync.config.schema import DubConfig, RetimeConfig
from lipsync.core.types import DubPlan, LipTrack
from lipsync.render.plan import build_query, faces_along, make_plan
from tests.support.drawn import drawn_subject
from video.clock import FrameClock

GAPS = np.linspace(0, 0.1, 20)


def plan_of(source, half=None, subject=None):
    n = len(source)
    clock = FrameClock.constant(n, Fraction(25))
    points = np.arange(n, dtype=np.float32)[:, None, None] * np.ones((1, 18, 2), np.float32)
    half = np.zeros(n, bool) if half is None else np.array(half, bool)
    return DubPlan(
        np.array(source),
        half,
        LipTrack(points, np.ones(n, bool), clock),
        np.ones(n, bool),
        clock,
        np.zeros(0, np.int64),
    )


def test_half_steps_lie_between_their_frames():
    subject = drawn_subject(GAPS)
    faces = faces_along(subject.track, plan_of([3, 3, 4], [False, True, False]), 3)
    assert np.allclose(faces.lips[1], (subject.track.lips.points[3] + subject.track.lips.points[4]) / 2, atol=1e-6)
    assert np.allclose(faces.lips[2], subject.track.lips.points[4], atol=1e-6)
    assert np.allclose(faces.jaw[0], subject.bank.jaw[3], atol=1e-5)


def asking(radius, *needs):
    return types.SimpleNamespace(radius=radius, needs=frozenset(needs))


def test_a_query_carries_its_context_and_repeats_the_ends():
    subject = drawn_subject(GAPS)
    plan = plan_of(range(6))
    faces = faces_along(subject.track, plan, 3)
    frames = torch.zeros(2, 3, 240, 300, dtype=torch.uint8)
    query = build_query(plan, faces, subject.bank.space, slice(0, 2), frames, asking(2))
    assert query.lips[:, 0, 0].tolist() == [0, 0, 0, 1, 2, 3]
    query = build_query(plan, faces, subject.bank.space, slice(4, 6), frames, asking(2))
    assert query.lips[:, 0, 0].tolist() == [2, 3, 4, 5, 5, 5]
    assert query.crop is None and query.speech is None, "what is not needed is not made"


def test_the_crop_shows_the_mouth_of_the_frame():
    subject = drawn_subject(GAPS)
    plan = plan_of([0])
    frames = torch.zeros(1, 3, 240, 300, dtype=torch.uint8)
    frames[:, :, 120, 150] = 255  # the pixel whose corner is the face frame's origin
    space = subject.bank.space
    crop = build_query(plan, faces_along(subject.track, plan, 3), space, slice(0, 1), frames, asking(0, "crop")).crop[
        0, 0
    ]
    row, column = divmod(int(crop.argmax()), space.width)
    assert (
        abs(row + 0.5 - (-space.top * space.scale + 0.5)) <= 1
        and abs(column + 0.5 - (-space.left * space.scale + 0.5)) <= 1
    )


def test_frames_without_a_face_pass_through():
    subject = drawn_subject(GAPS)
    valid = subject.track.valid.copy()
    valid[8:11] = False
    subject = dataclasses.replace(subject, track=dataclasses.replace(subject.track, valid=valid))
    clock = FrameClock.constant(20, Fraction(25))
    lips = LipTrack(np.zeros((20, 18, 2), np.float32), np.ones(20, bool), clock)
    config = dataclasses.replace(DubConfig(), retime=RetimeConfig(timeline="keep"))
    plan = make_plan(lips, np.ones(20, bool), subject, config)
    assert np.flatnonzero(~plan.render).tolist() == [8, 9, 10]


def test_cut_ends_with_the_target():
    subject = drawn_subject(GAPS)
    clock = FrameClock.constant(50, Fraction(25))
    lips = LipTrack(np.zeros((50, 18, 2), np.float32), np.ones(50, bool), clock)
    config = dataclasses.replace(DubConfig(), retime=RetimeConfig(length="cut"))
    plan = make_plan(lips, np.ones(50, bool), subject, config)
    assert len(plan) == 20 and plan.clock.duration_s == Fraction(20, 25)
