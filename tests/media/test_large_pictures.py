"""Pictures beyond the usual limit, where the user has raised it: sound and writing must know of it, too."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import torch

from audio.duration import speech_length
from audio.load import load_track
from media import MediaError
from media.container import InputLimits, open_media
from video.clock import FrameClock
from video.probe import probe
from video.ranges import RangedWriter
from video.write import VideoWriter

RAISED = InputLimits(megapixels=60)
SIZE = (8000, 5100)  # 40.8 megapixels


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """One huge picture at 0.2 s of the file's clock, half a second before the sound begins. FFmpeg knows nothing of an
    FFV1 picture beyond the limit; of other codecs the container says enough to decode it all the same."""
    path = tmp_path_factory.mktemp("huge") / "huge.mkv"
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("ffv1", rate=25)
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        sound: Any = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.VideoFrame.from_ndarray(np.zeros((SIZE[1], SIZE[0]), np.uint8), format="gray")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = 5, Fraction(1, 25)
        out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        tone = av.AudioFrame.from_ndarray(np.full((1, 16000), 9000, np.int16), format="s16", layout="mono")
        tone.sample_rate, tone.pts, tone.time_base = 16000, round(0.7 * 16000), Fraction(1, 16000)
        out.mux(sound.encode(tone))
        out.mux(sound.encode(None))
    return path


def test_the_sound_keeps_its_offset(huge):
    samples = load_track(huge, RAISED).samples.numpy()
    assert int(np.flatnonzero(np.abs(samples) > 0.1)[0]) == pytest.approx(8000, abs=16)
    assert len(samples) == pytest.approx(24000, abs=16)


def test_the_usual_limit_still_holds(huge):
    with pytest.raises(MediaError, match="40 megapixels are opened"):
        probe(huge)
    assert probe(huge, RAISED).audio_start_s == Fraction(1, 2)


def test_the_length_of_its_sound(huge):
    assert float(speech_length(huge, RAISED)) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("rows", [None, 10])
def test_writing_opens_speech_and_ranges_within_the_limits_of_the_job(huge, tmp_path, monkeypatch, rows):
    opened = []

    def recording(path, limits=InputLimits()):
        opened.append((path.suffix, limits))
        return open_media(path, limits)

    for module in ("mux", "ranges"):
        monkeypatch.setattr(f"video.{module}.open_media", recording)
    how = {"width": 64, "height": 48, "clock": FrameClock.constant(25, Fraction(25)), "speech": huge, "limits": RAISED}
    path = tmp_path / "a.mp4"
    with RangedWriter(path, tmp_path, rows, **how) if rows else VideoWriter(path, **how) as writer:
        writer.write(torch.zeros((25, 3, 48, 64), dtype=torch.uint8))
    assert writer.facts.audio == "encoded" and len(probe(path)) == 25
    assert set(opened) == ({(".mkv", RAISED), (".mp4", RAISED)} if rows else {(".mkv", RAISED)})
