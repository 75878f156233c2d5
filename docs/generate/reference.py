"""Reference pages in Markdown, from what the code itself says: the options' schema, the commands, the JSON Schemas."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer

from docs.generate.schemas import SCHEMAS, schema_of

MADE = "This page is made from the code; it is not written by hand."


def options_page() -> str:
    """Every option of `lipsync.config.schema`, a table for each section."""
    from lipsync.config.schema import DubConfig

    top, sections = [], []
    for name, info in _fields(DubConfig):
        (sections if is_dataclass(info.annotation) else top).append((name, info))
    lines = [
        "# Options",
        "",
        f"{MADE} On the command line an option is `--set section.key=value`, in a file for `--config` a line under its "
        "`[section]`, in Python a field of `DubConfig`. `lipsync config` prints all of them with their values. Seconds "
        "end in `_s`, pixels in `_px`; lengths without a unit are in distances of the outer eye corners.",
        "",
        "## Of the whole dub",
        "",
        *_option_table(top),
    ]
    for name, info in sections:
        lines += [
            "",
            f"## {name}",
            "",
            _plain(info.annotation.__doc__),
            "",
            *_option_table(_fields(info.annotation), name),
        ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command with its arguments and options, as `--help` says them."""
    from lipsync.cli.app import app

    root = typer.main.get_command(app)
    lines = ["# Commands", "", f"{MADE} `lipsync COMMAND --help` says the same."]
    for name, command in _commands(root, ()):
        context = command.make_context(" ".join(("lipsync", *name)), [], resilient_parsing=True)
        lines += [
            "",
            f"## {' '.join(name)}",
            "",
            _plain(command.help or ""),
            "",
            "```text",
            _usage(command, context),
            "```",
            "",
        ]
        rows = [row for each in command.params if (row := _parameter(each))]
        lines += ["| Argument or option | Meaning | Default |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def schemas_page() -> str:
    """What the receipt and the lines of `--json` hold, from the same schemas that lie in `docs/schemas/`."""
    lines = [
        "# Receipt and events",
        "",
        f"{MADE} Programs that read what lipsync writes can check it against a JSON Schema (draft 2020-12). The number "
        "in a schema's name goes up when a field is taken away or changes its meaning; fields may be added without.",
        "",
    ]
    lines += [f"* [{name}](schemas/{name}): {SCHEMAS[name].about}" for name in SCHEMAS]
    for name in SCHEMAS:
        schema = schema_of(name)
        lines += ["", f"## {SCHEMAS[name].title}", ""]
        for kind, part in (schema.get("$defs") or {}).items():
            lines += _schema_table(kind, part)
        if "properties" in schema:
            lines += _schema_table("Receipt", schema)
    return "\n".join(lines) + "\n"


def _fields(kind: Any) -> list[tuple[str, Any]]:
    return list(kind.__pydantic_fields__.items())


def _option_table(fields: Sequence[tuple[str, Any]], section: str = "") -> list[str]:
    rows = ["| Option | Default | Values | Meaning |", "|---|---|---|---|"]
    for name, info in fields:
        key = f"{section}.{name}" if section else name
        bounds = _bounds(info.metadata)
        values = f"{_values(info.annotation)}{f', {bounds}' if bounds else ''}"
        rows.append(f"| `{key}` | `{_default(info.default)}` | {_plain(values)} | {_plain(info.description or '')} |")
    return rows


def _default(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False).replace("|", "\\|")


def _values(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join("none" if kind is type(None) else _values(kind) for kind in get_args(annotation))
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)
        return "a list of numbers" if inner[1:] == (Ellipsis,) else f"{len(inner)} numbers"
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    return names.get(annotation) or _values(get_args(annotation)[0])  # an annotated type: what it is at heart


def _bounds(metadata: Sequence[Any]) -> str:
    low, high = (next((getattr(m, end) for m in metadata if hasattr(m, end)), None) for end in ("ge", "le"))
    return " ".join(
        filter(None, [f"from {low:g}" if low is not None else "", f"to {high:g}" if high is not None else ""])
    )


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in command.commands.items():
        if each.hidden:
            continue
        if hasattr(each, "commands"):
            yield from _commands(each, (*path, name))
        else:
            yield (*path, name), each


def _usage(command: Any, context: Any) -> str:
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _parameter(parameter: Any) -> str:
    if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
        return ""
    metavar = parameter.metavar or parameter.name.upper()
    is_flag = getattr(parameter, "is_flag", False)
    names = ", ".join(parameter.opts) if parameter.param_type_name == "option" else ""
    what = _code(" ".join(filter(None, [names, "" if is_flag else metavar])))
    default = parameter.default
    shown = "required" if parameter.required else "" if is_flag or default in (None, (), []) else _code(str(default))
    return f"| {what} | {_plain(parameter.help or '')} | {shown} |"


def _schema_table(name: str, schema: dict[str, Any]) -> list[str]:
    """A part of a schema: what it is, and its fields. The meaning of each stands in the part's own words."""
    rows = ["| Field | Type |", "|---|---|"]
    rows += [f"| `{key}` | {_plain(_schema_type(kind))} |" for key, kind in schema["properties"].items()]
    return [f"### {name}", "", _plain(schema.get("description", "")), "", *rows, ""]


def _schema_type(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(map(json.dumps, schema["enum"]))
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_schema_type, schema["anyOf"]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_schema_type(schema.get('items', {}))}"
    return kind


def _code(text: str) -> str:
    """Code in a table, where a bar would end the cell."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"


def _plain(text: str) -> str:
    """One line of Markdown, safe in a table."""
    return " ".join(text.replace("\b", " ").split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
