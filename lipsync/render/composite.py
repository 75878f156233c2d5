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
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthSpace
from lipsync.render.blends.base import Join
from lipsync.render.blends.registry import get_blend
from lipsync.render.box import STEP, Box
from lipsync.render.jaw import bend_jaw, jaw_move
from lipsync.render.match import matched
from lipsync.render.plan import PlannedFaces
from lipsync.render.region import blend_region


def composite(
    frames: torch.Tensor,
    mouth: MouthTexture,
    lips: np.ndarray,
    faces: PlannedFaces,
    rows: slice,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join | None = None,
) -> torch.Tensor:
    """(B,3,H,W) uint8 frames with the mouths in place. frames: (B,3,H,W) uint8; lips: (B,18,2) drawn, face frame;
    faces: the plan's faces; blend: asked instead of the config's, to measure it.

    Row by row, each in its own box, so that a row is the same in any batch.
    """
    out, blend = frames.clone(), blend or get_blend(config, frames.device)
    for b, row in enumerate(range(rows.start, rows.stop)):
        if faces.strength[row] > 0:
            here = slice(b, b + 1)
            one = MouthTexture(mouth.rgb[here], mouth.alpha[here], mouth.jaw[here])
            _draw_over(out[here], one, lips[here], faces, slice(row, row + 1), space, config, blend)
    return out


def _draw_over(
    frames: torch.Tensor,
    mouth: MouthTexture,
    lips: np.ndarray,
    faces: PlannedFaces,
    rows: slice,
    space: MouthSpace,
    config: CompositeConfig,
    blend: Join,
) -> None:
    """`composite` of one row, written into its frame (1,3,H,W)."""
    wanted_lips, target_lips, target_jaw, strength, pixel_from_face = (
        torch.from_numpy(a).to(frames.device).float()
        for a in (lips, faces.lips[rows], faces.jaw[rows], faces.strength[rows], faces.pixel_from_face[rows])
    )
    moved = jaw_move(target_jaw, mouth.jaw, config)
    jaw = target_jaw + moved
    box = Box.around(torch.cat([target_jaw, jaw], 1), pixel_from_face, frames.shape[2:], config)
    under = box.cut(frames)
    coarse = box.positions(STEP)
    strength = strength[:, None, None, None]
    region = blend_region(jaw, coarse, config)
    corner = coarse.new_tensor([space.left, space.top])
    inside = sample_pixels(mouth.alpha, space.scale * (coarse - corner), "bilinear")
    mask, support = box.fine(region[0] * inside * strength), box.fine(region[1] * strength)

    bent, reach = bend_jaw(under, box, coarse, jaw, moved, config)
    drawn = sample_pixels(mouth.rgb, space.scale * (box.positions(1) - corner), "bicubic")
    over = matched(drawn, bent, wanted_lips, target_lips, region[0], box, config)
    # a blend spreads a little beyond the mask: the wider support fades that out and bounds what changes
    result = torch.lerp(bent, blend(bent, over, mask), support)
    result = torch.lerp(under, result, torch.maximum(support, box.fine(reach) * strength).sign() * strength.clamp(0, 1))
    box.paste(frames, (result * 255).round().clamp(0, 255).to(torch.uint8))
