"""Every loss term against a value made by hand, and which network is behind the perceptual one."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lipsync.core.errors import LipsyncError
from lipsync.learning.losses import GAMES, VGG16_LAYERS, Losses, feature_distance


def pictures(seed: int, n: int = 4) -> torch.Tensor:
    return torch.rand(n, 3, 40, 48, generator=torch.Generator().manual_seed(seed))


TERMS = {
    "l1": Losses.l1,
    "edge": Losses.edge,
    "temporal": lambda a, b: Losses.temporal(a, b, 2),
    "feature_matching": lambda a, b: Losses.feature_matching([[a, 2 * a], [a]], [[b, 2 * b], [b]]),
    "perceptual": lambda a, b: Losses(perceptual="mouth-encoder").perceptual(a, b),
    "features": lambda a, b: Losses(perceptual="mouth-encoder").features(a, b),
}


@pytest.mark.parametrize("name", TERMS)
def test_equal_pictures_cost_nothing_and_others_pull(name):
    a, b = pictures(0), pictures(1)
    assert float(TERMS[name](a, a)) == 0
    a.requires_grad_()
    loss = TERMS[name](a, b)
    loss.backward()
    assert loss.ndim == 0 and loss > 0 and torch.isfinite(a.grad).all() and a.grad.abs().sum() > 0
    with torch.no_grad():
        assert TERMS[name](a - 0.05 * loss / a.grad.norm() * a.grad / a.grad.norm(), b) < loss


def test_edges_by_hand():
    a, b = (x.numpy().astype(np.float64) for x in (pictures(0), pictures(1)))
    wanted = 0.0
    for step in (lambda x: np.abs(x[..., 1:] - x[..., :-1]), lambda x: np.abs(x[..., 1:, :] - x[..., :-1, :])):
        wanted += np.abs(step(a) - step(b)).mean()
    assert float(Losses.edge(pictures(0), pictures(1))) == pytest.approx(wanted, rel=1e-5)
    assert float(Losses.edge(pictures(0), pictures(0) + 0.1)) < 1e-6


def test_a_networks_features_by_hand():
    """Every layer counts the same, however large its numbers are."""
    losses = Losses()
    losses.__dict__["_network"] = ("by hand", lambda x: [x, 7 * x[:, :1]])
    a, b = pictures(0), pictures(1)
    wanted = [(x - y).abs().mean() / y.abs().mean() for x, y in ((a, b), (a[:, :1], b[:, :1]))]
    assert float(losses.features(a, b)) == pytest.approx(float(sum(wanted) / 2), rel=1e-5)


def test_features_by_hand():
    """The mean over three layers of two discriminators; the real side stays put."""
    ours = [[torch.full((2, 1, 4, 4), 3.0), torch.full((2, 5, 2, 2), 1.0)], [torch.zeros(2, 1, 1, 1)]]
    real = [
        [torch.full((2, 1, 4, 4), 1.0), torch.full((2, 5, 2, 2), 2.0)],
        [torch.full((2, 1, 1, 1), 3.0, requires_grad=True)],
    ]
    ours[1][0].requires_grad_()
    loss = Losses.feature_matching(ours, real)
    assert float(loss.detach()) == pytest.approx((2 + 1 + 3) / 3)
    loss.backward()
    assert real[1][0].grad is None and ours[1][0].grad is not None


def test_flicker_costs_and_a_constant_offset_does_not():
    truth = pictures(3, 6)
    assert float(Losses.temporal(truth + 0.2, truth, 3)) < 1e-6
    flicker = 0.1 * torch.tensor([1, -1, 1, -1, 1, -1])[:, None, None, None]
    assert float(Losses.temporal(truth + flicker, truth, 3)) == pytest.approx(0.2, rel=1e-4)
    steps = (
        0.1 * torch.tensor([0, 0, 0, 1, 1, 1])[:, None, None, None]
    )  # another offset in the next run: nobody's neighbour
    assert float(Losses.temporal(truth + steps, truth, 3)) < 1e-6
    assert float(Losses.temporal(truth + flicker, truth, 1)) == 0


def test_kl_by_hand():
    assert float(Losses.kl(torch.zeros(3, 5), torch.zeros(3, 5))) == 0
    mean, deviation = torch.tensor([[0.5, -1.0]]), torch.tensor([[2.0, 0.7]])
    drawn = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    )
    assert float(Losses.kl(mean, 2 * deviation.log())) == pytest.approx(float(drawn.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "real", "fake", "generator"),
    [
        ("gan", np.log1p(np.exp([-2.0, 0.5])), np.log1p(np.exp([2.0, -0.5])), np.log1p(np.exp([-2.0, 0.5]))),
        ("lsgan", [1.0, 2.25], [4.0, 0.25], [1.0, 2.25]),
        ("hinge", [0.0, 1.5], [3.0, 0.5], [-2.0, 0.5]),
        ("wgan", [-2.0, 0.5], [2.0, -0.5], [-2.0, 0.5]),
    ],
)
def test_the_games_on_known_logits(kind, real, fake, generator):
    logits, game = torch.tensor([2.0, -0.5]), Losses.gan(kind)
    for side, wanted in ((game.real, real), (game.fake, fake), (game.generator, generator)):
        assert float(side(logits)) == pytest.approx(np.mean(wanted), rel=1e-5)
        assert side(logits.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("kind", GAMES)
def test_in_every_game_the_sides_pull_apart(kind):
    logits, game = torch.tensor([0.1, 0.3], requires_grad=True), GAMES[kind]
    slope = lambda side: torch.autograd.grad(side(logits), logits)[0]
    assert (slope(game.real) < 0).all() and (slope(game.fake) > 0).all() and (slope(game.generator) < 0).all()


def test_unknown_names_are_told():
    with pytest.raises(LipsyncError, match="hinge"):
        Losses.gan("gam")
    with pytest.raises(LipsyncError, match="mouth-encoder"):
        Losses(perceptual="vgg19")


def test_feature_distance_by_hand():
    """Length does not matter, direction does: 0 equal, 2 at a right angle, 4 opposite; layers count the same whatever
    their size."""
    layer = torch.zeros(3, 2, 4, 4)
    layer[:, 0] = 1
    other = torch.zeros(3, 2, 4, 4)
    other[0, 0], other[1, 1], other[2, 0] = 7, 7, -7
    assert feature_distance([layer], [other]).tolist() == pytest.approx([0, 2, 4], abs=1e-5)
    small = torch.ones(3, 1, 1, 1)
    assert feature_distance([layer, small], [other, small]).tolist() == pytest.approx([0, 1, 2], abs=1e-5)


def fake_torchvision(built: list) -> dict[str, ModuleType]:
    """Modules that look like torchvision's, with VGG16's layers in their order, narrow."""
    widths = [3, 3, None, 4, 4, None, 5, 5, 5, None, 6, 6, 6, None, 6, 6, 6, None]

    def vgg16(weights):
        layers, n = [], 3
        for width in widths:
            if width is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(n, width, 3, padding=1), nn.ReLU(inplace=True)]
                n = width
        built.append(weights)
        return SimpleNamespace(features=nn.Sequential(*layers))

    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    models.vgg16 = vgg16
    models.VGG16_Weights = SimpleNamespace(
        IMAGENET1K_V1=SimpleNamespace(url="https://nowhere.invalid/models/vgg16-397923af.pth")
    )
    return {"torchvision": package, "torchvision.models": models}


def test_torchvisions_network_is_used_where_it_and_its_weights_are(tmp_path, monkeypatch):
    built: list = []
    for name, module in fake_torchvision(built).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert Losses().perceptual_name == "mouth-encoder" and not built  # no weights there: nothing is fetched
    with pytest.raises(LipsyncError, match="torch hub"):
        Losses(perceptual="vgg16").perceptual(pictures(0), pictures(1))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").touch()
    losses = Losses()
    assert losses.perceptual_name == "vgg16" and len(built) == 1
    layers = losses._network[1](pictures(0))
    assert [x.shape[1] for x in layers] == [3, 4, 5, 6, 6] and [x.shape[-1] for x in layers] == [48, 24, 12, 6, 3]
    assert all((x >= 0).all() for x in layers) and len(VGG16_LAYERS) == 5
    a = pictures(0).requires_grad_()
    losses.perceptual(a, pictures(1)).backward()
    assert a.grad.abs().sum() > 0 and float(losses.perceptual(pictures(1), pictures(1))) == 0
    assert Losses(perceptual="mouth-encoder").perceptual_name == "mouth-encoder"


def test_a_broken_torchvision_is_no_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert Losses().perceptual_name == "mouth-encoder"


def test_the_perceptual_distance_is_the_same_in_any_precision_around_it():
    losses, a, b = Losses(perceptual="mouth-encoder"), pictures(0), pictures(1)
    plain = losses.perceptual_distance(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(losses.perceptual_distance(a, b), plain)
    assert plain.shape == (4,) and float(losses.perceptual(a, b)) == pytest.approx(float(plain.mean()))
