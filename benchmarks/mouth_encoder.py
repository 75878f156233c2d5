"""How well the mouth encoder's distance follows what was done to a picture, on mouths that it never learned from,
beside L1 and 1 - SSIM.

Per fault: Spearman's rank correlation of its strength with the distance, over all pictures (strength: for another mouth
the lip error, for one that shines through times the lip error, for teeth times the size of the opening); and the share
of pictures of which every stronger fault is farther. Then the share of pictures of which a visible fault is farther
than a change that nobody minds. `python -m benchmarks.mouth_encoder`; seconds, after the minute in which faces are
followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.common import parser, report
from lipsync.learning.losses import feature_distance
from lipsync.learning.perceptual import mouth_encoder
from lipsync.metrics.pictures import ssim
from lipsync.store.registry import MOUTH_ENCODER
from training.distortions import SPOILERS, Material, Mouth, lip_error
from training.mouth_encoder import EncoderRecipe, footage

AMOUNTS = (0.2, 0.4, 0.6, 0.8, 1.0)
FAULTS = ("blur", "noise", "jpeg", "ghost", "swap", "warp", "teeth")
Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def measures(net: torch.nn.Module) -> dict[str, Measure]:
    """By name: (B,) distances of two batches of pictures."""
    return {
        "mouth-encoder": lambda a, b: feature_distance(net(a), net(b)),
        "L1": lambda a, b: (a - b).abs().mean((1, 2, 3)),
        "1 - SSIM": lambda a, b: 1 - ssim(a, b),
    }


def tensor(pictures: list[np.ndarray]) -> torch.Tensor:
    """(B,3,h,w)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2), np.float32))


def in_parts(measure: Measure, a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """(B,) the distances, a few pictures at a time: large tensors cost more to allocate than to fill."""
    return torch.cat([measure(x, y) for x, y in zip(a.split(8), b.split(8), strict=True)]).numpy()


def share_above(high: np.ndarray, low: np.ndarray) -> float:
    """Share of the rows in which `high` is higher."""
    return round(float((high > low).mean()), 3)


def drawn(material: Material, n: int, width: int) -> list[tuple[Mouth, Mouth]]:
    """n held-out pictures, each with another mouth beside it."""
    rng = np.random.default_rng(1)
    return [material.two(width, round(0.8 * width), rng, varied=False) for _ in range(n)]


def moved(rgb: np.ndarray, x: int, y: int) -> np.ndarray:
    """The picture moved by whole pixels, its rim repeated."""
    height, width = rgb.shape[:2]
    return rgb[np.clip(np.arange(height) - y, 0, height - 1)][:, np.clip(np.arange(width) - x, 0, width - 1)]


@torch.no_grad()
def followed(pairs: list[tuple[Mouth, Mouth]], by: dict[str, Measure]) -> dict:
    """Per fault and measure: rank correlation, and share of pictures in order."""
    out: dict = {}
    clean = tensor([mouth.rgb for mouth, _ in pairs])
    for fault in FAULTS:
        strength, far = [], {name: [] for name in by}
        for amount in AMOUNTS if fault != "swap" else AMOUNTS[-1:]:
            spoilt = [SPOILERS[fault](m, o, amount, np.random.default_rng(i)) for i, (m, o) in enumerate(pairs)]
            by_fault = {
                "swap": [lip_error(m, o) for m, o in pairs],
                "ghost": [amount * lip_error(m, o) for m, o in pairs],
            }
            by_fault["teeth"] = [severity for _, severity in spoilt]
            strength.append(by_fault.get(fault, [amount] * len(pairs)))
            for name, measure in by.items():
                far[name].append(in_parts(measure, clean, tensor([rgb for rgb, _ in spoilt])))
        out[fault] = {
            name: {"rank_r": round(float(np.asarray(spearmanr(np.ravel(strength), np.ravel(far[name]))[0])), 3)}
            for name in by
        }
        for name in by if fault != "swap" else ():
            out[fault][name]["in_order"] = round(float((np.diff(far[name], axis=0) > 0).all(0).mean()), 3)
    return out


@torch.no_grad()
def visible_before_mild(pairs: list[tuple[Mouth, Mouth]], by: dict[str, Measure]) -> dict:
    """Share of pictures of which the fault is farther than the mild change, per pair of the two and measure."""
    pairs = [(m, o) for m, o in pairs if lip_error(m, o) > 0.02]
    clean, rng = tensor([m.rgb for m, _ in pairs]), np.random.default_rng(2)
    visible = {"blur": 0.33, "ghost": 0.6, "swap": 1.0}
    bad = {name: tensor([SPOILERS[name](m, o, amount, rng)[0] for m, o in pairs]) for name, amount in visible.items()}
    mild = {"5 % brighter": (clean * 1.05).clamp(max=1), "1 px aside": tensor([moved(m.rgb, 1, 0) for m, _ in pairs])}
    return {
        f"{b} before {m}": {
            name: share_above(in_parts(f, clean, bad[b]), in_parts(f, clean, mild[m])) for name, f in by.items()
        }
        for b in bad
        for m in mild
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--weights", type=Path, default=MOUTH_ENCODER)
    args = options.parse_args()
    _, held = footage(EncoderRecipe.load("mouth-encoder"), args.work)
    by, out = measures(mouth_encoder(args.weights)), {}
    for name, material, widths in zip(("presenter", "GRID s1"), held, ((128, 192), (64, 118)), strict=True):
        for width in widths:
            pairs = drawn(material, 60, width)
            out[f"{name}, {width} px"] = {
                "faults": followed(pairs, by),
                "visible first": visible_before_mild(pairs, by),
            }
    report("mouth_encoder", out)


if __name__ == "__main__":
    main()
