"""Training speech-to-lips networks on speech with its real lips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lipsync.config import LipsConfig
from lipsync.errors import LipsyncError, UsageError
from lipsync.hooks import Hook, silent
from lipsync.lips import LipBasis, opening, rest_shape, uncrossed
from lipsync.speech_to_lips import SHAPES, LipModel, LipNet, predicted, scale_of
from training.lip_examples import N_FOLDS, NO_VARIATION, LipRows, SpokenLips, Variation, excerpts, lip_rows

#: Less voiced speech than this with visible lips is too little to learn from, and too little to learn well from.
LEAST_SPEECH_S, ENOUGH_SPEECH_S = 3.0, 60.0
#: A held-out correlation of mouth opening below this: sound and lips do not belong together.
UNRELATED_R = 0.25


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. flatten: exponent by which small components count less than when standardised (0 = standardised,
    1 = by their size); members: networks averaged, each with another part of the recording held out."""

    flatten: float
    members: int
    rate: float
    batch: int
    length: int
    vary: Variation


RECIPES = {
    "paper": Recipe(0.0, 1, 3e-3, 100, 100, NO_VARIATION),
    "causal": Recipe(0.5, 1, 6e-3, 16, 100, Variation()),
    "bidirectional": Recipe(0.5, 3, 6e-3, 16, 100, Variation()),
}


def train_lip_model(
    examples: Sequence[SpokenLips], config: LipsConfig = LipsConfig(), hook: Hook = silent, device: torch.device | str = "cpu",
    seed: int = 0,
) -> LipModel:
    """The lip model of the person in `examples`; each network is stopped and measured on the part of the recording it never saw.

    Deterministic for a seed on one machine. LipsyncError: hardly any speech with visible lips.
    """
    if config.network not in SHAPES:
        raise UsageError(f"There is no lip network {config.network!r}; known: {', '.join(SHAPES)}.")
    began = time.perf_counter()
    shape, recipe = SHAPES[config.network], RECIPES[config.network]
    rows = lip_rows(examples, shape.spec)
    speech_s = (rows.valid & rows.voiced).sum() / 100
    _check_speech(rows, speech_s)
    basis = LipBasis.fit(rows.points[::4], rows.valid[::4], 20)
    features = rows.features.to(device)
    mean, scale = features.mean(0), features.std(0) + 1e-3
    rest = rest_shape(rows.points, rows.valid, rows.voiced)
    steps = config.steps or default_steps(speech_s)
    members = config.members or recipe.members
    model = LipModel(config.network, [], mean, scale, basis, rest)
    targets = torch.from_numpy(basis.encode(rows.points) / scale_of(basis)).float().to(device)
    truth, guess = [], []
    with torch.random.fork_rng(devices=[]):
        for member in range(members):
            fold = member % N_FOLDS
            tell = lambda step: hook("lips", member * steps + step, members * steps)  # noqa: E731
            net = _trained(model, rows, targets, recipe, fold, steps, seed + member, tell)
            model.nets.append(net)
            held = rows.valid & (rows.fold == fold)
            out = basis.decode((predicted(net, model.standardised(features))[held] * scale_of(basis)).astype(np.float32))
            truth.append(rows.points[held])
            guess.append(out)
    truth, guess = np.concatenate(truth), np.concatenate(guess)
    model.gain = _gain(truth, guess)
    model.report = _report(truth, uncrossed(model.exaggerated(guess)), basis, speech_s, model.gain)
    model.report |= {"training_s": round(time.perf_counter() - began, 1), "steps": steps, "members": members, "network": config.network}
    return model


def default_steps(speech_s: float) -> int:
    """Training steps for each network: more where there is more to learn."""
    return int(np.clip(580 + 0.7 * speech_s, 600, 1200))


def _check_speech(rows: LipRows, speech_s: float) -> None:
    if not rows.valid.any():
        raise LipsyncError("The target's lips are never visible while its sound plays. Use a video of a face that speaks to the camera.")
    if speech_s < LEAST_SPEECH_S:
        raise LipsyncError(
            f"The target has {speech_s:.1f} s of speech with visible lips, too little to learn from (at least {LEAST_SPEECH_S:.0f} s). "
            "Use a longer target, or add --footage of the same person."
        )


