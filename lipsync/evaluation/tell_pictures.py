"""What one person's pictures show, frame by frame, of the tells: numbers, from one pass over the video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy.fft import fftshift, irfft2, rfft2

from lipsync.core.arrays import Array
from lipsync.core.geometry import apply, translation, warp_frame
from lipsync.core.lips import INNER_EDGE, LIPS_FROM_68
from lipsync.core.progress import Hook, silent
from lipsync.core.track import eye_distance_px
from lipsync.core.types import Footage
from lipsync.metrics.pictures import edge_sharpness, luma
from lipsync.render.flaws import MouthLook, Unlikeness, thumbnail
from video.picture import Cutter, FramePicture, inside
from video.prefetch import ahead
from video.read import frames_ahead, pictures_of

#: Raise whenever the same video would give other numbers.
VERSION = 3
#: The window around a face, eye distances (face frame), and its pixels per eye distance: native between these.
LEFT, TOP, RIGHT, BOTTOM = -0.8, -1.2, 0.8, 1.0
SCALES = (40.0, 80.0)
#: Where a drawn region may end: ovals around (0, OVAL_Y), these half widths, heights in these shares of them; inside
#: the face. Colours are compared STEP eye distances inside and outside, in sectors.
SIZES, SHAPES, OVAL_Y, CHIN = np.linspace(0.3, 0.56, 14), (0.7, 0.85, 1.0), 0.1, 0.48
STEP, SECTORS, POINTS = 0.035, 16, 64
#: Frames whose steps are averaged.
BLOCK_S = 0.5
#: What lies so far under the jaw may be a collar; the least structure it must have in every direction,
#: squared grey levels a pixel.
UNDER, STRUCTURE = (0.16, 0.45), 9.0
#: Fewest pixels of a mouth's inside that tell of teeth.
_FEWEST = 8
#: The small picture of what is between the lips: left, top, right, bottom (face frame), pixels per eye distance; a
#: pixel counts where this share of it is between the lips.
INSIDE, INSIDE_SCALE, _BETWEEN = (-0.32, -0.16, 0.32, 0.48), 25.0, 0.5
#: The ring of skin around the lips: from and to, eye distances beyond their outer edge.
RING = (0.03, 0.1)
#: Where an edge may be seen twice: half width of the round patch and its middle's height (face frame); lags that are
#: kept, right and down (eye distances); grey levels below which structure is noise; pixels of its Fourier transform.
PATCH, PATCH_Y, LAGS, _NOISE, _FOURIER = 0.48, 0.14, np.linspace(-0.15, 0.15, 25), 3.0, 128
ECHO_SHAPE = (len(LAGS) - len(LAGS) // 2, len(LAGS))
INSIDE_SHAPE = (round((INSIDE[3] - INSIDE[1]) * INSIDE_SCALE), round((INSIDE[2] - INSIDE[0]) * INSIDE_SCALE))


@dataclass(frozen=True, slots=True)
class Pictures:
    """Measured of T frames, NaN where it could not be.

    sharpness: (T,2) of the mouth's edges and of the eyes' and nose's (`edge_sharpness`); level: (T,2) mean grey level
    of the skin around the mouth, and of the cheeks; inner: (T,3) change from the frame before of what is between the
    lips and of the ring of skin around them, and the spread of what is between the lips, grey levels; inside: (T,h,w)
    grey levels of what is between the lips, in the face frame, NaN outside; under: (T,2) movement down and right since
    the frame before of what lies under the chin, eye distances; unlike: (T,2) how unlike the person's real lips, 1 =
    hardly any real mouth's, and how far that spreads across the mouth.

    By blocks of BLOCK_S, steps: (B, ovals, sectors, 3) colour inside less outside of each oval; echo: (B, lags down,
    lags right) cepstrum of the lower face, how much of it is seen once more so far away; starts: (B + 1,) first frame
    of each block, and T."""

    sharpness: Array
    level: Array
    inner: Array
    inside: Array
    under: Array
    unlike: Array
    steps: Array
    echo: Array
    starts: Array

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for field in fields(cls)]


@dataclass(frozen=True, slots=True)
class Window:
    """The pixels of the window around a face, at one scale (pixels per eye distance). x, y: face frame, of each."""

    scale: float
    x: Array
    y: Array

    @classmethod
    def of(cls, eye_px: float) -> Window:
        scale = float(np.clip(eye_px, *SCALES))
        width, height = round((RIGHT - LEFT) * scale), round((BOTTOM - TOP) * scale)
        x, y = np.meshgrid((np.arange(width) + 0.5) / scale + LEFT, (np.arange(height) + 0.5) / scale + TOP)
        return cls(scale, x.astype(np.float32), y.astype(np.float32))

    @property
    def from_face(self) -> Array:
        """(3,3) float64."""
        s = self.scale
        return np.array([[s, 0, -s * LEFT], [0, s, -s * TOP], [0, 0, 1.0]])

    def filled(self, polygon: Array, grow: float = 0.0) -> Array:
        """(h,w) bool: inside the face-frame polygon (N,2), or within `grow` eye distances of it."""
        import cv2

        points = np.round((apply(self.from_face, np.asarray(polygon, np.float64)) - 0.5) * 16).astype(np.int32)
        mask, n = np.zeros(self.x.shape, np.uint8), round(grow * self.scale)
        mask = cv2.fillPoly(mask, [points], (1,), shift=4)
        return (cv2.dilate(mask, np.ones((2 * n + 1, 2 * n + 1), np.uint8)) if n else mask) > 0


def measure(film: Footage, look: MouthLook | None = None, hook: Hook = silent) -> Pictures:
    """What the person's usable frames show. look: what the real mouths look like to which they are compared."""
    track, n = film.track, len(film.track)
    rows, rate = np.flatnonzero(track.valid), float(film.video.clock.rate)
    window, starts = Window.of(eye_distance_px(track)), np.unique([*np.arange(0, n, max(1, round(BLOCK_S * rate))), n])
    looker = _Looker(window, n, starts, look)
    face = apply(np.linalg.inv(track.pixel_from_face), track.landmarks.astype(np.float64))
    before = -2
    for k, (i, rgb) in enumerate(zip(rows.tolist(), _windows(film, window, rows), strict=True)):
        looker.look(i, rgb, face[i], before == i - 1 and track.shot[i] == track.shot[i - 1])
        before = i
        hook("tells", k + 1, len(rows))
    return looker.pictures()


