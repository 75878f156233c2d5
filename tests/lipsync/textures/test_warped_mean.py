"""The compiled passes of the hybrid texture, each against its few lines of torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lipsync.core.geometry import sample_pixels
from lipsync.core.types import MouthSpace
from lipsync.textures.candidates import CandidateWarp
from lipsync.textures.warped_mean import fused_mouth, mean_and_spread, small_mouths
from lipsync.textures.warped_median import packed

RNG = np.random.default_rng(0)


def random(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.standard_normal(shape).astype(np.float32))


def moved(pictures: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Each pixel fetched from where its flow points."""
    h, w = pictures.shape[2:]
    at = torch.stack(torch.meshgrid(torch.arange(w) + 0.5, torch.arange(h) + 0.5, indexing="xy"))
    return sample_pixels(pictures, (at + flow).permute(0, 2, 3, 1))


def enlarged(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(216, 272), (66, 81), (5, 7)])
def test_fused_mouths_are_those_of_torch(size):
    """Smooth and rough flows, over the crop's edges, too; weights from nearly none to nearly all."""
    height, width = size
    warp = CandidateWarp(MouthSpace(100.0, -0.7, -0.4, height, width), torch.device("cpu"))
    crops = torch.from_numpy(RNG.integers(0, 256, (9, 3, height, width)).astype(np.uint8))
    which, strongest = torch.from_numpy(RNG.permutation(9)[:6]), 0.2
    field, placed, made = 4 * random(6, *warp.shape, 2), 3 * random(6, 3, 9, 11), 2 * random(7, 13, 10)
    made[:3] *= 20  # both ends of the squashing
    real = moved(crops[which].float() / 255, warp.dense(field) + enlarged(placed[:, 1:], size))
    mean = (real * enlarged(placed[None, :, 0], size)[0].softmax(0)[:, None]).sum(0)
    drawn = enlarged(made[None], size)[0]
    expected = torch.lerp(mean + strongest * drawn[4:].tanh(), drawn[:3].sigmoid(), drawn[3:4].sigmoid())
    out, spans = torch.full((3, height, width), 7.0), np.tile([0, width], (height, 1))
    spans[1], spans[2] = (2, width - 1), (0, 0)
    pictures = packed(crops)
    arrays = (each.numpy() for each in (field, placed, made))
    fused_mouth(pictures, which.numpy(), *arrays, np.float32(strongest), spans, out.numpy())
    inside = np.zeros(size, bool)
    for y, (first, after) in enumerate(spans):
        inside[y, first:after] = True
    assert (out[:, ~inside] == 7).all(), "the rest stays"
    off = (out - expected)[:, inside].abs()
    # positions are rounded to 1/256 of a pixel: half of that, both ways, in noise of 255 levels
    assert float(off.max()) < 1 / 255 and float(off.mean()) < 0.1 / 255


def test_whole_pixels_and_one_candidate_are_exact():
    crops = torch.from_numpy(RNG.integers(0, 256, (2, 3, 8, 12)).astype(np.uint8))
    field, placed = np.zeros((1, 3, 4, 2), np.float32), np.zeros((1, 3, 4, 6), np.float32)
    field[..., 0], placed[0, 1] = 3, -1
    made = np.full((7, 4, 6), -90, np.float32)
    made[4:] = 0  # no share of the drawn picture, no light
    out, spans = torch.zeros(3, 8, 12), np.tile([0, 12], (8, 1))
    fused_mouth(packed(crops), np.array([1]), field, placed, made, np.float32(0.2), spans, out.numpy())
    assert torch.allclose(out[:, :, :10] * 255, crops[1, :, :, 2:].float(), atol=1e-3)
    assert torch.allclose(out[:, :, 10:] * 255, crops[1, :, :, 11:].float().expand(3, 8, 2), atol=1e-3), (
        "edges repeated"
    )
    field[:] = np.nan
    fused_mouth(packed(crops), np.array([1]), field, placed, made, np.float32(0.2), spans, out.numpy())


def test_small_mouths_and_their_mean():
    pictures, flow, weights = torch.rand(5, 3, 20, 24), 5 * random(4, 2, 20, 24), torch.rand(4)
    which = torch.tensor([4, 0, 2, 0])
    out, mean = torch.empty(4, 20, 24, 3), torch.empty(20, 24, 3)
    small_mouths(*(each.numpy() for each in (pictures, which, flow, weights, out, mean)))
    expected = moved(pictures[which], flow)
    assert torch.allclose(out.movedim(3, 1), expected, atol=1e-4)
    assert torch.allclose(mean.movedim(2, 0), (expected * weights[:, None, None, None]).sum(0), atol=1e-4)


def test_weighted_mean_and_spread():
    small, log_weights, out = torch.rand(4, 10, 14, 3), 4 * random(4, 5, 7), torch.empty(10, 14, 6)
    mean_and_spread(small.numpy(), log_weights.numpy(), out.numpy())
    mean = (small * enlarged(log_weights[None], (10, 14))[0].softmax(0)[..., None]).sum(0)
    assert torch.allclose(out, torch.cat([mean, (small - mean).abs().mean(0)], 2), atol=1e-5)
