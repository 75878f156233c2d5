"""Teeth are chosen at a smaller size where mouths are large, and lent at the bank's own."""

from __future__ import annotations

import cv2
import numpy as np

from lipsync.config.schema import TeethConfig
from lipsync.core.geometry import apply, mouth_space
from lipsync.core.lips import INNER_EDGE
from lipsync.core.types import MouthBank
from lipsync.render import teeth
from lipsync.render.teeth import choose_teeth
from tests.support.drawn import draw, lips_open

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
