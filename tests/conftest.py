"""Shared material: a small, short version of the shipped synthetic presenter, and a cache that one test run shares."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lipsync.core.environment import prepare_environment
from tests.support import SAMPLES

prepare_environment()  # as the command line does
for _name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # tests compute little: threads cost more than they bring
    os.environ.setdefault(_name, "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A runner in the background ignores Ctrl-C, and so would every program that a test starts to interrupt it. A
    # handler that does nothing keeps that for the runner alone: started programs get the default.
    signal.signal(signal.SIGINT, lambda number, frame: None)


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: small networks are too small to share among cores, and two threads on a busy machine mostly
    wait for each other."""
    from lipsync.core import runtime

    with runtime.one_thread():
        yield


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """A folder that all workers of one test run share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def small_target(run_folder) -> Path:
    """The first 10 s of samples/target.mp4 at 480x270 with its sound, losslessly stored."""
    from filelock import FileLock

    path = run_folder / "small.mkv"
    with FileLock(run_folder / "small.lock"):
        if not path.exists():
            _make_small_target(path)
    return path


def _make_small_target(path: Path) -> None:
    import cv2
    import soundfile
    import torch

    from audio.load import load_track
    from video.clock import FrameClock
    from video.probe import probe
    from video.read import read_frames
    from video.write import VideoWriter

    wave, sound = load_track(SAMPLES / "target.mp4"), path.with_suffix(".wav")
    soundfile.write(sound, wave.samples[: 10 * wave.rate].numpy(), wave.rate)
    clock = FrameClock.constant(250, Fraction(25))
    with VideoWriter(path, width=480, height=270, clock=clock, codec="ffv1", speech=sound) as writer:
        for batch in read_frames(probe(SAMPLES / "target.mp4"), 25, stop=250):
            pictures = batch.rgb.permute(0, 2, 3, 1).numpy()
            small = [cv2.resize(rgb, (480, 270), interpolation=cv2.INTER_AREA) for rgb in pictures]
            writer.write(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous())


@pytest.fixture(scope="session")
def people_film(run_folder) -> Path:
    """Three people in five shots, of tests.support.people.SHOTS; who speaks says the words of samples/target.mp4."""
    from filelock import FileLock

    from tests.support.people import make_film

    path = run_folder / "people.mkv"
    with FileLock(run_folder / "people.lock"):
        if not path.exists():
            make_film(path.with_stem("unfinished"), start_s=0.32).rename(path)
    return path


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory) -> Path:
    """2.41 s of samples/speech.wav."""
    import soundfile

    samples, rate = soundfile.read(SAMPLES / "speech.wav", dtype="int16")
    path = tmp_path_factory.mktemp("speech") / "short.wav"
    soundfile.write(path, samples[: int(2.41 * rate)], rate)
    return path


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """A cache of this worker's tests; not of all workers', because some tests look at what it holds."""
    from lipsync.store.cache import Cache

    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def gpu():
    """A GPU for a test marked `gpu`: the machine's, or a pretended one (tests.support.pretend_gpu). Yields a Counter of
    lines (file:line) that waited for the pretended one; None where the GPU is real."""
    import torch

    from tests.support.pretend_gpu import pretend_gpu

    if torch.cuda.is_available():
        yield None
        return
    with pretend_gpu() as waits:
        yield waits
