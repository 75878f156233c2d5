"""Sound that FFmpeg or PyAV stumble over: eight and more channels in planes, which PyAV reads beyond their end; samples
beyond all sound."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from audio.load import load_speech, load_track
from training.concat import join_clips
from video.clock import FrameClock
from video.write import VideoWriter

N = 4800


def write_sound(path, codec, layout, n_channels, rate=48000):
    """A tone in every channel, the louder the later the channel."""
    tone = np.sin(np.arange(4 * N) * 2 * np.pi * 300 / rate)[:, None] * (1 + np.arange(n_channels)) / (3 * n_channels)
    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=rate)
        track.codec_context.layout = layout
        frame = av.AudioFrame(format="flt", layout=layout, samples=len(tone))
        frame.planes[0].update(tone.astype(np.float32).ravel())
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return path


@pytest.mark.parametrize(
    "codec, name", [("aac", "a.m4a"), ("libopus", "a.ogg"), ("pcm_s16le", "a.wav"), ("flac", "a.flac")]
)
def test_eight_channels_are_averaged(tmp_path, codec, name):
    wave = load_speech(write_sound(tmp_path / name, codec, "7.1", 8))
    middle = wave.samples[2000:5000]
    assert len(wave.samples) == pytest.approx(6400, abs=400)
    # Codecs order the channels in their own ways, and take the high tones out of the low-frequency one.
    assert float(middle.abs().max()) == pytest.approx(4.5 / 24, rel=0.3)


def test_eight_channels_are_written_and_joined(tmp_path):
    speech = write_sound(tmp_path / "a.m4a", "aac", "7.1", 8)
    with VideoWriter(
        tmp_path / "one.mkv",
        width=32,
        height=32,
        clock=FrameClock.constant(8, Fraction(25)),
        codec="ffv1",
        speech=speech,
    ) as writer:
        writer.write(torch.zeros(8, 3, 32, 32, dtype=torch.uint8))
    assert writer.facts.audio == "encoded" and float(load_track(tmp_path / "one.mkv").samples.abs().max()) > 0.05
    clips = []
    for i in range(2):
        with VideoWriter(
            tmp_path / f"{i}.mov", width=32, height=32, clock=FrameClock.constant(5, Fraction(25)), speech=speech
        ) as writer:
            writer.write(torch.zeros(5, 3, 32, 32, dtype=torch.uint8))
        assert writer.facts.audio == "copied"
        clips.append(tmp_path / f"{i}.mov")
    join_clips(clips, tmp_path / "both.mkv")
    assert float(load_track(tmp_path / "both.mkv").samples.abs().max()) > 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf, 7.7e31, -1e10])
def test_samples_that_are_no_sound_are_silence(tmp_path, bad):
    """Of samples beyond all sound FFmpeg's AAC encoder stops, or never ends."""
    import soundfile

    samples = np.full(8000, 0.25, np.float32)
    samples[3000] = bad
    soundfile.write(tmp_path / "bad.wav", samples, 16000, subtype="FLOAT")
    assert float(load_speech(tmp_path / "bad.wav").samples.abs().max()) == 0.25
    with VideoWriter(
        tmp_path / "bad.mp4",
        width=32,
        height=32,
        clock=FrameClock.constant(12, Fraction(25)),
        speech=tmp_path / "bad.wav",
    ) as writer:
        writer.write(torch.zeros(12, 3, 32, 32, dtype=torch.uint8))
    assert writer.facts.audio == "encoded"
