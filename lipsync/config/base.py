"""How every section is checked: no unknown options, no value of another type, no NaN."""

from typing import Annotated

from pydantic import ConfigDict, PlainValidator

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return str(value)


#: The name of a file. Of pydantic's own text no name may be that has bytes that are not UTF-8.
FileName = Annotated[str, PlainValidator(_text)]
