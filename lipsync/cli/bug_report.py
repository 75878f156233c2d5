"""What a bug report needs to know of a machine, and nothing about its owner: versions, devices, options; no names of
files, folders, people or hosts."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
import re
from collections.abc import Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_origin

import lipsync
from lipsync.core.environment import THREADS, cores
from lipsync.core.installation import HOME
from lipsync.core.machine import processor

if TYPE_CHECKING:
    from lipsync.cli.findings import Report
    from lipsync.config.schema import DubConfig

_DISTRIBUTION = "lipsync-dub"
#: What a dub leans on most.
_MAIN = ("torch", "numpy", "scipy", "opencv-contrib-python", "mediapipe", "av", "numba")
#: Options whose text is no name of somebody or something.
_PUBLIC = ("device", "write.codec", "write.pix_fmt", "write.preset")
#: Of the environment, what changes how lipsync works.
_VARIABLES = (*THREADS, "CUDA_VISIBLE_DEVICES", "LIPSYNC_CACHE", "NUMBA_CACHE_DIR")
#: An absolute path of POSIX or Windows, up to a space, quote or other mark; "a/b" and "1/2" are none.
_PATH = re.compile(r"(?<![\w/.<>~])(?<!https:)(?<!http:)(?:[A-Za-z]:[\\/]|\\\\|/|~/)[^\s'\",;:()]+")


def block(report: Report, config: DubConfig) -> dict[str, Any]:
    """The facts, as JSON has them; nothing in them names a file, a folder or a person."""
    changed = list(_changed(config))
    private = [str(value) for _, value, public in changed if not public]
    return {
        "lipsync": lipsync.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "cpu": _cpu(),
        "gpu": [f"{f.name}: {f.text}" for f in report.findings if f.group == "devices" and f.name.startswith("cuda:")],
        "packages": dict(_packages()),
        "extras": dict(_extras()),
        "landmarks": _landmarks(config),
        "options": {name: value if public else "(given)" for name, value, public in changed},
        "environment": {name: _value(os.environ[name]) for name in _VARIABLES if name in os.environ},
        "missing": [f"{f.group}, {f.name}: {anonymous(f.text, private)}" for f in report.findings if not f.ok],
    }


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The block to paste: Markdown, so that it stays as it is."""
    yield "```"
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {of}" for key, of in value.items()) or "-"
        elif isinstance(value, list):
            value = f"\n{'':12}".join(value) or "-"
        yield f"{name:<12}{value}"
    yield "```"


def anonymous(text: str, private: Iterable[str] = ()) -> str:
    """The text with `<lipsync>` for the program's own folder, `<given>` for what begins with a `private` text, and
    `<path>` for every other path."""
    known = [(str(HOME), "<lipsync>"), (os.environ.get("LIPSYNC_CACHE", ""), "<path>")]
    known += [(name, "<given>") for name in private] + [(str(Path.home()), "<path>")]
    for name, sign in known:  # before the pattern: they may have spaces
        if len(name) > 1:
            text = re.sub(re.escape(name) + r"[^\s'\",;:()]*", sign, text)
    return _PATH.sub("<path>", text)


def _cpu() -> str:
    return f"{processor() or platform.machine()}, {cores()} cores"


def _packages() -> Iterator[tuple[str, str]]:
    """What lipsync requires, and is installed."""
    for name in _required(""):
        yield name, _version(name)
    yield "pip", _version("pip")


def _extras() -> Iterator[tuple[str, str]]:
    """Of each extra, whether all that it names is there."""
    try:
        extras = sorted(metadata.metadata(_DISTRIBUTION).get_all("Provides-Extra") or [])
    except metadata.PackageNotFoundError:
        return
    for extra in extras:
        missing = [name for name in _required(extra) if _version(name) == "-"]
        yield extra, "no" if missing else "yes"


def _required(extra: str) -> list[str]:
    """Names of the distributions that an extra of lipsync, or lipsync itself (""), needs."""
    try:
        texts = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a folder that was not installed
        return [] if extra else list(_MAIN)
    found = [(re.match(r"[\w.-]+", text), re.search(r"extra == ['\"]([\w-]+)", text)) for text in texts]
    return list(dict.fromkeys(name[0] for name, of in found if name and (of[1] if of else "") == extra))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"


def _landmarks(config: DubConfig) -> str:
    from lipsync.core.errors import LipsyncError
    from lipsync.face.registry import landmark_models

    try:
        return f"{config.face.backend}, {anonymous(landmark_models(config.face)).partition(' ')[0] or '-'}"
    except LipsyncError as error:
        return anonymous(str(error))


def _changed(config: DubConfig) -> Iterator[tuple[str, object, bool]]:
    """The options that differ from their defaults: name, value, and whether others may read it (free text, such as
    paths and names, is the user's own)."""
    from lipsync.config.load import option_types, to_plain
    from lipsync.config.schema import DubConfig, texture_names

    def value_of(tree: dict[str, Any], name: str) -> object:
        return reduce(lambda below, part: below[part], name.split("."), tree)

    ours, usual = to_plain(config), to_plain(DubConfig())
    for name, kind in option_types().items():
        value = value_of(ours, name)
        if value != value_of(usual, name):
            public = get_origin(kind) is Literal or not _has_text(value) or name in _PUBLIC or value in texture_names()
            yield name, value, public


def _has_text(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))


def _value(text: str) -> str:
    """A variable's value where it is a number or a word in capitals."""
    return text if re.fullmatch(r"[\d,.]+|[A-Z]+", text) else "(given)"
