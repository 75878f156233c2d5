"""Names of codecs, what is chosen by itself, and sentences that name the option at fault."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from media import MediaError
from tests.support.video_clips import click_file, number_of, pictures, read
from video import codecs
from video.clock import FrameClock
from video.codecs import ALIASES, encoder_of
from video.ranges import RangedWriter
from video.write import VideoWriter, available_encoders


def write(out, n=10, rows=0, size=(64, 144), **options):
    rgb, clock = pictures(n, *size), FrameClock.constant(n, Fraction(25))
    how = {"width": size[1], "height": size[0], "clock": clock, **options}
    with RangedWriter(out, out.parent, rows, **how) if rows else VideoWriter(out, **how) as writer:
        writer.write(rgb)
    return writer.facts


def kinds(path):
    """Of each track of the file: codec and tag."""
    with av.open(str(path)) as media:
        return [(s.codec_context.codec.canonical_name, s.codec_context.codec_tag.strip("\0 ")) for s in media.streams]


@pytest.mark.parametrize("rows", [0, 4])
@pytest.mark.parametrize("suffix,tag", [(".mp4", "hvc1"), (".mov", "hvc1"), (".mkv", "")])
def test_hevc_has_the_tag_that_apple_plays(tmp_path, suffix, tag, rows):
    write(tmp_path / f"o{suffix}", codec="hevc", rows=rows)
    assert kinds(tmp_path / f"o{suffix}")[0] == ("hevc", tag)
    assert [number_of(frame) for frame in read(tmp_path / f"o{suffix}").numpy()] == list(range(10))


def test_webm_is_vp9_and_opus_unasked(tmp_path):
    write(tmp_path / "o.webm", speech=click_file(tmp_path / "s.wav", "pcm_s16le"))
    assert [name for name, _ in kinds(tmp_path / "o.webm")] == ["vp9", "opus"]
    write(tmp_path / "o.mp4")
    assert kinds(tmp_path / "o.mp4")[0][0] == "h264"


@pytest.mark.parametrize("suffix", [".webm", ".mp4", ".mkv"])
def test_av1_keeps_every_frame(tmp_path, suffix):
    if "libsvtav1" not in available_encoders():
        pytest.skip("this FFmpeg has no libsvtav1")
    out = tmp_path / f"o{suffix}"
    for preset in ("fast", "ultrafast", "7"):
        write(out, 40, codec="av1", preset=preset)
        assert kinds(out)[0][0] == "av1" and [number_of(frame) for frame in read(out).numpy()] == list(range(40))
    once = out.read_bytes()
    write(out, 40, codec="av1", preset="7")
    assert out.read_bytes() == once
    write(out, 20, codec="av1", rows=8)
    assert [number_of(frame) for frame in read(out).numpy()] == list(range(20))


@pytest.mark.parametrize("name", ALIASES)
def test_every_alias_is_an_encoder_that_is_known(name):
    from video.write import ENCODERS

    assert encoder_of(name, ".mp4") in ENCODERS and encoder_of(name.upper(), ".mkv") == encoder_of(name, ".mkv")


@pytest.mark.parametrize(
    "name,options,words",
    [
        ("o.mp4", {"codec": "hvec"}, "write.codec: there is no encoder 'hvec' here. Did you mean 'hevc'?"),
        ("o.webm", {"codec": "h264"}, "write.codec: a .webm file cannot hold libx264. Leave the option out for VP9"),
        ("o.mp4", {"preset": "warp"}, "write.preset: libx264 has no preset 'warp'. Known: ultrafast, superfast"),
        ("o.mp4", {"codec": "av1", "preset": "12"}, "write.preset: libsvtav1 has no preset '12'. Known: ultrafast"),
        ("o.mp4", {"codec": "hevc", "crf": 60}, "write.crf: libx265 takes 0 (best) to 51, not 60."),
    ],
)
def test_the_sentence_names_the_option_at_fault(tmp_path, name, options, words):
    with pytest.raises(MediaError) as caught:
        write(tmp_path / name, **options)
    assert words in str(caught.value) and str(caught.value).startswith(str(tmp_path / name))


def test_the_sentence_names_the_real_size(tmp_path):
    with pytest.raises(MediaError, match=r"write\.codec: libx265 at 12x8 fails in a .mp4 file \("):
        write(tmp_path / "o.mp4", size=(8, 12), codec="hevc")


@pytest.mark.parametrize("codec,written", [("h264_nvenc", "h264"), ("hevc_nvenc", "hevc")])
def test_without_its_hardware_an_encoder_is_replaced_with_a_note(tmp_path, codec, written, monkeypatch):
    if codec not in available_encoders():
        pytest.skip(f"this FFmpeg has no {codec}")
    monkeypatch.setattr(codecs, "does_not_work", lambda encoder: "no such device")
    facts = write(tmp_path / "o.mp4", codec=codec, size=(144, 256))
    assert kinds(tmp_path / "o.mp4")[0][0] == written
    assert f"{codec} does not work here (no such device)" in " ".join(facts.notes)
    facts = write(tmp_path / "r.mp4", codec=codec, size=(144, 256), rows=4)
    assert kinds(tmp_path / "r.mp4")[0][0] == written and codec in " ".join(facts.notes)


def test_an_encoder_that_works_is_known_to():
    assert codecs.does_not_work("libx264") == "" and codecs.usable_encoder("libx264") == ("libx264", "")
    assert codecs.does_not_work("none_such")
