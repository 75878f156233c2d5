"""When there is sound above the noise, and the tools that turn rows of "speech or not" into stretches of it.

What is speech, and not music or hum, is told by `lipsync.speech.voice`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from audio.features import FEATURE_RATE, HOP, mel_filters, pieces, power_spectrum
from audio.load import Waveform

N_BANDS = 24
#: Bands (of 24 on the mel scale, about 150 Hz to 6 kHz) that carry speech.
SPEECH_BANDS = slice(1, 22)
SPEECH_BINS = slice(5, 200)  # the same, in bins of 31.25 Hz
#: Mean rise over the noise floor, dB per band, that starts and that ends speech.
START_DB, STOP_DB = 9.0, 5.0
#: Nothing below this level (dB, full scale = 0) is speech; speech starts and ends this far under the loud parts (95th
#: percentile): breaths and room noise stay below.
QUIET_DB, START_RANGE_DB, STOP_RANGE_DB = -65.0, 20.0, 34.0
#: Below this level nothing was recorded: zeros that a program wrote, not the silence of a room.
DIGITAL_DB = -100.0
DIGITAL_PEAK = 1e-5  # a third of a step of 16 bits
NOISE_WINDOW_S = 12
GAP_S, BLIP_S, HANG_S = 0.16, 0.1, 0.03


@dataclass(frozen=True, slots=True)
class Levels:
    """Loudness at 100 per second. level: (F,) dB of full scale; bands_db: (F,B) of each speech band."""

    level: np.ndarray
    bands_db: np.ndarray

    @property
    def recorded(self) -> np.ndarray:
        """(F,) bool: False in digital silence."""
        return self.level > DIGITAL_DB


def sound_activity(wave: Waveform) -> np.ndarray:
    """(F,) bool at 100 per second: True while something sounds above the noise, closures of plosives included.

    A band-wise noise floor follows the recording, so hum and steady noise are silence; music is not. Digital silence
    is all False and sets no floor.
    """
    levels = levels_of(wave.samples)
    heard = levels.recorded
    if not heard.any():
        return heard
    rise, loud = _rise(levels), np.percentile(levels.level[heard], 95)
    start = (rise > START_DB) & (levels.level > max(QUIET_DB, loud - START_RANGE_DB))
    stay = (rise > STOP_DB) & (levels.level > max(QUIET_DB, loud - STOP_RANGE_DB))
    hang = round(HANG_S * FEATURE_RATE)
    near = np.convolve(stretches(start, stay), np.ones(2 * hang + 1))
    return near[hang : hang + len(heard)] > 0.5


def stretches(start: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """(F,) bool: runs of `stay` in which there is a `start`, short gaps (closures of plosives) filled, clicks
    dropped."""
    voiced = closed(_hysteresis(start, stay), round(GAP_S * FEATURE_RATE))
    for first, after in _runs(voiced):
        voiced[first:after] = after - first >= round(BLIP_S * FEATURE_RATE)
    return voiced


def recorded(samples: torch.Tensor) -> np.ndarray:
    """(F,) bool: False in digital silence, 10 ms before the row to 10 ms after."""
    n_rows, half = 1 + len(samples) // HOP, np.zeros(2 + len(samples) // HOP, bool)
    for rows in pieces(n_rows):
        part = samples[rows.start * HOP : rows.stop * HOP]
        part = torch.nn.functional.pad(part, (0, -len(part) % HOP))
        loud = part.reshape(-1, HOP).abs().amax(1) > DIGITAL_PEAK
        half[1 + rows.start : 1 + rows.start + len(loud)] = loud.cpu().numpy()
    return half[:-1] | half[1:]


def levels_of(samples: torch.Tensor) -> Levels:
    """Level over five rows. Spectra are made and dropped piece by piece, and bands smoothed one by one: only the (F,B)
    is as long as the speech."""
    n_rows, filters = 1 + len(samples) // HOP, mel_filters(N_BANDS, 512, samples.device)[SPEECH_BANDS]
    level, bands = np.empty(n_rows), np.empty((n_rows, len(filters)))
    for rows in pieces(n_rows):
        power = power_spectrum(samples, 512, 400, rows)
        level[rows] = power[:, SPEECH_BINS].sum(1).cpu().numpy()
        bands[rows] = (power @ filters.T).cpu().numpy()
    for band in bands.T:
        band[:] = _db(_mean5(band))
    return Levels(_db(_mean5(level) / (257 * 400)), bands)


def _mean5(values: np.ndarray) -> np.ndarray:
    """(F,) means over five rows, the first and the last repeated beyond the ends."""
    return np.convolve(np.pad(values, 2, mode="edge"), np.full(5, 0.2), "valid")


def _rise(levels: Levels) -> np.ndarray:
    """(F,) mean over the bands of how far each is above its noise floor, dB, at most 30."""
    bands_db = levels.bands_db
    centres, floors = _noise_floors(bands_db, levels.recorded)
    rise = np.empty(len(bands_db))
    for rows in pieces(len(bands_db)):
        floor = np.stack([np.interp(np.arange(rows.start, rows.stop), centres, band) for band in floors.T], 1)
        rise[rows] = np.clip(bands_db[rows] - floor, 0, 30).mean(1)
    return rise


def _db(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-12))


def _noise_floors(bands_db: np.ndarray, recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(W,) rows and (W,B) level of each band in its quietest recorded moments around them: the 10th percentile of a
    12 s window."""
    n, size = len(bands_db), NOISE_WINDOW_S * FEATURE_RATE
    centres = np.linspace(size / 2, n - size / 2, max(2, round(2 * n / size))) if n > size else np.array([n / 2])
    windows = [slice(max(0, int(c - size / 2)), int(c + size / 2)) for c in centres]
    pairs = [(c, bands_db[w][recorded[w]]) for c, w in zip(centres, windows, strict=True)]
    heard = [(c, rows) for c, rows in pairs if len(rows)]
    return np.array([c for c, _ in heard]), np.stack([np.percentile(rows, 10, axis=0) for _, rows in heard])


def _hysteresis(start: np.ndarray, stay: np.ndarray) -> np.ndarray:
    """(F,) bool: runs of `stay` that contain a `start`."""
    stay = stay | start
    run = np.cumsum(np.diff(stay.astype(np.int8), prepend=0) == 1) * stay
    return np.isin(run, np.unique(run[start])) & stay


def closed(voiced: np.ndarray, gap: int) -> np.ndarray:
    """(F,) bool: gaps of up to `gap` rows between voiced stretches filled."""
    runs, out = _runs(voiced), voiced.copy()
    for (_, end), (begin, _) in pairwise(runs):
        out[end:begin] = begin - end <= gap
    return out


def _runs(flags: np.ndarray) -> np.ndarray:
    """(R,2) first and one past the last row of each run of True in (F,) bool."""
    return np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2)
