"""Training speech-to-lips networks on speech with its real lips."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lipsync.config.schema import LipsConfig
from lipsync.core.beside import beside
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.lips import LipBasis, opening, rest_shape, uncrossed
from lipsync.core.objective import Objective
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import learning_threads, one_thread
from lipsync.learning.lip_examples import N_FOLDS, NO_VARIATION, LipExample, LipRows, Variation, excerpts, lip_rows
from lipsync.learning.loop import Chance, TrainingResult, train
from lipsync.learning.losses import OpeningLoss
from lipsync.learning.readout import refitted, together
from lipsync.metrics.lips import articulation, closure_shares, lmd, opening_r, opening_r_interval
from lipsync.speech.encoders.base import SpeechEncoder
from lipsync.speech.encoders.registry import get_encoder
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet, predict_standardised, scale_of

#: Less voiced speech than this with visible lips is too little to learn from, and too little to learn well from.
LEAST_SPEECH_S, ENOUGH_SPEECH_S = 3.0, 60.0
#: A held-out correlation of mouth opening below this: sound and lips do not belong together.
UNRELATED_R = 0.25


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. flatten: exponent by which small components count less than when standardised (0 =
    standardised, 1 = by their size); opening: weight of losses.OpeningLoss; members: networks averaged, each with
    another part of the recording held out; rate, adapt_rate: of learning, from nothing and from a prior; batch:
    excerpts of a step (half of both in a short adaptation); length: rows of an excerpt; vary: how log-mel excerpts
    differ from the recording (those of other encoders differ in pace only); noise: std of what is added to standardised
    rows of other encoders."""

    flatten: float
    opening: float
    members: int
    rate: float
    adapt_rate: float
    batch: int
    length: int
    vary: Variation
    noise: float = 0.1


RECIPES = {
    "paper": Recipe(0.0, 0.0, 1, 3e-3, 2e-3, 100, 100, NO_VARIATION),
    "causal": Recipe(1.0, 0.05, 1, 6e-3, 4e-3, 16, 100, Variation()),
    "bidirectional": Recipe(1.0, 0.05, 3, 6e-3, 4e-3, 16, 100, Variation()),
}
_ANYBODYS = nullcontext()
#: An adaptation of fewer steps than this learns from little speech.
MANY_STEPS = 800
#: Evaluations without a better one after which training ends; and an adaptation to little speech, which is over soon.
PATIENCE, SHORT_PATIENCE = 8, 4


def train_lip_model(
    examples: Sequence[LipExample],
    config: LipsConfig,
    hook: Hook = silent,
    device: torch.device | str = "cpu",
    seed: int = 0,
    prior: LipModel | None = None,
    keep: Path | None = None,
) -> LipModel:
    """The lip model of the person in `examples`; each network is stopped and measured on the part of the recording it
    never saw.

    prior: a model of the same network to start from, instead of from nothing; keep: a folder in which an interrupted
    training waits to be continued by the same call. Deterministic for a seed on one machine. LipsyncError: hardly any
    speech with visible lips."""
    if config.network not in SHAPES:
        raise UsageError(f"There is no lip network {config.network!r}; known: {', '.join(SHAPES)}.")
    began = time.perf_counter()
    encoder = prior.encoder if prior else get_encoder(config.encoder, config.network, config.whisper_model)
    rows = lip_rows(examples, encoder)
    speech_s = float((rows.valid & rows.voiced).sum() / 100)
    _check_speech(rows, speech_s)
    recipe, model = RECIPES[config.network], _untrained(rows, config.network, encoder, prior).to(device)
    if not encoder.varies:
        recipe = replace(recipe, vary=replace(NO_VARIATION, speed=recipe.vary.speed))
    data = LipTargets.of(rows, model, recipe)
    steps = config.steps or (adapting_steps(speech_s) if prior else default_steps(speech_s))
    members = config.members or recipe.members
    unfinished = keep / _name_of(rows, config, prior, seed) if keep else None
    curve = _train_members(model, data, recipe, members, steps, seed, prior, hook, unfinished)
    how, model, truth, guess = _best(model, data, prior, members)
    gain = float(model.gain.mean())
    figures = _report(truth, guess, rows.points[rows.valid].mean(0), model.basis, speech_s, gain)
    model.report = figures | {
        "training_s": round(time.perf_counter() - began, 1),
        "steps": steps,
        "members": members,
        "network": config.network,
        "encoder": encoder.name,
        "from_prior": prior is not None,
        "learnt": how,
        "curve": curve,
    }
    return model


