"""What one person's pictures show, frame by frame, of the tells: numbers, from one pass over the video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

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
VERSION = 1
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


@dataclass(frozen=True, slots=True)
class Pictures:
    """Measured of T frames, NaN where it could not be.

    sharpness: (T,2) of the mouth's edges and of the eyes' and nose's (`edge_sharpness`); level: (T,2) mean grey level
    of the skin around the mouth, and of the cheeks; inner: (T,4) change from the frame before of what is between the
    lips, of its more constant third and on average, its spread, and the change of the cheeks' more constant third, grey
    levels; under: (T,2) movement down and right since the frame before of what lies under the chin, eye distances;
    unlike: (T,2) how unlike the person's real lips, 1 = hardly any real mouth's, and how far that spreads across the
    mouth; steps: (B, ovals, sectors, 3) colour inside less outside of each oval, by blocks of BLOCK_S; starts:
    (B + 1,) first frame of each block, and T."""

    sharpness: Array
    level: Array
    inner: Array
    under: Array
    unlike: Array
    steps: Array
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


def measure(
    film: Footage, look_at: Callable[[int], MouthLook | None] = lambda _: None, hook: Hook = silent
) -> Pictures:
    """What the person's usable frames show. look_at: what the real mouths look like to which a frame is compared."""
    track, n = film.track, len(film.track)
    rows, rate = np.flatnonzero(track.valid), float(film.video.clock.rate)
    window, starts = Window.of(eye_distance_px(track)), np.unique([*np.arange(0, n, max(1, round(BLOCK_S * rate))), n])
    looker = _Looker(window, n, starts)
    face = apply(np.linalg.inv(track.pixel_from_face), track.landmarks.astype(np.float64))
    before = -2
    for k, (i, rgb) in enumerate(zip(rows.tolist(), _windows(film, window, rows), strict=True)):
        looker.look(i, rgb, face[i], look_at(i), before == i - 1 and track.shot[i] == track.shot[i - 1])
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

    def __init__(self, window: Window, n: int, starts: Array) -> None:
        self._window, self._starts = window, starts
        shapes = {"sharpness": (2,), "level": (2,), "inner": (4,), "under": (2,), "unlike": (2,)}
        self._found = {name: np.full((n, *shape), np.nan, np.float32) for name, shape in shapes.items()}
        self._sums = np.zeros((len(starts) - 1, len(ovals()), SECTORS, 3), np.float32)
        self._counts = np.zeros(len(starts) - 1)
        self._contours = _contours(window)
        x, y = window.x, window.y
        self._low = np.hypot(x / 0.4, (y - 0.1) / 0.36) < 1
        self._cheeks = (np.abs(x) > 0.2) & (np.abs(x) < 0.42) & (y > -0.52) & (y < -0.34)
        self._last: tuple[Array, Array] | None = None
        self._unlikeness: dict[int, Unlikeness] = {}

    def pictures(self) -> Pictures:
        with np.errstate(invalid="ignore"):
            steps = self._sums / self._counts[:, None, None, None]
        return Pictures(steps=steps.astype(np.float16), starts=self._starts, **self._found)

    def look(self, i: int, rgb: Array, face: Array, look: MouthLook | None, goes_on: bool) -> None:
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
        self._counts[block] += 1
        if look is not None:
            judge = self._unlikeness.setdefault(id(look), Unlikeness(look))
            found["unlike"][i] = judge(thumbnail(rgb, window.from_face), lips.astype(np.float32))
        if goes_on and self._last is not None:
            old_grey, old_inner = self._last
            change = np.abs(grey - old_grey)
            both, still = inner & old_inner, np.quantile(change[self._cheeks], 0.3)
            if both.sum() >= _FEWEST:
                found["inner"][i] = np.quantile(change[both], 0.3), change[both].mean(), grey[both].std(), still
            found["under"][i] = self._moved_under(grey, old_grey, face[:17])
        self._last = grey, inner

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
