"""From speech to lips: the recurrent network of Suwajanakorn et al. 2017, and a wider one for little speech.

"paper": one unidirectional LSTM of 60 units on 28 features, output 200 ms late, standardised PCA coefficients, squared error.
"wide": a few small bidirectional LSTMs on 40 log-mel bands, each having held out another part of the recording, averaged.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from audio.features import FeatureSpec, speech_features
from audio.load import Waveform
from lipsync.config import LipsConfig
from lipsync.errors import LipsyncError, UsageError
from lipsync.hooks import Hook, silent
from lipsync.lip_examples import N_FOLDS, NO_VARIATION, LipRows, SpokenLips, Variation, excerpts, lip_rows
from lipsync.lips import LipBasis, opening, rest_shape, uncrossed
from lipsync.types import LipTrack

FORMAT = "lipsync-lips-1"
#: Less voiced speech than this with visible lips is too little to learn from, and too little to learn well from.
LEAST_SPEECH_S, ENOUGH_SPEECH_S = 3.0, 60.0
#: A held-out correlation of mouth opening below this: sound and lips do not belong together.
UNRELATED_R = 0.25


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and training of a network. stack: rows read per step; delay: rows (10 ms) the output comes late; flatten: exponent by which
    small components count less than when standardised (0 = standardised, 1 = by their size)."""

    spec: FeatureSpec
    hidden: int
    bidirectional: bool
    stack: int
    delay: int
    dropout: float
    flatten: float
    members: int
    rate: float
    batch: int
    length: int
    vary: Variation


SHAPES = {
    "paper": Shape(FeatureSpec(), 60, False, 1, 20, 0.0, 0.0, 1, 3e-3, 100, 100, NO_VARIATION),
    "wide": Shape(FeatureSpec("logmel", differences=False), 96, True, 2, 0, 0.2, 0.5, 3, 6e-3, 16, 100, Variation()),
}


