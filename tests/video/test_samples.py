"""Outputs keep the target's own samples: its depth, chroma, alpha and HDR data; only what was drawn differs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from media import MediaError
from tests.support.video_clips import numbered
from video.clock import FrameClock
from video.colour import SITINGS, ColourTags
from video.probe import VideoStream, probe
from video.ranges import RangedWriter
from video.read import decoded_pictures, read_rows
from video.write import VideoWriter, available_encoders

SIZE = (144, 64)
BOX = (slice(21, 50), slice(33, 90))  # rows, columns that are drawn over; odd, so that colour samples are shared
DRAWN = (200, 40, 90)
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # the standards' Kr, Kb


@dataclass(frozen=True)
class Kind:
    """A target. tags: matrix, primaries, transfer, range."""

    suffix: str
    codec: str
    pix_fmt: str
    tags: tuple[int, int, int, int]
    options: dict[str, str] = field(default_factory=dict)


PQ = {"x265-params": f"log-level=error:master-display={MASTERING}:max-cll=1000,400"}
QUIET = {"x265-params": "log-level=error"}
KINDS = {
    "8 bits, BT.601": Kind(".mp4", "libx264", "yuv420p", (6, 6, 6, 1)),
    "8 bits, BT.709, full": Kind(".mp4", "libx264", "yuv420p", (1, 1, 1, 2)),
    "Motion JPEG": Kind(".avi", "mjpeg", "yuvj422p", (5, 2, 2, 2)),
    "10 bits": Kind(".mp4", "libx264", "yuv420p10le", (1, 1, 1, 1)),
    "PQ": Kind(".mp4", "libx265", "yuv420p10le", (9, 9, 16, 1), PQ | {"chroma_sample_location": "topleft"}),
    "HLG": Kind(".mp4", "libx265", "yuv422p10le", (9, 9, 18, 1), QUIET),
    "ProRes 422": Kind(".mov", "prores_ks", "yuv422p10le", (1, 1, 1, 1), {"profile": "3"}),
    "ProRes 4444": Kind(".mov", "prores_ks", "yuva444p10le", (1, 1, 1, 1), {"profile": "4"}),
    "RGB, 10 bits": Kind(".mkv", "ffv1", "gbrp10le", (0, 1, 1, 2)),
}


def made(path: Path, kind: Kind, n: int = 4, matrix: list[int] | None = None) -> VideoStream:
    """A clip of numbered frames; where there is alpha, it rises from left to right."""
    out_of = path.with_suffix(kind.suffix)
    with av.open(str(out_of), "w") as out:
        video: Any = out.add_stream(kind.codec, rate=25, options=kind.options)
        video.width, video.height, video.pix_fmt = *SIZE, kind.pix_fmt
        context = video.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = kind.tags
        if matrix:
            video.set_display_matrix(matrix)
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
            spread = {"dst_color_range": kind.tags[3], "dst_colorspace": 9 if kind.tags[0] == 9 else 1}
            frame = frame.reformat(format=kind.pix_fmt, **(spread if kind.tags[0] else {}))
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = kind.tags
            if kind.pix_fmt.startswith("yuva"):
                samples(frame)[-1][:] = np.linspace(0, 1023, SIZE[0])[None]
            frame.pts = i
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return probe(out_of)


def samples(frame: av.VideoFrame) -> list[np.ndarray]:
    """Writable views of all planes, without padding."""
    deep = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    planes: list[Any] = list(frame.planes)
    return [np.frombuffer(p, deep).reshape(p.height, -1)[:, : p.width] for p in planes]


def draw(rgb: torch.Tensor, at: tuple[int, int] = (0, 0)) -> None:
    rows, columns = (slice(part.start - k, part.stop - k) for part, k in zip(BOX, at[::-1], strict=True))
    rgb[:, :, rows, columns] = torch.tensor(DRAWN, dtype=torch.uint8).view(1, 3, 1, 1)


def dubbed(
    stream: VideoStream, path: Path, source: list[int], even: bool = True, ranges: int = 0, window: Any = None, **how
) -> Any:
    """The writer of a film of the target's frames `source`, every second one drawn over; even: from the first on;
    window: as for `read_rows`."""
    how = {"clock": FrameClock.constant(len(source), Fraction(25)), "colour": stream.colour, "like": stream} | how
    how |= {"width": stream.width, "height": stream.height, "sample_aspect": stream.sample_aspect}
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    with RangedWriter(path, folder, ranges, **how) if ranges else VideoWriter(path, **how) as writer:
        for rows, frames in read_rows(stream, np.array(source), 3, pictures=True, window=window):
            rgb = frames.rgb.clone()
            for k, row in enumerate(range(rows.start, rows.stop)):
                if (row % 2 == 0) == even:
                    draw(rgb[k : k + 1], frames.at)
            writer.write(rgb, frames)
    return writer


def pictures(stream: VideoStream) -> list[list[np.ndarray]]:
    return [samples(frame) for frame in decoded_pictures(stream)]


def right_samples(kind: Kind, bits: int) -> list[float]:
    """Y, Cb, Cr of the drawn colour, or G, B, R, straight from the standards' formulas."""
    red, green, blue = (value / 255 for value in DRAWN)
    matrix, _, _, extent = kind.tags
    if matrix == 0:
        return [value * (2**bits - 1) for value in (green, blue, red)]
    kr, kb = LUMA[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
    if extent == 2:
        return [y * (2**bits - 1), *(c * (2**bits - 1) + 2 ** (bits - 1) for c in (cb, cr))]
    return [v * 2 ** (bits - 8) for v in (16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr)]


@pytest.mark.parametrize("name", KINDS)
def test_samples_beside_a_drawing_are_the_targets_own(tmp_path, name):
    kind, source = KINDS[name], [0, 1, 1, 3, 2, 0]
    stream = made(tmp_path / "target", kind)
    out = dubbed(stream, tmp_path / "out.mkv", source, codec="ffv1").path
    target, got = pictures(stream), pictures(probe(out))
    bits = av.VideoFormat(stream.pix_fmt).components[0].bits
    assert probe(out).pix_fmt == stream.pix_fmt.replace("yuvj", "yuv")
    for row, frame in enumerate(source):
        for k, (one, other) in enumerate(zip(target[frame], got[row], strict=True)):
            fx, fy = SIZE[0] // one.shape[1], SIZE[1] // one.shape[0]
            touched = np.zeros(one.shape, bool)
            if row % 2 == 0 and k < 3:  # a colour sample beside the drawing sees a pixel of it
                touched[BOX[0].start // fy : -(-BOX[0].stop // fy) + (fy > 1)] = True
                columns = slice(BOX[1].start // fx, -(-BOX[1].stop // fx) + (fx > 1))
                touched &= np.isin(np.arange(one.shape[1]), np.arange(one.shape[1])[columns])
                inside = other[BOX[0].start // fy + 2 : BOX[0].stop // fy - 2, BOX[1].start // fx + 2 : 90 // fx - 2]
                error = np.abs(inside - right_samples(kind, bits)[k])
                assert error.max() <= 1.5 * 2 ** (bits - 8), (name, row, k)
                assert error.mean() <= 0.6 * 2 ** (bits - 8)
            assert (one == other)[~touched].all(), (name, row, k)


@pytest.mark.parametrize("codec,suffix", [("libx265", ".mp4"), ("libx264", ".mp4"), ("libx265", ".mkv")])
def test_hdr_keeps_depth_tags_and_mastering_data(tmp_path, codec, suffix):
    stream = made(tmp_path / "target", KINDS["PQ"])
    assert stream.hdr.light == (1000, 400) and stream.hdr.luminance == (Fraction(5, 1000), 1000)
    assert stream.hdr.primaries and stream.hdr.primaries[0] == (Fraction(68, 100), Fraction(32, 100))
    assert stream.siting == "topleft" and not stream.notes
    facts = dubbed(stream, tmp_path / f"out{suffix}", [0, 1, 2, 3], codec=codec).facts
    out = probe(facts.path)
    assert (out.pix_fmt, out.colour, out.hdr, out.siting) == (stream.pix_fmt, stream.colour, stream.hdr, "topleft")


@pytest.mark.parametrize("name", ["HLG", "10 bits", "ProRes 422", "8 bits, BT.709, full"])
def test_depth_chroma_and_tags_are_kept_by_the_targets_own_codec(tmp_path, name):
    stream = made(tmp_path / "target", KINDS[name])
    facts = dubbed(stream, tmp_path / f"out{KINDS[name].suffix}", [0, 1, 2, 3], codec=KINDS[name].codec).facts
    out = probe(facts.path)
    assert (out.pix_fmt, out.colour, out.siting) == (stream.pix_fmt, stream.colour, stream.siting)


def test_alpha_goes_through_prores(tmp_path):
    stream = made(tmp_path / "target", KINDS["ProRes 4444"])
    assert stream.transparent and not stream.notes
    out = dubbed(stream, tmp_path / "out.mov", [0, 1, 2, 3], codec="prores_ks").path
    for one, other in zip(pictures(stream), pictures(probe(out)), strict=True):
        assert np.abs(one[-1].astype(int) - other[-1]).max() <= 4 and np.ptp(one[-1]) > 4000  # of 12 bits


@pytest.mark.parametrize(
    "name,codec,suffix,words",
    [
        ("ProRes 4444", "libx264", ".mp4", "its depth and its transparency; --set write.codec=ffv1 with .mkv"),
        ("PQ", "libvpx-vp9", ".webm", r"yuv420p.*in its depth \(HDR may band\); --set write.codec=libx265"),
        ("PQ", "ffv1", ".mkv", "mastering display"),
        ("HLG", "libvpx-vp9", ".webm", "its depth"),
        ("RGB, 10 bits", "libx265", ".mp4", "its colour resolution"),
        ("10 bits", "libx264", ".mp4", "yuv420p10le, as the target.*write.pix_fmt=yuv420p"),
    ],
)
def test_what_an_encoder_cannot_hold_is_named(tmp_path, name, codec, suffix, words):
    if codec not in available_encoders():
        pytest.skip(f"this FFmpeg has no {codec}")
    stream = made(tmp_path / "target", KINDS[name], 2)
    notes = dubbed(stream, tmp_path / f"out{suffix}", [0, 1], codec=codec).facts.notes
    long = dubbed(stream, tmp_path / f"long{suffix}", [0, 1], codec=codec, ranges=1).facts.notes
    assert notes == long and re.search(words, " ".join(notes))


def test_a_pixel_format_can_be_asked_for(tmp_path):
    stream = made(tmp_path / "target", KINDS["10 bits"], 2)
    facts = dubbed(stream, tmp_path / "out.mp4", [0, 1], pix_fmt="yuv420p").facts
    assert facts.pix_fmt == probe(facts.path).pix_fmt == "yuv420p" and "its depth" in facts.notes[0]
    with pytest.raises(MediaError, match="write.pix_fmt.*yuv444p10le"):
        dubbed(stream, tmp_path / "out.mp4", [0, 1], pix_fmt="yuv999p")


def test_ranges_keep_the_samples_too(tmp_path):
    stream = made(tmp_path / "target", KINDS["10 bits"])
    source = [0, 1, 2, 3, 3, 1, 0]
    once = dubbed(stream, tmp_path / "once.mkv", source, codec="ffv1").path
    joined = dubbed(stream, tmp_path / "joined.mkv", source, codec="ffv1", ranges=2).path
    for one, other in zip(pictures(probe(once)), pictures(probe(joined)), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))


TURNED = {
    "a phone upright": [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30],
    "a mirror": [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30],
}


@pytest.mark.parametrize("how", TURNED)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_turned_target_stays_as_it_is_stored(tmp_path, how, suffix):
    kind = KINDS["10 bits"]
    stream = made(tmp_path / "target", kind, matrix=TURNED[how])
    codec = "libx264" if suffix == ".avi" else "ffv1" if suffix == ".mkv" else "libx265"
    for ranges in (0, 2):
        path = tmp_path / f"out{ranges}{suffix}"
        dubbed(stream, path, [0, 1, 2, 3], codec=codec, ranges=ranges, crf=0)
        out = probe(path)
        assert (out.width, out.height) == (stream.width, stream.height)
        assert out.orientation == ((False, False, False) if suffix == ".avi" else stream.orientation)
        if suffix == ".mkv":
            target, got = pictures(stream), pictures(out)
            assert all((a == b).all() for a, b in zip(target[1], got[1], strict=True))
        shown = next(read_rows(out, np.arange(2), 2))[1].rgb
        meant = next(read_rows(stream, np.arange(2), 2))[1].rgb
        draw(meant[:1])
        assert (shown.float() - meant.float()).abs().mean() < 2
        right = min(BOX[1].stop, stream.width)
        inside = shown[0, :, BOX[0].start + 4 : BOX[0].stop - 4, BOX[1].start + 4 : right - 4]
        assert (inside.float().mean((1, 2)) - torch.tensor(DRAWN)).abs().max() < 3


@pytest.mark.parametrize("how", [None, *TURNED])
@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_box_of_each_frame_is_written_as_the_whole(tmp_path, how, suffix):
    """In the way of samples, and in that of RGB: AVI cannot say that a picture is turned."""
    stream = made(tmp_path / "target", KINDS["8 bits, BT.709, full"], matrix=how and TURNED[how])
    low = max(0, BOX[1].start - 11), max(0, BOX[0].start - 9)
    high = min(stream.width, BOX[1].stop + 9), min(stream.height, BOX[0].stop + 11)
    whole, part = (
        dubbed(stream, tmp_path / f"{name}{suffix}", [0, 1, 1, 3, 2], ranges=2, codec="ffv1", window=window).path
        for name, window in (("whole", None), ("part", lambda rows: (*low, *high)))
    )
    for one, other in zip(pictures(probe(whole)), pictures(probe(part)), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("siting", SITINGS)
def test_the_place_of_colour_samples_is_found(tmp_path, siting):
    params = {"chroma_sample_location": siting, **QUIET}
    stream = made(tmp_path / "target", Kind(".mp4", "libx265", "yuv420p", (1, 1, 1, 1), params), 1)
    assert stream.siting == siting


def test_a_frame_of_another_size_is_written_all_the_same(tmp_path):
    """A decoder may change size in mid-stream: such frames go the way of RGB."""
    stream = made(tmp_path / "target", KINDS["8 bits, BT.601"], 2)
    _, frames = next(read_rows(stream, np.arange(2), 2, pictures=True))
    small = av.VideoFrame(72, 32, "yuv420p")
    odd = type(frames)(frames.rgb, frames.index, (frames.pictures[0], small))
    how = {"width": 144, "height": 64, "clock": FrameClock.constant(2, Fraction(25)), "colour": ColourTags(6, 6, 6, 1)}
    with VideoWriter(tmp_path / "out.mkv", codec="ffv1", like=stream, **how) as writer:
        writer.write(frames.rgb, odd)
    got = next(read_rows(probe(tmp_path / "out.mkv"), np.arange(2), 2))[1].rgb
    assert (got[1].float() - frames.rgb[1].float()).abs().mean() < 1
