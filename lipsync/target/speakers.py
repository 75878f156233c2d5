"""Who speaks when in a film: the visible person whose lips move as the sound says they should.

For every moment of speech, each visible person's lips (opening and width) are compared with those that the bundled lip
model predicts from the film's own sound, after Cutler & Davis 2000 (correlation of mouth and sound) with a learnt
model in the place of mutual information. Turns come of it by the Viterbi algorithm: it costs something to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from audio.load import Waveform, load_track
from lipsync.core.arrays import runs_of
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import opening
from lipsync.core.segments import Segment
from lipsync.core.timebase import shot_at_features, to_feature_clock, voiced_at
from lipsync.core.types import REASONS, Footage, LipTrack
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache, save_arrays, step_key
from media import MediaError
from video.clock import FrameClock

#: Raise whenever the same film would give other evidence.
VERSION = 1
#: Movements slower than this say nothing (seconds, standard deviation of the mean that is taken away).
SLOW_S = 0.6
#: People move their lips so far as predicted, about (less: the weaker correlation is enough).
REACH = 0.7
#: Noise of opening and width beside what the sound predicts (eye distances), and rows (10 ms) that are one observation.
OPENING_NOISE, WIDTH_NOISE, ALIKE_ROWS = 0.05, 0.04, 8
#: Sound may be this late or early against the picture (rows of 10 ms).
LAGS = range(-20, 21, 4)
#: Cost of another speaker in mid-speech, and in a pause or at a cut (log likelihood); rows decided together.
CHANGE, CHANGE_IN_PAUSE, STEP = 6.0, 2.0, 4
#: That speech is nobody's who is seen is a little unlikely (log likelihood, a row of 10 ms).
NOBODY = 0.01
#: A face seen so few rows ago, or soon, is there: between two shots nobody is.
THERE = 6
#: Turns of one person are one where the pause between is shorter; a turn has at most this much around it (seconds).
PAUSE_S, AROUND_S = 1.0, 0.3
#: Shorter turns are slips (rows).
SHORTEST = 20


@dataclass(frozen=True, slots=True)
class Speakers:
    """Evidence of who speaks. evidence: (P,F) float32 at 100 per second, by person: log likelihood that the sound is
    this person's beside nobody's, 0 where the face is seen and the lips are not, -inf where it is not; voice: (F,)
    bool, somebody speaks; cut: (F,) bool, a new shot begins."""

    evidence: np.ndarray
    voice: np.ndarray
    cut: np.ndarray

    def who(self) -> np.ndarray:
        """(F,) int who speaks; -1: nobody, or nobody who is seen."""
        p, n = self.evidence.shape
        steps = -(-n // STEP)
        padded = np.zeros((p + 1, steps * STEP))
        padded[0, :n] = np.where(self.voice, -NOBODY, 0)
        padded[1:, :n] = np.maximum(np.where(self.voice, self.evidence, 0), -1e4)
        scores = padded.reshape(p + 1, steps, STEP).sum(2)
        calm = ~self.voice | self.cut
        easy = np.pad(calm, (0, steps * STEP - n), constant_values=True).reshape(steps, STEP).any(1)
        states = _best_path(scores, np.where(easy, CHANGE_IN_PAUSE, CHANGE))
        return np.where(self.voice, np.repeat(states, STEP)[:n] - 1, -1)

    def turns(self, length_s: Fraction) -> list[Segment]:
        """Who speaks from when to when in a film of this length, short pauses included; between the turns of two people
        lies the middle of the pause, where it is short."""
        found = _merged(self.who())
        around = round(AROUND_S * 100)
        turns = []
        for k, (person, start, stop) in enumerate(found):
            low = (found[k - 1][2] + start) // 2 if k else 0
            high = (stop + found[k + 1][1]) // 2 if k + 1 < len(found) else stop + around
            start, stop = max(start - around, low), min(stop + around, high)
            end_s = min(Fraction(stop, 100), length_s)
            if end_s > Fraction(start, 100):
                turns.append(Segment(Fraction(start, 100), end_s, person))
        return turns

    def free_for(self, person: int, clock: FrameClock) -> np.ndarray:
        """(N,) bool, frames of a clock in which nobody speaks, or this person does."""
        return ~voiced_at(self.voice & (self.who() != person), clock)

    def total(self, start_s: Fraction, end_s: Fraction) -> np.ndarray:
        """(P,) evidence for each person over a stretch of time; rows in which one is not seen count for nothing."""
        rows = slice(max(0, round(start_s * 100)), max(0, round(end_s * 100)))
        part = np.where(self.voice[rows], self.evidence[:, rows], 0)
        return np.where(np.isfinite(part), part, 0).sum(1)


def find_speakers(films: Sequence[Footage], cache: Cache) -> Speakers:
    """Who of the people in a film speaks when (cached by content). films: of one video, person after person, of
    `follow_people`. LipsyncError: it has no sound."""
    key = step_key("speakers", VERSION, inputs=[film.key for film in films])

    def make(folder: Path) -> None:
        try:
            wave = load_track(films[0].video.path, films[0].stream.limits)
        except MediaError as error:
            raise LipsyncError(
                f"Who speaks cannot be told from lips alone: {error} Say who speaks when with --segments FILE."
            ) from error
        found = speakers_of(films, wave)
        save_arrays(folder / "speakers.safetensors", {name: getattr(found, name) for name in Speakers.__slots__})

    def load(folder: Path) -> Speakers:
        return Speakers(**load_file(folder / "speakers.safetensors"))

    return cache.read("speakers", key, make, load, label=films[0].video.path.name)


def speakers_of(films: Sequence[Footage], wave: Waveform) -> Speakers:
    """The same, of the sound that belongs to the picture. The lag between them that fits everybody best is assumed."""
    points = bundled_lip_model().predict(wave).points
    n = len(points)
    voice = np.resize(voice_activity(wave), n)
    said = {name: measure(points) for name, measure in _MEASURES.items()}
    seen = [to_feature_clock(film.track.lips, n, film.track.shot) for film in films]
    shots = shot_at_features(films[0].track.shot, films[0].video.clock, n)
    best = max((_evidence(seen, shots, said, lag) for lag in LAGS), key=lambda e: _fit(e, voice))
    there = np.stack([_there(film, n) for film in films])
    return Speakers(np.where(there, best, -np.inf), voice, np.diff(shots, prepend=shots[:1]) != 0)


def _there(film: Footage, n: int) -> np.ndarray:
    """(F,) bool: the face is seen, or was or will be in a moment."""
    from scipy.ndimage import binary_dilation  # 0.13 s, and one who speaks alone needs none

    seen = shot_at_features(film.track.reason != REASONS.index("no face"), film.video.clock, n)
    return binary_dilation(seen, iterations=THERE)


def _width(lips: np.ndarray) -> np.ndarray:
    return lips[..., 6, 0] - lips[..., 0, 0]


_MEASURES = {"opening": opening, "width": _width}
_NOISE = {"opening": OPENING_NOISE, "width": WIDTH_NOISE}


def _evidence(seen: Sequence[LipTrack], shots: np.ndarray, said: dict[str, np.ndarray], lag: int) -> np.ndarray:
    """(P,F) of `Speakers`, where the sound is `lag` rows later than the picture; 0 where lips are not seen."""
    out = np.zeros((len(seen), len(shots)), np.float32)
    for lips, row in zip(seen, out, strict=True):
        for first, stop in runs_of(lips.valid):
            for start, end in _pieces(shots, first, stop):
                rows = np.arange(start, end)
                row[start:end] = sum(
                    _likelihood(measure(lips.points[rows]), said[name][np.clip(rows + lag, 0, len(shots) - 1)], name)
                    for name, measure in _MEASURES.items()
                )
    return out


def _pieces(shots: np.ndarray, first: int, stop: int) -> list[tuple[int, int]]:
    """The parts of rows first to stop, each in one shot."""
    cuts = first + 1 + np.flatnonzero(np.diff(shots[first:stop]))
    return list(zip([first, *cuts.tolist()], [*cuts.tolist(), stop], strict=True))


def _likelihood(real: np.ndarray, said: np.ndarray, name: str) -> np.ndarray:
    """Log likelihood, row by row, that lips move as the sound says rather than not at all; lips that move otherwise
    have as little of it as lips that stand still."""
    y, x = _quick(real), REACH * _quick(said)
    return (2 * x * y - x * x) / (2 * _NOISE[name] ** 2 * ALIKE_ROWS)


def _quick(values: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return values - gaussian_filter1d(values, SLOW_S * 100, mode="nearest")


def _fit(evidence: np.ndarray, voice: np.ndarray) -> float:
    """How well the best of all people fits, over a second each."""
    part = np.where(voice, evidence, 0)
    n = part.shape[1] // 100 * 100
    return float(np.maximum(part[:, :n].reshape(len(part), -1, 100).sum(2).max(0), 0).sum())


def _best_path(scores: np.ndarray, change: np.ndarray) -> np.ndarray:
    """(S,) states of the best path through (K,S) scores, where a change on the way to step s costs change[s]."""
    k, n = scores.shape
    total, came = scores[:, 0].copy(), np.zeros((n, k), np.int64)
    for s in range(1, n):
        best = int(total.argmax())
        moves = total[best] - change[s] > total
        came[s] = np.where(moves, best, np.arange(k))
        total = np.where(moves, total[best] - change[s], total) + scores[:, s]
    path = np.empty(n, np.int64)
    path[-1] = int(total.argmax())
    for s in range(n - 1, 0, -1):
        path[s - 1] = came[s, path[s]]
    return path


def _merged(who: np.ndarray) -> list[tuple[int, int, int]]:
    """(person, first row, one past the last) of every turn: runs of one person with short pauses between."""
    turns: list[tuple[int, int, int]] = []
    edges = [0, *(np.flatnonzero(np.diff(who)) + 1).tolist(), len(who)]
    for start, stop in pairwise(edges):
        person = int(who[start]) if stop > start else -1
        if person < 0:
            continue
        if turns and turns[-1][0] == person and start - turns[-1][2] < round(PAUSE_S * 100):
            turns[-1] = (person, turns[-1][1], stop)
        else:
            turns.append((person, start, stop))
    return [turn for turn in turns if turn[2] - turn[1] >= SHORTEST]
