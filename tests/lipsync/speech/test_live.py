"""Live lips: the offline ones of the same network, as far as the sound is known."""

from fractions import Fraction

import numpy as np
import pytest

from audio.load import RATE, load_speech
from lipsync.core.errors import UsageError
from lipsync.core.lips import opening
from lipsync.speech.lip_model import LipModel
from lipsync.speech.live import LiveLips
from lipsync.speech.predict import lips_for
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity
from lipsync.store.registry import CAUSAL_LIP_PRIOR
from tests.support import SAMPLES
from video.clock import FrameClock

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return LipModel.load(CAUSAL_LIP_PRIOR)


@pytest.fixture(scope="module")
def sound():
    return load_speech(SAMPLES / "speech.wav").samples.numpy()


def said(model, samples, n, block=640, more_s=0.0):
    """(n,18,2) at 25 a second, each as soon as its sound, and `more_s` of what follows, was heard."""
    live, heard, out = LiveLips(model), 0, []
    samples = np.concatenate([samples, np.zeros(2 * RATE, np.float32)])
    for k in range(n):
        until = int(np.ceil((k / 25 + live.ahead_s + more_s) * RATE))
        while heard < until:
            live.hear(samples[heard : min(heard + block, until)])
            heard = min(heard + block, until)
        out.append(live.at(k / 25))
    return np.array(out)


def test_as_offline_but_for_what_is_not_known_yet(model, sound):
    n = len(sound) * 25 // RATE
    clock = FrameClock.constant(n, Fraction(25))
    wave = load_speech(SAMPLES / "speech.wav")
    offline, _ = lips_for(model.predict(wave), voice_activity(wave), clock, model.rest, 0.3)
    live = opening(said(model, sound, n))
    assert np.corrcoef(live, opening(offline.points))[0, 1] > 0.97
    assert 0.93 < live.std() / opening(offline.points).std() < 1.07


def test_the_same_in_any_blocks(model, sound):
    several = [said(model, sound[: 2 * RATE], 40, block) for block in (137, 640, 5000)]
    assert np.allclose(several[0], several[1], atol=1e-4) and np.allclose(several[0], several[2], atol=1e-4)


def test_ahead_s_is_enough_and_no_later_sound_is_used(model, sound):
    other = sound[: 2 * RATE].copy()
    other[RATE:] = np.random.default_rng(0).normal(0, 0.3, RATE)
    before = int((1 - LiveLips(model).ahead_s) * 25)
    a, b = (said(model, x, before) for x in (sound[: 2 * RATE], other))
    assert np.array_equal(a, b)  # the future cannot be heard
    live, late = (said(model, sound[: 2 * RATE], 30, more_s=s) for s in (0.0, 0.02))
    moving = np.abs(live - late).mean()  # gating may know a little more: the network itself may not
    assert moving < 0.002 < np.abs(live - model.rest).mean()


def test_at_rest_in_silence_and_soon_after_speech(model, sound):
    quiet = np.concatenate([np.zeros(RATE, np.float32), sound[RATE // 2 : 2 * RATE], np.zeros(2 * RATE, np.float32)])
    lips = said(model, quiet, len(quiet) * 25 // RATE)
    assert np.array_equal(lips[:20], np.repeat(model.rest[None], 20, 0))
    assert np.abs(opening(lips[30:60]) - opening(model.rest)).max() > 0.05
    assert np.array_equal(lips[-35:], np.repeat(model.rest[None], 35, 0))
    steps = np.abs(np.diff(opening(lips)))
    assert steps.max() < 0.12  # it closes, it does not snap


def test_loud_and_soft_speech_move_the_lips_alike(model, sound):
    n = len(sound) * 25 // RATE
    loud, soft = (opening(said(model, sound * gain, n))[60:] for gain in (1.0, 0.2))
    assert np.corrcoef(loud, soft)[0, 1] > 0.95 and 0.85 < soft.std() / loud.std() < 1.15


def test_another_network_is_refused():
    with pytest.raises(UsageError, match="causal"):
        LiveLips(bundled_lip_model())