def _trained(model: LipModel, rows: LipRows, targets: torch.Tensor, recipe: Recipe, fold: int, steps: int, seed: int, tell) -> LipNet:
    """A network that has not seen `fold`, with its averaged weights from where they were best on it."""
    shape = SHAPES[model.network]
    torch.manual_seed(seed)
    dice = torch.Generator().manual_seed(seed)
    device = targets.device
    spread = torch.from_numpy(scale_of(model.basis)).to(device)
    importance = (spread / spread[0]) ** (2 * recipe.flatten)
    importance /= importance.sum()
    features = rows.features.to(device)
    weight = torch.from_numpy(rows.learnable(fold)).float().to(device)
    length = min(recipe.length, (len(features) - 4) * 10 // 11) // shape.stack * shape.stack
    net = LipNet(features.shape[1], targets.shape[1], shape).to(device)
    best, average = (np.inf, None), [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.15)
    for step in range(1, steps + 1):
        net.train()
        heard, wanted, counts = excerpts(features, targets, weight, recipe.batch, length, recipe.vary, dice)
        said = net(model.standardised(heard))[:, -(-shape.delay // shape.stack) :]
        wanted, counts = (full[:, : length - shape.delay : shape.stack] for full in (wanted, counts))
        loss = (((said - wanted) ** 2 * importance).sum(-1) * counts).sum() / counts.sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        for kept, value in zip(average, net.parameters()):
            kept.lerp_(value.detach(), 1 - min(0.99, step / (step + 9)))
        if step % 50 == 0 and step >= steps // 2 or step == steps:
            error = _held_out_error(net, average, model, rows, features, targets, importance, fold)
            if error < best[0]:
                best = (error, [kept.clone() for kept in average])
        tell(step)
    _assign(net, best[1])
    return net.eval()


def _assign(net: LipNet, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Sets the parameters; the old ones come back."""
    old = [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        for p, value in zip(net.parameters(), values):
            p.copy_(value)
    return old


def _held_out_error(net, average, model, rows, features, targets, importance, fold) -> float:
    """Weighted squared error of the averaged weights on the held-out rows."""
    current = _assign(net, average)
    held = rows.valid & (rows.fold == fold)
    out = predicted(net.eval(), model.standardised(features))[held]
    _assign(net, current)
    wanted = targets[torch.from_numpy(held).to(targets.device)].cpu().numpy()
    return float((((out - wanted) ** 2) * importance.cpu().numpy()).sum(1).mean()) if held.any() else 0.0


def _gain(truth: np.ndarray, guess: np.ndarray) -> float:
    """How much further from rest lips should go than predicted, 1 to 1.4: from the openings' spread on the held-out parts.

    Seven tenths of the lack: each network answered there alone and without that part, so the average of all lacks less.
    """
    spread = opening(uncrossed(guess)).std()
    return float(np.clip(1 + 0.7 * (opening(truth).std() / spread - 1), 1.0, 1.4)) if spread > 1e-6 else 1.0


def _report(truth: np.ndarray, guess: np.ndarray, basis: LipBasis, speech_s: float, gain: float) -> dict:
    """Held-out figures, lengths in eye distances, and a warning in words where they are poor."""
    distance = lambda a, b: float(np.linalg.norm(a - b, axis=-1).mean())  # noqa: E731
    centred = lambda points: points - points.mean(0)  # noqa: E731
    real, ours = opening(truth), opening(guess)
    flat = real.std() < 1e-4 or ours.std() < 1e-6
    r = 0.0 if flat else float(np.corrcoef(real, ours)[0, 1])
    report = {
        "lmd": distance(truth, guess), "lmd_mean_removed": distance(centred(truth), centred(guess)),
        "mean_shape_lmd": distance(truth, basis.mean[None]), "mean_shape_lmd_mean_removed": distance(centred(truth), 0 * truth),
        "opening_r": r, "articulation": 0.0 if flat else float(ours.std() / real.std()),
        "speech_minutes": speech_s / 60, "held_out_s": len(truth) / 100, "gain": gain,
    }
    report = {name: round(value, 5) for name, value in report.items()}
    return report | {"warning": _warning(speech_s, r)}


def _warning(speech_s: float, r: float) -> str:
    if r < UNRELATED_R:
        return (
            f"The target's lips hardly follow its sound (held-out correlation {r:.2f}): is this another person's voice, or out of sync? "
            "Add --footage with the person's own speech."
        )
    if speech_s < ENOUGH_SPEECH_S:
        return (
            f"Only {speech_s:.0f} s of the target's own speech to learn from (a minute or more is better); held-out correlation of mouth "
            f"opening {r:.2f}. Add --footage of the same person."
        )
    return ""
