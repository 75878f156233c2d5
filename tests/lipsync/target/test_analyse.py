import dataclasses

import numpy as np

from lipsync.config.schema import DubConfig
from lipsync.core.graphics import Graphics
from lipsync.core.track import eye_distance_px, jaw_in_face, unusable_reasons
from lipsync.pipelines.inspect import count_shapes
from lipsync.store.cache import Cache
from lipsync.target import analyse
from lipsync.target.analyse import _graphics_note
from lipsync.target.mouth_bank import choose_rows, lip_sharpness
from tests.support import SAMPLES
from tests.support.drawn import draw, drawn_subject, lips_open
from video.probe import listed_times, probe


def test_all_valid_frames_are_kept_where_they_fit():
    subject = drawn_subject(np.linspace(0, 0.1, 30))
    valid = subject.track.valid.copy()
    valid[5] = False
    track = dataclasses.replace(subject.track, valid=valid)
    (rows,) = choose_rows([track], 100)
    assert rows.tolist() == [i for i in range(30) if i != 5]


def test_with_little_room_the_most_different_runs_are_kept():
    gaps = np.zeros(80)
    gaps[40:48], gaps[64:72] = 0.1, 0.05
    subject = drawn_subject(gaps)
    first, second = choose_rows([subject.track, subject.track], 24)
    kept = {round(float(g), 2) for g in gaps[np.concatenate([first, second])]}
    assert kept == {0.0, 0.05, 0.1} and len(first) + len(second) == 24


def test_a_films_times_are_looked_at_once(tmp_path, monkeypatch):
    film, cache, asked = SAMPLES / "target.mp4", Cache(tmp_path / "cache"), []
    monkeypatch.setattr(analyse, "listed_times", lambda *given: (asked.append(given), listed_times(*given))[1])
    plain = probe(film)
    for _ in range(2):
        monkeypatch.setattr(analyse, "_PROBED", {})  # as in another process
        stream = analyse.probed(film, DubConfig(), cache)
        assert stream.clock.pts.tolist() == plain.clock.pts.tolist() and stream.clock.end == plain.clock.end
        assert stream.keyframes.tolist() == plain.keyframes.tolist() and not stream.by_count
    assert len(asked) == 1


def test_times_that_decoding_does_not_bear_out_are_not_kept(tmp_path, monkeypatch):
    film, cache, asked = SAMPLES / "target.mp4", Cache(tmp_path / "cache"), []
    monkeypatch.setattr(analyse, "listed_times", lambda *given: asked.append(given))
    for _ in range(2):
        monkeypatch.setattr(analyse, "_PROBED", {})
        assert len(analyse.probed(film, DubConfig(), cache)) == len(probe(film))
    assert len(asked) == 2 and not list((tmp_path / "cache").rglob("*.safetensors"))


def test_sharpness_falls_with_blur():
    import cv2

    subject = drawn_subject(np.zeros(1))
    crop = draw(lips_open(0.05), subject.bank.space).transpose(1, 2, 0)
    space, lips = subject.bank.space, lips_open(0.05)
    assert lip_sharpness(crop, lips, space) > 3 * lip_sharpness(cv2.GaussianBlur(crop, (0, 0), 2), lips, space)


def test_measures_of_a_track():
    subject = drawn_subject(np.zeros(3), eye_distance_px=60)
    assert abs(eye_distance_px(subject.track) - 60) < 1e-6
    assert np.allclose(jaw_in_face(subject.track), subject.bank.jaw, atol=1e-4)
    track = dataclasses.replace(
        subject.track, valid=np.array([True, False, False]), reason=np.array([0, 1, 1], np.int8)
    )
    assert unusable_reasons(track) == "2 frames: no face"


def test_shapes_are_counted_by_distance():
    lips = np.stack([lips_open(g) for g in (0, 0.001, 0.1, 0.101, 0.2)])
    assert count_shapes(lips) == 3


def test_mouths_behind_a_graphic_stay_out_of_the_bank_unless_there_are_no_others():
    track = drawn_subject(np.linspace(0, 0.1, 30)).track
    graphics = Graphics.of([(0, 12, (0, 0), np.ones((4, 4), bool))], 1, 30)
    some, all_ = np.zeros(30, np.float32), np.full(30, 0.1, np.float32)
    some[:12] = 0.1
    some[12:14] = 0.01
    for share, kept in ((some, range(12, 30)), (all_, range(30))):
        covered = dataclasses.replace(track, graphics=dataclasses.replace(graphics, mouth=share))
        assert choose_rows([covered], 100)[0].tolist() == list(kept)
    assert _graphics_note(track) == ()
    covered = dataclasses.replace(track, graphics=dataclasses.replace(graphics, mouth=some))
    assert "lies over the mouth in 12 frames" in _graphics_note(covered)[0]
