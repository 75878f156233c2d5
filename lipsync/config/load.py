"""One `DubConfig` from a TOML file, `section.key=value` settings and named options; and a configuration as plain values
or TOML text.

Later wins: defaults, file, settings, named options. Every unknown name or wrong value is a UsageError that names the
nearest known name."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

from lipsync.config import schema as sections
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.text import nearest

LARGEST_BYTES = 4 << 20  # of a configuration file
_NONE = ("", "none", "null")


def load(
    file: str | Path | None = None, settings: Sequence[str] = (), named: Mapping[str, object] | None = None
) -> DubConfig:
    """The configuration of one dub.

    settings: "section.key=value" as on the command line; named: {"section.key": value}, where None means not given.
    """
    return validate(from_plain(overrides(file, settings, named), str(file) if file else ""))


def overrides(
    file: str | Path | None = None, settings: Sequence[str] = (), named: Mapping[str, object] | None = None
) -> dict:
    """Nested plain values of what was given, unchecked: the options that are not at their default."""
    tree = read_toml(file) if file else {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(
                f"--set {_shown(setting)!r} has no value. Write --set section.key=value, for example --set write.crf=18."
            )
        _put(tree, name.strip(), Text(text.strip()))
    for name, value in (named or {}).items():
        if value is not None:
            _put(tree, name, value)
    return tree


def read_toml(file: str | Path) -> dict:
    """The tables of a TOML file."""
    try:
        with open(file, "rb") as stream:
            text = stream.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise UsageError(
                f"The configuration file {file} is larger than {LARGEST_BYTES >> 20} MiB. `lipsync config` prints an example."
            )
        return tomllib.loads(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"The configuration file {file} cannot be read: {error.strerror or error}. Check the name."
        ) from error
    except RecursionError as error:
        raise UsageError(
            f"The configuration file {file} nests values too deeply. `lipsync config` prints an example."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The configuration file {file} is not TOML: {error}. `lipsync config` prints an example."
        ) from error


def from_plain(tree: Mapping[str, object], source: str = "") -> DubConfig:
    """A `DubConfig` from nested plain values; what is not there keeps its default. source: file named in messages."""
    return _build(DubConfig, tree, "", f" in {source}" if source else "")


def to_plain(config: object) -> dict:
    """Nested plain values (tuples as lists), ready for JSON."""
    return json.loads(json.dumps(asdict(config)))


def validate(config: DubConfig) -> DubConfig:
    """The same configuration, if names and numbers make sense; else UsageError, or LipsyncError for a file that is not
    there."""
    from lipsync.face.backend import NAMES
    from lipsync.render.retime import POLICIES
    from lipsync.textures import method_names

    if config.texture.endswith(".py") and not os.path.isfile(config.texture):
        raise LipsyncError(
            f"The texture method file {_path(config.texture)} does not exist. Give the path of a Python file with a class Method."
        )
    if not config.texture.endswith(".py"):
        _one_of("texture", config.texture, method_names(), " or the path of a Python file with your own method")
    if config.texture_weights and not os.path.isfile(config.texture_weights):
        raise LipsyncError(
            f"The texture weights {_path(config.texture_weights)} do not exist. Check --texture-weights, or use --train-texture."
        )
    _one_of("retime.length", config.retime.length, POLICIES)
    _one_of("face.backend", config.face.backend, NAMES)
    _one_of(
        "lips.network", config.lips.network, ("bidirectional", "causal", "paper")
    )  # speech_to_lips.SHAPES, which would load torch
    if config.lips.model and not os.path.isfile(config.lips.model):
        raise LipsyncError(
            f"The lip model {_path(config.lips.model)} does not exist. Check lips.model, or leave it out to learn from the target."
        )
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device):
        raise UsageError(f"Unknown device {_shown(config.device)!r}. Known: auto, cpu, cuda, cuda:N.")
    for name, value, low, high in (
        ("batch", config.batch, 1, 1024),
        ("write.crf", config.write.crf, 0, 63),
        ("write.range_s", config.write.range_s, 1, 86400),
    ):
        if not low <= value <= high:
            raise UsageError(f"{name} must be from {low} to {high}, not {value}.")
    return config


def to_toml(config: DubConfig = DubConfig()) -> str:
    """TOML text of a whole configuration, with the comments of lipsync/config/schema.py; `load` gives the same
    configuration back."""
    lines, comments = ["# Every option of a dub. Delete what you do not change.", ""], _comments(DubConfig)
    tables = []
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            tables.append((f.name, value))
        else:
            lines.append(_toml_line(f.name, value, comments))
    for name, table in tables:
        lines += ["", f"[{name}]  # {inspect.getdoc(type(table)).splitlines()[0]}"]
        comments = _comments(type(table))
        lines += [_toml_line(f.name, getattr(table, f.name), comments) for f in fields(table)]
    return "\n".join(lines) + "\n"


class Text(str):
    """A value typed as text, on the command line or in a table: becomes what its option needs."""


def _put(tree: dict, name: str, value: object) -> None:
    *path, key = name.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise UsageError(
                f"{_shown(name)!r}: {_shown(part)!r} is an option, not a section. Give a value to a whole option, such as write.crf=18."
            )
    tree[key] = value


def _build(kind: type, tree: object, prefix: str, where: str) -> object:
    if not isinstance(tree, Mapping):
        raise UsageError(f"{prefix[:-1]!r}{where} is a section, not an option: set {prefix}KEY instead.")
    hints = _hints(kind)
    values = {}
    for name, value in tree.items():
        if name not in hints:
            raise UsageError(
                f"Unknown option {_shown(prefix + name)!r}{where}. {nearest(prefix + name, option_names())}"
            )
        build = _build(hints[name], value, f"{prefix}{name}.", where) if is_dataclass(hints[name]) else None
        values[name] = build if build is not None else _coerce(value, hints[name], prefix + name, where)
    return kind(**values)


def _coerce(value: object, kind: object, name: str, where: str) -> object:
    """`value` as the annotated `kind`, or UsageError."""
    try:
        return _as(value, kind)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name}{where} must be {_describe(kind)}, not {_shown(value)!r}.") from None


def _path(name: str) -> str:
    """A path for a message: in one line, and of a very long one the end."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= 300 else f"...{text[-297:]}"


