"""The mouth encoder that ships, the faults it learned to rank, and its training, on drawn mouths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.learning.losses import Losses, feature_distance
from lipsync.learning.perceptual import WIDTHS, MouthEncoder, mouth_encoder
from lipsync.store.registry import MOUTH_ENCODER
from tests.support.drawn import drawn_subject
from training.distortions import SPOILERS, WRONG_LIPS, Material, Mouth, examples, lip_error
from training.mouth_encoder import EncoderRecipe, train_encoder

pytestmark = pytest.mark.usefixtures("one_thread")

GAPS = np.linspace(0.0, 0.2, 24)


@pytest.fixture(scope="module")
def material() -> Material:
    return Material(drawn_subject(GAPS, 100.0).bank, np.arange(len(GAPS)))


@pytest.fixture(scope="module")
def encoder() -> MouthEncoder:
    return mouth_encoder()


def mouth(material: Material, row: int) -> Mouth:
    """A drawn mouth as it lies in the bank."""
    space = material.bank.space
    return Material(material.bank, np.array([row, row])).two(
        space.width, space.height, np.random.default_rng(0), varied=False
    )[0]


def planes(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32))


def distances(encoder: MouthEncoder, clean: np.ndarray, spoilt: list[np.ndarray]) -> np.ndarray:
    return feature_distance(encoder(planes([clean] * len(spoilt))), encoder(planes(spoilt))).numpy()


def test_the_shipped_file_is_small_and_is_the_network(encoder):
    assert MOUTH_ENCODER.stat().st_size < 1e6
    layers = encoder(torch.rand(2, 3, 96, 118))
    assert [tuple(x.shape[1:]) for x in layers] == [(16, 48, 59), (32, 24, 29), (64, 12, 14), (96, 6, 7)] and len(
        layers
    ) == len(WIDTHS)
    assert all(torch.isfinite(x).all() and x.std() > 0 for x in layers)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert Losses(perceptual="mouth-encoder").perceptual_name == "mouth-encoder"


@pytest.mark.parametrize("fault", ["blur", "noise", "ghost", "warp"])
@pytest.mark.parametrize("row", [6, 20])
def test_the_worse_the_farther(encoder, material, fault, row):
    one, other = mouth(material, row), mouth(material, 13)
    spoilt = [
        SPOILERS[fault](one, other, amount, np.random.default_rng(3))[0] for amount in (0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    far = distances(encoder, one.rgb, spoilt)
    assert far[0] < 1e-6 and (np.diff(far) > 0).all(), far


def test_wider_mouths_are_farther_from_a_closed_one(encoder, material):
    far = distances(encoder, mouth(material, 2).rgb, [mouth(material, row).rgb for row in range(2, 22, 3)])
    assert far[0] == 0 and (np.diff(far) > 0).all(), far


def test_a_fault_that_shows_is_farther_than_a_little_light_though_pixels_say_otherwise(encoder, material):
    one, other = mouth(material, 18), mouth(material, 4)
    bad = [
        SPOILERS["blur"](one, other, 0.5, np.random.default_rng(0))[0],
        SPOILERS["ghost"](one, other, 0.6, np.random.default_rng(0))[0],
    ]
    bright = (one.rgb * 1.08).clip(0, 1)
    far = distances(encoder, one.rgb, [bright, *bad])
    assert (far[1:] > far[0]).all(), far
    assert all(np.abs(one.rgb - bright).mean() > np.abs(one.rgb - picture).mean() for picture in bad)


def test_severity_is_the_lip_error(material):
    """Of another mouth: that of its points. A warp moves what lies under the lips."""
    one, other = mouth(material, 8), mouth(material, 16)
    assert lip_error(one, other) == pytest.approx(8 * (GAPS[1] - GAPS[0]) * (5 + 3) / 18, rel=0.25)
    severity = SPOILERS["swap"](one, other, 1.0, np.random.default_rng(0))[1]
    assert severity == pytest.approx(min(1.3, lip_error(one, other) / WRONG_LIPS))
    dots = np.zeros_like(one.rgb)
    at = one.lips[[0, 3, 6, 9]].round().astype(int)
    dots[at[:, 1], at[:, 0]] = 1
    for seed in range(3):
        moved = SPOILERS["warp"](Mouth(dots, one.lips, one.scale), other, 1.0, np.random.default_rng(seed))[0][..., 0]
        assert moved.sum() == pytest.approx(4, rel=0.7) and np.abs(moved - dots[..., 0]).sum() > 3


def test_faults_leave_the_size_and_the_range_and_the_clean_picture(material):
    one, other = mouth(material, 15), mouth(material, 5)
    before = one.rgb.copy()
    for name, spoil in SPOILERS.items():
        spoilt, severity = spoil(one, other, 0.7, np.random.default_rng(1))
        assert (
            spoilt.shape == one.rgb.shape and spoilt.dtype == np.float32 and spoilt.min() >= 0 and spoilt.max() <= 1
        ), name
        assert 0 < severity < 1.4 and np.abs(spoilt - one.rgb).max() > 0.01, name
    assert np.array_equal(one.rgb, before)
    inside = np.abs(SPOILERS["teeth"](one, other, 1.0, np.random.default_rng(1))[0] - one.rgb).max(-1) > 0.01
    rows, columns = np.nonzero(inside)
    assert (
        one.lips[:, 1].min() < rows.min() and rows.max() < one.lips[:, 1].max() and one.lips[0, 0] - 4 < columns.min()
    )


def test_lips_stay_on_the_picture_when_it_is_cut_and_mirrored(material):
    """The dark opening's middle is the middle of the inner lip points."""
    rng, seen = np.random.default_rng(0), 0
    for _ in range(30):
        one, _ = material.two(150, 120, rng)
        dark = one.rgb.sum(-1) < 0.5 * np.median(one.rgb.sum(-1))
        if dark.sum() > 100:
            rows, columns = np.nonzero(dark)
            inner = one.lips[[0, 12, 13, 14, 6, 15, 16, 17]].mean(0)
            assert np.abs(np.array([columns.mean(), rows.mean()]) + 0.5 - inner).max() < 4
            assert one.lips[0, 0] < one.lips[6, 0] and one.lips[3, 1] < one.lips[9, 1]
            seen += 1
    assert seen > 5


