"""The watermark in the render loop: only where a mouth was drawn, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.render.mark import Mark
from lipsync.render.plan import PlannedFaces

PLACE = np.array([[60.0, 0, 80], [0, 60, 50], [0, 0, 1]])


def faces(*strength: float) -> PlannedFaces:
    n = len(strength)
    still = np.zeros((n, 18, 2), np.float32)
    return PlannedFaces(np.tile(PLACE, (n, 1, 1)), still, still[:, :17], still[:, 0], np.array(strength, np.float32))


@pytest.fixture
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    """(4,3,120,160) as filmed, and with a drawn rectangle."""
    before = torch.randint(60, 190, (4, 3, 120, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[:, :, 40:90, 50:110] ^= 1
    return before, after


def test_only_what_was_drawn_is_marked_and_rows_that_pass_through_stay(frames):
    before, after = frames
    kept, seconds = after.clone(), np.array([0.1, 0.15, 0.2, 0.25])
    out = Mark.of("0123456789abcdef").on(after, before, [faces(0, 1, 1, 0.5, 1, 1)], slice(0, 4), seconds)
    assert (after == kept).all() and (out[0] == after[0]).all()
    moved = (out.int() - after.int()).abs().amax(1)
    assert all(moved[row].max() > 0 for row in (1, 2, 3)) and moved[3].max() < moved[2].max()
    moved[:, 40:90, 50:110] = 0
    assert not moved.any()


def test_where_nobody_is_drawn_the_frames_are_handed_on(frames):
    before, after = frames
    out = Mark.of("0").on(after, before, [faces(0, 0, 0, 0), faces(0, 0, 0, 0)], slice(0, 4), np.zeros(4))
    assert out.data_ptr() == after.data_ptr()


def test_rows_are_marked_the_same_in_any_batch(frames):
    before, after = frames
    mark, who, seconds = Mark.of("f" * 16), [faces(1, 1, 1, 1)], np.arange(4) / 25
    whole = mark.on(after, before, who, slice(0, 4), seconds)
    part = mark.on(after[2:3], before[2:3], who, slice(2, 3), seconds[2:3])
    assert (whole[2] == part[0]).all()
