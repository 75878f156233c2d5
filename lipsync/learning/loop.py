"""One plain training loop for lips and textures: objectives take turns, each steps its own optimiser on its own named
loss terms.

A run can be stopped at any moment and resumed exactly: weights, optimisers, averages, the generators' states and the
best weights so far are kept in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lipsync.core.errors import LipsyncError
from lipsync.core.objective import Objective
from lipsync.learning.distributed import Ranks
from lipsync.store.cache import save_tensors
from media.atomic import atomic_write


class Chance:
    """Torch's own generator as one training has left it. Entered by several, each with one of these, in as many
    threads, it gives each what it would give it alone."""

    _turn = threading.Lock()

    def __init__(self) -> None:
        self._state = torch.get_rng_state()

    def __enter__(self) -> None:
        self._turn.acquire()
        torch.set_rng_state(self._state)

    def __exit__(self, *error: object) -> None:
        self._state = torch.get_rng_state()
        self._turn.release()

    def get_state(self) -> torch.Tensor:
        return self._state

    def set_state(self, state: torch.Tensor) -> None:
        self._state = state


@dataclass(slots=True)
class TrainingResult:
    """What became of a training: rows of (step, mean loss since the last row, held-out error), the best error and its
    step."""

    curve: list[tuple[int, float, float]] = field(default_factory=list)
    best: float = float("inf")
    best_step: int = 0


def train(
    objectives: Sequence[Objective[int]],
    steps: int,
    generator: torch.Generator,
    evaluate: Callable[[], float],
    evaluate_at: Callable[[int], bool],
    report: Callable[[int], None] = lambda step: None,
    keep: Path | None = None,
    keep_every_s: float = 10.0,
    patience: int = 0,
    ranks: Ranks | None = None,
    smaller: Callable[[], bool] = lambda: False,
    chance: torch.Generator | Chance = torch.default_generator,
) -> TrainingResult:
    """Trains the objectives' networks for `steps`; they end with their averaged weights from where `evaluate` found
    them best. Losses are called with the step.

    generator: the only randomness of the losses, beside torch's own, `chance`; evaluate: held-out error, called with
    the averaged weights in place, at the steps chosen by `evaluate_at` and at the last; patience: stop after so many
    evaluations without a better one (0 = never); keep: file for resuming: if it holds the same run, that is
    continued; a finished one is not run again; ranks: this process is one of several that call this with the same
    objectives and generators of their own: they learn together, the first one evaluates, reports and saves; smaller:
    called where the GPU's memory runs out: True = the losses take less from now on, and the step is done again.
    LipsyncError: they cannot."""
    state = _State(objectives, generator, chance, ranks)
    if keep is not None and keep.exists():
        state.resume(keep, steps)
    saved_s = time.monotonic()
    while state.step < steps and not 0 < patience <= state.worse:
        state.step += 1
        while (losses := _losses_that_fit(state)) is None:
            if ranks is not None or not smaller():
                raise LipsyncError(
                    "The GPU's memory does not hold one step of this training. Lower the method's width or channels, "
                    "end other programs that use the GPU, or add --device cpu."
                )
        state.losses += losses
        state.average()
        if evaluate_at(state.step) or state.step == steps:
            state.evaluate(evaluate)
        if state.first:
            report(state.step)
        if keep is not None and state.step < steps and state.agreed(time.monotonic() - saved_s > keep_every_s):
            state.save(keep, steps)
            saved_s = time.monotonic()
    state.take_best()
    if keep is not None:
        state.save(keep, steps)
    return state.outcome


def _losses_that_fit(state: _State) -> list[float] | None:
    """One step of every learner; None where the device's memory ran out, and what was in the way is gone."""
    try:
        return [learner.step(state.step, state.ranks) for learner in state.learners]
    except torch.OutOfMemoryError:
        pass
    for learner in state.learners:
        learner.optimiser.zero_grad()
    torch.cuda.empty_cache()
    return None


class _Learner:
    """An objective with its optimiser."""

    def __init__(self, objective: Objective[int]) -> None:
        self.objective, self.net = objective, objective.net
        self.optimiser = objective.optimiser or torch.optim.Adam(
            self.net.parameters(), objective.rate, betas=objective.betas
        )
        self.schedule = objective.schedule

    def step(self, step: int, ranks: Ranks | None) -> float:
        """The loss before this step."""
        self.net.train()
        loss = reduce(torch.add, self.objective.loss(step).values())
        self.optimiser.zero_grad()
        loss.backward()
        if ranks is not None:
            ranks.mean_gradients(self.net)
            ranks.broadcast(self.net.buffers())
        nn.utils.clip_grad_norm_(self.net.parameters(), self.objective.clip)
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        return float(loss.detach())

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """The optimiser's state."""
        states = self.optimiser.state_dict()["state"]
        return {f"{prefix}{i}.{name}": _copy(value) for i, state in states.items() for name, value in state.items()}

    def resume(self, tensors: Mapping[str, torch.Tensor], prefix: str, scheduled: int) -> None:
        full = self.optimiser.state_dict()
        for name, value in tensors.items():
            if name.startswith(prefix):
                i, key = name.removeprefix(prefix).split(".", 1)
                full["state"].setdefault(int(i), {})[key] = value
        self.optimiser.load_state_dict(full)
        if self.schedule is not None:
            self.schedule.last_epoch = scheduled - 1
            with warnings.catch_warnings():  # torch misses a step of the new optimiser before this one
                warnings.simplefilter("ignore")
                self.schedule.step()


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().clone()


