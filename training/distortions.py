"""What can be wrong with a drawn mouth, in known amounts: pairs of a clean and a spoilt picture, for the mouth encoder.

`severity` is our own scale of what a viewer minds: 1 = nobody would take it for a real mouth, 0 = nothing. Wrong lips,
doubled mouths and blur count fully, a shift by a pixel or a change of the light hardly at all: the reverse of what
differences of pixels say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lipsync.core.geometry import apply
from lipsync.core.lips import INNER_EDGE, MIRRORED
from lipsync.core.types import MouthBank

#: Mean error of the lip points (eye distances) that has severity 1.
WRONG_LIPS = 0.05


@dataclass(frozen=True, slots=True)
class Mouth:
    """One picture. rgb: (h,w,3) float32 in [0,1]; lips: (18,2) float32 pixels of it; scale: its pixels per eye
    distance."""

    rgb: np.ndarray
    lips: np.ndarray
    scale: float


Spoiler = Callable[[Mouth, Mouth, float, np.random.Generator], tuple[np.ndarray, float]]


def blur(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Gaussian, sigma up to 3 % of an eye distance."""
    return _blurred(mouth.rgb, 0.03 * amount * mouth.scale), amount


def noise(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Independent in each pixel and channel, up to 30 grey levels."""
    spoilt = mouth.rgb + 30 / 255 * amount * rng.standard_normal(mouth.rgb.shape, np.float32)
    return spoilt.clip(0, 1), 0.7 * amount


def jpeg(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Blocks of quality 90 down to 10."""
    import cv2

    bgr = (mouth.rgb[..., ::-1] * 255).round().astype(np.uint8)
    _, packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(90 - 80 * amount)])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255, 0.1 + 0.6 * amount


def ghost(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Another mouth shines through, half and half at most."""
    share = 0.5 * amount
    return mouth.rgb * (1 - share) + other.rgb * share, 1.2 * amount * min(
        1.0, lip_error(mouth, other) / (0.6 * WRONG_LIPS)
    )


def swap(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Another mouth of the same person, as sharp as the right one."""
    return other.rgb, min(1.3, lip_error(mouth, other) / WRONG_LIPS)


def warp(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Lips pushed aside or stretched from their middle, smoothly, the surroundings left in place."""
    import cv2

    height, width = mouth.rgb.shape[:2]
    middle = mouth.lips.mean(0)
    push, stretch = rng.standard_normal(2), rng.standard_normal(2) / (0.2 * mouth.scale)

    def moved(points: np.ndarray) -> np.ndarray:
        from_middle = points - middle
        near = np.exp(-np.square(from_middle / (np.array([0.45, 0.35]) * mouth.scale)).sum(-1, keepdims=True))
        return near * (push + stretch * from_middle)

    size = amount * WRONG_LIPS * mouth.scale / np.linalg.norm(moved(mouth.lips), axis=-1).mean()
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    at = (grid - 0.5 - size * moved(grid)).astype(np.float32)
    return cv2.remap(mouth.rgb, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), amount


def teeth(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The inside of the mouth loses its detail; nothing where it is closed."""
    import cv2

    inside = np.zeros(mouth.rgb.shape[:2], np.float32)
    cv2.fillPoly(inside, [((mouth.lips[INNER_EDGE] - 0.5) * 16).round().astype(np.int32)], (1.0,), cv2.LINE_AA, 4)
    share = amount * _blurred(inside, 0.008 * mouth.scale)[..., None]
    spoilt = mouth.rgb * (1 - share) + _blurred(mouth.rgb, 0.05 * mouth.scale) * share
    return spoilt, 0.7 * amount * min(1.0, float(inside.sum()) / (0.03 * mouth.scale**2))


def colour(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Every channel brighter or darker by itself, about 20 % at most."""
    gain = rng.standard_normal(3)
    return (mouth.rgb * (1 + 0.2 * amount * gain / np.abs(gain).max())).clip(0, 1).astype(np.float32), 0.35 * amount


def light(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """All brighter or darker by up to 10 %."""
    return (mouth.rgb * (1 + 0.1 * amount * rng.choice([-1, 1]))).clip(0, 1).astype(np.float32), 0.08 * amount


def shift(mouth: Mouth, other: Mouth, amount: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Everything moves together by up to 1.5 % of an eye distance and a pixel."""
    import cv2

    reach, angle = amount * (0.015 * mouth.scale + 1) / 2, rng.uniform(0, 2 * np.pi)
    move = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]])
    size = mouth.rgb.shape[1::-1]
    return cv2.warpAffine(mouth.rgb, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).clip(
        0, 1
    ), 0.08 * amount


