"""The pictures of a report: original and dub in one film, side by side in every frame, and the mouths of its worst
moments."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from audio.soundtrack import Layer, Soundtrack
from lipsync.core.progress import Hook, silent
from lipsync.core.timebase import nominal_rate
from video.clock import FrameClock
from video.probe import VideoStream
from video.read import read_rows
from video.write import VideoWriter

#: The film is at most so large, and with its letters for bytes (4/3) and the mouths a page below 15 MB.
FILM_BYTES = 9_000_000
#: A longer dub is shown in parts: so many seconds in all, so many beside each moment.
LONGEST_S, BESIDE_S = 120.0, 2.0
#: Pixels of each of the two pictures: 960x540.
_PIXELS = 518_400
_CRF, _SOUND_BITS = 22, 170_000


@dataclass(frozen=True, slots=True)
class Part:
    """Rows first..after-1 of the dub, from `start_s` to `end_s`, shown from `film_s` of the film on."""

    first: int
    after: int
    start_s: float
    end_s: float
    film_s: float


@dataclass(frozen=True, slots=True)
class Pair:
    """The dub and what lies beneath it. target: None where the original is not there; source, half: the target's frame
    of every row of the dub, as `DubPlan` has them."""

    dub: VideoStream
    target: VideoStream | None
    source: np.ndarray
    half: np.ndarray

    def frames(self, rows: np.ndarray, batch: int = 8) -> Iterator[tuple[int, np.ndarray | None, np.ndarray]]:
        """(row, original, dub) of rows in ascending order, (H,W,3) uint8 each."""
        ours = _one_by_one(self.dub, rows, None, batch)
        theirs = None if self.target is None else _one_by_one(self.target, self.source[rows], self.half[rows], batch)
        for row, picture in zip(rows.tolist(), ours, strict=True):
            yield row, None if theirs is None else next(theirs), picture


def _one_by_one(stream: VideoStream, rows: np.ndarray, half: np.ndarray | None, batch: int) -> Iterator[np.ndarray]:
    for _, frames in read_rows(stream, rows, batch, half):
        yield from (np.ascontiguousarray(rgb.permute(1, 2, 0).numpy()) for rgb in frames.rgb)


def parts_of(clock: FrameClock, moments_s: Sequence[float]) -> list[Part]:
    """Which rows the film shows: all of a dub up to LONGEST_S, of a longer one those around its moments, the first of
    which count most; without any, its beginning."""
    n, edges = len(clock), np.append(clock.seconds, float(clock.duration_s))
    shown = np.ones(n, bool)
    if edges[-1] > LONGEST_S:
        shown[:] = False
        for at_s in [*moments_s, 0.0]:
            more = shown | ((edges[1:] > at_s - BESIDE_S) & (edges[:-1] < at_s + BESIDE_S))
            if np.diff(edges)[more].sum() > LONGEST_S:
                break
            shown = more
    starts = np.flatnonzero(np.diff(shown.astype(np.int8), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(shown.astype(np.int8), append=0) == -1) + 1
    parts, film_s = [], 0.0
    for first, after in zip(starts.tolist(), ends.tolist(), strict=True):
        start_s, end_s = float(edges[first]), float(edges[after])
        parts.append(Part(first, after, start_s, end_s, film_s))
        film_s += end_s - start_s
    return parts


def film_of(pair: Pair, parts: Sequence[Part], hook: Hook = silent) -> bytes:
    """An MP4 (H.264, AAC) of the parts: original left, dub right, with the dub's sound. A frame can be found exactly
    and fast: a key frame a second, none that waits for a later one."""
    stream, clock = pair.dub, _clock_of(pair.dub.clock, parts)
    width, height = _size(stream)
    rows = np.concatenate([np.arange(part.first, part.after) for part in parts])
    duration_s = float(clock.duration_s)
    bits = int(8 * FILM_BYTES / duration_s - _SOUND_BITS)
    rate = nominal_rate(clock)
    options = {"maxrate": str(bits), "bufsize": str(bits), "g": str(math.ceil(rate)), "bf": "0"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        n_pictures = 1 if pair.target is None else 2
        with VideoWriter(
            path,
            width=n_pictures * width,
            height=height,
            clock=clock,
            codec="h264",
            crf=_CRF,
            preset="veryfast",
            speech=_sound_of(stream, parts, clock.duration_s),
            audio_end_s=clock.duration_s,
            rate=rate,
            options=options,
        ) as writer:
            for done, (_, original, dub) in enumerate(pair.frames(rows)):
                both = [dub] if original is None else [original, dub]
                small = [cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA) for rgb in both]
                writer.write(torch.from_numpy(np.hstack(small)).permute(2, 0, 1)[None].contiguous())
                hook("film of the report", done + 1, len(rows))
        return path.read_bytes()


def _clock_of(clock: FrameClock, parts: Sequence[Part]) -> FrameClock:
    """The clock of the parts, one after the other."""
    edges = np.append(clock.pts, clock.end)
    steps = np.concatenate([np.diff(edges[part.first : part.after + 1]) for part in parts])
    ends = np.cumsum(steps)
    return FrameClock((ends - steps).astype(np.int64), clock.base, int(ends[-1]))


def _size(stream: VideoStream) -> tuple[int, int]:
    """Width and height of each picture, even, square pixels."""
    wide, high = stream.width * float(stream.sample_aspect), float(stream.height)
    scale = min(1.0, math.sqrt(_PIXELS / (wide * high)))
    return max(2, 2 * round(wide * scale / 2)), max(2, 2 * round(high * scale / 2))


def _sound_of(stream: VideoStream, parts: Sequence[Part], length_s: Fraction) -> Soundtrack | None:
    """The dub's sound in the film's time."""
    if not stream.has_audio:
        return None
    starts_s = stream.audio_start_s or Fraction(0)
    layers = []
    for part in parts:
        film_s, start_s, end_s = (Fraction(s).limit_denominator(10**6) for s in (part.film_s, part.start_s, part.end_s))
        layers.append(Layer(stream.path, starts_s + film_s - start_s, ((film_s, film_s + end_s - start_s),)))
    return Soundtrack(layers, length_s, stream.limits)


def mouths_of(
    pair: Pair, places: Sequence[tuple[int, tuple[int, int, int, int]]]
) -> list[tuple[np.ndarray | None, np.ndarray]]:
    """(original, dub) of each place, cut out in the dub's own pixels: (row, (x0, y0, x1, y1))."""
    cut: list[tuple[np.ndarray | None, np.ndarray]] = [(None, np.zeros((0, 0, 3), np.uint8))] * len(places)
    for row, original, dub in pair.frames(np.unique([row for row, _ in places]), 1):
        for k, (wanted, (x0, y0, x1, y1)) in enumerate(places):
            if wanted == row:
                cut[k] = None if original is None else original[y0:y1, x0:x1].copy(), dub[y0:y1, x0:x1].copy()
    return cut
