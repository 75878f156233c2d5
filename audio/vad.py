"""When somebody speaks."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_closing, binary_opening, maximum_filter1d, uniform_filter1d

from audio.features import FEATURE_RATE, HOP, mel_filters, pieces, power_spectrum
from audio.load import Waveform

N_BANDS = 24
#: Bands (of 24 on the mel scale, about 150 Hz to 6 kHz) that carry speech.
SPEECH_BANDS = slice(1, 22)
SPEECH_BINS = slice(5, 200)  # the same, in bins of 31.25 Hz
#: Mean rise over the noise floor, dB per band, that starts and that ends speech.
START_DB, STOP_DB = 9.0, 5.0
#: Nothing below this level (dB, full scale = 0) is speech; speech starts and ends this far under the loud parts (95th
#: percentile): breaths
#: and room noise stay below.
QUIET_DB, START_RANGE_DB, STOP_RANGE_DB = -65.0, 20.0, 34.0
NOISE_WINDOW_S = 12
GAP_S, BLIP_S, HANG_S = 0.16, 0.1, 0.03


def voice_activity(wave: Waveform) -> np.ndarray:
    """(F,) bool at 100 per second: True while somebody speaks, closures of plosives included.

    A band-wise noise floor follows the recording, so hum and steady noise are silence; exact silence is all False.
    """
    level, bands_db = _levels(wave.samples)
    rise = _rise(bands_db)
    loud = np.percentile(level, 95)
    start = (rise > START_DB) & (level > max(QUIET_DB, loud - START_RANGE_DB))
    stay = (rise > STOP_DB) & (level > max(QUIET_DB, loud - STOP_RANGE_DB))
    voiced = _hysteresis(start, stay)
    voiced = _closed(voiced, round(GAP_S * FEATURE_RATE))
    voiced = binary_opening(voiced, np.ones(round(BLIP_S * FEATURE_RATE)))
    return maximum_filter1d(voiced, 2 * round(HANG_S * FEATURE_RATE) + 1)


def _levels(samples: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(F,) level and (F,B) level of each speech band, dB, over five rows. Spectra are made and dropped minute by
    minute, and bands smoothed one by one: only the (F,B) is as long as the speech."""
    n_rows, filters = 1 + len(samples) // HOP, mel_filters(N_BANDS, 512, samples.device)[SPEECH_BANDS]
    level, bands = np.empty(n_rows), np.empty((n_rows, len(filters)))
    for rows in pieces(n_rows):
        power = power_spectrum(samples, 512, 400, rows)
        level[rows] = power[:, SPEECH_BINS].sum(1).cpu().numpy()
        bands[rows] = (power @ filters.T).cpu().numpy()
    for band in bands.T:
        band[:] = _db(uniform_filter1d(band, 5, mode="nearest"))
    return _db(uniform_filter1d(level, 5, mode="nearest") / (257 * 400)), bands


def _rise(bands_db: np.ndarray) -> np.ndarray:
    """(F,) mean over the bands of how far each is above its noise floor, dB, at most 30."""
    centres, floors = _noise_floors(bands_db)
    rise = np.empty(len(bands_db))
    for rows in pieces(len(bands_db)):
        floor = np.stack([np.interp(np.arange(rows.start, rows.stop), centres, band) for band in floors.T], 1)
        rise[rows] = np.clip(bands_db[rows] - floor, 0, 30).mean(1)
    return rise


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-12))


def _noise_floors(bands_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(W,) rows and (W,B) level of each band in its quietest moments around them: the 10th percentile of a 12 s
    window."""
    n, size = len(bands_db), NOISE_WINDOW_S * FEATURE_RATE
    if n <= size:
        return np.zeros(1), np.percentile(bands_db, 10, axis=0)[None]
    centres = np.linspace(size / 2, n - size / 2, max(2, round(2 * n / size)))
    return centres, np.stack(
        [np.percentile(bands_db[int(c - size / 2) : int(c + size / 2)], 10, axis=0) for c in centres]
    )


def _hysteresis(start: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """Runs of `stay` that contain a `start`."""
    stay = stay | start
    run = np.cumsum(np.diff(stay.astype(np.int8), prepend=0) == 1) * stay
    return np.isin(run, np.unique(run[start])) & stay


def _closed(voiced: np.ndarray, gap: int) -> np.ndarray:
    """Gaps of up to `gap` between voiced stretches filled."""
    padded = np.pad(voiced, gap)
    return binary_closing(padded, np.ones(gap + 1))[gap : len(padded) - gap]
