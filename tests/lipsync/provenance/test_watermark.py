"""The watermark looked for in files: the presenter marked here, files without a face, files that are none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lipsync.config.schema import FaceConfig
from lipsync.face.track import FaceTracker
from lipsync.provenance import watermark as module
from lipsync.provenance.watermark import watermark_in
from tests.support import SAMPLES
from tests.support.video_clips import write_clip
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.watermark import embed, pattern

CONTENT = 0x0123456789ABCDEF


@pytest.fixture(scope="module")
def presenter() -> tuple[list[np.ndarray], np.ndarray]:
    """Three seconds: (3,H,W) frames and (T,3,3) where the face is."""
    frames = [
        np.ascontiguousarray(rgb) for part in read_frames(probe(SAMPLES / "target.mp4"), stop=75) for rgb in part.rgb
    ]
    tracker = FaceTracker(FaceConfig(), 1280, 720)
    track = tracker.track(((f.transpose(1, 2, 0), False) for f in frames), FrameClock.constant(75, Fraction(25)))
    return frames, track.pixel_from_face


def written(path: Path, presenter, marked: range, *, lines: int = 360, crf: int = 23) -> Path:
    """A film of the presenter, smaller than the original, marked in some frames."""
    drawn, width = pattern(CONTENT), lines * 16 // 9 // 2 * 2
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, lines, "yuv420p"
        for i, (frame, place) in enumerate(zip(*presenter, strict=True)):
            made = frame.copy()
            if i in marked:
                embed(made, frame ^ 1, place, drawn, i / 25, 1.0)
            small = cv2.resize(made.transpose(1, 2, 0), (width, lines), interpolation=cv2.INTER_AREA)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_it_is_read_from_a_smaller_film_that_was_encoded_again(tmp_path, presenter):
    found = watermark_in(written(tmp_path / "again.mp4", presenter, range(75)))
    assert (found.id, found.note) == (f"{CONTENT:016x}", "")
    assert found.spans == [[0.0, 3.0]]


def test_a_film_without_it_has_none(tmp_path, presenter):
    assert watermark_in(written(tmp_path / "plain.mp4", presenter, range(0))) == module.Watermark()


def test_what_cannot_be_looked_at_is_said(tmp_path):
    (tmp_path / "text.mp4").write_bytes(b"no film")
    assert watermark_in(tmp_path / "text.mp4").note.startswith("not looked for")
    clip = write_clip(tmp_path / "clip.mp4", 30)
    assert watermark_in(clip) == module.Watermark(note="none: no face was seen")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert not watermark_in(tmp_path / "cut.mp4").id


def test_of_a_long_film_stretches_all_along_it_are_looked_at():
    whole, hour = (FrameClock.constant(25 * seconds, Fraction(25)) for seconds in (60, 3600))
    assert module._stretches(whole) == [slice(0, 1500)]
    stretches = module._stretches(hour)
    assert len(stretches) == module.STRETCHES and stretches[0].start == 0 and stretches[-1].stop == len(hour)
    assert {one.stop - one.start for one in stretches} <= {124, 125, 126}


def test_spans_that_touch_are_one():
    assert module._merged([[0.0, 2.5], [2.5, 5.0], [7.5, 9.0], [8.0, 10.0]]) == [[0.0, 5.0], [7.5, 10.0]]
