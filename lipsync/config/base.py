"""How every section is checked: no unknown options, no value of another type, no NaN."""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
