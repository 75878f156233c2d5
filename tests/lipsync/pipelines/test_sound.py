"""What is heard in a dub: new speech laid into the target's own sound, backgrounds, mixes, loudness, fitting."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch

from audio.soundtrack import Soundtrack
from lipsync.config.schema import DubConfig, RetimeConfig, SoundConfig
from lipsync.core.errors import UsageError
from lipsync.core.segments import Segment
from lipsync.pipelines.output import Dub
from lipsync.pipelines.script import Script
from lipsync.pipelines.sound import (
    DubSound,
    fitted_segments,
    fitted_whole,
    lost_sound,
    mix_beside,
    own_sound_end,
    sound_of,
)
from lipsync.store.cache import Cache
from tests.support.rich_clips import rich_clip
from tests.support.sound import TONE, clicks_in, heard_in, step_db, tone_with_clicks, write_sound
from tests.support.video_clips import click_file, pictures
from video.carry import Carry
from video.clock import FrameClock
from video.extras import extras_of
from video.probe import probe
from video.write import VideoWriter

RATE, LENGTH_S = 48000, Fraction(10)
PART = Segment(Fraction(4), Fraction(7))
CODEC = {".mp4": "libx264", ".mov": "libx264", ".mkv": "ffv1", ".webm": "libvpx-vp9"}


def film(path, speech):
    clock = FrameClock.constant(250, Fraction(25))
    with VideoWriter(
        path, width=32, height=32, clock=clock, codec=CODEC[path.suffix], crf=40, speech=speech, audio_end_s=LENGTH_S
    ) as writer:
        for _ in range(10):
            writer.write(torch.zeros((25, 3, 32, 32), dtype=torch.uint8))
    return writer.facts


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A film of 10 s whose AAC sound clicks at 2 and 8 s, and 3 s of speech that clicks at 1.5 s, of one tone that goes
    on from the one into the other."""
    folder = tmp_path_factory.mktemp("sound")
    own = tone_with_clicks(10, RATE, [2, 8])
    said = tone_with_clicks(3, RATE, [1.5], from_s=4)
    sound = write_sound(folder / "own.m4a", np.stack([own, own]), RATE, "aac")
    film(folder / "target.mp4", sound)
    soundfile.write(folder / "said.wav", said, RATE, subtype="PCM_24")
    return probe(folder / "target.mp4"), folder / "said.wav"


