"""The invisible watermark: what it changes, and that it is read back, from pictures made here."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np
import pytest

from video.watermark import Reader, embed, joined, pattern

CONTENT = 0x0123456789ABCDEF
#: A face of 150 pixels from eye to eye, in a picture of 320x256; a small one.
PLACE = np.array([[150.0, 0, 160], [0, 150, 110], [0, 0, 1]])
SMALL = np.array([[80.0, 0, 160], [0, 80, 110], [0, 0, 1]])


@cache
def skin(frame: int) -> np.ndarray:
    """(3,256,320) uint8: a soft picture with fine detail that stands still, and a dark mouth that opens and closes."""
    generator = np.random.default_rng(3)
    still = cv2.GaussianBlur(generator.normal(0, 30, (256, 320)).astype(np.float32), (0, 0), 2.0) + 140
    cv2.ellipse(still, (160, 110), (40, 8 + int(8 * np.sin(0.9 * frame))), 0, 0, 360, 50, -1)
    return np.stack([still + 20, still, still - 20]).clip(0, 255).astype(np.uint8)


def region() -> np.ndarray:
    """(256,320) bool: what is taken to be drawn."""
    inside = np.zeros((256, 320), np.uint8)
    cv2.ellipse(inside, (160, 130), (75, 62), 0, 0, 360, 1, -1)
    return inside > 0


drawn = cache(pattern)


def marked(
    frame: int, strength: float = 1.0, content: int = CONTENT, place: np.ndarray = PLACE
) -> tuple[np.ndarray, np.ndarray]:
    """A picture without and with the mark."""
    plain = skin(frame)
    made = plain.copy()
    embed(made, np.where(region(), plain ^ 1, plain), place, drawn(content), frame / 25, strength)
    return plain, made


def reader_of(frames: list[np.ndarray], place: np.ndarray = PLACE, begun: float = 0.0) -> Reader:
    reader = Reader()
    for i, frame in enumerate(frames):
        reader.add(frame, place, begun + i / 25)
    return reader


@pytest.fixture(scope="module")
def film() -> list[np.ndarray]:
    return [marked(i)[1] for i in range(75)]


def test_the_picture_changes_little_and_only_where_it_was_drawn(film):
    inside, squares = region(), []
    for i in range(0, 75, 5):
        plain, made = marked(i)
        assert (plain == made)[:, ~inside].all()
        squares.append(np.square(made.astype(float) - plain)[:, inside].mean())
    assert 10 * np.log10(255**2 / np.mean(squares)) >= 42
    plain, made = marked(4, strength=0.0)
    assert (plain == made).all()


def test_large_faces_keep_their_brightness():
    inside = region()
    for i in range(0, 75, 15):
        plain, made = marked(i)
        changed = np.tensordot([0.299, 0.587, 0.114], made.astype(float) - plain, 1)[inside]
        assert np.sqrt(np.square(changed).mean()) < 0.6 and np.abs(made.astype(int) - plain)[0, inside].mean() > 1.5


def test_it_fades_to_nothing_at_the_edge():
    inside = region().astype(np.uint8)
    rim = (inside > 0) & (cv2.erode(inside, np.ones((3, 3), np.uint8)) == 0)
    plain, made = marked(4)
    moved = np.abs(made.astype(int) - plain).max(0)
    assert moved[rim].max() <= 1 < moved[inside > 0].max()


def test_it_is_read_from_the_frames_alone_and_from_their_parts_together(film):
    reader = reader_of(film)
    assert reader.content() == CONTENT and reader.agrees(CONTENT) and not reader.agrees(77)
    assert reader_of(film, begun=7.31).content() == CONTENT  # cut out of something longer
    halves = Reader(), Reader()
    for i, frame in enumerate(film):
        halves[i > 40].add(frame, PLACE, i / 25)
    assert joined(halves).content() == CONTENT


def test_another_content_is_another(film):
    other = [marked(i, content=77)[1] for i in range(50)]
    assert reader_of(other).content() == 77


def test_small_faces_are_read_too():
    small = [marked(i, place=SMALL)[1] for i in range(75)]
    assert reader_of(small, SMALL).content() == CONTENT


def test_nothing_is_found_where_nothing_was_marked():
    reader = reader_of([skin(i) for i in range(75)])
    assert reader.content() is None and not reader.agrees(CONTENT)
    assert Reader().content() is None and not Reader().agrees(CONTENT)


@pytest.mark.parametrize("move", [(0.0, 0.0, 1.0), (0.05, -0.04, 1.0), (0.0, 0.02, 0.98)])
def test_the_place_may_be_known_roughly_only(film, move):
    x, y, scale = move
    place = PLACE @ np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]])
    assert reader_of(film, place).content() == CONTENT


@pytest.mark.parametrize(("crf", "size", "codec"), [(28, 2 / 3, "libx264"), (28, 1.0, "libx265"), (23, 0.5, "libx264")])
def test_it_outlives_another_encoding(tmp_path, film, crf, size, codec):
    width, height = (round(n * size) // 2 * 2 for n in (320, 256))
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        options = {"crf": str(crf), "preset": "veryfast"}
        options |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = out.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in film:
            small = cv2.resize(frame.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_AREA)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        out.mux(stream.encode(None))
    reader = Reader()
    with av.open(str(tmp_path / "a.mp4")) as container:
        for i, picture in enumerate(container.decode(video=0)):
            rgb = picture.to_ndarray(format="rgb24").transpose(2, 0, 1)
            reader.add(rgb, np.diag([size, size, 1.0]) @ PLACE, i / 25)
    assert reader.content() == CONTENT


def test_a_face_outside_or_too_small_changes_nothing():
    plain = skin(0)
    for place in (np.array([[150.0, 0, 900], [0, 150, 900], [0, 0, 1]]), np.diag([2.0, 2.0, 1.0])):
        made = plain.copy()
        embed(made, plain ^ 1, place, pattern(CONTENT), 0.3, 1.0)
        assert np.abs(made.astype(int) - plain).max() <= 4
    made = plain.copy()
    embed(made, plain ^ 1, PLACE - np.outer([160, 120, 0], [0, 0, 1]), pattern(CONTENT), 0.3, 1.0)
    assert made.shape == plain.shape  # half of it is outside
