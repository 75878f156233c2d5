"""Parts of frames are what the whole frame's RGB has there, whatever the pixel format and however it is turned."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.video_clips import read, write_clip
from video.picture import Cutter, FramePicture, HeldPicture, RgbPicture, inside, whole
from video.probe import VideoStream, probe
from video.read import pictures_of
from video.thumbs import Thumb, change

FORMATS = [
    ("ffv1", "yuv420p"),
    ("ffv1", "yuv422p10le"),
    ("ffv1", "yuv444p"),
    ("ffv1", "yuv411p"),
    ("ffv1", "gray"),
    ("ffv1", "bgra"),
    ("rawvideo", "nv12"),
    ("rawvideo", "yuyv422"),
    ("rawvideo", "rgb24"),
    ("mpeg1video", "yuv420p"),
]


def _both(path: Path, i: int = 1) -> tuple[FramePicture, np.ndarray, VideoStream]:
    """Frame i to be cut, and its whole RGB."""
    stream = probe(path)
    (frame,) = pictures_of(stream, np.array([i]))
    return FramePicture(frame, Cutter(stream)), read(path)[i].permute(1, 2, 0).numpy(), stream


@pytest.mark.parametrize(("codec", "pix_fmt"), FORMATS, ids=lambda name: name)
def test_a_part_is_that_part_of_the_whole(tmp_path, codec, pix_fmt):
    form = {"mpeg1video": "mpg", "rawvideo": "nut"}.get(codec, "mkv")
    path = write_clip(tmp_path / f"p.{form}", 3, codec=codec, pix_fmt=pix_fmt)
    picture, rgb, _ = _both(path)
    assert (picture.height, picture.width) == rgb.shape[:2] == (64, 144)
    for rect in [(0, 0, 144, 64), (40, 8, 80, 40), (33, 17, 78, 51), (101, 30, 144, 64)]:
        x0, y0, x1, y1 = rect
        part = picture.part(rect)
        assert part.flags.c_contiguous and np.array_equal(part, rgb[y0:y1, x0:x1]), rect
    assert np.array_equal(picture.part((33, 17, 78, 51)), rgb[17:51, 33:78]), "the cutter forgets where it cut last"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_parts_of_a_turned_film_are_upright(tmp_path, degrees):
    picture, rgb, stream = _both(write_clip(tmp_path / "r.mp4", 3, rotate=degrees))
    assert stream.rotation and (picture.height, picture.width) == rgb.shape[:2]
    assert np.array_equal(picture.part((7, 11, 50, 60)), rgb[11:60, 7:50])
    out = np.empty((3, 49, 43), np.uint8)
    picture.copy((7, 11, 50, 60), out)
    assert np.array_equal(out.transpose(1, 2, 0), rgb[11:60, 7:50])
    small = picture.shrunk((8, 4, 56, 60), 12, 14)
    want = cv2.resize(rgb[4:60, 8:56], (12, 14), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - want).mean() < 1.5


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_a_shrunk_part_is_the_mean_of_its_pixels(tmp_path, pix_fmt):
    picture, rgb, _ = _both(write_clip(tmp_path / "s.mkv", 3, codec="ffv1", pix_fmt=pix_fmt))
    small, large = picture.shrunk((8, 4, 136, 60), 50, 22), RgbPicture(rgb).shrunk((8, 4, 136, 60), 50, 22)
    error = small.astype(int) - large
    assert abs(error.mean()) < 0.3 and np.abs(error).mean() < 1.2 and small.shape == (22, 50, 3)


def test_shots_see_the_same_of_a_frame_as_of_its_rgb(tmp_path):
    path = write_clip(tmp_path / "t.mkv", 3, codec="ffv1")
    (a, rgb, _), (b, _, _) = _both(path, 0), _both(path, 2)
    ours, want = Thumb.of(a), Thumb.of(rgb)
    assert ours.colour.shape == want.colour.shape and change(ours, want) < 0.6 * change(ours, Thumb.of(b))
    assert abs(np.log(ours.detail.mean() / want.detail.mean())) < 0.1


def test_rects_stay_inside_the_picture():
    picture = RgbPicture(np.zeros((30, 40, 3), np.uint8))
    assert inside(picture, np.array([-5, 2.4]), np.array([60, 7.2])) == (0, 2, 40, 8)
    assert inside(picture, np.array([50, -9]), np.array([70, -2])) == (39, 0, 40, 1)
    assert whole(picture).shape == (30, 40, 3)
    with pytest.raises(ValueError, match="uint8"):
        RgbPicture(np.zeros((3, 30, 40), np.uint8))


@pytest.mark.parametrize(("codec", "pix_fmt"), [*FORMATS[:2], *FORMATS[4:7]], ids=lambda name: name)
def test_grey_strokes_have_the_same_detail_as_luma_or_as_green(tmp_path, codec, pix_fmt):
    path = write_clip(tmp_path / ("t.nut" if codec == "rawvideo" else "t.mkv"), 3, codec=codec, pix_fmt=pix_fmt)
    picture, rgb, _ = _both(path)
    ours, want = Thumb.of(picture).detail, Thumb.of(np.repeat(rgb[..., 1:2], 3, 2)).detail
    assert ours.shape == want.shape and abs(np.log(ours.mean() / want.mean())) < 0.15


def test_a_held_box_serves_what_lies_in_it_and_the_picture_the_rest(tmp_path):
    picture, rgb, _ = _both(write_clip(tmp_path / "h.mkv", 3, codec="ffv1"))
    held = HeldPicture(picture, (20, 8, 120, 56))
    for box in [(20, 8, 120, 56), (33, 17, 78, 51), (0, 0, 144, 64), (100, 30, 130, 50)]:
        assert np.array_equal(held.part(box), rgb[box[1] : box[3], box[0] : box[2]]), box
    for box in [(24, 8, 120, 56), (0, 0, 144, 64)]:
        error = held.shrunk(box, 30, 16).astype(int) - picture.shrunk(box, 30, 16)
        assert abs(error.mean()) < 0.5 and np.abs(error).mean() < 1.5, box
    assert (held.width, held.height) == (144, 64)
    assert all(np.array_equal(a, b) for a, b in zip(held.blocks(8, 2), picture.blocks(8, 2), strict=True))
