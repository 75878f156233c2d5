"""The type of arrays whose shape, unit and frame the docstring says."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
