"""Texture methods, found by name or path."""

from __future__ import annotations

import difflib
import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lipsync.config.schema import texture_names
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.texture import TextureMethod
from lipsync.store.onnx_file import require_onnx

if TYPE_CHECKING:
    from lipsync.config.schema import DubConfig


def get_method(name: str, config: DubConfig) -> TextureMethod:
    """A new, unprepared method: a built-in name, or the path of a Python file with a class `Method`.

    config: the method receives its section of the same name, or None. Raises UsageError for an
    unknown name and LipsyncError for a file that breaks the protocol."""
    from lipsync.textures.trainable import as_trainable

    if name.endswith(".py"):
        module = _load_file(Path(name))
    elif name in texture_names():
        module = importlib.import_module(f"lipsync.textures.methods.{name.replace('-', '_')}")
    else:
        near = difflib.get_close_matches(name, texture_names(), 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(texture_names())}."
        raise UsageError(f"Unknown texture method {name!r}. {hint}")
    method: Any = getattr(module, "Method", None)
    missing = [a for a in ("name", "needs", "radius", "prepare", "render") if not hasattr(method, a)]
    if missing:
        raise LipsyncError(
            f"{name} is not a texture method: its class Method lacks {', '.join(missing)}. See lipsync/core/texture.py."
        )
    made = method(getattr(config, method.name.replace("-", "_"), None))
    learner = as_trainable(made)
    if learner is not None:
        learner.engine = config.engine
        if config.texture_weights:
            learner.weights = Path(config.texture_weights)
        if config.engine == "onnx":
            require_onnx()
    return made


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise LipsyncError(
            f"The texture method file {path} does not exist. Give the path of a Python file with a class Method."
        )
    loader = SourceFileLoader(f"lipsync_method_{path.stem}", str(path))
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    module = importlib.util.module_from_spec(spec) if spec else ModuleType(loader.name)
    loader.exec_module(module)
    return module
