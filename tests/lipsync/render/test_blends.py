"""The contract of every blending method, and what is special to each."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from lipsync.config.schema import BlendName, CompositeConfig
from lipsync.core.lips import soft_step
from lipsync.render import blends
from lipsync.render.blends import feather, learned, poisson
from lipsync.render.blends.registry import get_blend
from lipsync.store.registry import BLEND
from video.pyramid import gaussian_blur

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG, CPU = CompositeConfig(), torch.device("cpu")
NAMES = sorted({module.name for module in pkgutil.iter_modules(blends.__path__)} - {"base", "registry"})
OFFSET = torch.tensor([0.08, 0.05, -0.04])[:, None, None]


def grid(height=72, width=90):
    return torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")


def soft_mask(x_middle=45.0, radius=26.0, softness=8.0):
    """(1,1,h,w) an ellipse, soft inwards, 0 at the picture's border."""
    y, x = grid()
    away = ((x - x_middle) ** 2 + (1.3 * (y - 36)) ** 2).sqrt()
    return soft_step((radius - away) / softness)[None, None]


def skin(seed):
    """(1,3,h,w) a smooth picture with a little texture, mid grey."""
    noise = torch.rand(1, 3, 72, 90, generator=torch.Generator().manual_seed(seed)) - 0.5
    return 0.5 + gaussian_blur(noise, 8.0) * 2 + 0.05 * gaussian_blur(noise, 0.8)


@pytest.fixture(scope="module")
def scene():
    """Two rows: frames, mouths that are unlike them, and masks that differ."""
    return (
        torch.cat([skin(0), skin(1)]),
        torch.cat([skin(2), skin(3)]) + OFFSET,
        torch.cat([soft_mask(), soft_mask(38.0, 20.0)]),
    )


def test_every_file_is_an_option():
    assert sorted(get_args(BlendName)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, scene):
    blend, (under, over, mask) = get_blend(replace(CONFIG, blend=name), CPU), scene
    before = [x.clone() for x in scene]
    out = blend(under, over, mask)
    assert blend.name == name and out.shape == under.shape and out.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(before, scene, strict=True)), "what is given must not be changed"
    assert torch.equal(blend(under, over, mask), out), "the same question must have the same answer"
    for b in range(2):
        row = slice(b, b + 1)
        assert torch.equal(blend(under[row], over[row], mask[row]), out[row]), "a row must not depend on its batch"
    assert torch.equal(blend(under, over, 0 * mask), under), "no mask, no change"
    beyond = (out - under).abs() * (mask == 0)
    assert float(beyond.max()) <= (0.05 if name == "laplacian" else 0.0), "only low bands may spread a little"
    assert bool(torch.isfinite(blend(under, over, (mask > 0.5).float())).all())
    assert bool(torch.isfinite(blend(under, over, torch.ones_like(mask))).all()), "also where there is no edge"
    assert bool(torch.isfinite(blend(under, over, _one_pixel(mask))).all())


def _one_pixel(mask):
    one = torch.zeros_like(mask)
    one[:, :, 36, 40] = 1
    return one


@pytest.mark.parametrize("name", NAMES)
def test_the_mouth_is_kept(name):
    """Detail inside comes from the mouth, not from the frame."""
    y, x = grid()
    detail = 0.06 * torch.sin(x * 1.3) * torch.sin(y * 1.1) * torch.ones(3, 1, 1)
    under, over, mask = skin(0), (skin(0) + detail), soft_mask()
    out = get_blend(replace(CONFIG, blend=name), CPU)(under, over, mask)
    middle = (..., slice(28, 44), slice(35, 55))
    shown = (out - under)[middle]
    assert torch.corrcoef(torch.stack([shown.flatten(), detail[middle[0:]].flatten()]))[0, 1] > 0.95
    assert 0.6 < float(shown.std() / detail[middle].std()) < 1.2


@pytest.mark.parametrize("name", NAMES)
def test_an_offset_of_colour_goes_where_the_method_says_so(name):
    blend = get_blend(replace(CONFIG, blend=name), CPU)
    under, mask = skin(0), soft_mask()
    left = (blend(under, under + OFFSET, mask) - under)[..., 30:42, 38:52].abs().mean()
    share = float(left / OFFSET.abs().mean())
    assert share < 0.15 if blend.removes_offset else share > 0.5


