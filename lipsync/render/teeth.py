"""Teeth: sharp references chosen from the target's own mouths, whose high frequencies replace those of a drawn mouth
inside its teeth (the teeth proxy of Suwajanakorn et al. 2017, there chosen by hand)."""

from __future__ import annotations

import math

import numpy as np
import torch

from lipsync.config.schema import TeethConfig
from lipsync.core.geometry import apply, farthest_points
from lipsync.core.lips import INNER_EDGE, from_inner_edges, opening, soft_step
from lipsync.core.texture import MouthTexture
from lipsync.core.types import MouthBank, MouthSpace, TeethReference
from video.pyramid import gaussian_blur


def choose_teeth(bank: MouthBank, config: TeethConfig) -> TeethReference:
    """Up to `config.references` mouths with clear, sharp teeth and different lip shapes; none where the target never
    shows teeth."""
    space, gaps = bank.space, opening(bank.lips)
    open_rows = np.flatnonzero(gaps >= max(config.min_gap, np.quantile(gaps, 0.5)))
    clarity = gaps * np.sqrt(bank.sharpness)
    order = open_rows[np.argsort(np.negative(clarity[open_rows]))][: config.tried]
    if len(order) == 0:
        return _none(space)
    inside = inner_mouth(torch.from_numpy(bank.lips[order]), space)
    rgb = torch.from_numpy(bank.take(order)).float() / 255
    level, width = _tooth_level(whiteness(rgb)[inside > 0.9], config)
    if level is None:
        return _none(space)
    mask = soft_step((whiteness(rgb) - level) / width) * inside
    detail = high_frequencies(rgb, space, config) * mask
    area = mask.sum((1, 2, 3))
    score = detail.square().mean(1, keepdim=True).sum((1, 2, 3)).sqrt() * (area > config.min_area * space.scale**2)
    good = np.flatnonzero((score > 0.5 * score.max()).numpy() & (score > 0).numpy())
    if len(good) == 0:
        return _none(space)
    picked = farthest_points(
        bank.lips[order[good]].reshape(len(good), -1), config.references, first=int(score[good].argmax())
    )
    rows = good[picked]
    return TeethReference(
        detail=detail[rows].numpy(),
        mask=mask[rows, 0].numpy(),
        lips=bank.lips[order[rows]].astype(np.float32),
        level=np.array([level, width], np.float32),
    )


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


def inner_mouth(
    lips: torch.Tensor, space: MouthSpace, box: tuple[slice, slice] = (slice(None), slice(None))
) -> torch.Tensor:
    """(B,1,h,w) float32, 1 well inside the inner edges of (B,18,2) lips, 0 on them and outside, soft over a few
    pixels. box: rows and columns of the mouth frame; all by default."""
    polygon = apply(torch.as_tensor(space.mouth_from_face, device=lips.device), lips.double()).float()
    sizes = zip((space.height, space.width), box, strict=True)
    y, x = (torch.arange(n, device=lips.device)[part] + 0.5 for n, part in sizes)
    depth = torch.minimum(*from_inner_edges(polygon, x, y))
    return soft_step(depth / (0.015 * space.scale))[:, None]


def _around_inner_mouths(lips: torch.Tensor, space: MouthSpace, config: TeethConfig) -> tuple[slice, slice]:
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
