"""How doubtful every frame of a dub is, before and after drawing; and lips moved towards the person's own where nothing
like the wanted ones was ever seen.

A value is 1 where a person's real mouths, compared with their others more than 0.4 s away, hardly ever come; a score is
v^2 / (1 + v^2), in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync.config.schema import DoubtConfig
from lipsync.core.arrays import runs_of
from lipsync.core.lips import LOWER, opening
from lipsync.core.types import LipTrack, MouthBank

#: What a frame may be doubted for: columns of the values.
CAUSES = (
    "a mouth shape this person never shows",
    "opened wider than ever seen",
    "no mouth seen in this pose",
    "only blurred mouths are like it",
    "the jaw is moved far",
    "torn or doubled lips",
    "the inside of the mouth is washed out",
    "teeth stand still while the mouth moves",
    "what lies under the chin moved",
    "light or colour of the mouth differs",
)
#: How many of them are foreseen, and how much that counts beside what is seen.
N_FORESEEN, TRUST = 4, 0.5
#: Nearer in time than this (seconds), a real mouth is all but the same.
APART_S = 0.4
#: Rows of wanted lips compared at once; mouths looked at to learn limits.
_CHUNK, _ASKED = 256, 400
#: Least and greatest limit of lip distance (eye distances): few mouths are far from each other, and no safer for it.
#: Limits of opening (eye distances), pose (degrees, the least) and share of the usual sharpness.
_SHAPE, _LEAST_OPENING, _LEAST_POSE, _LEAST_SHARPNESS = (0.012, 0.018), 0.02, 10.0, 0.3


@dataclass(frozen=True, slots=True)
class KnownMouths:
    """A person's own mouths. lips: (K,36); pose: (K,3); sharpness: (K,) relative to mouths as open; widest: opening
    that hardly any exceeds; shape, turned: limits of lip distance (eye distances), pose (degrees) of like mouths."""

    lips: np.ndarray
    pose: np.ndarray
    sharpness: np.ndarray
    widest: float
    shape: float
    turned: float


def known_mouths(bank: MouthBank, rate: float) -> KnownMouths:
    """The bank's mouths, with limits from comparing them with each other. rate: frames per second."""
    lips = bank.lips.reshape(len(bank), -1).astype(np.float32)
    asked = np.unique(np.linspace(0, len(bank) - 1, _ASKED).astype(int))
    near = (np.abs(bank.source[asked, None] - bank.source) < APART_S * rate) & (bank.shot[asked, None] == bank.shot)
    distance = np.where(near, np.inf, _distances(lips[asked], lips))
    some = np.isfinite(distance).any(1)
    shape, turned = _SHAPE[0], _LEAST_POSE
    if some.sum() >= 10:
        nearest, rows = distance[some], asked[some]
        shape = float(np.quantile(nearest.min(1), 0.95).clip(*_SHAPE))
        turned = max(turned, float(np.quantile(_turned(nearest, bank.pose[rows], bank.pose, shape), 0.95)))
    gaps = opening(bank.lips)
    return KnownMouths(
        lips, bank.pose, _among_alike(bank.sharpness, gaps), float(np.quantile(gaps, 0.99)), shape, turned
    )


