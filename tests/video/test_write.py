"""Writing: the clock, the colours, the sound's start, the metadata; and nothing left behind when it goes wrong."""

from __future__ import annotations

import os
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from media import MediaError
from tests.support.video_clips import ENCODED, click_file, find_click_s, number_of, pictures, read, write_clip
from training.concat import join_clips
from video.clock import FrameClock
from video.colour import ColourTags
from video.probe import probe
from video.write import VideoWriter, available_encoders

CLOCK = FrameClock.constant(40, Fraction(25))


def write(path, rgb, clock=CLOCK, **options) -> VideoWriter:
    with VideoWriter(path, width=rgb.shape[3], height=rgb.shape[2], clock=clock, **options) as writer:
        for k in range(0, len(rgb), 7):
            writer.write(rgb[k : k + 7])
    return writer


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_same_frames_become_the_same_bytes(tmp_path, suffix):
    rgb = torch.nn.functional.interpolate(pictures(40).float(), size=(80, 160)).to(torch.uint8)
    first, again = (write(tmp_path / f"{i}{suffix}", rgb).path for i in range(2))
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("codec,suffix", ENCODED)
def test_every_encoder_keeps_numbers_and_clock(tmp_path, codec, suffix):
    if codec not in available_encoders():
        pytest.skip(f"this FFmpeg has no {codec}")
    rng = np.random.default_rng(0)
    pts = np.cumsum(rng.integers(3, 20, 40)).astype(np.int64) * 450  # a multiple of 5 ms, which Matroska can hold
    clock = FrameClock(pts, Fraction(1, 90000), int(pts[-1]) + 4500)
    out = tmp_path / f"out {codec}{suffix}"
    rgb = pictures(40)
    facts = write(out, rgb, clock, codec=codec).facts
    stream = probe(out)
    wanted = [Fraction(p - pts[0], 90000) for p in pts.tolist()]
    assert [(p - stream.clock.pts[0]) * stream.clock.base for p in stream.clock.pts.tolist()] == wanted
    got = read(out)
    assert [number_of(f) for f in got.numpy()] == list(range(40))
    error = (got.float() - rgb.float()).abs().mean()
    assert error == 0 if codec == "ffv1" else error < 6
    assert (facts.n_frames, facts.n_bytes, facts.audio) == (40, out.stat().st_size, "none")
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize(
    "tags", [ColourTags(1, 1, 1, 1), ColourTags(6, 6, 6, 1), ColourTags(5, 5, 6, 2), ColourTags(9, 9, 14, 1)]
)
def test_tags_are_the_targets_and_colours_come_back(tmp_path, tags):
    flat = torch.tensor([200, 40, 90], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 64, 64).contiguous()
    write(tmp_path / "t.mp4", flat, FrameClock.constant(2, Fraction(25)), colour=tags, crf=4)
    assert probe(tmp_path / "t.mp4").colour == tags
    assert (read(tmp_path / "t.mp4").int() - flat.int()).abs().max() <= 3


@pytest.mark.parametrize("width,height,matrix", [(1280, 720, 1), (64, 48, 6)])
def test_untagged_targets_are_written_with_tags(tmp_path, width, height, matrix):
    write(
        tmp_path / "t.mp4",
        torch.full((1, 3, height, width), 90, dtype=torch.uint8),
        FrameClock.constant(1, Fraction(25)),
    )
    colour = probe(tmp_path / "t.mp4").colour
    assert colour.matrix == matrix and 2 not in (colour.primaries, colour.transfer) and colour.range == 1


def test_odd_sizes_are_kept_to_the_last_row(tmp_path):
    rgb = pictures(3, 65, 145)
    facts = write(tmp_path / "odd.mp4", rgb, FrameClock.constant(3, Fraction(25)), crf=4).facts
    assert read(tmp_path / "odd.mp4").shape == rgb.shape
    assert facts.pix_fmt == "yuv444p" and "odd size" in facts.notes[0]
    assert (read(tmp_path / "odd.mp4")[:, :, -1].float() - rgb[:, :, -1].float()).abs().mean() < 4