def laid(target, segments, sound=DubSound(), config=DubConfig(), speech=None):
    return sound_of(sound, speech, segments, target, LENGTH_S, config)[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_speech_lies_in_the_targets_own_sound_to_the_millisecond(material, tmp_path, suffix):
    target, said = material
    made = laid(target, [replace(PART, speech=said)])
    assert (made.rate, made.n_channels) == (48000, 2)
    facts = film(tmp_path / f"out{suffix}", made)
    heard, rate = heard_in(tmp_path / f"out{suffix}", 10)
    assert facts.audio == "encoded" and rate == 48000 and len(heard) == 2
    assert clicks_in(heard[0], rate) == pytest.approx([2, 5.5, 8], abs=0.001)
    for join_s in (4, 7):
        assert step_db(heard[0], rate, join_s) < 0.5
        near = heard[0][round((join_s - 0.1) * rate) : round((join_s + 0.1) * rate)]
        assert np.abs(np.diff(near, 2)).max() < 4 * TONE * (2 * np.pi * 220 / rate) ** 2 + 2e-3  # no click


def samples(made: Soundtrack | object) -> np.ndarray:
    assert isinstance(made, Soundtrack)
    return np.concatenate(list(made.blocks()), 1)


def level(values: np.ndarray, from_s: float, to_s: float) -> float:
    part = values[..., round(from_s * RATE) : round(to_s * RATE)]
    return float(np.sqrt((part**2).mean()) * np.sqrt(2))


def wav(path, values, rate=RATE):
    soundfile.write(path, values, rate, subtype="FLOAT")
    return path


def test_people_who_take_turns_on_one_track_leave_no_dip(material, tmp_path):
    target, _ = material
    track = wav(tmp_path / "track.wav", tone_with_clicks(10, RATE, [5]))
    turns = [
        Segment(Fraction(4), Fraction(6), 0),
        Segment(Fraction(6), Fraction(7), 1),
        Segment(Fraction(5), Fraction(17, 2), 2),
    ]
    made = samples(laid(target, turns, speech=track))
    assert clicks_in(made[0], RATE) == pytest.approx([2, 5], abs=0.001)  # the target's own at 8 s is in nobody's turn
    assert all(step_db(made[0], RATE, at_s) < 0.2 for at_s in (4, 6, 7, 8.5))
    film(tmp_path / "mute.mp4", None)
    alone = samples(laid(probe(tmp_path / "mute.mp4"), turns, speech=track))
    assert all(step_db(alone[0], RATE, at_s) < 0.2 for at_s in (4.5, 6, 7, 8.2)) and not alone[:, 9 * RATE :].any()


def test_around_parts_of_a_silent_film_there_is_silence(tmp_path, material):
    film(tmp_path / "mute.mp4", None)
    made = samples(laid(probe(tmp_path / "mute.mp4"), [replace(PART, speech=material[1])]))
    assert made.shape == (1, 10 * RATE) and not made[:, : 4 * RATE].any() and not made[:, 7 * RATE :].any()
    assert level(made, 4.1, 5.4) == pytest.approx(TONE, rel=0.01)


def test_the_targets_sound_stays_under_the_speech_where_it_is_asked_for(material, tmp_path):
    target, _ = material
    quiet = wav(tmp_path / "quiet.wav", np.zeros(3 * RATE))
    config = replace(DubConfig(), sound=SoundConfig(background_db=-20.0))
    made = samples(laid(target, [replace(PART, speech=quiet)], DubSound.of(None, "original"), config))
    assert level(made[0], 4.1, 6.9) == pytest.approx(TONE / 10, rel=0.03)
    assert level(made[0], 2.1, 3.9) == pytest.approx(TONE, rel=0.03) == level(made[0], 7.1, 7.9)


def test_a_background_runs_beside_the_target_and_is_heard_under_the_speech_only(material, tmp_path):
    target, _ = material
    quiet = wav(tmp_path / "quiet.wav", np.zeros(3 * RATE))
    under = wav(tmp_path / "music.wav", tone_with_clicks(10, RATE, [1, 5, 9]))
    made = samples(laid(target, [replace(PART, speech=quiet)], DubSound.of(None, under)))
    assert clicks_in(made[0], RATE) == pytest.approx([2, 5, 8], abs=0.001)
    whole = samples(sound_of(DubSound.of(None, under), quiet, None, target, Fraction(10), DubConfig())[0])
    assert clicks_in(whole[0], RATE) == pytest.approx([1, 5, 9], abs=0.001)


def test_one_file_as_it_is_stays_a_file(material, tmp_path):
    target, said = material
    assert sound_of(DubSound(), said, None, target, LENGTH_S, DubConfig())[0] == said
    mix = wav(tmp_path / "mix.wav", np.zeros(RATE))
    assert laid(target, [replace(PART, speech=said)], DubSound.of(mix, None)) == mix


def test_the_highest_rate_and_the_most_channels_are_kept(material, tmp_path):
    target, _ = material
    said = wav(tmp_path / "s.wav", tone_with_clicks(3, 16000, [1.5]), 16000)
    made = laid(target, [replace(PART, speech=said)])
    assert (made.rate, made.n_channels) == (48000, 2)
    both = samples(made)[:, 4 * RATE : 7 * RATE]
    assert (both[0] == both[1]).all() and level(both, 0.1, 1.4) == pytest.approx(TONE, rel=0.01)
    surround = write_sound(tmp_path / "m.flac", np.zeros((6, RATE), np.float32), RATE, "flac", "s32")
    made = laid(target, [replace(PART, speech=said)], DubSound.of(None, surround))
    inside = samples(made)[:, round(4.1 * RATE) : round(6.9 * RATE)]
    assert made.n_channels == 6 and [bool(channel.any()) for channel in inside] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("late_s", [-0.25, 0.4])
def test_sound_that_starts_beside_the_picture_keeps_its_time(material, tmp_path, late_s):
    target, said = material
    moved = replace(target, audio_start_s=target.audio_start_s + Fraction(late_s).limit_denominator(100))
    made = samples(laid(moved, [replace(PART, speech=said)]))
    assert clicks_in(made[0], RATE) == pytest.approx([2 + late_s, 5.5, 8 + late_s], abs=0.001)


def test_a_sum_that_clips_is_told_of(material, tmp_path):
    target, said = material
    loud = wav(tmp_path / "loud.wav", np.full(10 * RATE, 0.5))
    config = replace(DubConfig(), sound=SoundConfig(background_db=10.0))
    made = laid(target, [replace(PART, speech=said)], DubSound.of(None, loud), config)
    samples(made)
    assert "above full scale" in made.notes[0] and "--background-db" in made.notes[0]


def test_loudness_is_what_was_asked_for(material):
    pytest.importorskip("pyloudnorm")
    target, said = material
    config = replace(DubConfig(), sound=SoundConfig(loudness=-23.0))
    made = laid(target, [replace(PART, speech=said)], config=config)
    assert integrated(samples(made)) == pytest.approx(-23, abs=0.1)
    made, notes = sound_of(
        DubSound(), said, None, target, Fraction(3), replace(config, sound=SoundConfig(loudness=-6.0))
    )
    assert np.abs(samples(made)).max() == pytest.approx(10 ** (-1 / 20), abs=0.001) and "not -6" in notes[0]


def integrated(values: np.ndarray) -> float:
    """LUFS, as FFmpeg measures them."""
    import av.error
    import av.filter

    graph = av.filter.Graph()
    source = graph.add_abuffer(format="fltp", sample_rate=RATE, layout="stereo", time_base=Fraction(1, RATE))
    sink = graph.add("abuffersink")
    graph.link_nodes(source, graph.add("ebur128", "metadata=1"), sink).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    source.push(frame)
    source.push(None)
    found = ""
    while True:
        try:
            found = sink.pull().metadata.get("lavfi.r128.I", found)
        except (av.error.BlockingIOError, av.error.EOFError):
            return float(found)


FIT = replace(DubConfig(), sound=SoundConfig(fit=True))


def fitted(said, length_s, config, tmp_path):
    one = replace(PART, speech=said, place="s.csv line 3")
    return fitted_segments([one], {said: Fraction(length_s)}, DubSound(), config, Cache(tmp_path / "cache"))


def test_speech_longer_than_its_slot_is_sped_up_or_refused(tmp_path):
    said = wav(tmp_path / "said.wav", tone_with_clicks(3.2, RATE, [0.5, 2.9]))
    (one,), sound = fitted(said, "3.2", FIT, tmp_path)
    made, rate = soundfile.read(one.speech)
    assert len(made) == 3 * RATE == 3 * rate and sound.made_from(one.speech) == (said, Fraction(16, 15))
    spectrum = np.abs(np.fft.rfft(made[RATE : 2 * RATE] * np.hanning(RATE)))
    assert spectrum.argmax() == pytest.approx(220, abs=1) and "6.7 %" in sound.notes[0]
    assert clicks_in(made, RATE) == pytest.approx([0.5 * 15 / 16, 2.9 * 15 / 16], abs=0.006)
    with pytest.raises(
        UsageError, match=r"s.csv line 3: 4.00-7.00 s: said.wav lasts 3.20 s, 0.20 s longer .* 3.00 s. Add --fit"
    ):
        fitted(said, "3.2", DubConfig(), tmp_path)
    with pytest.raises(UsageError, match=r"more than the 10 % that --fit"):
        fitted(said, "3.4", FIT, tmp_path)
    assert fitted(said, "3.04", DubConfig(), tmp_path)[0][0].speech == said


def test_speech_of_a_whole_target_is_sped_up_where_the_target_keeps_its_time(tmp_path):
    said = wav(tmp_path / "said.wav", tone_with_clicks(3.2, RATE, []))

    def whole(config, length_s="3.2"):
        cache = Cache(tmp_path / "cache")
        return fitted_whole(said, Fraction(length_s), Fraction(3), DubSound(), config, cache)[:2]

    path, length_s = whole(FIT)
    assert path != said and length_s == 3
    for config in (DubConfig(), replace(FIT, retime=RetimeConfig(timeline="retime"))):
        assert whole(config) == (said, Fraction("3.2"))
    assert whole(FIT, "3.4") == (said, Fraction("3.4")) and whole(FIT, "2") == (said, Fraction(2))


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="--background"):
        DubSound.of("mix.wav", "original").check(SoundConfig())
    with pytest.raises(UsageError, match="name one with --background"):
        DubSound().check(SoundConfig(background_db=-6.0))
    original = DubSound.of(None, "original")
    with pytest.raises(UsageError, match="no sound"):
        original.check_original(False, "keep", "auto")
    with pytest.raises(UsageError, match="--timeline keep"):
        original.check_original(True, "retime", "auto")


