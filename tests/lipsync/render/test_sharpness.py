import numpy as np
import pytest
import torch

from lipsync.core.geometry import apply
from lipsync.metrics.pictures import edge_sharpness
from lipsync.render.box import STEP, Box
from lipsync.render.sharpness import as_sharp
from video.pyramid import blur_along

SIZE, SCALE, SLACK = 160, 180.0, 0.05


def mouth(seed: int, softness: float = 0.5) -> torch.Tensor:
    """(1,3,160,160) blocks of random brightness, about as sharp as a photograph."""
    rng = np.random.default_rng(seed)
    blocks = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 1, 20, 20)).astype(np.float32))
    picture = torch.nn.functional.interpolate(blocks, scale_factor=8, mode="nearest").expand(-1, 3, -1, -1)
    return blurred(picture, softness, (2, 3))


def blurred(rgb: torch.Tensor, sigma: float, axes: tuple[int, ...]) -> torch.Tensor:
    for axis in axes:
        rgb = blur_along(rgb, sigma, axis)
    return rgb


def box() -> Box:
    place = torch.tensor([[[SCALE, 0, 80], [0, SCALE, 80], [0, 0, 1.0]]])
    zero = torch.zeros(1, dtype=torch.int64)
    return Box(zero, zero, SIZE, SIZE, torch.linalg.inv(place), SCALE)


def zone() -> torch.Tensor:
    nodes = box().positions(STEP)
    return ((nodes.abs() < 0.25).all(-1)[:, None]).float()


def measured(rgb: torch.Tensor) -> float:
    inside = box().fine(zone())[0, 0].numpy() == 1
    return edge_sharpness((rgb[0].permute(1, 2, 0).numpy() * 255).clip(0, 255).astype(np.uint8), inside)


@pytest.mark.parametrize("ours, theirs", [(0.5, 1.6), (0.5, 0.8), (0.9, 0.5)])
def test_another_mouth_becomes_as_sharp_as_the_filmed_one(ours, theirs):
    drawn, frame = mouth(0, ours), mouth(1, theirs)
    assert abs(measured(drawn) / measured(frame) - 1) > 0.15
    out = as_sharp(drawn, frame, zone(), zone(), box(), SLACK)
    assert measured(out) / measured(frame) == pytest.approx(1, abs=0.1)
    assert torch.equal(out[..., :20, :], drawn[..., :20, :]), "only where the mouth is"


def test_motion_blurs_one_way_only():
    drawn, frame = mouth(0), blurred(mouth(1), 1.8, (3,))
    out = as_sharp(drawn, frame, zone(), zone(), box(), SLACK)
    inside = (slice(None), slice(None), slice(50, 110), slice(50, 110))
    kept = [float(out[inside].diff(dim=d).square().sum() / drawn[inside].diff(dim=d).square().sum()) for d in (2, 3)]
    assert kept[1] < 0.5 and kept[0] > 0.7


def test_as_sharp_already_means_untouched():
    drawn = mouth(0)
    assert torch.equal(as_sharp(drawn, mouth(1), zone(), zone(), box(), 0.1), drawn)


def test_no_mouth_in_the_box_changes_nothing():
    drawn = mouth(0)
    assert as_sharp(drawn, mouth(1), 0 * zone(), zone(), box(), SLACK) is drawn


def test_blur_has_an_end():
    flat = torch.linspace(0.2, 0.8, SIZE).expand(1, 3, SIZE, SIZE)
    out = as_sharp(mouth(0), flat.contiguous(), zone(), zone(), box(), SLACK)
    limit = blurred(mouth(0), 0.014 * SCALE, (2, 3))
    assert measured(out) > 0.6 * measured(limit), "a frame without a single edge does not wipe the mouth away"


def test_the_zone_is_found_to_the_pixel():
    part = box().around_zone(zone())
    assert part is not None
    assert torch.equal(part.box.fine(zone()[..., *part.nodes]), box().fine(zone())[..., *part.pixels])
    assert torch.equal(part.box.pixels(1), box().pixels(1)[:, *part.pixels])
    corner = apply(np.diag([SCALE, SCALE, 1.0]), np.array([[-0.25, -0.25]]))[0] + 80
    assert part.pixels[0].start <= corner[1] <= part.pixels[0].start + 2 * STEP
    assert box().around_zone(0 * zone()) is None
