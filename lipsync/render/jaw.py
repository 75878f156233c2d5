"""The target's jaw moved to where the drawn mouth needs it: skin only, over whatever lies beneath the chin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import sample_pixels
from lipsync.core.lips import opening, soft_step
from lipsync.core.types import FaceTrack
from lipsync.render.box import Box
from lipsync.render.region import CHIN
from lipsync.render.skin import clearance, coarse_skin, skin_likeness

#: How far each jaw point goes with the chin; the sides of the face stay.
FOLLOWS = torch.tensor([0, 0, 0, 0, 0.08, 0.25, 0.5, 0.82, 1, 0.82, 0.5, 0.25, 0.08, 0, 0, 0, 0])
#: A chin that nothing is known about, and the weight of that (squared eye distances of opening seen).
_USUAL_CHIN, _USUAL_WEIGHT = 0.3, 0.03
#: The chin's edge is soft over this much (eye distances) where it covers something.
EDGE = 0.02
SMOOTH = 0.09  # eye distances over which moves of jaw points are averaged


def chin_per_opening(track: FaceTrack, jaw: np.ndarray) -> float:
    """How far down the chin of this person goes, for each unit that the lips open.

    jaw: (T,17,2) the track's `jaw_in_face`. Least squares over the usable frames with the head's yaw and pitch beside
    the opening: landmarks of a nodding head shift the chin by more than speech does. Where little opening was seen,
    nearer to what is usual."""
    rows = np.asarray(track.valid, bool)
    if rows.sum() < 5:
        return _USUAL_CHIN
    gap = opening(track.lips.points[rows].astype(np.float64))
    chin = jaw[rows, 7:10, 1].mean(1).astype(np.float64)
    turned = np.column_stack([np.ones(len(gap)), track.pose[rows, :2]])
    gap, chin = (x - turned @ np.linalg.lstsq(turned, x, rcond=None)[0] for x in (gap, chin))
    slope = (gap @ chin + _USUAL_WEIGHT * _USUAL_CHIN) / (gap @ gap + _USUAL_WEIGHT)
    return float(np.clip(slope, 0.1, 0.8))


def jaw_move(lips: torch.Tensor, target_lips: torch.Tensor, chin: float, config: CompositeConfig) -> torch.Tensor:
    """(B,17,2) by how much the target's jaw line is moved, face frame: down by `chin` for each unit that the drawn lips
    (B,18,2) are opened wider than the filmed ones."""
    drop = (chin * (opening(lips) - opening(target_lips))).clamp(-config.jaw_limit, config.jaw_limit)
    down = drop[:, None] * FOLLOWS.to(drop)
    return torch.stack([torch.zeros_like(down), down], -1)


@dataclass(frozen=True, slots=True)
class Spread:
    """How moves of jaw points carry over to the face and the neck: in full along the jaw line, fading smoothly to
    either side of it.

    share: (B,h*w,11) of each point at each coarse node."""

    share: torch.Tensor
    shape: torch.Size

    @classmethod
    def around(cls, jaw: torch.Tensor, face: torch.Tensor, depth: torch.Tensor, config: CompositeConfig) -> Spread:
        """jaw: (B,17,2); face: (B,h,w,2) nodes; depth: (B,1,h,w) how far inside the jaw line they lie. Nothing farther
        than `jaw_reach` outside or `jaw_inward` inside moves."""
        near = -torch.cdist(face.flatten(1, 2), jaw[:, CHIN]).square() / (2 * SMOOTH**2)
        far = torch.where(depth > 0, depth / config.jaw_inward, -depth / config.jaw_reach)
        fade = (1 - far.square()).clamp_min(0).square()
        return cls(torch.softmax(near, -1) * fade.flatten(1)[..., None], face.shape)

    def __call__(self, moved: torch.Tensor) -> torch.Tensor:
        """(B,h,w,2) face frame, of (B,17,2) moves."""
        return (self.share @ moved[:, CHIN]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Bent:
    """rgb: (B,3,H,W) the box with its jaw moved; changed: (B,1,H,W), 1 where a pixel may have moved; open:
    (B,1,h,w) coarse in [0,1], 0 where something other than skin shows."""

    rgb: torch.Tensor
    changed: torch.Tensor
    open: torch.Tensor


def bend_jaw(
    under: torch.Tensor,
    box: Box,
    shift: torch.Tensor,
    depth: torch.Tensor,
    learn: torch.Tensor,
    config: CompositeConfig,
) -> Bent:
    """The target's skin moved by `shift` (B,h,w,2; face frame, coarse); all else stays where it was filmed.

    depth: (B,1,h,w) how far inside the moved jaw line, eye distances; learn: (B,1,h,w) bool, where skin colours are
    learnt. A chin that goes down covers what was below it. One that goes up takes the neck with it, stretched between
    the chin and whatever is not skin; where that touches the chin, the chin's edge stays."""
    down = shift[..., 1][:, None]
    sure = depth - down.clamp_min(0) > 0.05
    skin, *colours = coarse_skin(under, learn & sure, sure)
    free = clearance(skin, box, config.jaw_clearance)
    to_pixels = torch.linalg.inv(box.face_from_pixel)[:, :2, :2].transpose(1, 2)
    moves = (shift.flatten(1, 2) @ to_pixels).reshape(shift.shape).permute(0, 3, 1, 2)
    changed = (box.fine((shift.abs().amax(-1)[:, None] > 0).float()) > 0).float()
    rgb = torch.where(changed > 0, _moved(under, box, moves * free), under)
    opened = torch.maximum(skin, (depth > 0).float())

    edge = soft_step(1 + depth / EDGE) * ((down > 0) & (free < 1))
    chin = box.around_zone(edge)
    if chin is not None:
        # where the chin comes down upon something else, it is drawn over that, without what else was filmed beside it
        like = torch.maximum(skin_likeness(under, *colours), box.fine(sure.float()))
        over = _moved(torch.cat([under, like], 1), box, moves, chin.pixels)
        weight = chin.box.fine(edge[..., *chin.nodes])
        rgb[..., *chin.pixels] = torch.lerp(rgb[..., *chin.pixels], over[:, :3], weight * over[:, 3:])
    return Bent(rgb, changed, opened)


def _moved(
    rgb: torch.Tensor, box: Box, moves: torch.Tensor, part: tuple[slice, slice] = (slice(None), slice(None))
) -> torch.Tensor:
    """(B,C,h,w) the part of the (B,C,H,W) box, each pixel taken from where the coarse `moves` (B,2,h,w; pixels) brought
    it from."""
    corner = torch.stack([box.left, box.top], -1)[:, None, None]
    at = (box.pixels(1) - corner)[:, *part] - box.fine(moves)[..., *part].permute(0, 2, 3, 1)
    return sample_pixels(rgb, at, "bilinear")
