"""Recipes: TOML files of `training/recipes` that say how a shipped model is made."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import ClassVar, Self

from pydantic import TypeAdapter, ValidationError

from lipsync.core.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"


class Recipe:
    """The base of every kind, which are pydantic dataclasses. FILES: pattern of its files in `training/recipes`."""

    FILES: ClassVar[str]

    @classmethod
    def load(cls, name: str) -> Self:
        """The recipe of a TOML file, or of that name in training/recipes. UsageError: no such file, or keys and values
        that the kind does not have."""
        path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
        if not path.exists():
            names = ", ".join(sorted(p.stem for p in RECIPES.glob(cls.FILES)))
            raise UsageError(f"There is no recipe {name!r}; known: {names}.")
        try:
            return TypeAdapter(cls).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
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
