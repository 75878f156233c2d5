"""Who is followed, and who speaks, in a film whose people and turns are known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, FaceConfig
from lipsync.core.arrays import nearest
from lipsync.core.errors import UsageError
from lipsync.target import analyse
from lipsync.target.analyse import follow_face, follow_people
from lipsync.target.speakers import Speakers, find_speakers
from tests.support.people import SHOTS


@pytest.fixture(scope="module")
def films(people_film, shared_cache):
    return follow_people(people_film, DubConfig(), shared_cache)


def _of(index=-1, at=None):
    return replace(DubConfig(), face=FaceConfig(index=index, at=at))


def test_everybody_is_followed_in_one_pass_and_each_can_be_chosen(films, people_film, shared_cache, monkeypatch):
    seen = [[(one in shot.people) for shot in SHOTS for _ in range(shot.frames)] for one in range(3)]
    assert [film.person for film in films] == [0, 1, 2] and all(film.people == 3 for film in films)
    for film, there in zip(films, seen, strict=True):
        assert (film.track.valid == there).mean() > 0.97
    monkeypatch.setattr(analyse, "track_everybody", None)  # not once more, whoever is asked for
    assert follow_face(people_film, DubConfig(), shared_cache).person == 0, "the most present one"
    for index, at in ((2, None), (-1, (360.0, 100.0))):
        chosen = follow_face(people_film, _of(index, at), shared_cache)
        assert chosen.person == 2 and chosen.key == films[2].key
        assert np.array_equal(chosen.track.landmarks, films[2].track.landmarks)
    assert len({film.key for film in films}) == 3, "what is learnt of one is not another's"
    with pytest.raises(UsageError, match="There is no face 3: 3 people were seen"):
        follow_face(people_film, _of(3), shared_cache)
    with pytest.raises(UsageError, match="outside the picture"):
        follow_face(people_film, _of(at=(9999.0, 1.0)), shared_cache)


def test_nothing_is_kept_of_a_face_where_it_is_not_seen(films):
    kept = analyse._packed(films[1].track)
    assert 60 <= len(kept["rows"]) == len(kept["landmarks"]) <= 60 + 2 * analyse.AROUND and len(kept["valid"]) == 150
    again = analyse._unpacked(kept, films[1].stream)
    seen = kept["rows"]
    assert np.array_equal(again.lips.points[seen], films[1].track.lips.points[seen])
    assert np.array_equal(again.reason, films[1].track.reason) and np.isfinite(again.pixel_from_face).all()


def test_the_nearest_of_some_rows():
    assert nearest(np.array([2, 3, 8]), 10).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_whoever_moves_the_lips_as_the_sound_says_speaks(films, shared_cache):
    speakers = find_speakers(films, shared_cache)
    truth = np.repeat([shot.speaks for shot in SHOTS for _ in range(shot.frames)], 4)
    voiced = np.flatnonzero(speakers.voice[: len(truth)])
    assert len(voiced) > 500 and (speakers.who()[voiced] == truth[voiced]).mean() >= 0.95
    turns = speakers.turns(Fraction(6))
    assert [turn.person for turn in turns] == [0, 1, 0, 2]
    assert np.allclose([float(turn.start_s) for turn in turns[1:]], [1.2, 2.4, 3.6], atol=0.08)
    free = speakers.free_for(1, films[1].video.clock)
    assert free[31:59].all() and free[62:149].mean() < 0.3


def _speakers(evidence, voice=None):
    evidence = np.array(evidence, np.float32)
    voice = np.ones(evidence.shape[1], bool) if voice is None else voice
    return Speakers(evidence, voice, np.zeros(evidence.shape[1], bool))


def test_slips_are_smoothed_and_unseen_speech_is_nobodys():
    evidence = np.full((2, 600), -0.1)
    evidence[0, :300] = evidence[1, 300:500] = 0.2
    evidence[1, 100:110], evidence[0, 100:110] = 0.2, -0.2
    who = _speakers(evidence).who()
    assert (who[:296] == 0).all() and (who[304:496] == 1).all() and (who[504:] == -1).all()
    evidence[0, :300] = -np.inf  # not in the picture
    assert (_speakers(evidence).who()[:90] == -1).all()


def test_turns_join_over_short_pauses_and_meet_in_the_middle_of_others():
    voice = np.ones(1000, bool)
    voice[200:260] = voice[500:540] = voice[800:] = False
    evidence = np.full((2, 1000), -0.2)
    evidence[0, :500] = evidence[1, 500:] = 0.2
    turns = _speakers(evidence, voice).turns(Fraction(10))
    assert [(t.person, float(t.start_s), float(t.end_s)) for t in turns] == [(0, 0.0, 5.2), (1, 5.2, 8.3)]