def _train_members(
    model: LipModel,
    data: LipTargets,
    recipe: Recipe,
    members: int,
    steps: int,
    seed: int,
    prior: LipModel | None,
    hook: Hook,
    unfinished: Path | None,
) -> list:
    """Adds the networks, trained side by side, to the model; all curves."""
    files = [
        unfinished and unfinished.with_name(f"{unfinished.name}.{member}.safetensors") for member in range(members)
    ]
    done = _StepsDone(members, steps)

    def learn(member: int, hook: Hook) -> tuple[LipNet, TrainingResult]:
        start = prior.nets[member % len(prior.nets)] if prior else None
        report = partial(done.report, hook, member)
        return _trained(model, data, recipe, member, steps, seed + member, start, report, files[member])

    works = [partial(learn, member) for member in range(members)]
    threads = learning_threads(members, data.features.device)
    with one_thread(), torch.random.fork_rng(devices=[]), beside(works, threads) as trained:
        pairs = trained(hook)
    model.nets.extend(net for net, _ in pairs)
    curve = [[member, *row] for member, (_, result) in enumerate(pairs) for row in result.curve]
    for file in files:
        if file is not None:
            file.unlink(missing_ok=True)
    return curve


def _best(
    model: LipModel, data: LipTargets, prior: LipModel | None, members: int
) -> tuple[str, LipModel, np.ndarray, np.ndarray]:
    """Of the networks trained on a person, the prior's with a readout for them, and the mean of both, what does best on
    speech it never saw: what was learnt ("networks", "readout", "both"), the model, true and its lips (N,18,2)."""
    tested = [data.held_out(member) for member in range(members)]
    truth = np.concatenate([data.rows.points[rows] for rows in tested])
    guess = np.concatenate([data.predict(net, model)[rows] for net, rows in zip(model.nets, tested, strict=True)])
    choices = {"networks": (model, guess)}
    if prior is not None:
        kept = model.with_nets([net.to(data.features.device) for net in prior.nets])
        own, said = refitted(kept, data.rows, model.standardised(data.features), data.targets, data.importance)
        lips = model.basis.decode((said * scale_of(model.basis)).astype(np.float32))
        other = np.concatenate([lips[rows] for rows in tested])
        choices |= {"readout": (own, other), "both": (together([model, own]), (guess + other) / 2)}
    finished = {}
    for how, (one, lips) in choices.items():
        one = one.with_gain(_gain(truth, lips))
        finished[how] = one, uncrossed(one.exaggerated(lips))
    how = min(finished, key=lambda how: lmd(finished[how][1], truth))
    return how, finished[how][0], truth, finished[how][1]


class _StepsDone:
    """How far the networks are, all together."""

    def __init__(self, members: int, steps: int) -> None:
        self._done, self._total, self._one = [0] * members, members * steps, threading.Lock()

    def report(self, hook: Hook, member: int, step: int) -> None:
        with self._one:
            self._done[member] = step
            hook("lips", sum(self._done), self._total)


def default_steps(speech_s: float) -> int:
    """Training steps for each network that starts from nothing: more where there is more to learn."""
    return int(np.clip(580 + 0.7 * speech_s, 600, 1200))


def adapting_steps(speech_s: float) -> int:
    """Training steps for each network that starts from a prior."""
    return int(np.clip(40 + 7 * speech_s, 100, 1000))


def _check_speech(rows: LipRows, speech_s: float) -> None:
    if not rows.valid.any():
        raise LipsyncError(
            "The target's lips are never visible while its sound plays. "
            "Use a video of a face that speaks to the camera."
        )
    if speech_s < LEAST_SPEECH_S:
        raise LipsyncError(
            f"The target has {speech_s:.1f} s of speech with visible lips, too little to learn from "
            f"(at least {LEAST_SPEECH_S:.0f} s). "
            "Use a longer target, or add --footage of the same person."
        )


def _untrained(rows: LipRows, network: str, encoder: SpeechEncoder, prior: LipModel | None) -> LipModel:
    """The person's basis and rest, and the scale of the features, without networks."""
    rest = rest_shape(rows.points, rows.valid, rows.voiced)
    if prior is not None:
        basis = LipBasis(prior.basis.mean + rest - prior.rest, prior.basis.components, prior.basis.spread)
        return LipModel(network, [], prior.feature_mean, prior.feature_scale, basis, rest, encoder=encoder)
    basis = LipBasis.fit(rows.points[::4], rows.valid[::4], 20)
    return LipModel(network, [], rows.features.mean(0), rows.features.std(0) + 1e-3, basis, rest, encoder=encoder)


