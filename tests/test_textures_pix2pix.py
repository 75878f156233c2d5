"""pix2pix and pix2pixHD: the published sizes, what they may see, and that they learn."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from lipsync.config import DubConfig
from lipsync.textures import get_method
from lipsync.textures.nets import lower_face
from lipsync.textures.translation import Canvas, PatchCritic, UNet
from lipsync.types import TextureQuery
from tests.drawn import drawn_subject, lips_open
from training.textures import train_texture

GAPS = 0.06 + 0.06 * np.sin(np.arange(80) / 3.0)
SMALL = {"pix2pix": {"channels": 8, "critic_channels": 8, "levels": 4, "rate": 1e-3}}


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS, 30.0)


def small(name, **changes):
    method = get_method(name, DubConfig())
    method.config = dataclasses.replace(method.config, **SMALL[name] | changes)
    return method


def query_of(subject, rows):
    crop = torch.from_numpy(subject.bank.take(rows)).float() / 255
    return TextureQuery(torch.from_numpy(subject.bank.lips[rows]), crop, torch.zeros(len(rows), 3), torch.from_numpy(rows))


def test_the_generator_is_the_published_one():
    """Isola 2017 for 256 px: C64-C128-C256-C512-C512-C512-C512-C512 down, the mirror image with skips up; 54.41 million numbers."""
    down = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    up = [(512, 512), (1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64), (128, 3)]
    kernels = 16 * (sum(a * b for a, b in zip(down, down[1:])) + sum(a * b for a, b in up))
    norms = 2 * (sum(down[2:8]) + sum(b for _, b in up[:-1]))  # not in the outermost two layers, nor at 1x1 pixel
    net = UNet(3, 3, 64, 8)
    assert sum(p.numel() for p in net.parameters()) == kernels + norms + 3 == 54_413_955
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)


def test_the_critic_is_the_published_one():
    """C64-C128-C256-C512 on pairs, 2.77 million numbers; one logit sees 70x70 pixels."""
    net = PatchCritic(6, 64)
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


@pytest.mark.parametrize("name", SMALL)
def test_the_mouth_that_was_there_is_not_seen(name, subject):
    method = small(name).begin(subject, "cpu")
    method.nets.eval()
    query = query_of(subject, np.array([5, 9]))
    region = lower_face(subject.bank.space)
    other = dataclasses.replace(query, crop=torch.where(region > 0, torch.rand(query.crop.shape), query.crop))
    first, second = (method.render(q).rgb for q in (query, other))
    inside = (region >= 0.25).expand_as(first)
    assert torch.equal(first[inside], second[inside])
    brighter = dataclasses.replace(query, crop=query.crop * 0.5)
    assert not torch.equal(method.render(brighter).rgb[inside], first[inside]), "the surroundings must be seen"
    still = (region == 0).expand_as(first)
    assert torch.equal(first[still], query.crop[still]), "around the mouth the frame stays as filmed"


@pytest.mark.parametrize("name", SMALL)
def test_two_steps_move_every_network(name, subject):
    method = small(name, steps=2, batch=2)
    before = {k: v.clone() for k, v in small(name).begin(subject, "cpu").nets.state_dict().items()}
    report = train_texture(method, subject)
    after = method.nets.state_dict()
    assert report["steps"] == 2 and np.isfinite([row[1] for row in report["curve"]]).all()
    assert all(torch.isfinite(v).all() for v in after.values())
    still = [k for k, v in after.items() if torch.equal(v, before[k])]
    assert not still, still


@pytest.mark.parametrize("name", SMALL)
def test_it_learns_a_drawn_mouth(name, subject):
    method = small(name, steps=80, batch=4)
    train_texture(method, subject)
    rows = np.arange(3, 80, 7)
    truth = torch.from_numpy(subject.bank.take(rows)).float() / 255
    query = query_of(subject, rows)
    question = dataclasses.replace(query, crop=query.crop.roll(3, 0))
    drawn = method.render(question).rgb
    mean = torch.from_numpy(subject.bank.take(np.arange(80))).float().mean(0) / 255
    mouth = lower_face(subject.bank.space)
    error = lambda picture: float(((picture - truth).abs() * mouth).mean())  # noqa: E731
    assert error(drawn) < 0.6 * error(mean), (error(drawn), error(mean))
    assert np.isfinite(lips_open(0.1)).all()