def _shown(value: object) -> str:
    """A wrong value for a message, shortened."""
    try:
        text = str(value) if isinstance(value, str) else repr(value)
    except ValueError:  # Python does not print whole numbers of thousands of digits
        text = "a very long number"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _as(value: object, kind: object) -> object:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, Text) and value.lower() in _NONE):
            return None
        return _as(value, next(a for a in args if a is not type(None)))
    if origin is tuple:
        if isinstance(value, Text):
            value = [Text(part.strip()) for part in value.strip("[]() ").split(",") if part.strip()]
        if not isinstance(value, (list, tuple)):
            raise TypeError
        kinds = [args[0]] * len(value) if args[1:] == (Ellipsis,) else args
        return tuple(_as(v, k) for v, k in zip(value, kinds, strict=True))
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return str(value)
    if kind is bool:
        if isinstance(value, Text):
            value = {"true": True, "false": False}[value.lower()] if value.lower() in ("true", "false") else value
        if not isinstance(value, bool):
            raise TypeError
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, Text)):
        raise TypeError
    number = kind(value)
    if not math.isfinite(number) or (kind is int and not isinstance(value, Text) and number != value):
        raise ValueError
    return number


def _describe(kind: object) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _describe(next(a for a in args if a is not type(None))) + " or none"
    if origin is tuple:
        return "a list of numbers" if args[1:] == (Ellipsis,) else f"{len(args)} numbers"
    return {str: "text", bool: "true or false", int: "a whole number", float: "a number"}[kind]


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind)


@functools.cache
def option_names() -> tuple[str, ...]:
    """Every section and every section.key."""
    names = []
    for name, hint in _hints(DubConfig).items():
        names.append(name)
        names += [f"{name}.{f.name}" for f in fields(hint)] if is_dataclass(hint) else []
    return tuple(names)


def _one_of(name: str, value: str, known: Iterable[str], more: str = "") -> None:
    if value not in known:
        raise UsageError(f"Unknown {name} {_shown(value)!r}. {nearest(value, known)} Known: {', '.join(known)}{more}.")


def _comments(kind: type) -> dict[str, str]:
    """The comment at the end of each field's line in lipsync/config/schema.py."""
    lines = inspect.getsource(sections).splitlines()
    body = next(
        n for n in ast.parse("\n".join(lines)).body if isinstance(n, ast.ClassDef) and n.name == kind.__name__
    ).body
    found = {}
    for node in body:
        if isinstance(node, ast.AnnAssign):
            _, mark, comment = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode().partition("#")
            found[node.target.id] = comment.strip() if mark else ""
    return found


def _toml_line(name: str, value: object, comments: Mapping[str, str]) -> str:
    comment = f"  # {comments[name]}" if comments.get(name) else ""
    if value is None:
        return f"# {name} =  # not set{'; ' + comments[name] if comments.get(name) else ''}"
    return f"{name} = {_toml(value)}{comment}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
