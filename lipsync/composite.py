"""The drawn mouth put into the target frame: colour match, jaw correction, Laplacian-pyramid blend (Suwajanakorn et al. 2017, section on
compositing). Works on the tensor's device, inside a box around the lower face; every pixel outside the blend region stays as decoded."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lipsync.config import CompositeConfig
from lipsync.geometry import apply
from lipsync.plan import Shown
from lipsync.types import MouthSpace, MouthTexture
from video.pyramid import blend, gaussian_blur

_CHIN = slice(3, 14)  # jaw points that bound the blend region
_CHEEKS = torch.tensor([[0.50, -0.12], [0.30, -0.27], [0.0, -0.20], [-0.30, -0.27], [-0.50, -0.12]])  # its upper edge, right to left
_OUTER_LIPS = slice(0, 12)


def composite(
    frames: torch.Tensor, mouth: MouthTexture, lips: np.ndarray, shown: Shown, rows: slice, space: MouthSpace, config: CompositeConfig
) -> torch.Tensor:
    """(B,3,H,W) uint8 frames with the mouths in place. frames: (B,3,H,W) uint8; lips: (B,18,2) drawn, face frame; shown: the plan's faces."""
    pixel_from_face = torch.from_numpy(shown.pixel_from_face[rows]).to(frames.device)
    lips, target_lips, target_jaw, strength = (
        torch.from_numpy(a).to(frames.device) for a in (lips, shown.lips[rows], shown.jaw[rows], shown.strength[rows])
    )
    out = frames.clone()
    corners = torch.cat([target_jaw, mouth.jaw, _CHEEKS.to(target_jaw).expand(len(frames), -1, -1)], 1)
    left, top, height, width = _boxes(apply(pixel_from_face, corners.double()), frames.shape[2:], pixel_from_face, config)
    rows = torch.arange(height, device=frames.device)
    columns = torch.arange(width, device=frames.device)
    y, x = top[:, None] + rows, left[:, None] + columns
    at = (torch.arange(len(frames), device=frames.device)[:, None, None], slice(None), y[:, :, None], x[:, None, :])
    under = frames[at].permute(0, 3, 1, 2).float() / 255
    pixel = torch.stack([(x + 0.5)[:, None, :].expand(-1, height, -1), (y + 0.5)[:, :, None].expand(-1, -1, width)], -1)
    face = apply(torch.linalg.inv(pixel_from_face), pixel.reshape(len(frames), -1, 2).double()).reshape(pixel.shape).float()

    bent, reach = _bend_jaw(under, face, mouth.jaw, target_jaw, pixel_from_face, pixel, left, top, config)
    over = _sample(mouth.rgb, (face - face.new_tensor([space.left, space.top])) * space.scale)
    inside = _sample(mouth.alpha, (face - face.new_tensor([space.left, space.top])) * space.scale, mode="bilinear")
    mask = region(mouth.jaw, face, config) * inside * strength[:, None, None, None]
    over = _match_colour(over, bent, mask, lips, target_lips, face, config)
    blended = blend(bent, over, mask, config.levels)
    # the pyramid spreads a little beyond the mask: fade that out, so that the region of change is bounded
    support = (region(mouth.jaw, face, config, grow=config.softness) * strength[:, None, None, None]).clamp(0, 1)
    result = torch.lerp(bent, blended, support)
    result = torch.where((support > 0) | (reach > 0), torch.lerp(under, result, strength[:, None, None, None]), under)
    out[at] = (result * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return out


def region(jaw: torch.Tensor, face: torch.Tensor, config: CompositeConfig, grow: float = 0.0) -> torch.Tensor:
    """(B,1,h,w) soft blend region in [0,1]: the lower face from under the nose to the jaw line, 0 outside, softened inwards.

    jaw: (B,17,2); face: (B,h,w,2) face-frame position of every pixel; grow: eye distances by which the region is widened.
    """
    polygon = torch.cat([jaw[:, _CHIN], _CHEEKS.to(jaw).expand(len(jaw), -1, -1)], 1)
    depth = _depth_inside(polygon, face) + grow
    t = (depth / config.softness).clamp(0, 1)
    return (t * t * (3 - 2 * t))[:, None]


def _boxes(points: torch.Tensor, size: torch.Size, pixel_from_face: torch.Tensor, config: CompositeConfig):
    """Left, top (B,) and common height, width of pixel boxes around (B,P,2) points with the jaw's reach, inside the frame."""
    margin = pixel_from_face[:, :2, :2].abs().sum(2).max() * (config.jaw_reach + config.softness)
    low = (points.amin(1) - margin).floor().long()
    span = ((points.amax(1) + margin).ceil().long() - low).amax(0)
    width, height = min(int(span[0]), size[1]), min(int(span[1]), size[0])
    left = low[:, 0].clamp(0, size[1] - width)
    top = low[:, 1].clamp(0, size[0] - height)
    return left, top, height, width


def _bend_jaw(under, face, drawn_jaw, target_jaw, pixel_from_face, pixel, left, top, config):
    """The target's pixels moved so that its jaw line lies on the drawn one, and how strongly each moved (0 = untouched).

    Displacements of the jaw points are spread by compact kernels of radius `jaw_reach` (eye distances), so that nothing farther moves.
    """
    moved = (drawn_jaw - target_jaw)[:, _CHIN].clamp(-config.jaw_limit, config.jaw_limit)
    distance = torch.cdist(face.flatten(1, 2), drawn_jaw[:, _CHIN])
    kernel = (1 - (distance / config.jaw_reach) ** 2).clamp_min(0) ** 2
    total = kernel.sum(-1, keepdim=True)
    shift = (kernel @ moved) / (total + 0.5)
    shift = (shift @ pixel_from_face[:, :2, :2].transpose(1, 2).float()).reshape(face.shape)
    corner = torch.stack([left, top], -1)[:, None, None].to(shift)
    bent = _sample(under, pixel - corner - shift)
    reach = (total.reshape(face.shape[:3])[:, None] > 0) & (shift.abs().amax(-1)[:, None] > 0.02)
    return torch.where(reach, bent, under), reach.float()


def _match_colour(over, under, mask, lips, target_lips, face, config):
    """The drawn mouth with the slow colour difference to the frame removed, measured on skin (both pairs of lips left out)."""
    skin = (mask > 0.02).float()
    for shape in (lips, target_lips):
        skin = skin * (_depth_inside(shape[:, _OUTER_LIPS], face)[:, None] < -config.lip_margin).float()
    pooled = F.avg_pool2d(torch.cat([(under - over) * skin, skin], 1), 4, ceil_mode=True, count_include_pad=False)
    unit = 1 / (4 * (face[:, 0, 1] - face[:, 0, 0]).norm(dim=-1).mean())
    smooth = gaussian_blur(pooled, float(unit * config.colour_sigma))
    difference = smooth[:, :3] / (smooth[:, 3:] + 1e-3)
    return over + F.interpolate(difference, size=over.shape[2:], mode="bilinear", align_corners=False)


def _depth_inside(polygon: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B,h,w) distance to the edge of the (B,P,2) polygon, positive inside, negative outside."""
    a, b = polygon, polygon.roll(-1, 1)
    flat = points.flatten(1, 2)[:, :, None]
    edge = (b - a)[:, None]
    rel = flat - a[:, None]
    t = ((rel * edge).sum(-1) / (edge * edge).sum(-1).clamp_min(1e-12)).clamp(0, 1)
    distance = (rel - t[..., None] * edge).square().sum(-1).amin(-1).sqrt()
    above = a[:, None, :, 1] > flat[..., 1]
    crosses = (above != (b[:, None, :, 1] > flat[..., 1])) & (rel[..., 0] * edge[..., 1] < edge[..., 0] * rel[..., 1]).logical_xor(edge[..., 1] < 0)
    inside = crosses.sum(-1) % 2 == 1
    return torch.where(inside, distance, -distance).reshape(points.shape[:3])


def _sample(image: torch.Tensor, at: torch.Tensor, mode: str = "bicubic") -> torch.Tensor:
    """(B,C,h,w) values of `image` at (B,h,w,2) positions (pixel-centre rule)."""
    size = at.new_tensor([image.shape[3], image.shape[2]])
    grid = (at * 2 / size - 1).to(image)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False).clamp(0, 1)
