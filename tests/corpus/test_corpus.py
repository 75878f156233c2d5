"""The corpus through the command line: right outputs, right sentences, nothing left behind, no traceback. All of it:
`make test-slow`."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from tests.corpus.check import PRIOR, Outcome, check_sound, run
from tests.corpus.corpus import ITEMS, Item, Speech, plain
from tests.corpus.make import speaking, spoken


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(folder for clips and outputs, cache): shared, so that a clip that several items use is made and analysed
    once."""
    return tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    "item", [pytest.param(item, id=item.name, marks=() if item.quick else pytest.mark.slow) for item in ITEMS]
)
def test_item(place, item):
    assert run(item, *place).faults == []


def test_names_are_unique_and_files_mean_one_thing():
    assert len({item.name for item in ITEMS}) == len(ITEMS)
    clips: dict[str, object] = {}
    for item in ITEMS:
        for made in (item.target, item.speech):
            assert clips.setdefault(made.name, made) == made, made.name


def repeated(path, minutes: int):
    """A WAV of one minute of speech, again and again; 8 bits at 8 kHz."""
    minute = spoken(60.0, 8000)
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_U8") as out:
        for _ in range(minutes):
            out.write(minute)
    return path


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_hours_of_speech_do_not_drift(tmp_path):
    from audio.load import load_speech
    from lipsync.core.lips import opening
    from lipsync.speech.lip_model import LipModel
    from lipsync.speech.voice import voice_activity

    wave = load_speech(repeated(tmp_path / "two hours.wav", 120))
    assert wave.duration_s == 7200 and len(wave.samples) == 7200 * wave.rate
    voiced, lips = voice_activity(wave), LipModel.load(PRIOR).predict(wave)
    assert abs(len(lips) - 720_000) <= 1 and abs(len(voiced) - 720_000) <= 1 and np.isfinite(lips.points).all()
    gap = opening(lips.points)
    early, late = gap[6000 + 500 : 12000 - 500], gap[118 * 6000 + 500 : 119 * 6000 - 500]
    assert (
        np.corrcoef(early, late)[0, 1] > 0.999
        and (voiced[6000:12000] == voiced[118 * 6000 : 119 * 6000]).mean() > 0.999
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_minutes_of_speech_onto_two_seconds(tmp_path):
    """At ten frames a second; nothing but the last frames is looked at, the rest is counted."""
    from fractions import Fraction

    from lipsync.config.load import load
    from lipsync.pipelines.dub import dub
    from video.probe import probe

    target = plain("ten.mp4", rate=Fraction(10), pictures=lambda: speaking(20, 10)).write(tmp_path)
    speech = repeated(tmp_path / "ten minutes.wav", 10)
    facts = dub(
        target, speech, tmp_path / "out.mp4", load(None, [f"lips.model={PRIOR}", f"cache.folder={tmp_path / 'cache'}"])
    ).to_plain()
    made = probe(tmp_path / "out.mp4")
    assert len(made) == facts["output"]["frames"] == 6000 and made.clock.duration_s == 600
    outcome = Outcome(
        Item("ten minutes", plain("ten.mp4"), Speech(speech.name, repeated, Fraction(600)), rate=Fraction(10)),
        0,
        "",
        0.0,
    )
    check_sound(outcome, tmp_path / "out.mp4", made, speech)
    assert outcome.faults == []
