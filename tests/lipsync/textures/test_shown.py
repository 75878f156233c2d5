"""Where compositing looks at drawn mouths, and what is drawn elsewhere."""

import pytest
import torch

from lipsync.core.texture import MouthTexture
from lipsync.render.composite import composite
from lipsync.render.cpu.fields import fields_of
from lipsync.render.shapes import Shapes
from lipsync.textures.shown import shown_cells
from lipsync.textures.warped_median import NODE_STEP, packed, warped_medians
from tests.lipsync.render.test_cpu import CONFIG, scene

SCENES = [(0.0, 0.2), (0.2, 0.0), (0.1, 0.1)]


def looked_at(frames, mouth, lips, faces, space):
    """(h,w) cells of `shown_cells`, and the row's shapes."""
    shapes = Shapes.of(lips, faces, slice(0, 1), CONFIG, torch.device("cpu"))
    nodes = (-(-space.height // NODE_STEP) + 1, -(-space.width // NODE_STEP) + 1)
    cells = shown_cells(shapes.shown(CONFIG), mouth.jaw, space, torch.zeros(1, 1, *nodes, 2))
    return cells[0].numpy(), shapes


@pytest.mark.parametrize("filmed, wanted", SCENES)
def test_all_that_is_blended_counts_as_shown(filmed, wanted):
    made = scene(filmed, wanted)
    cells, shapes = looked_at(*made)
    frames, mouth, _, _, space = made
    fields = fields_of(shapes.box(frames.shape[2:], CONFIG), shapes, mouth.jaw[0].numpy(), space, CONFIG)
    x, y = (fields.at[fields.mask > 0] / NODE_STEP).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < cells.shape[1]) & (y < cells.shape[0])
    assert inside.mean() > 0.9 and cells[y[inside], x[inside]].all()
    assert cells.mean() < 0.75, "much of a crop is never seen"


@pytest.mark.parametrize("filmed, wanted", SCENES)
def test_what_is_not_shown_changes_no_frame_by_more_than_a_level(filmed, wanted):
    frames, mouth, lips, faces, space = scene(filmed, wanted)
    cells, _ = looked_at(frames, mouth, lips, faces, space)
    fine = cells.repeat(NODE_STEP, 0).repeat(NODE_STEP, 1)[: space.height, : space.width]
    other = (mouth.rgb.roll(2, 3) + 3 / 255).clamp(0, 1)  # another mouth, a little brighter
    rough = MouthTexture(torch.where(torch.from_numpy(fine) > 0, mouth.rgb, other), mouth.alpha, mouth.jaw)
    assert float((rough.rgb - mouth.rgb).abs().max()) > 0.1
    full, found = (composite(frames, m, lips, faces, slice(0, 1), space, CONFIG) for m in (mouth, rough))
    off = (full.int() - found.int()).abs()
    assert off.max() <= 1 and (off > 0).float().mean() < 0.01


def test_medians_where_shown_and_the_first_crop_elsewhere():
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (6, 3, 50, 90), dtype=torch.uint8, generator=generator)
    which, weights = torch.tensor([[0, 1, 2, 3], [5, 4, 3, 2]]), torch.tensor([[0.4, 0.3, 0.2, 0.1]] * 2)
    field = torch.randn(2, 4, 14, 24, 2, generator=generator)
    shown = torch.zeros(2, 13, 23, dtype=torch.uint8)
    shown[0, 3:6, 4:20] = 1
    given = packed(crops), (50, 90)
    full, first = (warped_medians(*given, which[:, :n], field[:, :n].contiguous(), weights[:, :n], 9.0) for n in (4, 1))
    found = warped_medians(*given, which, field, weights, 9.0, shown)
    assert torch.equal(found[0, :, 12:24, 16:80], full[0, :, 12:24, 16:80])
    assert torch.equal(found[0, :, :12], first[0, :, :12]) and torch.equal(found[0, :, 24:], first[0, :, 24:])
    assert torch.equal(found[1], first[1]) and not torch.equal(full[1], first[1])
