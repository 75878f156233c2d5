"""Tags of a dub beside those of its target, and whether the target's tracks fit the picture."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync.core.types import DubPlan, LipTrack
from lipsync.pipelines.carried import carry_of, with_targets
from media.credentials import Credentials
from tests.support.rich_clips import rich_clip
from video.carry import Carry
from video.clock import FrameClock
from video.extras import Extras
from video.probe import probe

OWN = {
    "title": "clip (AI-edited: lips)",
    "comment": "AI-edited by lipsync 1",
    "digital_source_type": "compositeWithTrainedAlgorithmicMedia",
}


def tags_of(tags, **extras):
    return with_targets(OWN, Carry(Extras(Path("clip.mp4"), tags, **extras)))


def test_a_plain_target_gets_the_dubs_own_tags():
    assert tags_of({})[0] == OWN and tags_of({})[1].notes == ()


def test_the_targets_tags_stay_under_their_names():
    tags, carry = tags_of({"AIGC": '{"Label":"1"}', "artist": "Nobody", "title": "The film", "comment": "take 3"})
    assert tags["AIGC"] == '{"Label":"1"}' and tags["artist"] == "Nobody" and carry.notes == ()
    assert tags["title"] == "The film (AI-edited: lips)"
    assert tags["comment"] == "AI-edited by lipsync 1\nThe target said: take 3"


def test_labels_of_an_earlier_dub_are_kept():
    first, _ = tags_of({"title": "The film"})
    again, carry = tags_of(first)
    assert again["title"] == "The film (AI-edited: lips)" and again["comment"].count("AI-edited by lipsync") == 2
    assert again["digital_source_type"] == OWN["digital_source_type"] and carry.notes == ()


def test_another_source_type_is_kept_under_another_name_and_said():
    tags, carry = tags_of({"digital_source_type": "trainedAlgorithmicMedia"})
    assert tags["digital_source_type"] == OWN["digital_source_type"]
    assert tags["target_digital_source_type"] == "trainedAlgorithmicMedia"
    assert carry.notes == (
        "the target's digital_source_type, trainedAlgorithmicMedia, is kept as the tag target_digital_source_type",
    )


def test_credentials_and_xmp_are_never_dropped_silently():
    _, carry = tags_of({}, credentials=Credentials(True, True, "digitalCapture"))
    assert "content credentials (C2PA)" in carry.notes[0]
    assert "XMP (digital source type digitalCapture)" in carry.notes[1]


def plan_of(source, clock, half=None):
    n = len(source)
    lips = LipTrack(np.zeros((n, 18, 2), np.float32), np.ones(n, bool), clock)
    half = np.zeros(n, bool) if half is None else half
    return DubPlan(np.asarray(source, np.int64), half, lips, np.ones(n, bool), clock, np.zeros(0, np.int64))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return probe(rich_clip(tmp_path_factory.mktemp("film") / "t.mkv", start_s=Fraction(2)))


def test_tracks_fit_a_picture_in_its_own_time(film):
    clock = FrameClock.constant(50, Fraction(25))
    whole = carry_of(film, plan_of(range(50), clock), "keep")
    assert (whole.lost, whole.first_s, whole.end_s) == ("", 2, None)
    part = carry_of(film, plan_of(range(20), FrameClock.constant(20, Fraction(25))), "keep")
    assert (part.lost, part.end_s) == ("", Fraction(4, 5))


@pytest.mark.parametrize(
    "source,rate,timeline,words",
    [
        (range(50), 25, "retime", "retimed; --timeline keep"),
        ([*range(50), *range(10)], 25, "keep", "after the target's end"),
        (range(50), 24, "keep", "constant frame rate"),
    ],
)
def test_tracks_that_would_be_out_of_time_are_not_taken_over(film, source, rate, timeline, words):
    plan = plan_of(list(source), FrameClock.constant(len(source), Fraction(rate)))
    assert words in carry_of(film, plan, timeline).lost


def test_times_that_were_made_up_fit_no_track(film):
    plan = plan_of(range(50), FrameClock.constant(50, Fraction(25)))
    assert "no usable times" in carry_of(replace(film, by_count=True), plan, "keep").lost


def test_another_aigc_label_and_the_source_type_of_xmp_are_kept_and_said():
    own = OWN | {"AIGC": '{"Label":"1"}'}
    extras = Extras(
        Path("clip.mp4"), {"AIGC": '{"Label":"2"}'}, credentials=Credentials(xmp=True, source_type="digitalCapture")
    )
    tags, carry = with_targets(own, Carry(extras))
    assert tags["AIGC"] == own["AIGC"] and tags["target_AIGC"] == '{"Label":"2"}'
    assert tags["target_digital_source_type"] == "digitalCapture"
    assert sum("is kept as the tag target_" in note for note in carry.notes) == 2


def test_credentials_of_the_target_are_kept_where_the_dub_is_signed(tmp_path):
    inside = Carry(Extras(Path("clip.mp4"), {}, credentials=Credentials(c2pa=True)))
    (tmp_path / "clip.c2pa").write_bytes(b"manifest")
    (tmp_path / "clip.mkv").write_bytes(b"film")
    beside = Carry(Extras(tmp_path / "clip.mkv", {}))
    for carry in (inside, beside):
        assert "kept within the dub's" in with_targets(OWN, carry, True)[1].notes[0]
        assert "not taken over" in with_targets(OWN, carry)[1].notes[0]
