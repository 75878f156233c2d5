"""How loops over pixels are compiled: without the interpreter's lock, kept on disk."""

from __future__ import annotations

from numba import njit

#: Sums may be reordered, and nothing is asked of a division by zero: both keep loops in the processor's vectors.
compiled = njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
