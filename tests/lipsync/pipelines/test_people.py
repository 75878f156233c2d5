"""Films of several people: who is seen, which face a name is, and dubs that change the right mouths only."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch

from lipsync.config.schema import DubConfig, WriteConfig
from lipsync.core.errors import UsageError
from lipsync.core.lips import opening
from lipsync.core.segments import Segment
from lipsync.pipelines.casting import _matched, segments_from
from lipsync.pipelines.dub import dub
from lipsync.pipelines.people import look_at_people, write_sheet
from lipsync.store.segment_file import Cue
from lipsync.target.analyse import follow_people
from lipsync.target.speakers import Speakers
from tests.support.people import PLATE_WIDTH, SHOTS
from video.probe import probe
from video.read import read_frames

LOSSLESS = DubConfig(write=WriteConfig(codec="ffv1"))
STARTS = np.cumsum([0, *(shot.frames for shot in SHOTS)])


def pictures(path) -> torch.Tensor:
    return torch.cat([batch.rgb for batch in read_frames(probe(path), 50)])


def part(start_s, end_s, person=None, speech=None) -> Segment:
    return Segment(Fraction(start_s), Fraction(end_s), person, speech)


@pytest.fixture(scope="module")
def sheet(people_film, shared_cache):
    return look_at_people(people_film, DubConfig(), shared_cache)


def test_everybody_is_seen_with_times_and_shares(sheet):
    assert [one.index for one in sheet.people] == [0, 1, 2] and sheet.main == 0
    assert [one.share for one in sheet.people] == pytest.approx([0.6, 0.4, 0.4], abs=0.01)
    spans = [[(0, 1.2), (2.4, 3.6), (4.8, 6)], [(1.2, 3.6)], [(3.6, 6)]]
    for one, want in zip(sheet.people, spans, strict=True):
        assert np.allclose(one.spans, want, atol=0.05) and one.usable_share > 0.95
    speaking = [one.speaking_share for one in sheet.people]
    assert speaking == pytest.approx([0.44, 0.22, 0.34], abs=0.03) and sheet.unseen_s == pytest.approx(0, abs=0.2)
    assert max(map(len, sheet.lines())) <= 80 or "/" in sheet.lines()[0]


def test_the_sheet_shows_their_faces(sheet, tmp_path):
    import cv2

    write_sheet(sheet, tmp_path / "a.html")
    write_sheet(sheet, tmp_path / "a.json")
    page, facts = (tmp_path / "a.html").read_text(), json.loads((tmp_path / "a.json").read_text())
    assert page.count("data:image/jpeg;base64,") == 3 and 'src="http' not in page
    assert facts["turns"][0] == [0.0, pytest.approx(1.2, abs=0.08), 0]
    faces = []
    for one in facts["people"]:
        packed = np.frombuffer(base64.b64decode(one["thumbnail"]), np.uint8)
        faces.append(cv2.imdecode(packed, cv2.IMREAD_COLOR).astype(int))
    blue = [face[90:110, 50:110, 0].mean() - face[90:110, 50:110, 2].mean() for face in faces]
    assert blue[2] > 0 > max(blue[:2]), "paint is on the third face only"
    with pytest.raises(UsageError, match=r"Name it \.html or \.json"):
        write_sheet(sheet, tmp_path / "a.pdf")


def test_names_are_matched_by_lips_and_the_rest_is_said(people_film, shared_cache, tmp_path):
    file = tmp_path / "who.srt"
    file.write_text("0:0:0 --> 0:0:1.1\nAnna: a\n\n0:0:1.3 --> 0:0:2.3\nBen: b\n\n0:0:3.7 --> 0:0:5\n2: c\n")
    found = segments_from(file, people_film, DubConfig(), {}, shared_cache)
    assert [one.person for one in found.segments] == [0, 1, 2]
    assert "'Anna' is face 0, 'Ben' is face 1" in found.notes[0] and "--cast" in found.notes[0]
    assert [one.person for one in segments_from(file, people_film, cast={"Anna": 1, "Ben": 0}).segments] == [1, 0, 2]
    file.write_text("0:0:0 --> 0:0:1.1\nAnna: a\n\n0:0:1.3 --> 0:0:2.3\nAnna: a\n\n0:0:3.7 --> 0:0:4\nNoa: a\n")
    with pytest.raises(
        UsageError, match=r"line 7: lips and sound do not tell which face 'Noa' is\. Add --cast Noa=N; faces"
    ):
        segments_from(file, people_film, cast={"Anna": 2}, cache=shared_cache)
    auto = segments_from("auto", people_film, DubConfig(), {}, shared_cache).segments
    assert [one.person for one in auto] == [0, 1, 0, 2]


def cue(label, start_s, end_s, line):
    return Cue(Fraction(start_s), Fraction(end_s), label, None, f"who.srt, line {line}")


@pytest.mark.parametrize(
    ("evidence", "found"),
    [
        ([[9, 0], [0, 9]], {"Anna": 0, "Ben": 1}),
        ([[9, 8.5], [0, 9]], {"Anna": 0, "Ben": 1}),  # Ben leaves her no other
        ([[9, 8.5], [0, 0.5]], "'Anna' and 'Ben' are"),
        ([[1, 0], [0, 9]], "'Anna' is"),  # hardly anybody speaks where she does
        ([[9, 9], [9, 9]], "'Anna' and 'Ben' are"),
        ([[9], [0]], "'Ben' is"),  # one face, two names
    ],
)
def test_a_name_is_matched_only_where_no_other_choice_is_nearly_as_good(evidence, found):
    """Anna says the first second, Ben the second one; evidence: for each face in each second."""
    by_face = np.repeat(np.array(evidence, np.float32).T / 100, 100, axis=1)
    speakers = Speakers(by_face, np.ones(200, bool), np.zeros(200, bool))
    cues = [cue("Anna", 0, 1, 2), cue("Ben", 1, 2, 3)]
    if isinstance(found, dict):
        assert _matched(cues, ["Anna", "Ben"], {}, speakers) == found
        return
    with pytest.raises(UsageError, match=f"lips and sound do not tell which face {found}") as caught:
        _matched(cues, ["Anna", "Ben"], {}, speakers)
    line, names = (3, "--cast Ben=N") if found.startswith("'Ben'") else (2, "--cast Anna=N")
    assert f"line {line}: " in str(caught.value) and names in str(caught.value)


def test_each_stretch_changes_the_right_face_and_nothing_else(people_film, short_speech, shared_cache, tmp_path):
    out, frames, word = tmp_path / "out.mkv", pictures(people_film), tmp_path / "word.wav"
    samples, rate = soundfile.read(short_speech)
    soundfile.write(word, samples[: int(0.4 * rate)], rate)
    said = [part("0.2", "0.6", 0), part("2.6", "3", 1), part("2.8", "3.2", 0), part("5", "5.4", 2, word)]
    receipt = dub(people_film, short_speech, out, LOSSLESS, cache=shared_cache, segments=said, notes=["told"])
    changed = (pictures(out) != frames).any(1)
    left, right = changed[..., :PLATE_WIDTH].flatten(1).any(1), changed[..., PLATE_WIDTH:].flatten(1).any(1)
    rows = {"left": np.flatnonzero(left), "right": np.flatnonzero(right)}
    # alone she is in the middle, over both halves
    assert set(rows["left"]) <= {*range(5, 15), *range(70, 80)} and set(rows["left"]) >= {*range(7, 13), *range(72, 78)}
    assert set(rows["right"]) <= {*range(5, 15), *range(65, 75), *range(125, 135)}
    assert set(rows["right"]) >= {*range(7, 13), *range(67, 73), *range(127, 133)}
    assert changed.float().mean() < 0.01, "mouths only"
    assert {one.person: one.spans for one in receipt.speakers} == {
        0: [[0.2, 0.6], [2.8, 3.2]], 1: [[2.6, 3.0]], 2: [[5.0, 5.4]]
    }  # fmt: skip
    assert receipt.people == 3 and receipt.rendered_share == 1.0 and "told" in receipt.notes
    assert (
        len(probe(out)) == len(frames)
        and probe(out).clock.seconds.tolist() == probe(people_film).clock.seconds.tolist()
    )
    told = next(line for line in receipt.summary() if line.startswith("Dubbed"))
    assert told == "Dubbed: face 0, 0.20-0.60, 2.80-3.20 s; face 1, 2.60-3.00 s; face 2, 5.00-5.40 s."


@pytest.mark.slow
def test_others_rest_their_lips_where_asked(people_film, short_speech, shared_cache, tmp_path):
    """While face 1 says something, face 0, who spoke, closes her mouth."""
    out = tmp_path / "out.mkv"
    said, config = [part("2.6", "3.4", 1)], replace(LOSSLESS, others="rest")
    receipt = dub(people_film, short_speech, out, config, cache=shared_cache, segments=said)
    changed = (pictures(out) != pictures(people_film)).any(1)[..., :PLATE_WIDTH].flatten(1).any(1)
    assert changed[67:83].all() and not changed[:65].any() and not changed[85:].any()
    own = follow_people(out, DubConfig(), shared_cache)[0].track.lips.points[69:81]
    was = follow_people(people_film, DubConfig(), shared_cache)[0].track.lips.points[69:81]
    assert opening(was).max() > 0.1 and opening(own).max() < 0.05
    told = next(line for line in receipt.summary() if line.startswith("Dubbed"))
    assert told.endswith("Seen too, with their mouths as they were: face 2. At rest meanwhile: face 0.")


def test_whom_nobody_sees_is_said_before_any_work(people_film, short_speech, shared_cache, tmp_path):
    place = replace(part(1, 2, 5), place="who.csv, line 2")
    with pytest.raises(UsageError, match=r"who\.csv, line 2: 1\.00-2\.00 s: there is no face 5; faces 0 to 2 are seen"):
        dub(people_film, short_speech, tmp_path / "o.mkv", LOSSLESS, cache=shared_cache, segments=[place])
    twice = [part(1, 2), replace(part("1.5", 3, 0), place="who.csv, line 3")]
    with pytest.raises(UsageError, match=r"line 3: 1\.50-3\.00 s: overlaps the segment of the same person"):
        dub(people_film, short_speech, tmp_path / "o.mkv", LOSSLESS, cache=shared_cache, segments=twice)
    with pytest.raises(UsageError, match="--footage shows one person"):
        two = [part(1, 2, 0), part(1, 2, 1)]
        dub(people_film, short_speech, tmp_path / "o.mkv", LOSSLESS, segments=two, footage=[people_film])
    assert not list(tmp_path.iterdir())
