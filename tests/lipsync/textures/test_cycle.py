"""Transfer of other footage's mouths: what was filmed in other light comes nearer to what the target's camera would
have shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.config.textures import CycleConfig
from lipsync.learning.losses import Losses
from lipsync.learning.textures import Examples, train_texture
from lipsync.textures import get_method
from lipsync.textures.methods.cycle import Appearance, Discriminator, Method, appearance_distance, edge_energy
from tests.support.drawn import drawn_subject
from tests.support.textures import query_for

GAPS = 0.06 + 0.06 * np.sin(np.arange(160) / 3.0)
CONFIG = CycleConfig(width=64, steps=72, batch=4, rate=1e-3, channels=16)


def other_light(crops: np.ndarray) -> np.ndarray:
    """Darker, bluer, softer, grainier."""
    import cv2

    bright = (crops / 255.0) ** 1.4 * np.array([0.8, 0.85, 1.0])[:, None, None] + 0.04
    soft = np.stack([[cv2.GaussianBlur(channel, (0, 0), 1.2) for channel in crop] for crop in bright])
    grain = np.random.default_rng(0).normal(0, 0.01, soft.shape)
    return ((soft + grain) * 255).clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def two_films():
    """Drawn mouths, the second half from another film; and what that would have shown in the target's light."""
    whole = drawn_subject(GAPS, 30.0)
    bank, other = whole.bank, np.arange(160) >= 80
    crops = bank.crops.copy()
    crops[other] = other_light(crops[other])
    return replace(whole, bank=replace(bank, crops=crops, shot=other.astype(np.int64))), bank.crops, other


@pytest.fixture(scope="module")
def judged_by_l1():
    """The perceptual network is left out: the transfer is not learnt from it, and it has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Losses, "perceptual", lambda self, a, b: torch.zeros(()))
        patch.setattr(Losses, "perceptual_name", "none")
        yield


@pytest.fixture(scope="module")
def trained(two_films, judged_by_l1, tmp_path_factory):
    method = Method(CONFIG)
    report = train_texture(method, two_films[0])
    path = tmp_path_factory.mktemp("cycle") / "cycle.safetensors"
    method.save(path)
    return path, report


def ready(path, subject):
    method = Method(CONFIG)
    method.weights = path
    return method.prepare(subject, "cpu")


def test_the_transferred_mouths_come_nearer_to_the_truth(two_films, trained):
    subject, truth, other = two_films
    bank = ready(trained[0], subject).median.candidates.bank
    before, after, true = (
        torch.from_numpy(np.array(c[other])).float() / 255 for c in (subject.bank.crops, bank.crops, truth)
    )
    away = lambda x: float((x - true).abs().mean())
    tint = lambda x: float((x.mean((2, 3)) - true.mean((2, 3))).abs().mean())
    assert away(after) < 0.25 * away(before), (away(before), away(after))
    assert tint(after) < 0.1 * tint(before), (tint(before), tint(after))
    light_only = (before * (true.mean((0, 2, 3)) / before.mean((0, 2, 3)))[:, None, None]).clamp(0, 1)
    blurred, mended, sharp = (edge_energy(x).log().mean() for x in (light_only, after, true))
    assert abs(mended - sharp) < 0.7 * abs(blurred - sharp), ("this can only be learnt", blurred, mended, sharp)
    assert (
        appearance_distance(after, true)
        < 0.9 * appearance_distance(light_only, true)
        < appearance_distance(before, true)
    )
    assert np.array_equal(bank.crops[~other], truth[~other]), "the target's own mouths stay as they are"
    assert (
        np.array_equal(bank.sharpness[~other], subject.bank.sharpness[~other])
        and (bank.sharpness[other] != subject.bank.sharpness[other]).all()
    )


def test_a_dub_draws_in_the_targets_look(two_films, trained):
    subject, truth, other = two_films
    kept = np.flatnonzero(other | (GAPS < 0.05))  # the target itself never opens its mouth wide
    rows = {name: getattr(subject.bank, name)[kept] for name in ("source", "lips", "jaw", "pose", "sharpness", "shot")}
    mixed, right = (
        replace(subject, bank=replace(subject.bank, crops=crops[kept], **rows)) for crops in (subject.bank.crops, truth)
    )
    plain, ideal = (get_method("median", DubConfig()).prepare(s, "cpu") for s in (mixed, right))
    query = query_for(np.array([0.08, 0.1, 0.11]), 4, subject.bank.space)
    drawn, unmended, right = (m.render(query).rgb for m in (ready(trained[0], mixed), plain, ideal))
    assert (drawn - right).abs().mean() < 0.5 * (unmended - right).abs().mean()


def test_the_report_says_what_was_transferred(trained):
    assert trained[1]["footage_mouths"] == 80 and trained[1]["transfer"] == "from other footage"


def test_without_other_footage_it_is_the_median(judged_by_l1):
    subject = drawn_subject(GAPS[:60], 30.0)
    method = Method(replace(CONFIG, steps=4))
    report = train_texture(method, subject)
    assert report["footage_mouths"] == 0 and report["transfer"].startswith("none") and report["error"] < 0.02
    query = query_for(GAPS[10:14], 4, subject.bank.space)
    assert torch.equal(
        method.prepare(subject, "cpu").render(query).rgb,
        get_method("median", DubConfig()).prepare(subject, "cpu").render(query).rgb,
    )


def test_batches_are_half_of_either_appearance(two_films):
    subject = two_films[0]
    few = replace(subject, bank=replace(subject.bank, shot=(np.arange(160) >= 110).astype(np.int64)))
    domain = Method().domains(few)
    examples = Examples(few.bank, None, torch.device("cpu"), torch.Generator().manual_seed(0), domain)
    for run in (1, 2):
        rows = examples.draw(8, run).row.numpy()
        assert domain[rows].tolist() == [0] * 4 + [1] * 4
    assert not domain[examples.held_out().row.numpy()].any()


def test_untrained_networks_change_nothing_and_take_any_size():
    for size in ((94, 118), (33, 20), (216, 272)):
        rgb = torch.rand(1, 3, *size)
        with torch.no_grad():
            assert torch.equal(Appearance(8)(rgb), rgb)
    discriminator = Discriminator(8)
    x = torch.zeros(1, 8, 101, 101, requires_grad=True)
    out = discriminator(x)
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    assert int((x.grad.abs().sum((0, 1, 2)) > 0).sum()) == 34


def test_the_transferred_bank_is_in_a_file_that_has_no_name(two_films, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bank = ready(trained[0], two_films[0]).median.candidates.bank
    assert isinstance(bank.crops, np.memmap) and not list(tmp_path.iterdir())
