"""Choosing, warping and fusing real mouths: what the methods without training share, and what is special to each."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.config.textures import MedianConfig, NearestConfig
from lipsync.core.geometry import apply, mouth_space
from lipsync.core.texture import TextureQuery
from lipsync.textures import get_method
from lipsync.textures.candidates import (
    Candidates,
    CandidateWarp,
    _edges,
    around_lips,
    fine_detail,
    following,
    resharpened,
)
from lipsync.textures.methods.nearest import Method as Nearest
from lipsync.textures.methods.nearest import middle_of_best_run
from lipsync.textures.views import ViewMap, without_duplicates
from lipsync.textures.warped_median import NODE_STEP
from tests.support.drawn import draw, drawn_subject, lips_open

GAPS = 0.06 + 0.06 * np.sin(np.arange(60) / 3.0)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


def test_an_answer_keeps_to_the_rows_it_is_allowed(subject):
    candidates = Candidates(subject.bank, MedianConfig(), "cpu")
    wanted = candidates.features[20:29]  # 3 answers with 3 rows of context on either side
    everything = torch.ones(3, 60, dtype=torch.bool)
    assert all(
        torch.equal(a, b) for a, b in zip(candidates.choose(wanted), candidates.choose(wanted, everything), strict=True)
    )
    only = everything.clone()
    only[1, 10:] = False
    index, weight = candidates.choose(wanted, only)
    assert (weight[1][index[1] >= 10] == 0).all() and torch.allclose(weight.sum(1), torch.ones(3))
    assert torch.equal(index[0], candidates.choose(wanted)[0][0]), "another row's mask changes nothing"


def test_resharpening_gives_back_the_edges_that_fusing_cost(subject):
    space, lips = subject.bank.space, torch.from_numpy(subject.bank.lips[5])
    filmed = torch.from_numpy(subject.bank.crops[5:6]).float()
    soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(filmed, (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
    near, given = around_lips(filmed, lips, space), (torch.ones(1), lips, space, 1.0)
    assert torch.equal(resharpened(soft, near, *given, 0.0), soft)
    energy = lambda x: float(_edges(around_lips(x, lips, space)).square().mean())
    sharper = resharpened(soft, near, *given, 2.0)[None]
    assert energy(soft[None]) < 0.6 * energy(filmed) and energy(sharper) == pytest.approx(energy(filmed), rel=1e-3)
    assert energy(soft[None]) < energy(resharpened(soft, near, *given, 0.2)[None]) < energy(filmed), (
        "no more than the limit"
    )


def test_edges_and_fine_detail_are_what_their_filters_say():
    rgb = torch.rand(2, 3, 11, 13, generator=torch.Generator().manual_seed(1))
    grey, ring = rgb.double().mean(1, keepdim=True), torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).double()
    smooth = torch.nn.functional.avg_pool2d(grey, 3, 1)
    expected = torch.nn.functional.conv2d(smooth, ring[None, None])
    assert torch.allclose(_edges(rgb).double(), expected, atol=1e-6)
    assert torch.allclose(_edges((rgb * 255).byte()), _edges((rgb * 255).byte().float()))
    padded = torch.nn.functional.pad(rgb, (2, 2, 2, 2), mode="replicate")
    for _ in range(2):
        padded = torch.nn.functional.avg_pool2d(padded, 3, 1)
    assert torch.allclose(fine_detail(rgb, 2), rgb - padded, atol=1e-6)


def test_displacement_fields_bring_points_where_double_precision_brings_them(subject):
    """Splines through every point, solved and evaluated by the textbook."""
    space, bank = mouth_space(240.0), subject.bank
    warp = CandidateWarp(space, torch.device("cpu"))
    closed = torch.from_numpy(np.stack([lips_open(0.0), lips_open(0.0)]).astype(np.float32))  # no teeth to keep
    theirs = torch.from_numpy(bank.lips[[3, 9, 20]].astype(np.float32)).expand(2, -1, -1, -1)
    jaw, their_jaw = torch.from_numpy(bank.jaw[:2]), torch.from_numpy(bank.jaw[[3, 9, 20]]).expand(2, -1, -1, -1)
    field = warp.fields(closed, jaw.float(), theirs, their_jaw.float())
    spline = lambda r: r**2 * torch.log(r.clamp_min(1e-9))
    nodes = torch.stack(torch.meshgrid(warp.x.double(), warp.y.double(), indexing="xy"), -1).reshape(-1, 2)
    for b, c in product(range(2), range(3)):
        to = torch.cat([closed[b], jaw[b, 3:14]]).double()
        moved = torch.cat([theirs[b, c], their_jaw[b, c, 3:14]]).double() - to
        to, moved = torch.cat([to, warp.anchors]), torch.cat([moved, moved.new_zeros(len(warp.anchors), 2)])
        flat = lambda p: torch.cat([torch.ones_like(p[:, :1]), p], 1)
        top = torch.cat([spline(torch.cdist(to, to)) + warp.relax * torch.eye(len(to)), flat(to)], 1)
        system = torch.cat([top, torch.cat([flat(to).T, torch.zeros(3, 3)], 1)])
        solved = torch.linalg.solve(system.double(), torch.cat([moved, moved.new_zeros(3, 2)]))
        expected = torch.cat([spline(torch.cdist(nodes, to)), flat(nodes)], 1) @ solved * space.scale
        assert expected.abs().max() > 5 and (field[b, c].reshape(-1, 2) - expected).abs().max() < 0.01


def test_upper_teeth_stay_where_the_skull_has_them_while_the_lips_move(subject):
    """A mouth that has all its lips lower, upper lip as well: lips are fetched from there, upper teeth are not."""
    space = mouth_space(240.0)
    warp = CandidateWarp(space, torch.device("cpu"))
    jaw = torch.from_numpy(subject.bank.jaw[:1])
    wanted, theirs = (lips_open(0.3), lips_open(0.3) + np.array([0, 0.03]))
    lips, from_lips = (torch.from_numpy(each.astype(np.float32))[None] for each in (wanted, theirs))
    field = warp.fields(lips, jaw, from_lips[None], jaw[None])[0, 0, ..., 1].numpy()

    def moved_at(x: float, y: float) -> float:
        """Eye distances."""
        column, row = (apply(space.mouth_from_face, np.array([[x, y]]))[0] / NODE_STEP).astype(int)
        return float(field[row, column]) / space.scale

    upper, lower = wanted[13], wanted[16]
    assert abs(moved_at(0, upper[1] + 0.09)) < 0.004, "upper teeth"
    assert moved_at(0, upper[1] - 0.03) > 0.02 and moved_at(0, lower[1] + 0.03) > 0.02, "the lips themselves"
    assert moved_at(0, lower[1] - 0.04) > 0.02, "lower teeth go with the lower lip"
    closed = torch.from_numpy((lips_open(0.0) + np.array([0, 0.03])).astype(np.float32))[None, None]
    from_closed = warp.fields(lips, jaw, closed, jaw[None])[0, 0, ..., 1].numpy()
    assert np.abs(from_closed).max() > 0.1 * space.scale, "a closed mouth has no teeth to keep"


def query_for(gaps, radius, space):
    """Rows that ask for these gaps, context repeated at the ends."""
    around = np.clip(np.arange(-radius, len(gaps) + radius), 0, len(gaps) - 1)
    lips = torch.from_numpy(np.stack([lips_open(gaps[i]) for i in around]).astype(np.float32))
    crop = torch.full((len(gaps), 3, space.height, space.width), 0.5)
    return TextureQuery(lips, torch.zeros(len(around), 3), crop)


@pytest.mark.parametrize("name", ["nearest", "appearance-map"])
def test_the_wanted_lips_are_drawn(name, subject):
    method, space = get_method(name, DubConfig()).prepare(subject, "cpu"), subject.bank.space
    for gap in (0.01, 0.05, 0.11):
        drawn = method.render(query_for([gap], method.radius, space)).rgb[0].numpy() * 255
        truth, other = draw(lips_open(gap), space), draw(lips_open(gap + 0.04), space)
        assert np.abs(drawn - truth).mean() < min(2.0, 0.4 * np.abs(drawn - other).mean()), f"gap {gap}"


@pytest.mark.parametrize("name", ["nearest", "appearance-map"])
def test_any_range_of_rows_comes_out_the_same(name, subject):
    method, space = get_method(name, DubConfig()).prepare(subject, "cpu"), subject.bank.space
    gaps = 0.06 + 0.05 * np.sin(np.arange(40) / 2.3)
    r = method.radius
    whole = query_for(gaps, r, space)
    part = TextureQuery(whole.lips[13 : 22 + 2 * r], whole.pose[13 : 22 + 2 * r], whole.crop[13:22])
    assert torch.allclose(method.render(part).rgb, method.render(whole).rgb[13:22], atol=1 / 255)


@pytest.fixture(scope="module")
def two_lights(subject):
    """Some way into the shot it is brighter by 20: a method that hops between mouths flickers below the chin, where
    nothing moves."""
    later = np.arange(60) >= 30
    crops = np.clip(subject.bank.crops + 20 * later[:, None, None, None], 0, 255).astype(np.uint8)
    sharpness = np.random.default_rng(0).random(60) + 1
    return replace(
        subject, bank=replace(subject.bank, crops=crops, source=np.arange(60) + 9 * later, sharpness=sharpness)
    )


def light_changes(method, gaps, space):
    rgb = method.render(query_for(gaps, method.radius, space)).rgb
    return (rgb[:, :, -4:].mean((1, 2, 3)) * 255).diff().abs()


def test_nearest_plans_a_run_without_hops(two_lights):
    gaps, space = 0.06 + 0.05 * np.sin(np.arange(40) / 3.0), two_lights.bank.space
    hops = [
        int((light_changes(Nearest(NearestConfig(jump=jump)).prepare(two_lights, "cpu"), gaps, space) > 10).sum())
        for jump in (0, 0.5, 20)
    ]
    assert hops[0] > 10 and hops[1] < 0.6 * hops[0] and hops[2] <= 4, hops


def test_the_map_fades_from_view_to_view(two_lights):
    method = get_method("appearance-map", DubConfig()).prepare(two_lights, "cpu")
    change = light_changes(method, np.linspace(0.01, 0.11, 150), two_lights.bank.space)
    assert change.sum() > 15 and change.max() < 4


def test_without_warping_the_film_is_shown_as_it_is(subject):
    method = Nearest(NearestConfig(warp=False, jump=0.0)).prepare(subject, "cpu")
    rows = np.arange(20 - method.radius, 25 + method.radius)
    query = TextureQuery(torch.from_numpy(subject.bank.lips[rows]), torch.zeros(len(rows), 3))
    mouth = method.render(query)
    assert torch.allclose(mouth.rgb * 255, torch.from_numpy(subject.bank.crops[20:25]).float(), atol=1e-3)
    assert np.allclose(mouth.jaw, subject.bank.jaw[20:25])


def test_the_best_run_is_the_cheapest_of_all_runs():
    rng = np.random.default_rng(1)
    cost, step = torch.from_numpy(rng.random((7, 3))), torch.from_numpy(rng.random((6, 3, 3)))
    for first in range(3):
        price = {
            run: sum(float(cost[first + i, c]) for i, c in enumerate(run))
            + sum(float(step[first + i, a, b]) for i, (a, b) in enumerate(pairwise(run)))
            for run in product(range(3), repeat=5)
        }
        assert int(middle_of_best_run(cost, step, 2)[first]) == min(price, key=price.get)[2]


def test_what_follows_stops_at_shots_and_gaps(subject):
    source = np.arange(60) + 3 * (np.arange(60) >= 40)
    cut = replace(subject.bank, shot=(np.arange(60) >= 20).astype(np.int64), source=source)
    stays = np.flatnonzero(following(cut) == np.arange(60))
    assert list(stays) == [19, 39, 59]


@pytest.mark.parametrize("n_axes", [1, 2, 3, 4])
def test_barycentric_weights_give_linear_functions_back(n_axes):
    rng = np.random.default_rng(n_axes)
    points = (
        rng.normal(size=(80, n_axes)) @ rng.normal(size=(n_axes, 5)) + 3
    )  # in 5 dimensions, but on a plane of n_axes
    inside = (rng.dirichlet(np.ones(80) * 0.1, 200)) @ points
    corner, share = ViewMap(points).blend(inside)
    assert corner.shape == share.shape == (200, n_axes + 1)
    assert (
        (share >= 0).all()
        and np.allclose(share.sum(1), 1)
        and np.allclose((points[corner] * share[..., None]).sum(1), inside, atol=1e-6)
    )


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_outside_the_map_weights_stay_continuous_and_on_its_rim(n_axes):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, n_axes))
    path = np.linspace(-30, 30, 20001)[:, None] * np.ones(n_axes)
    corner, share = ViewMap(points).blend(path)
    place = (points[corner] * share[..., None]).sum(1)
    assert (share >= 0).all() and np.allclose(share.sum(1), 1) and np.abs(np.diff(place, axis=0)).max() < 0.02
    assert np.abs(place).max() <= np.abs(points).max() + 1e-9


@pytest.mark.parametrize("n_points", [1, 2, 3])
def test_a_map_of_few_or_equal_views(n_points):
    for points in (np.arange(n_points)[:, None] * np.ones((1, 4)), np.zeros((n_points, 4)), np.eye(4)[:n_points]):
        corner, share = ViewMap(points).blend(np.array([[0.2, 0.1, 0.0, 9.0]]))
        assert np.isfinite(share).all() and np.allclose(share.sum(1), 1) and corner.max() < n_points


def test_of_near_duplicates_the_sharpest_stays():
    points = np.random.default_rng(0).random((300, 2))
    sharpness = np.random.default_rng(1).random(300)
    kept = without_duplicates(points, sharpness, 0.1)
    between = np.linalg.norm(points[kept][:, None] - points[kept], axis=-1) + np.eye(len(kept))
    assert between.min() > 0.1 and int(sharpness.argmax()) in kept
    assert np.linalg.norm(points[:, None] - points[kept], axis=-1).min(1).max() <= 0.1, (
        "every view has one near that stays"
    )