def test_a_mouth_that_comes_or_goes_counts_in_part(scene):
    under, over, mask = (x[:1] for x in scene)
    for name in NAMES:
        blend = get_blend(replace(CONFIG, blend=name), CPU)
        whole, part = blend(under, over, mask) - under, blend(under, over, 0.25 * mask) - under
        assert torch.allclose(part, 0.25 * whole, atol=0.012), name


# --- feather ---


def test_erosion_and_softness_are_shares_of_the_region():
    under, over, mask = torch.full((1, 3, 72, 90), 0.4), torch.full((1, 3, 72, 90), 0.4), soft_mask()
    over[:, :, ::2] += 0.1  # rows that tell how much of the mouth is there
    over[:, :, 1::2] -= 0.1

    def width(**options):
        out = get_blend(replace(CONFIG, blend="feather", **options), CPU)(under, over, mask)
        return float((out - under).abs()[0, 1].sum(0).gt(0.5).sum())

    hard, size = width(feather_erode=0.0, feather_blur=0.0), float((mask > 0.5).sum()) ** 0.5
    assert abs(hard - width(feather_erode=0.1, feather_blur=0.0) - 2 * 0.1 * size) <= 4
    assert width(feather_erode=-0.1, feather_blur=0.0) > hard
    soft = get_blend(replace(CONFIG, blend="feather", feather_blur=0.1), CPU)(under, over, mask) - under
    assert len(np.unique(soft[0, 0, 36].abs().numpy().round(3))) > 8


def test_colours_are_transferred_by_mean_and_spread():
    """Reinhard et al. 2001: the region's moments in CIELAB become the frame's."""
    under, over, weight = skin(0), 0.1 + 0.8 * skin(0).flip(3), (soft_mask() > 0.5).float()
    ours = feather.lab_from_rgb(feather.transferred(over, under, weight))
    theirs = feather.lab_from_rgb(under)
    inside = weight[0, 0] > 0
    assert torch.allclose(ours[0][:, inside].mean(1), theirs[0][:, inside].mean(1), atol=0.3)
    assert torch.allclose(ours[0][:, inside].std(1), theirs[0][:, inside].std(1), rtol=0.1)


def test_lab_is_cielab():
    """White, and sRGB red, by CIE's formulas; and back again."""
    rgb = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0.5, 0.5, 0.5]]).T.reshape(1, 3, 1, 3)
    lab = feather.lab_from_rgb(rgb)[0, :, 0].T
    expected = torch.tensor([[100.0, 0, 0], [53.24, 80.09, 67.20], [53.39, 0, 0]])
    assert torch.allclose(lab, expected, atol=0.1)
    colours = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(feather.rgb_from_lab(feather.lab_from_rgb(colours)), colours, atol=1e-4)


# --- poisson ---


def dense(edge, inside):
    """(C,h,w) the same linear system, written down whole and solved by elimination."""
    edge, inside = edge[0].numpy().astype(float), inside[0, 0].numpy()
    places = {tuple(p): k for k, p in enumerate(np.argwhere(inside))}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), len(edge)))
    for (y, x), k in places.items():
        for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= q[0] < inside.shape[0] and 0 <= q[1] < inside.shape[1]:
                matrix[k, k] += 1
                if q in places:
                    matrix[k, places[q]] -= 1
                else:
                    right[k] += edge[:, q[0], q[1]]
    out = edge.copy()
    out[:, inside] = np.linalg.solve(matrix, right).T
    return out


def shapes():
    y, x = grid(33, 29)
    disc = (x - 14) ** 2 + (y - 17) ** 2 < 120
    ring = disc & ((x - 12) ** 2 + (y - 15) ** 2 > 12)
    at_border = (x < 20) & (y > 8)
    return {"disc": disc, "ring": ring, "at the border": at_border, "a pixel": (x == 5.5) & (y == 7.5)}


