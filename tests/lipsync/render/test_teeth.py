"""Teeth are chosen at a smaller size where mouths are large, and lent at the bank's own; what lies in the openings' box
is what the whole crop would give."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from lipsync.config.schema import TeethConfig
from lipsync.core.geometry import apply, mouth_space
from lipsync.core.lips import INNER_EDGE, soft_step
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthBank, TeethReference
from lipsync.render import teeth
from lipsync.render.teeth import choose_teeth, high_frequencies, inner_mouth, sharpen_teeth, whiteness
from tests.support.drawn import draw, lips_open

SPACE, CONFIG = mouth_space(150.0), TeethConfig()
N = 24


def _bank(eye_px: int) -> MouthBank:
    """Mouths that open by and by; stripes for teeth in every third, in the others none."""
    space, rng = mouth_space(eye_px), np.random.default_rng(0)
    lips = np.stack([lips_open(0.06 + 0.004 * k) for k in range(N)]).astype(np.float32)
    fine, crops = eye_px / 75, []
    stripes = np.where(np.arange(space.width) / fine % 2 < 1, 240, 150).astype(np.float32)
    stripes = np.repeat(np.broadcast_to(stripes, (space.height, space.width))[..., None], 3, 2)
    for k, one in enumerate(lips):
        rgb = draw(one, space).transpose(1, 2, 0).copy()
        hole = np.zeros(rgb.shape[:2], np.uint8)
        cv2.fillPoly(hole, [apply(space.mouth_from_face, one[INNER_EDGE]).round().astype(np.int32)], 1)
        hole[cv2.boundingRect(hole)[1] + cv2.boundingRect(hole)[3] // 2 :] = 0  # upper teeth only
        if k % 3 == 0:
            rgb[hole > 0] = stripes[hole > 0]
        crops.append(np.clip(rgb + rng.normal(0, 1, rgb.shape), 0, 255).astype(np.uint8).transpose(2, 0, 1))
    nothing = np.zeros((N, 17, 2), np.float32)
    return MouthBank(
        np.stack(crops), np.arange(N), lips, nothing, nothing[:, 0, :1].repeat(3, 1), np.ones(N, np.float32),
        np.zeros(N, np.int64), space,
    )  # fmt: skip


def _chosen(bank: MouthBank, found: np.ndarray) -> set[int]:
    return {int(np.abs(bank.lips - lips).sum((1, 2)).argmin()) for lips in found}


def test_large_mouths_are_compared_small_and_lend_at_full_size(monkeypatch):
    bank, steps = _bank(300), []
    found = choose_teeth(bank, TeethConfig(references=4), lambda *step: steps.append(step))
    monkeypatch.setattr(teeth, "COMPARED_PX", 10**6)
    whole = choose_teeth(bank, TeethConfig(references=4))
    assert found.detail.shape == (4, 3, bank.space.height, bank.space.width) and found.mask.shape[0] == 4
    assert _chosen(bank, found.lips) == _chosen(bank, whole.lips)
    assert all(k % 3 == 0 for k in _chosen(bank, found.lips)), "those with teeth"
    assert max(found.level[0], whole.level[0]) < 0.5, "below the darkest stripe"
    assert steps[-1][0] == "teeth" and steps[-1][1] == steps[-1][2] > 0


def test_teeth_are_chosen_in_a_box_as_in_the_whole_crop(monkeypatch):
    bank = _bank(300)
    ours = choose_teeth(bank, TeethConfig(references=4))
    monkeypatch.setattr(teeth, "_around_inner_mouths", lambda *_: teeth.WHOLE)
    whole = choose_teeth(bank, TeethConfig(references=4))
    assert (whole.mask > 0.5).any() and all(
        np.array_equal(getattr(ours, name), getattr(whole, name)) for name in ("lips", "level", "mask")
    )
    assert np.allclose(ours.detail, whole.detail, atol=1e-6)


def given(gaps):
    """Noise for mouths and for two references, and lips this far open."""
    rng, size = np.random.default_rng(4), (SPACE.height, SPACE.width)
    rgb = torch.from_numpy(rng.random((len(gaps), 3, *size)).astype(np.float32))
    mouth = MouthTexture(rgb, torch.ones_like(rgb[:, :1]), torch.zeros(len(gaps), 17, 2))
    detail, mask = rng.normal(0, 0.1, (2, 3, *size)).astype(np.float32), rng.random((2, *size)).astype(np.float32)
    known = np.stack([lips_open(0.1), lips_open(0.25)]).astype(np.float32)
    teeth = TeethReference(detail, mask, known, np.array([0.3, 0.2], np.float32))
    return mouth, teeth, np.stack([lips_open(gap) for gap in gaps]).astype(np.float32)


def test_teeth_are_those_of_the_whole_crop():
    mouth, lent_from, lips = given([0.2, 0.0, 0.12])
    drawn, rgb = torch.from_numpy(lips), mouth.rgb
    mask = soft_step((whiteness(rgb) - 0.3) / 0.2) * inner_mouth(drawn, SPACE)
    distance = torch.cdist(drawn.flatten(1), torch.from_numpy(lent_from.lips).flatten(1)) / 18**0.5
    weight = torch.softmax(-((distance / CONFIG.nearness) ** 2), 1)
    detail = torch.einsum("br,rchw->bchw", weight, torch.from_numpy(lent_from.detail))
    known = torch.einsum("br,rhw->bhw", weight, torch.from_numpy(lent_from.mask))[:, None]
    lent = detail / known.clamp_min(0.2) - high_frequencies(rgb, SPACE, CONFIG)
    expected = (rgb + CONFIG.strength * mask * known * lent).clamp(0, 1)
    found = sharpen_teeth(mouth, lent_from, lips, SPACE, CONFIG).rgb
    assert (expected - rgb).abs().max() > 0.1 and torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(found[1], rgb[1]), "a closed mouth has no teeth"


def test_lips_beyond_the_crop_and_closed_mouths_change_nothing():
    mouth, lent_from, lips = given([0.2])
    assert torch.equal(sharpen_teeth(mouth, lent_from, lips + np.float32(9), SPACE, CONFIG).rgb, mouth.rgb)
    assert torch.equal(sharpen_teeth(mouth, lent_from, lips - np.float32(9), SPACE, CONFIG).rgb, mouth.rgb)
    assert sharpen_teeth(*given([0.0, 0.0]), SPACE, CONFIG).rgb.shape[0] == 2
