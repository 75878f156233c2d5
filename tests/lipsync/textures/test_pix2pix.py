"""pix2pix and pix2pixHD: the published sizes, what they may see, and that they learn."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lipsync.config.schema import DubConfig
from lipsync.core.texture import TextureQuery
from lipsync.learning.losses import Losses
from lipsync.learning.textures import Examples
from lipsync.textures import get_method
from lipsync.textures.nets import blanked, drawn_lips, lips_at, lower_face, positions, resized
from lipsync.textures.translation import Canvas, PatchDiscriminator, UNet
from tests.support.drawn import drawn_subject

GAPS = 0.06 + 0.06 * np.sin(np.arange(80) / 3.0)
SMALL = {
    "pix2pix": {"channels": 8, "discriminator_channels": 8, "levels": 4, "rate": 2e-3},
    "pix2pix-hd": {"channels": 8, "discriminator_channels": 8, "blocks": 1, "fine_blocks": 1, "rate": 3e-3},
}


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS, 30.0)


def small(name, **changes):
    method = get_method(name, DubConfig())
    method.config = dataclasses.replace(method.config, **SMALL[name] | changes)
    return method


def query_of(subject, rows):
    crop = torch.from_numpy(subject.bank.take(rows)).float() / 255
    return TextureQuery(torch.from_numpy(subject.bank.lips[rows]), torch.zeros(len(rows), 3), crop)


def test_the_generator_is_the_published_one():
    """Isola 2017 for 256 px: C64-C128-C256-C512-C512-C512-C512-C512 down, the mirror image with skips up; 54.41 million
    numbers."""
    down = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    up = [(512, 512), (1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64), (128, 3)]
    kernels = 16 * (sum(a * b for a, b in pairwise(down)) + sum(a * b for a, b in up))
    norms = 2 * (sum(down[2:8]) + sum(b for _, b in up[:-1]))  # not in the outermost two layers, nor at 1x1 pixel
    net = UNet(3, 3, 64, 8)
    assert sum(p.numel() for p in net.parameters()) == kernels + norms + 3 == 54_413_955
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)


def test_the_discriminator_is_the_published_one():
    """C64-C128-C256-C512 on pairs, 2.77 million numbers; one logit sees 70x70 pixels."""
    net = PatchDiscriminator(6, 64)
    kernels = 16 * (6 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert sum(p.numel() for p in net.parameters()) == kernels + 64 + 2 * (128 + 256 + 512) + 1 == 2_768_705
    for layer in net.modules():  # statistics of the whole picture are not what a patch is about
        if isinstance(layer, nn.Sequential):
            for i, part in enumerate(layer):
                if isinstance(part, nn.GroupNorm):
                    layer[i] = nn.Identity()
    picture = torch.rand(1, 6, 256, 256, requires_grad=True)
    logits = net(picture)[-1]
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    seen = picture.grad.abs().sum(1)[0] > 0
    assert (int(seen.any(0).sum()), int(seen.any(1).sum())) == (70, 70)


@pytest.mark.parametrize("width", [64, 200])
def test_the_canvas_comes_back(subject, width):
    space = subject.bank.space
    canvas = Canvas(space, width, 16)
    assert all(side % 16 == 0 for side in canvas.size)
    crop = torch.from_numpy(subject.bank.take(np.arange(3))).float() / 255
    back = canvas.to_crop(canvas.from_crop(crop))
    assert back.shape == crop.shape
    if width >= space.width:
        assert torch.equal(back, crop)
    else:
        assert float((back - crop).abs().mean()) < 0.02


@pytest.mark.parametrize("width", [30, 200])
def test_the_lips_are_drawn_over_the_blanked_crop(subject, width):
    """Drawing them only where they are changes nothing, even half outside the crop."""
    canvas = Canvas(subject.bank.space, width, 1)
    query = query_of(subject, np.array([0, 5, 9]))
    for moved in (0.0, 0.6, 5.0):
        lips = query.lips + moved
        blank = resized(blanked(query.crop, subject.bank.space), canvas.inner)
        whole = lips_at(lips, positions(subject.bank.space, canvas.inner, "cpu"))
        assert torch.allclose(drawn_lips(lips, subject.bank.space, canvas.inner), whole, atol=1e-9)
        wanted = (blank + whole / 2).clamp(0, 1)
        assert torch.allclose(canvas.draw_query(dataclasses.replace(query, lips=lips)), wanted, atol=1e-3)
    assert float((wanted - blank).abs().max()) == 0


@pytest.mark.parametrize("name", SMALL)
def test_the_mouth_that_was_there_is_not_seen(name, subject):
    method = small(name).begin(subject, "cpu")
    method.nets.eval()
    query = query_of(subject, np.array([5, 9]))
    region = lower_face(subject.bank.space)
    other = dataclasses.replace(query, crop=torch.where(region > 0, torch.rand(query.crop.shape), query.crop))
    first, second = (method.render(q).rgb for q in (query, other))
    inside = (region >= 0.5).expand_as(first)
    assert torch.equal(first[inside], second[inside])
    brighter = dataclasses.replace(query, crop=query.crop * 0.5)
    assert not torch.equal(method.render(brighter).rgb[inside], first[inside]), "the surroundings must be seen"
    still = (region == 0).expand_as(first)
    assert torch.equal(first[still], query.crop[still]), "around the mouth the frame stays as filmed"


def trained(method, subject, steps, batch):
    """The method after so many turns of all its players, without the judging of `train_texture`."""
    generator = torch.Generator().manual_seed(0)
    examples = Examples(subject.bank, None, torch.device("cpu"), generator)
    objectives = method.begin(subject, "cpu").objectives(Losses())
    objectives = [(p, torch.optim.Adam(p.net.parameters(), p.rate, p.betas)) for p in objectives]
    method.nets.train()
    for _ in range(steps):
        looked_at = examples.draw(batch)
        for objective, optimiser in objectives:
            loss = sum(objective.loss(looked_at).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    method.nets.eval()
    return objectives


@pytest.mark.parametrize("name", SMALL)
def test_two_steps_move_every_network(name, subject):
    before = [{k: v.clone() for k, v in p.net.state_dict().items()} for p, _ in trained(small(name), subject, 0, 2)]
    after = [p.net.state_dict() for p, _ in trained(small(name), subject, 2, 2)]
    assert len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert all(torch.isfinite(v).all() for v in new.values())
        if old.keys() == before[0].keys():  # discriminators start at random, the generator the same every time
            assert not [k for k, v in new.items() if torch.equal(v, old[k])]


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_lips_and_light(name, subject):
    """The light changes from mouth to mouth, so the surroundings must be read, as well as the lips."""
    light = 0.5 + 0.5 * np.random.default_rng(0).random(len(GAPS))
    crops = (subject.bank.crops * light[:, None, None, None]).astype(np.uint8)
    lit = dataclasses.replace(subject, bank=dataclasses.replace(subject.bank, crops=crops))
    torch.manual_seed(0)  # discriminators start at random
    method = small(name)
    trained(method, lit, 100, 4)
    rows = np.arange(3, 80, 7)
    examples = Examples(lit.bank, None, torch.device("cpu"), torch.Generator().manual_seed(1))
    batch = examples.batch(rows, 1)
    error = lambda query: float((method.render(query).rgb - batch.truth).square().mean())
    mean = float((torch.from_numpy(crops).float().mean(0) / 255 - batch.truth).square().mean())
    asked = error(batch.query)
    assert asked < 0.2 * mean, (asked, mean)
    mistaken = error(dataclasses.replace(batch.query, lips=torch.from_numpy(subject.bank.lips[(rows + 9) % 80])))
    assert asked < 0.8 * mistaken, (asked, mistaken)
