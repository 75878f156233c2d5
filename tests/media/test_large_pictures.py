"""Pictures beyond the usual limit, where the user has raised it: sound and writing must know of it, too."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from audio.duration import speech_length
from audio.load import load_track
from media import MediaError
from media.container import InputLimits
from video.clock import FrameClock
from video.probe import probe
from video.ranges import RangedWriter
from video.write import VideoWriter

RAISED = InputLimits(megapixels=60)
SIZE = (8000, 5100)  # 40.8 megapixels


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """One huge picture, shown half a second before the sound begins."""
    path = tmp_path_factory.mktemp("huge") / "huge.mov"
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mjpeg", rate=Fraction(25))
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuvj420p"
        sound = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.VideoFrame.from_ndarray(np.zeros((SIZE[1], SIZE[0]), np.uint8), format="gray").reformat(
            format="yuvj420p"
        )
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        tone = av.AudioFrame.from_ndarray(np.full((1, 16000), 9000, np.int16), format="s16", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = 16000, 8000, Fraction(1, 16000)
        out.mux(sound.encode(tone))
        out.mux(sound.encode(None))
    return path


def test_the_sound_keeps_its_offset(huge):
    samples = load_track(huge, RAISED).samples.numpy()
    assert abs(int(np.flatnonzero(np.abs(samples) > 0.1)[0]) - 8000) <= 16 and len(samples) == pytest.approx(
        24000, abs=16
    )


def test_the_usual_limit_still_holds(huge):
    with pytest.raises(MediaError, match="40 megapixels are opened"):
        probe(huge)
    assert probe(huge, RAISED).audio_start_s == Fraction(1, 2)


def test_its_sound_is_speech_like_any_other(huge, tmp_path):
    assert float(speech_length(huge, RAISED)) == pytest.approx(1, abs=0.01)
    clock = FrameClock.constant(25, Fraction(25))
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, clock=clock, speech=huge, limits=RAISED) as writer:
        writer.write(torch.zeros((25, 3, 48, 64), dtype=torch.uint8))
    assert writer.facts.audio == "encoded"


def test_ranges_of_huge_pictures_are_joined(tmp_path):
    clock = FrameClock.constant(2, Fraction(25))
    size = {"width": SIZE[0], "height": SIZE[1], "codec": "libx264", "preset": "ultrafast"}
    with RangedWriter(tmp_path / "a.mp4", tmp_path, 1, clock=clock, limits=RAISED, **size) as writer:
        writer.write(torch.zeros((2, 3, SIZE[1], SIZE[0]), dtype=torch.uint8))
    assert len(probe(tmp_path / "a.mp4", RAISED)) == 2
