"""One `DubConfig` from a TOML file, `section.key=value` settings and named options; and a configuration as plain values
or TOML text.

Later wins: defaults, file, settings, named options. Every unknown name or wrong value is a UsageError that names the
nearest known name."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lipsync.config.choices import TEXTURES
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.text import nearest

LARGEST_BYTES = 4 << 20  # of a configuration file
S = TypeVar("S")
_NONE = ("", "none", "null")
#: Options of version 0.1 by their present names.
RENAMED = {
    "largest": "limits",
    "retime.still": "retime.motion_cost",
    "retime.land_s": "retime.seek_landing_s",
    "pix2pix.critic_channels": "pix2pix.discriminator_channels",
    "pix2pix_hd.critic_channels": "pix2pix_hd.discriminator_channels",
    "appearance_map.still": "appearance_map.flat_axis",
    "autoencoder.deaf": "autoencoder.speech_dropout",
    "autoencoder.seen": "autoencoder.reconstruction_share",
    "vq_vae.foretell": "vq_vae.code_prediction_weight",
    "hybrid.taught": "hybrid.train_candidates",
    "hybrid.keen": "hybrid.sharpness_gain",
}


def load(
    file: str | Path | None = None, settings: Sequence[str] = (), named: Mapping[str, object] | None = None
) -> DubConfig:
    """The configuration of one dub.

    settings: "section.key=value" as on the command line; named: {"section.key": value}, where None means not given.
    """
    return validate(from_plain(overrides(file, settings, named), str(file) if file else ""))


def overrides(
    file: str | Path | None = None, settings: Sequence[str] = (), named: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Nested plain values of what was given, unchecked: the options that are not at their default."""
    tree = read_toml(file) if file else {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(
                f"--set {_shown(setting)!r} has no value. "
                "Write --set section.key=value, for example --set write.crf=18."
            )
        _put(tree, name.strip(), Text(text.strip()))
    for name, value in (named or {}).items():
        if value is not None:
            _put(tree, name, value)
    return tree


def read_toml(file: str | Path) -> dict[str, Any]:
    """The tables of a TOML file."""
    try:
        with open(file, "rb") as stream:
            text = stream.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise UsageError(
                f"The configuration file {file} is larger than {LARGEST_BYTES >> 20} MiB. "
                "`lipsync config` prints an example."
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
    return _section(tree, DubConfig, "", f" in {source}" if source else "")


def to_plain(config: DubConfig) -> dict[str, Any]:
    """Nested plain values (tuples as lists), ready for JSON."""
    return json.loads(json.dumps(asdict(config)))


def validate(config: DubConfig) -> DubConfig:
    """The same configuration, if what it names is there; else UsageError, or LipsyncError for a file that is not
    there."""
    if config.texture.endswith(".py"):
        _there(config.texture, "The texture method file", "Give the path of a Python file with a class Method.", "does")
    elif config.texture not in TEXTURES:
        raise UsageError(
            _unknown("texture", config.texture, TEXTURES, " or the path of a Python file with your own method")
        )
    _there(config.texture_weights, "The texture weights", "Check --texture-weights, or use --train-texture.", "do")
    _there(config.lips.model, "The lip model", "Check lips.model, or leave it out to learn from the target.", "does")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device):
        raise UsageError(f"Unknown device {_shown(config.device)!r}. Known: auto, cpu, cuda, cuda:N.")
    return config


def to_toml(config: DubConfig | None = None) -> str:
    """TOML text of a whole configuration, with the descriptions of its options; `load` gives the same configuration
    back."""
    config = config or DubConfig()
    names = [f.name for f in fields(config)]
    sections = [name for name in names if is_dataclass(getattr(config, name))]
    lines = ["# Every option of a dub. Delete what you do not change.", ""]
    lines += [_toml_line(config, name) for name in names if name not in sections]
    for name in sections:
        section = getattr(config, name)
        lines += ["", f"[{name}]  # {(inspect.getdoc(type(section)) or '').splitlines()[0]}"]
        lines += [_toml_line(section, f.name) for f in fields(section)]
    return "\n".join(lines) + "\n"


class Text(str):
    """A value typed as text, on the command line or in a table: becomes what its option needs."""


def _put(tree: dict[str, Any], name: str, value: object) -> None:
    *path, key = name.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  a file may hold anything
            raise UsageError(
                f"{_shown(name)!r}: {_shown(part)!r} is an option, not a section. "
                "Give a value to a whole option, such as write.crf=18."
            )
    tree[key] = value


def _section(tree: object, kind: type[S], prefix: str, where: str) -> S:
    """The section `kind` of these values, and the sections in it. prefix: "section." in messages."""
    if not isinstance(tree, Mapping):
        raise UsageError(f"{prefix[:-1]!r}{where} is a section, not an option: set {prefix}KEY instead.")
    hints, given = _hints(kind), cast(Mapping[str, object], tree)
    values: dict[str, object] = {}
    for name, value in given.items():
        if name not in hints:
            raise UsageError(_unknown_option(prefix + name, where))
        inner = is_dataclass(hints[name])
        values[name] = _section(value, hints[name], f"{prefix}{name}.", where) if inner else _typed(value, hints[name])
    try:
        return kind(**values)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        raise UsageError(_sentence(wrong, prefix + name, hints[name], given[name], where)) from None


def _typed(value: object, hint: Any) -> object:
    """A text as the number, truth value, list or None that its option holds; what it cannot be stays, to be refused."""
    if get_origin(hint) is UnionType:
        if isinstance(value, Text) and value.lower() in _NONE:
            return None
        hint = get_args(hint)[0]
    if get_origin(hint) is tuple:
        if isinstance(value, Text):
            value = [Text(part.strip()) for part in value.strip("[]() ").split(",") if part.strip()]
        return (
            tuple(_typed(v, get_args(hint)[0]) for v in cast(list[object], value)) if isinstance(value, list) else value
        )
    if isinstance(value, float) and hint is int and value.is_integer():
        return int(value)
    if not isinstance(value, Text):
        return value
    if hint is bool:
        return {"true": True, "false": False}.get(value.lower(), value)
    with suppress(ValueError):
        return hint(value) if hint in (int, float) else str(value)
    return value


def _sentence(wrong: ErrorDetails, name: str, hint: Any, value: object, where: str) -> str:
    """What pydantic found wrong with an option's value, in our words."""
    if get_origin(hint) is Literal and isinstance(value, str):
        return _unknown(name, value, get_args(hint))
    if wrong["type"] in ("greater_than_equal", "less_than_equal"):
        *path, key = name.split(".")
        kind = _hints(DubConfig)[path[0]] if path else DubConfig
        low, high = (getattr(rule, side) for side in ("ge", "le") for rule in _rules(kind, key) if hasattr(rule, side))
        return f"{name} must be from {low} to {high}, not {_shown(wrong['input'])}."
    return f"{name}{where} must be {_describe(hint)}, not {_shown(value)!r}."


def _rules(kind: Any, key: str) -> list[Any]:
    return kind.__pydantic_fields__[key].metadata


def _unknown(name: str, value: str, known: Iterable[str], more: str = "") -> str:
    known = tuple(known)
    return f"Unknown {name} {_shown(value)!r}. {nearest(value, known)} Known: {', '.join(known)}{more}."


def _unknown_option(name: str, where: str) -> str:
    if name in RENAMED:
        return f"The option {name!r}{where} is called {RENAMED[name]!r} since version 0.2. Write that."
    return f"Unknown option {_shown(name)!r}{where}. {nearest(name, option_names())}"


def _there(path: str, what: str, cure: str, verb: str) -> None:
    """LipsyncError where a file that an option names does not exist."""
    if path and not os.path.isfile(path):
        raise LipsyncError(f"{what} {_path(path)} {verb} not exist. {cure}")


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


def _describe(hint: Any) -> str:
    """What an option holds, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return _describe(args[0]) + " or none"
    if origin is tuple:
        return "a list of numbers" if args[1:] == (Ellipsis,) else f"{len(args)} numbers"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(hint, "text")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@functools.cache
def option_names() -> tuple[str, ...]:
    """Every section and every section.key."""
    names: list[str] = []
    for name, hint in _hints(DubConfig).items():
        names.append(name)
        names += [f"{name}.{f.name}" for f in fields(hint)] if is_dataclass(hint) else []
    return tuple(names)


def _toml_line(section: Any, name: str) -> str:
    value, about = getattr(section, name), type(section).__pydantic_fields__[name].description
    if value is None:
        return f"# {name} =  # not set{f'; {about}' if about else ''}"
    return f"{name} = {_toml(value)}{f'  # {about}' if about else ''}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, cast(tuple[object, ...], value)))}]"
    return json.dumps(value, ensure_ascii=False)
