"""One row of `lipsync.render.composite` on a CPU."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthSpace
from lipsync.render.blends.base import Join
from lipsync.render.box import Box
from lipsync.render.cpu.bend import bend_jaw
from lipsync.render.cpu.fields import Fields, fields_of
from lipsync.render.cpu.grid import Zone, cut, fine, mix, paste, zone_of
from lipsync.render.cpu.mouth import alpha_at, matched, sampled
from lipsync.render.cpu.sharpness import as_sharp
from lipsync.render.overlays import filled
from lipsync.render.shapes import Shapes


def draw_over(
    frames: torch.Tensor,
    mouth: MouthTexture,
    shapes: Shapes,
    box: Box,
    graphics: torch.Tensor | None,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join,
) -> None:
    """`lipsync.render.composite.composite` of one row, written into its frame (1,3,H,W). graphics: (1,1,h,w) of the
    box."""
    frame, place = frames[0].numpy(), box.corners()[0]
    filmed = under = cut(frame, *place, box.width, box.height)
    if graphics is not None:
        under = _hwc(filled(_bchw(filmed), graphics))
    fields = fields_of(box, shapes, mouth.jaw[0].numpy(), space, config)
    bent = bend_jaw(under, fields, shapes.pixel_from_face[0, :2, :2].numpy(), box, config)
    result, strength = bent.rgb, shapes.strength[0].numpy()
    support = fields.support * bent.open
    zone = zone_of(support, result.shape)
    if zone is not None:
        drawn = _drawn(result, zone, mouth, fields, fields.mask * bent.open, strength, box, config, blend)
        # a blend spreads a little beyond the mask: the wider support fades that out and bounds what changes
        mix(result[zone.pixels], drawn, zone.fine((support * strength)[..., None])[..., 0])
    if graphics is not None:
        for picture in (result, under):
            mix(picture, filmed, graphics[0, 0].numpy())
    paste(frame, *place, under, result, float(strength.clip(0, 1)))


def _drawn(
    bent: np.ndarray,
    zone: Zone,
    mouth: MouthTexture,
    fields: Fields,
    mask: np.ndarray,
    strength: np.ndarray,
    box: Box,
    config: CompositeConfig,
    blend: Join,
) -> np.ndarray:
    """(h,w,3) the zone of the box `bent` (H,W,3) with the mouth in it. mask: coarse."""
    here = zone.cut(bent)
    at, beyond, region = (np.ascontiguousarray(a[zone.nodes]) for a in (fields.at, fields.beyond, mask))
    over = sampled(mouth.rgb[0].numpy(), fine(at, *here.shape[:2]))
    over = matched(over, here, beyond, region, box, config)
    over = as_sharp(over, here, fields.drawn[zone.nodes], fields.filmed[zone.nodes], box, config.sharpness_slack)
    weight = fine((strength * region * alpha_at(mouth.alpha[0, 0].numpy(), at))[..., None], *here.shape[:2])
    return _hwc(blend(_bchw(here), _bchw(over), _bchw(weight)))


def _bchw(picture: np.ndarray) -> torch.Tensor:
    """(1,C,h,w) of (h,w,C), the same memory."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def _hwc(picture: torch.Tensor) -> np.ndarray:
    """(h,w,C) of (1,C,h,w)."""
    return np.ascontiguousarray(picture[0].permute(1, 2, 0).numpy())
