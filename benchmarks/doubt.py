"""Whether the doubt score finds defects that are planted into real, undubbed frames.

python -m benchmarks.doubt [--rows address presenter grid]

Of each clip an eighth of its frames is held out in turn, in one piece; what its mouths look like is learnt from the
others that are more than 0.4 s away. The held-out frames are scored as they are, and with a defect of visible strength:

    torn      one side of the upper or lower lip moved by .05 to .07 eye distances
    ghost     half of another mouth of the clip over the mouth, its lips .05 eye distances away or more
    teeth     what is seen between the lips stays as it was for 12 frames while the opening goes on changing
              (counted where that is seen in every frame of the last 0.16 s)
    under     what lies under the chin, a collar painted there, moved by .05 to .08 eye distances, where that shows
    light     the lower face 12 to 20 % brighter, darker, redder or bluer

Found: planted frames above the score that 5 % of all real frames exceed, one score for all clips ("found"), and above
that which 5 % of the same clip's real frames exceed ("found_by_clip", mean over clips). Real frames lie over
themselves, so `under` and `light`, which compare a frame with the one beneath, cannot raise a false alarm on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.common import DATA, config_of, grid_clips, joined, parser, report, sample_target
from lipsync.core.geometry import apply
from lipsync.core.lips import INNER_EDGE, opening
from lipsync.core.types import MouthBank, MouthSpace
from lipsync.render.doubt import APART_S, CAUSES, N_FORESEEN, TRUST, foreseen, known_mouths, scores
from lipsync.render.flaws import FlawFinder, learn_look, thumbnail
from lipsync.store.cache import Cache
from lipsync.target.analyse import analyse

ADDRESS = ("01", "02", "03", "04", "06", "07", "08")
FOLDS, HELD, FALSE_ALARMS = 8, 12, 0.05
_UPPER, _LOWER = [0, 1, 2, 3, 4, 5, 6, 14, 13, 12], [6, 7, 8, 9, 10, 11, 0, 17, 16, 15]


@dataclass(frozen=True, slots=True)
class Mouths:
    """Neighbouring crops of a bank, (n,H,W,3) uint8, and what is known of them."""

    crops: np.ndarray
    lips: np.ndarray
    space: MouthSpace


def torn(mouths: Mouths, i: int, rng: np.random.Generator) -> np.ndarray:
    crop, space = mouths.crops[i], mouths.space
    points = apply(space.mouth_from_face, mouths.lips[i].astype(float))
    lip = _filled(points[_UPPER if rng.random() < 0.5 else _LOWER], crop, 0.02 * space.scale)
    middle = points[0, 0] + (points[6, 0] - points[0, 0]) * rng.uniform(0.35, 0.65)
    x = np.arange(crop.shape[1])
    lip *= (x > middle) if rng.random() < 0.5 else (x < middle)
    down = rng.uniform(0.05, 0.07) * space.scale * rng.choice([-1, 1])
    return _over(crop, _shifted(crop, down), _soft(_shifted(lip, down), 0.008 * space.scale))


def ghost(mouths: Mouths, i: int, others: MouthBank, rng: np.random.Generator) -> np.ndarray | None:
    away = np.sqrt(((others.lips - mouths.lips[i]) ** 2).sum(2).mean(1))
    far = np.flatnonzero(away >= 0.05)
    if not len(far):
        return None
    x, y = _face(mouths.space)
    weight = 0.5 * ((1 - np.hypot(x / 0.45, (y - 0.05) / 0.32)) / 0.3).clip(0, 1)
    return _over(mouths.crops[i], others.crops[rng.choice(far)].transpose(1, 2, 0), weight)


def collared(mouths: Mouths, i: int, jaw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mouth with a collar of a plain colour below the jaw."""
    crop, space = mouths.crops[i], mouths.space
    edge = apply(space.mouth_from_face, jaw[2:15] + np.array([0, 0.1]))
    corners = [[crop.shape[1], crop.shape[0]], [0, crop.shape[0]]]
    collar = _soft(_filled(np.concatenate([edge, corners]), crop), 0.006 * space.scale)
    colour = rng.choice([30, 90, 225]) + rng.uniform(-15, 15, 3) * [1, 1, -1]
    return _over(crop, np.broadcast_to(colour.clip(0, 255), crop.shape), collar)


