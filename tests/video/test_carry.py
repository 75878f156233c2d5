"""What a written video takes over from its target: all of it, at its time; what it cannot, named."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.support.rich_clips import CHAPTERS, CLICK_S, FONT, PNG, SUBTITLES, TAGS, click_of, rich_clip, shown_texts
from tests.support.video_clips import click_file, pictures
from video.carry import Carry, name_speech
from video.clock import FrameClock
from video.extras import Track, extras_of
from video.probe import probe
from video.ranges import RangedWriter
from video.write import VideoWriter

RATE = Fraction(25)


def write(target, out, n=50, *, speech=None, end_s=None, lost="", rows=0, **options):
    extras, clock = extras_of(target), probe(target).clock
    carry = Carry(extras, int(clock.pts[0]) * clock.base, end_s, lost)
    how = {"width": 144, "height": 64, "clock": FrameClock.constant(n, RATE), "preset": "ultrafast", "speech": speech}
    how |= {"carry": carry, "metadata": extras.tags, **options}
    if rows:
        (out.parent / "ranges").mkdir(exist_ok=True)
    with RangedWriter(out, out.parent / "ranges", rows, **how) if rows else VideoWriter(out, **how) as writer:
        writer.write(pictures(n))
    return writer.facts


def test_extras_are_what_the_file_holds(tmp_path):
    extras = extras_of(rich_clip(tmp_path / "t.mkv"))
    assert extras.sound is not None and str(extras.sound) == "sound (eng, aac)"
    assert [str(track) for track in extras.tracks] == ["sound (deu, aac)", "subtitles (eng, subrip)"]
    assert [(one.tags["title"], one.start_s, one.end_s) for one in extras.chapters] == [
        (title, Fraction(str(a)), Fraction(str(b))) for title, a, b in CHAPTERS
    ]
    assert [one.data for one in extras.covers] == [PNG] and [one.data for one in extras.attachments] == [FONT]
    assert extras.timecode == "01:00:00:00"
    assert {key.lower(): value for key, value in extras.tags.items()} == {k.lower(): v for k, v in TAGS.items()}


@pytest.mark.parametrize(
    "was,now,start_s,rows",
    [
        (".mp4", ".mp4", 0, 0), (".mp4", ".mp4", 2, 20), (".mkv", ".mkv", 0, 20), (".mkv", ".mkv", 2, 0),
        (".mov", ".mov", 2, 20), (".mkv", ".mp4", 2, 0), (".mp4", ".mkv", 2, 0), (".mp4", ".webm", 2, 20),
    ],
)  # fmt: skip
def test_everything_is_there_at_its_time(tmp_path, was, now, start_s, rows):
    speech = click_file(tmp_path / "s.wav", "pcm_s16le", click_s=1.0, length_s=2.0)
    target = rich_clip(tmp_path / f"target{was}", start_s=Fraction(start_s))
    facts, want = write(target, tmp_path / f"out{now}", speech=speech, rows=rows), extras_of(target)
    got = extras_of(tmp_path / f"out{now}")

    assert probe(tmp_path / f"out{now}").clock.pts[0] == 0
    assert abs(click_of(tmp_path / f"out{now}", 0) - 1.0) < 0.001  # the new speech is the first sound
    assert abs(click_of(tmp_path / f"out{now}", 1) - click_of(target, 1)) < 0.001  # the other is as it was
    assert abs(click_of(target, 1) - CLICK_S) < 0.001
    texts = [(text.rpartition("}")[2], a, b) for text, a, b in shown_texts(tmp_path / f"out{now}")]
    for (text, a, b), (words, start, end) in zip(texts, SUBTITLES, strict=True):
        assert text in words.replace("<i>", "").replace("</i>", "") and abs(a - start) + abs(b - end) < 0.003
    assert [(one.tags["title"], float(one.start_s), float(one.end_s)) for one in got.chapters] == CHAPTERS
    assert [one.data for one in got.covers] == [one.data for one in want.covers if now != ".webm"]
    assert got.timecode == "01:00:00:00" and want.tags.items() <= got.tags.items()
    assert [track.language for track in got.tracks] == ["deu", "eng"]
    assert got.sound is not None and got.sound.tags["title"] == "Sound eng" and got.sound.language == "eng"
    assert [track.tags["title"] for track in got.tracks] == [track.tags["title"] for track in want.tracks]
    if now == ".mkv":
        assert [one.data for one in got.attachments] == [one.data for one in want.attachments]
    left = {
        (".mkv", ".mp4"): ["font.ttf: .mp4 files hold no attachments"],
        (".mp4", ".webm"): [
            "cover art cover.png: .webm files hold no attachments",
            "the mark 'comment' of sound (deu, aac): .webm files do not say it",
        ],
    }.get((was, now), [])
    replaced = "the speech replaces the target's sound (eng, aac); its other sound is kept"
    assert list(facts.notes) == [replaced, *(f"not taken over from the target: {one}" for one in left)]
    assert any("was encoded as libopus" in one and "sound (deu" in one for one in facts.details) == (now == ".webm")


def test_what_webm_cannot_hold_is_converted_or_named(tmp_path):
    target = rich_clip(tmp_path / "t.mkv")
    facts = write(target, tmp_path / "o.webm")
    got = extras_of(tmp_path / "o.webm")
    assert [str(track) for track in (got.sound, *got.tracks)] == [
        "sound (eng, opus)",
        "sound (deu, opus)",
        "subtitles (eng, webvtt)",
    ]
    assert abs(click_of(tmp_path / "o.webm", 1) - CLICK_S) < 0.001
    assert len(shown_texts(tmp_path / "o.webm")) == len(SUBTITLES) and len(got.chapters) == 2
    assert "cover art cover.png, font.ttf: .webm" in facts.notes[0]


@pytest.mark.parametrize("sound,suffix", [("libopus", ".mkv"), ("aac", ".mkv"), ("aac", ".mp4"), ("pcm_s16le", ".mov")])
def test_a_copied_sound_loses_no_packet(tmp_path, sound, suffix):
    target, out = rich_clip(tmp_path / f"t{suffix}", sound=sound), tmp_path / f"o{suffix}"
    write(target, out)
    for index in (1, 2):
        was, now = packets(target, index), packets(out, index)
        assert [data for data, _ in now] == [data for data, _ in was]
        assert np.abs(np.subtract([time for _, time in now], [time for _, time in was])).max() < 0.001


def packets(path, index):
    with av.open(str(path)) as media:
        return [(bytes(p), float(p.pts * p.time_base)) for p in media.demux(media.streams[index]) if p.size]


ONSETS = (0.012, 0.5, 1.97)  #: seconds; the first lies within the first packet


def clicking_clip(path, codec, start_s, rate=48000):
    """Two seconds of picture from `start_s` on, with a click of 64 samples at each of ONSETS."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=25)
        video.width, video.height, video.codec_context.time_base = 144, 64, 1 / RATE
        video.options = {"cpu-used": "8", "deadline": "realtime"} if path.suffix == ".webm" else {}
        sound = out.add_stream(codec, rate=rate, layout="mono")
        for i in range(50):
            frame = av.VideoFrame(144, 64, "yuv420p")
            frame.pts, frame.time_base = i + start_s * 25, 1 / RATE
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        samples = np.zeros((1, 2 * rate), np.float32)
        for onset in ONSETS:
            samples[0, round(onset * rate) :][:64] = 0.9 * np.hanning(64)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start_s * rate, Fraction(1, rate)
        kind = sound.codec_context.format.name
        for part in av.AudioResampler(format=kind, layout="mono", rate=rate, frame_size=960).resample(frame):
            out.mux(sound.encode(part))
        out.mux(sound.encode(None))
    return path


