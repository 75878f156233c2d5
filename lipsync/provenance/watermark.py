"""The invisible watermark of a video: the one place that looks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av.error
import numpy as np

from lipsync.config.schema import FaceConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.runtime import one_thread
from lipsync.core.types import FaceTrack
from lipsync.face.track import FaceTracker
from lipsync.render.mark import ID_DIGITS
from media import MediaError
from media.container import InputLimits
from video.clock import FrameClock
from video.picture import Cutter, FramePicture
from video.probe import VideoStream, probe
from video.read import pictures_of
from video.shots import ShotDetector
from video.watermark import Reader, box_around, joined

#: A film is looked at whole if it is no longer; else in so many stretches of so long.
WHOLE_S, STRETCHES, STRETCH_S = 60.0, 12, 5.0
#: Seconds of the parts of a stretch in each of which the mark is looked for by itself.
PART_S = 2.5


@dataclass(frozen=True, slots=True)
class Watermark:
    """id: hex, the content that was marked, empty = none was found; note: why it was not looked for, or in what, empty
    = in all of the film; spans: [from, to] seconds in which it was found."""

    id: str = ""
    note: str = ""
    spans: list[list[float]] = field(default_factory=list[list[float]])


@one_thread()
def watermark_in(path: Path, limits: InputLimits = InputLimits()) -> Watermark:
    """What the drawn mouths of a video hold; a note where it cannot be read."""
    try:
        stream = probe(path, limits)
        return _found(stream)
    except LipsyncError as error:
        return Watermark(note=f"not looked for: {error}")
    except (MediaError, av.error.FFmpegError, OSError, ValueError, MemoryError):
        return Watermark(note="not looked for: the picture cannot be read")


def _found(stream: VideoStream) -> Watermark:
    stretches, faces = _stretches(stream.clock), 0
    parts: list[tuple[list[float], Reader]] = []
    found: list[int] = []
    for stretch in stretches:
        for person in _people(stream, stretch):
            faces += 1
            parts += person
            content = _content(reader for _, reader in person)
            if content is not None and content not in found:
                found.append(content)
    looked = "" if len(stretches) == 1 else f"looked for in {len(stretches)} stretches of {STRETCH_S:g} s"
    if not faces:
        return Watermark(note=f"none: no face was seen{looked and ', '}{looked}")
    if not found:
        return Watermark(note=looked and f"none; {looked}")
    content = found[0]
    spans = sorted(span for span, reader in parts if reader.agrees(content))
    return Watermark(f"{content:0{ID_DIGITS}x}", looked, _merged(spans))


def _stretches(clock: FrameClock) -> list[slice]:
    """The frames that are looked at."""
    seconds, whole_s = clock.seconds, float(clock.duration_s)
    if whole_s <= WHOLE_S:
        return [slice(0, len(clock))]
    starts = np.linspace(0, whole_s - STRETCH_S, STRETCHES)
    ends = [np.searchsorted(seconds, (start, start + STRETCH_S)).tolist() for start in starts]
    return [slice(first, after) for first, after in ends if after > first]


def _people(stream: VideoStream, stretch: slice) -> Iterator[list[tuple[list[float], Reader]]]:
    """Of each face that is seen: [from, to] seconds and what was read there, part after part."""
    tracks = _tracks(stream, stretch)
    seconds = stream.clock.seconds[stretch]
    ends = np.append(seconds[1:], float(stream.clock.duration_s) if stretch.stop >= len(stream) else seconds[-1])
    within = seconds - seconds[0]
    part = np.minimum(within / PART_S, max(1, round(float(within[-1]) / PART_S)) - 1).astype(int)
    readers = [[Reader() for _ in range(part[-1] + 1)] for _ in tracks]
    cutter = Cutter(stream)
    with closing(pictures_of(stream, np.arange(stretch.start, stretch.stop))) as pictures:
        for i, frame in enumerate(pictures):
            picture = FramePicture(frame, cutter)
            for track, own in zip(tracks, readers, strict=True):
                if track.valid[i]:
                    own[part[i]].add(*_lower_face(picture, track.pixel_from_face[i]), seconds[i])
    for own in readers:
        yield [
            ([round(float(seconds[at][0]), 2), round(float(ends[at][-1]), 2)], reader)
            for k, reader in enumerate(own)
            if (at := part == k).any()
        ]


def _tracks(stream: VideoStream, stretch: slice) -> list[FaceTrack]:
    """Everybody's, in the frames of a stretch; none where no face is seen."""
    rows, shots, cutter = np.arange(stretch.start, stretch.stop), ShotDetector(), Cutter(stream)
    tracker = FaceTracker(FaceConfig(), stream.width, stream.height)
    with closing(pictures_of(stream, rows)) as pictures:
        for frame in pictures:
            picture = FramePicture(frame, cutter)
            tracker.push(picture, shots.push(picture), shots.settled())
    clock = stream.clock
    end = clock.end if stretch.stop >= len(clock) else int(clock.pts[stretch.stop])
    try:
        everybody = tracker.finish_everybody(FrameClock(clock.pts[rows], clock.base, end), shots.finish())
        return [track for _, track in everybody]
    except LipsyncError:  # no face
        return []


def _lower_face(picture: FramePicture, pixel_from_face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box that the mark lies in, and its own `pixel_from_face`."""
    x0, y0, x1, y1 = box_around(pixel_from_face, picture.width, picture.height)
    if x1 <= x0 or y1 <= y0:
        return np.zeros((3, 1, 1), np.uint8), pixel_from_face
    here = pixel_from_face.copy()
    here[:2, 2] -= x0, y0
    return picture.part((x0, y0, x1, y1)).transpose(2, 0, 1), here


def _content(readers: Iterable[Reader]) -> int | None:
    """What all parts together hold, or else two neighbours, or one."""
    readers = list(readers)
    tried = [readers, *([a, b] for a, b in pairwise(readers) if len(readers) > 2)]
    return next((one for some in tried if (one := joined(some).content()) is not None), None)


def _merged(spans: list[list[float]]) -> list[list[float]]:
    """Spans that follow each other, or lie over each other, as one."""
    out: list[list[float]] = []
    for first, last in spans:
        if out and first <= out[-1][1] + 0.05:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return out