def dragged(crop: np.ndarray, space: MouthSpace, jaw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What lies under the jaw, moved as a jaw correction drags it."""
    import cv2

    x, y = _face(space)
    distance = np.min([np.hypot(x - px, y - py) for px, py in jaw[4:13]], axis=0)
    near = (1 - (distance / 0.22) ** 2).clip(0) ** 2
    outside = 1 - _soft(_filled(apply(space.mouth_from_face, jaw.astype(float)), crop), 0.02 * space.scale)
    down = (rng.uniform(0.05, 0.08) * rng.choice([-1, 1]) * space.scale * near * outside).astype(np.float32)
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]].astype(np.float32)
    return cv2.remap(crop, columns, rows - down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def lit(mouths: Mouths, i: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _face(mouths.space)
    weight = ((1 - np.hypot(x / 0.5, (y - 0.1) / 0.4)) / 0.2).clip(0, 1)
    by = rng.uniform(0.12, 0.2) * rng.choice([-1, 1])
    gain = 1 + by * (np.ones(3) if rng.random() < 0.5 else np.array([1, 0, -1]))
    return _over(mouths.crops[i], (mouths.crops[i] * gain).clip(0, 255), weight)


def frozen(mouths: Mouths, first: int, rng: np.random.Generator) -> np.ndarray:
    """(HELD + 1,H,W,3): the interior of frame `first` seen in those after it, with fresh noise."""
    crops, space = mouths.crops[first : first + HELD + 1].copy(), mouths.space
    inner = [
        _filled(apply(space.mouth_from_face, lips.astype(float))[INNER_EDGE], crops[0])
        for lips in mouths.lips[first : first + HELD + 1]
    ]
    for k in range(1, HELD + 1):
        held = (crops[0] + rng.normal(0, 1.5, crops[0].shape)).clip(0, 255)
        crops[k] = _over(crops[k], held, _soft(inner[0] * inner[k], 0.006 * space.scale))
    return crops


def _face(space: MouthSpace) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[: space.height, : space.width] + 0.5
    return columns / space.scale + space.left, rows / space.scale + space.top


def _filled(points: np.ndarray, crop: np.ndarray, grow_px: float = 0) -> np.ndarray:
    import cv2

    mask = cv2.fillPoly(np.zeros(crop.shape[:2], np.uint8), [np.round(points).astype(np.int32)], (1,))
    return cv2.dilate(mask, np.ones((3, 3)), iterations=int(grow_px)) if grow_px >= 1 else mask


def _shifted(picture: np.ndarray, down: float) -> np.ndarray:
    import cv2

    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, np.array([[1, 0, 0], [0, 1, down]]), size, borderMode=cv2.BORDER_REPLICATE)


def _soft(mask: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(sigma, 0.3))


def _over(under: np.ndarray, over: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weight = weight[..., None]
    return np.round(under * (1 - weight) + over * weight).clip(0, 255).astype(np.uint8)


def _part(bank: MouthBank, rows: np.ndarray) -> MouthBank:
    columns = {name: getattr(bank, name)[rows] for name in ("source", "lips", "jaw", "pose", "sharpness", "shot")}
    return replace(bank, crops=bank.take(rows), **columns)


def measured(bank: MouthBank, rate: float, seed: int, look: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(n,10) values of the real frames of a clip, and of those with each defect."""
    found: dict[str, list[np.ndarray]] = {}
    rng = np.random.default_rng(seed)
    for learnt, rows in _folds(bank, rate):
        known, model = known_mouths(learnt, rate), learn_look(learnt, rate)
        held = _part(bank, rows)
        before = TRUST * foreseen(known, held.lips, held.pose)
        for name, i, flaws in _seen(held, learnt, model, rate, rng, look):
            found.setdefault(name, []).append(np.concatenate([before[i], [0], flaws]))
    return {name: np.array(values) for name, values in found.items()}


def _folds(bank: MouthBank, rate: float) -> Iterator[tuple[MouthBank, np.ndarray]]:
    for rows in np.array_split(np.arange(len(bank)), FOLDS):
        gap = int(np.ceil(APART_S * rate))
        away = np.r_[0 : max(rows[0] - gap, 0), min(rows[-1] + gap + 1, len(bank)) : len(bank)]
        yield _part(bank, away), rows


def _seen(
    held: MouthBank, learnt: MouthBank, model, rate: float, rng: np.random.Generator, look: dict[str, np.ndarray]
):
    """(defect or "real", row, flaws) of each held-out row."""
    mouths = Mouths(np.ascontiguousarray(held.crops.transpose(0, 2, 3, 1)), held.lips, held.space)
    place, n = held.space.mouth_from_face, len(held)
    thumbs = [thumbnail(crop, place) for crop in mouths.crops]
    joined_on = np.r_[False, (np.diff(held.source) == 1) & (np.diff(held.shot) == 0)]
    finder, clock = FlawFinder(model, rate), np.cumsum(1 + ~joined_on)

    def flaws_of(finder: FlawFinder, i: int, thumb: np.ndarray, beneath: np.ndarray | None = None):
        beneath = thumbs[i] if beneath is None else beneath
        return finder(int(clock[i]), thumb, beneath, held.lips[i], held.lips[i], held.jaw[i])

    for i in range(n):
        yield "real", i, flaws_of(finder, i, thumbs[i])
        made = {"torn": torn(mouths, i, rng), "ghost": ghost(mouths, i, learnt, rng), "light": lit(mouths, i, rng)}
        collar = collared(mouths, i, held.jaw[i], rng)
        moved = dragged(collar, held.space, held.jaw[i], rng)
        if (np.abs(moved.astype(int) - collar).max(2) >= 40).mean() >= 0.002:
            look.setdefault("under", moved)
            beneath = thumbnail(collar, place)
            yield "under", i, flaws_of(FlawFinder(model, rate), i, thumbnail(moved, place), beneath)
        for name, crop in made.items():
            if crop is None:
                continue
            look.setdefault(name, crop)
            yield name, i, flaws_of(FlawFinder(model, rate), i, thumbnail(crop, place))
    gaps, window = opening(held.lips), max(3, round(0.16 * rate) + 1)
    for first in range(0, n - HELD, HELD // 2):
        if gaps[first] < 0.05 or not joined_on[first + 1 : first + HELD + 1].all():
            continue
        finder, seen = FlawFinder(model, rate), []
        for k, crop in enumerate(frozen(mouths, first, rng)):
            thumb = thumbnail(crop, place)
            flaws = flaws_of(finder, first + k, thumb)
            seen.append((np.abs(thumb[..., 0].astype(int) - thumbs[first + k][..., 0]) >= 8).sum() >= 20)
            moving = np.abs(np.diff(gaps[first + max(k - window + 1, 0) : first + k + 1])).mean() if k else 0
            if k >= window and moving >= 0.008 and all(seen[1 - window :]):
                look.setdefault("teeth", crop)
                yield "teeth", first + k, flaws


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", nargs="+", choices=("address", "presenter", "grid"), default=["address"])
    options.add_argument("--clips", nargs="+", default=list(ADDRESS), help="of data/address")
    options.add_argument("--frames", type=int, default=300, help="of each clip at most")
    args = options.parse_args()
    config = config_of(args)
    values, look = {}, {}
    for row, clip in _targets(args):
        subject = analyse(clip, config, Cache.of(config.cache))
        bank = subject.bank
        starts = np.linspace(0, max(len(bank) - args.frames, 0), 1 if row != "grid" else 6).astype(int)
        each = args.frames // len(starts)
        rows = np.unique(np.concatenate([np.arange(s, min(s + each, len(bank))) for s in starts]))
        values[f"{row} {clip.stem}"] = measured(_part(bank, rows), float(subject.video.clock.rate), 0, look)
    _write_look(look, args.work / "doubt.png")
    report("doubt", summary(values))


def summary(values: dict[str, dict[str, np.ndarray]]) -> dict:
    """Shares found, at the score that 5 % of the real frames exceed, and which cause raised most false alarms."""
    real = np.concatenate([v["real"] for v in values.values()])
    limit = float(np.quantile(scores(real).max(1), 1 - FALSE_ALARMS))
    names = sorted({name for v in values.values() for name in v})
    each = {clip: {n: float((scores(v[n]).max(1) > limit).mean()) for n in v} for clip, v in values.items()}
    whole = {n: np.concatenate([v[n] for v in values.values() if n in v]) for n in names}
    above = scores(real).max(1) > limit
    alarms = np.bincount(real[above].argmax(1), minlength=len(CAUSES))
    return {
        "limit": limit,
        "found": {n: float((scores(v).max(1) > limit).mean()) for n, v in whole.items()},
        "frames": {n: len(v) for n, v in whole.items()},
        "found_by_picture": {n: float((scores(v[:, N_FORESEEN:]).max(1) > limit).mean()) for n, v in whole.items()},
        "found_by_clip": _by_clip(values),
        "each": each,
        "false_alarms": {cause: int(n) for cause, n in zip(CAUSES, alarms, strict=True) if n},
    }


def _by_clip(values: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for clip in values.values():
        limit = np.quantile(scores(clip["real"]).max(1), 1 - FALSE_ALARMS)
        for name, v in clip.items():
            found.setdefault(name, []).append(float((scores(v).max(1) > limit).mean()))
    return {name: float(np.mean(shares)) for name, shares in found.items()}


def _targets(args) -> Iterator[tuple[str, Path]]:
    for row in args.rows:
        if row == "presenter":
            yield row, sample_target()
        elif row == "grid":
            yield row, joined(grid_clips("train")[:40], args.work / "grid-40.mkv")
        else:
            yield from ((row, DATA / "address" / f"{name}.mp4") for name in args.clips)


def _write_look(look: dict[str, np.ndarray], path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), np.hstack(list(look.values()))[..., ::-1])


if __name__ == "__main__":
    main()
