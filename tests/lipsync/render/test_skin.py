import torch
import torch.nn.functional as F

from lipsync.render.box import STEP, Box
from lipsync.render.skin import clearance, coarse_skin
from tests.support.portrait import PIXEL_FROM_FACE, SCALE, portrait


def found(light=(1.0, 1.0, 1.0), **scene):
    """(told as skin, really skin) at coarse nodes of a portrait; the lips and what lies on an edge left out of both."""
    rgb, other = portrait(**scene)
    picture = (torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255 * torch.tensor(light)[:, None, None]).clamp(
        0, 1
    )
    place = torch.from_numpy(PIXEL_FROM_FACE).float()[None]
    zero = torch.zeros(1, dtype=torch.int64)
    box = Box(zero, zero, rgb.shape[0], rgb.shape[1], torch.linalg.inv(place), SCALE)
    nodes = box.positions(STEP)
    face = ((nodes[..., 0].abs() < 0.4) & (nodes[..., 1].abs() < 0.35))[:, None]
    lips = ((nodes[..., 0].abs() < 0.35) & (nodes[..., 1].abs() < 0.22))[:, None]
    skin, *_ = coarse_skin(picture.clamp(0, 1), face & ~lips, lips)
    really = torch.from_numpy(~other).float()[None, None]
    small = F.interpolate(F.avg_pool2d(really, STEP, ceil_mode=True), size=skin.shape[2:])
    sure = ((small == 0) | (small == 1)) & ~lips & (nodes[..., 1] > -0.5)[:, None]
    return skin[sure].bool(), small[sure].bool(), skin, box


def test_face_and_shaded_neck_are_skin_and_nothing_else_is():
    for light in ((1, 1, 1), (0.5, 0.5, 0.5), (1.1, 0.9, 0.75)):
        told, really, *_ = found(light)
        assert (told == really).float().mean() > 0.97
        assert told[really].float().mean() > 0.97 and told[~really].float().mean() < 0.03


def test_clearance_is_none_beside_anything_else_and_full_far_from_it():
    *_, skin, box = found()
    free = clearance(skin, box, 0.14)
    beside = F.max_pool2d(1 - skin, 3, 1, 1) > 0
    assert (free[beside] == 0).all()
    far = F.max_pool2d(1 - skin, 21, 1, 10) == 0
    assert (free[far] > 0.99).all() and far.any()
    steepest = max(float(free.diff(dim=d).abs().max()) for d in (2, 3))
    assert steepest < 0.45, "so that nothing folds over"
