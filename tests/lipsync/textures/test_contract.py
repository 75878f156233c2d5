"""The contract of every texture method, trained ones and the sample of one's own included, and what is special to the
weighted median."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.types import MouthSpace
from lipsync.learning.textures import train_texture
from lipsync.textures import get_method, texture_names
from lipsync.textures.candidates import CandidateWarp, kernel_weights, trajectories
from lipsync.textures.methods.median import robust_mean, weighted_median
from lipsync.textures.trainable import as_trainable, rows_of
from lipsync.textures.warped_median import PackedCrops, packed, warped_medians, whole_weights
from tests.support import SAMPLES
from tests.support.drawn import draw, drawn_subject, lips_open
from tests.support.textures import query_for

GAPS = 0.06 + 0.06 * np.sin(np.arange(60) / 3.0)


@pytest.fixture(scope="module")
def subject():
    return drawn_subject(GAPS)


def ready(name, subject, folder):
    """The method ready to draw; one that learns has learnt for two steps, and is read from its file when there is one
    in `folder`."""
    method, file = get_method(name, DubConfig()), folder / "weights.safetensors"
    if as_trainable(method):
        if not file.exists():
            method.config = dataclasses.replace(method.config, steps=2, batch=2, width=64)
            before = sums(method.begin(subject, "cpu"))
            report = train_texture(method, subject)
            assert report["steps"] == 2 and np.isfinite(report["error"]) and sums(method) != before, (
                "two steps must change the weights"
            )
            method.save(file)
            return method.prepare(subject, "cpu")
        method.weights = file
    return method.prepare(subject, "cpu")


def sums(method):
    return [float(p.detach().sum()) for p in method.nets.parameters()]


METHODS = [*texture_names(), str(SAMPLES / "new_method.py")]


@pytest.mark.parametrize("name", METHODS)
def test_contract(name, subject, tmp_path):
    method = ready(name, subject, tmp_path)
    assert method.name == (name if not name.endswith(".py") else "new-method")
    space = subject.bank.space
    query = query_for(GAPS[10:14], method.radius, space)
    mouth = method.render(query)
    assert mouth.rgb.shape == (4, 3, space.height, space.width) and mouth.alpha.shape == (
        4,
        1,
        space.height,
        space.width,
    )
    assert mouth.jaw.shape == (4, 17, 2) and mouth.rgb.dtype == mouth.jaw.dtype == torch.float32
    assert (
        float(mouth.rgb.min()) >= 0
        and float(mouth.rgb.max()) <= 1
        and float(mouth.alpha.min()) >= 0
        and float(mouth.alpha.max()) <= 1
    )
    assert torch.equal(method.render(query).rgb, mouth.rgb), "the same question must have the same answer"
    for b in range(4):
        alone = method.render(rows_of(query, b, b + 1, method.radius))
        assert torch.allclose(alone.rgb, mouth.rgb[b : b + 1], atol=1.5 / 255), "a row must not depend on its batch"
        assert torch.allclose(alone.alpha, mouth.alpha[b : b + 1], atol=1e-3) and torch.allclose(
            alone.jaw, mouth.jaw[b : b + 1], atol=1e-5
        )
    again = ready(name, subject, tmp_path).render(query)
    assert torch.equal(again.rgb, mouth.rgb) and torch.equal(again.alpha, mouth.alpha), (
        "what is read back draws the same"
    )


def test_median_draws_the_wanted_lips(subject):
    method = get_method("median", DubConfig()).prepare(subject, "cpu")
    space = subject.bank.space
    for gap in (0.01, 0.05, 0.11):
        drawn = method.render(query_for([gap] * 3, method.radius, space)).rgb[1].numpy() * 255
        truth = draw(lips_open(gap), space)
        assert np.abs(drawn - truth).mean() < 2.0, f"gap {gap}"
        other = draw(lips_open(gap + 0.04), space)
        assert np.abs(drawn - truth).mean() < 0.4 * np.abs(drawn - other).mean()


def test_weighted_median_minimises_the_weighted_absolute_distance():
    rng = np.random.default_rng(3)
    values = torch.from_numpy(rng.integers(0, 256, (9, 50)).astype(np.float32))
    weights = torch.from_numpy(rng.random(9).astype(np.float32))
    found = weighted_median(values, weights)
    grid = torch.arange(256.0)
    cost = (weights[:, None, None] * (values[:, :, None] - grid).abs()).sum(0)
    assert torch.allclose(cost.gather(1, found.long()[:, None])[:, 0], cost.min(1).values, atol=1e-3)


@pytest.mark.parametrize("reach", [0.0, 60.0])
@pytest.mark.parametrize("size", [(216, 272), (66, 81), (5, 7)])
def test_compiled_medians_equal_torch(size, reach):
    """Over the crop's edges, too; whole pixels exactly, between them within one grey level."""
    rng, (height, width) = np.random.default_rng(0), size
    warp = CandidateWarp(MouthSpace(100.0, -0.7, -0.4, height, width), torch.device("cpu"))
    crops = torch.from_numpy(rng.integers(0, 256, (9, 3, height, width)).astype(np.uint8))
    which = torch.from_numpy(np.stack([rng.permutation(9)[:7] for _ in range(3)]))
    weights = torch.from_numpy(rng.random((3, 7)).astype(np.float32))
    shares = whole_weights(weights).float()
    assert (shares.sum(1) > 65535 - 8).all() and torch.allclose(
        shares / 65535, weights / weights.sum(1, True), atol=2e-5
    )
    random = torch.from_numpy(rng.normal(0, 6, (3, 7, *warp.shape, 2)).astype(np.float32))
    whole = torch.from_numpy(rng.integers(-9, 10, (3, 7, 1, 1, 2)).astype(np.float32)).expand_as(random).contiguous()
    for field, limit in ((whole, 0 if reach == 0 else 1), (random, 1)):
        found = warped_medians(packed(crops), size, which, field, weights, reach)
        expected = torch.stack(
            [
                robust_mean(warp.apply(crops[some].float(), each).round(), share, reach)
                for some, each, share in zip(which, field, shares, strict=True)
            ]
        )
        # two candidates of nearly one value may change places, so a median now and then is the next one; in noise the
        # mean of the few that lie within reach follows it by several levels
        near = ((found.float() - expected).abs() <= limit).float().mean()
        assert near == 1 if field is whole else near > (0.9 if reach else 0.999)