@pytest.mark.parametrize(
    "codec,suffix", [("libx264", ".mp4"), ("libx265", ".mp4"), ("libvpx-vp9", ".webm"), ("prores_ks", ".mov")]
)
def test_a_second_trip_through_the_file_format_moves_no_colour(tmp_path, codec, suffix):
    how = {"clock": FrameClock.constant(1, Fraction(25)), "crf": 0, "colour": ColourTags(1, 1, 1, 1), "codec": codec}
    write(tmp_path / f"one{suffix}", pictures(1), **how)
    once = read(tmp_path / f"one{suffix}")
    write(tmp_path / f"two{suffix}", once, **how)
    assert (read(tmp_path / f"two{suffix}").float() - once.float()).abs().mean() < 0.45
    assert abs((once.float() - pictures(1).float()).mean()) < 0.3


@pytest.mark.parametrize("n", [1, 2])
def test_the_shortest_videos_are_decoded_in_time(tmp_path, n):
    """x265 leaves the time of decoding of so few frames to chance, and the file cannot be written then."""
    for k in range(4):
        out = tmp_path / f"{k}.mp4"
        junk = [np.full(1 << size, 0x55AA55AA, np.int64) for size in range(4, 14)]  # memory that is taken again
        del junk
        write(out, pictures(n), FrameClock.constant(n, Fraction(25)), codec="libx265")
        with av.open(str(out)) as media:
            assert [p.dts for p in media.demux(video=0) if p.size] == [512 * i for i in range(n)]


def test_metadata_and_pixel_shape_survive(tmp_path):
    notes = {"title": "a b", "comment": "speech replaced", "lipsync_receipt": '{"job": "0a"}'}
    write(tmp_path / "m.mp4", pictures(40), metadata=notes, sample_aspect=Fraction(16, 15))
    with av.open(str(tmp_path / "m.mp4")) as media:
        assert notes.items() <= media.metadata.items()
    assert probe(tmp_path / "m.mp4").sample_aspect == Fraction(16, 15)


SPEECH = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "m4a": "aac"}
COPIED = {
    ("m4a", ".mp4"),
    ("mp3", ".mp4"),
    ("m4a", ".mov"),
    ("mp3", ".mov"),
    ("wav", ".mov"),
    ("wav", ".mkv"),
    ("flac", ".mkv"),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("kind", SPEECH)
def test_speech_starts_with_the_first_frame(tmp_path, kind, suffix):
    speech = click_file(tmp_path / f"speech.{kind}", SPEECH[kind], click_s=0.5, length_s=1.3)
    click_s, _ = find_click_s(speech)
    with av.open(str(speech)) as media:  # a player's zero is the first sample that sounds
        frame = next(media.decode(audio=0))
        click_s -= float(frame.pts * frame.time_base)
    out = tmp_path / f"out{suffix}"
    clock = FrameClock(CLOCK.pts + 7, CLOCK.base, CLOCK.end + 7)
    facts = write(out, pictures(40), clock, speech=speech).facts
    got, end = find_click_s(out)
    assert abs(click_s - 0.5) < 0.001 and abs(got - click_s) < 0.001
    assert facts.audio == ("copied" if (kind, suffix) in COPIED else "encoded")
    if suffix != ".mkv":
        assert abs(end - 1.3) < 0.0005


@pytest.mark.parametrize("kind", ["wav", "m4a"])
def test_speech_can_be_cut(tmp_path, kind):
    speech = click_file(tmp_path / f"s.{kind}", SPEECH[kind])
    write(tmp_path / "out.mp4", pictures(40), speech=speech, audio_end_s=Fraction(3, 4))
    got, end = find_click_s(tmp_path / "out.mp4")
    assert abs(got - 0.5) < 0.001 and abs(end - 0.75) < 0.001


def test_mono_speech_of_any_rate_stays_mono(tmp_path):
    with av.open(str(tmp_path / "s.wav"), "w") as out:
        track = out.add_stream("pcm_s16le", rate=18000)
        track.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 18000), np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 18000, 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    write(tmp_path / "out.mp4", pictures(40), speech=tmp_path / "s.wav")
    with av.open(str(tmp_path / "out.mp4")) as media:
        track = media.streams.audio[0].codec_context
        assert (track.sample_rate, track.layout.nb_channels) == (22050, 1)


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("video")]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(tmp_path, error):
    (tmp_path / "out.mp4").write_bytes(b"the earlier one")
    with pytest.raises(error), VideoWriter(tmp_path / "out.mp4", width=144, height=64, clock=CLOCK) as writer:
        for _ in range(4):
            writer.write(pictures(8))
        raise error
    assert os.listdir(tmp_path) == ["out.mp4"] and (tmp_path / "out.mp4").read_bytes() == b"the earlier one"
    assert not _threads()
    with pytest.raises(RuntimeError, match="not finished"):
        _ = writer.facts


