"""One plain training loop for lips and textures: players take turns, each steps its own optimiser on its own named loss
terms.

A run can be stopped at any moment and resumed exactly: weights, optimisers, averages, dice and the best weights so far
are kept in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lipsync.learning.distributed import Ranks
from lipsync.store.cache import save_tensors
from media.atomic import atomic_write

Terms = Mapping[str, torch.Tensor]


@dataclass(slots=True)
class Objective:
    """Who moves: `terms(step)` gives named losses, their sum is stepped down by `optimiser`."""

    name: str
    net: nn.Module
    optimiser: torch.optim.Optimizer
    terms: Callable[[int], Terms]
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    clip: float = 1.0  # largest norm of a gradient


@dataclass(slots=True)
class Judged:
    """What became of a training: rows of (step, mean loss since the last row, held-out error), the best error and its
    step."""

    curve: list[tuple[int, float, float]] = field(default_factory=list)
    best: float = float("inf")
    best_step: int = 0


def train(
    objectives: Sequence[Objective],
    steps: int,
    generator: torch.Generator,
    judge: Callable[[], float],
    judge_at: Callable[[int], bool],
    tell: Callable[[int], None] = lambda step: None,
    keep: Path | None = None,
    keep_every_s: float = 10.0,
    patience: int = 0,
    ranks: Ranks | None = None,
) -> Judged:
    """Trains the players' networks for `steps`; they end with their averaged weights from where `judge` found them
    best.

    dice: the only randomness of the terms, beside torch's own; judge: held-out error, called with the averaged weights
    in place, at the steps chosen by `judge_at` and at the last; patience: stop after so many judgements without a
    better one (0 = never); keep: file for resuming: if it holds the same run, that is continued; a finished one is not
    run again; ranks: this process is one of several that call this with the same players and their own dice: they learn
    together, the first one judges, tells and saves."""
    state = _State(objectives, generator, ranks)
    if ranks is not None:
        ranks.broadcast(state.values() + state.mean + state.best)
    if keep is not None and keep.exists():
        state.resume(keep, steps)
    saved_s = time.monotonic()
    while state.step < steps and not state.tired(patience):
        state.step += 1
        for objective in objectives:
            state.losses.append(_move(objective, state.step, ranks))
        state.average()
        if judge_at(state.step) or state.step == steps:
            state.judged(judge)
        if state.first:
            tell(state.step)
        if keep is not None and state.step < steps and state.agreed(time.monotonic() - saved_s > keep_every_s):
            state.save(keep, steps)
            saved_s = time.monotonic()
    _assign(state.values(), state.best)
    for objective in objectives:
        objective.net.eval()
    if keep is not None:
        state.save(keep, steps)
    return state.outcome


def _move(objective: Objective, step: int, ranks: Ranks | None) -> float:
    objective.net.train()
    loss = sum(objective.terms(step).values())
    objective.optimiser.zero_grad()
    loss.backward()
    if ranks is not None:
        ranks.mean_gradients(objective.net)
        ranks.broadcast(objective.net.buffers())
    nn.utils.clip_grad_norm_(objective.net.parameters(), objective.clip)
    objective.optimiser.step()
    if objective.schedule is not None:
        objective.schedule.step()
    return float(loss.detach())


@torch.no_grad()
def _assign(to: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Sets the tensors; the old values come back."""
    old = [tensor.clone() for tensor in to]
    for tensor, value in zip(to, values):
        tensor.copy_(value)
    return old


