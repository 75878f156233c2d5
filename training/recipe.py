"""Recipes: TOML files of `training/recipes` that say how a shipped model is made."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from lipsync.core.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"
T = TypeVar("T")


def load_recipe(kind: type[T], name: str, known: str) -> T:
    """The `kind` (a pydantic dataclass) that a TOML file holds, or the recipe of that name in `training/recipes`.

    known: pattern of the files in that folder that hold one of this kind. UsageError: no such file, or keys and values
    that the kind does not have.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.exists():
        names = ", ".join(sorted(p.stem for p in RECIPES.glob(known)))
        raise UsageError(f"There is no recipe {name!r}; known: {names}.")
    try:
        return TypeAdapter(kind).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path.name} is not TOML: {error}.") from None
    except ValidationError as trouble:
        raise UsageError(f"{path.name}: {_sentence(trouble)}.") from None


def _sentence(trouble: ValidationError) -> str:
    """The unknown keys, or the first wrong value."""
    errors = [(".".join(map(str, error["loc"])), error) for error in trouble.errors()]
    unknown = sorted(name for name, error in errors if error["type"] == "unexpected_keyword_argument")
    if unknown:
        return f"unknown keys {', '.join(unknown)}"
    name, error = errors[0]
    return f"{name}: {error['msg']}, not {error['input']!r}"
