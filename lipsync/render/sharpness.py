"""The drawn mouth as sharp as the frame it is put into: motion blur, focus, sharpening, each way of the picture by
itself."""

from __future__ import annotations

from itertools import pairwise

import torch

from lipsync.render.box import Box
from video.pyramid import blur_along

#: Sigmas of the blurs that are tried, in shares of the widest, and shares of the finest detail that are added instead.
BLURS = (0.0, 0.15, 0.25, 0.38, 0.55, 0.75, 1.0)
#: The widest blur, eye distances: a head that crosses half of the picture in a second.
WIDEST = 0.014
DETAILS = (0.0, -0.4, -0.8, -1.3)
REBLUR, FINEST = 1.5, 1.0  # pixels
LUMA = (0.299, 0.587, 0.114)


def as_sharp(
    over: torch.Tensor, frame: torch.Tensor, drawn: torch.Tensor, filmed: torch.Tensor, box: Box, slack: float
) -> torch.Tensor:
    """(B,3,h,w) the drawn picture `over`, its mouth as sharp as the one filmed in `frame`, within `slack` (a share).

    drawn, filmed: (B,1,h,w) coarse in [0,1], where the two mouths are; only there `over` changes. Sharpness is what a
    further blur takes from the edges (`edge_sharpness` of lipsync/metrics/pictures.py), so that it tells blur from a
    lack of edges; it is made equal along rows, along columns, as motion blurs in one direction, and at last in both."""
    ours, theirs = box.around_zone(drawn), box.around_zone(filmed)
    if ours is None or theirs is None:
        return over
    weight, their_weight = ours.box.fine(drawn[..., *ours.nodes]), theirs.box.fine(filmed[..., *theirs.nodes])
    picture, grey = over[..., *ours.pixels], _grey(frame[..., *theirs.pixels])
    for axes in ((3,), (2,), (2, 3)):
        wanted = _sharpness(grey, their_weight, axes)
        picture = _filtered(picture, _amount(_grey(picture), weight, axes, wanted, slack, WIDEST * box.scale), axes)
    out = over.clone()
    out[..., *ours.pixels] = torch.lerp(over[..., *ours.pixels], picture, weight)
    return out


def _amount(
    grey: torch.Tensor, weight: torch.Tensor, axes: tuple[int, ...], wanted: float, slack: float, widest: float
) -> float:
    """The sigma of the blur along the axes, at most `widest`, or minus the share of detail, that makes (1,1,h,w)
    about as sharp as `wanted`; 0 where it is within `slack`."""
    now = _sharpness(grey, weight, axes)
    if abs(now - wanted) <= slack * wanted:
        return 0.0
    blurs = tuple(widest * share for share in BLURS)
    tried, level = (blurs, wanted * (1 + slack)) if now > wanted else (DETAILS, wanted * (1 - slack))
    before = now
    for last, amount in pairwise(tried):
        found = _sharpness(_filtered(grey, amount, axes), weight, axes)
        if (found - level) * (before - level) <= 0:
            return last + (amount - last) * (before - level) / (before - found) if before != found else last
        before = found
    return tried[-1]


def _sharpness(grey: torch.Tensor, weight: torch.Tensor, axes: tuple[int, ...]) -> float:
    """Of (1,1,h,w) along the axes: the share of the gradients that a further blur takes."""
    soft = _filtered(grey, REBLUR, axes)
    inner = [weight.narrow(d, 1, weight.shape[d] - 1) for d in axes]
    before, after = (
        torch.stack([(w * x.diff(dim=d).square()).sum() for w, d in zip(inner, axes, strict=True)]).sum()
        for x in (grey, soft)
    )
    return float(1 - (after / before.clamp_min(1e-9)).sqrt())


def _filtered(rgb: torch.Tensor, amount: float, axes: tuple[int, ...]) -> torch.Tensor:
    if amount == 0:
        return rgb
    soft = rgb
    for dim in axes:
        soft = blur_along(soft, amount if amount > 0 else FINEST, dim)
    return soft if amount > 0 else rgb - amount * (rgb - soft)


def _grey(rgb: torch.Tensor) -> torch.Tensor:
    return (rgb * rgb.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