def test_the_targets_own_sound_goes_on_to_its_end_after_the_picture(tmp_path, material):
    own = tone_with_clicks(10.5, RATE, [2, 10.4])
    soundfile.write(tmp_path / "own.wav", own, RATE)
    clock = FrameClock.constant(250, Fraction(25))
    how = {"width": 32, "height": 32, "clock": clock, "speech": tmp_path / "own.wav"}
    with VideoWriter(tmp_path / "t.mkv", codec="ffv1", **how) as writer:
        writer.write(torch.zeros((250, 3, 32, 32), dtype=torch.uint8))
    target, limits = probe(tmp_path / "t.mkv"), DubConfig().input_limits
    assert own_sound_end([PART], target, limits) == pytest.approx(10.5, abs=0.001)
    assert own_sound_end([PART, Segment(Fraction(8), Fraction(10))], target, limits) == 0
    assert own_sound_end([PART], replace(target, has_audio=False), limits) == 0
    part = Script(None, (PART,), False, clock, DubConfig())
    said = SimpleNamespace(length_s=clock.duration_s)
    for script, end_s in ((part, 10.5), (replace(part, preview_s=5.0), 10), (replace(part, whole=True), 10)):
        made = Dub(
            cast(Any, None),
            DubConfig(),
            script,
            DubSound(),
            cast(Any, (SimpleNamespace(said=said, plan=SimpleNamespace(clock=clock), ready=ready_of(target)),)),
        )
        assert float(made.audio_end_s) == pytest.approx(end_s, abs=0.001)