def _digest(told: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of all that a kept state holds."""
    sha256 = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        sha256.update(name.encode())
        sha256.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()


class _State:
    """Everything that a resumed run must find again."""

    def __init__(self, objectives: Sequence[Objective], generator: torch.Generator, ranks: Ranks | None) -> None:
        self.objectives, self.generator, self.ranks = objectives, generator, ranks
        self.first = ranks is None or ranks.first
        self.step, self.worse, self.losses = 0, 0, []
        self.mean = [value.detach().clone() for value in self.values()]
        self.best = [value.clone() for value in self.mean]
        self.outcome = Judged()

    def values(self) -> list[torch.Tensor]:
        return [value for objective in self.objectives for value in objective.net.state_dict().values()]

    @torch.no_grad()
    def average(self) -> None:
        """A running mean over about the last tenth of the steps so far, a hundred at most."""
        part = 1 - min(0.99, self.step / (self.step + 9))
        for mean, value in zip(self.mean, self.values()):
            if value.is_floating_point():
                mean.lerp_(value, part)
            else:
                mean.copy_(value)

    def judged(self, judge: Callable[[], float]) -> None:
        current = _assign(self.values(), self.mean)
        for objective in self.objectives:
            objective.net.eval()
        error = judge() if self.first else 0.0
        error = error if self.ranks is None else self.ranks.of_the_first(error)
        _assign(self.values(), current)
        self.outcome.curve.append((self.step, float(np.mean(self.losses)), error))
        self.losses = []
        self.worse = 0 if error < self.outcome.best else self.worse + 1
        if error < self.outcome.best:
            self.outcome.best, self.outcome.best_step = error, self.step
            self.best = [mean.clone() for mean in self.mean]

    def agreed(self, yes: bool) -> bool:
        """What the first rank says."""
        return yes if self.ranks is None else bool(self.ranks.of_the_first(float(yes)))

    def tired(self, patience: int) -> bool:
        return 0 < patience <= self.worse

    def fingerprint(self, steps: int) -> str:
        """Tells runs apart: sizes and names of all that is trained, the number of steps, and of ranks where they are
        several."""
        shapes = [(p.name, [(k, list(v.shape)) for k, v in p.net.state_dict().items()]) for p in self.objectives]
        several = [] if self.ranks is None else [self.ranks.n]
        return hashlib.sha256(json.dumps([steps, shapes, *several]).encode()).hexdigest()

    def save(self, path: Path, steps: int) -> None:
        generator = [self.generator.get_state(), torch.get_rng_state()]
        if self.ranks is not None:
            generator = [state for pair in zip(*map(self.ranks.gathered, generator)) for state in pair]
        if not self.first:
            return
        groups = {"net": self.values(), "mean": self.mean, "best": self.best, "dice": generator}
        tensors = {
            f"{group}.{i}": t.detach().cpu().contiguous().clone()
            for group, rows in groups.items()
            for i, t in enumerate(rows)
        }
        plain = []
        for k, objective in enumerate(self.objectives):
            states = objective.optimiser.state_dict()["state"]
            for i, state in states.items():
                tensors |= {
                    f"optimiser.{k}.{i}.{name}": value.detach().cpu().contiguous().clone()
                    for name, value in state.items()
                }
            plain.append(objective.schedule.last_epoch if objective.schedule is not None else 0)
        facts = {
            "run": self.fingerprint(steps),
            "step": self.step,
            "worse": self.worse,
            "losses": self.losses,
            "schedules": plain,
        }
        facts |= {"curve": self.outcome.curve, "lowest": self.outcome.best, "lowest_step": self.outcome.best_step}
        told = json.dumps(facts)
        with (
            suppress(OSError),
            atomic_write(path) as part,
        ):  # the training goes on in memory, and the last state that could be kept stays
            save_tensors(part, tensors, {"facts": told, "sha256": _digest(told, tensors)})

    def resume(self, path: Path, steps: int) -> None:
        """Goes on where the file stopped; a file of another run, or a damaged one, is left aside."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                marks = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError):
            return
        told = marks.get("facts", "{}")
        facts = json.loads(told) if marks.get("sha256") == _digest(told, tensors) else {}
        if facts.get("run") != self.fingerprint(steps):
            return
        rows = lambda group, like: [tensors[f"{group}.{i}"].to(t.device) for i, t in enumerate(like)]  # noqa: E731
        _assign(self.values(), rows("net", self.mean))
        self.mean, self.best = rows("mean", self.mean), rows("best", self.best)
        at = 0 if self.ranks is None else 2 * self.ranks.rank
        self.generator.set_state(tensors[f"dice.{at}"])
        torch.set_rng_state(tensors[f"dice.{at + 1}"])
        for k, objective in enumerate(self.objectives):
            self._resume_player(k, objective, tensors, facts["schedules"][k])
        self.step, self.worse, self.losses = facts["step"], facts["worse"], facts["losses"]
        self.outcome = Judged([tuple(row) for row in facts["curve"]], facts["lowest"], facts["lowest_step"])

    @staticmethod
    def _resume_player(k: int, objective: Objective, tensors: Mapping[str, torch.Tensor], scheduled: int) -> None:
        full = objective.optimiser.state_dict()
        prefix = f"optimiser.{k}."
        for name, value in tensors.items():
            if name.startswith(prefix):
                i, key = name.removeprefix(prefix).split(".", 1)
                full["state"].setdefault(int(i), {})[key] = value
        objective.optimiser.load_state_dict(full)
        if objective.schedule is not None:
            objective.schedule.last_epoch = scheduled - 1
            with warnings.catch_warnings():  # torch misses a step of the new optimiser before this one
                warnings.simplefilter("ignore")
                objective.schedule.step()
