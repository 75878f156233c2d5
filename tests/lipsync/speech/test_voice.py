"""Who speaks: the shipped presenter's speech among silence, hum, noise and music made here; GRID's word alignments
where the footage is present."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio.features import pieces
from audio.load import RATE, Waveform, load_speech, load_track
from audio.vad import sound_activity
from lipsync.core.errors import LipsyncError
from lipsync.speech import voice
from lipsync.speech.voice import CHANNELS, VoiceNet, speech_likeness, voice_activity, voice_net
from lipsync.store.registry import LIP_PRIORS, VOICE
from tests.support import DATA, SAMPLES

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = DATA / "grid"
RNG = np.random.default_rng


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """(S,) seven seconds with pauses, in silence that is nearly digital."""
    return load_speech(SAMPLES / "speech.wav").samples[: 7 * RATE].numpy().astype(np.float64)


@pytest.fixture(scope="module")
def truth(speech) -> np.ndarray:
    """(F,) bool: loudness alone is right where nothing else sounds."""
    return sound_activity(Waveform.of(speech + 1e-4 * RNG(0).normal(size=len(speech))))


def heard(samples: np.ndarray) -> np.ndarray:
    return voice_activity(Waveform.of(samples))


def level(samples: np.ndarray) -> float:
    """RMS of the loud parts."""
    return float(np.sqrt((samples[np.abs(samples) > 0.01] ** 2).mean()))


def music(n: int, seed: int = 0) -> np.ndarray:
    """(n,) of RMS 1: chords of decaying harmonics every half second, a bass, and drums."""
    rng, out, t = RNG(seed), np.zeros(n), np.arange(RATE // 2) / RATE
    for beat, at in enumerate(range(0, n, RATE // 2)):
        root = (220, 196, 175, 196)[beat // 2 % 4]
        tone = sum(
            np.sin(2 * np.pi * root * step * k * t) / k for step in (0.5, 1, 1.26, 1.5) for k in (1, 2, 3, 4)
        ) * np.exp(-3 * t)
        drum = rng.normal(size=len(t)) * np.exp(-40 * t)
        out[at : at + len(t)] += (tone + 1.5 * drum)[: n - at]
    return out / np.sqrt((out**2).mean())


def hum(n: int) -> np.ndarray:
    t = np.arange(n) / RATE
    return 0.05 * np.sin(2 * np.pi * 50 * t) + 0.02 * np.sin(2 * np.pi * 150 * t)


def in_a_room(speech: np.ndarray) -> np.ndarray:
    return speech + level(speech) * 10 ** (-30 / 20) * RNG(0).normal(size=len(speech))


def test_zeros_before_speech_in_a_room_change_nothing(speech):
    """Fault 1: the noise floor was taken from the zeros, and everything after them was speech."""
    room, n = in_a_room(speech), 150
    alone, after = heard(room), heard(np.concatenate([np.zeros(n * 160), room]))
    assert 0.5 < alone.mean() < 0.9
    assert not after[: n - 5].any()
    assert abs(after[n:].mean() - alone.mean()) < 0.03 and (after[n:] == alone[: len(after) - n]).mean() > 0.96


def test_gated_pauses_are_never_speech(speech, truth):
    """Zeros where nobody speaks, the room's noise elsewhere."""
    room = in_a_room(speech)
    room[~np.repeat(truth, 160)[: len(room)]] = 0
    voiced = heard(room)
    inside = np.convolve(~truth, np.ones(11), "same") == 11
    assert inside.sum() > 50 and not voiced[inside].any()
    assert (voiced == truth).mean() > 0.95


