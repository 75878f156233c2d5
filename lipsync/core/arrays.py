"""The type of arrays whose shape, unit and frame the docstring says, and the runs in rows of flags."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def runs_of(flags: Array) -> list[tuple[int, int]]:
    """First and one past the last row of each run of True in (N,) bool, in order."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