def _name_of(rows: LipRows, config: LipsConfig, prior: LipModel | None, seed: int) -> str:
    """Tells one training's waiting files from another's."""
    digest = hashlib.sha256(f"{config.network} {config.steps} {config.members} {seed} {prior is not None}".encode())
    digest.update(rows.features.numpy().tobytes())
    digest.update(rows.points.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class LipTargets:
    """A person's rows as a network sees them. features: (R,D); targets: (R,K) standardised coefficients; importance:
    (K,) of each."""

    rows: LipRows
    features: torch.Tensor
    targets: torch.Tensor
    importance: torch.Tensor

    @classmethod
    def of(cls, rows: LipRows, model: LipModel, recipe: Recipe) -> LipTargets:
        device = model.feature_mean.device
        targets = torch.from_numpy(model.basis.encode(rows.points) / scale_of(model.basis)).float().to(device)
        return cls(rows, rows.features.to(device), targets, importance_of(model.basis, recipe.flatten).to(device))

    def held_out(self, member: int) -> np.ndarray:
        """(R,) bool: valid rows of the part that this member never sees."""
        return self.rows.valid & (self.rows.fold == member % N_FOLDS)

    def predict(self, net: LipNet, model: LipModel) -> np.ndarray:
        """(R,18,2) the network's lips for all rows."""
        return model.basis.decode(
            (predict_standardised(net, model.standardised(self.features)) * scale_of(model.basis)).astype(np.float32)
        )

    def error(self, net: LipNet, model: LipModel, member: int) -> float:
        """Weighted squared error on the held-out rows."""
        held_out = self.held_out(member)
        if not held_out.any():
            return 0.0
        out = predict_standardised(net, model.standardised(self.features))[held_out]
        wanted = self.targets[torch.from_numpy(held_out).to(self.targets.device)].cpu().numpy()
        return float((((out - wanted) ** 2) * self.importance.cpu().numpy()).sum(1).mean())


def _trained(
    model: LipModel,
    data: LipTargets,
    recipe: Recipe,
    member: int,
    steps: int,
    seed: int,
    start: LipNet | None,
    report: Callable[[int], None],
    keep: Path | None,
) -> tuple[LipNet, TrainingResult]:
    """A network that has not seen its member's fold, with its averaged weights from where they were best on it."""
    shape = SHAPES[model.network]
    chance, generator = Chance(), torch.Generator().manual_seed(seed)
    device = data.features.device
    weight = torch.from_numpy(data.rows.learnable(member % N_FOLDS)).float().to(device)
    length = min(recipe.length, (len(data.features) - 4) * 10 // 11) // shape.stack * shape.stack
    columns = start.columns if start is not None else None
    with chance:
        torch.manual_seed(seed)
        net = LipNet(data.features.shape[1], data.targets.shape[1], shape, columns).to(device)
    rate, batch, patience = recipe.rate, recipe.batch, PATIENCE
    if start is not None:
        net.load_state_dict(start.state_dict())
        rate = recipe.adapt_rate
        if steps < MANY_STEPS:
            rate, batch, patience = rate / 2, batch // 2, SHORT_PATIENCE
    draw = partial(excerpts, data.features, data.targets, weight, batch, length, recipe.vary, generator)
    noise = 0.0 if model.encoder.varies or not recipe.vary.speed else recipe.noise
    objective = lip_objective(net, model, draw, data.importance, recipe.opening, rate, steps, noise, chance)
    error = partial(data.error, net, model, member)
    due = lambda step: step >= steps // 2 and step % max(10, steps // 24) == 0  # noqa: E731  the loop's argument, short
    return net, train([objective], steps, generator, error, due, report, keep, patience=patience, chance=chance)


def importance_of(basis: LipBasis, flatten: float) -> torch.Tensor:
    """(K,) how much each standardised coefficient counts, 1 in all; see Recipe.flatten."""
    scale = scale_of(basis)
    importance = torch.from_numpy((scale / scale[0]) ** (2 * flatten)).float()
    return importance / importance.sum()


def lip_objective(
    net: LipNet,
    model: LipModel,
    draw: Callable[[], tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    importance: torch.Tensor,
    opening_weight: float,
    rate: float,
    steps: int,
    noise: float = 0.0,
    chance: AbstractContextManager[None] = _ANYBODYS,
) -> Objective[int]:
    """Who learns lips: `draw()` gives features (B,L,D), wanted coefficients (B,L,K) and weights (B,L). noise: std of
    what is added to standardised features; chance: entered while torch draws."""
    closeness = OpeningLoss(model.basis, importance.device)

    def terms(step: int) -> dict[str, torch.Tensor]:
        features, wanted, counts = draw()
        heard = model.standardised(features)
        with chance:
            if noise:
                heard = heard + noise * torch.randn_like(heard)
            predicted = undelayed(net, net(heard))
        wanted, counts = (at_steps(net, full) for full in (wanted, counts))
        return lip_terms(predicted, wanted, counts, importance, closeness, opening_weight)

    return lips_learner(net, terms, rate, steps)


def undelayed(net: LipNet, answers: torch.Tensor) -> torch.Tensor:
    """The (B,S,...) answers of a network without those that come before the first row is out."""
    return answers[:, -(-net.delay // net.stack) :]


def at_steps(net: LipNet, rows: torch.Tensor) -> torch.Tensor:
    """Of (B,L,...) rows those that `undelayed` answers belong to."""
    return rows[:, : rows.shape[1] - net.delay : net.stack]


def weighted_mean(each: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean of each by its weight; 0 where none has any."""
    return (each * weight).sum() / weight.sum().clamp(min=1)


def lip_terms(
    predicted: torch.Tensor,
    wanted: torch.Tensor,
    counts: torch.Tensor,
    importance: torch.Tensor,
    closeness: OpeningLoss,
    opening_weight: float,
) -> dict[str, torch.Tensor]:
    """What every lip network learns by: (B,S,K) coefficients, and the opening of the mouth."""
    square = {"coefficients": weighted_mean(((predicted - wanted) ** 2 * importance).sum(-1), counts)}
    opened = {"opening": opening_weight * weighted_mean(closeness(predicted, wanted), counts)} if opening_weight else {}
    return square | opened


def lips_learner(
    net: nn.Module, terms: Callable[[int], dict[str, torch.Tensor]], rate: float, steps: int
) -> Objective[int]:
    """The objective with the optimiser and the schedule of lip networks."""
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    return Objective("lips", net, terms, optimiser=optimiser, schedule=schedule)


def _gain(truth: np.ndarray, guess: np.ndarray) -> float:
    """How much further from rest lips should go than predicted, 1 to 1.4: from the openings' spread on the held-out
    parts."""
    spread = opening(uncrossed(guess)).std()
    return float(np.clip(opening(truth).std() / spread, 1.0, 1.4)) if spread > 1e-6 else 1.0


def _report(
    truth: np.ndarray, guess: np.ndarray, mean: np.ndarray, basis: LipBasis, speech_s: float, gain: float
) -> dict:
    """Held-out figures, lengths in eye distances, and a warning in words where they are poor."""
    real, ours = opening(truth), opening(guess)
    flat = real.std() < 1e-4 or ours.std() < 1e-6
    r = 0.0 if flat else opening_r(ours, real)
    met, false = closure_shares(ours, real)
    low, high = opening_r_interval(ours, real)
    report = {
        "opening_r_low": low,
        "opening_r_high": high,
        "closures": met,
        "false_closures": false,
        "floor_lmd": lmd(basis.decode(basis.encode(truth)), truth),
        "lmd": lmd(guess, truth),
        "lmd_mean_removed": lmd(guess, truth, True),
        "mean_shape_lmd": lmd(mean, truth),
        "mean_shape_lmd_mean_removed": lmd(0 * truth, truth, True),
        "opening_r": r,
        "articulation": 0.0 if flat else articulation(ours, real),
        "speech_minutes": speech_s / 60,
        "held_out_s": len(truth) / 100,
        "gain": gain,
    }
    report = {name: round(value, 5) for name, value in report.items()}
    return report | {"warning": _warning(speech_s, r)}


def _warning(speech_s: float, r: float) -> str:
    if r < UNRELATED_R:
        return (
            f"The target's lips hardly follow its sound (held-out correlation {r:.2f}): "
            "is this another person's voice, or out of sync? Add --footage with the person's own speech."
        )
    if speech_s < ENOUGH_SPEECH_S:
        return (
            f"Only {speech_s:.0f} s of the target's own speech to learn from (a minute or more is better); "
            f"held-out correlation of mouth opening {r:.2f}. Add --footage of the same person."
        )
    return ""