def _windows(film: Footage, window: Window, rows: Array) -> Iterator[Array]:
    """The (h,w,3) uint8 window of these frames, one after the other."""
    frames, cutter = ahead(pictures_of(film.stream, rows), frames_ahead(film.stream)), Cutter(film.stream)
    corners = np.array([[LEFT, TOP], [RIGHT, TOP], [RIGHT, BOTTOM], [LEFT, BOTTOM]])
    for i, frame in zip(rows.tolist(), frames, strict=True):
        picture, place = FramePicture(frame, cutter), film.track.pixel_from_face[i]
        points = apply(place, corners)
        box = inside(picture, points.min(0) - 4, points.max(0) + 4)
        window_from_part = window.from_face @ np.linalg.inv(place) @ translation(box[:2])
        yield warp_frame(picture.part(box), window_from_part, *window.x.shape)


def ovals() -> list[tuple[float, float]]:
    """Half width and height of each oval, face frame."""
    return [(size, size * shape) for shape in SHAPES for size in SIZES if OVAL_Y + size * shape <= CHIN]


class _Looker:
    """Fills the arrays. Holds the last frame, no more."""

    def __init__(self, window: Window, n: int, starts: Array, look: MouthLook | None) -> None:
        self._window, self._starts = window, starts
        shapes = {"sharpness": (2,), "level": (2,), "inner": (3,), "under": (2,), "unlike": (2,)}
        self._found: dict[str, Array] = {
            name: np.full((n, *shape), np.nan, np.float32) for name, shape in shapes.items()
        }
        self._found["inside"] = np.full((n, *INSIDE_SHAPE), np.nan, np.float16)
        self._sums = np.zeros((len(starts) - 1, len(ovals()), SECTORS, 3), np.float32)
        self._echoes = np.zeros((len(starts) - 1, *ECHO_SHAPE), np.float32)
        self._counts = np.zeros(len(starts) - 1)
        self._patch = _Patch(window)
        self._contours = _contours(window)
        x, y = window.x, window.y
        self._low = np.hypot(x / 0.4, (y - 0.1) / 0.36) < 1
        self._cheeks = (np.abs(x) > 0.2) & (np.abs(x) < 0.42) & (y > -0.52) & (y < -0.34)
        self._last: tuple[Array, Array, tuple[Array, Array]] | None = None
        self._unlikeness = None if look is None else Unlikeness(look)

    def pictures(self) -> Pictures:
        with np.errstate(invalid="ignore"):
            steps = self._sums / self._counts[:, None, None, None]
            echo = self._echoes / self._counts[:, None, None]
        return Pictures(steps=steps.astype(np.float16), echo=echo, starts=self._starts, **self._found)

    def look(self, i: int, rgb: Array, face: Array, goes_on: bool) -> None:
        """rgb: the window of frame i; face: (68,2) landmarks, face frame; goes_on: the frame before was looked at, and
        belongs to the same shot."""
        window, found, lips = self._window, self._found, face[LIPS_FROM_68]
        grey, inner = luma(rgb), _away_from_lips(window.filled(lips[INNER_EDGE]))
        around = window.filled(np.concatenate([face[:17], [[0.6, -0.6], [-0.6, -0.6]]]))
        skin = self._low & around & ~window.filled(lips[:12], 0.06)
        mouth, upper = window.filled(lips[:12], 0.05), window.filled(_hull(face[17:48]))
        found["sharpness"][i] = edge_sharpness(rgb, mouth), edge_sharpness(rgb, upper)
        found["level"][i] = grey[skin].mean() if skin.any() else np.nan, grey[self._cheeks].mean()
        block = int(np.searchsorted(self._starts, i, side="right")) - 1
        self._sums[block] += self._steps(rgb)
        self._echoes[block] += self._patch.echo(grey)
        self._counts[block] += 1
        if self._unlikeness is not None:
            found["unlike"][i] = self._unlikeness(thumbnail(rgb, window.from_face), lips.astype(np.float32))
        found["inside"][i] = self._inside(grey, inner)
        reach = window.filled(lips[:12], RING[0]), window.filled(lips[:12], RING[1])
        if goes_on and self._last is not None:
            old_grey, old_inner, (old_near, old_far) = self._last
            change, both = np.abs(grey - old_grey), inner & old_inner
            ring = reach[1] & old_far & ~reach[0] & ~old_near & around
            if both.sum() >= _FEWEST and ring.any():
                found["inner"][i] = change[both].mean(), change[ring].mean(), grey[both].std()
            found["under"][i] = self._moved_under(grey, old_grey, face[:17])
        self._last = grey, inner, reach

    def _inside(self, grey: Array, inner: Array) -> Array:
        """The small picture of what is between the lips."""
        import cv2

        size, to = INSIDE_SHAPE[::-1], INSIDE_SCALE / self._window.scale
        left, top = (to - 1) / 2 + (LEFT - INSIDE[0]) * INSIDE_SCALE, (to - 1) / 2 + (TOP - INSIDE[1]) * INSIDE_SCALE
        place = np.array([[to, 0, left], [0, to, top]])
        weight = cv2.blur(inner.astype(np.float32), (3, 3))
        soft = cv2.blur(np.where(inner, grey, 0).astype(np.float32), (3, 3))
        share, sums = (cv2.warpAffine(one, place, size, flags=cv2.INTER_LINEAR) for one in (weight, soft))
        return np.where(share >= _BETWEEN, sums / np.maximum(share, 1e-6), np.nan)

    def _steps(self, rgb: Array) -> Array:
        """(ovals, sectors, 3)."""
        import cv2

        soft = cv2.GaussianBlur(rgb, (0, 0), 0.012 * self._window.scale)
        at = cv2.remap(soft, *self._contours, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        means = at.reshape(len(ovals()), 2, SECTORS, -1, 3).mean(3)
        return means[:, 0] - means[:, 1]

    def _moved_under(self, grey: Array, old_grey: Array, jaw: Array) -> tuple[float, float]:
        """One step of Lucas and Kanade (1981) over all of what lies under the chin: dense flow would smear the chin's
        movement into it."""
        import cv2

        window = self._window
        edge = np.interp(window.x[0], jaw[:, 0], jaw[:, 1])
        band = (window.y > edge + UNDER[0]) & (window.y < edge + UNDER[1]) & (np.abs(window.x) < 0.5)
        a, b = (cv2.GaussianBlur(one, (0, 0), 1.0) for one in (old_grey, grey))
        y, x = (one[band] for one in np.gradient((a + b) / 2))
        change = (a - b)[band]
        structure = np.array([[x @ x, x @ y], [x @ y, y @ y]])
        if np.linalg.eigvalsh(structure)[0] < STRUCTURE * max(len(change), _FEWEST):
            return np.nan, np.nan
        right, down = np.linalg.solve(structure, [x @ change, y @ change])
        return float(down) / window.scale, float(right) / window.scale


class _Patch:
    """The round patch of the lower face, and what of it is seen twice."""

    def __init__(self, window: Window) -> None:
        side = min(round(2 * PATCH * window.scale), _FOURIER)
        at = window.from_face @ np.array([0, PATCH_Y, 1])
        left, top = round(at[0] - side / 2), round(at[1] - side / 2)
        self._box = slice(top, top + side), slice(left, left + side)
        place = (np.arange(side) + 0.5) / side * 2 - 1
        self._weight = (np.cos(np.minimum(np.hypot(*np.meshgrid(place, place)), 1) * np.pi / 2) ** 2).astype(np.float32)
        lags = LAGS * window.scale + _FOURIER // 2
        right, down = np.meshgrid(lags, lags[len(LAGS) // 2 :])
        self._right, self._down = right.astype(np.float32), down.astype(np.float32)

    def echo(self, grey: Array) -> Array:
        """The power cepstrum (Bogert, Healy, Tukey 1963) at the lags: the same picture laid half over itself, moved,
        makes ripples in the logarithm of its spectrum, whatever it shows."""
        import cv2

        part, weight = grey[self._box], self._weight
        part = (part - float((part * weight).sum() / weight.sum())) * weight
        power = np.abs(np.asarray(rfft2(part, (_FOURIER, _FOURIER)))) ** 2
        cepstrum = irfft2(np.log(power + _NOISE**2 * float((weight**2).sum())), (_FOURIER, _FOURIER))
        return cv2.remap(fftshift(cepstrum).astype(np.float32), self._right, self._down, cv2.INTER_LINEAR)


def _contours(window: Window) -> tuple[Array, Array]:
    """Points inside and outside of every oval, as maps for cv2.remap."""
    angle = (np.arange(POINTS) + 0.5) / POINTS * 2 * np.pi
    away = np.stack([np.cos(angle), np.sin(angle)], 1)
    at = [away * [w + by, h + by] + [0, OVAL_Y] for w, h in ovals() for by in (-STEP, STEP)]
    points = (apply(window.from_face, np.concatenate(at)) - 0.5).astype(np.float32)
    return points[:, :1], points[:, 1:]


def _hull(points: Array) -> Array:
    import cv2

    return cv2.convexHull(points.astype(np.float32))[:, 0]


def _away_from_lips(inner: Array) -> Array:
    """(h,w) bool without its uppermost and lowest pixels."""
    import cv2

    return cv2.erode(inner.astype(np.uint8), np.ones((3, 1), np.uint8)) > 0