def test_too_few_and_too_many_frames_are_refused(tmp_path):
    for n in (39, 41):
        with pytest.raises(ValueError, match="clock of 40"):
            write(tmp_path / "out.mp4", pictures(n))
        assert os.listdir(tmp_path) == []


def test_a_failing_encoder_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    def broken(*_):
        raise av.error.OSError(28, "No space left on device")

    monkeypatch.setattr("video.write.Converter.frame", broken)
    with pytest.raises(MediaError, match="No space left"):
        write(tmp_path / "out.mp4", pictures(40))
    assert os.listdir(tmp_path) == [] and not _threads()


@pytest.mark.parametrize(
    "name,options,words",
    [
        ("no/such/folder/out.mp4", {}, "does not exist"),
        ("", {}, "is a folder"),
        ("out.mp4", {"codec": "libx666"}, "Known: .*libx264"),
        ("out.xyz", {}, "out.xyz"),
        ("out.webm", {"codec": "libx264"}, "libx264"),
        ("out.mp4", {"speech": "/nowhere/s.wav"}, "no such speech file"),
    ],
)
def test_errors_say_what_to_do(tmp_path, name, options, words):
    with pytest.raises(MediaError, match=words):
        write(tmp_path / name, pictures(40), **options)
    assert os.listdir(tmp_path) == []


def test_nvenc_without_a_card_is_an_error_with_a_cure(tmp_path):
    if "h264_nvenc" not in available_encoders():
        pytest.skip("this FFmpeg has no h264_nvenc")
    try:
        write(tmp_path / "n.mp4", pictures(40, 128, 256), codec="h264_nvenc")
    except MediaError as error:
        assert "libx264" in str(error) and os.listdir(tmp_path) == []
    else:
        assert [number_of(f) for f in read(tmp_path / "n.mp4").numpy()] == list(range(40))


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_joined_clips_keep_picture_and_sound_together(tmp_path, suffix):
    clips = [write_clip(tmp_path / f"{k}.mp4", n, click_s=click) for k, (n, click) in enumerate([(30, 0.4), (20, 0.6)])]
    starts = join_clips(clips, tmp_path / f"joined{suffix}")
    assert starts.tolist() == [0, 30, 50]
    stream = probe(tmp_path / f"joined{suffix}")
    assert [number_of(f) for f in read(stream.path).numpy()] == [*range(30), *range(20)]
    assert stream.clock.rate == 25 and abs(stream.audio_start_s) < Fraction(1, 1000)
    with av.open(str(stream.path)) as media:
        sound = np.concatenate([f.to_ndarray()[0] for f in media.decode(audio=0)]).astype(np.float64)
    loud = np.flatnonzero(np.abs(sound) > 0.5 * np.abs(sound).max()) / 44100
    first, second = loud[loud < 1.2].mean(), loud[loud > 1.2].mean()
    assert abs(first - 0.4) < 0.002 and abs(second - (1.2 + 0.6)) < 0.002
