"""The same speech in another room, through another microphone, telephone or codec, or from a larger or smaller
speaker."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from audio.load import Waveform


def augment(wave: Waveform, rng: np.random.Generator) -> Waveform:
    """(S,) the speech with a chance of reverberation, noise, a narrow band and coarse quantisation; as long, and as
    soon."""
    samples = wave.samples.numpy().astype(np.float64)
    if rng.random() < 0.5:
        samples = _in_a_room(samples, wave.rate, rng)
    if rng.random() < 0.5:
        samples = samples + _noise(samples, rng)
    if rng.random() < 0.2:
        samples = _narrow(samples, wave.rate, rng)
    if rng.random() < 0.15:
        samples = _coarse(samples)
    return Waveform.of(samples.astype(np.float32), wave.rate)


def resized_speaker(wave: Waveform, factor: float) -> Waveform:
    """The speech played `factor` times as fast: voice and vocal tract sound that much smaller; it gets shorter by as
    much. The shipped weights were made with a polyphase filter and factors rounded to fractions."""
    import librosa

    samples = librosa.resample(wave.samples.numpy(), orig_sr=wave.rate * factor, target_sr=wave.rate)
    return Waveform.of(samples, wave.rate)


def _in_a_room(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Direct sound and a decaying tail (60 dB in 0.1 to 0.6 s) that is 2 to 20 dB weaker."""
    decay_s = rng.uniform(0.1, 0.6)
    tail = rng.normal(size=round(decay_s * rate)) * 10 ** (-3 * np.arange(round(decay_s * rate)) / (decay_s * rate))
    tail[: round(0.003 * rate)] = 0
    tail *= 10 ** (-rng.uniform(2, 20) / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    return fftconvolve(samples, tail)[: len(samples)]


def _noise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Steady noise, white to brown, 8 to 40 dB under the speech."""
    spectrum = np.fft.rfft(rng.normal(size=len(samples)))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, len(samples))
    return noise * (np.std(samples) / (np.std(noise) + 1e-12) * 10 ** (-rng.uniform(8, 40) / 20))


def _narrow(samples: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    band = butter(3, [rng.uniform(60, 300), rng.uniform(3300, 7000)], "bandpass", fs=rate, output="sos")
    return np.asarray(sosfilt(band, samples))


def _coarse(samples: np.ndarray) -> np.ndarray:
    """8-bit mu-law, as on a telephone line."""
    top = np.abs(samples).max() + 1e-9
    curved = np.sign(samples) * np.log1p(255 * np.abs(samples) / top) / np.log(256)
    curved = np.round(curved * 127) / 127
    return np.sign(curved) * np.expm1(np.abs(curved) * np.log(256)) / 255 * top


def with_music(samples: np.ndarray, track: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S,) the speech over some part of a track, 3 to 25 dB under it."""
    start = rng.integers(max(1, len(track) - len(samples)))
    under = np.resize(track[start : start + len(samples)], len(samples))
    return samples + under * (samples.std() / (under.std() + 1e-6) * 10 ** (-rng.uniform(3, 25) / 20))
