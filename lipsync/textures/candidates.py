"""Real mouths of the bank that come near to wanted lips: which ones and how much each counts (`Candidates`), warped
onto the wanted lips (`CandidateWarp`), and what fusing them cost in sharpness given back (`resharpened`).

Candidates are chosen by lip *trajectory* (the shape now and over the neighbouring frames), which keeps the choice
steady over time."""

from __future__ import annotations

from functools import reduce
from typing import Any, Protocol

import numpy as np
import torch

from lipsync.core.geometry import magnification, sample_pixels
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, from_inner_edges, soft_step
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthBank, MouthSpace, TargetAnalysis
from lipsync.textures.light import EvenLight
from lipsync.textures.warped_median import NODE_STEP

_JAW = slice(3, 14)  # the part of the jaw line inside the crop
#: Fixed points of the warp, face frame: nose base and the crop's sides.
_ANCHORS = np.array(
    [
        [0.0, -0.36],
        [-0.2, -0.36],
        [0.2, -0.36],
        [-0.7, -0.4],
        [0.7, -0.4],
        [-0.72, 0.0],
        [0.72, 0.0],
        [-0.5, 0.72],
        [0.5, 0.72],
        [0.0, 0.76],
    ]
)


class DescriptorConfig(Protocol):
    """The options that say how lips and pose are compared."""

    @property
    def gap_weight(self) -> float: ...
    @property
    def pose_weight(self) -> float: ...
    @property
    def trajectory(self) -> tuple[float, ...]: ...


