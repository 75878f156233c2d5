"""Mouth cues for animators, in the nine shapes and the file formats of Rhubarb Lip Sync, from predicted lips.

A closed (p b m); B slightly open, teeth together (most consonants, "ee"); C open ("e", "a" of "bat"); D wide open
("ah"); E slightly rounded ("o" of "off"); F puckered ("oo", w); G lower lip at the upper teeth (f v); H tongue raised
(long l); X idle.

What lips alone do not tell: H is a movement of the tongue, so it is never given (C or B stand there, as they do in
Rhubarb where H is switched off). G is guessed from a mouth that opens by the upper lip while the lower one stays up;
teeth are not seen. On the real lips of GRID s1 (train) a third of the words with f or v get a G, and a tenth of words
without; p and b at the start of a word get an A in nine of ten. A and X are both closed lips: X only where nobody
speaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync.core.arrays import runs_of
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.text import readable
from lipsync.core.types import LipTrack

SHAPES = "ABCDEFGX"
NAMES = {
    "A": "closed", "B": "slightly open", "C": "open", "D": "wide open", "E": "slightly rounded", "F": "puckered",
    "G": "lower lip at teeth", "X": "idle",
}  # fmt: skip
#: What each shape looks like: inner gap, drop of the lower lip (shares of the speaker's reach), width over resting
#: width.
#: Near the medians at moments of words that have the sound, GRID s1, clips of `train`.
PROTOTYPES = {
    "A": [(0.0, 0.1, 1.0), (0.02, 0.28, 0.975)],
    "B": [(0.30, 0.20, 1.04), (0.40, 0.30, 1.0), (0.62, 0.46, 1.01), (0.90, 0.52, 1.03)],
    "C": [(0.80, 0.68, 1.015), (0.98, 0.80, 1.03)],
    "D": [(0.95, 1.02, 1.0), (1.15, 1.05, 1.05), (1.5, 1.5, 1.0)],
    "E": [(0.60, 0.70, 0.95), (0.38, 0.40, 0.975)],
    "F": [(0.28, 0.50, 0.92), (0.02, 0.35, 0.935)],
    "G": [(0.22, 0.02, 1.0), (0.36, 0.12, 1.0)],
}  # fmt: skip
#: How far each of the three must differ to count alike.
SCALE = np.array([0.2, 0.2, 0.035])
#: The guess G must be this much better than the others, and A than X where nobody speaks.
DOUBT = 0.3
#: The reach is the 95th percentile while speaking: of the gap, kept within these shares of the resting width; of the
#: drop, DROP of it
#: (in GRID s1 the lower lip drops so much of what the gap opens), kept within these shares of the gap's reach.
REACH, DROP, DROP_REACH = (0.15, 0.45), 0.9, (0.5, 1.3)
#: No cue is shorter (rows of 10 ms), and a change must be worth this much, summed over its rows.
SHORTEST, CHANGE = 6, 3.0
#: No row speaks louder than this against a shape: single odd ones change nothing.
WORST = 8.0
#: Lips that meet for so many rows say a closed sound, however short: what any other shape costs more there.
MET, MEETING = 2, 4.0
#: Silence shorter than this (rows) is not idle.
IDLE = 15


@dataclass(frozen=True, slots=True)
class Cue:
    """One shape from `start` to `end`, in hundredths of a second."""

    start: int
    end: int
    shape: str


def mouth_cues(lips: LipTrack, voiced: np.ndarray, rest: np.ndarray, duration_s: Fraction | float) -> list[Cue]:
    """Cues without gaps from 0 to `duration_s`: the cheapest sequence of shapes, none shorter than 0.06 s.

    lips: 100 per second, face frame, closed in pauses; voiced: as many bool; rest: (18,2) the same person's lips at
    rest."""
    end = round(float(duration_s) * 100)
    if len(lips) == 0 or end <= 0:
        return [Cue(0, max(end, 0), "X")]
    shape = _cheapest(_costs(lips.points, voiced, rest))
    rows = np.minimum(np.arange(end), len(shape) - 1)
    shape = shape[rows]
    starts = np.flatnonzero(np.diff(shape, prepend=-1))
    return [Cue(int(a), int(b), SHAPES[shape[a]]) for a, b in zip(starts, np.append(starts[1:], end), strict=True)]


def _costs(points: np.ndarray, voiced: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """(F,8) how little each row of (F,18,2) lips looks like each shape."""
    width = np.linalg.norm(rest[6] - rest[0])
    gap, drop = opening(points), points[:, 9, 1] - rest[9, 1]
    reach = np.clip(_highest(gap[voiced]), REACH[0] * width, REACH[1] * width)
    drop_reach = np.clip(_highest(drop[voiced]) / DROP, DROP_REACH[0] * reach, DROP_REACH[1] * reach)
    features = np.stack(
        [gap / reach, drop / drop_reach, np.linalg.norm(points[:, 6] - points[:, 0], axis=-1) / width], 1
    )
    costs = np.empty((len(points), len(SHAPES)))
    for column, shape in enumerate(SHAPES[:-1]):
        away = (features[:, None] - np.array(PROTOTYPES[shape])) / SCALE
        costs[:, column] = np.minimum((away**2).sum(-1).min(1), WORST) + (DOUBT if shape == "G" else 0)
    idle = _long_runs(~voiced, IDLE)
    met = _long_runs(gap < opening(rest) + CLOSED_GAP, MET)
    costs[met, 1:-1] += MEETING
    costs[idle, 0] += DOUBT
    costs[:, -1] = np.where(idle, 0.15 * costs[:, 0], 1e3)
    return costs


def _highest(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.95)) if len(values) else 0.0


def _long_runs(flags: np.ndarray, shortest: int) -> np.ndarray:
    """The flags without runs of fewer than `shortest`, other than at either end."""
    kept = flags.copy()
    for first, after in runs_of(flags):
        if after - first < shortest and first > 0 and after < len(flags):
            kept[first:after] = False
    return kept


def _cheapest(costs: np.ndarray) -> np.ndarray:
    """(F,) shape of each row: least sum of costs and changes, every run at least SHORTEST rows (fewer only where there
    are fewer rows)."""
    n, n_shapes = costs.shape
    shortest = min(SHORTEST, n)
    total = np.concatenate([np.zeros((1, n_shapes)), np.cumsum(costs, 0)])
    best = np.full((n + 1, n_shapes), np.inf)  # of the first t rows, the last of them in this shape
    best[shortest] = total[shortest]
    came = np.full(
        (n + 1, n_shapes), -1, np.int64
    )  # the shape before, where a run of `shortest` ends here; -1 = it goes on
    for t in range(shortest + 1, n + 1):
        stay = best[t - 1] + costs[t - 1]
        before = best[t - shortest]
        source = int(before.argmin())
        enter = before[source] + CHANGE + total[t] - total[t - shortest]
        change = enter < stay
        best[t], came[t] = np.where(change, enter, stay), np.where(change, source, -1)
    shape = np.empty(n, np.int64)
    t, now = n, int(best[n].argmin())
    while t > 0:
        begins = t - shortest if came[t, now] >= 0 or t == shortest else t - 1
        shape[begins:t] = now
        t, now = begins, int(came[t, now]) if came[t, now] >= 0 else now
    return shape


def rhubarb_json(cues: Sequence[Cue], speech: Path) -> str:
    """The text of Rhubarb's JSON export."""
    lines = [f'    {{ "start": {_s(cue.start)}, "end": {_s(cue.end)}, "value": "{cue.shape}" }}' for cue in cues]
    return (
        f'{{\n  "metadata": {{\n    "soundFile": {json.dumps(readable(str(speech.resolve())), ensure_ascii=False)},\n'
        f'    "duration": {_s(cues[-1].end)}\n  }},\n  "mouthCues": [\n' + ",\n".join(lines) + "\n  ]\n}\n"
    )


def rhubarb_tsv(cues: Sequence[Cue]) -> str:
    """The text of Rhubarb's TSV export: start and shape, and last the end with X."""
    return "".join(
        f"{_s(at)}\t{shape}\n" for at, shape in [*((cue.start, cue.shape) for cue in cues), (cues[-1].end, "X")]
    )


def _s(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"
