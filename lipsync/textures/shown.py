"""Where a drawn mouth will be looked at: `Shown` between the nodes of displacement fields."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from lipsync.core.geometry import apply
from lipsync.core.texture import Shown
from lipsync.core.types import MouthSpace
from lipsync.render.region import CHIN
from lipsync.textures.warped_median import NODE_STEP, cells_of


def shown_cells(shown: Shown | None, drawn_jaw: torch.Tensor, space: MouthSpace, field: torch.Tensor) -> torch.Tensor:
    """(B,h-1,w-1) uint8: 1 between the nodes of (B,C,h,w,2) fields where something is taken of the mouths drawn through
    them, whose jaw lines are (B,17,2). No `shown`: everywhere."""
    if shown is None:
        return torch.ones(cells_of(field), dtype=torch.uint8)
    cells = np.zeros(cells_of(field), np.uint8)
    to_jaw = (shown.jaw - drawn_jaw.cpu().numpy())[:, CHIN].clip(-shown.limit, shown.limit)
    for b, move in enumerate(to_jaw):
        for polygons, margin in zip(shown.polygons, shown.margins, strict=True):
            here = polygons[b].astype(np.float64)
            nearest = np.linalg.norm(here[:, None] - shown.jaw[b, CHIN], axis=2).argmin(1)
            inside = np.zeros(cells.shape[1:], np.uint8)
            for place in (here, here - move[nearest]):  # near the lips a drawn mouth is not moved to the jaw line
                at = apply(space.mouth_from_face, place) / NODE_STEP - 0.5
                cv2.fillPoly(inside, [np.round(at * 16).astype(np.int32)], (1,), shift=4)
            reach = 2 * int(np.ceil(margin * space.scale / NODE_STEP)) + 1
            cells[b] |= cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return torch.from_numpy(cells)