SPOILERS: dict[str, Spoiler] = {
    f.__name__: f for f in (blur, noise, jpeg, ghost, swap, warp, teeth, colour, light, shift)
}


def lip_error(a: Mouth, b: Mouth) -> float:
    """Mean distance of the lip points of two pictures of one size, eye distances."""
    return float(np.linalg.norm(a.lips - b.lips, axis=-1).mean()) / a.scale


def _blurred(picture: np.ndarray, sigma_px: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE) if sigma_px > 0.05 else picture


@dataclass(frozen=True, slots=True)
class Material:
    """Rows of a bank to draw examples from."""

    bank: MouthBank
    rows: np.ndarray

    def pair(self, rng: np.random.Generator) -> tuple[int, int]:
        """A random row, and another one near to it in time or far."""
        at = int(rng.integers(len(self.rows)))
        away = int(np.exp(rng.uniform(0, np.log(len(self.rows) - 1))))
        return int(self.rows[at]), int(self.rows[(at + away * rng.choice([-1, 1])) % len(self.rows)])

    def two(self, width: int, height: int, rng: np.random.Generator, varied: bool = True) -> tuple[Mouth, Mouth]:
        """Two mouths at this size in one light; varied: also cut closer, mirrored, and in another light and colour."""
        space = self.bank.space
        cut = rng.uniform(0, 0.1, 4) if varied else np.zeros(4)
        left, top = round(cut[0] * space.width), round(cut[1] * space.height)
        right, bottom = round((1 - cut[2]) * space.width), round((1 - cut[3]) * space.height)
        mirror = varied and rng.random() < 0.5
        mix = (
            np.eye(3)
            + (rng.uniform(-0.06, 0.06, (3, 3)) + np.diag(rng.uniform(-0.15, 0.15, 3) + rng.uniform(-0.2, 0.1)))
            * varied
        )
        gamma = np.exp(rng.uniform(-0.35, 0.35)) if varied else 1.0

        def seen(row: int) -> Mouth:
            import cv2

            rgb = self.bank.crops[row, :, top:bottom, left:right].transpose(1, 2, 0).astype(np.float32) / 255
            rgb = cv2.resize(
                rgb, (width, height), interpolation=cv2.INTER_AREA if width < right - left else cv2.INTER_LINEAR
            )
            rgb = ((rgb @ mix.T).clip(0, 1) ** gamma).astype(np.float32)
            size = np.array([width, height]) / [right - left, bottom - top]
            lips = (apply(space.mouth_from_face, self.bank.lips[row]) - [left, top]) * size
            if mirror:
                rgb, lips = np.ascontiguousarray(rgb[:, ::-1]), (lips * [-1, 1] + [width, 0])[MIRRORED]
            return Mouth(rgb, lips.astype(np.float32), space.scale * float(size.mean()))

        one, other = self.pair(rng)
        return seen(one), seen(other)


@dataclass(frozen=True, slots=True)
class Examples:
    """clean, spoilt: (B,3,h,w) float32; kind: (B,) number in SPOILERS; severity: (B,) float32; lips: (B,18,2) of the
    clean ones, 0 to 1 over the picture."""

    clean: np.ndarray
    spoilt: np.ndarray
    kind: np.ndarray
    severity: np.ndarray
    lips: np.ndarray


def examples(materials: Sequence[Material], n: int, width: int, rng: np.random.Generator) -> Examples:
    """n random pairs, `width` pixels wide; every kind of fault is as frequent, wrong lips twice. Half of the faults are
    in another light and moved a little, too: that must not hide them, nor look like one."""
    kinds = [*SPOILERS, "swap", "warp"]
    height, rows = round(0.8 * width), []
    for _ in range(n):
        mouth, other = materials[int(rng.integers(len(materials)))].two(width, height, rng)
        kind = kinds[int(rng.integers(len(kinds)))]
        spoilt, severity = SPOILERS[kind](mouth, other, float(rng.uniform(0, 1)), rng)
        for mild in (light, shift) if rng.random() < 0.5 else ():
            spoilt, more = mild(Mouth(spoilt, mouth.lips, mouth.scale), other, float(rng.uniform(0, 1)), rng)
            severity = float(np.hypot(severity, more))
        rows.append((mouth.rgb, spoilt, list(SPOILERS).index(kind), severity, mouth.lips / [width, height]))
    clean, spoilt, kind, severity, lips = (np.stack(column) for column in zip(*rows, strict=True))
    clean, spoilt = (np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32) for x in (clean, spoilt))
    return Examples(clean, spoilt, kind, severity.astype(np.float32), lips.astype(np.float32))
