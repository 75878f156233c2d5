"""Few parameters first: the networks of a prior stay as they are, and what they say is read out anew for one person.

The last layers of all networks together are a linear readout of what their LSTMs make of the sound. Ridge regression
moves them from the prior's towards the person's, as far as held-out speech says: seconds of footage are enough, and
where they teach nothing the prior's lips stay."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lipsync.learning.lip_examples import N_FOLDS, LipRows
from lipsync.speech.lip_model import LipModel, LipNet, predict_standardised

#: Ridge penalties, in the mean variance of a direction of the readout, from nearly none to nearly fixed weights.
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
#: Directions of largest variance in which weights move; of the rows (10 ms) every second is learnt from, or fewer, so
#: that they are no more than MOST_ROWS.
MOST_DIRECTIONS, STRIDE, MOST_ROWS = 400, 2, 20000
#: Of the penalties the largest that brings this share of the gain of the best.
SHARE_OF_GAIN = 0.9


@dataclass(frozen=True, slots=True)
class Readout:
    """What the networks hear in a person's rows, and how that person's lips differ from what they say.

    heard: (R,Q) coordinates of the LSTMs' features; axes: (Q,N*H) of these; centre: (N*H,); said: (R,K) standardised
    coefficients by the prior; missing: (R,K) what these lack; used: (R,) bool, rows that may be learnt from."""

    heard: np.ndarray
    axes: np.ndarray
    centre: np.ndarray
    said: np.ndarray
    missing: np.ndarray
    used: np.ndarray

    @classmethod
    def of(cls, prior: LipModel, features: torch.Tensor, wanted: np.ndarray, valid: np.ndarray) -> Readout:
        """features: (R,D) standardised; wanted: (R,K); valid: (R,) bool."""
        used, stride = np.zeros(len(valid), bool), max(STRIDE, int(valid.sum()) // MOST_ROWS)
        used[np.flatnonzero(valid)[::stride]] = True
        hear = partial(predict_standardised, rows=features)  # of one network at a time: an hour of all is gigabytes
        seen = np.concatenate([hear(net, forward=net.encode)[used] for net in prior.nets], 1)
        centre = seen.mean(0)
        axes = _main_axes(seen - centre)
        heard, said = np.zeros((len(valid), len(axes))), np.zeros_like(wanted)
        for i, net in enumerate(prior.nets):
            rows, own = hear(net, forward=net.encode), slice(i * net.head.in_features, (i + 1) * net.head.in_features)
            heard += (rows - centre[own]) @ axes[:, own].T
            said += rows @ _array(net.head.weight).T + _array(net.head.bias)
        said /= len(prior.nets)
        return cls(heard, axes, centre, said, wanted - said, used)

    def fitted(self, learnt: np.ndarray, penalties: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Change of the weights (Q,K) and of the bias (K,) by the rows `learnt` (R,) bool, for each penalty."""
        heard, missing = self.heard[learnt & self.used], self.missing[learnt & self.used]
        middle, bias = heard.mean(0), missing.mean(0)
        heard = heard - middle
        square, both = heard.T @ heard, heard.T @ (missing - bias)
        ridge = np.eye(len(square)) * np.trace(square) / len(square)
        changes = [np.linalg.solve(square + penalty * ridge, both) for penalty in penalties]
        return [(change, bias - middle @ change) for change in changes]

    def held_out(self, rows: LipRows) -> dict[float, np.ndarray]:
        """For each of PENALTIES, (R,K) what is said of each stretch by weights that never saw it."""
        said = {penalty: self.said.copy() for penalty in PENALTIES}
        for fold in range(N_FOLDS):
            learnt, here = rows.learnable(fold), rows.fold == fold
            if here.any() and (learnt & self.used).any():
                for penalty, (change, bias) in zip(PENALTIES, self.fitted(learnt, PENALTIES), strict=True):
                    said[penalty][here] += self.heard[here] @ change + bias
        return said

    def applied(self, nets: Sequence[LipNet], change: np.ndarray, bias: np.ndarray) -> list[LipNet]:
        """The networks with the changed readout."""
        whole = self.axes.T @ change
        parts = np.split(len(nets) * whole, len(nets))
        return [_changed(net, part, bias - self.centre @ whole) for net, part in zip(nets, parts, strict=True)]


def refitted(
    prior: LipModel, rows: LipRows, features: torch.Tensor, targets: torch.Tensor, importance: torch.Tensor
) -> tuple[LipModel, np.ndarray]:
    """The prior, on this person's rest, with a readout for them, and (R,K) what it says of rows it never learnt from.
    features: (R,D) standardised; targets: (R,K) standardised coefficients; importance: (K,) of each."""
    wanted, weight = _array(targets), _array(importance)
    readout = Readout.of(prior, features, wanted, rows.valid)

    def error(said: np.ndarray) -> float:
        return float((((said - wanted) ** 2)[rows.valid] * weight).sum(1).mean())

    choices, before = readout.held_out(rows), error(readout.said)
    gains = {penalty: before - error(said) for penalty, said in choices.items()}
    if max(gains.values()) <= 0:
        return prior, readout.said
    penalty = max(p for p, gain in gains.items() if gain >= SHARE_OF_GAIN * max(gains.values()))
    fitted = readout.fitted(rows.valid, [penalty])[0]
    return prior.with_nets(readout.applied(prior.nets, *fitted)), choices[penalty]


def together(models: Sequence[LipModel]) -> LipModel:
    """One model that says the mean of what these say, which differ in their networks only."""
    n = sum(len(model.nets) for model in models)
    nets = [_scaled(net, n / (len(models) * len(model.nets))) for model in models for net in model.nets]
    return models[0].with_nets(nets)


def _main_axes(rows: np.ndarray) -> np.ndarray:
    """(Q,D) orthonormal directions in which (R,D) centred rows vary most, at most MOST_DIRECTIONS."""
    _, axes = np.linalg.eigh(rows.T @ rows)
    main = axes[:, ::-1][:, : min(MOST_DIRECTIONS, len(rows))].T
    return np.ascontiguousarray(main)  # products with the view are ten times as slow


def _array(values: torch.Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def _changed(net: LipNet, weight: np.ndarray, bias: np.ndarray) -> LipNet:
    """A copy with (H,K) and (K,) added to its head."""
    return _with_head(net, _array(net.head.weight) + weight.T, _array(net.head.bias) + bias)


def _scaled(net: LipNet, factor: float) -> LipNet:
    return _with_head(net, factor * _array(net.head.weight), factor * _array(net.head.bias))


def _with_head(net: LipNet, weight: np.ndarray, bias: np.ndarray) -> LipNet:
    """A copy that says `weight` (K,H) and `bias` (K,) of what it hears."""
    copy = deepcopy(net)
    copy.head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    return copy
