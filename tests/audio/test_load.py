"""Sound from files: rate, channels, sample type, time zero, and what cannot be read."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch

from audio.duration import speech_length
from audio.load import RATE, Waveform, load_speech, load_track
from media import MediaError


def click(rate: int, at_s: float, length_s: float = 1.0) -> np.ndarray:
    """A short band-limited pulse."""
    t = np.arange(round(length_s * rate)) / rate - at_s
    return (0.8 * np.exp(-((t / 4e-4) ** 2))).astype(np.float32)


def peak_s(wave: Waveform) -> float:
    return int(wave.samples.abs().argmax()) / wave.rate


def write_movie(path, audio_at_s: float, codec: str = "pcm_s16le", click_s: float = 0.5, rate: int = 48000) -> None:
    """A 1 s movie whose first picture is shown at 0.2 s; the sound starts `audio_at_s` after it."""
    with av.open(str(path), "w") as box:
        picture = box.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = box.add_stream(codec, rate=rate, layout="mono")
        samples = click(rate, click_s)
        size = sound.codec_context.frame_size or 1000
        form = sound.codec_context.format.name
        for i in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = i + 5, Fraction(1, 25)
            box.mux(picture.encode(frame))
        for i in range(0, len(samples), size):
            part = samples[None, i : i + size]
            values = (part * 32767).astype(np.int16) if form == "s16" else part
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=form, layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = i + round((0.2 + audio_at_s) * rate)
            box.mux(sound.encode(frame))
        box.mux(picture.encode(None))
        box.mux(sound.encode(None))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 96000, 192000])
def test_click_stays_at_its_time(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", click(rate, 0.4), rate, subtype="FLOAT")
    wave = load_speech(tmp_path / "a.wav")
    assert abs(peak_s(wave) - 0.4) < 5e-4
    assert wave.duration_s == 1 and len(wave.samples) == RATE and wave.rate == RATE


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_sample_types_have_one_scale(tmp_path, subtype):
    tone = 0.5 * np.sin(np.arange(16000) * 2 * np.pi * 200 / 16000)
    soundfile.write(tmp_path / "a.wav", tone, 16000, subtype=subtype)
    wave = load_speech(tmp_path / "a.wav")
    assert np.abs(wave.samples.numpy() - tone).max() < 0.01


def test_channels_are_averaged(tmp_path):
    tone = np.sin(np.arange(8000) * 0.1)
    soundfile.write(tmp_path / "a.wav", np.stack([tone * g for g in (0.6, 0, 0, 0, 0.3, 0)], 1), 16000, subtype="FLOAT")
    assert np.abs(load_speech(tmp_path / "a.wav").samples.numpy() - 0.15 * tone).max() < 1e-4


def test_nothing_above_8_khz_folds_back(tmp_path):
    tone = 0.5 * np.sin(np.arange(48000) * 2 * np.pi * 11000 / 48000)
    soundfile.write(tmp_path / "a.wav", tone, 48000)
    assert load_speech(tmp_path / "a.wav").samples[500:-500].abs().max() < 0.01


def test_numbers_that_are_none_become_silence_with_a_note(tmp_path):
    samples = click(16000, 0.5)
    samples[100], samples[200] = np.nan, np.inf
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    wave = load_speech(tmp_path / "a.wav")
    assert torch.isfinite(wave.samples).all() and "2 samples" in wave.notes[0]


def test_too_loud_is_scaled_not_cut(tmp_path):
    soundfile.write(tmp_path / "a.wav", 3 * np.sin(np.arange(16000) * 0.05), 16000, subtype="FLOAT")
    wave = load_speech(tmp_path / "a.wav")
    assert np.abs(wave.samples.numpy() - np.sin(np.arange(16000) * 0.05)).max() < 1e-3


def test_duration_is_the_originals(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(12345) + 0.1, 44100)
    wave = load_speech(tmp_path / "a.wav")
    assert wave.duration_s == Fraction(12345, 44100)
    assert len(wave.samples) == round(Fraction(12345, 44100) * RATE)


def test_silence_is_allowed_and_noted():
    wave = Waveform.of(np.zeros(4000, np.float32))
    assert "silent" in wave.notes[0]


@pytest.mark.parametrize("suffix,codec", [("m4a", "aac"), ("mp3", "libmp3lame"), ("opus", "libopus"), ("flac", "flac")])
def test_codec_delay_is_removed(tmp_path, suffix, codec):
    path, rate = tmp_path / f"a.{suffix}", 48000
    samples = click(rate, 0.5)
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    wave = load_speech(path)
    assert abs(peak_s(wave) - 0.5) < 1e-3
    assert abs(float(wave.duration_s) - 1) < 0.002


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("audio_at_s", [0.0, 0.15, -0.12])
def test_track_starts_with_the_first_picture(tmp_path, audio_at_s, codec):
    write_movie(tmp_path / "a.mkv", audio_at_s, codec)
    assert abs(peak_s(load_track(tmp_path / "a.mkv")) - (0.5 + audio_at_s)) < 1.5e-3
    assert abs(peak_s(load_speech(tmp_path / "a.mkv")) - 0.5) < 1.5e-3


def test_a_hole_in_the_track_is_silence(tmp_path):
    rate, samples = 48000, click(48000, 0.5)
    with av.open(str(tmp_path / "a.mkv"), "w") as box:
        sound = box.add_stream("pcm_s16le", rate=rate, layout="mono")
        for i in range(0, rate, 960):
            frame = av.AudioFrame.from_ndarray(
                (samples[None, i : i + 960] * 32767).astype(np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), i + (i >= rate // 4) * rate // 5
            box.mux(sound.encode(frame))
        box.mux(sound.encode(None))
    assert abs(peak_s(load_track(tmp_path / "a.mkv")) - 0.7) < 1e-3


def test_track_of_mp4_with_edit_list(tmp_path):
    write_movie(tmp_path / "a.mp4", 0.1, "aac")
    assert abs(peak_s(load_track(tmp_path / "a.mp4")) - 0.6) < 1.5e-3


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "junk.wav").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "junk.gsm").write_bytes(np.random.default_rng(1).bytes(1023))  # libsndfile: "non-seekable"
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    with av.open(str(tmp_path / "mute.mp4"), "w") as box:
        picture = box.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        box.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        box.mux(picture.encode(None))
    for name, words in {
        "gone.wav": "no file",
        "": "folder",
        "zero.wav": "0 bytes",
        "junk.wav": "junk.wav",
        "junk.gsm": "junk.gsm",
        "none.wav": "0 samples|no sound that can be decoded",
        "mute.mp4": "no audio track",
    }.items():
        for read in (load_speech, load_track, speech_length):
            with pytest.raises(MediaError, match=words) as refused:
                read(tmp_path / name)
            assert str(tmp_path / name) in str(refused.value)  # the path as it was given


def test_a_truncated_file_gives_what_is_there(tmp_path):
    soundfile.write(tmp_path / "a.wav", click(16000, 0.2), 16000)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(whole[: len(whole) // 2])
    assert 0.4 < load_speech(tmp_path / "b.wav").duration_s < 0.5
