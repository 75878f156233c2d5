"""What one person's lips show of the tells, held against the sound: numbers, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter1d

from audio.load import Waveform
from lipsync.core.arrays import Array, runs_of
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.timebase import to_feature_clock
from lipsync.core.types import FaceTrack
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity

#: Rows a second of everything here.
RATE = 100
#: The longest shift of the sound that is looked for, seconds (15 frames of 25 a second).
LONGEST_S = 0.6
#: Movements slower than this say nothing of when (seconds); share that the opening has beside the width.
SLOW_S, OPENING_WEIGHT = 0.6, 0.65
#: A shift is sure where no lag so far away (seconds) agrees nearly as well; lips that agree less are others' lips.
LEAST_APART_S, LEAST_AGREEMENT = 0.16, 0.3
#: The least speech that tells of a shift (seconds).
LEAST_SPEECH_S = 1.3
#: The shortest silence that is looked at, and what is left out of it after a word and before the next (seconds); rows
#: of a piece.
SILENCE_S, AFTER_S, BEFORE_S, PIECE = 0.7, 0.15, 0.3, 25
#: Length of speech in which lips move, and the least movement it must ask for (eye distances).
STILL_S, LEAST_SAID = 1.0, 0.03
#: Lips may close this much before or after the sound asks for it (seconds).
CLOSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Heard:
    """Of the sound, at 100 a second: opening, width: (F,) of the lips that the bundled model hears, eye distances;
    voice: (F,) bool, somebody speaks."""

    opening: Array
    width: Array
    voice: Array

    @classmethod
    def of(cls, wave: Waveform) -> Heard:
        points = bundled_lip_model().predict(wave).points
        return cls(opening(points), points[:, 6, 0] - points[:, 0, 0], np.resize(voice_activity(wave), len(points)))


@dataclass(frozen=True, slots=True)
class Shown:
    """Of the picture, at 100 a second: opening, width: (F,) of one person's lips; valid: (F,) bool."""

    opening: Array
    width: Array
    valid: Array

    @classmethod
    def of(cls, track: FaceTrack, n: int) -> Shown:
        lips = to_feature_clock(track.lips, n, track.shot)
        return cls(opening(lips.points), lips.points[:, 6, 0] - lips.points[:, 0, 0], lips.valid)


def agreement(shown: Shown, heard: Heard, rows: slice = slice(None)) -> tuple[Array, Array]:
    """(L,) lags in rows, above 0 = the sound is late, and (L,) how well lips and sound agree at each: the mean of the
    correlations of opening and width, -1 to 1, over the rows in which the lips are seen.

    After SyncNet (Chung & Zisserman 2016), which slides learnt embeddings of both; here what the sound says is lips."""
    longest = round(LONGEST_S * RATE)
    lags, scores = np.arange(-longest, longest + 1), np.zeros(2 * longest + 1)
    for name, weight in (("opening", OPENING_WEIGHT), ("width", 1 - OPENING_WEIGHT)):
        seen, said = (_quick(getattr(one, name))[rows] for one in (shown, heard))
        scores += weight * np.array([_correlation(seen, said, shown.valid[rows], lag) for lag in lags])
    return lags, scores


def _correlation(seen: Array, said: Array, valid: Array, lag: int) -> float:
    """Of what is seen with what is said `lag` rows later."""
    n = len(seen)
    early, late = slice(max(0, -lag), min(n, n - lag)), slice(max(0, lag), min(n, n + lag))
    use = valid[early]
    a, b = seen[early][use], said[late][use]
    if len(a) < RATE:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))


