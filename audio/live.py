"""Sound as it comes: from a pipe, from a microphone, or from a file in its own time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from audio.load import RATE, load_speech
from media import MediaError
from media.container import InputLimits

#: Samples handed on together (10 ms), and the most that wait: whoever fills a pipe faster than real time waits, too.
BLOCK, MOST_WAITING = RATE // 100, RATE // 2


def pcm_blocks(pipe: BinaryIO, rate: int = RATE) -> Iterator[np.ndarray]:
    """(n,) float32 at 16,000 a second of a pipe of 16-bit little-endian mono samples at `rate`, as they arrive; ends
    with it."""
    import av

    n_bytes, resampler = 2 * max(1, rate // 100), None if rate == RATE else av.AudioResampler("s16", "mono", RATE)
    left = b""
    read = getattr(pipe, "read1", pipe.read)  # what has arrived, not as much as is asked for
    while data := read(n_bytes):
        data, left = left + data, b""
        if len(data) % 2:
            data, left = data[:-1], data[-1:]
        samples = np.frombuffer(data, "<i2")
        if len(samples) == 0:
            continue
        if resampler is None:
            yield samples.astype(np.float32) / 32768
            continue
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = rate
        for made in resampler.resample(frame):
            yield made.to_ndarray()[0].astype(np.float32) / 32768


def file_blocks(path: Path, limits: InputLimits) -> Iterator[np.ndarray]:
    """(n,) float32 of a recording. MediaError: unreadable."""
    samples = load_speech(path, limits).samples.numpy()
    return (samples[at : at + BLOCK] for at in range(0, len(samples), BLOCK))


def microphone_blocks(device: str = "") -> Iterator[np.ndarray]:
    """(n,) float32 of a microphone, without end. device: a name or number as the package sounddevice knows it, empty =
    the usual one. MediaError: there is none."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without the PortAudio library
        raise MediaError(
            f"A microphone needs the extra live and PortAudio ({error}): pip install 'lipsync-dub[live]'; on Debian, "
            "apt install libportaudio2."
        ) from error
    known: Any = int(device) if device.isdigit() else device or None
    try:
        stream = sounddevice.InputStream(RATE, BLOCK, known, 1, "float32", latency="low")
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MediaError(f"The microphone {device or '(the usual one)'} cannot be opened: {error}.") from error
    return _recorded(stream)


def _recorded(stream: Any) -> Iterator[np.ndarray]:
    with stream:
        while True:
            yield stream.read(BLOCK)[0][:, 0].copy()


class LiveSound:
    """A source of blocks, read in a thread of its own and handed out by the sample. A context manager."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks, self._waiting = blocks, np.zeros(0, np.float32)
        self._changed = threading.Condition()
        self._ended, self._closed, self._failed = False, False, None
        self.began: float | None = None  #: time.monotonic() of the first sample

    def __enter__(self) -> LiveSound:
        threading.Thread(target=self._read, name="live-sound", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:  # the thread may wait for its source for ever: it is left behind
            self._closed = True
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for block in self._blocks:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._waiting) < MOST_WAITING or self._closed)
                    if self._closed:
                        return
                    if self.began is None:
                        self.began = time.monotonic() - len(block) / RATE
                    self._waiting = np.concatenate([self._waiting, block])
                    self._changed.notify_all()
        except BaseException as error:
            self._failed = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Samples that have arrived and were not taken."""
        return len(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether the source has, and everything was taken. Raises what the source raised."""
        if self._failed is not None:
            raise self._failed
        return self._ended and not len(self._waiting)

    def wait(self, n: int, until: float | None = None) -> bool:
        """Waits until `n` samples are there (True), or the source has ended or it is `until` (time.monotonic());
        whether they are there."""
        with self._changed:
            left_s = None if until is None else max(0.0, until - time.monotonic())
            self._changed.wait_for(lambda: len(self._waiting) >= n or self._ended or self._closed, left_s)
            return len(self._waiting) >= n

    def take(self, n: int) -> np.ndarray:
        """(m,) float32, the next samples: `n`, or as many as are there."""
        with self._changed:
            taken, self._waiting = self._waiting[:n], self._waiting[n:]
            self._changed.notify_all()
            return taken
