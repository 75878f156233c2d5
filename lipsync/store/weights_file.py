"""A safetensors file that a stranger may have made, as remarks and tensors: what it says is checked before anything is
built on it.

safetensors itself checks that shapes and places fit the file's size, so that no more is read than there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lipsync.core.errors import LipsyncError

if TYPE_CHECKING:
    import torch
    from torch import nn

#: No training gives larger numbers; with these no sum of products leaves float32.
LARGEST = 1e6
#: What reading a damaged file can end in.
_DAMAGE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What a file holds. name: without its folder; what: "a lip model"; cure: the last sentence of every refusal;
    marks: texts about the tensors; tensors: on the CPU, every number finite and at most LARGEST."""

    name: str
    what: str
    cure: str
    metadata: Mapping[str, str]
    tensors: Mapping[str, torch.Tensor]

    def refuse(self, why: str) -> LipsyncError:
        """The error to raise."""
        return LipsyncError(f"{self.name} {why}. {self.cure}")

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Reads what must be there: whatever goes wrong inside is the file's fault."""
        try:
            yield
        except _DAMAGE:
            raise self.refuse(f"is damaged, or not {self.what} of this version") from None

    def about(self, key: str) -> dict:
        """The JSON object in a mark."""
        return as_object(self.metadata[key])

    def array(self, name: str, *shape: int | None) -> torch.Tensor:
        """A float32 tensor of this shape (None = any length)."""
        tensor = self.tensors[name]
        if len(tensor.shape) != len(shape) or any(
            want not in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
        ):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}")
        if str(tensor.dtype) != "torch.float32":
            raise TypeError(f"{name} is {tensor.dtype}")
        return tensor

    def renamed(self, parts: Mapping[str, str]) -> WeightsFile:
        """The same file with parts of its tensors' names replaced: one of an older version."""
        tensors = {}
        for name, tensor in self.tensors.items():
            for old, new in parts.items():
                name = name.replace(old, new)
            tensors[name] = tensor
        return replace(self, tensors=tensors)

    def fill(self, net: nn.Module, prefix: str = "") -> None:
        """Gives `net` the tensors whose names begin so: all of its own, and no others."""
        net.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}
        )


def read_weights_file(path: str | Path, what: str, cure: str = "Train it again.") -> WeightsFile:
    """The whole file. LipsyncError: missing, damaged, or it holds what is no number."""
    from safetensors import SafetensorError, safe_open

    name = Path(path).name
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict
    except OSError as trouble:
        raise LipsyncError(f"{name} cannot be read as {what} ({trouble.strerror or trouble}). {cure}") from None
    except (SafetensorError, *_DAMAGE) as trouble:
        raise LipsyncError(f"{name} cannot be read as {what} ({_short(trouble)}). {cure}") from None
    found = WeightsFile(name, what, cure, metadata, tensors)
    wrong = next((key for key, tensor in tensors.items() if not _is_sane(tensor)), None)
    if wrong is not None:
        raise found.refuse(f"is damaged: {_short(wrong)} holds numbers that no training gives")
    return found


def as_object(text: str) -> dict:
    """A JSON object. ValueError: something else."""
    try:
        plain = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    return plain


def plain_report(report: object) -> dict:
    """What a file says of its training: numbers, texts that can be printed, and lists of them, by name. ValueError:
    anything else."""
    if not isinstance(report, dict) or not all(
        name.isprintable() and _is_plain(value) for name, value in report.items()
    ):
        raise ValueError("a report of something else")
    return report


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, dict)):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, (int, float)) or (isinstance(value, str) and value.isprintable())


def _is_sane(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return not tensor.is_complex()
    numbers = tensor.float()
    return bool(numbers.abs().max() <= LARGEST)  # not so either where one is NaN


def _short(text: object) -> str:
    """For a message: printable, and not longer than a line."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    return text if len(text) <= 100 else f"{text[:97]}..."