def test_digital_silence_is_not_speech_whatever_the_network_says(monkeypatch, speech):
    """Nor within 10 ms; a gap as short as a plosive's closure is not a pause."""
    monkeypatch.setattr(voice, "speech_likeness", lambda wave: np.ones(1 + len(wave.samples) // 160, np.float32))
    room = in_a_room(speech)[: 3 * RATE]
    room[16000:32000] = room[40000:41600] = 0
    voiced = heard(room)
    assert voiced[:100].all() and not voiced[101:200].any() and voiced[201:].all()


@pytest.mark.parametrize("n", [1, 159, 48000])
def test_digital_silence_alone(n):
    voiced = heard(np.zeros(n))
    assert voiced.dtype == bool and len(voiced) == 1 + n // 160 and not voiced.any()


@pytest.mark.parametrize("background", ["none", "hum", "room", "music at 15 dB", "music at 10 dB"])
def test_speech_is_found_with_its_edges(speech, truth, background):
    loud, n = level(speech), len(speech)
    added = {
        "none": np.zeros(n),
        "hum": hum(n),
        "room": in_a_room(speech) - speech,
        "music at 15 dB": loud * 10 ** (-15 / 20) * music(n),
        "music at 10 dB": loud * 10 ** (-10 / 20) * music(n),
    }[background]
    voiced = heard(speech + added)
    least = 0.93 if background.startswith("music") else 0.95
    hits = (voiced & truth).sum()
    assert hits / truth.sum() > least and hits / voiced.sum() > least


def test_music_before_and_after_speech(speech, truth):
    n, loud = 3 * RATE, level(speech)
    joined = np.concatenate([np.zeros(n), speech, np.zeros(n)])
    joined += loud * 10 ** (-15 / 20) * music(len(joined))
    voiced = heard(joined)
    assert not voiced[:285].any() and not voiced[-280:].any()
    assert (voiced[300 : 300 + len(truth)] == truth[: len(voiced) - 300]).mean() > 0.93


def noise(n: int) -> np.ndarray:
    return 0.05 * RNG(1).normal(size=n)


def swelling(n: int) -> np.ndarray:
    return noise(n) * 10 ** (
        np.interp(np.arange(n), np.arange(0, n + 8000, 8000), RNG(2).uniform(-30, 0, 99)[: n // 8000 + 1]) / 20
    )


def clicks(n: int) -> np.ndarray:
    out = np.zeros(n)
    for at in RNG(3).integers(0, n - 200, 20):
        out[at : at + 160] += 0.5
    return out


def breaths(n: int) -> np.ndarray:
    air = np.diff(RNG(4).normal(size=n + 1)) * 0.02
    return air * np.clip(np.sin(2 * np.pi * np.arange(n) / RATE), 0, 1)


@pytest.mark.parametrize("make", [music, hum, noise, swelling, clicks, breaths])
def test_sounds_that_are_not_speech(make):
    n = 8 * RATE
    sound = make(n)
    assert heard(0.05 * sound if make is music else sound).mean() < 0.02


@pytest.mark.parametrize("over", ["room", "music"])
def test_a_pause_of_three_tenths_of_a_second_is_found(speech, truth, over):
    """Speech cut in the middle of a long stretch, with 0.3 s of nobody there."""
    edges = np.flatnonzero(np.diff(truth.astype(int), prepend=0, append=0))
    start, stop = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    at = (start + stop) // 2
    cut = np.concatenate([speech[: at * 160], np.zeros(30 * 160), speech[at * 160 :]])
    cut += 1e-3 * level(speech) * RNG(0).normal(size=len(cut))
    if over == "music":
        cut += level(speech) * 10 ** (-15 / 20) * music(len(cut))
    voiced = heard(cut)
    assert (~voiced[at : at + 30]).sum() >= 20 and voiced[at - 20 : at - 3].all() and voiced[at + 47 : at + 60].all()


def test_quiet_and_loud_are_the_same(speech):
    room = in_a_room(speech)
    a, b = heard(0.1 * room), heard(room)
    assert (a == b).mean() > 0.98


@pytest.mark.parametrize("size", [7, 333])
def test_pieces_are_the_whole(monkeypatch, speech, size):
    wave = Waveform.of(in_a_room(speech)[: 4 * RATE])
    whole, decided = speech_likeness(wave), voice_activity(wave)
    assert 0.3 < decided.mean() < 1
    monkeypatch.setattr(voice, "pieces", lambda n: pieces(n, size))
    assert np.abs(speech_likeness(wave) - whole).max() < 1e-4
    assert np.array_equal(voice_activity(wave), decided)


def test_the_shipped_network_is_small_and_read_once():
    assert VOICE.stat().st_size < 200_000
    assert voice_net() is voice_net() and not any(p.requires_grad for p in voice_net().parameters())
    assert 20_000 < sum(p.numel() for p in voice_net().parameters()) < 60_000


def test_a_file_keeps_the_network_and_a_wrong_one_is_told(tmp_path):
    net, x = VoiceNet().eval(), torch.randn(1, 40, 50)
    net.save(tmp_path / "v.safetensors", {"recipe": "none"})
    again = voice_net(tmp_path / "v.safetensors")
    assert again.hear.weight.shape[0] == CHANNELS and (net(x) - again(x)).abs().max() < 0.01
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    for wrong in (tmp_path / "broken.safetensors", tmp_path / "absent.safetensors", LIP_PRIORS["logmel"]):
        with pytest.raises(LipsyncError, match="voice network"):
            voice_net(wrong)


def test_grid_word_alignments():
    if not GRID.exists():
        pytest.skip("GRID footage is absent (LIPSYNC_DATA)")
    hits = misses = alarms = 0
    for clip in sorted((GRID / "s1").glob("*.mpg"))[::60]:
        voiced = voice_activity(load_track(clip))
        spoken = np.zeros(len(voiced), bool)
        for line in clip.with_suffix(".align").read_text().splitlines():
            start, end, word = line.split()
            if word not in ("sil", "sp"):
                spoken[round(int(start) / 250) : round(int(end) / 250)] = True
        hits, misses, alarms = (
            hits + (voiced & spoken).sum(),
            misses + (~voiced & spoken).sum(),
            alarms + (voiced & ~spoken).sum(),
        )
    assert hits / (hits + misses) > 0.9 and hits / (hits + alarms) > 0.93
