"""Sounds that are not speech, made from nothing: noise, hum, clicks, tones, music-like chords and drums, breaths; and
bare vowels, which are. Each is (n,) float64 of RMS 1 at 16 kHz, the same for the same generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from audio.load import RATE

Maker = Callable[[int, np.random.Generator], np.ndarray]


def steady_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """White to brown, some of it in a band."""
    spectrum = np.fft.rfft(rng.normal(size=n))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0, 1.2)
    noise = np.fft.irfft(spectrum, n)
    if rng.random() < 0.4:
        low = rng.uniform(60, 3000)
        noise = _band(noise, low, min(7500, low * rng.uniform(1.5, 8)))
    return _of_rms_1(noise)


def unsteady_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that swells and fades by up to 40 dB: wind, traffic, rustling, an audience."""
    return _of_rms_1(steady_noise(n, rng) * _swelling(n, rng, rng.uniform(0.05, 1.0), rng.uniform(10, 40)))


def hum(n: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum (50 or 60 Hz and harmonics), or a motor at any low pitch."""
    base = rng.choice([50.0, 60.0, rng.uniform(30, 220)]) * rng.uniform(0.995, 1.005)
    count, fall = int(rng.integers(1, 25)), rng.uniform(0.3, 2.5)
    gains = rng.uniform(0.1, 1, count) / np.arange(1, count + 1) ** fall
    gains[1::2] *= rng.choice([1.0, 0.1])
    t = np.arange(n) / RATE
    return _of_rms_1(_partials(base * t, gains, rng) + 1e-3 * rng.normal(size=n))


def clicks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Short knocks: keys, drops, plosive pops of a microphone."""
    out = 1e-4 * rng.normal(size=n)
    for at in rng.integers(0, n, max(1, rng.poisson(rng.uniform(0.5, 12) * n / RATE))):
        length = int(rng.uniform(0.001, 0.08) * RATE)
        knock = rng.normal(size=length) * np.exp(-5 * np.arange(length) / length) * rng.uniform(0.1, 1)
        knock = knock if rng.random() < 0.5 else _band(knock, 80, rng.uniform(300, 6000))
        out[at : at + length] += knock[: n - at]
    return _of_rms_1(out)


def tones(n: int, rng: np.random.Generator) -> np.ndarray:
    """Beeps, dial tones, sirens, sweeps, whistles."""
    t, out = np.arange(n) / RATE, np.zeros(n)
    on = np.repeat(rng.random(1 + n // 1600) < rng.uniform(0.3, 1), 1600 * int(rng.integers(1, 5)))[:n]
    for _ in range(int(rng.integers(1, 4))):
        pitch = np.exp(rng.uniform(np.log(150), np.log(4000)))
        bend = rng.choice([0.0, rng.uniform(0, 0.4)]) * np.sin(2 * np.pi * rng.uniform(0.2, 7) * t)
        gains = rng.choice([0.0, 0.5]) ** np.arange(3)
        out += rng.uniform(0.2, 1) * _partials(np.cumsum(pitch * 2**bend) / RATE, gains, rng)
    return _of_rms_1(out * fftconvolve(on, np.ones(80) / 80, "same") + 1e-4 * rng.normal(size=n))


def chords(n: int, rng: np.random.Generator) -> np.ndarray:
    """Music of chords, a tune and drums."""
    out, beat = np.zeros(n), int(RATE * rng.uniform(0.18, 0.7))
    key, fall, brass = rng.uniform(80, 330), rng.uniform(0.5, 6), rng.uniform(0.6, 2)
    chord = np.array([0, 4, 7])
    with_chords, with_tune, with_drums = rng.random(3) < (0.8, 0.6, 0.5)
    for at in range(0, n, beat):
        length, steps = min(int(beat * rng.choice([1, 1, 2])), n - at), []
        if rng.random() < 0.4:
            chord = rng.choice([0, 2, 4, 5, 7, 9]) + np.array([0, rng.choice([3, 4]), 7, rng.choice([10, 12])])
        if with_chords:
            steps += list(chord)
        if with_tune and rng.random() < 0.8:
            steps.append(rng.choice([12, 14, 16, 17, 19, 21, 24]))
        t = np.arange(length) / RATE
        for step in steps:
            trill = 0.006 * np.sin(2 * np.pi * 5.5 * t) * (rng.random() < 0.3)
            gains = rng.uniform(0.3, 1, 8) / np.arange(1, 9) ** brass
            tone = _partials(key * 2 ** (step / 12) * (t + trill / 5.5), gains, rng)
            out[at : at + length] += tone * np.exp(-fall * t) * np.minimum(1, t / 0.01)
        if with_drums:
            drum = rng.normal(size=length) * np.exp(-t * rng.uniform(10, 60)) * rng.uniform(0.5, 3)
            out[at : at + length] += drum if rng.random() < 0.5 else 4 * _band(drum, 40, 200)
    return _of_rms_1(out + 1e-4 * rng.normal(size=n))


def breath(n: int, rng: np.random.Generator) -> np.ndarray:
    """Air through a mouth: noise in one or two broad bands that swells and fades."""
    low = rng.uniform(300, 1500)
    air = _band(rng.normal(size=n), low, min(7500, low * rng.uniform(2, 6)))
    air += rng.uniform(0, 1) * _band(rng.normal(size=n), 2500, 7000)
    return _of_rms_1(air * np.sin(np.pi * np.arange(n) / n) ** rng.uniform(0.5, 2))


def vowels(n: int, rng: np.random.Generator) -> np.ndarray:
    """Bare speech-like sound: harmonics of a gliding voice under moving formants, in syllables."""
    t = np.arange(n) / RATE
    pitch = rng.uniform(85, 260) * 2 ** (rng.uniform(0.05, 0.3) * np.sin(rng.uniform(1, 5) * t + rng.uniform(0, 6)))
    syllable = np.arange(0, n + RATE, int(RATE * rng.uniform(0.12, 0.3)))
    formants = [
        np.interp(np.arange(n), syllable, rng.uniform(low, high, len(syllable)))
        for low, high in ((300, 850), (850, 2300), (2300, 3000))
    ]
    width, out = rng.uniform(70, 250), np.zeros(n)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    for k in range(1, int(3800 / pitch.mean())):
        out += np.sin(k * phase) * sum(np.exp(-(((k * pitch - f) / width) ** 2)) for f in formants)
    depth = rng.uniform(0.4, 0.95)
    middle = np.interp(np.arange(n), syllable, np.arange(len(syllable)))
    return _of_rms_1(out * (1 - depth * np.cos(np.pi * middle) ** 2))


def _partials(cycles: np.ndarray, gains: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sum of harmonics; `cycles` counts those of the first."""
    return sum(
        (g * np.sin(2 * np.pi * (k * cycles + rng.random())) for k, g in enumerate(gains, 1) if g),
        np.zeros(len(cycles)),
    )


def _swelling(n: int, rng: np.random.Generator, every_s: float, range_db: float) -> np.ndarray:
    knots = np.arange(0, n + 2 * every_s * RATE, every_s * RATE)
    return 10 ** (np.interp(np.arange(n), knots, rng.uniform(-range_db, 0, len(knots))) / 20)


def _band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(sosfilt(butter(2, [low, high], "bandpass", fs=RATE, output="sos"), samples))


def _of_rms_1(samples: np.ndarray) -> np.ndarray:
    return samples / (np.sqrt((samples**2).mean()) + 1e-9)
