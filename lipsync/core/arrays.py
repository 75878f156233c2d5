"""The type of arrays whose shape, unit and frame the docstring says; runs of flags, and the nearest of some rows."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def runs_of(flags: Array) -> list[tuple[int, int]]:
    """First and one past the last row of each run of True in (N,) bool, in order."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def nearest(frames: Array, n: int) -> Array:
    """(n,) index into the sorted `frames` of the one nearest to each of 0..n-1; of two as near, the earlier."""
    after = np.searchsorted(frames, np.arange(n)).clip(0, len(frames) - 1)
    before = (after - 1).clip(0)
    return np.where(np.abs(frames[before] - np.arange(n)) <= np.abs(frames[after] - np.arange(n)), before, after)
