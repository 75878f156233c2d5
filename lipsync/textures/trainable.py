"""What every trained texture method shares: a file of weights that says what it is, drawing without gradients, and the
protocol of training.

A method brings its networks (`build`), how it draws (`draw`), and who learns what (`objectives`);
`lipsync.learning.textures` trains it. The losses are handed in, so that a method knows nothing of training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from lipsync.config.textures import Engine, TrainableConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.objective import Objective
from lipsync.core.runtime import all_threads, channels_last
from lipsync.core.texture import MouthTexture, Need, TextureMethod, TextureQuery
from lipsync.core.types import MouthBank, MouthSpace, TargetAnalysis
from lipsync.store.cache import save_tensors
from lipsync.store.onnx_file import OnnxForward
from lipsync.store.weights_file import plain_report, read_weights_file
from lipsync.textures.nets import resized

FORMAT = "lipsync-texture-1"
#: No option but the number of steps is larger in a file of weights.
MOST = 4096


Options = TypeVar("Options", bound=TrainableConfig)


class LossTerms(Protocol):
    """What `objectives` may use: `lipsync.learning.losses.Losses`, each term a scalar."""

    def l1(self, a: Tensor, b: Tensor) -> Tensor: ...
    def edge(self, a: Tensor, b: Tensor) -> Tensor: ...
    def dissimilarity(self, a: Tensor, b: Tensor) -> Tensor: ...
    def perceptual(self, a: Tensor, b: Tensor) -> Tensor: ...
    def features(self, a: Tensor, b: Tensor) -> Tensor: ...
    def temporal(self, drawn: Tensor, truth: Tensor, run: int) -> Tensor: ...
    def kl(self, mean: Tensor, logvar: Tensor) -> Tensor: ...
    def feature_matching(self, ours: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor: ...
    def gan(self, kind: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class TextureBatch:
    """Training rows, of radius 0. truth: (B,3,Hm,Wm) float32 the mouths to draw; row: (B,) int64 their rows in the
    bank; run: rows come in runs of so many neighbours in time, run after run. As in a dub, `query.crop` shows the
    truth's surroundings around another mouth."""

    query: TextureQuery
    truth: torch.Tensor
    row: torch.Tensor
    run: int


