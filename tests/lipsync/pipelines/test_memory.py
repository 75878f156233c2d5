"""What is as long as the speech is small or made in pieces: peak memory before the first picture; and pieces change
nothing."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from audio import vad
from audio.features import FeatureRows, FeatureSpec, pieces, power_spectrum, speech_features
from audio.load import Waveform, load_speech
from lipsync.config.schema import DubConfig, LipsConfig
from lipsync.core.timebase import features_at, pieces_at
from lipsync.pipelines.dub import dub
from lipsync.render import retime as retiming
from lipsync.render.retime import retime
from tests.support import ROOT
from video.clock import FrameClock

MINUTES = 10
#: The stages of `dub` before the first picture, first for 20 s so that all libraries are there; prints the rows and how
#: far the peak then rises, MiB.
STAGES = """
import resource, sys
import numpy as np
import torch
from fractions import Fraction
from audio.load import load_speech
from lipsync.speech.voice import voice_activity
from lipsync.config.schema import RetimeConfig
from lipsync.core.lips import LipBasis, close_when_silent
from lipsync.render.retime import retime
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet
from lipsync.core.timebase import lips_at, pieces_at, output_clock, voiced_at
from video.clock import FrameClock

torch.set_num_threads(1)
rng = np.random.default_rng(0)
components = np.eye(36, dtype=np.float32)[:20].reshape(20, 18, 2)
basis = LipBasis(np.zeros((18, 2), np.float32), components, np.ones(20, np.float32))
shape = SHAPES["paper"]
net = LipNet(28, 20, shape).eval()
model = LipModel("paper", [net], torch.zeros(28), torch.ones(28), basis, np.zeros((18, 2), np.float32))
target = FrameClock.constant(750, Fraction(25))
motion, still = rng.gamma(1.0, 0.01, 750).astype(np.float32), np.ones(750, bool)

def stages(path):
    wave = load_speech(path)
    clock = output_clock(wave.duration_s, like=target)
    voiced = voiced_at(voice_activity(wave), clock)
    heard = pieces_at(model.embed(wave), clock)
    lips = close_when_silent(lips_at(model.predict(wave), clock), voiced, basis.mean)
    pose, place = rng.normal(0, 5, (750, 3)), rng.normal(0, 0.1, (750, 2))
    retime(voiced, motion, still, np.zeros(750, int), 25.0, RetimeConfig(), pose, place)
    return len(lips), len(heard)

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
stages(sys.argv[1])
before = peak()
print(*stages(sys.argv[2]), peak() - before)
"""


def noise_in_bursts(path: Path, minutes: float, rate: int = 32000) -> Path:
    """A WAV of one second of noise, one of silence, and so on."""
    import soundfile

    burst = (0.1 * np.random.default_rng(0).standard_normal(rate)).clip(-1, 1).astype(np.float32)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for _ in range(round(minutes * 30)):
            file.write(burst)
            file.write(np.zeros(rate, np.float32))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux counts it")
@pytest.mark.slow
def test_ten_minutes_of_speech_need_little_more_than_their_samples(tmp_path):
    short, long = noise_in_bursts(tmp_path / "short.wav", 1 / 3), noise_in_bursts(tmp_path / "long.wav", MINUTES)
    done = subprocess.run([sys.executable, "-c", STAGES, short, long], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    n_lips, n_heard, risen = done.stdout.split()
    assert int(n_lips) == int(n_heard) == MINUTES * 60 * 25
    assert float(risen) < MINUTES * 60 * 16000 * 4 / 2**20 + 150


@pytest.mark.slow
def test_the_sound_is_let_go_before_the_plan_is_made(small_target, short_speech, shared_cache, tmp_path, monkeypatch):
    class Enough(Exception):
        pass

    heard = []

    def remembered(*args):
        wave = load_speech(*args)
        heard.append(weakref.ref(wave.samples))
        return wave

    def stop(*args):
        gc.collect()
        assert heard[0]() is None
        raise Enough

    monkeypatch.setattr("lipsync.speech.predict.load_speech", remembered)
    monkeypatch.setattr("lipsync.pipelines.dub.make_plan", stop)
    with pytest.raises(Enough):
        dub(
            small_target,
            short_speech,
            tmp_path / "out.mkv",
            DubConfig(lips=LipsConfig(members=1, steps=80)),
            cache=shared_cache,
        )


def some_speech(n: int) -> Waveform:
    """n samples of noise whose loudness changes every half second."""
    rng = np.random.default_rng(n)
    loudness = np.repeat(10 ** rng.uniform(-4, -0.5, n // 8000 + 1), 8000)[:n]
    return Waveform.of(loudness * rng.standard_normal(n).clip(-3, 3) / 3)


@pytest.mark.parametrize("spec", [FeatureSpec(), FeatureSpec("logmel", differences=False), FeatureSpec("logmel")])
@pytest.mark.parametrize("n", [1, 255, 6399, 48000])
def test_any_rows_of_the_features_are_those_of_the_whole(n, spec):
    wave = some_speech(n)
    whole, rows = speech_features(wave, spec).values, FeatureRows(wave, spec)
    assert len(rows) == len(whole)
    for part in [
        slice(0, 1),
        slice(len(whole) // 3, len(whole) // 2 + 1),
        slice(len(whole) - 1, None),
        slice(-1, None),
        slice(0, 9999),
    ]:
        torch.testing.assert_close(rows[part], whole[part], rtol=1e-6, atol=1e-4)


def test_spectra_in_pieces_are_those_of_the_whole():
    samples = some_speech(40000).samples
    parts = [power_spectrum(samples, 512, 400, rows) for rows in pieces(251, 40)]
    torch.testing.assert_close(torch.cat(parts), power_spectrum(samples, 512, 400), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [7, 600])
def test_loud_stretches_in_pieces_are_those_of_the_whole(monkeypatch, size):
    wave = some_speech(16000 * 40)
    whole = vad.sound_activity(wave)
    assert 0.1 < whole.mean() < 0.9
    monkeypatch.setattr(vad, "pieces", lambda n: pieces(n, size))
    assert np.array_equal(vad.sound_activity(wave), whole)


def test_values_in_pieces_reach_the_frames_as_the_whole_does():
    rng = np.random.default_rng(0)
    for n in (1, 2, 57, 400):
        values, clock = rng.standard_normal((n, 3)), FrameClock.constant(90, Fraction(30000, 1001))
        whole = features_at(values, clock)
        for cuts in ([], np.unique(rng.integers(1, max(2, n), 5))[: n - 1], range(1, n)):
            assert np.array_equal(pieces_at(np.split(values, cuts), clock), whole)


@pytest.mark.parametrize("seed", range(6))
def test_a_small_table_gives_the_same_plan(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    n, t = int(rng.integers(300, 900)), int(rng.integers(2, 200))
    given = (
        rng.random(n) < 0.6,
        rng.gamma(1.0, 0.01, t).astype(np.float32),
        rng.random(t) < 0.9,
        np.cumsum(rng.random(t) < 0.03),
        25.0,
    )
    places = {"pose": rng.normal(0, 5, (t, 3)), "origin": rng.normal(0, 0.1, (t, 2))}
    whole = retime(*given, **places)
    monkeypatch.setattr(retiming, "_TABLE_BYTES", 1)
    parts = retime(*given, **places)
    for name in ("source", "half", "seeks"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