class LipNet(nn.Module):
    """Standardised features (B,L,D) to standardised coefficients (B,L/stack,K); output row i belongs to input row i*stack - delay."""

    def __init__(self, n_in: int, n_out: int, shape: Shape) -> None:
        super().__init__()
        self.stack, self.delay = shape.stack, shape.delay
        wide = shape.bidirectional
        self.enter = nn.Sequential(nn.Linear(n_in * shape.stack, shape.hidden), nn.ReLU()) if wide else nn.Identity()
        self.lstm = nn.LSTM(shape.hidden if wide else n_in, shape.hidden, batch_first=True, bidirectional=wide)
        self.drop = nn.Dropout(shape.dropout)
        self.leave = nn.Linear(shape.hidden * (2 if wide else 1), n_out)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        n, length, size = rows.shape
        steps = rows.reshape(n, length // self.stack, size * self.stack)
        return self.leave(self.drop(self.lstm(self.drop(self.enter(steps)))[0]))


class LipModel:
    """One person's lips for any speech.

    nets: the averaged networks; feature_mean, feature_scale: (D,) float32 torch; rest: (18,2) closed resting lips; gain: how far lips move
    from rest, relative to the networks' answer; report: what was measured in training.
    """

    def __init__(
        self, network: str, nets: Sequence[LipNet], feature_mean: torch.Tensor, feature_scale: torch.Tensor, basis: LipBasis,
        rest: np.ndarray, gain: float = 1.0, report: Mapping | None = None,
    ) -> None:
        self.network, self.nets, self.basis, self.rest, self.gain = network, list(nets), basis, rest, gain
        self.feature_mean, self.feature_scale = feature_mean, feature_scale
        self.spec = SHAPES[network].spec
        self.report = dict(report or {})

    def speak(self, wave: Waveform) -> LipTrack:
        """(F,18,2) lips for the whole of `wave`, 100 per second, face frame; as many as it has features."""
        features = speech_features(wave, self.spec).values.to(self.feature_mean.device)
        spread = _spread(self.basis)
        coefficients = np.mean([predicted(net, self.standardised(features)) for net in self.nets], axis=0) * spread
        points = self.exaggerated(self.basis.decode(coefficients.astype(np.float32)))
        return LipTrack(uncrossed(points), np.ones(len(points), bool))

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.feature_mean) / self.feature_scale

    def exaggerated(self, points: np.ndarray) -> np.ndarray:
        """Lips `gain` times as far from rest: networks trained on squared error move too little."""
        return self.rest + self.gain * (points - self.rest)

    def to(self, device: torch.device | str) -> LipModel:
        nets = [net.to(device) for net in self.nets]
        mean, scale = self.feature_mean.to(device), self.feature_scale.to(device)
        return LipModel(self.network, nets, mean, scale, self.basis, self.rest, self.gain, self.report)

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """One safetensors file that says all it needs: weights, normalisation, feature spec, basis, report."""
        from safetensors.torch import save_file

        weights = ((f"net{i}.{name}", value) for i, net in enumerate(self.nets) for name, value in net.state_dict().items())
        tensors = {name: value.cpu().contiguous() for name, value in weights}
        tensors |= {"feature_mean": self.feature_mean.cpu(), "feature_scale": self.feature_scale.cpu(), "rest": torch.from_numpy(self.rest)}
        tensors |= {f"basis.{name}": torch.from_numpy(getattr(self.basis, name)) for name in ("mean", "components", "spread")}
        about = {"network": self.network, "nets": len(self.nets), "spec": self.spec.to_dict(), "gain": self.gain, "report": self.report}
        save_file(tensors, str(path), {**(metadata or {}), "format": FORMAT, "lips": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> LipModel:
        """The model of a file made by `save`, on the CPU. LipsyncError: missing, damaged, or not a lip model."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                marks = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as trouble:
            raise LipsyncError(f"{Path(path).name} cannot be read as a lip model ({trouble}). Train it again.") from None
        if marks.get("format") != FORMAT:
            raise LipsyncError(f"{Path(path).name} is not a lip model of this version ({FORMAT}). Train it again.")
        about = json.loads(marks["lips"])
        shape = SHAPES.get(about["network"])
        if shape is None or FeatureSpec.from_dict(about["spec"]) != shape.spec:
            raise LipsyncError(f"{Path(path).name} was trained for other features or another network. Train it again.")
        basis = LipBasis(*(tensors[f"basis.{name}"].numpy() for name in ("mean", "components", "spread")))
        nets = []
        for i in range(about["nets"]):
            net = LipNet(len(tensors["feature_mean"]), len(basis.spread), shape).eval()
            prefix = f"net{i}."
            net.load_state_dict({name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)})
            nets.append(net)
        rest = tensors["rest"].numpy()
        return cls(about["network"], nets, tensors["feature_mean"], tensors["feature_scale"], basis, rest, about["gain"], about["report"])


def _spread(basis: LipBasis) -> np.ndarray:
    """(K,) the basis' spread, kept off zero."""
    return np.maximum(basis.spread, 1e-3 * max(float(basis.spread[0]), 1e-6))


@torch.no_grad()
def predicted(net: LipNet, rows: torch.Tensor, chunk: int = 6000, context: int = 400) -> np.ndarray:
    """(F,K) float64 coefficients, standardised, for (F,D) standardised features: delay made good, in chunks of a minute with context."""
    n, stack = len(rows), net.stack
    padded = torch.cat([rows, rows[-1:].expand(net.delay + (-(n + net.delay)) % stack, -1)])
    parts = []
    for start in range(0, n, chunk):
        first, last = max(0, start - context), min(len(padded), start + chunk + net.delay + context)
        out = net(padded[None, first:last])[0].double().cpu().numpy()
        moments = first + np.arange(len(out)) * stack - net.delay
        wanted = np.arange(start, min(n, start + chunk))
        parts.append(np.stack([np.interp(wanted, moments, column) for column in out.T], 1))
    return np.concatenate(parts)


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
    shape = SHAPES[config.network]
    rows = lip_rows(examples, shape.spec)
    speech_s = (rows.valid & rows.voiced).sum() / 100
    _check_speech(rows, speech_s)
    basis = LipBasis.fit(rows.points[::4], rows.valid[::4], 20)
    features = rows.features.to(device)
    mean, scale = features.mean(0), features.std(0) + 1e-3
    rest = rest_shape(rows.points, rows.valid, rows.voiced)
    steps = config.steps or default_steps(speech_s)
    members = config.members or shape.members
    model = LipModel(config.network, [], mean, scale, basis, rest)
    targets = torch.from_numpy(basis.encode(rows.points) / _spread(basis)).float().to(device)
    truth, guess = [], []
    with torch.random.fork_rng(devices=[]):
        for member in range(members):
            fold = member % N_FOLDS
            tell = lambda step: hook("lips", member * steps + step, members * steps)  # noqa: E731
            net = _trained(model, rows, targets, shape, fold, steps, seed + member, tell)
            model.nets.append(net)
            held = rows.valid & (rows.fold == fold)
            out = basis.decode((predicted(net, model.standardised(features))[held] * _spread(basis)).astype(np.float32))
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


def _trained(model: LipModel, rows: LipRows, targets: torch.Tensor, shape: Shape, fold: int, steps: int, seed: int, tell) -> LipNet:
    """A network that has not seen `fold`, with its averaged weights from where they were best on it."""
    torch.manual_seed(seed)
    dice = torch.Generator().manual_seed(seed)
    device = targets.device
    spread = torch.from_numpy(_spread(model.basis)).to(device)
    importance = (spread / spread[0]) ** (2 * shape.flatten)
    importance /= importance.sum()
    features = rows.features.to(device)
    weight = torch.from_numpy(rows.learnable(fold)).float().to(device)
    length = min(shape.length, (len(features) - 4) * 10 // 11) // shape.stack * shape.stack
    net = LipNet(features.shape[1], targets.shape[1], shape).to(device)
    best, average = (np.inf, None), [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.AdamW(net.parameters(), shape.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, shape.rate, total_steps=steps, pct_start=0.15)
    for step in range(1, steps + 1):
        net.train()
        heard, wanted, counts = excerpts(features, targets, weight, shape.batch, length, shape.vary, dice)
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
