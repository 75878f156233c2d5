"""Compiled sharpening gives what the reference gives."""

import pytest
import torch

from lipsync.core.geometry import mouth_space
from lipsync.textures.candidates import around_lips, lips_part, resharpened
from lipsync.textures.detail import with_detail
from lipsync.textures.warped_median import packed
from tests.support.drawn import lips_open
from video.pyramid import gaussian_blur

SPACE = mouth_space(60.0)


def reference(fused, crops, which, weights, lips, loss, limit):
    made = [
        resharpened(rgb.float(), around_lips(crops, wanted, SPACE)[some], share, wanted, SPACE, loss, limit)
        for rgb, some, share, wanted in zip(fused, which, weights, lips, strict=True)
    ]
    return (torch.stack(made) / 255).clamp(0, 1)


@pytest.mark.parametrize("moved", [(0.0, 0.0), (0.7, 0.6), (-0.75, -0.45)], ids=["inside", "corner", "other corner"])
@pytest.mark.parametrize("limit", [0.5, 5.0])
def test_detail_is_the_references(moved, limit):
    rng = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (7, 3, SPACE.height, SPACE.width), generator=rng).float()
    crops = gaussian_blur(crops, 0.8).to(torch.uint8)
    which = torch.tensor([[0, 3, 4], [6, 1, 0]])
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    fused = torch.stack([crops[rows].float().mean(0) for rows in which]).round().to(torch.uint8)
    lips = torch.stack([torch.from_numpy(lips_open(gap)) + torch.tensor(moved) for gap in (0.05, 0.2)])
    given = 1.1, limit
    expected = reference(fused, crops, which, weights, lips, *given)
    found = with_detail(fused, packed(crops), which, weights, [lips_part(each, SPACE) for each in lips], *given)
    assert (found - fused / 255).abs().max() > 0.02
    assert (found - expected).abs().max() < 1e-4


def test_a_flat_mouth_stays():
    flat = torch.full((1, 3, SPACE.height, SPACE.width), 90, dtype=torch.uint8)
    part = lips_part(torch.from_numpy(lips_open(0.1)), SPACE)
    found = with_detail(flat, packed(flat), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1), [part], 1.0, 2.0)
    assert torch.allclose(found, flat / 255)
