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
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from lipsync.config.schema import DubConfig, texture_names
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.text import decoded, nearest

LARGEST_BYTES = 4 << 20  # of a configuration file
_NONE = ("", "none", "null")
#: What an option of version 0.1 is called now; of a section, all its options.
RENAMED = {
    "largest": "limits",
    "retime.enabled": "retime.timeline",
    "retime.still": "retime.motion_cost",
    "retime.land_s": "retime.seek_landing_s",
    "appearance_map.still": "appearance_map.flat_axis",
    "pix2pix.critic_channels": "pix2pix.discriminator_channels",
    "pix2pix_hd.critic_channels": "pix2pix_hd.discriminator_channels",
    "autoencoder.deaf": "autoencoder.speech_dropout",
    "autoencoder.seen": "autoencoder.reconstruction_share",
    "vq_vae.foretell": "vq_vae.code_prediction_weight",
    "hybrid.taught": "hybrid.train_candidates",
    "hybrid.keen": "hybrid.sharpness_gain",
}
Section = TypeVar("Section")
Tree = Mapping[str, object]


def load(
    file: str | Path | None = None, settings: Sequence[str] = (), named: Mapping[str, object] | None = None
) -> DubConfig:
    """The configuration of one dub.

    settings: "section.key=value" as on the command line; named: {"section.key": value}, where None means not given.
    """
    return validate(from_plain(overrides(file, settings, named), str(file) if file else ""))


def overrides(
    file: str | Path | None = None, settings: Sequence[str] = (), named: Mapping[str, object] | None = None
) -> dict[str, object]:
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


def read_toml(file: str | Path) -> dict[str, object]:
    """The tables of a TOML file."""
    example = "`lipsync config` prints an example."
    try:
        with open(file, "rb") as stream:
            text = stream.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise UsageError(f"The configuration file {file} is larger than {LARGEST_BYTES >> 20} MiB. {example}")
        return toml_tables(decoded(text))
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"The configuration file {file} cannot be read: {why}. Check the name.") from error
    except RecursionError as error:
        raise UsageError(f"The configuration file {file} nests values too deeply. {example}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The configuration file {file} is not UTF-8 or UTF-16 text. {example}") from error
    except ValueError as error:
        raise UsageError(f"The configuration file {file} is not TOML: {error}. {example}") from error


def toml_tables(text: str) -> dict[str, object]:
    """The tables of TOML text. ValueError: it is none; where a path is the cause, how to write it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        if place and re.search(r'"[^"]*\\', text.split("\n")[int(place[1]) - 1]):
            raise ValueError(
                f"line {place[1]}: within double quotes a backslash begins an escape; write a path in single quotes, "
                "or with slashes"
            ) from error
        raise


def from_plain(tree: Tree, source: str = "") -> DubConfig:
    """A `DubConfig` from nested plain values; what is not there keeps its default. source: file named in messages."""
    return _build(DubConfig, tree, "", f" in {source}" if source else "")


def to_plain(config: DubConfig) -> dict[str, Any]:
    """Nested plain values (tuples as lists), ready for JSON."""
    return json.loads(json.dumps(asdict(config)))


def validate(config: DubConfig) -> DubConfig:
    """The same configuration, if what it names is there; else UsageError, or LipsyncError for a file."""
    if config.texture.endswith(".py"):
        _refuse_missing(
            config.texture, "texture method file", "does", "Give the path of a Python file with a class Method."
        )
    elif config.texture not in texture_names():
        known = f"{', '.join(texture_names())} or the path of a Python file with your own method"
        hint = nearest(config.texture, texture_names())
        raise UsageError(f"Unknown texture {_shown(config.texture)!r}. {hint} Known: {known}.")
    _refuse_missing(config.texture_weights, "texture weights", "do", "Check --texture-weights, or use --train-texture.")
    _refuse_missing(
        config.lips.model, "lip model", "does", "Check lips.model, or leave it out to learn from the target."
    )
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device):
        raise UsageError(f"Unknown device {_shown(config.device)!r}. Known: auto, cpu, cuda, cuda:N.")
    return config


def _refuse_missing(path: str, what: str, does: str, cure: str) -> None:
    """LipsyncError where a file that an option names is not there."""
    if path and not os.path.isfile(path):
        raise LipsyncError(f"The {what} {_path(path)} {does} not exist. {cure}")


def to_toml(config: DubConfig = DubConfig()) -> str:
    """TOML text of a whole configuration, with what each option means; `load` gives the same configuration back."""
    lines = ["# Every option of a dub. Delete what you do not change.", ""]
    tables: list[str] = []
    for name, info in _fields_of(DubConfig).items():
        value = getattr(config, name)
        if not is_dataclass(value):
            lines.append(_toml_line(name, value, info))
            continue
        heading = (inspect.getdoc(type(value)) or "").splitlines()[0]
        tables += ["", f"[{name}]  # {heading}"]
        tables += [_toml_line(key, getattr(value, key), of) for key, of in _fields_of(type(value)).items()]
    return "\n".join(lines + tables) + "\n"


def changed_settings(config: DubConfig) -> list[str]:
    """The options that are not at their default, as `--set` takes them: `load(None, ...)` gives the same configuration
    back."""
    default, changed = _flat(to_plain(DubConfig())), _flat(to_plain(config))
    return [f"{name}={_as_typed(value)}" for name, value in changed.items() if value != default[name]]


def _flat(tree: Mapping[str, Any]) -> dict[str, object]:
    """Options of all sections by "section.key"."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}": inner for key, inner in cast(dict[str, object], value).items()}
        else:
            found[name] = value
    return found


