"""Where two recordings of the same words say the same: dynamic time warping between a real voice and a synthetic one.

Sakoe and Chiba 1978, with steps that keep the path between a quarter and four times the mean tempo, on cepstra
normalised per recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter1d

from audio.features import FEATURE_RATE, FeatureSpec, speech_features
from audio.load import Waveform
from lipsync.speech.voice import voice_activity
from training.phones import SILENCE, Phones
from training.tts import Utterance

#: Rows of silence kept on either side of the speech, so that its first and last sounds may move.
MARGIN = 12
#: (real rows, synthetic rows) of each step, and its price beside the distance of what it pairs.
STEPS = ((1, 1, 0.0), (1, 2, 0.25), (2, 1, 0.25), (1, 3, 0.6), (3, 1, 0.6), (1, 4, 1.0), (4, 1, 1.0))
_SPEC = FeatureSpec("mfcc", differences=False)


def time_map(real: Waveform, synthetic: Waveform) -> np.ndarray:
    """(F,) float64: for each 10 ms row of `real`, the row of `synthetic` (a fraction) that says the same; never
    falling."""
    a, b = _sounding(real), _sounding(synthetic)
    first, second = _cepstra(real, a), _cepstra(synthetic, b)
    n_real, n_synthetic = len(first), len(second)
    a, b = _widened(a, n_real), _widened(b, n_synthetic)
    pace = (b[1] - b[0] - 1) / max(1, a[1] - a[0] - 1)
    even = b[0] + np.arange(a[1] - a[0]) * pace
    path = _warped(_distances(first[a[0] : a[1]], at_rows(second, even)))
    inner = b[0] + path * pace
    before, after = inner[0] - np.arange(a[0], 0, -1), inner[-1] + np.arange(1, n_real - a[1] + 1)
    return np.clip(np.concatenate([before, inner, after]), 0, n_synthetic - 1)


def features_under(
    real: Waveform, utterance: Utterance, spec: FeatureSpec, rows: np.ndarray | None = None
) -> np.ndarray:
    """(F,D) float32: what `utterance` would have sounded like in the time of `real`. rows: `time_map(real,
    utterance.wave)`, if known."""
    plain = FeatureSpec(**{**spec.to_dict(), "differences": False})
    values = speech_features(utterance.wave, plain).values.numpy()
    warped = at_rows(values, time_map(real, utterance.wave) if rows is None else rows)
    if spec.differences:
        warped = np.concatenate([warped, np.diff(warped, axis=0, prepend=warped[:1])], 1)
    return warped.astype(np.float32)


def phones_of(real: Waveform, utterances: Sequence[Utterance]) -> Phones:
    """The phones of a real recording: boundaries carried over from synthetic readings of its words, median over the
    voices.

    The commonest reading counts, pauses inside aside; voices that read otherwise are left out.
    """
    readings = [tuple(name for name in u.phones.name if name != SILENCE) for u in utterances]
    commonest = Counter(readings).most_common(1)[0][0]
    starts, ends = [], []
    for utterance, names in zip(utterances, readings, strict=True):
        if names != commonest:
            continue
        rows = time_map(real, utterance.wave)
        sounding = [k for k, name in enumerate(utterance.phones.name) if name != SILENCE]
        starts.append(_moments(rows, utterance.phones.start_s[sounding]))
        ends.append(_moments(rows, utterance.phones.end_s[sounding]))
    start, end = np.median(starts, axis=0), np.median(ends, axis=0)
    return _joined(commonest, start, end, len(real.samples) / real.rate)


def _joined(names: Sequence[str], start: np.ndarray, end: np.ndarray, length_s: float, pause_s: float = 0.06) -> Phones:
    """Phones without gaps: short ones between sounds are shared out, longer ones are silence."""
    all_names, edges = [SILENCE], [max(float(start[0]), 0.0)]
    for k, name in enumerate(names):
        stop = float(end[k])
        following = float(start[k + 1]) if k + 1 < len(names) else length_s
        pause = following - stop > pause_s and k + 1 < len(names)
        if not pause and k + 1 < len(names):
            stop = following = (stop + following) / 2
        all_names.append(name)
        edges.append(max(stop, edges[-1] + 1e-3))
        if pause or k + 1 == len(names):
            all_names.append(SILENCE)
            edges.append(max(following, edges[-1] + 1e-3))
    return Phones.of_ends(all_names, edges)


def _moments(rows: np.ndarray, synthetic_s: np.ndarray) -> np.ndarray:
    """When the real recording reaches moments of the synthetic one: the middle of the rows that map there. Seconds."""
    wanted = synthetic_s * FEATURE_RATE
    rising = rows + np.arange(len(rows)) * 1e-9
    return np.interp(wanted, rising, np.arange(len(rows))) / FEATURE_RATE


def _sounding(wave: Waveform) -> tuple[int, int]:
    """First and one past the last row of speech; everything where none is found."""
    voiced = np.flatnonzero(voice_activity(wave))
    return (
        (int(voiced[0]), int(voiced[-1]) + 1)
        if len(voiced) > 10
        else (0, 1 + len(wave.samples) * FEATURE_RATE // wave.rate)
    )


def _widened(span: tuple[int, int], n: int) -> tuple[int, int]:
    return max(0, span[0] - MARGIN), min(n, span[1] + MARGIN)


def _cepstra(wave: Waveform, speech: tuple[int, int]) -> np.ndarray:
    """(F,27) cepstra 1 to 12, loudness, their slopes over 50 ms, and loudness' spread; mean 0 and spread 1 over the
    speech."""
    import librosa

    values = speech_features(wave, _SPEC).values.double().numpy()[:, 1:]
    inside = slice(*speech)
    loudest = values[inside, -1].max()
    values[:, -1] = np.maximum(values[:, -1], loudest - 9.0)  # silence is silence, whatever its noise
    both = np.concatenate([values, librosa.feature.delta(values, width=5, axis=0, mode="nearest")], 1)
    scaled = (both - both[inside].mean(0)) / (both[inside].std(0) + 1e-6)
    scaled[:, values.shape[1] - 1] *= (
        2.0  # loudness counts like several cepstra: it shows closures and vowels of anyone
    )
    return uniform_filter1d(np.clip(scaled, -4, 4), 3, axis=0, mode="nearest")


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,M) root mean square differences."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0) / a.shape[1])


def _warped(cost: np.ndarray) -> np.ndarray:
    """(N,) for each row the column (a fraction) of the cheapest path from corner to corner of (N,M) `cost`; rising."""
    n, m = cost.shape
    total = np.full((n, m), np.inf)
    choice = np.zeros((n, m), np.int8)
    total[0, 0] = cost[0, 0]
    for i in range(1, n):
        for s, (di, dj, price) in enumerate(STEPS):
            if i < di or m <= dj:
                continue
            if di == 1:
                paired = np.mean([cost[i, dj - k : m - k] for k in range(dj)], axis=0)
            else:
                paired = cost[i - di + 1 : i + 1, dj:].sum(0)
            reached = total[i - di, : m - dj] + paired + price
            better = reached < total[i, dj:]
            total[i, dj:][better] = reached[better]
            choice[i, dj:][better] = s
    if not np.isfinite(total[-1, -1]):
        return np.linspace(0, m - 1, n)
    rows, columns = [n - 1], [m - 1]
    while rows[-1] > 0:
        di, dj, _ = STEPS[choice[rows[-1], columns[-1]]]
        rows.append(rows[-1] - di)
        columns.append(columns[-1] - dj)
    return np.interp(np.arange(n), rows[::-1], columns[::-1])


def at_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(R,D) rows of (F,D), between them linearly."""
    before = np.clip(rows.astype(int), 0, len(values) - 2)
    part = np.clip(rows - before, 0, 1)[:, None]
    return values[before] * (1 - part) + values[before + 1] * part
