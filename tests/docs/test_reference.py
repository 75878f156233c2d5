"""The reference that is made from the code: schemas fit what is written, every public name is explained, every option
and command is listed."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import re

import jsonschema
import pytest
import typer

import lipsync
from docs.generate import schemas
from docs.generate.reference import commands_page, options_page, schemas_page
from lipsync.batch.job import Job, JobRecord, Outcome
from lipsync.batch.progress import BatchJsonLines
from lipsync.config.load import option_types
from lipsync.core.progress import JsonLines
from lipsync.store.receipt import Receipt
from tests.support import ROOT
from tests.support.documented import pages, python_blocks

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^::: ([\w.]+)$", API, re.M)


def closed(name: str) -> dict:
    """A schema that takes no field that it does not name."""

    def close(part):
        if isinstance(part, dict):
            part = {key: close(value) for key, value in part.items()}
            return part | {"additionalProperties": False} if "properties" in part else part
        return [close(each) for each in part] if isinstance(part, list) else part

    return close(json.loads((schemas.FOLDER / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", schemas.SCHEMAS)
def test_the_schema_on_disk_is_that_of_the_types(name):
    assert (schemas.FOLDER / name).read_text(encoding="utf-8") == schemas.text_of(name), (
        "python -m docs.generate.schemas writes it; where a field went or changed its meaning, raise its number"
    )
    jsonschema.Draft202012Validator.check_schema(schemas.schema_of(name))


def test_no_other_schema_lies_there():
    assert {path.name for path in schemas.FOLDER.iterdir()} == set(schemas.SCHEMAS)


def test_the_events_of_a_batch_fit_their_schema():
    stream, jobs = io.StringIO(), [Job("t.mp4", "s.wav", f"{n}.mp4") for n in range(2)]
    with BatchJsonLines(stream, [JobRecord(job) for job in jobs], now=iter(range(1000)).__next__) as observer:
        observer.expected(2, 12.34)
        observer.started(0, 0)
        observer.progress(0, "dub", 1, 2)
        observer.ended(0, Outcome(jobs[0], "done", frames=2, duration_s=0.08, seconds=1.0, dubbed=0.5, notes=("One.",)))
        observer.ended(1, Outcome(jobs[1], "failed", "No face.", attempts=0))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["estimate", "started", "progress", "done", "failed", "summary"]
    schema = closed("batch-events-1.schema.json")
    for event in events:
        jsonschema.validate(event, schema)
        for field in event:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate({key: value for key, value in event.items() if key != field}, schema)


def test_the_lines_of_progress_fit_their_schema():
    stream = io.StringIO()
    hook = JsonLines(stream, now=iter(range(1000)).__next__)
    hook.expect(12.0)
    hook.whole(0.25, 3.0)
    hook.note("loss 0.1")
    hook("dub", 1, 2)
    for line in stream.getvalue().splitlines():
        jsonschema.validate(json.loads(line), closed("progress-1.schema.json"))


def test_an_empty_receipt_fits_its_schema_and_an_unknown_field_does_not():
    schema = closed("receipt-1.schema.json")
    jsonschema.validate(Receipt().to_plain(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(Receipt().to_plain() | {"frames": 1}, schema)


def found(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", DOCUMENTED)
def test_every_public_name_is_explained(path):
    thing = found(path)
    assert thing.__doc__ and not thing.__doc__.startswith(f"{thing.__name__}("), "no docstring of its own"
    if inspect.isclass(thing):
        bare = [
            name
            for name, member in vars(thing).items()
            if not name.startswith("_") and inspect.isroutine(member) and not inspect.getdoc(member)
        ]
        assert not bare


def test_every_name_of_the_package_and_of_the_examples_is_in_the_reference():
    names = {name: getattr(lipsync, name) for name in lipsync.__all__ if name != "__version__"}
    for page in pages():
        for block in python_blocks(page):
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in (
                    "lipsync",
                    "audio",
                    "video",
                    "media",
                ):
                    module = importlib.import_module(node.module)
                    names |= {alias.name: getattr(module, alias.name) for alias in node.names}
    there = [found(path) for path in DOCUMENTED]
    assert not [name for name, thing in names.items() if thing not in there]


def test_every_option_and_command_is_listed():
    options, commands = options_page(), commands_page()
    assert not [name for name in option_types() if f"| `{name}` |" not in options]
    from lipsync.cli.app import app

    root = typer.main.get_command(app)
    for name, command in root.commands.items():
        for each in getattr(command, "commands", {"": command}):
            assert f"\n## {name} {each}".rstrip() + "\n" in commands
    assert "| <code>--timeline auto&#124;keep&#124;retime</code> |" in commands


def test_every_field_of_the_receipt_is_listed():
    page = schemas_page()
    assert not [name for name in Receipt.__slots__ if f"| `{name}` |" not in page]