def _as_typed(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_as_typed, cast(list[object], value)))
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)


class Text(str):
    """A value typed as text, on the command line or in a table: becomes what its option needs."""

    __slots__ = ()


def _put(tree: dict[str, object], name: str, value: object) -> None:
    *path, key = name.split(".")
    for part in path:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise UsageError(
                f"{_shown(name)!r}: {_shown(part)!r} is an option, not a section. "
                "Give a value to a whole option, such as write.crf=18."
            )
        tree = cast(dict[str, object], below)
    tree[key] = value


def _build(kind: type[Section], tree: object, prefix: str, where: str) -> Section:
    """One section and what is in it, or UsageError."""
    if not isinstance(tree, Mapping):
        raise UsageError(f"{prefix[:-1]!r}{where} is a section, not an option: set {prefix}KEY instead.")
    known = _fields_of(kind)
    values: dict[str, object] = {}
    for name, value in cast(Tree, tree).items():
        if name not in known:
            raise UsageError(_unknown(prefix + name, where))
        section = _section_of(known[name])
        if section is not None:
            values[name] = _build(section, value, f"{prefix}{name}.", where)
        else:
            values[name] = _parsed(value, known[name].annotation)
    try:
        return kind(**values)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        given = cast(Tree, tree)[name]
        raise UsageError(_wrong_value(prefix + name, where, given, wrong["type"], known[name])) from None


def _unknown(name: str, where: str) -> str:
    now = RENAMED.get(name) or RENAMED.get(name.partition(".")[0])
    if now:
        return f"The option {name!r}{where} is now called {now!r}."
    return f"Unknown option {_shown(name)!r}{where}. {nearest(name, option_names())}"


def _wrong_value(name: str, where: str, value: object, fault: str, info: FieldInfo) -> str:
    if fault == "literal_error":
        known = get_args(info.annotation)
        return f"Unknown {name} {_shown(value)!r}. {nearest(str(value), known)} Known: {', '.join(known)}."
    if fault in ("greater_than_equal", "less_than_equal"):
        low, high = (next(getattr(m, end) for m in info.metadata if hasattr(m, end)) for end in ("ge", "le"))
        return f"{name}{where} must be from {low} to {high}, not {_shown(value)}."
    if fault == "string_pattern_mismatch":
        return f"{name}{where} cannot be {_shown(value)!r}: {info.description}."
    return f"{name}{where} must be {_describe(info.annotation)}, not {_shown(value)!r}."


def _parsed(value: object, annotation: object) -> object:
    """What a value means for an option of this type: text of the command line as what it writes, lists as tuples."""
    kinds = _alternatives(annotation)
    if isinstance(value, Text) and str not in kinds and get_origin(annotation) is not Literal:
        value = _literal(value, kinds)
    return tuple(cast(list[object], value)) if isinstance(value, list) else value


def _literal(text: Text, kinds: tuple[object, ...]) -> object:
    """A number, truth value, list or nothing, where that is what the text writes."""
    if types.NoneType in kinds and text.lower() in _NONE:
        return None
    if any(get_origin(kind) is tuple for kind in kinds):
        parts = [part for part in text.strip("[]() ").split(",") if part.strip()]
        return [_literal(Text(part.strip()), ()) for part in parts]
    try:
        return json.loads(text.lower())
    except (ValueError, RecursionError):
        return str(text)


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


def _describe(annotation: object) -> str:
    *kinds, last = _alternatives(annotation)
    if last is types.NoneType:
        return f"{_describe(kinds[0])} or none"
    if get_origin(last) is tuple:
        numbers = get_args(last)
        return "a list of numbers" if numbers[1:] == (Ellipsis,) else f"{len(numbers)} numbers"
    names: dict[object, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return names[last]


def _alternatives(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) if get_origin(annotation) in (types.UnionType, Union) else (annotation,)


def _fields_of(kind: type) -> dict[str, FieldInfo]:
    """The options of a section, in order."""
    return cast(dict[str, FieldInfo], getattr(kind, "__pydantic_fields__"))  # noqa: B009  unknown to type checkers


def _section_of(info: FieldInfo) -> type[object] | None:
    """The section that a name stands for; None = it is an option."""
    return info.annotation if isinstance(info.annotation, type) and is_dataclass(info.annotation) else None


@functools.cache
def option_names() -> tuple[str, ...]:
    """Every section and every section.key."""
    names: list[str] = []
    for name, info in _fields_of(DubConfig).items():
        section = _section_of(info)
        names += [name, *(f"{name}.{key}" for key in (_fields_of(section) if section else ()))]
    return tuple(names)


@functools.cache
def option_types() -> dict[str, object]:
    """section.key -> the type of its value, of every option."""
    types: dict[str, object] = {}
    for name, info in _fields_of(DubConfig).items():
        section = _section_of(info)
        of = {f"{name}.{key}": of.annotation for key, of in _fields_of(section).items()} if section else {}
        types |= of or {name: info.annotation}
    return types


def _toml_line(name: str, value: object, info: FieldInfo) -> str:
    if value is None:
        return f"# {name} =  # not set{'; ' + info.description if info.description else ''}"
    return f"{name} = {_toml(value)}" + (f"  # {info.description}" if info.description else "")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, cast(Iterable[object], value)))}]"
    return json.dumps(value, ensure_ascii=False)