class TrainableTexture(Generic[Options]):
    """A texture method with networks. Subclasses set `name`, `Config`, `step_s` where it is another, and define
    `build`, `draw`, `objectives`."""

    name: str
    Config: ClassVar[type[TrainableConfig]] = TrainableConfig
    radius: int = 0
    needs: frozenset[Need] = frozenset({"crop"})
    step_s: float = 0.35  # a step of its training on one core, about, to tell how long that will take

    def __init__(self, config: Options | None = None) -> None:
        self.config: Options = config or cast(Options, self.Config())
        self.engine: Engine = "torch"
        self.weights: Path | None = None  # the file that `prepare` reads; None = the networks are in memory
        self.nets = nn.ModuleDict()
        self._kept: Mapping[str, torch.Size] | None = None  # shapes in the file that is being read
        self._read: tuple[dict, dict[str, torch.Tensor]] | None = None  # of the weights, checked and not yet taken over
        self.report: dict = {}
        self.remarks: dict = {}  # plain values that a method adds to the report of its training

    # --- what a method defines ---

    def build(self, space: MouthSpace) -> None:
        """Sets `self.nets`. Their shapes depend on config and space only."""
        raise NotImplementedError

    def index(self, bank: MouthBank) -> None:
        """What is built from the target's mouths each time, and not kept in the weights."""

    def domains(self, subject: TargetAnalysis) -> np.ndarray | None:
        """(K,) 0 or 1 for each of the bank's mouths, where half of every batch shall come from either; 0 is judged.
        None = all are alike."""

    def draw(self, query: TextureQuery) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B,3,h,w) mouths in [0,1] and (B,1,h,w) alpha (None = 1), of the crop's aspect at any size. Differentiable.

        In training, networks may answer in half precision: `.float()` before arithmetic with other tensors."""
        raise NotImplementedError

    def objectives(self, losses: LossTerms) -> Sequence[Objective]:
        """Who learns, in the order of moving. losses: `lipsync.learning.losses.Losses`."""
        raise NotImplementedError

    def answer(self, batch: TextureBatch) -> torch.Tensor:
        """(B,3,Hm,Wm) what it draws for training rows, as the early stop judges it."""
        return self.render(batch.query).rgb

    def error(self, drawn: torch.Tensor, truth: torch.Tensor) -> torch.Tensor | None:
        """Of (B,3,Hm,Wm) held-out mouths, a scalar, for methods whose pictures are not judged one by one. None = as
        every other's."""

    # --- what every method can do ---

    def begin(self, subject: TargetAnalysis, device: torch.device | str) -> Self:
        """Untrained networks for this person: where training starts. The same weights every time."""
        self._place(subject, device)
        if self._kept is not None:
            self._check_sizes(self._kept)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.build(self.space)
        self.nets.to(self.device)
        return self

    def prepare(self, subject: TargetAnalysis, device: torch.device | str) -> Self:
        """Ready to draw. LipsyncError: no weights, or those of another method or crop."""
        if self.weights is not None or not len(self.nets):
            about, tensors = self._read or self.check_weights()
            self._read = None
            self._check_space(about, subject.bank.space)
            self._take_over(about, tensors, subject, device)
        else:
            self._place(subject, device)
        channels_last(self.nets.to(self.device)).eval()  # one layout, so that weights read back draw the same
        if self.engine == "onnx":
            self._run_by_onnx()
        return self

    def _run_by_onnx(self) -> None:
        if self.device.type != "cpu":
            raise UsageError("--engine onnx draws on the CPU: add --device cpu, or leave it out.")
        for name, net in self.nets.items():
            net.forward = OnnxForward(f"{self.name}, {name}", net)

    def render(self, query: TextureQuery) -> MouthTexture:
        """The drawn mouths. On the CPU row by row, so that a row is the same in any batch."""
        n = len(query.lips) - 2 * self.radius
        step = 1 if self.device.type == "cpu" else n
        with torch.no_grad(), all_threads():
            parts = [self._finished(rows_of(query, b, b + step, self.radius)) for b in range(0, n, step)]
        rgb, alpha, jaw = (torch.cat(part) for part in zip(*parts, strict=True))
        return MouthTexture(rgb=rgb, alpha=alpha, jaw=jaw)

    def jaw_of(self, lips: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """(B,17,2) the jaw line that goes with (B,18,2) lips and a (B,3) pose."""
        return (_for_jaw(lips, pose) @ self._jaw).reshape(-1, 17, 2)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.nets.parameters())

    def save(self, path: str | Path) -> None:
        """One safetensors file that says all it needs: method, config, crop, report, weights."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.nets.state_dict().items()}
        about = {"method": self.name, "config": asdict(self.config), "space": asdict(self.space), "report": self.report}
        save_tensors(path, tensors, {"format": FORMAT, "texture": json.dumps(about)})

    # --- inside ---

    def _place(self, subject: TargetAnalysis, device: torch.device | str) -> None:
        self.device, self.space = torch.device(device), subject.bank.space
        self._jaw = _jaw_from_lips(subject.bank).to(self.device)
        self.index(subject.bank)

    def _finished(self, query: TextureQuery) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rgb, alpha = self.draw(query)
        size = (self.space.height, self.space.width)
        rgb = resized(rgb.float(), size).clamp(0, 1)
        alpha = torch.ones_like(rgb[:, :1]) if alpha is None else resized(alpha.float(), size).clamp(0, 1)
        own = slice(self.radius, self.radius + len(rgb))
        return rgb, alpha, self.jaw_of(query.lips[own], query.pose[own])

    def check_weights(self) -> tuple[dict, dict[str, torch.Tensor]]:
        """What the file of weights says about itself, and its tensors; `prepare` reads it no second time. LipsyncError:
        there is none, it is damaged, or another method's."""
        if self.weights is None:
            raise LipsyncError(
                f"The texture {self.name} must learn first: add --train-texture, or give the file of "
                f"`lipsync train texture {self.name}` with --texture-weights."
            )
        about, tensors = read_weights(self.weights)
        if about["method"] != self.name:
            raise LipsyncError(
                f"{self._file_name} holds weights of the texture {about['method']}, not {self.name}. "
                f"Use --texture {about['method']}, or train {self.name}."
            )
        self._read = about, tensors
        return self._read

    @property
    def _file_name(self) -> str:
        return Path(self.weights or "").name

    def _check_space(self, about: Mapping, space: MouthSpace) -> None:
        name = self._file_name
        if about["space"] != asdict(space):
            theirs, ours = about["space"], asdict(space)
            raise LipsyncError(
                f"{name} was trained for another target: mouths of {theirs['width']}x{theirs['height']} "
                f"at {theirs['scale']:.1f} pixels per eye distance, here {ours['width']}x{ours['height']} "
                f"at {ours['scale']:.1f}. Train it on this target, or name the target first that it was trained on."
            )

    def _check_sizes(self, kept: Mapping[str, torch.Size]) -> None:
        """ValueError where the networks would not be those of a file, before any memory is taken for them."""
        try:
            with torch.device("meta"):
                self.build(self.space)
        except NotImplementedError:  # a method whose networks cannot be drawn on paper
            return
        if {name: value.shape for name, value in self.nets.state_dict().items()} != kept:
            raise ValueError("networks of other sizes")

    def _take_over(
        self, about: Mapping, tensors: Mapping[str, torch.Tensor], subject: TargetAnalysis, device: torch.device | str
    ) -> None:
        """Options, report and weights of a file."""
        try:
            self.config = cast(Options, options_of(self.Config, about["config"]))
            self.report, self._kept = about["report"], {name: tensor.shape for name, tensor in tensors.items()}
            self.begin(subject, device)
            self.nets.load_state_dict(dict(tensors))
        except (RuntimeError, TypeError, ValueError, KeyError, ArithmeticError):
            raise LipsyncError(
                f"{self._file_name} does not fit the networks of {self.name} in this version. Train it again."
            ) from None
        finally:
            self._kept = None