def ready_of(stream):
    return SimpleNamespace(subject=SimpleNamespace(films=[SimpleNamespace(stream=stream)]))


@pytest.mark.parametrize(
    ("sound", "partly", "says"),
    [
        (DubSound(), False, "the speech replaces"),
        (DubSound(), True, "in the dubbed parts the speech replaces"),
        (DubSound(background="original"), True, "in the dubbed parts the speech lies over"),
        (DubSound(mix=Path("a.wav")), True, "the mix replaces"),
    ],
)
def test_what_happens_to_the_targets_own_sound_is_said(tmp_path, sound, partly, says):
    target, out = rich_clip(tmp_path / "t.mp4"), tmp_path / "o.mp4"
    carry = Carry(extras_of(target), instead=sound.instead(partly))
    clock, said = FrameClock.constant(50, Fraction(25)), click_file(tmp_path / "s.wav", "pcm_s16le")
    with VideoWriter(out, width=144, height=64, clock=clock, preset="ultrafast", speech=said, carry=carry) as writer:
        writer.write(pictures(50))
    assert f"{says} the target's sound (eng, aac); its other sound is kept" in writer.facts.notes


@pytest.mark.parametrize(
    ("mix_s", "says"),
    [("8.5", "ends 1.5 s before"), ("9.5", ""), ("10.05", ""), ("10.6", "the last 0.60 s of the mix")],
)
def test_a_mix_that_does_not_fit_the_picture_is_told_of(mix_s, says):
    notes = mix_beside(Fraction(mix_s), Fraction(10))
    assert says in " ".join(notes) and len(notes) == bool(says)


def test_sound_that_the_end_of_the_picture_cuts_is_told_of():
    clock = FrameClock.constant(100, Fraction(25))
    assert lost_sound(Fraction("4.03"), clock) == []
    assert "last 0.50 s" in lost_sound(Fraction("4.5"), clock)[0]
