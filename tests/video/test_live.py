"""Live pictures and sound into a stream: what comes out again."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from media import MediaError
from tests.support.video_clips import number_of, numbered
from video.colour import ColourTags
from video.live import CameraScreen, Gone, StreamScreen, WindowScreen

RATE = 16_000


def written(out, n=10, size=(144, 64)):
    sound = np.sin(np.arange(n * RATE // 25) / 20).astype(np.float32) / 2
    with StreamScreen(out, *size, Fraction(25), ColourTags(), RATE) as screen:
        for k in range(n):
            if k != 4:  # a frame that came too late
                picture = torch.from_numpy(numbered(k, size[1], size[0])).permute(2, 0, 1)
                begin = 0 if k == 0 else (k if k != 5 else 4) * RATE // 25
                screen.show(k, picture.contiguous(), sound[begin : (k + 1) * RATE // 25])
    return sound


def read(source):
    frames, heard = {}, []
    with av.open(source) as container:
        for packet in container.demux():
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    frames[round(frame.pts * frame.time_base * 25)] = number_of(
                        frame.to_ndarray(format="rgb24").transpose(2, 0, 1)
                    )
                else:
                    heard.append(frame.to_ndarray()[0])
    return frames, np.concatenate(heard)


def test_a_pipe_gets_every_picture_at_its_time_and_all_the_sound():
    out = io.BytesIO()
    out.seekable = lambda: False
    sound = written(out)
    frames, heard = read(io.BytesIO(out.getvalue()))
    assert frames == {k: k for k in range(10) if k != 4}
    assert np.abs(heard / 32768 - sound).max() <= 0.5 / 32768 + 1e-6


def test_a_matroska_file(tmp_path):
    sound = written(tmp_path / "a.mkv")
    frames, heard = read(str(tmp_path / "a.mkv"))
    assert frames == {k: k for k in range(10) if k != 4} and len(heard) == len(sound)


def test_a_broken_pipe_ends_it():
    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise BrokenPipeError

    with pytest.raises(Gone), StreamScreen(Pipe(), 144, 64, Fraction(25), ColourTags(), RATE) as screen:
        for k in range(200):
            screen.show(k, torch.zeros(3, 64, 144, dtype=torch.uint8), np.zeros(640, np.float32))


def test_what_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MediaError, match=r"\.mkv"):
        StreamScreen(tmp_path / "a.avi", 144, 64, Fraction(25), ColourTags(), RATE)
    with pytest.raises(MediaError, match=r"extra live|virtual camera"):
        CameraScreen(144, 64, Fraction(25)).__enter__()
    with pytest.raises(MediaError, match="no display|no windows"):
        WindowScreen().__enter__()
