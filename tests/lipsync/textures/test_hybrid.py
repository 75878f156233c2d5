"""The hybrid texture: what it starts from, what it may look at while it learns, and that learning helps."""

import dataclasses

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.learning.losses import Losses
from lipsync.learning.textures import Examples
from lipsync.textures import get_method
from lipsync.textures.trainable import TrainableTexture, rows_of
from tests.support.drawn import draw, drawn_subject, lips_open
from tests.support.textures import query_for

GAPS = 0.06 + 0.06 * np.sin(np.arange(80) / 3.0)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


@pytest.fixture
def method(subject):
    made = get_method("hybrid", DubConfig())
    made.config = dataclasses.replace(made.config, width=64, batch=4)
    made.begin(subject, "cpu")
    made.nets.eval()
    return made


def test_untrained_it_draws_the_wanted_lips(method, subject):
    space = subject.bank.space
    for gap in (0.01, 0.11):
        drawn = method.render(query_for([gap] * 3, method.radius, space)).rgb[1].numpy() * 255
        truth, other = draw(lips_open(gap), space), draw(lips_open(gap + 0.04), space)
        around = method.region[0, 0].numpy() == 1
        off = lambda picture: np.abs(drawn - picture).mean(0)[around].mean()
        assert off(truth) < 0.6 * off(other), f"gap {gap}"


@pytest.mark.parametrize("width", [64, 96, 128])
def test_the_loops_draw_what_torch_draws(method, subject, width):
    """By a network that sees less, about as much and more than the crop's pixels; also where lips leave the crop, and
    are looked at outside of the redrawn region."""
    method.config = dataclasses.replace(method.config, width=width)
    method.begin(subject, "cpu")
    plain = query_for([0.02, 0.07, 0.1], method.radius, subject.bank.space)
    plain = dataclasses.replace(plain, crop=torch.rand(plain.crop.shape, generator=torch.Generator().manual_seed(2)))
    untrained = method.prepare(subject, "cpu").render(plain).rgb
    for net in method.nets.values():  # weights that begin as 0: flow, weights and light of every place
        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.normal_(layer.weight, 0, 0.6 / layer.weight[0].numel() ** 0.5)
    for moved in (0.0, 0.35):
        query = dataclasses.replace(plain, lips=plain.lips + moved)
        drawn, expected = method.render(query), TrainableTexture.render(method, query)
        assert float((drawn.rgb - expected.rgb).abs().max()) < 1 / 255
        assert torch.allclose(drawn.jaw, expected.jaw, atol=1e-5)
        assert torch.equal(drawn.alpha, expected.alpha)
        alone = method.render(rows_of(query, 1, 2, method.radius))
        assert torch.equal(alone.rgb[0], drawn.rgb[1]), "a row does not depend on its batch"
        outside = (method.region == 0).expand_as(drawn.rgb)
        assert torch.equal(drawn.rgb[outside], query.crop[outside])
        if not moved:
            assert float((drawn.rgb - untrained).abs().mean()) > 4 / 255, "the networks had a say"


def test_no_row_learns_from_itself_or_its_neighbours(method, subject):
    rows = torch.tensor([3, 40, 79])
    index, weight = method._left_out(rows, False)
    assert ((subject.bank.source[index.numpy()] - rows.numpy()[:, None])[weight.numpy() > 0].__abs__() >= 13).all()
    assert torch.allclose(weight.sum(1), torch.ones(3)) and torch.isfinite(weight).all()


def test_a_whole_shot_can_be_left_out(subject):
    bank = dataclasses.replace(subject.bank, shot=(np.arange(80) >= 40).astype(np.int64))
    method = get_method("hybrid", DubConfig())
    method.begin(dataclasses.replace(subject, bank=bank), "cpu")
    index, weight = method._left_out(torch.tensor([5, 60]), True)
    assert (bank.shot[index[0][weight[0] > 0].numpy()] == 1).all() and (
        bank.shot[index[1][weight[1] > 0].numpy()] == 0
    ).all()


def test_the_weights_of_a_file_bring_their_context(method, subject, tmp_path):
    method.config = dataclasses.replace(method.config, fade=(1.0,))
    method.save(tmp_path / "w.safetensors")
    again = get_method("hybrid", DubConfig(texture_weights=str(tmp_path / "w.safetensors"))).prepare(subject, "cpu")
    assert again.radius == 2 and len(again.render(query_for([0.05] * 3, again.radius, subject.bank.space)).rgb) == 3


def test_learning_helps(method, subject):
    """On faulty landmarks (lips said to be 0.03 more open than they are drawn), the residual flow learns to undo it."""
    bank = subject.bank
    torch.manual_seed(0)
    shifted = bank.lips + np.where(np.arange(18) >= 15, 0.02, 0.0)[:, None].astype(np.float32) * np.random.default_rng(
        0
    ).random((80, 1, 1), np.float32)
    method.begin(dataclasses.replace(subject, bank=dataclasses.replace(bank, lips=shifted.astype(np.float32))), "cpu")
    (objective,) = method.objectives(Losses())
    examples = Examples(bank, None, torch.device("cpu"), torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(objective.net.parameters(), 2e-3)
    history = []
    for _ in range(25):
        loss = sum(objective.loss(examples.draw(4, 2)).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert np.mean(history[-5:]) < 0.8 * np.mean(history[:5])
