"""The features equal those of librosa (and of torchaudio, where it loads)."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from audio.features import FeatureSpec, loudness_normalised, mel_filters, power_spectrum, speech_features
from audio.load import Waveform


def chirps(seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(16000 * seconds)) / 16000
    noise = np.random.default_rng(0).normal(size=len(t)) * 0.02
    return (0.3 * np.sin(2 * np.pi * (200 + 900 * t) * t) * (1 + np.sin(9 * t)) / 2 + noise).astype(np.float32)


def test_equal_to_librosa():
    librosa = pytest.importorskip("librosa")
    wave = Waveform.of(chirps())
    loud = loudness_normalised(wave.samples).numpy()
    mel = librosa.feature.melspectrogram(
        y=loud, sr=16000, n_fft=512, win_length=400, hop_length=160, n_mels=40, power=2.0, pad_mode="constant"
    )
    want = librosa.feature.mfcc(S=np.log(mel + 10**-7.5), n_mfcc=13).T
    got = speech_features(wave).values.numpy()
    assert got.shape == (101, 28)
    assert np.abs(got[:, :13] - want).max() < 1e-4 * np.abs(want).max()
    logmel = speech_features(wave, FeatureSpec(kind="logmel", differences=False)).values.numpy()
    assert np.abs(logmel - np.log(mel + 10**-7.5).T).max() < 1e-4 * np.abs(logmel).max()


def test_equal_to_torchaudio(monkeypatch):
    stub = types.ModuleType(
        "torchaudio._extension"
    )  # its compiled part asks for a CUDA build of torch; the MFCC needs none of it
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = stub._IS_ALIGN_AVAILABLE = False
    stub.fail_if_no_align = lambda f: f
    stub._check_cuda_version = lambda: None
    monkeypatch.setitem(sys.modules, "torchaudio._extension", stub)
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as reason:
        pytest.skip(f"torchaudio does not load: {reason}")
    banks = torchaudio.functional.melscale_fbanks(257, 0.0, 8000.0, 40, 16000, norm="slaney", mel_scale="slaney").T
    ours = mel_filters(40, 512, torch.device("cpu"))
    assert (banks - ours).abs().max() < 1e-4 * ours.max()
    spectrum = torchaudio.transforms.Spectrogram(512, 400, 160, pad_mode="constant")(torch.from_numpy(chirps())).T
    assert (spectrum - power_spectrum(torch.from_numpy(chirps()), 512, 400)).abs().max() < 1e-4 * spectrum.max()


def test_loudness_does_not_matter_and_silence_is_finite():
    a = speech_features(Waveform.of(chirps())).values
    b = speech_features(Waveform.of(0.05 * chirps())).values
    assert (a - b).abs().max() < 2e-2
    silent = speech_features(Waveform.of(np.zeros(1600, np.float32))).values
    assert torch.isfinite(silent).all() and len(silent) == 11


def test_feature_f_is_centred_at_f_hundredths():
    samples = np.zeros(16000, np.float32)
    samples[8000] = 0.9
    energy = speech_features(Waveform.of(samples)).values[:, 13]
    assert int(energy.argmax()) == 50
    assert energy[49] == pytest.approx(float(energy[51]), abs=0.15)


def test_differences_are_first_differences_and_spec_survives_a_round_trip():
    values = speech_features(Waveform.of(chirps())).values
    assert (
        torch.allclose(values[1:, 14:], values[1:, :14] - values[:-1, :14], atol=1e-5) and (values[0, 14:] == 0).all()
    )
    spec = FeatureSpec(kind="logmel", n_mels=30)
    assert FeatureSpec.from_dict(spec.to_dict()) == spec
    assert speech_features(Waveform.of(chirps()), spec).values.shape == (101, 60)
