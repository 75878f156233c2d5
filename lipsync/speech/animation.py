"""A drawn animation of lips beside the sound: the mouth large, below it waveform, opening, cues, and a moving
cursor."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from lipsync.core.geometry import apply
from lipsync.core.lips import opening
from lipsync.core.types import LipTrack
from lipsync.speech.cues import NAMES, Cue

WIDTH, HEIGHT = 1280, 720
#: Rows of the picture: the mouth above, the strip of sound below.
STAGE_PX = 470
#: Drawn larger by this and shrunk: smooth edges.
FINE = 2
#: Longest stretch of sound shown at once; longer speech turns the page.
PAGE_S = 10.0
#: Points of each drawn arc.
N_ARC = 97

SKIN, SKIN_EDGE = (238, 203, 184), (212, 168, 148)
UPPER, LOWER, SHINE, SEAM, DARK = (178, 78, 84), (204, 98, 100), (236, 158, 152), (122, 44, 52), (42, 14, 20)
PAPER, GRID, WAVE, CURVE, CURSOR, INK, FAINT = (
    (24, 27, 34), (44, 49, 60), (92, 148, 196), (240, 178, 94), (250, 250, 250), (226, 230, 236), (138, 146, 158),
)  # fmt: skip
CUE_COLOURS = {
    "X": (52, 57, 68), "A": (140, 90, 160), "B": (86, 120, 170), "C": (60, 145, 120), "D": (190, 120, 50),
    "E": (170, 90, 90), "F": (150, 70, 110), "G": (110, 120, 60),
}  # fmt: skip


class LipArcs:
    """Smooth lip edges through the 18 points: corners stay sharp, everything between is a cubic spline."""

    def __init__(self, rest: np.ndarray) -> None:
        upper, lower = np.arange(7), np.array([0, 11, 10, 9, 8, 7, 6])
        self._outer = ((upper, _spline(rest[upper])), (lower, _spline(rest[lower])))
        inner = _with_inner_corners(rest)
        self._inner = tuple(
            (rows, _spline(inner[rows])) for rows in (np.array([18, 12, 13, 14, 19]), np.array([18, 17, 16, 15, 19]))
        )

    def of(self, lips: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Outer upper, outer lower, inner upper and inner lower edge of (18,2) lips, each (N_ARC,2) from left to
        right."""
        lips = _with_inner_corners(lips)
        (top, bottom), (roof, floor) = (
            [weights @ lips[rows] for rows, weights in pair] for pair in (self._outer, self._inner)
        )
        floor[:, 1] = np.maximum(floor[:, 1], roof[:, 1])  # splines between closed points may cross
        return top, bottom, roof, floor


def _with_inner_corners(lips: np.ndarray) -> np.ndarray:
    """(20,2): the 18 points and the inner corners, which the layout leaves out: a little inside the outer ones."""
    seam = (lips[[12, 14]] + lips[[17, 15]]) / 2
    return np.concatenate([lips, lips[[0, 6]] + 0.22 * (seam - lips[[0, 6]])])


def _spline(points: np.ndarray) -> np.ndarray:
    """(N_ARC,n) weights that make a smooth arc of n points; spaced by the distances between those given."""
    from scipy.interpolate import CubicSpline

    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return CubicSpline(along, np.eye(len(points)), bc_type="natural")(np.linspace(0, along[-1], N_ARC))


def draw_mouth(
    lips: np.ndarray, arcs: LipArcs, width: int, height: int, scale: float, centre: tuple[float, float]
) -> np.ndarray:
    """(height,width,3) uint8 RGB picture of (18,2) lips on skin. scale: pixels per eye distance; centre: shown in the
    middle, face frame."""
    import cv2

    shape = (height * FINE, width * FINE)
    picture = _skin(*shape).copy()
    size = scale * FINE
    place = np.array(
        [[size, 0, shape[1] / 2 - size * centre[0]], [0, size, shape[0] / 2 - size * centre[1]], [0, 0, 1.0]]
    )
    top, bottom, roof, floor = (apply(place, arc.astype(np.float64)) for arc in arcs.of(lips))
    middle = (roof + floor) / 2
    _fill(picture, _ring(top, middle), UPPER)
    _fill(picture, _ring(middle, bottom), LOWER)
    _shine(picture, floor, bottom, size)
    _fill(picture, _seam(top[0], middle, top[-1], 0.007 * size), SEAM)
    if opening(lips) > 0.004:
        _fill(picture, _ring(roof, floor), DARK)
    for arc in (top, bottom):
        cv2.polylines(picture, [_fixed(arc)], False, SEAM, max(1, round(size * 0.004)), cv2.LINE_AA, 4)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


