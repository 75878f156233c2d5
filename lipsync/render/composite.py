"""The drawn mouth put into the target frame: colour match, jaw correction, blend (Suwajanakorn et al. 2017, section on
compositing). Works on the tensor's device, inside a box around the lower face; every pixel outside the blend region
stays as decoded.

Everything that varies slowly (masks, displacements, colour differences) is computed on a coarse grid of every 4th
pixel."""

from __future__ import annotations

import numpy as np
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import sample_pixels
from lipsync.core.lips import soft_step
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthSpace
from lipsync.render.blends.base import Join
from lipsync.render.blends.registry import get_blend
from lipsync.render.box import STEP, Box
from lipsync.render.jaw import Spread, bend_jaw
from lipsync.render.match import matched
from lipsync.render.overlays import filled, graphics_in
from lipsync.render.plan import PlannedFaces
from lipsync.render.region import BELOW_NOSE, LIPS_STAY, blend_region, depth_inside, off_lips
from lipsync.render.shapes import Shapes
from lipsync.render.sharpness import as_sharp


def composite(
    frames: torch.Tensor,
    mouth: MouthTexture,
    lips: np.ndarray,
    faces: PlannedFaces,
    rows: slice,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join | None = None,
    *,
    compiled: bool | None = None,
) -> torch.Tensor:
    """(B,3,H,W) uint8 frames with the mouths in place. frames: (B,3,H,W) uint8; lips: (B,18,2) drawn, face frame;
    faces: the plan's faces; blend: asked instead of the config's, to measure it; compiled: by `lipsync.render.cpu`,
    which gives the same within a grey level; None = on a CPU.

    Row by row, each in its own box, so that a row is the same in any batch.
    """
    out, blend = frames.clone(), blend or get_blend(config, frames.device)
    shapes = Shapes.of(lips, faces, rows, config, frames.device)
    draw_over = _draw_over
    if frames.device.type == "cpu" if compiled is None else compiled:
        from lipsync.render.cpu.row import draw_over
    for b, row in enumerate(range(rows.start, rows.stop)):
        if faces.strength[row] > 0:
            here = slice(b, b + 1)
            one = MouthTexture(mouth.rgb[here], mouth.alpha[here], mouth.jaw[here])
            box = shapes.row(b).box(frames.shape[2:], config)
            draw_over(out[here], one, shapes.row(b), box, graphics_in(box, faces, row), space, config, blend)
    return out


def _draw_over(
    frames: torch.Tensor,
    mouth: MouthTexture,
    shapes: Shapes,
    box: Box,
    graphics: torch.Tensor | None,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join,
) -> None:
    """`composite` of one row, written into its frame (1,3,H,W). graphics: (1,1,h,w) of the box."""
    jaw = shapes.jaw
    filmed = box.cut(frames)
    under = filmed if graphics is None else filled(filmed, graphics)
    coarse = box.positions(STEP)
    strength = shapes.strength[:, None, None, None]
    both = torch.stack([shapes.lips, shapes.own_lips], 1)
    off = off_lips(both, coarse)
    beyond = off.amin(1, keepdim=True) - config.lip_margin
    region = blend_region(shapes.region, coarse, beyond, config)
    depth = depth_inside(jaw, coarse)
    spread = Spread.around(jaw, coarse, depth, config)

    beside = (beyond > 0) & (coarse[..., 1] > BELOW_NOSE)[:, None]
    bent = bend_jaw(under, box, spread(shapes.moved), depth, beside, config)
    # the drawn chin, too, is brought onto the jaw line, the drawn lips stay
    to_jaw = spread((jaw - mouth.jaw).clamp(-config.jaw_limit, config.jaw_limit))
    place = coarse - to_jaw * soft_step(off[:, 0] / LIPS_STAY)[..., None]
    region = [r * bent.open for r in region]
    result, changed = bent.rgb, bent.changed
    part = box.around_zone(region[1])
    if part is not None:
        fields = [x[..., *part.nodes] for x in (*region, beyond, soft_step(1.5 - off / (2 * config.lip_margin)))]
        here, place = bent.rgb[..., *part.pixels], place[:, *part.nodes]
        drawn = _drawn(here, mouth, place, fields, part.box, space, config, blend, strength)
        result, changed = bent.rgb.clone(), bent.changed.clone()
        result[..., *part.pixels] = drawn
        changed[..., *part.pixels] = torch.maximum(changed[..., *part.pixels], part.box.fine(fields[1]).sign())
    result = torch.lerp(under, result, changed * strength.clamp(0, 1))
    result = result if graphics is None else torch.lerp(result, filmed, graphics)
    box.paste(frames, (result * 255).round().clamp(0, 255).to(torch.uint8))


def _drawn(
    bent: torch.Tensor,
    mouth: MouthTexture,
    place: torch.Tensor,
    fields: list[torch.Tensor],
    box: Box,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join,
    strength: torch.Tensor,
) -> torch.Tensor:
    """(1,3,h,w) the box `bent` with the mouth in it.

    place: (1,h,w,2) coarse, where each position lies in the drawn mouth's face frame; fields: coarse mask, support,
    distance beyond both mouths, and where (drawn, filmed) they are."""
    mask, support, beyond, mouths = fields
    corner = place.new_tensor([space.left, space.top])
    at = space.scale * (place - corner)
    inside = sample_pixels(mouth.alpha, at, "bilinear")
    drawn = sample_pixels(mouth.rgb, box.fine(at.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), "bicubic")
    over = matched(drawn, bent, beyond, mask, box, config)
    over = as_sharp(over, bent, mouths[:, :1], mouths[:, 1:], box, config.sharpness_slack)
    # a blend spreads a little beyond the mask: the wider support fades that out and bounds what changes
    return torch.lerp(bent, blend(bent, over, box.fine(mask * inside * strength)), box.fine(support * strength))
