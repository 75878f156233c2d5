"""Reading: every frame by its number, whatever the container, the order asked, the colours and the damage."""

from __future__ import annotations

import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

import video.read
from media import MediaError
from tests.support.video_clips import number_of, write_clip
from video import read
from video.flow import half_step
from video.picture import Cutter, FramePicture
from video.probe import probe
from video.read import pictures_of, read_frames, read_rows

VFR = [0, 3, 4, 9, 10, 20, 21, 22, 23, 60] + [70 + 3 * i + i % 2 for i in range(50)]
OPEN_GOP = {"x264-params": "open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0", "preset": "veryfast"}
CLIPS = {
    "h264 with B-frames, short groups": ("a.mp4", {"options": {"g": "9", "bf": "3"}}),
    "one long group": ("b.mp4", {"options": {"g": "300", "bf": "2"}}),
    "open groups": ("c.mp4", {"options": OPEN_GOP}),
    "variable rate in Matroska": ("d.mkv", {"options": {"g": "12", "bf": "2"}, "pts": VFR, "base": Fraction(1, 100)}),
    "variable rate in MP4": (
        "e.mp4",
        {"options": {"g": "12", "bf": "2"}, "pts": [p * 7 for p in VFR], "base": Fraction(1, 90000)},
    ),
    "transport stream": ("f.ts", {"options": {"g": "12", "bf": "2"}}),
    "transport stream, open groups": ("g.ts", {"options": OPEN_GOP}),
    "MPEG-2 programme stream": ("h.mpg", {"codec": "mpeg2video", "options": {"g": "12", "bf": "2", "b": "3000000"}}),
    "Motion JPEG in AVI": ("i.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "H.264 in AVI": ("m.avi", {"options": {"g": "12", "bf": "2"}}),
    "bare H.264, no times at all": ("j.h264", {"options": {"g": "12", "bf": "2"}, "form": "h264"}),
    "H.265": (
        "k.mp4",
        {"codec": "libx265", "options": {"x265-params": "keyint=12:log-level=none", "preset": "ultrafast"}},
    ),
    "ten bits": ("l.mp4", {"pix_fmt": "yuv422p10le", "options": {"g": "12"}}),
}


def frames_of(stream) -> torch.Tensor:
    return torch.cat([b.rgb for b in read_frames(stream, 7)])


@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_in_any_order(tmp_path, name):
    file, how = CLIPS[name]
    stream = probe(write_clip(tmp_path / file, **how))
    every = frames_of(stream)
    assert len(stream) == len(every) == 60
    assert [number_of(f) for f in every.numpy()] == list(range(60))
    rng = np.random.default_rng(1)
    walk = np.clip(np.cumsum(rng.choice([0, 0, 1, 1, 1, 2, -7, 25], 50)), 0, 59)
    source = np.concatenate([rng.integers(0, 60, 25), walk, [59, 0, 59]])
    wanted = rng.random(len(source)) < 0.3
    seen = []
    for rows, frames in read_rows(stream, source, 8, wanted):
        assert (frames.index == source[rows]).all()
        seen += range(rows.start, rows.stop)
        for k, i in enumerate(source[rows]):
            shown = between(stream, i) if wanted[rows][k] and i < 59 else every[i].numpy()
            assert np.array_equal(frames.rgb[k].numpy(), shown)
    assert seen == list(range(len(source)))


def between(stream, i) -> np.ndarray:
    """(3,H,W) uint8 RGB half way from frame i to the next."""
    rgb = np.empty((3, stream.height, stream.width), np.uint8)
    picture = half_step(*pictures_of(stream, np.array([i, i + 1])))
    FramePicture(picture, Cutter(stream)).copy((0, 0, stream.width, stream.height), rgb)
    return rgb


def test_batches_of_large_frames_are_smaller(tmp_path, monkeypatch):
    stream = probe(write_clip(tmp_path / "l.mp4", 20))
    every, source = frames_of(stream), np.array([3, 4, 4, 9, 2, 15, 16])
    monkeypatch.setattr(read, "_BATCH", 2 * stream.width * stream.height)
    parts = list(read_rows(stream, source, 8))
    assert [rows.stop - rows.start for rows, _ in parts] == [2, 2, 2, 1]
    assert torch.equal(torch.cat([frames.rgb for _, frames in parts]), every[source])
    monkeypatch.setattr(read, "_WAITING", 1)
    assert torch.equal(torch.cat([frames.rgb for _, frames in read_rows(stream, source, 8)]), every[source])


@pytest.mark.parametrize("name", ["H.264 in AVI", "bare H.264, no times at all"])
def test_where_times_mean_nothing_the_rate_is_constant(tmp_path, name):
    file, how = CLIPS[name]
    stream = probe(write_clip(tmp_path / file, **how))
    assert stream.by_count and "constant 25 fps" in stream.notes[0]
    assert np.allclose(stream.clock.seconds, np.arange(60) / 25) and stream.clock.duration_s == Fraction(60, 25)


def test_variable_rate_clock_is_exact(tmp_path):
    pts = [p * 7 for p in VFR]
    clock = probe(write_clip(tmp_path / "v.mp4", pts=pts, base=Fraction(1, 90000))).clock
    assert [p * clock.base for p in (clock.pts - clock.pts[0]).tolist()] == [Fraction(p, 90000) for p in pts]


def test_frames_before_an_edit_list_are_not_counted(tmp_path):
    path = write_clip(tmp_path / "e.mp4", pts=list(range(-10, 50)), options={"g": "60", "bf": "0"})
    stream = probe(path)
    every = frames_of(stream)
    assert len(every) == len(stream)
    assert [number_of(f) for f in every.numpy()] == list(range(60 - len(stream), 60))


@pytest.fixture
def decoded_count(monkeypatch):
    """Frames decoded so far, as a list of one number."""
    count = [0]
    plain = video.read.decode

    def counting(*args):
        for frame in plain(*args):
            count[0] += 1
            yield frame

    monkeypatch.setattr(video.read, "decode", counting)
    return count


def test_repeats_are_not_decoded_again_and_far_jumps_seek(tmp_path, decoded_count):
    stream = probe(write_clip(tmp_path / "s.mp4", 250, options={"g": "10", "bf": "2"}))
    decoded_count[0] = 0
    assert sum(len(f.index) for _, f in read_rows(stream, np.repeat([5, 6, 7], 30), 8)) == 90
    assert decoded_count[0] <= 9
    decoded_count[0] = 0
    (_, frames), *_ = read_rows(stream, np.array([3, 235, 40, 41]), 8)
    assert [number_of(f) for f in frames.rgb.numpy()] == [3, 235, 40, 41]
    assert decoded_count[0] <= 40


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path, degrees):
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotation")
    upright = frames_of(probe(write_clip(tmp_path / "u.mp4", 3)))
    stream = probe(write_clip(tmp_path / "r.mp4", 3, rotate=degrees))
    # The flag turns the picture anticlockwise, which is how torch.rot90 turns it too in a frame with y down.
    wanted = torch.rot90(upright, degrees // 90, (2, 3))
    assert (stream.height, stream.width) == tuple(wanted.shape[2:])
    assert stream.rotation == (360 - degrees) % 360
    assert torch.equal(frames_of(stream), wanted)


def _yuv(rgb: np.ndarray, matrix: int, full: bool) -> np.ndarray:
    """Y, Cb, Cr in eight bits, straight from the standards' formulas."""
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    r, g, b = rgb / 255
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    return np.array(
        [255 * y, 128 + 255 * cb, 128 + 255 * cr] if full else [16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr]
    )


def write_flat(path, rgb, *, matrix, full, pix_fmt, width=65, height=49, tag=True):
    y, cb, cr = _yuv(np.array(rgb, float), matrix, full)
    deep = 4 if "10" in pix_fmt else 1
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, value in zip(frame.planes, (y, cb, cr), strict=True):
        kind = np.uint16 if deep == 4 else np.uint8
        plane.update(np.full(plane.buffer_size // kind().itemsize, round(value * deep), kind))
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        frame.pts = 0
        if tag:
            video.codec_context.colorspace, video.codec_context.color_range = matrix, 2 if full else 1
            frame.colorspace, frame.color_range = matrix, 2 if full else 1
        out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize("matrix,full", [(1, False), (1, True), (5, False), (6, False), (6, True), (9, False)])
def test_colours_of_every_matrix_and_range_at_an_odd_size(tmp_path, pix_fmt, matrix, full):
    for rgb in ((200, 30, 60), (32, 192, 64), (250, 250, 250)):
        stream = probe(write_flat(tmp_path / "flat.mkv", rgb, matrix=matrix, full=full, pix_fmt=pix_fmt))
        assert (stream.width, stream.height) == (65, 49)
        got = frames_of(stream)[0].flatten(1)
        assert (got.int() - torch.tensor(rgb)[:, None]).abs().max() <= 3


@pytest.mark.parametrize("width,height,matrix", [(1280, 720, 1), (640, 480, 6)])
def test_untagged_colours_are_guessed_by_size(tmp_path, width, height, matrix):
    how = {"matrix": matrix, "full": False, "pix_fmt": "yuv420p", "width": width, "height": height, "tag": False}
    stream = probe(write_flat(tmp_path / "flat.mkv", (32, 192, 64), **how))
    assert stream.colour.matrix == 2
    assert (frames_of(stream)[0, :, 20, 20].int() - torch.tensor((32, 192, 64))).abs().max() <= 3


@pytest.mark.parametrize("file", ["t.mkv", "t.ts", "t.mp4"])
@pytest.mark.parametrize("share", [0.35, 0.8])
def test_a_truncated_file_has_the_frames_that_decode(tmp_path, file, share):
    options = {"g": "12", "bf": "2"}
    path = tmp_path / file
    write_clip(path, 120, options=options)
    if file == "t.mp4":
        path = _faststart(path, tmp_path / "fast.mp4")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    stream = probe(path)
    every = frames_of(stream)
    assert 10 < len(stream) == len(every) < 120
    assert [number_of(f) for f in every[:-3].numpy()] == list(range(len(every) - 3))
    backwards = np.arange(len(stream))[::-5].copy()
    got = torch.cat([f.rgb for _, f in read_rows(stream, backwards, 4)])
    assert torch.equal(got, every[backwards])


def _faststart(path, out):
    with av.open(str(path)) as source, av.open(str(out), "w", options={"movflags": "faststart"}) as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                target.mux(packet)
    return out


def test_damage_in_the_middle_keeps_every_row(tmp_path):
    path = write_clip(tmp_path / "d.mkv", 100, options={"g": "10", "bf": "0"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 700] = bytes(700)
    path.write_bytes(content)
    stream = probe(path)
    numbers = [number_of(f) for f in frames_of(stream).numpy()]
    assert len(numbers) == len(stream) >= 60 and numbers[0] == 0
    tail = stream.keyframes[-1]
    (_, frames), *_ = read_rows(stream, np.arange(tail, len(stream)), 100)
    assert [number_of(f) for f in frames.rgb.numpy()] == numbers[tail:]


def test_repeated_and_backward_times_are_repaired():
    assert video.probe._repaired([0, 10, 10, 20, 30], 10).tolist() == [0, 10, 11, 20, 30]
    assert video.probe._repaired([0, None, 20, None, None], 10).tolist() == [0, 10, 20, 30, 40]
    assert video.probe._repaired([500, 510, 0, 10, 20], 10).tolist() == [500, 510, 520, 530, 540]


def test_sound_offset_is_exact(tmp_path):
    path = write_clip(tmp_path / "late.mp4", pts=list(range(10, 70)), click_s=0.5)
    stream = probe(path)
    assert stream.has_audio
    assert abs(stream.audio_start_s + Fraction(10, 25)) < Fraction(1, 1000)
    assert not probe(write_clip(tmp_path / "mute.mp4", 5)).has_audio


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"no video here " * 400), "cannot|not a video"),
        (lambda p: p.write_bytes(write_clip(p.with_name("whole.mp4")).read_bytes()[:2000]), "cut off"),
    ],
)
def test_errors_name_the_file_and_the_cure(tmp_path, make, words):
    path = tmp_path / "it is here.mp4"
    make(path)
    with pytest.raises(MediaError, match=words) as error:
        probe(path)
    assert str(path) in str(error.value)


def test_a_sound_file_is_not_a_video(tmp_path):
    from tests.support.video_clips import click_file

    with pytest.raises(MediaError, match="audio file"):
        probe(click_file(tmp_path / "speech.wav", "pcm_s16le"))


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("video")]


def test_closing_early_ends_the_thread(tmp_path):
    stream = probe(write_clip(tmp_path / "c.mp4", 120))
    frames = read_frames(stream, 2)
    next(frames)
    assert _threads()
    frames.close()
    assert not _threads()


def test_errors_travel_out_of_the_thread(tmp_path, monkeypatch):
    stream = probe(write_clip(tmp_path / "c.mp4", 60))
    plain = video.read.decode

    def failing(*args):
        for k, frame in enumerate(plain(*args)):
            if k == 20:
                raise MediaError("the disk went away")
            yield frame

    monkeypatch.setattr(video.read, "decode", failing)
    with pytest.raises(MediaError, match="went away"):
        list(read_frames(stream, 4))
    assert not _threads()
