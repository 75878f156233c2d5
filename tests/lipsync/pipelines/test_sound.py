"""What is heard in a dub: new speech laid into the target's own sound, backgrounds, mixes, loudness, fitting."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch

from audio.soundtrack import Soundtrack
from lipsync.config.schema import DubConfig, RetimeConfig, SoundConfig
from lipsync.core.errors import UsageError
from lipsync.core.segments import Segment
from lipsync.pipelines.sound import DubSound, fitted_segments, fitted_whole, sound_of
from lipsync.store.cache import Cache
from tests.support.sound import TONE, clicks_in, heard_in, step_db, tone_with_clicks, write_sound
from video.clock import FrameClock
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
