"""JSON Schemas of the receipt and of the lines of `--json`, from their types:  python -m docs.generate.schemas
writes `docs/schemas/`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "schemas"


@dataclass(frozen=True, slots=True)
class Described:
    """title, about: for people; types: what is described, imported when it is asked for; whole: every field is always
    there, also one with a default."""

    title: str
    about: str
    types: Callable[[], Any]
    whole: bool = False


def _receipt() -> Any:
    from lipsync.store.receipt import Receipt

    return Receipt


def _events() -> Any:
    from lipsync.batch.events import BatchEvent

    return BatchEvent


def _progress() -> Any:
    from lipsync.core.progress import EstimateLine, StepLine

    return EstimateLine | StepLine


#: File name -> what it describes. The number goes up when a field is taken away or changes its meaning.
SCHEMAS = {
    "receipt-1.schema.json": Described("Receipt", "what lies beside every dub as `OUT.json`", _receipt),
    "batch-events-1.schema.json": Described(
        "Events of a batch", "a line of `lipsync batch --json` on standard output", _events, whole=True
    ),
    "progress-1.schema.json": Described(
        "Progress", "a line that other commands with `--json` write on standard error", _progress
    ),
}


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) with this file name, from the types."""
    from pydantic import TypeAdapter

    described = SCHEMAS[name]
    schema = TypeAdapter(described.types()).json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:lipsync:{name.removesuffix('.schema.json')}",
    }
    for part in schema.get("$defs", {}).values() if described.whole else ():
        part["required"] = list(part["properties"])
    return head | _one_line(schema) | {"title": described.title}


def _one_line(part: Any) -> Any:
    """The same with the line breaks of docstrings taken out, and without the titles that repeat a name."""
    if isinstance(part, dict):
        return {
            key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _one_line(value)
            for key, value in part.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_one_line(each) for each in part] if isinstance(part, list) else part


def text_of(name: str) -> str:
    """The file's content."""
    return json.dumps(schema_of(name), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in SCHEMAS:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")
