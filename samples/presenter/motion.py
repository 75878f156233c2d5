"""Head, eyes and brows as smooth functions of the head clock (seconds)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees and eye distances. yaw > 0 turns to the picture's right, pitch > 0 nods down, roll > 0 tilts clockwise;
    shift: (3,) x, y, z; gaze: yaw, pitch of the eyes in the head, degrees; blink and brow: 0..1."""

    yaw: float
    pitch: float
    roll: float
    shift: np.ndarray
    gaze: tuple[float, float]
    blink: float
    brow: float


def _hash01(n: int, salt: int) -> float:
    x = (n * 0x9E3779B1 + salt * 0x85EBCA6B) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    x = ((x ^ (x >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return (x ^ (x >> 15)) / 2**32


def wander(t: float, period_s: float, salt: int) -> float:
    """Smooth noise in [-1, 1]: cubic spline over random values every `period_s` seconds."""
    k = int(np.floor(t / period_s))
    f = t / period_s - k
    knots = np.array([2 * _hash01(k + i, salt) - 1 for i in (-1, 0, 1, 2)])
    basis = np.array([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]) / 6
    return float(1.3 * (basis @ knots))


def _blink(t: float, seed: int) -> float:
    """Blinks about every 3.4 seconds; closing takes 80 ms, opening 160 ms."""
    best = 0.0
    for k in (int(t // 3.4) - 1, int(t // 3.4), int(t // 3.4) + 1):
        dt = t - (k + 0.25 + 0.6 * _hash01(k, 31 + seed)) * 3.4
        x = 1 + dt / 0.08 if dt < 0 else 1 - max(dt - 0.04, 0) / 0.16
        x = min(max(x, 0.0), 1.0)
        best = max(best, x * x * (3 - 2 * x))
    return best


def pose_at(t: float, active: float, seed: int = 0) -> Pose:
    """The pose at `t`. active: 0 at rest .. 1 speaking, see `activity`."""
    s = 101 * seed
    a = 0.25 + 0.75 * active
    yaw = 8.5 * wander(t, 1.9, 1 + s) * a + 2.5 * wander(t, 0.7, 2 + s) * active
    pitch = 4.5 * wander(t, 1.4, 3 + s) * a + 1.8 * wander(t, 0.45, 4 + s) * active
    roll = 3.5 * wander(t, 2.3, 5 + s) * a
    shift = np.array(
        [
            0.10 * wander(t, 2.7, 6 + s) * a,
            0.04 * wander(t, 2.1, 7 + s) * a + 0.008 * np.sin(2 * np.pi * t / 3.9),
            0.25 * wander(t, 3.1, 8 + s) * a,
        ]
    )
    jump = t + 0.35 * wander(t, 2.0, 9 + s)
    step = np.clip((jump / 1.7 - np.floor(jump / 1.7)) / 0.04, 0, 1)
    k = int(np.floor(jump / 1.7))
    look = [(1 - step) * (2 * _hash01(k - 1, c + s) - 1) + step * (2 * _hash01(k, c + s) - 1) for c in (10, 11)]
    gaze = (-0.75 * yaw + 3.0 * look[0], -0.6 * pitch + 1.6 * look[1])
    brow = float(np.clip(0.25 + 0.5 * wander(t, 0.9, 12 + s), 0, 1)) * active
    return Pose(float(yaw), float(pitch), float(roll), shift, gaze, _blink(t, seed), brow)


def activity(t: float, pauses: np.ndarray) -> float:
    """1 while speaking, 0 in the middle of the (K,2) pauses of the head clock's own speech, smooth over 0.35 s."""
    if not len(pauses):
        return 1.0
    inside = np.minimum(t - pauses[:, 0], pauses[:, 1] - t).max()
    x = float(np.clip(inside / 0.35, 0, 1))
    return 1 - x * x * (3 - 2 * x)
