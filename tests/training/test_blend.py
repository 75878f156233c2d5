"""The blending network's training on drawn mouths: it is told the Poisson result, in any light, and it learns."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.errors import UsageError
from lipsync.render.blends import poisson
from lipsync.render.blends.learned import SIZE, BlendNet, blend_net
from tests.support.drawn import drawn_subject
from training.blend import BlendRecipe, Pairs, blended, in_other_light, make_pairs, train_blend
from training.distortions import Material

pytestmark = pytest.mark.usefixtures("one_thread")

GAPS = np.linspace(0.0, 0.2, 24)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    material = Material(drawn_subject(GAPS, 100.0).bank, np.arange(len(GAPS)))
    return make_pairs([material], 12, 0)


def test_the_target_is_the_poisson_result_also_in_other_light(pairs):
    lit = in_other_light(pairs, torch.Generator().manual_seed(0))
    assert pairs.under.shape == (12, 3, *SIZE) and float((lit.over - pairs.over).abs().mean()) > 0.01
    for some in (pairs, lit):
        exact = poisson.Blend(CompositeConfig(), torch.device("cpu"))(some.under, some.over, some.mask)
        whole = some.mask > 0.999  # elsewhere the target is soft
        assert float(((some.target - exact).abs() * whole).max()) < 3e-3
        assert torch.equal(some.target * (some.mask == 0), some.under * (some.mask == 0))


def test_steps_run_and_are_the_same_for_the_same_seed(pairs, tmp_path):
    recipes = [BlendRecipe(steps=2, batch=1, adversarial_from=0.5, seed=seed) for seed in (0, 0, 1)]
    nets = [train_blend(pairs, pairs, recipe) for recipe in recipes]
    a, b, c = (torch.cat([v.flatten() for v in net.state_dict().values()]) for net in nets)
    assert torch.isfinite(a).all() and torch.equal(a, b) and not torch.equal(a, c)
    nets[0].save(tmp_path / "net.safetensors", {})
    read = blend_net("cpu", tmp_path / "net.safetensors")
    assert torch.allclose(blended(read, pairs), blended(nets[0], pairs), atol=1e-3)


def test_it_learns_what_the_target_is(pairs):
    """Were the Poisson result brighter everywhere, so would be the network's."""
    brighter = replace(pairs, of_under=pairs.of_under + 0.1)
    recipe = BlendRecipe(steps=25, batch=2, rate=5e-3, perceptual=0.0, adversarial_from=1.0)
    net = train_blend(brighter, brighter, recipe)
    with torch.no_grad():
        ours, start = (float((blended(x, brighter) - brighter.target).abs().mean()) for x in (net, BlendNet()))
    assert ours < 0.5 * start


def test_a_recipe_says_what_it_does_not_know(tmp_path):
    assert BlendRecipe.load("blend").adversarial == 0.001
    (tmp_path / "odd.toml").write_text("stepps = 3")
    with pytest.raises(UsageError, match="stepps"):
        BlendRecipe.load(str(tmp_path / "odd.toml"))


def test_rows_are_taken_together(pairs):
    some = pairs.take(torch.tensor([3, 1]))
    for field in fields(pairs):
        assert torch.equal(getattr(some, field.name)[1], getattr(pairs, field.name)[1])