@pytest.mark.parametrize("name", list(shapes()))
def test_the_membrane_is_that_of_a_dense_solve(name):
    inside = shapes()[name][None, None]
    edge = torch.rand(1, 3, 33, 29, generator=torch.Generator().manual_seed(0)) - 0.5
    assert np.abs(poisson.membrane(edge, inside)[0].numpy() - dense(edge, inside)).max() < 2e-4


def test_a_ramp_is_its_own_membrane():
    y, x = grid()
    ramp, inside = (0.3 * x / 90 - 0.2 * y / 72)[None, None], soft_mask() > 0.5
    hollow = torch.where(inside, torch.tensor(0.0), ramp)
    assert torch.allclose(poisson.membrane(hollow, inside), ramp, atol=1e-4)


def test_gradients_are_the_mouths_and_the_edge_is_the_frames(scene):
    under, over, mask = (x[:1] for x in scene)
    out, inside = get_blend(replace(CONFIG, blend="poisson"), CPU)(under, over, mask), mask > 0.5
    assert torch.equal(out[:, :, ~inside[0, 0]], under[:, :, ~inside[0, 0]])
    change = (out - over)[0]
    laplacian = (
        change[:, :-2, 1:-1] + change[:, 2:, 1:-1] + change[:, 1:-1, :-2] + change[:, 1:-1, 2:]
        - 4 * change[:, 1:-1, 1:-1]
    )  # fmt: skip
    assert float((laplacian * inside[0, :, 1:-1, 1:-1]).abs().max()) < 1e-3
    assert float((laplacian * ~inside[0, :, 1:-1, 1:-1]).abs().max()) > 0.01


def test_a_large_region_takes_few_steps(monkeypatch):
    """Some ten, as a multigrid's should: plain conjugate gradients would take hundreds."""
    calls, cycle = [], poisson._cycle
    monkeypatch.setattr(
        poisson, "_cycle", lambda grids, level, right: calls.append(level) or cycle(grids, level, right)
    )
    y, x = grid(240, 300)
    inside = (((x - 150) / 140) ** 2 + ((y - 120) / 110) ** 2 < 1)[None, None]
    poisson.membrane(torch.rand(1, 3, 240, 300, generator=torch.Generator().manual_seed(0)), inside)
    assert calls.count(0) <= 16


# --- seamless ---


def test_seamless_is_near_poisson(scene):
    """Both solve the same equation; OpenCV's region is three pixels smaller, and has 256 levels."""
    under, over, mask = (x[:1] for x in scene)
    over = under + (over - under) * 0.5
    a, b = (get_blend(replace(CONFIG, blend=name), CPU)(under, over, mask) for name in ("seamless", "poisson"))
    assert float((a - b)[..., 26:46, 33:57].abs().mean()) < 0.015


# --- learned ---


def test_the_shipped_network_is_small_read_once_and_near_poisson(scene):
    assert BLEND.stat().st_size <= 300_000
    get_blend(replace(CONFIG, blend="learned"), CPU)
    read = learned.blend_net.cache_info().misses
    get_blend(replace(CONFIG, blend="learned"), CPU)
    assert learned.blend_net.cache_info().misses == read, "a batch must not read the file again"
    x = grid()[1]
    lean = 0.04 * ((x - 45) / 30) * torch.tensor([1.0, 0.5, -0.5])[:, None, None]
    under, mask = skin(0), soft_mask()
    over = under + OFFSET + lean
    ours, exact = (get_blend(replace(CONFIG, blend=name), CPU)(under, over, mask) for name in ("learned", "poisson"))
    assert float((ours - exact).abs().sum() / (over - exact).abs().mul(mask).sum()) < 0.3


def test_a_larger_picture_gets_the_same_change():
    """The network sees everything small: twice the size is the same picture."""
    under, over, mask = skin(0), skin(2) + OFFSET, soft_mask()
    twice = [torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear") for x in (under, over, mask)]
    blend = get_blend(replace(CONFIG, blend="learned"), CPU)
    small = torch.nn.functional.avg_pool2d(blend(*twice), 2)
    assert float((small - blend(under, over, mask)).abs().max()) < 0.02
