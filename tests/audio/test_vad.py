"""Sound above the noise: speech-like sound among silence, hum and steady noise."""

from __future__ import annotations

import numpy as np
import pytest

from audio.load import Waveform
from audio.vad import sound_activity


def vowels(seconds: float) -> np.ndarray:
    """Harmonics of a gliding pitch under three formants, with syllables of 0.2 s."""
    t = np.arange(round(16000 * seconds)) / 16000
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * t)) / 16000
    gain = lambda f: sum(np.exp(-(((f - c) / 120) ** 2)) for c in (600, 1400, 2500))
    tone = sum(gain(120 * k) * np.sin(k * phase) for k in range(1, 30))
    return 0.1 * tone * (0.3 + np.sin(np.pi * t / 0.2) ** 2)


def test_speech_between_silences():
    sound = np.concatenate([np.zeros(16000), vowels(1), np.zeros(16000), vowels(0.5), np.zeros(8000)])
    voiced = sound_activity(Waveform.of(sound))
    assert voiced.dtype == bool and len(voiced) == 401
    truth = np.zeros(401, bool)
    truth[100:200] = truth[300:350] = True
    assert (voiced == truth).mean() > 0.94
    assert not voiced[:90].any() and not voiced[215:285].any() and voiced[105:195].all()


@pytest.mark.parametrize("noise", ["white", "hum"])
def test_steady_sound_is_not_speech(noise):
    t = np.arange(64000) / 16000
    steady = (
        np.random.default_rng(0).normal(size=64000) * 0.01 if noise == "white" else 0.1 * np.sin(2 * np.pi * 50 * t)
    )
    assert not sound_activity(Waveform.of(steady)).any()
    mixed = steady.copy()
    mixed[16000:32000] += vowels(1)
    voiced = sound_activity(Waveform.of(mixed))
    assert voiced[110:190].mean() > 0.9 and not voiced[:85].any() and not voiced[230:].any()


def test_exact_silence_and_a_single_sample():
    assert not sound_activity(Waveform.of(np.zeros(48000, np.float32))).any()
    assert len(sound_activity(Waveform.of(np.zeros(1, np.float32)))) == 1


def test_short_closures_stay_voiced_and_clicks_do_not_count():
    sound = np.concatenate([np.zeros(16000), vowels(0.4), np.zeros(1600), vowels(0.4), np.zeros(16000)])
    sound[8000:8160] += 0.5
    voiced = sound_activity(Waveform.of(sound))
    assert voiced[105:185].all() and not voiced[:90].any()


def test_zeros_set_no_noise_floor():
    """Pauses in a room stay pauses, and all else is what it is without the zeros."""
    rng, syllables = np.random.default_rng(0), np.concatenate([vowels(1), np.zeros(8000), vowels(1), np.zeros(8000)])
    room = syllables + 5e-3 * rng.normal(size=len(syllables))
    for before, after in ((24000, 0), (0, 24000), (8000, 80000)):
        voiced = sound_activity(Waveform.of(np.pad(room, (before, after))))
        first = before // 160
        assert np.array_equal(voiced[first + 5 : first + 295], sound_activity(Waveform.of(room))[5:295])
        assert not voiced[: max(0, first - 7)].any() and not voiced[first + 305 :].any()
    room[16000:24000] = 0  # a gate in the middle
    voiced = sound_activity(Waveform.of(room))
    assert not voiced[107:143].any() and voiced[155:245].all() and not voiced[265:].any()