class ChoiceConfig(DescriptorConfig, Protocol):
    """The options of a section of `DubConfig` that choose candidates; `MedianConfig` says what each means."""

    @property
    def candidates(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def sharpness_power(self) -> float: ...
    @property
    def fade(self) -> tuple[float, ...]: ...


class Mouths:
    """The mouths of one bank on one device: lips (K,18,2) and jaw (K,17,2) float32, and `crops`, in one light; on a GPU
    the pictures are uploaded once."""

    def __init__(self, bank: MouthBank, device: torch.device | str) -> None:
        self.bank, self.device, self.light = bank, torch.device(device), EvenLight(bank)
        self.lips = torch.from_numpy(bank.lips.astype(np.float32)).to(self.device)
        self.jaw = torch.from_numpy(bank.jaw.astype(np.float32)).to(self.device)
        self._crops = None
        if self.device.type != "cpu":
            parts = np.array_split(np.arange(len(bank)), len(bank) // 64 + 1)
            self._crops = torch.cat([self._taken(rows).to(self.device) for rows in parts])

    def crops(self, index: torch.Tensor) -> torch.Tensor:
        """(n,3,Hm,Wm) uint8 of (n,) bank rows, on the device."""
        return self._taken(index.numpy()) if self._crops is None else self._crops[index]

    def _taken(self, rows: np.ndarray) -> torch.Tensor:
        return self.light(torch.from_numpy(self.bank.take(rows)), rows)


class Candidates(Mouths):
    """The real mouths for wanted lips, from one bank, on one device. radius: rows of context that `for_query` needs on
    either side."""

    def __init__(self, bank: MouthBank, config: ChoiceConfig, device: torch.device | str) -> None:
        super().__init__(bank, device)
        self.config, self.radius = config, radius(config)
        self.features = torch.from_numpy(trajectories(bank, config)).to(self.device)
        sharp = bank.sharpness / max(float(np.median(bank.sharpness)), 1e-6)
        self.trust = torch.from_numpy(np.clip(sharp, 0.1, 1.5).astype(np.float32) ** config.sharpness_power).to(
            self.device
        )

    def for_query(self, query: TextureQuery, allowed: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """`choose` for the B rows of a query that has `radius` rows of context on either side; mouths of the frame's
        own look are preferred where the bank has several."""
        unlike = self.light.unlike(query.own_crop).to(self.device) if self.light.several else None
        return self.choose(describe_query(query.lips, query.pose, self.config).to(self.device), allowed, unlike)

    def choose(
        self, wanted: torch.Tensor, allowed: torch.Tensor | None = None, unlike: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,C) bank rows of the candidates and their (B,C) weights, which add up to 1. wanted: (B+2f,D) descriptors
        with f rows of context.

        allowed: (B,K) bool, the bank rows that each answer may use; None = all; unlike: (B,K) a distance that comes on
        top, at right angles. Weights are exp(-d^2 / 2 sigma^2), sigma found by bisection so that the n best hold the
        share alpha of the total (paper), then averaged over neighbouring rows so that candidates fade in and out."""
        cfg = self.config
        n_rows = len(wanted) - len(cfg.fade) + 1
        distance = torch.cdist(wanted, self.features, compute_mode="donot_use_mm_for_euclid_dist")
        if allowed is None and unlike is None:
            dense = self._dense(distance)
            faded = reduce(torch.add, (k * dense[i : i + n_rows] for i, k in enumerate(cfg.fade)))
        else:
            each = (distance[i : i + n_rows] for i in range(len(cfg.fade)))
            each = each if unlike is None else (torch.hypot(d, unlike) for d in each)
            each = each if allowed is None else (d.masked_fill(~allowed, torch.inf) for d in each)
            faded = reduce(torch.add, (k * self._dense(d) for k, d in zip(cfg.fade, each, strict=True)))
        weight, index = faded.topk(min(cfg.candidates, faded.shape[1]))
        return index, weight / weight.sum(1, keepdim=True)

    def _dense(self, distance: torch.Tensor) -> torch.Tensor:
        """(B,K) weights, 0 but for the nearest, of (B,K) distances; a row adds up to 1."""
        dense = torch.zeros_like(distance)
        top = min(self.config.candidates, distance.shape[1])
        near, rows = distance.topk(top, largest=False)
        dense.scatter_(1, rows, kernel_weights(near, min(self.config.n, top), self.config.alpha) * self.trust[rows])
        return dense / dense.sum(1, keepdim=True)


def radius(config: ChoiceConfig) -> int:
    """Rows of context on either side that choosing needs."""
    return len(config.trajectory) // 2 + len(config.fade) // 2


def describe(lips: np.ndarray | torch.Tensor, pose: np.ndarray | torch.Tensor, config: DescriptorConfig) -> Any:
    """(N,44) descriptor of single frames: the lip points, the inner gaps weighted up, and the head's yaw and pitch
    weighted down."""
    flat = lips.reshape(len(lips), -1) / 18**0.5
    gap = (lips[:, LOWER_INNER, 1] - lips[:, UPPER_INNER, 1]) * config.gap_weight
    turned = pose[:, :2] * config.pose_weight
    cat: Any = torch.cat if isinstance(lips, torch.Tensor) else np.concatenate
    return cat([flat, gap, turned], 1)


def describe_query(lips: torch.Tensor, pose: torch.Tensor, config: DescriptorConfig) -> torch.Tensor:
    """(N-2c, D) trajectory descriptors of the rows that have c = len(config.trajectory)//2 neighbours on both sides."""
    frames = describe(lips, pose, config)
    taps = np.sqrt(config.trajectory)
    n = len(frames) - len(taps) + 1
    return torch.cat([frames[i : i + n] * float(t) for i, t in enumerate(taps)], 1)


def trajectories(bank: MouthBank, config: DescriptorConfig) -> np.ndarray:
    """(K,D) float32 trajectory descriptors of the bank; where a neighbour in time is missing, the nearest one that
    exists stands in."""
    frames = describe(bank.lips.astype(np.float32), bank.pose.astype(np.float32), config)
    taps = np.sqrt(config.trajectory)
    half, parts = len(taps) // 2, []
    for i, tap in enumerate(taps):
        at, beside = np.arange(len(bank)), following(bank, 1 if i >= half else -1)
        for _ in range(abs(i - half)):
            at = beside[at]
        parts.append(frames[at] * tap)
    return np.concatenate(parts, 1).astype(np.float32)


def following(bank: MouthBank, step: int = 1) -> np.ndarray:
    """(K,) the bank row that the video shows next (step 1) or just before (-1); the row itself where there is none."""
    rows = np.arange(len(bank))
    beside = np.clip(rows + step, 0, len(bank) - 1)
    follows = (bank.shot[beside] == bank.shot) & (bank.source[beside] - bank.source == step)
    return np.where(follows, beside, rows)


def kernel_weights(distance: torch.Tensor, n: int, alpha: float) -> torch.Tensor:
    """(B,C) weights exp(-d^2 / 2 sigma^2) of ascending distances, sigma per row such that the first n hold `alpha` of
    the sum."""
    squared = distance**2 - distance[:, :1] ** 2  # the same weights up to a factor, and never all zero
    low = torch.full_like(squared[:, :1], 1e-5)
    high = torch.full_like(low, 10.0)
    for _ in range(30):
        sigma = (low * high).sqrt()
        weight = torch.exp(-squared / (2 * sigma**2))
        too_wide = weight[:, :n].sum(1, keepdim=True) < alpha * weight.sum(1, keepdim=True)
        high = torch.where(too_wide, sigma, high)
        low = torch.where(too_wide, low, sigma)
    return torch.exp(-squared / (2 * low**2))


class CandidateWarp:
    """Displacement fields that bring candidates' lips and jaws onto the wanted ones: thin-plate splines through the lip
    and jaw points, still at the nose and the crop's sides (Bookstein 1989), slightly relaxed against landmark noise.

    Upper teeth are the skull's: what lies in the upper part of both mouths' insides is not moved, so that teeth neither
    swim with the lips nor grow and shrink with them."""

    relax = 2e-3
    #: Eye distances inside the inner edges over which a point comes to lie wholly inside; the share of the way from the
    #: upper to the lower lip at which teeth begin and cease to be upper ones.
    edge, upper_teeth = 0.015, (0.3, 0.8)

    def __init__(self, space: MouthSpace, device: torch.device) -> None:
        self.space, self.device = space, device
        y = torch.arange(0, space.height + NODE_STEP, NODE_STEP, dtype=torch.float64)
        x = torch.arange(0, space.width + NODE_STEP, NODE_STEP, dtype=torch.float64)
        self.shape = (len(y), len(x))
        self.x = ((x + 0.5) / space.scale + space.left).float().to(device)
        self.y = ((y + 0.5) / space.scale + space.top).float().to(device)
        self.anchors = torch.from_numpy(_ANCHORS).to(device)

    def fields(
        self, lips: torch.Tensor, jaw: torch.Tensor, from_lips: torch.Tensor, from_jaw: torch.Tensor
    ) -> torch.Tensor:
        """(B,C,h,w,2) float32: at each node of the wanted picture, how many mouth-frame pixels away the candidate shows
        it.

        lips (B,18,2), jaw (B,17,2): wanted; from_lips (B,C,18,2), from_jaw (B,C,17,2): the candidates'. Face frame.
        """
        n, c = from_lips.shape[:2]
        to = torch.cat([lips, jaw[:, _JAW]], 1).double()
        moved = torch.cat([from_lips, from_jaw[:, :, _JAW]], 2).double() - to[:, None]
        moved = torch.cat([moved, moved.new_zeros(n, c, len(self.anchors), 2)], 2)
        to = torch.cat([to, self.anchors.expand(n, -1, -1)], 1)
        p = to.shape[1]
        system = to.new_zeros(n, p + 3, p + 3)
        system[:, :p, :p] = _spline((to[:, :, None] - to[:, None]).square().sum(-1)) + self.relax * torch.eye(
            p, dtype=to.dtype, device=to.device
        )
        affine = torch.cat([torch.ones_like(to[..., :1]), to], -1)
        system[:, :p, p:], system[:, p:, :p] = affine, affine.transpose(1, 2)
        right = torch.cat([moved.permute(0, 2, 1, 3).reshape(n, p, c * 2), to.new_zeros(n, 3, c * 2)], 1)
        solved = torch.linalg.solve(system, right)
        field = self._basis(to.float()) @ (solved * self.space.scale).float()
        field = field.reshape(n, *self.shape, c, 2).permute(0, 3, 1, 2, 4).contiguous()
        self._keep_upper_teeth(field, lips, from_lips)
        return field

    def _basis(self, to: torch.Tensor) -> torch.Tensor:
        """(B,h*w,P+3) float32: the splines about (B,P,2) points, and the affine part, at every node. In single
        precision: fields differ from those of double precision by less than 0.01 pixels."""
        across, down = ((at[:, None] - to[:, None, :, k]).square() for k, at in enumerate((self.x, self.y)))
        basis = to.new_empty(len(to), *self.shape, to.shape[1] + 3)
        basis[..., :-3] = _spline(down[:, :, None] + across[:, None])
        basis[..., -3], basis[..., -2], basis[..., -1] = 1, self.x, self.y[:, None]
        return basis.flatten(1, 2)

    def _keep_upper_teeth(self, field: torch.Tensor, lips: torch.Tensor, from_lips: torch.Tensor) -> None:
        """Stills the nodes of the (B,C,h,w,2) field that show upper teeth, in the wanted and in the candidate's mouth
        alike."""
        below, above = from_inner_edges(lips.float(), self.x, self.y)
        begin, end = self.upper_teeth
        share = (below / (below + above).clamp_min(1e-4)).clamp(0, 1)
        wanted = soft_step(torch.minimum(below, above) / self.edge) * (1 - soft_step((share - begin) / (end - begin)))
        rows, columns = (torch.nonzero(wanted.amax((0, k)) > 0).flatten().tolist() for k in (2, 1))
        if rows:
            y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            theirs = torch.minimum(*from_inner_edges(from_lips.float().flatten(0, 1), self.x[x], self.y[y]))
            still = wanted[:, None, y, x] * soft_step(theirs / self.edge).unflatten(0, from_lips.shape[:2])
            field[:, :, y, x] *= (1 - still)[..., None]

    def dense(self, field: torch.Tensor) -> torch.Tensor:
        """(C,2,Hm,Wm) how far away each pixel's source is, from (C,h,w,2) nodes."""
        size = [(s - 1) * NODE_STEP + 1 for s in self.shape]
        dense = torch.nn.functional.interpolate(
            field.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=True
        )
        return dense[:, :, : self.space.height, : self.space.width]

    def apply(self, crops: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        """(C,3,Hm,Wm) crops drawn through their (C,h,w,2) fields, bilinear, edges repeated."""
        h, w = self.space.height, self.space.width
        y, x = torch.arange(h, device=crops.device), torch.arange(w, device=crops.device)
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).float() + self.dense(field).permute(0, 2, 3, 1)
        return sample_pixels(crops, at + 0.5)


def _spline(squared: torch.Tensor) -> torch.Tensor:
    """r^2 log r of r^2."""
    return 0.5 * squared * torch.log(squared.clamp_min(1e-18))


def resharpened(
    rgb: torch.Tensor,
    filmed: torch.Tensor,
    weight: torch.Tensor,
    lips: torch.Tensor,
    space: MouthSpace,
    loss: float,
    limit: float,
    blurs: int = 2,
) -> torch.Tensor:
    """(3,Hm,Wm) the picture with so much of its fine detail added that it is as sharp around the lips as the mouths it
    was made of.

    rgb: (3,Hm,Wm), any unit; filmed: (C,3,h,w) those mouths `around_lips`, same unit, uint8 or float; weight: (C,)
    their shares; lips: (18,2) drawn, face frame; loss: `resampling_loss`; limit: at most this much of the detail is
    added; blurs: how coarse the detail is, 1 = the finest."""
    detail = fine_detail(rgb[None], blurs)[0]
    drawn, more = (_edges(around_lips(x, lips, space)) for x in (rgb[None], detail[None]))
    wanted = loss * (weight * _edges(filmed).square().mean((1, 2, 3))).sum()
    aa, ab, bb = (drawn * drawn).mean(), (drawn * more).mean(), (more * more).mean()
    boost = ((ab * ab - bb * (aa - wanted)).clamp_min(0).sqrt() - ab) / bb.clamp_min(1e-6)
    return rgb + boost.clamp(0, limit).detach() * detail


def resampling_loss(subject: TargetAnalysis) -> float:
    """How much edge energy a picture has before it is enlarged to crop pixels and brought back into the video, over
    what it has then."""
    bank = subject.bank
    shrink = float(np.median(magnification(subject.track.pixel_from_face[subject.track.valid]))) / bank.space.scale
    rows = np.unique(np.linspace(0, len(bank) - 1, 16).astype(int))
    filmed = _scaled(torch.from_numpy(bank.take(rows)).float(), shrink)
    before, after = (laplacian(x).square().mean() for x in (filmed, _scaled(_scaled(filmed, 1 / shrink), shrink)))
    return float((before / after.clamp_min(1e-6)).clamp(1, 2))


def fine_detail(rgb: torch.Tensor, blurs: int = 2) -> torch.Tensor:
    """What so many 3x3 means remove; two are nearly a Gaussian of 1.2 pixels."""
    soft = torch.nn.functional.pad(rgb, (blurs,) * 4, mode="replicate")
    for _ in range(blurs):
        soft = _mean3(soft)
    return rgb - soft


def _mean3(x: torch.Tensor) -> torch.Tensor:
    """(B,C,h-2,w-2) means of 3x3 pixels. Sums of shifted slices: on a CPU several times faster than `avg_pool2d`."""
    for dim in (2, 3):
        first, second, third = (x.narrow(dim, k, x.shape[dim] - 2) for k in range(3))
        x = first + second + third
    return x / 9


def _scaled(rgb: torch.Tensor, factor: float) -> torch.Tensor:
    size = [max(4, round(n * factor)) for n in rgb.shape[2:]]
    return torch.nn.functional.interpolate(rgb, size=size, mode="bicubic", align_corners=False)


def _edges(rgb: torch.Tensor) -> torch.Tensor:
    """(B,1,h-4,w-4) Laplacian of the frequencies that survive the way back into the frame."""
    return _second_differences(_mean3(_grey(rgb)))


def laplacian(rgb: torch.Tensor) -> torch.Tensor:
    """(B,1,h-2,w-2) second differences of the brightness of (B,3,h,w) pictures."""
    return _second_differences(_grey(rgb))


def _grey(rgb: torch.Tensor) -> torch.Tensor:
    """(B,1,h,w) float, of (B,3,h,w) uint8 or float."""
    red, green, blue = (x if x.is_floating_point() else x.float() for x in rgb.split(1, 1))
    return (red + green + blue) / 3


def _second_differences(x: torch.Tensor) -> torch.Tensor:
    """(B,C,h-2,w-2) the Laplacian."""
    beside = x[..., 1:-1, :-2] + x[..., 1:-1, 2:] + x[..., :-2, 1:-1] + x[..., 2:, 1:-1]
    return beside - 4 * x[..., 1:-1, 1:-1]


def around_lips(rgb: torch.Tensor, lips: torch.Tensor, space: MouthSpace) -> torch.Tensor:
    """The part of the (B,3,Hm,Wm) pictures that holds the (18,2) lips."""
    return rgb[..., *lips_part(lips, space)]


def lips_part(lips: torch.Tensor, space: MouthSpace) -> tuple[slice, slice]:
    """The rows and columns of the mouth frame that hold the (18,2) lips."""
    corner = lips.new_tensor([space.left, space.top])
    (x0, y0), (x1, y1) = ((p - corner) * space.scale for p in (lips.amin(0), lips.amax(0)))
    return slice(max(int(y0) - 2, 0), int(y1) + 3), slice(max(int(x0) - 2, 0), int(x1) + 3)
