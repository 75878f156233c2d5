"""Networks as ONNX: written, compared with torch, and run by ONNX Runtime. Needs the extra `onnx`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lipsync.core.errors import LipsyncError

#: Version of ONNX's operators that files are written in.
OPSET = 17
#: ONNX Runtime's answer may be so far from torch's, as a share of the largest number in it.
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Exported:
    """A network in a file. inputs, outputs: name -> shape, a name where a side is free; difference: the largest between
    ONNX Runtime's answer and torch's, as a share of the largest number in that."""

    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    difference: float
    opset: int = OPSET


def require_onnx() -> None:
    """LipsyncError where the libraries are not installed."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise LipsyncError(f"ONNX needs {' and '.join(missing)}: pip install 'lipsync-dub[onnx]'.")


def export_net(
    net: nn.Module,
    args: Sequence[Tensor | None],
    path: Path,
    free: Mapping[int, str],
    names: Sequence[str] = (),
    answered: Mapping[int, str] | None = None,
) -> Exported:
    """Writes the network to `path` and compares it with torch on `args`, what its `forward` takes, and on as much again
    along the free axes. free: axis -> its name in all inputs; answered: the same of the outputs, None = as of the
    inputs; names: of inputs, None left out, and of outputs. LipsyncError: an operation that ONNX has not, or other
    answers."""
    model, inputs, outputs = _written(net, args, free, names)
    session = session_of(model)
    longer = [None if a is None else torch.cat([a, a.flip(0)], axis) for a in args for axis in list(free)[:1]]
    off = max(_difference(session, net, some, names) for some in (args, longer))
    inputs = {one.name: inputs[one.name] for one in session.get_inputs()}  # those that the answer depends on
    if off > TOLERANCE:
        raise LipsyncError(f"{path.name}: ONNX Runtime answers {off:.2g} off torch; this network cannot be exported.")
    path.write_bytes(model)
    shapes = [
        {name: [axes.get(k, n) for k, n in enumerate(x.shape)] for name, x in given.items()}
        for given, axes in ((inputs, free), (outputs, answered or free))
    ]
    return Exported(shapes[0], shapes[1], off)


def _written(
    net: nn.Module, args: Sequence[Tensor | None], free: Mapping[int, str], names: Sequence[str] = ()
) -> tuple[bytes, dict[str, Tensor], dict[str, Tensor]]:
    """The network in ONNX's format, its inputs and its outputs by name."""
    bound = _Bound(net, args).eval()
    with torch.no_grad():
        answers = bound(*bound.given)
    count = len(bound.given), len(answers)
    usual = [*(f"input{i}" for i in range(count[0])), *(f"output{i}" for i in range(count[1]))]
    called = list(names) or usual
    axes = {name: dict(free) for name in called}
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            file = Path(folder) / "net.onnx"
            warnings.simplefilter("ignore")  # of this exporter's age, and of sides that are not free
            torch.onnx.export(
                bound, tuple(bound.given), file, input_names=called[: count[0]], output_names=called[count[0] :],
                dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
            model = file.read_bytes()
    except (torch.onnx.OnnxExporterError, RuntimeError) as trouble:
        first = (str(trouble).splitlines() or ["no reason given"])[0]
        raise LipsyncError(f"{type(net).__name__} cannot be written as ONNX: {first}") from trouble
    given = dict(zip(called, bound.given, strict=False))
    return model, given, dict(zip(called[count[0] :], answers, strict=True))


class _Bound(nn.Module):
    """A network whose arguments that are None are fixed; it answers with a tuple."""

    def __init__(self, net: nn.Module, args: Sequence[Tensor | None]) -> None:
        super().__init__()
        self.net, self.is_given = net, [a is not None for a in args]
        self.given = [a for a in args if a is not None]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        rest = iter(given)
        out = self.net(*(next(rest) if is_given else None for is_given in self.is_given))
        return out if isinstance(out, tuple) else (out,)


def session_of(model: bytes | Path) -> Any:
    """ONNX Runtime ready to run a model on the CPU, on as many threads as torch has now."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch's threads work between its calls
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def answer_of(session: Any, args: Sequence[Tensor | None], names: Sequence[str] = ()) -> tuple[Tensor, ...]:
    """What the session makes of a network's arguments. names: as they were exported with."""
    given = [a.detach().contiguous().numpy() for a in args if a is not None]
    called = list(names)[: len(given)] or [f"input{i}" for i in range(len(given))]
    wanted = {one.name for one in session.get_inputs()}
    inputs = {name: array for name, array in zip(called, given, strict=True) if name in wanted}
    return tuple(torch.from_numpy(array) for array in session.run(None, inputs))


def _difference(session: Any, net: nn.Module, args: Sequence[Tensor | None], names: Sequence[str] = ()) -> float:
    with torch.no_grad():
        wanted = net(*args)
    pairs = zip(answer_of(session, args, names), wanted if isinstance(wanted, tuple) else (wanted,), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in pairs)


class OnnxForward:
    """A network's `forward` by ONNX Runtime: `net.forward = OnnxForward(name, net)`. The network is exported at its
    first call, and compared with torch there; free is the first axis."""

    def __init__(self, name: str, net: nn.Module) -> None:
        self.name, self.net, self.plain = name, net, net.forward
        self.sessions: dict[object, Any] = {}

    def __call__(self, *args: Tensor | None) -> Any:
        kind = tuple(None if a is None else (tuple(a.shape[1:]), a.dtype) for a in args)
        if kind not in self.sessions:
            self.sessions[kind] = self._session(args)
        out = answer_of(self.sessions[kind], args)
        return out[0] if len(out) == 1 else out

    def _session(self, args: Sequence[Tensor | None]) -> Any:
        own = self.net.forward
        self.net.forward = self.plain
        try:
            session = session_of(_written(self.net, args, {0: "batch"})[0])
            off = _difference(session, self.net, args)
        finally:
            self.net.forward = own
        if off > TOLERANCE:
            raise LipsyncError(f"{self.name}: ONNX Runtime answers {off:.2g} off torch. Leave out --engine onnx.")
        return session