def _among_alike(sharpness: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """(K,) sharpness relative to the median of the mouths as open (teeth are sharper than lips)."""
    out = np.ones(len(gaps))
    for rows in np.array_split(np.argsort(gaps), min(5, len(gaps))):
        out[rows] = sharpness[rows] / max(float(np.median(sharpness[rows])), 1e-6)
    return out


def foreseen(known: KnownMouths, lips: np.ndarray, pose: np.ndarray | None = None) -> np.ndarray:
    """(N,4) values of the causes known before drawing, of (N,18,2) wanted lips over frames of (N,3) pose; None: in any
    pose."""
    out = np.zeros((len(lips), N_FORESEEN), np.float32)
    for at in range(0, len(lips), _CHUNK):
        rows = slice(at, at + _CHUNK)
        distance = _distances(lips[rows].reshape(-1, 36), known.lips)
        out[rows, 0] = distance.min(1) / known.shape
        if pose is not None:
            out[rows, 2] = _turned(distance, pose[rows], known.pose, known.shape) / known.turned
        sharpest = np.where(_alike(distance, known.shape), known.sharpness, 0).max(1)
        out[rows, 3] = _LEAST_SHARPNESS / np.maximum(sharpest, 1e-6)
    out[:, 1] = np.maximum(opening(lips) - known.widest, 0) / _LEAST_OPENING
    return out


def scores(values: np.ndarray) -> np.ndarray:
    """(...) in [0,1] of values >= 0; 0.5 at 1."""
    squared = np.square(values, dtype=np.float32)
    return squared / (1 + squared)


def softened(lips: LipTrack, known: KnownMouths, config: DoubtConfig) -> LipTrack:
    """The lips, moved towards the person's nearest own where they are farther from them than `config.soften` limits;
    elsewhere the same. The opening keeps its course (closed stays closed) but ends where the person's own ends.

    The move is smooth: towards a mean of near mouths, and over neighbouring rows."""
    if config.soften <= 0 or not len(lips):
        return lips
    points, allowed = lips.points, config.soften * known.shape
    move = np.zeros((len(lips), 36), np.float32)
    for at in range(0, len(lips), _CHUNK):
        wanted = points[at : at + _CHUNK].reshape(-1, 36)
        distance = _distances(wanted, known.lips)
        nearest = distance.min(1, keepdims=True)
        weight = np.exp(-(((distance - nearest) / (0.3 * allowed)) ** 2))
        safe = weight @ known.lips / weight.sum(1, keepdims=True)
        # just as far as the limit lies: no more of the wanted shape is lost than must be
        move[at : at + _CHUNK] = (1 - allowed / np.maximum(nearest, allowed)) * (safe - wanted)
    gap = np.minimum(opening(points), known.widest + config.soften * _LEAST_OPENING)
    if not (move.any() or (gap < opening(points)).any()):
        return lips
    moved = points + _smooth(move).reshape(points.shape)
    moved[:, LOWER, 1] += (gap - opening(moved))[:, None]
    return LipTrack(moved.astype(np.float32), lips.valid, lips.clock)


def worst_spans(curve: np.ndarray, limit: float, most: int) -> list[tuple[int, int]]:
    """First and one past the last row of the runs of (N,) scores above the limit; the `most` worst, in order."""
    runs = sorted(runs_of(curve > limit), key=lambda run: -float(curve[run[0] : run[1]].max()))
    return sorted(runs[:most])


def safe_share(known: KnownMouths, lips: np.ndarray) -> float:
    """Share of (N,18,2) lips that this person's mouths can show: nothing above its limit."""
    return float((foreseen(known, lips).max(1) <= 1).mean())


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,K) root mean square over points of the distances of (n,36) lips to (K,36)."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0) / 18)


def _alike(distance: np.ndarray, limit: float) -> np.ndarray:
    """(n,K) bool: the mouths within the limit, and the nearest."""
    return distance <= np.maximum(limit, distance.min(1, keepdims=True))


def _turned(distance: np.ndarray, pose: np.ndarray, poses: np.ndarray, limit: float) -> np.ndarray:
    """(n,) degrees from (n,3) poses to the likest of the (K,3) poses of mouths that are alike by `distance` (n,K)."""
    degrees = np.linalg.norm(poses - pose[:, None], axis=2)
    return np.where(_alike(distance, limit), degrees, np.inf).min(1)


def _smooth(move: np.ndarray) -> np.ndarray:
    """(N,d) averaged over five rows."""
    tap = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(move, ((2, 2), (0, 0)), mode="edge")
    return np.sum([w * padded[k : k + len(move)] for k, w in enumerate(tap)], axis=0)
