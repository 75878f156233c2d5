"""The readout fitted to one person: against ridge regression by brute force, and on people who differ by a readout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.core.lips import LipBasis
from lipsync.learning.lip_examples import LipRows
from lipsync.learning.readout import PENALTIES, Readout, refitted, together
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet, predict_standardised

K, N_IN, ROWS = 5, 40, 1600


@pytest.fixture(scope="module")
def prior() -> LipModel:
    torch.manual_seed(0)
    nets = [LipNet(N_IN, K, SHAPES["causal"]).eval() for _ in range(2)]
    basis = LipBasis(np.zeros((18, 2), np.float32), np.eye(K, 36, dtype=np.float32).reshape(K, 18, 2), np.ones(K))
    rest = np.zeros((18, 2), np.float32)
    return LipModel("causal", nets, torch.zeros(N_IN), torch.ones(N_IN), basis, rest)


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(ROWS, N_IN, generator=torch.Generator().manual_seed(1))


def rows_of(features: torch.Tensor) -> LipRows:
    fold = np.arange(ROWS) // 100 % 8
    return LipRows(features, np.zeros((ROWS, 18, 2)), np.ones(ROWS, bool), np.ones(ROWS, bool), fold)


def said_by(model: LipModel, features: torch.Tensor) -> np.ndarray:
    return np.mean([predict_standardised(net, features) for net in model.nets], axis=0)


def heard_by(model: LipModel, features: torch.Tensor) -> np.ndarray:
    return np.concatenate([predict_standardised(net, features, forward=net.encode) for net in model.nets], 1)


def another(prior: LipModel, features: torch.Tensor, noise: float) -> np.ndarray:
    """(R,K) lips of a person who moves by another readout of the same features."""
    rng, heard = np.random.default_rng(2), heard_by(prior, features)
    change = rng.standard_normal((heard.shape[1], K)) / np.sqrt(heard.shape[1])
    return said_by(prior, features) + 3 * heard @ change + 0.5 + noise * rng.standard_normal((ROWS, K))


def test_it_is_ridge_regression(prior, features):
    wanted = another(prior, features, 0.1)
    readout = Readout.of(prior, features, wanted, np.ones(ROWS, bool))
    change, bias = readout.fitted(np.ones(ROWS, bool), [0.3])[0]
    heard, missing = heard_by(prior, features)[::2], (wanted - said_by(prior, features))[::2]
    heard_0, missing_0 = heard - heard.mean(0), missing - missing.mean(0)
    penalty = 0.3 * np.square(heard_0).sum() / heard.shape[1]
    stacked = np.concatenate([heard_0, np.sqrt(penalty) * np.eye(heard.shape[1])])
    brute = np.linalg.lstsq(stacked, np.concatenate([missing_0, np.zeros((heard.shape[1], K))]), rcond=None)[0]
    said = said_by(prior.with_nets(readout.applied(prior.nets, change, bias)), features)[::2]
    assert np.abs(said - (said_by(prior, features)[::2] + heard_0 @ brute + missing.mean(0))).max() < 1e-4


def test_another_readout_is_found_and_the_prior_is_kept_where_nothing_can_be_learnt(prior, features):
    rows, importance = rows_of(features), torch.ones(K) / K
    wanted = another(prior, features, 0.05)
    own, said = refitted(prior, rows, features, torch.from_numpy(wanted), importance)
    missing = np.square(wanted - said_by(prior, features)).mean()
    assert np.square(wanted - said).mean() < 0.1 * missing
    assert np.square(wanted - said_by(own, features)).mean() < 0.1 * missing
    noise = said_by(prior, features) + np.random.default_rng(3).standard_normal((ROWS, K))
    _kept, said = refitted(prior, rows, features, torch.from_numpy(noise), importance)
    assert np.square(said - said_by(prior, features)).mean() < 0.05


def test_what_is_held_out_is_not_learnt_from(prior, features):
    rows, wanted = rows_of(features), another(prior, features, 0.1)
    here = rows.fold == 3
    other = wanted.copy()
    other[here] += 10
    first, second = (Readout.of(prior, features, lips, rows.valid).held_out(rows) for lips in (wanted, other))
    for penalty in PENALTIES:
        assert np.allclose(first[penalty][here], second[penalty][here])
        assert not np.allclose(first[penalty][~here], second[penalty][~here])


def test_models_together_say_their_mean(prior, features):
    torch.manual_seed(5)
    other = prior.with_nets([LipNet(N_IN, K, SHAPES["causal"]).eval() for _ in range(3)])
    mean = (said_by(prior, features) + said_by(other, features)) / 2
    assert np.abs(said_by(together([prior, other]), features) - mean).max() < 1e-5
