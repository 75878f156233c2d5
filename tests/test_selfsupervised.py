"""Self-supervised speech features: the clock, the chunks and the messages, with a stand-in network; a real one where torchaudio loads."""

from __future__ import annotations

import socket
import types

import numpy as np
import pytest
import torch
from torch import nn

from audio import AudioError, selfsupervised
from audio.features import FeatureSpec, loudness_normalised, speech_features
from audio.load import Waveform
from audio.selfsupervised import heard, load_network, parsed_kind, self_supervised_features


class MeanOfSight(nn.Module):
    """Answers like torchaudio's networks: layer k is k times the mean of the 400 samples seen, every 320."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def extract_features(self, waveforms, lengths=None, num_layers=None):
        self.lengths.append(waveforms.shape[1])
        mean = waveforms.unfold(1, 400, 320).mean(-1, keepdim=True)
        return [k * mean.expand(-1, -1, 3) for k in range(1, num_layers + 1)], None


class Bundle:
    sample_rate = 16000

    def __init__(self, trouble=None):
        self.trouble, self.asked = trouble, None

    def get_model(self, dl_kwargs=None):
        self.asked = dl_kwargs, socket.getdefaulttimeout()
        if self.trouble:
            raise self.trouble
        return MeanOfSight()


@pytest.fixture
def bundle(monkeypatch):
    load_network.cache_clear()
    made = Bundle()
    monkeypatch.setattr(selfsupervised, "_pipelines", lambda: types.SimpleNamespace(HUBERT_BASE=made))
    yield made
    load_network.cache_clear()


@pytest.mark.parametrize("n", [0, 1, 159, 160, 4000, 16000, 16320, 16479])
def test_one_row_for_each_row_of_the_other_features(n):
    assert heard(MeanOfSight(), torch.zeros(n), 1).shape == (1 + n // 160, 3)


def test_row_f_is_centred_at_f_hundredths_of_a_second():
    """On a ramp the mean of a window is the value in its middle."""
    ramp = torch.arange(32000) / 16000
    rows = heard(MeanOfSight(), ramp, 2)[:, 0]
    middle = slice(2, 196)
    assert torch.allclose(rows[middle], 2 * (torch.arange(201) / 100)[middle], atol=1e-4)


def test_chunks_leave_no_seam():
    sound = torch.sin(torch.arange(45 * 16000 + 77) / 900)
    network = MeanOfSight()
    rows = heard(network, sound, 1)
    whole = nn.functional.pad(sound, (200, 800)).unfold(0, 400, 320).mean(-1)
    assert len(network.lengths) == 3 and max(network.lengths) <= 24 * 16000 + 400
    assert torch.allclose(rows[::2, 0], whole[: len(rows[::2])], atol=1e-5)


def test_through_the_pipeline(bundle):
    ramp = torch.arange(16000) / 16000
    assert torch.allclose(self_supervised_features(ramp, "ssl:HUBERT_BASE")[50], torch.tensor(9 * 0.5), atol=1e-3)
    assert torch.allclose(self_supervised_features(ramp, "ssl:HUBERT_BASE:4")[50], torch.tensor(4 * 0.5), atol=1e-3)
    options, patience = bundle.asked
    assert options["weights_only"] is True and patience == selfsupervised.PATIENCE_S and socket.getdefaulttimeout() is None


def test_as_any_other_features(bundle):
    """Through a feature spec, the speech first brought to the usual loudness; fit to be learnt from."""
    wave = Waveform.of(np.random.default_rng(0).normal(size=16000) * 0.01)
    spec = FeatureSpec.from_dict(FeatureSpec("ssl:HUBERT_BASE:1").to_dict())
    features = speech_features(wave, spec)
    assert len(features) == 101 and torch.equal(features.values, heard(MeanOfSight(), loudness_normalised(wave.samples), 1))
    nn.Linear(3, 1)(features.values).sum().backward()
    with pytest.raises(ValueError, match="layers of HUBERT_BASE"):
        FeatureSpec("ssl:HUBERT_BASE:99")


def test_kinds():
    assert parsed_kind("ssl:WAVLM_LARGE") == ("WAVLM_LARGE", 18) and parsed_kind("ssl:WAV2VEC2_BASE:12") == ("WAV2VEC2_BASE", 12)
    for wrong in ("HUBERT_BASE", "ssl:HUBERT", "ssl:HUBERT_BASE:0", "ssl:HUBERT_BASE:13", "ssl:HUBERT_BASE:x", "ssl:"):
        with pytest.raises(ValueError):
            parsed_kind(wrong)


@pytest.mark.parametrize("trouble", [OSError("<urlopen error no route>"), RuntimeError("invalid hash value"), TimeoutError("timed out")])
def test_weights_that_cannot_be_had(bundle, trouble):
    bundle.trouble = trouble
    with pytest.raises(AudioError, match="weights of HUBERT_BASE.*checkpoints.*log-mel"):
        load_network("HUBERT_BASE")
    assert socket.getdefaulttimeout() is None


def test_a_pipeline_that_is_missing_or_listens_otherwise(bundle):
    with pytest.raises(AudioError, match="no pipeline WAVLM_BASE"):
        load_network("WAVLM_BASE")
    bundle.sample_rate = 8000
    with pytest.raises(AudioError, match="8000 Hz"):
        load_network("HUBERT_BASE")


@pytest.mark.parametrize("trouble", [ImportError("No module named torchaudio"), OSError("no library"), RuntimeError("CUDA 13\nmore")])
def test_a_library_that_does_not_load(monkeypatch, trouble):
    """All three happen: docs say which torch goes with which torchaudio, pip does not."""
    import builtins

    real = builtins.__import__

    def broken(name, *rest):
        if name.startswith("torchaudio"):
            raise trouble
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    load_network.cache_clear()
    with pytest.raises(AudioError, match="need torchaudio.*extra `speech`") as message:
        self_supervised_features(torch.zeros(1600), "ssl:HUBERT_BASE")
    assert "\n" not in str(message.value)


def test_the_real_network_with_weights_made_up(monkeypatch):
    """torchaudio's own HuBERT, untrained: its answers come every 320 samples as assumed, and the layer asked for is the one returned."""
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as trouble:
        pytest.skip(f"torchaudio does not load: {str(trouble).splitlines()[0]}")
    torch.manual_seed(0)
    network = torchaudio.models.hubert_base().eval()
    sound = 0.1 * torch.randn(16000)
    rows = heard(network, sound, 3)
    assert rows.shape == (101, 768) and torch.isfinite(rows).all()
    with torch.inference_mode():
        padded = nn.functional.pad(sound, (200, 520))
        direct = network.extract_features(padded[None, : 50 * 320 + 400], num_layers=3)[0][2][0]
    assert torch.allclose(rows[::2], direct, atol=1e-4)
