"""Long videos in ranges: joined they are what one writer would have written, to the packet; stopped ones go on."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from media import MediaError
from tests.support.video_clips import ENCODED, click_file, find_click_s, number_of, pictures, read
from video.clock import FrameClock
from video.probe import probe
from video.ranges import RangedWriter
from video.write import available_encoders


def jittered(n=40):
    pts = np.cumsum(np.random.default_rng(0).integers(3, 20, n)).astype(np.int64) * 450
    return FrameClock(pts, Fraction(1, 90000), int(pts[-1]) + 4500)


def write(out, folder, rgb, clock, rows=12, upto=None, **options):
    folder.mkdir(exist_ok=True)
    with RangedWriter(out, folder, rows, width=rgb.shape[3], height=rgb.shape[2], clock=clock, **options) as writer:
        for k in range(writer.todo[0].start if writer.todo else len(rgb), len(rgb), 7):
            if upto is not None and k >= upto:
                raise InterruptedError
            writer.write(rgb[k : k + 7])
    return writer


def ranges_in(folder):
    return sorted(folder.glob("*.mp4"))


def packets(path):
    with av.open(str(path)) as container:
        return [
            (bytes(p), p.pts * p.time_base, p.dts * p.time_base)
            for p in container.demux(container.streams.video[0])
            if p.size
        ]


@pytest.mark.parametrize("codec,suffix", ENCODED)
def test_ranges_joined_show_every_frame_at_its_time(tmp_path, codec, suffix):
    if codec not in available_encoders():
        pytest.skip(f"this FFmpeg has no {codec}")
    rgb, clock, out = pictures(40), jittered(), tmp_path / f"out{suffix}"
    facts = write(out, tmp_path / "ranges", rgb, clock, codec=codec).facts
    stream = probe(out)
    assert [(p - stream.clock.pts[0]) * stream.clock.base for p in stream.clock.pts.tolist()] == [
        Fraction(p - clock.pts[0], 90000) for p in clock.pts.tolist()
    ]
    assert [number_of(frame) for frame in read(out).numpy()] == list(range(40))
    assert facts.n_frames == 40 and facts.n_bytes == out.stat().st_size


def test_nothing_is_encoded_twice(tmp_path):
    rgb, clock = pictures(40), FrameClock.constant(40, Fraction(25))
    write(tmp_path / "out.mp4", tmp_path / "ranges", rgb, clock)
    written = [data for file in ranges_in(tmp_path / "ranges") for data, _, _ in packets(file)]
    joined = packets(tmp_path / "out.mp4")
    assert [data for data, _, _ in joined] == written and len(ranges_in(tmp_path / "ranges")) == 4
    assert all(b[2] > a[2] for a, b in itertools.pairwise(joined)) and all(dts <= pts for _, pts, dts in joined)


def test_a_stopped_one_goes_on_and_is_the_same_file(tmp_path):
    rgb, clock = pictures(40), FrameClock.constant(40, Fraction(25))
    write(tmp_path / "once.mp4", tmp_path / "a", rgb, clock, rows=14)
    for upto in (10, 21, 35):
        with pytest.raises(InterruptedError):
            write(tmp_path / "twice.mp4", tmp_path / "b", rgb, clock, rows=14, upto=upto)
        assert not (tmp_path / "twice.mp4").exists() and not list((tmp_path / "b").glob(".*"))
    done = {file: file.stat().st_mtime_ns for file in ranges_in(tmp_path / "b")}
    assert len(done) == 2
    assert write(tmp_path / "twice.mp4", tmp_path / "b", rgb, clock, rows=14).todo == [slice(28, 40)]
    assert all(file.stat().st_mtime_ns == at for file, at in done.items())
    assert (tmp_path / "twice.mp4").read_bytes() == (tmp_path / "once.mp4").read_bytes()


@pytest.mark.parametrize(
    "harm", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\0" * len(b), lambda b: b[:-9] + b"x" + b[-8:]]
)
def test_a_damaged_range_is_written_again(tmp_path, harm):
    rgb, clock = pictures(40), FrameClock.constant(40, Fraction(25))
    write(tmp_path / "a.mp4", tmp_path / "ranges", rgb, clock)
    file = ranges_in(tmp_path / "ranges")[1]
    file.write_bytes(harm(file.read_bytes()))
    assert write(tmp_path / "b.mp4", tmp_path / "ranges", rgb, clock).todo == [slice(12, 40)]
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "a.mp4").read_bytes()


def test_ranges_of_other_settings_are_not_joined(tmp_path):
    rgb, clock = pictures(40), FrameClock.constant(40, Fraction(25))
    write(tmp_path / "a.mp4", tmp_path / "ranges", rgb, clock)
    ranges_in(tmp_path / "ranges")[-1].unlink()
    with pytest.raises(MediaError, match="different encoders"):
        write(tmp_path / "b.mp4", tmp_path / "ranges", rgb, clock, preset="ultrafast")
    assert not (tmp_path / "b.mp4").exists() and not list(tmp_path.glob(".*"))


def test_the_speech_runs_through(tmp_path):
    speech = click_file(tmp_path / "speech.wav", "pcm_s16le", click_s=1.0, length_s=1.6)
    clock = FrameClock.constant(40, Fraction(25))
    facts = write(
        tmp_path / "out.mp4", tmp_path / "ranges", pictures(40), clock, speech=speech, metadata={"title": "Ä"}
    ).facts
    assert facts.audio == "encoded" and abs(find_click_s(tmp_path / "out.mp4")[0] - 1.0) < 0.005
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["title"] == "Ä"
