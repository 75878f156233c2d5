"""A GPU that only looks like one, for machines that have none: tensors say that they lie on "cuda:0", and the CPU works
on them. As on a real one, numbers of different devices do not mix, and what waits for the device is counted."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_C: Any = torch._C
ROOT = Path(__file__).parents[2]
DEVICE = torch.device("cuda:0")
#: Said by a torch for CPUs; by one for GPUs without a driver, and with an old one.
_NO_GPU = ("not linked with support for cuda", "NVIDIA driver", "CUDA driver")
_READ_BACK = ("item", "tolist", "__float__", "__bool__", "__int__", "__index__", "__contains__", "__repr__", "cpu")
_SIZE_UNKNOWN = ("nonzero", "masked_select", "unique", "bincount", "repeat_interleave")


class Pretended(torch.Tensor):
    """A tensor "on the GPU"; held: the same on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real: torch.Tensor) -> Pretended:
        return torch.Tensor._make_wrapper_subclass(
            cls, real.shape, real.stride(), real.storage_offset(), dtype=real.dtype, device=DEVICE
        )

    def __init__(self, real: torch.Tensor) -> None:
        self.held = real

    __torch_function__: Any = _C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    _mode_key = _C._TorchDispatchModeKey.FAKE  # torch then looks for no driver

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does before it dispatches, and what it would ask a driver for."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        first = args[0] if args else None
        if isinstance(first, Pretended) and name in _READ_BACK:
            self.waits[_where()] += 1
            return first.held if name == "cpu" else func(first.held, *args[1:], **kwargs)
        if isinstance(first, Pretended) and name == "numpy":
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")
        if name == "to" and isinstance(first, torch.Tensor):
            return self._moved(first, *_C._nn._parse_to(*args[1:], **_without_copy(kwargs)))
        if name in ("tensor", "as_tensor") and torch.device(kwargs.get("device") or "cpu").type == "cuda":
            made = torch.as_tensor(first, **kwargs | {"device": None})
            return made if isinstance(made, Pretended) else Pretended(made)
        pretended = any(isinstance(x, Pretended) for x in tree_leaves((args, kwargs)))
        masked = name in ("__getitem__", "__setitem__") and any(i.dtype == torch.bool for i in _tensors(args[1]))
        if pretended and (masked or name in _SIZE_UNKNOWN):
            self.waits[_where()] += 1
        try:
            return func(*args, **kwargs)
        except RuntimeError as trouble:
            # as a CPU's torch, a GPU's torch without a driver, and one with an old driver say it
            if not any(
                words in str(trouble) for words in ("not linked with support for cuda", "NVIDIA driver", "CUDA driver")
            ):
                raise
        # asked for a driver before it dispatched: only views, indices and copies do
        return _beside(func(*tree_map(_held, args), **tree_map(_held, kwargs)))

    def _moved(self, x: torch.Tensor, device: Any, dtype: Any, _: bool, layout: Any) -> torch.Tensor:
        real = x.held if isinstance(x, Pretended) else x
        there = isinstance(x, Pretended) if device is None else device.type == "cuda"
        if isinstance(x, Pretended) and not there:
            self.waits[_where()] += 1
        more = {} if layout is None else {"memory_format": layout}
        moved = real.to(dtype=dtype or real.dtype, **more)
        if moved is real and there == isinstance(x, Pretended):
            return x
        return Pretended(moved.detach()) if there else moved


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _held(x: Any) -> Any:
    if isinstance(x, torch.device):
        return torch.device("cpu")
    return x.held if isinstance(x, Pretended) else x


def _without_copy(kwargs: dict) -> dict:
    return {name: value for name, value in kwargs.items() if name != "copy"}


def _where() -> str:
    """The line of ours that asked: file:line."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path != __file__ and path.startswith(str(ROOT)) and "/.venv/" not in path:
            return f"{Path(path).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def _run(func: Any, args: Any, kwargs: dict) -> Any:
    leaves = _tensors((args, kwargs))
    there = any(isinstance(x, Pretended) for x in leaves)
    if there:
        _refuse_mixed(func, args, leaves)
    devices = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.device)]
    there = devices[0].type == "cuda" if devices else there
    args, kwargs = tree_map(_held, (args, kwargs))
    out = func(*args, **kwargs)
    return _beside(out) if there else out


def _beside(out: Any) -> Any:
    return tree_map(lambda x: Pretended(x) if isinstance(x, torch.Tensor) else x, out)


def _refuse_mixed(func: Any, args: Any, leaves: list[torch.Tensor]) -> None:
    """RuntimeError as CUDA has it: numbers of the CPU beside those of the GPU, but for scalars and indices."""
    name = func.name()
    if name.startswith(("aten::copy_", "aten::_to_copy")):
        return
    checked = leaves
    if name.startswith(("aten::index.", "aten::index_put")):
        checked = _tensors((args[0], args[2:]))
        if not isinstance(args[0], Pretended) and any(isinstance(x, Pretended) for x in leaves):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    if any(not isinstance(x, Pretended) and x.dim() > 0 for x in checked):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name})"
        )


@contextmanager
def pretend_gpu():
    """Inside, "cuda" is a device. Yields a Counter of the lines (file:line) that waited for it."""
    waits: Counter[str] = Counter()
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else a moved weight is another's memory
    try:
        with _Dispatch(), _Functions(waits):
            yield waits
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
