"""Plain labels that a file's tags carry: what lipsync's own say, and China's AIGC label."""

from __future__ import annotations

import json
import re
from typing import Any

#: The tag of GB 45438-2025.
AIGC = "AIGC"
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)-(\d{1,9}(?:\.\d{1,6})?) s")
_LONGEST = 16384


def aigc_label(producer: str, number: str) -> str:
    """The value of `AIGC` as GB 45438-2025, annex E, has it: the content is generated (Label 1), by whom, under which
    number. Whoever publishes it fills in the rest."""
    return json.dumps(
        {
            "Label": "1",
            "ContentProducer": producer,
            "ProduceID": number,
            "ReservedCode1": "",
            "ContentPropagator": "",
            "PropagateID": "",
            "ReservedCode2": "",
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def read_aigc(value: str) -> dict[str, str] | None:
    """The fields of such a label that are filled in; None: it is none."""
    try:
        fields: Any = json.loads(value[:_LONGEST])
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or "Label" not in fields:
        return None
    return {str(key): str(field) for key, field in fields.items() if isinstance(field, str | int) and field != ""}


def content_in(comment: str) -> str:
    """The content's id that lipsync's own comment says the watermark holds, hex; empty = none."""
    found = re.search(r" Watermark ([0-9a-f]{16})\.", comment[:_LONGEST].partition("\n")[0])
    return found[1] if found else ""


def spans_in(comment: str) -> list[list[float]]:
    """[from, to] seconds that lipsync's own comment names."""
    own = comment[:_LONGEST].partition("\n")[0]
    _, marked, said = own.partition("the mouth in this video was synthesised at ")
    return [[float(first), float(last)] for first, last in _SPAN.findall(said.partition(". ")[0])] if marked else []