@cache
def _skin(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    edge = np.clip((x**2 * 0.9 + y**2 * 0.7) / 1.3, 0, 1)[..., None]
    return np.ascontiguousarray((np.array(SKIN) * (1 - edge) + np.array(SKIN_EDGE) * edge).astype(np.uint8))


def _shine(picture: np.ndarray, floor: np.ndarray, bottom: np.ndarray, size: float) -> None:
    """A soft light band along the lower lip."""
    import cv2

    part = slice(N_ARC // 5, N_ARC - N_ARC // 5)
    band = _ring((floor + 0.30 * (bottom - floor))[part], (floor + 0.55 * (bottom - floor))[part])
    blur = size * 0.03
    (x0, y0), (x1, y1) = (band.min(0) - 3 * blur).astype(int).clip(0), (band.max(0) + 3 * blur).astype(int)
    box = picture[y0:y1, x0:x1]
    coarse = 8  # blurred small: the band is soft anyway
    light = np.zeros((-(-box.shape[0] // coarse), -(-box.shape[1] // coarse)), np.float32)
    cv2.fillPoly(light, [_fixed((band - [x0, y0]) / coarse)], (0.55,), cv2.LINE_8, 4)
    light = cv2.resize(cv2.GaussianBlur(light, (0, 0), max(blur / coarse, 0.8)), box.shape[1::-1])
    box[:] = cv2.blendLinear(np.full_like(box, SHINE), box.copy(), light, 1 - light)


def _seam(left: np.ndarray, middle: np.ndarray, right: np.ndarray, half: float) -> np.ndarray:
    """The line where the lips meet, from corner to corner, `half` thick in the middle, thin at its ends."""
    line = np.concatenate([left[None], middle, right[None]])
    thick = np.sin(np.linspace(0, np.pi, len(line)))[:, None] ** 0.7 * [0, half]
    return _ring(line - thick, line + thick)


def _ring(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.concatenate([one, other[::-1]])


def _fixed(points: np.ndarray) -> np.ndarray:
    """Whole sixteenths of a pixel, as OpenCV's `shift` of 4 wants them; its pixel centres are whole numbers."""
    return ((points - 0.5) * 16).round().astype(np.int32)


def _fill(picture: np.ndarray, polygon: np.ndarray, colour: tuple[int, int, int]) -> None:
    import cv2

    cv2.fillPoly(picture, [_fixed(polygon)], colour, cv2.LINE_AA, 4)


class LipAnimation:
    """Frames of the animation.

    lips: on the film's clock; samples: (S,) float32 sound at `rate`; cues: of `lipsync.speech.cues`; rest: (18,2)
    resting lips."""

    def __init__(
        self, lips: LipTrack, samples: np.ndarray, rate: int, cues: Sequence[Cue], rest: np.ndarray, caption: str
    ) -> None:
        self.lips, self.samples, self.rate, self.cues, self.caption = lips, samples, rate, cues, caption
        self.duration_s = len(samples) / rate
        self.page_s = max(self.duration_s / np.ceil(self.duration_s / PAGE_S), 0.5)
        self._arcs = LipArcs(rest)
        low, high = (f(np.concatenate([lips.points.reshape(-1, 2), rest]), axis=0) for f in (np.min, np.max))
        self._centre = tuple((low + high) / 2)
        self._scale = float(min(0.62 * WIDTH / (high[0] - low[0]), 0.78 * STAGE_PX / (high[1] - low[1])))
        self._gap, self._starts = opening(lips.points), [cue.start for cue in cues]
        self._page: tuple[int, np.ndarray] = (-1, np.empty(0))

    def frames(self) -> Iterator[np.ndarray]:
        """(HEIGHT,WIDTH,3) uint8 RGB, one for each row of the lips."""
        for row, second in enumerate(self.lips.frames.seconds):
            yield self.frame(row, float(second))

    def frame(self, row: int, second: float) -> np.ndarray:
        import cv2

        cue = self.cues[max(bisect_right(self._starts, second * 100) - 1, 0)]
        mouth = draw_mouth(self.lips.points[row], self._arcs, WIDTH, STAGE_PX, self._scale, self._centre)
        _badge(mouth, cue.shape)
        strip = self._strip(int(second / self.page_s)).copy()
        x = _x(second % self.page_s, self.page_s)
        cv2.line(strip, (x, TOP), (x, BOTTOM), CURSOR, 2, cv2.LINE_AA)
        _text(strip, f"{second:6.2f} s", (WIDTH - MARGIN - 92, 22), 0.55, INK)
        return np.concatenate([mouth, strip])

    def _strip(self, page: int) -> np.ndarray:
        if self._page[0] != page:
            self._page = (page, self._drawn_strip(page * self.page_s))
        return self._page[1]

    def _drawn_strip(self, start_s: float) -> np.ndarray:
        """The sound from `start_s` for one page."""
        import cv2

        strip = np.full((HEIGHT - STAGE_PX, WIDTH, 3), PAPER, np.uint8)
        for tick in range(int(np.ceil(start_s)), int(start_s + self.page_s) + 1):
            x = _x(tick - start_s, self.page_s)
            cv2.line(strip, (x, TOP), (x, BOTTOM), GRID, 1)
            _text(strip, f"{tick}", (x + 4, BOTTOM + 16), 0.42, FAINT)
        self._draw_wave(strip, start_s)
        self._draw_cues(strip, start_s)
        curve = self._gap_curve(start_s)
        if len(curve) > 1:
            cv2.polylines(strip, [_fixed(curve)], False, CURVE, 2, cv2.LINE_AA, 4)
        _text(strip, "sound", (MARGIN, 22), 0.5, WAVE)
        _text(strip, "mouth opening", (MARGIN + 66, 22), 0.5, CURVE)
        _text(strip, self.caption, (MARGIN + 210, 22), 0.45, FAINT)
        return strip

    def _draw_wave(self, strip: np.ndarray, start_s: float) -> None:
        middle, half = (TOP + WAVE_END) / 2, (WAVE_END - TOP) / 2 - 4
        loudest = max(float(np.abs(self.samples).max()), 1e-3)
        edges = ((start_s + np.arange(WIDTH - 2 * MARGIN + 1) / (WIDTH - 2 * MARGIN) * self.page_s) * self.rate).astype(
            int
        )
        for column, (a, b) in enumerate(itertools.pairwise(edges)):
            piece = self.samples[a:b]
            if len(piece):
                y0, y1 = middle - half * piece.max() / loudest, middle - half * piece.min() / loudest
                strip[int(y0) : int(y1) + 1, MARGIN + column] = WAVE

    def _draw_cues(self, strip: np.ndarray, start_s: float) -> None:
        import cv2

        for cue in self.cues:
            a, b = cue.start / 100 - start_s, cue.end / 100 - start_s
            if b <= 0 or a >= self.page_s:
                continue
            x0, x1 = _x(max(a, 0), self.page_s), _x(min(b, self.page_s), self.page_s)
            cv2.rectangle(strip, (x0, WAVE_END + 6), (x1 - 2, BOTTOM), CUE_COLOURS[cue.shape], -1)
            if x1 - x0 > 13:
                _text(strip, cue.shape, ((x0 + x1) // 2 - 6, BOTTOM - 9), 0.5, INK)

    def _gap_curve(self, start_s: float) -> np.ndarray:
        """(n,2) pixels of the opening on this page."""
        seconds = self.lips.frames.seconds
        here = (seconds >= start_s) & (seconds <= start_s + self.page_s)
        x = MARGIN + (seconds[here] - start_s) / self.page_s * (WIDTH - 2 * MARGIN)
        share = self._gap[here] / max(float(self._gap.max()), 0.05)
        return np.stack([x, WAVE_END - 4 - share * (WAVE_END - TOP - 12)], 1)


MARGIN = 28
TOP, WAVE_END, BOTTOM = 36, 186, 222


def _x(second: float, page_s: float) -> int:
    return MARGIN + round(second / page_s * (WIDTH - 2 * MARGIN))


def _badge(picture: np.ndarray, shape: str) -> None:
    """The cue's letter and name in the corner."""
    import cv2

    x, y = WIDTH - 118, 66
    cv2.circle(picture, (x * 16, y * 16), 40 * 16, CUE_COLOURS[shape], -1, cv2.LINE_AA, 4)
    (w, h), _ = cv2.getTextSize(shape, cv2.FONT_HERSHEY_DUPLEX, 1.5, 3)
    cv2.putText(picture, shape, (x - w // 2, y + h // 2), cv2.FONT_HERSHEY_DUPLEX, 1.5, CURSOR, 3, cv2.LINE_AA)
    (w, _), _ = cv2.getTextSize(NAMES[shape], cv2.FONT_HERSHEY_DUPLEX, 0.5, 1)
    cv2.putText(picture, NAMES[shape], (x - w // 2, y + 64), cv2.FONT_HERSHEY_DUPLEX, 0.5, SEAM, 1, cv2.LINE_AA)


def _text(picture: np.ndarray, text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    import cv2

    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_DUPLEX, size, colour, 1, cv2.LINE_AA)
