"""One row of `lipsync.render.composite` on a CPU."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthSpace
from lipsync.render.blends.base import Join
from lipsync.render.box import STEP, Box
from lipsync.render.cpu.bend import bend_jaw
from lipsync.render.cpu.fields import Fields, fields_of
from lipsync.render.cpu.grid import Zone, cut, fine, paste, zone_of
from lipsync.render.cpu.mouth import alpha_at, matched, sampled
from lipsync.render.cpu.sharpness import as_sharp
from lipsync.render.jaw import jaw_move
from lipsync.render.overlays import filled, graphics_in
from lipsync.render.plan import PlannedFaces
from lipsync.render.region import CHIN, region_polygon


def draw_over(
    frames: torch.Tensor,
    mouth: MouthTexture,
    lips: np.ndarray,
    faces: PlannedFaces,
    rows: slice,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join,
) -> None:
    """`lipsync.render.composite.composite` of one row, written into its frame (1,3,H,W)."""
    wanted_lips, target_lips, target_jaw, strength, pixel_from_face = (
        torch.from_numpy(a).float()
        for a in (lips, faces.lips[rows], faces.jaw[rows], faces.strength[rows], faces.pixel_from_face[rows])
    )
    moved = jaw_move(wanted_lips, target_lips, faces.chin, config)
    jaw = target_jaw + moved
    box = Box.around(torch.cat([target_jaw[:, CHIN], jaw[:, CHIN]], 1), pixel_from_face, frames.shape[2:], config)
    to_jaw = (jaw - mouth.jaw).clamp(-config.jaw_limit, config.jaw_limit)
    polygon = region_polygon(jaw, torch.stack([wanted_lips, target_lips], 1))
    shape = (-(-box.height // STEP) + 1, -(-box.width // STEP) + 1)
    left, top, place = int(box.left[0]), int(box.top[0]), faces.pixel_from_face[rows.start]
    pixel_from_node = np.array([[STEP, 0, left + 0.5], [0, STEP, top + 0.5], [0, 0, 1]])
    fields = fields_of(
        shape,
        np.linalg.inv(place) @ pixel_from_node,
        *(a[0].numpy() for a in (jaw, polygon)),
        (lips[0], faces.lips[rows.start]),
        *(a[0].numpy() for a in (moved, to_jaw)),
        space,
        config,
    )
    frame = frames[0].numpy()
    filmed = under = cut(frame, top, left, box.height, box.width)
    graphics = graphics_in(box, faces, rows.start)
    if graphics is not None:
        under = _hwc(filled(_bchw(filmed), graphics))
    bent = bend_jaw(under, fields, place[:2, :2], box.scale, config)
    result = bent.rgb
    mask, support = fields.mask * bent.open, fields.support * bent.open
    zone = zone_of(support, result.shape)
    share = np.float32(strength[0])
    if zone is not None:
        _draw(result, zone, mouth, fields, mask, support * share, box.scale, config, blend, share)
    if graphics is not None:
        over = _hwc(graphics)
        result, under = result + over * (filmed - result), under + over * (filmed - under)
    paste(frame, top, left, under, result, min(max(share, np.float32(0)), np.float32(1)))


def _draw(
    bent: np.ndarray,
    zone: Zone,
    mouth: MouthTexture,
    fields: Fields,
    mask: np.ndarray,
    support: np.ndarray,
    scale: float,
    config: CompositeConfig,
    blend: Join,
    strength: np.float32,
) -> None:
    """Writes the mouth into its zone of the box `bent` (H,W,3). mask, support: coarse."""
    here = zone.cut(bent)
    at, beyond, region = (np.ascontiguousarray(a[zone.nodes]) for a in (fields.at, fields.beyond, mask))
    over = matched(sampled(mouth.rgb[0].numpy(), fine(at, STEP, *here.shape[:2])), here, beyond, region, scale, config)
    over = as_sharp(over, here, fields.drawn[zone.nodes], fields.filmed[zone.nodes], scale, config.sharpness_slack)
    weights = np.stack([region * alpha_at(mouth.alpha[0, 0].numpy(), at) * strength, support[zone.nodes]], -1)
    weights = fine(weights.astype(np.float32), STEP, *here.shape[:2])
    blended = _hwc(blend(_bchw(here), _bchw(over), _bchw(weights[..., :1])))
    # a blend spreads a little beyond the mask: the wider support fades that out and bounds what changes
    bent[zone.pixels] = here + weights[..., 1:] * (blended - here)


def _bchw(picture: np.ndarray) -> torch.Tensor:
    """(1,C,h,w) of (h,w,C), the same memory."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def _hwc(picture: torch.Tensor) -> np.ndarray:
    """(h,w,C) of (1,C,h,w)."""
    return np.ascontiguousarray(picture[0].permute(1, 2, 0).numpy())