def onsets_of(path):
    """The times of its clicks after the first video frame, seconds; NaN: it is not heard."""
    with av.open(str(path)) as media:
        first_s = next(media.decode(video=0)).time
    with av.open(str(path)) as media:
        mono = av.AudioResampler(format="fltp", layout="mono")
        frames = [part for frame in media.decode(audio=0) for part in mono.resample(frame)]
    rate = frames[0].sample_rate
    heard = np.zeros(3 * rate)
    for frame in frames:
        at = round((frame.time - first_s) * rate)
        kept = frame.to_ndarray()[0][max(0, -at) :]
        heard[max(0, at) :][: len(kept)] = kept
    found = []
    for onset in ONSETS:
        at = np.arange(round((onset - 0.012) * rate), round((onset + 0.02) * rate))
        energy = heard[at] ** 2
        found.append((energy @ at / energy.sum() - 32) / rate if energy.sum() > 1 else np.nan)
    return found


@pytest.mark.parametrize("start_s", [0, 2])
@pytest.mark.parametrize(
    "was,codec",
    [
        (".mp4", "aac"), (".mp4", "libopus"), (".mp4", "libmp3lame"), (".mp4", "flac"),
        (".mkv", "aac"), (".mkv", "libopus"), (".mkv", "libmp3lame"), (".mkv", "flac"),
        (".mov", "aac"), (".mov", "libmp3lame"), (".webm", "libopus"),
    ],
)  # fmt: skip
def test_sound_keeps_its_beginning_and_its_time_in_every_container(tmp_path, was, codec, start_s):
    target = clicking_clip(tmp_path / f"t{was}", codec, start_s)
    assert np.abs(np.subtract(onsets_of(target), ONSETS)).max() < 0.0015
    for now in (".mp4", ".mkv", ".mov", ".webm"):
        write(target, tmp_path / f"o{now}")
        assert np.abs(np.subtract(onsets_of(tmp_path / f"o{now}"), ONSETS)).max() < 0.0015, now