def _quick(values: Array) -> Array:
    """Without what is slower than speech, and the jitter."""
    return gaussian_filter1d(values, 0.03 * RATE, mode="nearest") - gaussian_filter1d(
        values, SLOW_S * RATE, mode="nearest"
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """A value measured from row `first` to before `after`."""

    first: int
    after: int
    value: float


def offsets(shown: Shown, heard: Heard, window_s: float = 5.0) -> list[tuple[Stretch, float]]:
    """By how many seconds the sound is late (below 0: early), in windows of about `window_s` of seen speech, and how
    surely: by how much lips and sound agree better there than at any lag LEAST_APART_S away."""
    found, start = [], 0
    counts = np.cumsum(shown.valid & heard.voice)
    n = round(window_s * RATE)
    while start < len(counts):
        # long enough to hold most of a window of speech, at least a window of time
        after = min(len(counts), start + n)
        while after < len(counts) and counts[after - 1] - counts[start] < n // 3 and after - start < 4 * n:
            after += n // 4
        after = min(after, len(counts))
        if len(counts) - after < n // 2:
            after = len(counts)
        if counts[after - 1] - counts[start] >= LEAST_SPEECH_S * RATE:
            found.append(_offset(shown, heard, slice(start, after)))
        start = after
    return found


def _offset(shown: Shown, heard: Heard, rows: slice) -> tuple[Stretch, float]:
    lags, scores = agreement(shown, heard, rows)
    best = int(scores.argmax())
    apart = np.abs(lags - lags[best]) >= LEAST_APART_S * RATE
    sure = float(scores[best] - scores[apart].max())
    known = scores[best] >= LEAST_AGREEMENT and 0 < best < len(lags) - 1
    return Stretch(rows.start, rows.stop, float(lags[best]) / RATE), sure if known else 0.0


def silent_movement(shown: Shown, heard: Heard) -> list[Stretch]:
    """How far the lips move to and fro in each second of silence: the least of the three largest swings of the opening
    that follow each other, eye distances. Lips that close after a word and open before the next do not count, and
    neither does one movement to and fro: a breath, a smack, lips that are pressed together."""
    moves, out = gaussian_filter1d(shown.opening, 0.03 * RATE, mode="nearest"), []
    for first, after in runs_of(~heard.voice):
        first += 0 if first == 0 else round(AFTER_S * RATE)
        after -= 0 if after == len(moves) else round(BEFORE_S * RATE)
        for a in range(first, after - round(SILENCE_S * RATE) + 1, RATE // 2):
            b = min(after, a + RATE)
            if shown.valid[a:b].mean() > 0.8:
                out.append(Stretch(a, b, to_and_fro(moves[a:b])))
    return out


def to_and_fro(values: Array, swings: int = 3) -> float:
    """The least of so many swings that follow each other, where the smaller ones between them are left out: the largest
    size of which there are so many."""
    turns = np.flatnonzero(np.diff(np.sign(np.diff(values))) != 0) + 1
    at = values[np.unique([0, *turns, len(values) - 1])].tolist()
    least = 0.0
    while len(at) - 1 > swings:
        sizes = np.abs(np.diff(at))
        k = int(sizes.argmin())
        least = float(sizes[k])
        if k == 0:
            del at[0]
        elif k == len(sizes) - 1:
            del at[-1]
        else:
            del at[k : k + 2]  # the swings on both sides become one
    return float(np.abs(np.diff(at)).min()) if len(at) - 1 == swings else least


def still_speech(shown: Shown, heard: Heard) -> list[Stretch]:
    """How far the lips move, as a share of what the sound asks for, in stretches of speech of STILL_S."""
    n, out = round(STILL_S * RATE), []
    seen, said = _quick(shown.opening), _quick(heard.opening)
    for a in range(0, len(seen) - n + 1, n // 4):
        rows = slice(a, a + n)
        if heard.voice[rows].mean() >= 0.8 and shown.valid[rows].all() and said[rows].std() >= LEAST_SAID:
            out.append(Stretch(a, a + n, float(seen[rows].std() / said[rows].std())))
    return out


def closures(shown: Shown, heard: Heard, wanted: Sequence[tuple[float, float]] | None = None) -> list[Stretch]:
    """For each moment at which the sound asks for closed lips within speech (p, b, m): how far open the lips stay
    around it, above where they rest, eye distances. wanted: (from, to) seconds of these moments, where they are known;
    None: heard."""
    if not (shown.valid & heard.voice).any():
        return []
    low, high = np.quantile(heard.opening[heard.voice], [0.05, 0.95])
    rest, reach = np.quantile(shown.opening[shown.valid], 0.05), round(CLOSE_S * RATE)
    asked = heard.opening < min(low + 0.1 * (high - low), low + CLOSED_GAP)
    runs = runs_of(asked & binary_erosion(heard.voice, iterations=8))
    if wanted is not None:
        runs = [(round(start * RATE), max(round(end * RATE), round(start * RATE) + 2)) for start, end in wanted]
    out = []
    for first, after in runs:
        around = slice(max(0, first - reach), after + reach)
        if after - first >= 2 and first < len(shown.valid) and shown.valid[around].all():
            out.append(Stretch(around.start, around.stop, float(shown.opening[around].min() - rest)))
    return out