def test_training_steps_run_and_are_the_same_for_the_same_seed(material):
    recipes = [EncoderRecipe(steps=2, pixels=13_000, widths=(48, 64), seed=seed) for seed in (0, 0, 1)]
    first, again, other = (train_encoder([material], recipe) for recipe in recipes)
    a, b, c = (torch.cat([v.flatten() for v in net.state_dict().values()]) for net in (first, again, other))
    assert torch.isfinite(a).all() and torch.equal(a, b) and not torch.equal(a, c)
    start = train_encoder([material], EncoderRecipe(steps=0))
    assert not torch.equal(a, torch.cat([v.flatten() for v in start.state_dict().values()]))


def test_a_few_steps_teach_it_to_rank(material):
    recipe = EncoderRecipe(steps=40, pixels=26_000, widths=(48, 64))
    shown = examples([material], 60, 56, np.random.default_rng(9))

    def rank_r(net: MouthEncoder) -> float:
        far = feature_distance(net(torch.from_numpy(shown.clean)), net(torch.from_numpy(shown.spoilt))).numpy()
        ranks = [np.argsort(np.argsort(x)) for x in (far, shown.severity)]
        return float(np.corrcoef(*ranks)[0, 1])

    before = train_encoder([material], EncoderRecipe(steps=0))
    assert rank_r(train_encoder([material], recipe)) > rank_r(before) + 0.05


def test_a_file_keeps_the_network_and_a_wrong_one_is_told(tmp_path, material):
    net = MouthEncoder()
    net.save(tmp_path / "e.safetensors", {"recipe": "none"})
    picture = planes([mouth(material, 3).rgb])
    assert all(
        (a - b).abs().max() < 1e-2
        for a, b in zip(net(picture), mouth_encoder(tmp_path / "e.safetensors")(picture), strict=True)
    )
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    for wrong in (
        tmp_path / "broken.safetensors",
        tmp_path / "absent.safetensors",
        MOUTH_ENCODER.with_name("lips-prior-logmel.safetensors"),
    ):
        with pytest.raises(LipsyncError, match="mouth encoder"):
            mouth_encoder(wrong)


def test_the_recipe_loads_and_mistakes_are_named(tmp_path):
    assert EncoderRecipe.load("mouth-encoder") == EncoderRecipe()
    (tmp_path / "odd.toml").write_text("step = 6\n")
    with pytest.raises(UsageError, match="step"):
        EncoderRecipe.load(str(tmp_path / "odd.toml"))
    with pytest.raises(UsageError, match="mouth-encoder"):
        EncoderRecipe.load("none-such")
