"""The shapes that compositing brings together: lips and jaws drawn and filmed, and the region that is replaced."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.texture import Shown
from lipsync.render.box import Box
from lipsync.render.jaw import jaw_move
from lipsync.render.plan import PlannedFaces
from lipsync.render.region import CHIN, LIP_EDGE, OUTER_LIPS, region_polygon


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of B rows, face frame. lips, own_lips: (B,18,2) drawn and filmed; own_jaw: (B,17,2) filmed; moved: (B,17,2) by
    how much it is moved; region: (B,16,2) edge of what is replaced; strength: (B,); pixel_from_face: (B,3,3); at:
    as of `PlannedFaces`."""

    lips: torch.Tensor
    own_lips: torch.Tensor
    own_jaw: torch.Tensor
    moved: torch.Tensor
    region: torch.Tensor
    strength: torch.Tensor
    pixel_from_face: torch.Tensor
    at: tuple[int, int] = (0, 0)

    @classmethod
    def of(
        cls, lips: np.ndarray, faces: PlannedFaces, rows: slice, config: CompositeConfig, device: torch.device
    ) -> Shapes:
        """lips: (B,18,2) drawn over these rows of the plan."""
        wanted, own, jaw, strength, place = (
            torch.from_numpy(a).to(device).float()
            for a in (lips, faces.lips[rows], faces.jaw[rows], faces.strength[rows], faces.pixel_from_face[rows])
        )
        moved = jaw_move(wanted, own, faces.chin, config)
        region = region_polygon(jaw + moved, torch.stack([wanted, own], 1))
        return cls(wanted, own, jaw, moved, region, strength, place, faces.at)

    def row(self, b: int) -> Shapes:
        """One row, B = 1."""
        return Shapes(*(getattr(self, f.name)[b : b + 1] for f in fields(self)[:-1]), at=self.at)

    @property
    def jaw(self) -> torch.Tensor:
        """(B,17,2) where the jaw goes."""
        return self.own_jaw + self.moved

    def box(self, size: torch.Size, config: CompositeConfig) -> Box:
        """Around what may change, inside pictures of (height, width) `size`."""
        jaws = torch.cat([self.own_jaw[:, CHIN], self.jaw[:, CHIN]], 1)
        return Box.around(jaws, self.pixel_from_face, size, config, self.at)

    def shown(self, config: CompositeConfig) -> Shown:
        """What is taken of the mouths drawn for these rows: what `region.blend_region` replaces, and a little around it
        that its light, grain and edge are made of."""
        near = config.grain
        lips, own, jaw, region = (a.cpu().numpy() for a in (self.lips, self.own_lips, self.jaw, self.region))
        around = config.lip_margin + LIP_EDGE + near
        return Shown((region, lips[:, OUTER_LIPS], own[:, OUTER_LIPS]), (near, around, around), jaw, config.jaw_limit)
