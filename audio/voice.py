"""When somebody speaks."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_opening, maximum_filter1d, uniform_filter1d

from audio.features import FEATURE_RATE, mel_filters, power_spectrum
from audio.load import Waveform

N_BANDS = 24
#: Bands (of 24 on the mel scale, about 150 Hz to 6 kHz) that carry speech.
SPEECH_BANDS = slice(1, 22)
SPEECH_BINS = slice(5, 200)  # the same, in bins of 31.25 Hz
#: Mean rise over the noise floor, dB per band, that starts and that ends speech.
START_DB, STOP_DB = 9.0, 5.0
#: Nothing below this level (dB, full scale = 0) is speech; speech starts and ends this far under the loud parts (95th percentile): breaths
#: and room noise stay below.
QUIET_DB, START_RANGE_DB, STOP_RANGE_DB = -65.0, 20.0, 34.0
NOISE_WINDOW_S = 12
GAP_S, BLIP_S, HANG_S = 0.16, 0.1, 0.03


def voice_activity(wave: Waveform) -> np.ndarray:
    """(F,) bool at 100 per second: True while somebody speaks, closures of plosives included.

    A band-wise noise floor follows the recording, so hum and steady noise are silence; exact silence is all False.
    """
    power = power_spectrum(wave.samples, 512, 400)
    level = _db(uniform_filter1d(power[:, SPEECH_BINS].sum(1).double().cpu().numpy(), 5, mode="nearest") / (257 * 400))
    bands = (power @ mel_filters(N_BANDS, 512, power.device).T)[:, SPEECH_BANDS]
    bands_db = _db(uniform_filter1d(bands.double().cpu().numpy(), 5, axis=0, mode="nearest"))
    rise = np.clip(bands_db - _noise_floor(bands_db), 0, 30).mean(1)
    loud = np.percentile(level, 95)
    start = (rise > START_DB) & (level > max(QUIET_DB, loud - START_RANGE_DB))
    stay = (rise > STOP_DB) & (level > max(QUIET_DB, loud - STOP_RANGE_DB))
    voiced = _hysteresis(start, stay)
    voiced = _closed(voiced, round(GAP_S * FEATURE_RATE))
    voiced = binary_opening(voiced, np.ones(round(BLIP_S * FEATURE_RATE)))
    return maximum_filter1d(voiced, 2 * round(HANG_S * FEATURE_RATE) + 1)


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-12))


def _noise_floor(bands_db: np.ndarray) -> np.ndarray:
    """(F,B) level of each band in its quietest moments near by: the 10th percentile of a 12 s window, interpolated between windows."""
    n, size = len(bands_db), NOISE_WINDOW_S * FEATURE_RATE
    if n <= size:
        return np.percentile(bands_db, 10, axis=0)[None]
    centres = np.linspace(size / 2, n - size / 2, max(2, round(2 * n / size)))
    levels = np.stack([np.percentile(bands_db[int(c - size / 2) : int(c + size / 2)], 10, axis=0) for c in centres])
    rows = np.arange(n)
    return np.stack([np.interp(rows, centres, band) for band in levels.T], 1)


def _hysteresis(start: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """Runs of `stay` that contain a `start`."""
    stay = stay | start
    run = np.cumsum(np.diff(stay.astype(np.int8), prepend=0) == 1) * stay
    return np.isin(run, np.unique(run[start])) & stay


def _closed(voiced: np.ndarray, gap: int) -> np.ndarray:
    """Gaps of up to `gap` between voiced stretches filled."""
    padded = np.pad(voiced, gap)
    return binary_closing(padded, np.ones(gap + 1))[gap : len(padded) - gap]
