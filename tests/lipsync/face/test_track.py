"""The tracker on constructed landmarks: known poses, gaps, people, cuts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lipsync.config.schema import FaceConfig
from lipsync.core.canonical import canonical_68
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.geometry import apply
from lipsync.core.lips import LIPS_FROM_68, opening
from lipsync.core.types import REASONS
from lipsync.face.backend import DetectedFace
from lipsync.face.motion import head_motion
from lipsync.face.pose import pixel_from_face, project
from lipsync.face.registry import get_backend
from lipsync.face.track import FaceTracker
from video.clock import FrameClock
from video.shots import Mark

FACE = canonical_68().astype(np.float64)
#: Flat lips: all in the plane that `pixel_from_face` maps, so that the answer is exact.
FACE[48:, 2] = 0
HEIGHT, WIDTH = 240, 320


class Script:
    """A backend that reads its answers from a list."""

    def __init__(self, faces: list[list[np.ndarray]]) -> None:
        self.faces, self.frame, self.resets = faces, 0, []

    def detect(self, rgb):
        self.frame += 1
        return [DetectedFace(landmarks.astype(np.float32), 1.0) for landmarks in self.faces[self.frame - 1]]

    def reset(self):
        self.resets.append(self.frame)


def _params(n: int, x: float, y: float, eye: float = 60, yaw: float = 0.0) -> np.ndarray:
    t = np.arange(n) / 25
    params = np.zeros((n, 6))
    params[:, 0], params[:, 1], params[:, 2] = 0.1 * np.sin(2 * t), yaw + 0.1 * np.sin(1.3 * t), 0.05 * np.sin(t)
    params[:, 3] = np.log(eye)
    params[:, 4:] = np.stack([x + 5 * np.sin(t), y + 3 * np.cos(1.5 * t)], 1)
    return params


def _talking(n: int) -> np.ndarray:
    """(n,68,3) faces: closed for half a second, then talking; lower lip and jaw drop."""
    gap = np.where(np.arange(n) < 12, 0, 0.1 * np.maximum(0, np.sin(np.arange(n) * 0.6)))
    faces = np.repeat(FACE[None], n, 0)
    faces[:, [*range(3, 14), *range(55, 60), 65, 66, 67], 1] += gap[:, None]
    return faces


def _marks(params: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return np.concatenate([project(params[i : i + 1], faces[i]) for i in range(len(params))])


def _frames(landmarks: list[np.ndarray], looks: list[int]) -> list[np.ndarray]:
    """Pictures in which each person is a pattern of their own that moves with the face."""
    import cv2

    patterns = [
        cv2.GaussianBlur(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 5) for i in range(4)
    ]
    patterns = [np.clip((p.astype(float) - 128) * 8 + 128, 0, 255).astype(np.uint8) for p in patterns]
    out = []
    for present in landmarks:
        rgb = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        for face, look in zip(present, looks, strict=False):
            eyes, nose = (face[36] + face[45]) / 2, face[33]
            half = np.linalg.norm(face[45] - face[36])
            low, high = ((eyes + nose) / 2 - half).round().astype(int), ((eyes + nose) / 2 + half).round().astype(int)
            low_in, high_in = np.maximum(low, 0), np.minimum(high, [WIDTH, HEIGHT])
            patch = cv2.resize(patterns[look], tuple(int(v) for v in high - low))
            rgb[low_in[1] : high_in[1], low_in[0] : high_in[0]] = patch[
                low_in[1] - low[1] : high_in[1] - low[1], low_in[0] - low[0] : high_in[0] - low[0]
            ]
        out.append(rgb)
    return out


def _run(script: list[list[np.ndarray]], config=FaceConfig(), cuts=(), frames=None):
    backend = Script(script)
    tracker = FaceTracker(config, WIDTH, HEIGHT, backend)
    frames = frames or [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * len(script)
    for i, rgb in enumerate(frames):
        tracker.push(rgb, i in cuts)
    return tracker.finish(FrameClock.constant(len(script), Fraction(25))), tracker, backend


def test_lips_and_transform_of_a_moving_talking_head():
    n = 100
    params, faces = _params(n, 160, 130), _talking(n)
    track, tracker, _ = _run([[m] for m in _marks(params, faces)])
    assert track.valid.all() and (track.reason == 0).all() and tracker.people == 1
    want = faces[:, LIPS_FROM_68, :2]
    assert np.abs(track.lips.points - want).mean() < 0.003
    assert np.abs(opening(track.lips.points) - opening(want)).max() < 0.006
    true_origin = apply(pixel_from_face(params, np.zeros(3)), np.zeros((n, 1, 2)))
    found = apply(track.pixel_from_face, np.zeros((n, 1, 2)))
    assert np.linalg.norm(found - true_origin, axis=-1).max() < 0.6
    np.testing.assert_allclose(np.degrees(-params[:, 1]), track.pose[:, 0], atol=0.7)
    # The lips lie on the picture where they were seen.
    on_picture = apply(track.pixel_from_face, track.lips.points.astype(float))
    np.testing.assert_allclose(on_picture, _marks(params, faces)[:, LIPS_FROM_68], atol=0.6)


def test_transform_does_not_feel_the_mouth():
    params = _params(60, 160, 130)
    still, talking = np.repeat(FACE[None], 60, 0), _talking(60)
    a, _, _ = _run([[m] for m in _marks(params, still)])
    b, _, _ = _run([[m] for m in _marks(params, talking)])
    np.testing.assert_allclose(a.pixel_from_face[:, :2, :2], b.pixel_from_face[:, :2, :2], atol=1e-6)


def test_short_gaps_are_bridged_long_ones_are_not():
    landmarks = _marks(_params(100, 160, 130), _talking(100))
    script = [[m] for m in landmarks]
    for start, length in ((20, 2), (40, 3), (60, 10), (0, 1)):
        for i in range(start, start + length):
            script[i] = []
    track, _, _ = _run(script)
    invalid = [0, *range(40, 43), *range(60, 70)]
    assert np.flatnonzero(~track.valid).tolist() == invalid
    assert all(REASONS[track.reason[i]] == "no face" for i in invalid)
    assert np.abs(track.landmarks[20:22] - landmarks[20:22]).max() < 3
    assert np.isfinite(track.landmarks).all() and np.isfinite(track.pixel_from_face).all()


def test_a_gap_over_a_cut_is_not_bridged_and_smoothing_stops_there():
    before, after = _marks(_params(30, 100, 130), _talking(30)), _marks(_params(30, 220, 120, eye=75), _talking(30))
    script = [[m] for m in np.concatenate([before, after])]
    script[29] = []
    frames = _frames(script, [0])
    track, tracker, backend = _run(script, cuts={30}, frames=frames)
    assert backend.resets == [30] and tracker.people == 1
    assert track.shot.tolist() == [0] * 30 + [1] * 30
    assert np.flatnonzero(~track.valid).tolist() == [29]
    assert np.abs(track.landmarks[30] - after[0]).max() < 1


def test_two_people_one_is_chosen_and_kept():
    n = 40
    small, large = _marks(_params(n, 80, 130, eye=40), _talking(n)), _marks(_params(n, 240, 130, eye=55), _talking(n))
    # The backend's order changes all the time.
    script = [[a, b] if i % 2 else [b, a] for i, (a, b) in enumerate(zip(small, large, strict=False))]
    for config, want in (
        (FaceConfig(), large),
        (FaceConfig(index=0), small),
        (FaceConfig(index=1), large),
        (FaceConfig(at=(70.0, 110.0)), small),
    ):
        track, tracker, _ = _run(script, config)
        assert tracker.people == 2 and np.abs(track.landmarks - want).max() < 2
    with pytest.raises(UsageError, match="no face 2"):
        _run(script, FaceConfig(index=2))


def test_people_are_known_again_after_a_cut_by_their_look():
    a, b = _marks(_params(30, 100, 130), _talking(30)), _marks(_params(20, 105, 128), _talking(20))
    script = [[m] for m in np.concatenate([a, b, a])]
    frames = _frames(script[:30], [0]) + _frames(script[30:50], [1]) + _frames(script[50:], [0])
    track, tracker, _ = _run(script, cuts={30, 50}, frames=frames)
    assert tracker.people == 2
    assert track.valid.tolist() == [True] * 30 + [False] * 20 + [True] * 30


def _settled(script, marks, frames, config=FaceConfig(), lag=20):
    """The track where the last word on a frame is spoken `lag` frames later."""
    tracker = FaceTracker(config, WIDTH, HEIGHT, Script(script))
    for i, rgb in enumerate(frames):
        tracker.push(rgb, False, marks[i - lag : i - lag + 1] if i >= lag else [])
    return tracker.finish(FrameClock.constant(len(script), Fraction(25)), marks[len(script) - lag :]), tracker


def test_an_odd_frame_is_nobody_and_the_person_goes_on():
    n = 60
    script = [[m] for m in _marks(_params(n, 160, 130), _talking(n))]
    frames = _frames(script[:30], [0]) + _frames(script[30:32], [1]) + _frames(script[32:], [0])
    marks = [Mark.ODD if i in (30, 31) else Mark.GOES_ON for i in range(n)]
    for config in (FaceConfig(), FaceConfig(at=(160.0, 130.0)), FaceConfig(index=0)):
        track, tracker = _settled(script, marks, frames, config)
        assert tracker.people == 1 and len(tracker._people.persons) == 1 and track.shot.max() == 0
        assert np.flatnonzero(~track.valid).tolist() == [30, 31]
        assert {REASONS[r] for r in track.reason[30:32]} == {"flash or odd frame"}


def test_somebody_met_for_one_frame_neither_keeps_the_place_nor_is_chosen_by_it():
    n = 60
    script = [[m] for m in _marks(_params(n, 160, 130), _talking(n))]
    frames = _frames(script[:30], [0]) + _frames(script[30:31], [1]) + _frames(script[31:], [0])
    track, tracker, _ = _run(script, FaceConfig(at=(160.0, 130.0)), cuts={30, 31}, frames=frames)
    assert tracker.people == 1 and np.flatnonzero(track.reason == REASONS.index("no face")).tolist() in ([30], [])
    assert track.valid.sum() >= n - 1


def test_blended_frames_pass_through_between_two_people_at_one_place():
    n = 60
    script = [[m] for m in _marks(_params(n, 160, 130), _talking(n))]
    old, new = _frames(script, [0]), _frames(script, [1])
    share = np.clip((np.arange(n) - 24) / 11, 0, 1)
    frames = [(a * (1 - s) + b * s).astype(np.uint8) for a, b, s in zip(old, new, share, strict=True)]
    marks = [Mark.BETWEEN if 25 <= i < 35 else Mark.CUT if i == 35 else Mark.GOES_ON for i in range(n)]
    # as the picture says, and where the picture says nothing: by the looks of the face alone
    for told in (marks, [Mark.GOES_ON] * n):
        track, tracker = _settled(script, told, frames, FaceConfig(index=0), lag=50)
        assert tracker.people == 2 and track.shot.max() == 1
        between = np.flatnonzero(track.reason == REASONS.index("between two shots"))
        assert set(range(27, 33)) <= set(between) <= set(range(25, 35))
        assert track.valid[:25].all() and not track.valid[27:].any()


def test_lips_over_the_edge_of_the_picture_are_covered():
    n = 60
    params = _params(n, 160, 130)
    params[30:, 4] = np.linspace(160, 5, 30)
    track, _, _ = _run([[m] for m in _marks(params, _talking(n))])
    over = (track.landmarks[:, 48:60, 0] < 0).any(1)
    assert over.any() and not over[:30].any()
    assert {REASONS[r] for r in track.reason[over]} == {"covered"}
    assert track.valid[~over][:-1].mean() > 0.95


def test_turned_and_small_faces_say_so():
    n = 60
    params = _params(n, 160, 130)
    params[20:40, 1] = -0.9
    track, _, _ = _run([[m] for m in _marks(params, _talking(n))])
    assert {REASONS[r] for r in track.reason[23:37]} == {"turned too far"} and track.valid[:17].all()
    track, _, _ = _run([[m] for m in _marks(_params(n, 160, 130, eye=15), _talking(n))])
    assert {REASONS[r] for r in track.reason} == {"face too small"} and not track.valid.any()


def test_a_blurred_span_says_so():
    import cv2

    landmarks = [[m] for m in _marks(_params(60, 160, 130), _talking(60))]
    frames = _frames(landmarks, [0])
    rng = np.random.default_rng(0)
    frames = [np.clip(f + rng.normal(0, 12, f.shape), 0, 255).astype(np.uint8) for f in frames]
    for i in range(20, 26):
        frames[i] = cv2.GaussianBlur(frames[i], (0, 0), 3)
    track, _, _ = _run(landmarks, frames=frames)
    assert (
        [REASONS[r] for r in track.reason[20:26]] == ["blurred"] * 6
        and track.valid[:20].all()
        and track.valid[26:].all()
    )


def test_one_frame_and_no_face():
    landmarks = _marks(_params(1, 160, 130), _talking(1))
    track, _, _ = _run([[landmarks[0]]])
    assert len(track) == 1 and track.valid.all()
    with pytest.raises(LipsyncError, match="No face was found in any of the 5 frames"):
        _run([[]] * 5)
    with pytest.raises(UsageError, match="outside the picture"):
        FaceTracker(FaceConfig(at=(999.0, 10.0)), WIDTH, HEIGHT, Script([]))
    with pytest.raises(UsageError, match="mediapipe, dlib"):
        get_backend("retina", FaceConfig())


def test_head_motion_counts_moves_and_blinks_not_cuts():
    n = 60
    params = np.zeros((n, 6))
    params[:, 3], params[:, 4:] = np.log(60), [150, 130]
    params[20:30, 4] += 3 * np.arange(10)
    params[30:, 4] += 27
    faces = np.repeat(FACE[None], n, 0)
    faces[50, [37, 38, 43, 44], 1] = faces[50, [41, 40, 47, 46], 1]
    params[40:, 4] += 60
    script = [[m] for m in _marks(params, faces)]
    track, _, _ = _run(script, cuts={40}, frames=_frames(script, [0]))
    assert track.valid.all()
    motion = head_motion(track)
    assert motion.shape == (n,) and motion.dtype == np.float32
    np.testing.assert_allclose(motion[24:27], 3 / 60, rtol=0.05)
    assert motion[[5, 10, 35, 39, 40, 45]].max() < 0.005
    assert motion[50] > 0.05 > 0.01 > motion[56]


def test_a_tracker_closes_the_backend_it_made(monkeypatch):
    closed = []
    made = Script([])
    made.close = lambda: closed.append(True)
    monkeypatch.setattr("lipsync.face.track.get_backend", lambda *_: made)
    tracker = FaceTracker(FaceConfig(), WIDTH, HEIGHT)
    assert not closed
    del tracker
    assert closed == [True]
    FaceTracker(FaceConfig(), WIDTH, HEIGHT, made)
    assert closed == [True], "one that was lent is left open"
