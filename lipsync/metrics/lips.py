"""Lips against lips."""

from __future__ import annotations

import numpy as np

from lipsync.core.arrays import runs_of
from lipsync.core.canonical import RIGID_68, canonical_68
from lipsync.core.geometry import apply, similarity_fit
from lipsync.core.lips import CLOSED_GAP, LIPS_FROM_68

#: Shares of the range of openings, see `closure_shares`.
REAL_CLOSED, OURS_CLOSED = 0.15, 0.20
#: Fewer blocks than this tell nothing of how sure a correlation is.
LEAST_BLOCKS = 8
_EYE_CORNERS = [int(np.flatnonzero(RIGID_68 == 36)[0]), int(np.flatnonzero(RIGID_68 == 45)[0])]


def rigid_reference(landmarks: np.ndarray) -> np.ndarray:
    """(13,2) mean eyes and nose of (N,68,2) landmarks, outer eye corners at distance 1: what lips are aligned on."""
    rigid = landmarks[:, RIGID_68]
    shape = canonical_68()[RIGID_68, :2].astype(np.float64)
    for _ in range(2):  # once onto the average face, once onto the person's own
        shape = apply(similarity_fit(shape, rigid), rigid.astype(np.float64)).mean(0)
    return shape / np.linalg.norm(shape[_EYE_CORNERS[1]] - shape[_EYE_CORNERS[0]])


def aligned_lips(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,18,2) lips in eye distances, each frame's eyes and nose laid on `reference` by a similarity. landmarks:
    (N,68,2) in any unit."""
    fit = similarity_fit(reference, landmarks[:, RIGID_68])
    return apply(fit, landmarks[:, LIPS_FROM_68].astype(np.float64))


def lmd(ours: np.ndarray, real: np.ndarray, remove_means: bool = False) -> float:
    """Mean distance between lip points of (N,18,2) aligned lips. remove_means: subtract each clip's mean shape
    first."""
    if remove_means:
        ours, real = ours - ours.mean(0), real - real.mean(0)
    return float(np.linalg.norm(ours - real, axis=-1).mean())


def opening_r(ours: np.ndarray, real: np.ndarray) -> float:
    """Pearson correlation of two (N,) mouth openings over time; 0 where either never changes."""
    a, b = ours - ours.mean(), real - real.mean()
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 1e-12 else 0.0


def opening_r_interval(ours: np.ndarray, real: np.ndarray, block: int = 100, n_draws: int = 400) -> tuple[float, float]:
    """95 % interval of `opening_r` over (N,) openings by drawing blocks of `block` rows again and again (block
    bootstrap: Kuensch 1989); of few rows LEAST_BLOCKS shorter ones, for two or three would make any r look sure. The
    same for the same openings."""
    blocks = np.array_split(np.arange(len(real)), max(LEAST_BLOCKS, round(len(real) / block)))
    drawn = np.random.default_rng(0).integers(0, len(blocks), (n_draws, len(blocks)))
    rows = (np.concatenate([blocks[i] for i in draw]) for draw in drawn)
    low, high = np.quantile([opening_r(ours[row], real[row]) for row in rows], [0.025, 0.975])
    return float(low), float(high)


def closure_shares(ours: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Of the frames in which the real mouth is closed, the share in which ours is; and that of the other frames (false
    closures). (N,) openings; the real mouth is closed below the 5th percentile of its opening and REAL_CLOSED of the
    range from 5th to 95th, ours below its own 5th percentile and OURS_CLOSED of its range. 0 where there is none."""
    real_low, real_high = np.percentile(real, [5, 95])
    our_low, our_high = np.percentile(ours, [5, 95])
    really = real < real_low + REAL_CLOSED * (real_high - real_low)
    closed = ours < our_low + OURS_CLOSED * (our_high - our_low)
    met, false = (closed[rows].mean() if rows.any() else 0.0 for rows in (really, ~really))
    return float(met), float(false)


def articulation(ours: np.ndarray, real: np.ndarray) -> float:
    """Spread of our (N,) mouth opening relative to the real one's; 1 = speaks as widely."""
    return float(ours.std() / max(real.std(), 1e-9))


def rigid_distance(ours: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(N,) mean distance of eyes and nose of two (N,68,2) pixel landmarks in one picture, in the real face's eye
    distances."""
    eyes = np.linalg.norm(real[:, 45] - real[:, 36], axis=-1)
    return np.linalg.norm(ours[:, RIGID_68] - real[:, RIGID_68], axis=-1).mean(1) / eyes


def long_silences(voiced: np.ndarray, frame_rate: float, shortest_s: float = 0.3) -> list[slice]:
    """Silent runs of at least `shortest_s` in (N,) voiced."""
    silences = runs_of(~np.asarray(voiced, bool))
    return [slice(first, after) for first, after in silences if (after - first) / frame_rate >= shortest_s - 1e-9]


def silent_lip_std(opening: np.ndarray, silences: list[slice]) -> float | None:
    """Spread of the (N,) mouth opening inside silences (each about its own mean; pooled over frames). None without
    silence."""
    if not silences:
        return None
    inside = np.concatenate([opening[s] - opening[s].mean() for s in silences])
    return float(np.sqrt((inside**2).mean()))


def resting_gap(opening: np.ndarray, silences: list[slice]) -> float:
    """A person's opening with closed lips: the median in silence, or without silence the 5th percentile of all."""
    if silences:
        return float(np.median(np.concatenate([opening[s] for s in silences])))
    return float(np.quantile(opening, 0.05))


def closed(opening: np.ndarray, rest: float) -> np.ndarray:
    """(N,) bool mouth closed: opening at most CLOSED_GAP above the resting gap."""
    return opening <= rest + CLOSED_GAP


def lip_leak(
    opening: np.ndarray, rest: float, silent: np.ndarray, target_speaks: np.ndarray | None = None
) -> float | None:
    """Share of frames with an open mouth among those where our sound is silent and the target was speaking (KeySync).

    target_speaks None: all silent frames. None where there is no such frame.
    """
    counted = silent if target_speaks is None else silent & target_speaks
    return float((~closed(opening, rest))[counted].mean()) if counted.any() else None


def bootstrap_interval(values, level: float = 0.95, n_draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over clips; the same for the same seed."""
    values = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (n_draws, len(values)))
    low, high = np.quantile(values[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
