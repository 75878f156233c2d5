"""Teeth: sharp references chosen from the target's own mouths, whose high frequencies replace those of a drawn mouth
inside its teeth (the teeth proxy of Suwajanakorn et al. 2017, there chosen by hand)."""

from __future__ import annotations

import math

import numpy as np
import torch

from lipsync.config.schema import TeethConfig
from lipsync.core.geometry import apply, farthest_points
from lipsync.core.lips import INNER_EDGE, from_inner_edges, opening, soft_step
from lipsync.core.progress import Hook, silent
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthBank, MouthSpace, TeethReference
from video.pyramid import gaussian_blur

#: Pixels from eye to eye at which mouths are compared, about, and how many at once.
COMPARED_PX, _AT_ONCE = 128, 16
#: Rows and columns of the mouth frame; all of them.
Box = tuple[slice, slice]
WHOLE: Box = (slice(None), slice(None))


def choose_teeth(bank: MouthBank, config: TeethConfig, hook: Hook = silent) -> TeethReference:
    """Up to `config.references` mouths with clear, sharp teeth and different lip shapes; none where the target never
    shows teeth. Large mouths are compared at a smaller size; what is lent has the bank's."""
    space, gaps = bank.space, opening(bank.lips)
    open_rows = np.flatnonzero(gaps >= max(config.min_gap, np.quantile(gaps, 0.5)))
    clarity = gaps * np.sqrt(bank.sharpness)
    order = open_rows[np.argsort(np.negative(clarity[open_rows]))][: config.tried]
    if len(order) == 0:
        return _none(space)
    small, crops = _shrunk(bank, order, max(1, int(space.scale // COMPARED_PX)))
    parts = [slice(at, at + _AT_ONCE) for at in range(0, len(order), _AT_ONCE)]
    lips = bank.lips[order]
    boxes = [_around_inner_mouths(torch.from_numpy(lips[part]), small, config) for part in parts]
    white = [
        whiteness(_unit(crops[part][..., *box]))[_inside(lips[part], small, box) > 0.9]
        for part, box in zip(parts, boxes, strict=True)
    ]
    level, width = _tooth_level(torch.cat(white), config)
    if level is None:
        return _none(space)
    score = np.zeros(len(order), np.float32)
    for part, box in zip(parts, boxes, strict=True):
        detail, mask = _lent(_unit(crops[part][..., *box]), lips[part], level, width, small, config, box)
        enough = mask.sum((1, 2, 3)) > config.min_area * small.scale**2
        score[part] = detail.square().mean(1).sum((1, 2)).sqrt() * enough
        hook("teeth", min(part.stop, len(order)), len(order))
    good = np.flatnonzero((score > 0.5 * score.max()) & (score > 0))
    if len(good) == 0:
        return _none(space)
    shapes = lips[good].reshape(len(good), -1)
    rows = order[good[farthest_points(shapes, config.references, first=int(score[good].argmax()))]]
    chosen = bank.lips[rows].astype(np.float32)
    details = np.zeros((len(rows), 3, space.height, space.width), np.float32)
    masks = np.zeros((len(rows), space.height, space.width), np.float32)
    for k in range(len(rows)):
        one = slice(k, k + 1)
        box = _around_inner_mouths(torch.from_numpy(chosen[one]), space, config)
        detail, mask = _lent(_unit(bank.take(rows[one])[..., *box]), chosen[one], level, width, space, config, box)
        details[k][..., *box], masks[k][box] = detail[0].numpy(), mask[0, 0].numpy()
    return TeethReference(detail=details, mask=masks, lips=chosen, level=np.array([level, width], np.float32))


def _shrunk(bank: MouthBank, rows: np.ndarray, factor: int) -> tuple[MouthSpace, np.ndarray]:
    """The bank's space, so many times smaller, and (n,3,h,w) uint8 crops of it: means of whole blocks."""
    import cv2

    space = bank.space
    height, width = space.height // factor, space.width // factor
    small = MouthSpace(space.scale / factor, space.left, space.top, height, width)
    crops = np.empty((len(rows), 3, height, width), np.uint8)
    for k, row in enumerate(rows):
        inside = bank.take(np.array([row]))[0][:, : height * factor, : width * factor]
        for channel, out in zip(inside, crops[k], strict=True):
            cv2.resize(np.ascontiguousarray(channel), (width, height), dst=out, interpolation=cv2.INTER_AREA)
    return small, crops


def _unit(crops: np.ndarray) -> torch.Tensor:
    """uint8 as float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(crops)).float() / 255


def _inside(lips: np.ndarray, space: MouthSpace, box: Box) -> torch.Tensor:
    return inner_mouth(torch.from_numpy(np.ascontiguousarray(lips)), space, box)


def _lent(
    rgb: torch.Tensor,
    lips: np.ndarray,
    level: float,
    width: float,
    space: MouthSpace,
    config: TeethConfig,
    box: Box,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,3,h,w) detail of the teeth in mouths, and (B,1,h,w) how much they are teeth, in this box of the mouth
    frame."""
    mask = soft_step((whiteness(rgb) - level) / width) * _inside(lips, space, box)
    return high_frequencies(rgb, space, config) * mask, mask


def sharpen_teeth(
    mouth: MouthTexture, teeth: TeethReference, lips: np.ndarray, space: MouthSpace, config: TeethConfig
) -> MouthTexture:
    """The mouths with the references' detail inside their teeth. lips: (B,18,2) drawn, face frame. Nothing else
    changes.

    References are weighted by how near their lips are, smoothly, so that detail does not jump from row to row.
    """
    if len(teeth.lips) == 0:
        return mouth
    drawn = torch.from_numpy(lips).to(mouth.rgb.device)
    box = _around_inner_mouths(drawn, space, config)
    inside = inner_mouth(drawn, space, box)
    if not bool((inside > 0).any()):
        return mouth
    rgb = mouth.rgb[..., *box]
    level, width = map(float, teeth.level)
    mask = soft_step((whiteness(rgb) - level) / width) * inside
    detail, known = (torch.from_numpy(each[..., *box]).to(rgb) for each in (teeth.detail, teeth.mask))
    distance = torch.cdist(drawn.flatten(1), torch.from_numpy(teeth.lips).to(rgb).flatten(1)) / 18**0.5
    weight = torch.softmax(-((distance / config.nearness) ** 2), 1)
    detail = torch.einsum("br,rchw->bchw", weight, detail)
    known = torch.einsum("br,rhw->bhw", weight, known)[:, None]
    lent = detail / known.clamp_min(0.2) - high_frequencies(rgb, space, config)
    sharp = mouth.rgb.clone()
    sharp[..., *box] = (rgb + config.strength * mask * known.clamp(0, 1) * lent).clamp(0, 1)
    return MouthTexture(rgb=sharp, alpha=mouth.alpha, jaw=mouth.jaw)


def whiteness(rgb: torch.Tensor) -> torch.Tensor:
    """(B,1,H,W) how tooth-like colours in [0,1] are: bright, and not red as lips, gums and tongue are."""
    red, green, blue = rgb[:, 0:1], rgb[:, 1:2], rgb[:, 2:3]
    return (red + green + blue) / 3 - 1.5 * (red - 0.5 * (green + blue)).clamp_min(0)


def high_frequencies(rgb: torch.Tensor, space: MouthSpace, config: TeethConfig) -> torch.Tensor:
    """What a blur of `config.detail` eye distances removes from (B,C,H,W) mouths."""
    return rgb - gaussian_blur(rgb, config.detail * space.scale)


def inner_mouth(lips: torch.Tensor, space: MouthSpace, box: Box = WHOLE) -> torch.Tensor:
    """(B,1,h,w) float32, 1 well inside the inner edges of (B,18,2) lips, 0 on them and outside, soft over a few
    pixels. box: rows and columns of the mouth frame; all by default."""
    polygon = apply(torch.as_tensor(space.mouth_from_face, device=lips.device), lips.double()).float()
    sizes = zip((space.height, space.width), box, strict=True)
    y, x = (torch.arange(n, device=lips.device)[part] + 0.5 for n, part in sizes)
    depth = torch.minimum(*from_inner_edges(polygon, x, y))
    return soft_step(depth / (0.015 * space.scale))[:, None]


def _around_inner_mouths(lips: torch.Tensor, space: MouthSpace, config: TeethConfig) -> Box:
    """Rows and columns of the mouth frame that hold the inner edges of all (B,18,2) lips, and around them what
    `high_frequencies` looks at."""
    margin = math.ceil(3 * config.detail * space.scale) + 2
    corner = lips.new_tensor([space.left, space.top])
    at = (lips[:, INNER_EDGE].flatten(0, 1) - corner) * space.scale
    (x0, y0), (x1, y1) = at.amin(0).floor().long().tolist(), at.amax(0).ceil().long().tolist()
    return slice(max(0, y0 - margin), max(0, y1 + margin)), slice(max(0, x0 - margin), max(0, x1 + margin))


def _tooth_level(white: torch.Tensor, config: TeethConfig) -> tuple[float | None, float]:
    """The whiteness that parts teeth from the rest of the open mouth (Otsu 1979), and the soft width; None where there
    are not two kinds."""
    values = white.numpy()
    if len(values) < 100:
        return None, 0.0
    counts, edges = np.histogram(values, 64)
    centre = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    mean_below = np.cumsum(counts * centre) / np.maximum(below, 1)
    mean_above = (np.sum(counts * centre) - np.cumsum(counts * centre)) / np.maximum(above, 1)
    between = below * above * (mean_above - mean_below) ** 2
    best = int(between[:-1].argmax())
    if mean_above[best] - mean_below[best] < config.min_contrast:
        return None, 0.0
    return float(edges[best + 1]), float(0.25 * (mean_above[best] - mean_below[best]))


def _none(space: MouthSpace) -> TeethReference:
    return TeethReference(
        np.zeros((0, 3, space.height, space.width), np.float32),
        np.zeros((0, space.height, space.width), np.float32),
        np.zeros((0, 18, 2), np.float32),
        np.zeros(2, np.float32),
    )
