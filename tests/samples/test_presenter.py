"""The presenter: what the picture shows is what the truth says, and its two clocks do not touch each other."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync.core.canonical import MESH_FROM_68
from lipsync.core.lips import LIPS_FROM_68, opening
from samples.presenter import REST, Presenter, Truth, load_phones, render_clip
from samples.presenter.__main__ import head_times_of_plan
from tests.support import SAMPLES

OPEN = {"jaw": 0.9, "upper": 0.35, "lower": 0.35}


@pytest.fixture(scope="module")
def presenter() -> Presenter:
    return Presenter((480, 270))


@pytest.fixture(scope="module")
def phones():
    return load_phones(SAMPLES / "target.json")


def test_same_bytes_twice(presenter):
    again = Presenter((480, 270))
    assert presenter.frame(1.23, OPEN).tobytes() == again.frame(1.23, OPEN).tobytes()


def test_lips_close_for_p_b_m_and_in_pauses(presenter, phones):
    for start, end in np.concatenate(
        [phones.spans({"p", "b", "m"}), [span for span in phones.pauses() if span[1] - span[0] > 0.4]]
    ):
        truth = presenter.truth(0.0, phones.mouth((start + end) / 2))
        assert abs(truth.gap) < 1e-3, f"lips {truth.gap:.3f} apart at {start:.2f} s"
    gaps = [presenter.truth(0.0, phones.mouth((a + b) / 2)).gap for a, b in phones.spans({"aa", "ae", "ay", "ao"})]
    assert min(gaps) > 0.05 and max(gaps) > 0.12


def test_mouth_moves_smoothly(presenter, phones):
    states = np.array([phones.mouth(t) for t in np.arange(0, phones.duration_s, 0.01)])
    assert np.abs(np.diff(states, axis=0)).max() < 0.35 and states.min() >= 0 and states.max() <= 1.2


def test_truth_is_where_the_lip_vertices_are_drawn(presenter):
    mouth = presenter.truth(0.7, OPEN).mouth
    drawn = presenter._scene(0.7, mouth)[0][MESH_FROM_68, :2]
    np.testing.assert_allclose(presenter.truth(0.7, OPEN).landmarks, drawn, atol=1e-9)


def test_the_open_mouth_is_dark_just_where_the_truth_says(presenter):
    truth = presenter.truth(0.7, OPEN)
    frame = presenter.frame(0.7, OPEN).astype(int).sum(-1)
    top, bottom = truth.lips[13], truth.lips[16]
    x = int((top[0] + bottom[0]) / 2)
    middle = frame[int((top[1] + 2 * bottom[1]) / 3), x]
    assert middle < 0.7 * frame[int(bottom[1] + 3), x] and middle < 0.7 * frame[int(top[1] - 3), x]
    shut = presenter.frame(0.7, REST).astype(int).sum(-1)
    changed = np.flatnonzero(np.abs(frame - shut)[:, x] > 150)
    assert abs(changed.min() - top[1]) < 6


def test_speech_moves_the_lower_face_only(presenter):
    a, b = presenter.frame(2.0, OPEN), presenter.frame(2.0, {"round": 1.0, "jaw": 0.3})
    truth = presenter.truth(2.0, OPEN)
    unit = truth.pixel_from_face[1, 1]
    rows, cols = np.nonzero((a != b).any(-1))
    assert len(rows) > 100
    assert rows.min() > truth.pixel_from_face[1, 2] - 0.7 * unit  # below the eyes
    assert np.abs(cols - truth.pixel_from_face[0, 2]).max() < 0.95 * unit


def test_head_moves_on_its_own_clock_and_lips_stay_in_the_face_frame(presenter):
    one, two = presenter.truth(0.6, OPEN), presenter.truth(4.4, OPEN)
    assert np.abs(one.pose - two.pose).max() > 1
    assert np.abs(one.lips_face - two.lips_face).mean() < 0.02
    assert abs(one.gap - two.gap) < 0.02


def test_face_frame(presenter):
    truth = presenter.truth(0.0, REST)
    corners = truth.lips_face[[0, 6]]
    np.testing.assert_allclose(corners.mean(0), 0, atol=0.01)
    eyes = np.linalg.norm(truth.landmarks[45] - truth.landmarks[36])
    assert eyes == pytest.approx(truth.pixel_from_face[0, 0], rel=0.05)


def test_resting_head_is_stiller_than_a_speaking_one(phones):
    presenter = Presenter((64, 36), pauses=phones.pauses())
    poses = np.array([presenter.truth(t, REST).pose for t in np.arange(0, 24, 0.04)])
    speed = np.abs(np.diff(poses, axis=0)).sum(1)
    t = np.arange(len(speed)) * 0.04
    resting = np.any([(t > a + 0.3) & (t < b - 0.3) for a, b in phones.pauses() if b - a > 0.65], axis=0)
    assert speed[resting].mean() < 0.6 * speed[~resting].mean()


def test_clip_at_any_size_and_rate(tmp_path, phones):
    fps = Fraction(30000, 1001)
    head = np.array([3.0, 3.0, 1.0, 1.04])
    truth = render_clip(
        tmp_path / "a.mp4",
        SAMPLES / "speech.wav",
        phones,
        size=(162, 98),
        fps=fps,
        duration_s=0.4,
        head_time=lambda t: 2 * t,
    )
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].average_rate == fps and len(file.streams.audio) == 1
        frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
    assert len(frames) == len(truth) == 12 and frames[0].shape == (98, 162, 3)
    np.testing.assert_allclose(truth.head_s, 2 * truth.speech_s)
    short = render_clip(
        tmp_path / "b.mp4", None, phones, size=(98, 162), fps=Fraction(25), duration_s=1.0, head_time=head
    )
    assert list(short.head_s) == list(head)
    short.save(tmp_path / "t.npz")
    np.testing.assert_array_equal(Truth.load(tmp_path / "t.npz").lips, short.lips)


def test_plan_gives_the_head_clock(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"plan": {"source": [0, 25, 25], "half": [False, False, True]}}))
    np.testing.assert_allclose(head_times_of_plan(tmp_path / "plan.json", Fraction(25)), [0, 1, 1.02])


def test_absence_cover_and_turned_head():
    presenter = Presenter((160, 90), absent=(1, 2), occluder=(3, 5), yaw_override=30.0)
    assert not presenter.truth(1.5, REST).visible and presenter.truth(2.5, REST).visible
    assert presenter.truth(4.0, REST).covered and not presenter.truth(5.5, REST).covered
    assert presenter.truth(0.0, REST).pose[0] == 30
    bare = Presenter((160, 90), yaw_override=30.0)
    assert (presenter.frame(4.0, REST) != bare.frame(4.0, REST)).any()


def test_mediapipe_finds_face_and_lips():
    from lipsync.face.mediapipe import MediaPipeBackend

    presenter = Presenter((640, 360))
    gaps, backend = [], MediaPipeBackend()
    for mouth in (REST, {"jaw": 0.45, "upper": 0.3, "lower": 0.3}, OPEN):
        backend.reset()
        (face,) = backend.detect(presenter.frame(0.6, mouth))
        lips, truth = face.landmarks[LIPS_FROM_68], presenter.truth(0.6, mouth)
        eye = np.linalg.norm(truth.landmarks[45] - truth.landmarks[36])
        gaps.append((opening(lips) / eye, truth.gap))
        assert np.linalg.norm(lips - truth.lips, axis=1).mean() / eye < 0.04
    backend.close()
    measured, true = np.array(gaps).T
    assert measured[0] < 0.05 and measured[0] < measured[1] < measured[2]
    assert abs(measured[2] - true[2]) < 0.08
