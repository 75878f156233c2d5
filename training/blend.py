"""The blending network: colours of a mouth changed as a blend in the gradient domain would change them
(`lipsync.render.blends.learned`).

It learns as FSGAN's (Nirkin, Keller and Hassner 2019, section 3.4): towards the Poisson result, by perceptual and pixel
terms and, later, by an adversarial one. Frame and mouth are two crops of one person, in different light. `python -m
training blend --recipe blend` makes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor

from lipsync.config.schema import CompositeConfig
from lipsync.core.objective import Objective
from lipsync.core.progress import Hook, silent
from lipsync.learning.loop import train
from lipsync.learning.losses import Losses
from lipsync.render.blends.base import around
from lipsync.render.blends.learned import MARGIN, BlendNet, seen_small
from lipsync.render.blends.poisson import membrane
from lipsync.render.region import blend_region, off_lips, region_polygon
from lipsync.textures.nets import PatchDiscriminator
from media.atomic import atomic_write
from training.distortions import Material
from training.mouth_encoder import EncoderRecipe, footage
from training.recipe import Recipe


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class BlendRecipe(Recipe):
    """How the network is made. pairs: of crops to learn from, held_pairs: to choose the best weights by; batch: pairs
    of one step; perceptual, pixel, adversarial: weights of the terms; adversarial_from: share of the steps after which
    the adversarial one joins; first_clip, every, clips, held_clips: as in `EncoderRecipe`."""

    FILES: ClassVar[str] = "blend*.toml"
    steps: int = 900
    rate: float = 1e-3
    batch: int = 8
    pairs: int = 800
    held_pairs: int = 80
    perceptual: float = 1.0
    pixel: float = 10.0
    adversarial: float = 0.001
    adversarial_from: float = 0.4
    seed: int = 0
    first_clip: int = 80
    every: int = 16
    clips: int = 20
    held_clips: int = 2


@plain_dataclass(frozen=True, slots=True)
class Pairs:
    """Frames `under` and mouths `over` (n,3,h,w) float32, masks (n,1,h,w), and membranes (n,3,h,w): what is harmonic in
    the region and equals each picture at its edge. All at the network's size."""

    under: Tensor
    over: Tensor
    mask: Tensor
    of_under: Tensor
    of_over: Tensor

    def __len__(self) -> int:
        return len(self.under)

    def take(self, rows: Tensor) -> Pairs:
        return Pairs(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def target(self) -> Tensor:
        """(n,3,h,w) the Poisson result, inside the mask's softness as without: mouth, plus membrane of the
        difference."""
        return torch.lerp(self.under, self.over + self.of_under - self.of_over, self.mask)


def make_blend(recipe: BlendRecipe, work: Path, hook: Hook = silent) -> BlendNet:
    """The network of a recipe, from nothing. work: a folder for all that is made on the way. LipsyncError: footage is
    missing."""
    chosen = {name: getattr(recipe, name) for name in ("first_clip", "every", "clips", "held_clips")}
    kept = (
        work / f"blend-pairs-{'-'.join(map(str, (recipe.pairs, recipe.held_pairs, recipe.seed, *chosen.values())))}.npz"
    )
    if not kept.exists():
        learned, held = footage(EncoderRecipe(**chosen), work, hook)
        made = (
            make_pairs(learned, recipe.pairs, recipe.seed, hook),
            make_pairs(held, recipe.held_pairs, recipe.seed + 1),
        )
        with atomic_write(kept) as part:
            np.savez(part, *(getattr(pairs, field.name).half() for pairs in made for field in fields(Pairs)))
    with np.load(kept) as found:
        arrays = [torch.from_numpy(found[name]).float() for name in found.files]
    learned, held = (Pairs(*half) for half in (arrays[:5], arrays[5:]))
    return train_blend(learned, held, recipe, hook, work / "blend-training.safetensors")


def make_pairs(materials: Sequence[Material], n: int, seed: int, hook: Hook = silent) -> Pairs:
    """n pairs of crops of one person with the region that a dub would replace."""
    rng, rows = np.random.default_rng(seed), []
    for k in range(n):
        rows.append(_pair(materials[k % len(materials)], rng))
        hook("pairs", k + 1, n)
    return Pairs(*(torch.cat(column) for column in zip(*rows, strict=True)))


def _pair(material: Material, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """One row of `Pairs`: two crops of one light, framed as the network will see them."""
    space, bank = material.bank.space, material.bank
    rows = np.array(material.pair(rng))
    under, over = torch.from_numpy(bank.take(rows)).float().div(255).split(1)
    corner = torch.tensor([space.left, space.top])
    y, x = ((torch.arange(size) + 0.5) / space.scale for size in (space.height, space.width))
    face = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None] + corner
    jaw = torch.from_numpy(bank.jaw[rows[1:]]).float()
    both, config = torch.from_numpy(bank.lips[rows]).float()[None], CompositeConfig(softness=rng.uniform(0.06, 0.2))
    beyond = off_lips(both, face).amin(1, keepdim=True) - config.lip_margin
    mask, _ = blend_region(region_polygon(jaw, both), face, beyond, config)
    part = around(mask > 0, MARGIN)
    low, high, soft = seen_small(under[part], over[part], mask[part])
    if rng.random() < 0.5:
        low, high, soft = low.flip(3), high.flip(3), soft.flip(3)
    return low, high, soft, *membrane(torch.cat([low, high], 1), soft > 0.5).split(3, 1)


def in_other_light(pairs: Pairs, generator: torch.Generator) -> Pairs:
    """The pairs in another light, the mouths in one of their own: mixed channels, an offset, a ramp across.

    All of them linear, a ramp harmonic, so that the membranes follow without being solved again."""
    n = len(pairs)

    def drawn(*size: int) -> Tensor:
        return 2 * torch.rand(n, *size, generator=generator) - 1

    both = torch.eye(3) * (0.75 + 0.35 * drawn(1, 1)) + 0.05 * drawn(3, 3)
    strength = drawn(1, 1).square()  # most differences are small
    mix = torch.eye(3) * (1 + 0.3 * strength * drawn(3, 1)) + 0.05 * strength * drawn(3, 3)
    height, width = pairs.under.shape[2:]
    y, x = (torch.linspace(-1, 1, size) for size in (height, width))
    ramp = drawn(3)[..., None, None] * x + drawn(3)[..., None, None] * y[:, None] + drawn(3)[..., None, None]
    added = 0.08 * strength[..., None] * ramp

    def coloured(x: Tensor, matrix: Tensor) -> Tensor:
        return torch.einsum("bij,bjhw->bihw", matrix, x)

    low, of_low, high, of_high = (coloured(x, both) for x in (pairs.under, pairs.of_under, pairs.over, pairs.of_over))
    return Pairs(low, coloured(high, mix) + added, pairs.mask, of_low, coloured(of_high, mix) + added)


def blended(net: BlendNet, pairs: Pairs) -> Tensor:
    """(n,3,h,w) what the network makes of the pairs."""
    return torch.lerp(pairs.under, pairs.over + net(pairs.under, pairs.over, pairs.mask), pairs.mask)


def train_blend(
    learned: Pairs, held: Pairs, recipe: BlendRecipe, hook: Hook = silent, keep: Path | None = None
) -> BlendNet:
    """A trained network, at the weights that were best on the `held` pairs; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net, judge = BlendNet(), PatchDiscriminator()
        generator = torch.Generator().manual_seed(recipe.seed)
    losses = Losses(perceptual="mouth-encoder")
    game, joins = losses.gan("lsgan"), round(recipe.adversarial_from * recipe.steps)
    optimiser = torch.optim.Adam(net.parameters(), recipe.rate, (0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps + 1, pct_start=0.1)

    def batch() -> Pairs:
        rows = torch.randint(len(learned), (recipe.batch,), generator=generator)
        return in_other_light(learned.take(rows), generator)

    def of_net(step: int) -> dict[str, Tensor]:
        pairs = batch()
        ours, target = blended(net, pairs), pairs.target
        terms = {"pixel": recipe.pixel * losses.l1(ours, target)}
        if recipe.perceptual > 0:
            terms["perceptual"] = recipe.perceptual * losses.perceptual(ours, target)
        if step > joins:
            terms["adversarial"] = recipe.adversarial * game.generator(judge(ours))
        return terms

    def of_judge(step: int) -> dict[str, Tensor]:
        pairs = batch()
        if step <= joins:  # nothing to tell apart yet
            return {"waiting": 0 * judge(pairs.under[:1]).mean()}
        with torch.no_grad():
            ours = blended(net, pairs)
        return {"real": 0.5 * game.real(judge(pairs.under)), "fake": 0.5 * game.fake(judge(ours))}

    trial = in_other_light(held, torch.Generator().manual_seed(recipe.seed + 1))

    def error() -> float:
        with torch.no_grad():
            return float(losses.l1(blended(net, trial), trial.target))

    train(
        [Objective("blend", net, of_net, optimiser=optimiser, schedule=schedule), Objective("judge", judge, of_judge)],
        recipe.steps,
        generator,
        error,
        lambda step: step % 100 == 0,
        lambda step: hook("blend", step, recipe.steps),
        keep,
    )
    return net.eval().requires_grad_(False)
