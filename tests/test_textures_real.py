"""Choosing, warping and fusing real mouths: what the methods without training share, and what is special to each."""

import numpy as np
import pytest
import torch

from lipsync.config import MedianConfig
from lipsync.textures.candidates import Candidates, _around_lips, _edges, resharpened
from tests.drawn import drawn_subject

GAPS = 0.06 + 0.06 * np.sin(np.arange(60) / 3.0)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


def test_an_answer_keeps_to_the_rows_it_is_allowed(subject):
    candidates = Candidates(subject.bank, MedianConfig(), "cpu")
    wanted = candidates.features[20:27]  # 3 answers with 2 rows of context on either side
    everything = torch.ones(3, 60, dtype=torch.bool)
    assert all(torch.equal(a, b) for a, b in zip(candidates.choose(wanted), candidates.choose(wanted, everything)))
    only = everything.clone()
    only[1, 10:] = False
    index, weight = candidates.choose(wanted, only)
    assert (weight[1][index[1] >= 10] == 0).all() and torch.allclose(weight.sum(1), torch.ones(3))
    assert torch.equal(index[0], candidates.choose(wanted)[0][0]), "another row's mask changes nothing"


def test_resharpening_gives_back_the_edges_that_fusing_cost(subject):
    space, lips = subject.bank.space, torch.from_numpy(subject.bank.lips[5])
    filmed = torch.from_numpy(subject.bank.crops[5:6]).float()
    soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(filmed, (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
    given = (torch.ones(1), lips, space, 1.0)
    assert torch.equal(resharpened(soft, filmed, *given, 0.0), soft)
    energy = lambda x: float(_edges(_around_lips(x, lips, space)).square().mean())  # noqa: E731
    sharper = resharpened(soft, filmed, *given, 2.0)[None]
    assert energy(soft[None]) < 0.6 * energy(filmed) and energy(sharper) == pytest.approx(energy(filmed), rel=1e-3)
    assert energy(soft[None]) < energy(resharpened(soft, filmed, *given, 0.2)[None]) < energy(filmed), "no more than the limit"