@torch.no_grad()
def _assign(to: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Sets the tensors; the old values come back."""
    old = [tensor.clone() for tensor in to]
    for tensor, value in zip(to, values, strict=True):
        tensor.copy_(value)
    return old


def _digest(facts: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of all that a kept state holds."""
    sha256 = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        sha256.update(name.encode())
        sha256.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


class _State:
    """Everything that a resumed run must find again."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        generator: torch.Generator,
        chance: torch.Generator | Chance,
        ranks: Ranks | None,
    ) -> None:
        self.learners = [_Learner(objective) for objective in objectives]
        self.generator, self.chance, self.ranks = generator, chance, ranks
        self.first = ranks is None or ranks.first
        self.step, self.worse, self.losses = 0, 0, []
        self.mean = [value.detach().clone() for value in self.values()]
        self.best = [value.clone() for value in self.mean]
        self.outcome = TrainingResult()
        if ranks is not None:
            ranks.broadcast(self.values() + self.mean + self.best)

    def values(self) -> list[torch.Tensor]:
        return [value for learner in self.learners for value in learner.net.state_dict().values()]

    @torch.no_grad()
    def average(self) -> None:
        """A running mean over about the last tenth of the steps so far, a hundred at most."""
        part = 1 - min(0.99, self.step / (self.step + 9))
        for mean, value in zip(self.mean, self.values(), strict=True):
            if value.is_floating_point():
                mean.lerp_(value, part)
            else:
                mean.copy_(value)

    def evaluate(self, evaluate: Callable[[], float]) -> None:
        """One row of the curve, by the averaged weights."""
        current = _assign(self.values(), self.mean)
        for learner in self.learners:
            learner.net.eval()
        error = evaluate() if self.first else 0.0
        error = error if self.ranks is None else self.ranks.of_the_first(error)
        _assign(self.values(), current)
        self.outcome.curve.append((self.step, float(np.mean(self.losses)), error))
        self.losses = []
        self.worse = 0 if error < self.outcome.best else self.worse + 1
        if error < self.outcome.best:
            self.outcome.best, self.outcome.best_step = error, self.step
            self.best = [mean.clone() for mean in self.mean]

    def take_best(self) -> None:
        """The networks end with the best weights, ready to use."""
        _assign(self.values(), self.best)
        for learner in self.learners:
            learner.net.eval()

    def agreed(self, yes: bool) -> bool:
        """What the first rank says."""
        return yes if self.ranks is None else bool(self.ranks.of_the_first(float(yes)))

    def fingerprint(self, steps: int) -> str:
        """Tells runs apart: sizes and names of all that is trained, the number of steps, and of ranks where they are
        several."""
        shapes = [
            (o.objective.name, [(k, list(v.shape)) for k, v in o.net.state_dict().items()]) for o in self.learners
        ]
        several = [] if self.ranks is None else [self.ranks.n]
        return hashlib.sha256(json.dumps(["2", steps, shapes, *several]).encode()).hexdigest()

    def save(self, path: Path, steps: int) -> None:
        generator = [self.generator.get_state(), self.chance.get_state()]
        if self.ranks is not None:
            rows = map(self.ranks.gathered, generator)
            generator = [state for pair in zip(*rows, strict=True) for state in pair]
        if not self.first:
            return
        groups = {"net": self.values(), "mean": self.mean, "best": self.best, "generator": generator}
        tensors = {f"{group}.{i}": _copy(t) for group, rows in groups.items() for i, t in enumerate(rows)}
        for k, learner in enumerate(self.learners):
            tensors |= learner.tensors(f"optimiser.{k}.")
        facts = {
            "run": self.fingerprint(steps),
            "step": self.step,
            "worse": self.worse,
            "losses": self.losses,
            "schedules": [o.schedule.last_epoch if o.schedule is not None else 0 for o in self.learners],
        }
        facts |= {"curve": self.outcome.curve, "lowest": self.outcome.best, "lowest_step": self.outcome.best_step}
        text = json.dumps(facts)
        with (
            suppress(OSError),
            atomic_write(path) as part,
        ):  # the training goes on in memory, and the last state that could be kept stays
            save_tensors(part, tensors, {"facts": text, "sha256": _digest(text, tensors)})

    def resume(self, path: Path, steps: int) -> None:
        """Goes on where the file stopped; a file of another run, or a damaged one, is left aside."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        except (OSError, SafetensorError):
            return
        text = metadata.get("facts", "{}")
        facts = json.loads(text) if metadata.get("sha256") == _digest(text, tensors) else {}
        if facts.get("run") != self.fingerprint(steps):
            return
        net, self.mean, self.best = (
            [tensors[f"{group}.{i}"].to(t.device) for i, t in enumerate(self.mean)] for group in ("net", "mean", "best")
        )
        _assign(self.values(), net)
        at = 0 if self.ranks is None else 2 * self.ranks.rank
        self.generator.set_state(tensors[f"generator.{at}"])
        self.chance.set_state(tensors[f"generator.{at + 1}"])
        for k, learner in enumerate(self.learners):
            learner.resume(tensors, f"optimiser.{k}.", facts["schedules"][k])
        self.step, self.worse, self.losses = facts["step"], facts["worse"], facts["losses"]
        self.outcome = TrainingResult([tuple(row) for row in facts["curve"]], facts["lowest"], facts["lowest_step"])