def rows_of(query: TextureQuery, start: int, stop: int, radius: int) -> TextureQuery:
    """Some rows of a query with their context."""
    around = slice(start, stop + 2 * radius)
    crop = None if query.crop is None else query.crop[start:stop]
    speech = None if query.speech is None else query.speech[around]
    return TextureQuery(query.lips[around], query.pose[around], crop, speech)


def read_weights(path: str | Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """What a file of texture weights says about itself, and its tensors. LipsyncError: missing, damaged, or something
    else."""
    file = read_weights_file(path, "texture weights")
    try:
        about = file.about("texture")
        if file.metadata["format"] == FORMAT and _is_about(about):
            return about, dict(file.tensors)
    except (KeyError, ValueError):
        pass
    raise file.refuse(f"does not hold texture weights of this version ({FORMAT})")


def _is_about(about: Mapping) -> bool:
    """Whether this is what `Learned.save` says about its tensors; options are looked at when their method is known."""
    space = about.get("space")
    sizes = (
        [space.get(name) for name in ("scale", "left", "top", "height", "width")] if isinstance(space, dict) else [None]
    )
    plain_report(about.get("report"))  # ValueError where it is none
    named = isinstance(about.get("method"), str) and about["method"].isprintable() and len(about["method"]) < 80
    return named and isinstance(about.get("config"), dict) and all(isinstance(size, (int, float)) for size in sizes)


def options_of(kind: type[TrainableConfig], plain: Mapping) -> TrainableConfig:
    """A method's options from a file's plain values. TypeError, ValueError: unknown ones, of another kind, or larger
    than any memory."""
    usual, values = kind(), {}
    for name, value in plain.items():
        value = tuple(value) if isinstance(value, list) else value
        default = getattr(usual, name, kind)
        if not (default is None or isinstance(value, (int, float) if isinstance(default, float) else type(default))):
            raise TypeError(f"{name} is {value!r}")
        most = MOST if isinstance(default, int) and name != "steps" else 10**9
        numbers = value if isinstance(value, tuple) else [value] if isinstance(value, (int, float)) else []
        if not all(isinstance(number, (int, float)) and abs(number) <= most for number in numbers):
            raise ValueError(f"{name} is {value!r}")
        values[name] = value
    return kind(**values)


def _jaw_from_lips(bank: MouthBank) -> torch.Tensor:
    """(39,34) the linear map from lips and head turn to the jaw line that fits this person's mouths best (ridge
    regression)."""
    numbers = _for_jaw(torch.from_numpy(bank.lips).double(), torch.from_numpy(bank.pose).double())
    jaw = torch.from_numpy(bank.jaw).double().flatten(1)
    gram = numbers.T @ numbers
    keep = 1e-3 * len(numbers) * torch.eye(len(gram), dtype=gram.dtype)
    keep[-1, -1] = 1e-9 * len(numbers)
    mean = jaw.mean(0)
    found = torch.linalg.solve(gram + keep, numbers.T @ (jaw - mean))
    found[-1] += mean
    return found.float()


def _for_jaw(lips: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    return torch.cat([lips.flatten(1), pose[:, :2] / 30, torch.ones_like(pose[:, :1])], 1)


def as_trainable(method: TextureMethod) -> TrainableTexture | None:
    """The method where it learns from footage, else None: the only place that asks."""
    return method if isinstance(method, TrainableTexture) else None


def numbers_of(array: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """float32 torch copy on the device."""
    return torch.from_numpy(np.ascontiguousarray(array)).float().to(device)