def test_marks_that_mov_cannot_say_are_named(tmp_path):
    facts = write(rich_clip(tmp_path / "t.mp4"), tmp_path / "o.mov")
    assert facts.notes == (
        "not taken over from the target: the mark 'comment' of sound (deu, aac), the mark 'forced' of subtitles (eng, "
        "mov_text): .mov files do not say it",
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_marks_are_kept_where_they_can_be(tmp_path, suffix):
    speech, out = click_file(tmp_path / "s.wav", "pcm_s16le"), tmp_path / f"o{suffix}"
    write(rich_clip(tmp_path / f"t{suffix}"), out, speech=speech)
    with av.open(str(out)) as media:
        assert [track.disposition for track in media.streams.audio] == [Disposition.default, Disposition.comment]
        assert media.streams.subtitles[0].disposition == Disposition.default | Disposition.forced


def test_what_a_container_takes_but_no_player_finds_is_named(tmp_path):
    facts = write(rich_clip(tmp_path / "t.mkv"), tmp_path / "o.ts")
    assert any("subtitles (eng, subrip): .ts files do not take it" in note for note in facts.notes)
    assert any("timecode 01:00:00:00" in note and "the tag AIGC" in note for note in facts.notes)
    assert any("2 chapters: .ts files hold none" in note for note in facts.notes)


def test_a_recording_is_never_marked_as_the_original(tmp_path):
    replaced = Track(1, "audio", "aac", {}, int(Disposition.original | Disposition.default | Disposition.forced))
    with av.open(str(tmp_path / "o.mkv"), "w") as out:
        speech = out.add_stream("aac", rate=48000)
        name_speech(speech, replaced, {}, ".mkv")
        assert speech.disposition == Disposition.default | Disposition.forced


def test_without_speech_the_targets_own_sound_stays(tmp_path):
    write(rich_clip(tmp_path / "t.mp4"), tmp_path / "o.mp4")
    assert abs(click_of(tmp_path / "o.mp4", 0) - CLICK_S) < 0.001
    with av.open(str(tmp_path / "o.mp4")) as media:
        assert [s.metadata["language"] for s in media.streams.audio] == ["eng", "deu"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_container_says_the_language(tmp_path, suffix):
    out, speech = tmp_path / f"o{suffix}", click_file(tmp_path / "s.wav", "pcm_s16le")
    for language in ("deu", "fra", "swe", "hrv", "ces"):
        how = {"clock": FrameClock.constant(2, RATE), "speech": speech, "language": language, "preset": "ultrafast"}
        with VideoWriter(out, width=144, height=64, **how) as writer:
            writer.write(pictures(2))
        sound = extras_of(out).sound
        assert sound is not None and sound.language == language


def test_a_preview_is_cut_at_its_end(tmp_path):
    target = rich_clip(tmp_path / "t.mp4")
    write(target, tmp_path / "o.mp4", 25, end_s=Fraction(1))
    got = extras_of(tmp_path / "o.mp4")
    assert [(float(one.start_s), float(one.end_s)) for one in got.chapters] == [(0, 0.8), (0.8, 1)]
    assert [round(b, 2) for _, _, b in shown_texts(tmp_path / "o.mp4")] == [0.7, 1.0]
    with av.open(str(tmp_path / "o.mp4")) as media:
        for track in media.streams.audio:
            assert abs(float(track.duration * track.time_base) - 1) < 0.001


def test_a_retimed_picture_takes_over_only_what_has_no_time(tmp_path):
    facts = write(rich_clip(tmp_path / "t.mkv"), tmp_path / "o.mkv", lost="it is retimed", speech=click_file(
        tmp_path / "s.wav", "pcm_s16le"))  # fmt: skip
    got = extras_of(tmp_path / "o.mkv")
    assert not got.tracks and not got.chapters and not got.timecode
    assert len(got.covers) == 1 and got.tags["artist"] == "Nobody"
    assert facts.notes == (
        "not taken over from the target: sound (deu, aac), subtitles (eng, subrip), 2 chapters, timecode 01:00:00:00: "
        "it is retimed",
    )


def test_the_speech_says_its_own_language_or_the_user_does(tmp_path):
    target, speech = rich_clip(tmp_path / "t.mp4"), tmp_path / "s.m4a"
    with av.open(str(speech), "w") as out:
        track = out.add_stream("aac", rate=48000)
        track.metadata["language"] = "fra"
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 48000), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        out.mux(track.encode(frame))
        out.mux(track.encode(None))
    for language, want in (("", "fra"), ("ita", "ita")):
        write(target, tmp_path / "o.mp4", speech=speech, language=language)
        sound = extras_of(tmp_path / "o.mp4").sound
        assert sound is not None and sound.language == want and "title" not in sound.tags


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_same_target_becomes_the_same_bytes(tmp_path, suffix):
    target = rich_clip(tmp_path / f"t{suffix}")
    once, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write(target, once)
    write(target, again)
    assert once.read_bytes() == again.read_bytes()


def test_a_target_that_breaks_off_keeps_what_came_before(tmp_path):
    target = rich_clip(tmp_path / "t.mkv")
    extras, clock = extras_of(target), FrameClock.constant(50, RATE)
    target.write_bytes(target.read_bytes()[: target.stat().st_size * 2 // 3])
    with VideoWriter(tmp_path / "o.mkv", width=144, height=64, clock=clock, carry=Carry(extras)) as writer:
        writer.write(pictures(50))
    assert len(extras_of(tmp_path / "o.mkv").tracks) == 2


def test_a_rate_without_timecodes_is_named(tmp_path):
    target = rich_clip(tmp_path / "t.mkv")
    clock, carry = FrameClock.constant(50, Fraction(22)), Carry(extras_of(target))
    with VideoWriter(tmp_path / "o.mp4", width=144, height=64, clock=clock, carry=carry) as writer:
        writer.write(pictures(50))
    assert any("timecode 01:00:00:00: 22 frames a second" in note for note in writer.facts.notes)