def test_compiled_median_of_few_candidates_and_of_one():
    crops = torch.tensor([10, 200, 90], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 8, 8).contiguous()
    field, which, given = torch.zeros(1, 3, 3, 3, 2), torch.tensor([[0, 1, 2]]), (packed(crops), (8, 8))
    for weights, expected in (([0.5, 0.3, 0.2], 10), ([0.4, 0.2, 0.4], 90), ([0.1, 0.6, 0.3], 200)):
        assert (warped_medians(*given, which, field, torch.tensor([weights])) == expected).all(), weights
    assert (warped_medians(*given, which[:, 1:2], field[:, :1], torch.ones(1, 1)) == 200).all()
    field[:] = torch.nan
    assert warped_medians(*given, which, field, torch.ones(1, 3)).shape == (1, 3, 8, 8), "nothing outside is read"


def test_crops_are_taken_once_while_they_are_kept():
    crops = torch.randint(0, 256, (50, 3, 8, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    taken, full = [], packed(crops)
    kept = PackedCrops(lambda rows: (taken.extend(rows.tolist()), crops[rows])[1], (8, 9), 6)
    for asked in ([[1, 2], [2, 3]], [[3, 4], [5, 6]], [[1, 3], [7, 4]], [[8, 9], [10, 11]], [[49, 8], [9, 49]]):
        pictures, which = kept(torch.tensor(asked))
        assert (pictures[which.numpy()] == full[np.array(asked)])[..., : 8 * 9].all()
    assert taken == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 49], "the one not asked for the longest goes first"
    with ThreadPoolExecutor(1) as other:
        assert other.submit(kept, torch.tensor([[49]])).result()[0] is not pictures and taken[-2:] == [49, 49]


def test_a_robust_mean_is_the_mean_of_what_agrees():
    values = torch.tensor([[100.0], [104.0], [108.0], [250.0]])
    weights = torch.tensor([0.3, 0.2, 0.3, 0.2])
    assert float(weighted_median(values, weights)) == 104 == float(robust_mean(values, weights, 0.0))
    assert abs(float(robust_mean(values, weights, 60.0)) - 104) < 0.1, "what is far off counts nothing"
    before, after = (torch.tensor([w, 1 - w]) for w in (0.49, 0.51))
    apart = torch.tensor([[100.0], [110.0]])
    assert float(weighted_median(apart, before) - weighted_median(apart, after)) == 10
    assert abs(float(robust_mean(apart, before, 60.0) - robust_mean(apart, after, 60.0))) < 0.5, "it does not jump"


def test_the_best_n_hold_alpha_of_the_weight():
    distance = torch.sort(torch.rand(4, 60), 1).values
    weight = kernel_weights(distance, 20, 0.9)
    assert torch.allclose(weight[:, :20].sum(1) / weight.sum(1), torch.tensor(0.9), atol=1e-3)
    assert (weight.diff(dim=1) <= 0).all()


def test_equal_distances_share_the_weight():
    weight = kernel_weights(torch.zeros(1, 10), 5, 0.9)
    assert torch.allclose(weight, weight[:, :1].expand_as(weight))


def test_warp_moves_the_lips_where_they_are_wanted(subject):
    space = subject.bank.space
    warp = CandidateWarp(space, torch.device("cpu"))
    lips = torch.from_numpy(np.stack([lips_open(0.08), lips_open(0.0)]))
    jaw = torch.from_numpy(subject.bank.jaw[:1])
    field = warp.fields(lips[1:], jaw, lips[None, :1], jaw[None])
    moved = warp.apply(torch.from_numpy(draw(lips_open(0.08), space)[None]).float(), field[0])[0].numpy()
    wanted = draw(lips_open(0.0), space)
    start = draw(lips_open(0.08), space)
    assert np.abs(moved - wanted).mean() < 0.4 * np.abs(start.astype(float) - wanted).mean()


def test_trajectories_stop_at_shots(subject):
    import dataclasses

    config = DubConfig().median
    cut = dataclasses.replace(subject.bank, shot=(np.arange(60) >= 30).astype(np.int64))
    whole, parted = trajectories(subject.bank, config), trajectories(cut, config)
    changed = np.flatnonzero(np.abs(whole - parted).max(1) > 1e-6)
    assert set(changed) == {28, 29, 30, 31}


def test_unknown_method_names_the_nearest():
    with pytest.raises(UsageError, match="median"):
        get_method("meidan", DubConfig())


def test_a_file_that_breaks_the_protocol(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Method:\n    name = 'mine'\n")
    with pytest.raises(LipsyncError, match="radius, prepare, render"):
        get_method(str(path), DubConfig())
