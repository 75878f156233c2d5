"""How many threads torch takes: one where pictures and sound come in small pieces, all where a network draws or learns.

Sums over several threads differ in their last bits from sums over one, and on a busy machine threads wait for each
other."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import nn

from lipsync.core.environment import THREADS, cores
from lipsync.core.errors import LipsyncError

Net = TypeVar("Net", bound=nn.Module)
T = TypeVar("T")

_MOST_DRAWING = 4
#: Threads that torch had before the outermost `one_thread`; 0 outside.
_before = 0
#: Knows in a thread that works `alone` that it does.
_thread = threading.local()


@contextmanager
def one_thread() -> Generator[None]:
    """Torch on one thread. Also a decorator."""
    global _before
    threads, outer = torch.get_num_threads(), _before
    _before = _before or threads
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _before = outer


@contextmanager
def opencv_on_one_thread() -> Generator[None]:
    """OpenCV, whose threads are the whole process's, on one: beside threads that work side by side its own only wait
    for work, at a twentieth of a dub's time. Also a decorator."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@functools.cache
def start_numba() -> None:
    """Starts numba's threads, whose OpenMP is torch's own: at its first parallel call numba sets the calling thread's
    number of threads to all of them, which would undo `one_thread` in silence for every later sum of torch."""
    import numba

    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)


def alone() -> None:
    """Torch and numba on one thread wherever the calling thread asks them: for threads that work side by side."""
    start_numba()
    import numba

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    _thread.alone = True


def drawing_threads(device: torch.device) -> int:
    """How many batches of frames are drawn side by side: as many as there are cores, up to `_MOST_DRAWING`, since each
    takes memory; one on a GPU, and where the user gave libraries one thread (`lipsync.core.environment.THREADS`)."""
    if device.type != "cpu" or os.environ.get(THREADS[0]) == "1":
        return 1
    return min(cores(), _MOST_DRAWING)


def learning_threads(networks: int, device: torch.device) -> int:
    """In how many threads, of one core each, small networks learn side by side; 0 = in the calling thread, where
    `drawing_threads` is one."""
    return 0 if drawing_threads(device) == 1 else min(networks, _MOST_DRAWING)


@contextmanager
def all_threads() -> Generator[None]:
    """Torch on as many threads as it had before `one_thread`; in a thread that draws `alone`, on its share of them: on
    all, those of several would wait for each other (on two cores a tenth of their time). Also a decorator."""
    threads = torch.get_num_threads()
    beside = _MOST_DRAWING if getattr(_thread, "alone", False) else 1
    torch.set_num_threads(max(1, (_before or threads) // beside))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pick_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda:N". Raises LipsyncError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise LipsyncError(
            f"There is no device {name} here ({torch.cuda.device_count()} CUDA devices). Use --device cpu or auto."
        )
    return device


class FittingRows:
    """Work on rows, at most so many at once as the device's memory holds: where it runs out, the same rows are done
    again in halves, and later ones no longer try more."""

    def __init__(self, most: int) -> None:
        self.most = most

    def each(self, n: int, work: Callable[[slice], T]) -> list[T]:
        """What `work` makes of the parts of n rows, in order. LipsyncError: the memory does not even hold one row."""
        done: list[T] = []
        start = 0
        while start < n:
            part = slice(start, min(n, start + self.most))
            try:
                done.append(work(part))
            except torch.OutOfMemoryError:
                ran_out = True  # what the failed work holds goes with the exception, below
            else:
                ran_out, start = False, part.stop
            if ran_out:
                self._halve(part.stop - part.start)
        return done

    def _halve(self, rows: int) -> None:
        if rows == 1:
            raise LipsyncError(
                "The GPU's memory does not hold the drawing of one frame. End other programs that use it, or add "
                "--device cpu."
            )
        torch.cuda.empty_cache()
        self.most = rows // 2


def channels_last(net: Net) -> Net:
    """The network with its weights laid out as convolutions read them fastest: channels innermost."""
    return cast(Net, net.to(memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]  torch's stubs lack it
