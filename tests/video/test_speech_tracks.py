"""Speech whose timestamps have holes, and files with a sound track that nothing decodes: heard alike by whoever reads
them."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from audio.duration import speech_length
from audio.load import load_speech, load_track
from audio.soundtrack import samples_of
from tests.support.sound import clicks_in, heard_in, tone_with_clicks, write_sound
from video.clock import FrameClock
from video.probe import probe
from video.write import VideoWriter

RATE = 48000
CLICKS = tone_with_clicks(3, RATE, [1, 2], tone=0.0)


def with_hole(path, codec, at_s=1.5, hole_s=1.0):
    """3 s of sound with clicks at 1 and 2 s; what is after `at_s` comes later."""
    kind = "flt" if codec == "libopus" else "s16" if codec != "aac" else "fltp"
    plain = write_sound(path.with_stem("plain"), CLICKS[None], RATE, codec, kind)
    with av.open(str(plain)) as whole, av.open(str(path), "w") as out:
        source = whole.streams.audio[0]
        track = out.add_stream_from_template(source)
        for packet in whole.demux(source):
            if packet.size:
                if packet.pts * packet.time_base >= at_s:
                    packet.pts += round(hole_s / packet.time_base)
                    packet.dts += round(hole_s / packet.time_base)
                packet.stream = track
                out.mux(packet)
    return path


def film(path, speech, codec):
    clock = FrameClock.constant(100, Fraction(25))
    with VideoWriter(path, width=32, height=32, clock=clock, codec=codec, crf=40, speech=speech) as writer:
        writer.write(torch.zeros((100, 3, 32, 32), dtype=torch.uint8))
    return writer.facts


@pytest.mark.parametrize(
    "name, codec",
    [("s.m4a", "aac"), ("s.mka", "aac"), ("s.webm", "libopus"), ("s.mka", "flac"), ("s.mka", "pcm_s16le")],
)
def test_a_hole_is_silence_for_lips_length_and_every_container(tmp_path, name, codec):
    speech = with_hole(tmp_path / name, codec)
    wave = load_speech(speech)
    assert float(wave.duration_s) == pytest.approx(4, abs=0.05)
    assert float(speech_length(speech)) == pytest.approx(float(wave.duration_s), abs=0.05)
    assert clicks_in(wave.samples.numpy(), 16000) == pytest.approx([1, 3], abs=0.003)
    assert not wave.samples[round(1.6 * 16000) : round(2.4 * 16000)].any()
    laid = np.concatenate(list(samples_of(speech, RATE, 1)), 1)[0]
    assert clicks_in(laid, RATE) == pytest.approx([1, 3], abs=0.002)
    ways = set()
    for suffix, encoder in ((".mp4", "libx264"), (".mov", "libx264"), (".mkv", "ffv1"), (".webm", "libvpx-vp9")):
        ways.add(film(tmp_path / f"out{suffix}", speech, encoder).audio)
        heard, rate = heard_in(tmp_path / f"out{suffix}", 4)
        assert clicks_in(heard[0], rate) == pytest.approx([1, 3], abs=0.003), suffix
        assert np.abs(heard[0][round(1.6 * rate) : round(2.4 * rate)]).max() < 0.01, suffix
    assert "encoded" in ways and (codec == "libopus" or "copied" in ways)


def test_a_hole_of_hours_is_broken_timestamps_for_all_of_them(tmp_path):
    speech = with_hole(tmp_path / "s.mka", "flac", hole_s=7200.0)
    assert float(load_speech(speech).duration_s) == pytest.approx(3, abs=0.05)
    assert float(speech_length(speech)) == pytest.approx(3, abs=0.05)
    assert film(tmp_path / "out.mkv", speech, "ffv1").audio == "copied"
    heard, rate = heard_in(tmp_path / "out.mkv", 4)
    assert clicks_in(heard[0], rate) == pytest.approx([1, 2], abs=0.003)


def undecodable_second_track(path):
    """A film with two AAC tracks: a mono one, and one of six channels under a name that no decoder knows."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        tracks = [out.add_stream("aac", rate=RATE, layout=layout) for layout in ("mono", "5.1")]
        for i in range(75):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for track in tracks:
            values = np.repeat(CLICKS[None], track.codec_context.channels, 0)
            frame = av.AudioFrame.from_ndarray(values, format="fltp", layout=track.codec_context.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            out.mux(track.encode(frame))
            out.mux(track.encode(None))
    data = bytearray(path.read_bytes())
    moov = data.find(b"moov")
    names = [at for at in _places(data, b"mp4a", moov) if data.rfind(b"stsd", 0, at) > at - 40]
    at = names[1]
    data[at : at + 4] = b"apac"
    for tag in (b"esds", b"mp4a", b"wave"):
        for place in _places(data, tag, at + 1, at + 160):
            data[place : place + 4] = b"zzzz"
    for place in _places(data, b"tkhd", moov):
        data[place + 5 : place + 8] = b"\0\0\x0f"
    path.write_bytes(data)
    return path


def _places(data, tag, first, last=None):
    out, at = [], first
    while (at := data.find(tag, at + 1, last or len(data))) > 0:
        out.append(at)
    return out


def test_the_best_track_that_can_be_decoded_is_heard_everywhere(tmp_path):
    path = undecodable_second_track(tmp_path / "two.mov")
    with av.open(str(path)) as media:
        assert media.streams.best("audio").codec_context is None, "the better track is the one without a decoder"
    for wave in (load_speech(path), load_track(path)):
        assert clicks_in(wave.samples.numpy(), 16000) == pytest.approx([1, 2], abs=0.003)
        assert "track 2 cannot be decoded" in wave.notes[0] and "track 1 of 2" in wave.notes[0]
    assert float(speech_length(path)) == pytest.approx(3, abs=0.03)
    stream = probe(path)
    assert stream.has_audio and abs(float(stream.audio_start_s or 0)) < 0.001 and "track 2" in stream.notes[-1]
    facts = film(tmp_path / "out.mp4", path, "libx264")
    assert facts.audio == "copied" and "track 2" in facts.notes[0]
    heard, rate = heard_in(tmp_path / "out.mp4", 3)
    assert clicks_in(heard[0], rate) == pytest.approx([1, 2], abs=0.003)
