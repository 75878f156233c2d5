"""Captions and logos over a face: sharp strokes that stay on the screen while the face moves beneath them, or that come
and go all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lipsync.core.canonical import RIGID_68
from lipsync.core.graphics import Graphics
from lipsync.face.held import AT_REST, CONTRAST, JUMP, LASTS, MISSES, MOVED, compare, renew
from video.picture import Picture, Rect, pictured

#: Lines of the picture's short side at which it is looked at, about.
_LINES = 400
#: Strokes that come and go together, at least.
TOGETHER = 80
#: Frames that share a mask; pixels in one piece at least.
BLOCK, SMALLEST = 4, 40
#: What is kept of every mask pixel that was looked at, an array each (parts of one record are slow to reach).
_KEPT = {
    "level": np.uint8,  # what it shows
    "slope_x": np.float32,  # of the levels there, per mask pixel
    "slope_y": np.float32,
    "contrast": np.uint8,  # around it, at least
    # the levels about it rise and fall again, as across a letter; at the edge of a face they do not
    "stroke": np.bool_,
    "jump": np.uint8,  # with which it came
    "missed": np.uint8,  # frames in a row that showed something else
    "since": np.int32,  # frame
    "seen": np.int32,  # frame it was last looked at
    "x": np.float32,  # the face's place then
    "y": np.float32,
    "proof": np.float32,  # levels by which it should have changed had it moved with the face
}
#: Boxes that are looked at lie on this grid of mask pixels: pictures are shrunk from multiples of 4, and few sizes have
#: scalers of their own.
_GRID = 8
#: Of those, what says whether a pixel is the same, and whether something is over.
_COMPARED = ("level", "slope_x", "slope_y", "contrast", "jump", "missed", "since", "seen", "x", "y", "proof")
_Held = dict[str, np.ndarray]


class _Event(NamedTuple):
    """Pixels (rows, columns) that stayed the same over some frames. begin, end: (n,) frames, end exclusive;
    stroke: (n,) bool."""

    begin: np.ndarray
    end: np.ndarray
    row: np.ndarray
    column: np.ndarray
    stroke: np.ndarray

    def where(self, which: np.ndarray) -> _Event:
        """Those of these indices, or this (n,) bool mask."""
        return _Event(*(a[which] for a in self))


class GraphicsFinder:
    """Finds what is fixed to the screen in and beside the lower halves of faces. `push` every frame, then `finish`.

    A pixel on a sharp stroke that keeps its value while the face moves across the stroke does not belong to the face.
    What rests while the face rests proves nothing, unless many such pixels came in one frame and went in another."""

    def __init__(self, width: int, height: int) -> None:
        self.step = max(1, round(min(width, height) / _LINES))
        self._size = height // self.step, width // self.step
        self._held: _Held = {name: np.zeros(self._size, kind) for name, kind in _KEPT.items()}
        self._held["seen"][:] = -(10**6)
        self._proven: list[_Event] = []
        self._sudden: list[_Event] = []
        self._frames = 0

    def push(self, faces: Iterable[tuple[Picture | np.ndarray, np.ndarray]]) -> None:
        """The next frame: of every face in it the picture, or its (H,W,3) uint8 RGB, and the (68,2) landmarks."""
        import cv2

        for picture, landmarks in faces:
            box = self._around(landmarks)
            if box is None:
                continue
            picture, (rows, columns), s = pictured(picture), box, self.step
            size = columns.stop - columns.start, rows.stop - rows.start
            rgb = picture.part(self._pixels(box)) if s == 1 else picture.shrunk(self._pixels(box), *size)
            self._look(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), landmarks[RIGID_68].mean(0) / s, box)
        self._frames += 1

    def looked_at(self, landmarks: np.ndarray) -> Rect | None:
        """The box of the picture that is looked at of a face with these (68,2) landmarks."""
        box = self._around(landmarks)
        return None if box is None else self._pixels(box)

    def _pixels(self, box: tuple[slice, slice]) -> Rect:
        (rows, columns), s = box, self.step
        return columns.start * s, rows.start * s, columns.stop * s, rows.stop * s

    def _around(self, landmarks: np.ndarray) -> tuple[slice, slice] | None:
        """Mask rows and columns of the lower face and a little more: all that a dub may draw over."""
        eye = float(np.linalg.norm(landmarks[45] - landmarks[36]))
        low, high = landmarks[2:15].min(0) - 0.3 * eye, landmarks[2:15].max(0) + np.array([0.3, 0.35]) * eye
        low[1] = landmarks[30, 1]
        x0, y0 = np.clip(low // self.step // _GRID * _GRID, 0, None).astype(int)
        x1, y1 = np.minimum((high // self.step // _GRID + 1) * _GRID, self._size[::-1]).astype(int)
        return (slice(y0, y1), slice(x0, x1)) if x1 - x0 >= 8 and y1 - y0 >= 8 else None

    def _look(self, grey: np.ndarray, at: np.ndarray, box: tuple[slice, slice]) -> None:
        """One frame's (h,w) levels in the box; the face is at `at` (x, y), mask pixels."""
        import cv2

        held, frame = {name: values[box] for name, values in self._held.items()}, self._frames
        slope_x, slope_y = (cv2.Sobel(grey, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
        off, (same, over, forgotten) = np.empty_like(grey), np.empty((3, *grey.shape), bool)
        when = [frame, np.float32(at[0]), np.float32(at[1])]
        found = [off, same, over, forgotten]
        if compare(*[grey, slope_x, slope_y, *(held[name] for name in _COMPARED), *when, *found]):
            self._end(held, over, off, forgotten, box, at)
        around = np.ones((5, 5), np.uint8)
        contrast = cv2.subtract(cv2.dilate(grey, around), cv2.erode(grey, around))
        seen = [grey, slope_x, slope_y, contrast, _strokes(slope_x, slope_y)]
        if not renew(*[*seen, *found, *held.values(), *when]):
            return
        # the rest of the stroke: as sharp, and there since the same frame
        strong = held["proof"] >= MOVED
        since = cv2.dilate(np.where(strong, held["since"], -1).astype(np.float32), np.ones((3, 3), np.uint8))
        joins = (same | over) & (held["contrast"] >= CONTRAST) & (np.abs(since - held["since"]) <= 1)
        joins &= frame - held["since"] >= LASTS
        held["proof"][joins] = np.maximum(held["proof"][joins], MOVED)

    def _end(self, held: _Held, over: np.ndarray, off: np.ndarray, forgotten: np.ndarray, box, at) -> None:
        """Keeps what was a stroke, of the pixels that are over; the face is at `at`."""
        end = np.where(forgotten, held["seen"] + 1, self._frames - MISSES + 1)
        stroke = over & (held["contrast"] >= CONTRAST) & (end - held["since"] >= LASTS)
        proven = stroke & (held["proof"] >= MOVED)
        rests = np.hypot(at[0] - held["x"], at[1] - held["y"]) <= AT_REST
        sudden = stroke & ~proven & (np.minimum(held["jump"], off) >= JUMP) & rests & ~forgotten
        for which, events in ((proven, self._proven), (sudden, self._sudden)):
            rows, columns = np.nonzero(which)
            if len(rows):
                place = rows + box[0].start, columns + box[1].start
                events.append(_Event(held["since"][which], end[which], *place, held["stroke"][which]))

    def finish(self) -> Graphics | None:
        """All that was found; None: nothing."""
        whole = (slice(0, self._size[0]), slice(0, self._size[1]))
        every = self._held["seen"] >= 0
        self._end(self._held, every, np.zeros(every.shape, np.uint8), every, whole, np.zeros(2))
        proven, sudden = _joined(self._proven), _joined(self._sudden)
        alike = _together(proven)
        if not alike.any() and not _together(sudden).any():
            return None
        sudden = sudden.where(_together(sudden))
        sure = np.concatenate([alike, np.ones(len(sudden.begin), bool)])
        spans = _spans(_joined([proven, sudden]), sure, self._frames)
        return Graphics.of(spans, self.step, self._frames) if spans else None


def _strokes(slope_x: np.ndarray, slope_y: np.ndarray) -> np.ndarray:
    """(h,w) bool: slopes nearby point in opposite directions, as on both sides of a letter's stroke."""
    import cv2

    size, steep = (9, 9), cv2.magnitude(slope_x, slope_y)
    along = cv2.magnitude(cv2.blur(slope_x, size), cv2.blur(slope_y, size))
    return along < 0.4 * cv2.blur(steep, size)


def _joined(events: list[_Event]) -> _Event:
    if not events:
        return _Event(*np.zeros((5, 0), np.int64))
    return _Event(*(np.concatenate(parts) for parts in zip(*events, strict=True)))


def _together(events: _Event) -> np.ndarray:
    """(n,) bool: pixels that came, and went, with many strokes, in the same frame or the next one. What keeps its place
    on the screen by chance does so alone."""
    if not len(events.begin):
        return np.zeros(0, bool)
    pairs, which = np.unique(np.stack([events.begin, events.end]), axis=1, return_inverse=True)
    counts = np.bincount(which.ravel(), weights=events.stroke, minlength=pairs.shape[1])
    count = {(int(b), int(e)): int(n) for (b, e), n in zip(pairs.T, counts, strict=True)}
    near = [sum(count.get((b + i, e + j), 0) for i in (-1, 0, 1) for j in (-1, 0, 1)) for b, e in count]
    return (np.array(near) >= TOGETHER)[which.ravel()]


def _spans(events: _Event, sure: np.ndarray, n_frames: int) -> list[tuple[int, int, tuple[int, int], np.ndarray]]:
    """The masks of blocks of BLOCK frames, equal neighbours joined. sure: (n,) bool, of the events."""
    spans: list[tuple[int, int, tuple[int, int], np.ndarray]] = []
    order = np.argsort(events.begin, kind="stable")
    events, sure = events.where(order), sure[order]
    for begin in range(int(events.begin[0]) // BLOCK * BLOCK, int(events.end.max()), BLOCK):
        end = min(begin + BLOCK, n_frames)
        until = int(np.searchsorted(events.begin, end))
        here = np.flatnonzero(events.end[:until] > begin)
        if not sure[here].any():
            continue
        corner, mask = _mask(events.row[here], events.column[here], sure[here])
        if not mask.any():
            continue
        last = spans[-1] if spans else None
        if last and last[1] == begin and last[2] == corner and np.array_equal(last[3], mask):
            spans[-1] = (last[0], end, corner, mask)
        else:
            spans.append((begin, end, corner, mask))
    return spans


def _mask(rows: np.ndarray, columns: np.ndarray, sure: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
    """Corner (x, y) and (h,w) bool mask of these pixels: gaps closed, only those that are `sure` and others beside
    them, two pixels wider (soft edges, and what the encoder makes of them)."""
    import cv2

    pad = 4
    x, y = int(columns.min()) - pad, int(rows.min()) - pad
    drawn = np.zeros((2, int(rows.max()) - y + pad + 1, int(columns.max()) - x + pad + 1), np.uint8)
    drawn[0, rows - y, columns - x] = 1
    drawn[1, rows[sure] - y, columns[sure] - x] = 1
    beside = cv2.dilate(drawn[1], np.ones((5, 5), np.uint8))
    closed = cv2.morphologyEx(drawn[1] | (drawn[0] & beside), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    n, pieces = cv2.connectedComponents(closed)
    good = np.bincount(np.asarray(pieces)[drawn[1] > 0], minlength=n) >= SMALLEST
    good[0] = False
    mask = cv2.dilate(good[np.asarray(pieces, np.int32)].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return (x, y), mask
