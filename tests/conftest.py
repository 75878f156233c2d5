"""Shared material: a small, short version of the shipped synthetic presenter, and a cache that one test run shares."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.support import SAMPLES

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
for _name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # tests compute little: threads cost more than they bring
    os.environ.setdefault(_name, "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A runner in the background ignores Ctrl-C, and so would every program that a test starts to interrupt it. A
    # handler that does nothing keeps that for the runner alone: started programs get the default.
    signal.signal(signal.SIGINT, lambda number, frame: None)


@pytest.fixture(scope="session")
def small_target(tmp_path_factory) -> Path:
    """The first 10 s of samples/target.mp4 at 480x270 with its sound, losslessly stored."""
    import cv2
    import soundfile
    import torch

    from audio.load import load_track
    from video.clock import FrameClock
    from video.read import probe, read_frames
    from video.write import VideoWriter

    folder = tmp_path_factory.mktemp("target")
    wave = load_track(SAMPLES / "target.mp4")
    soundfile.write(folder / "sound.wav", wave.samples[: 10 * wave.rate].numpy(), wave.rate)
    clock = FrameClock.constant(250, Fraction(25))
    with VideoWriter(
        folder / "small.mkv", width=480, height=270, clock=clock, codec="ffv1", speech=folder / "sound.wav"
    ) as writer:
        for batch in read_frames(probe(SAMPLES / "target.mp4"), 25, stop=250):
            small = [
                cv2.resize(rgb, (480, 270), interpolation=cv2.INTER_AREA)
                for rgb in batch.rgb.permute(0, 2, 3, 1).numpy()
            ]
            writer.write(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous())
    return folder / "small.mkv"


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
    from lipsync.store.cache import Cache

    return Cache(tmp_path_factory.mktemp("cache"))
