"""Sound as it comes: from pipes of any block size and rate, waited for, and handed out by the sample."""

import io
import threading
import time

import numpy as np
import pytest

from audio.live import MOST_WAITING, LiveSound, file_blocks, microphone_blocks, pcm_blocks
from audio.load import RATE
from media import MediaError
from media.container import InputLimits


class Dribble(io.RawIOBase):
    """A pipe that gives few bytes at a time, odd numbers among them."""

    def __init__(self, data, sizes):
        self.data, self.sizes = data, list(sizes)

    def read(self, n=-1):
        size = min(n, self.sizes.pop(0) if self.sizes else n)
        taken, self.data = self.data[:size], self.data[size:]
        return taken


def test_samples_of_a_pipe_whatever_pieces_they_come_in():
    samples = np.random.default_rng(0).integers(-32768, 32767, 2000).astype("<i2")
    for sizes in ([], [1, 2, 3, 5, 7] * 60):
        got = np.concatenate(list(pcm_blocks(Dribble(samples.tobytes(), sizes))))
        assert np.array_equal(got, samples.astype(np.float32) / 32768)


def test_a_pipe_of_another_rate_is_brought_to_ours():
    t = np.arange(48_000) / 48_000
    tone = np.rint(0.5 * 32767 * np.sin(2 * np.pi * 440 * t)).astype("<i2")
    got = np.concatenate(list(pcm_blocks(io.BytesIO(tone.tobytes()), 48_000)))
    assert abs(len(got) - RATE) < 100
    here = np.arange(2000, 12_000)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * here / RATE)
    assert np.corrcoef(got[here], wanted)[0, 1] > 0.99


def test_a_file_comes_whole(short_speech):
    import soundfile

    samples, rate = soundfile.read(short_speech, dtype="float32")
    got = np.concatenate(list(file_blocks(short_speech, InputLimits())))
    assert rate == RATE and np.allclose(got, samples, atol=1e-4)


def test_a_microphone_that_is_not_there_is_one_sentence():
    with pytest.raises(MediaError, match=r"extra live|cannot be opened"):
        next(microphone_blocks("no such microphone"))


def test_waiting_taking_and_the_end():
    gate = threading.Event()

    def blocks():
        yield np.full(100, 1, np.float32)
        gate.wait(10)
        yield np.full(50, 2, np.float32)

    with LiveSound(blocks()) as sound:
        assert sound.wait(100) and sound.began is not None
        assert not sound.wait(101, time.monotonic() + 0.05) and not sound.ended
        assert len(sound.take(60)) == 60 and sound.waiting == 40
        gate.set()
        assert not sound.wait(1000)  # the end is no reason to wait on
        assert sound.take(1000).tolist() == [1.0] * 40 + [2.0] * 50 and sound.ended


def test_a_source_that_is_too_fast_waits():
    made = []

    def blocks():
        while len(made) < 1000:
            made.append(1)
            yield np.zeros(RATE // 100, np.float32)

    with LiveSound(blocks()) as sound:
        sound.wait(MOST_WAITING)
        time.sleep(0.1)
        assert len(made) * RATE // 100 <= MOST_WAITING + 2 * RATE // 100


def test_what_the_source_raises_is_told():
    def blocks():
        yield np.zeros(10, np.float32)
        raise MediaError("unplugged")

    with LiveSound(blocks()) as sound:
        sound.wait(1000)
        with pytest.raises(MediaError, match="unplugged"):
            _ = sound.ended
