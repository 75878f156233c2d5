"""A target that plays for as long as somebody speaks: some seconds of it, held in memory, forwards and backwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.arrays import runs_of
from lipsync.core.errors import LipsyncError
from lipsync.core.runtime import FittingRows
from lipsync.core.texture import TextureMethod
from lipsync.core.timebase import nominal_rate
from lipsync.core.types import DubPlan, FaceTrack, LipTrack, TargetAnalysis
from lipsync.render.loop import Role, Scene, with_mouth
from lipsync.render.mark import Mark
from lipsync.render.plan import PlannedFaces, faces_along
from video.clock import FrameClock
from video.colour import Converter
from video.probe import VideoStream
from video.read import read_rows

#: Least time worth playing to and fro.
_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class Held:
    """Consecutive frames of a target. pictures: as decoded; faces: in them; first: number of the first; rate: frames a
    second."""

    pictures: tuple[av.VideoFrame, ...]
    faces: PlannedFaces
    first: int
    rate: Fraction
    stream: VideoStream

    def __len__(self) -> int:
        return len(self.pictures)

    def shown(self, tick: np.ndarray) -> np.ndarray:
        """Which of the frames each tick shows: to the end, back to the beginning, and so on."""
        last = len(self) - 1
        return last - np.abs(last - tick % max(1, 2 * last))


def held_frames(subject: TargetAnalysis, config: DubConfig, most_bytes: int) -> Held:
    """The longest stretch of the target that can be drawn on, or its liveliest part of `most_bytes`. LipsyncError:
    there is none."""
    film = subject.films[0]
    stream, track = film.stream, film.track
    frame_bytes = stream.width * stream.height * av.VideoFormat(stream.pix_fmt, 16, 16).components[0].bits * 3 // 16
    rate = nominal_rate(stream.clock)
    first, after = _stretch(track, subject.motion, max(2, most_bytes // frame_bytes))
    if after - first < _LEAST_S * rate:
        raise LipsyncError(
            f"{film.video.path.name} never shows the face for half a second in a row: there is nothing to play. Choose "
            "another target."
        )
    rows = np.arange(first, after)
    pictures = [p for _, frames in read_rows(stream, rows, config.batch, None, True) for p in frames.pictures]
    n, clock = len(rows), FrameClock.constant(len(rows), rate)
    at_rest = LipTrack(track.lips.points[rows], np.ones(n, bool), clock)
    plan = DubPlan(rows, np.zeros(n, bool), at_rest, np.ones(n, bool), clock, np.zeros(0, np.int64))
    return Held(tuple(pictures), faces_along(track, plan, 0), first, rate, stream)


def _stretch(track: FaceTrack, motion: np.ndarray, most: int) -> tuple[int, int]:
    """First and one past the last frame: within one shot, the face usable in each; of at most so many the ones whose
    ends move least, as there the picture turns round."""
    n = len(track)
    best = (0, 0)
    for first, after in runs_of(np.asarray(track.valid, bool)):
        cuts = first + 1 + np.flatnonzero(np.diff(track.shot[first:after]))
        edges = [first, *cuts.tolist(), after]
        best = max([best, *pairwise(edges)], key=lambda pair: pair[1] - pair[0])
    first, after = best
    if after - first > most:
        starts = np.arange(first, after - most + 1)
        still = np.asarray(motion, float)
        first = int(starts[np.argmin(still[starts] + still[np.minimum(starts + most - 1, n - 1)])])
        after = first + most
    return first, after


class LiveStage:
    """Draws the tick-th frame with given lips: the same steps as `render`, for rows that come one by one."""

    def __init__(
        self,
        held: Held,
        subject: TargetAnalysis,
        method: TextureMethod,
        config: DubConfig,
        device: torch.device,
        mark: Mark | None = None,
    ) -> None:
        self.held, self.subject, self.method, self.config, self.device = held, subject, method, config, device
        self.mark = mark
        self._fitting = FittingRows(1)
        self._lips = deque[np.ndarray](maxlen=method.radius + 1)
        stream = held.stream
        stored = (stream.height, stream.width) if stream.orientation[2] else (stream.width, stream.height)
        self._convert = Converter(stream.colour.resolved(*stored), *stored)

    def rgb(self, tick: int) -> torch.Tensor:
        """(1,3,H,W) uint8 the target's frame of a tick, upright."""
        k = int(self.held.shown(np.array(tick)))
        flip_x, flip_y, transpose = self.held.stream.orientation
        planes = np.stack(self._convert.planes(self.held.pictures[k]))
        upright = planes.swapaxes(1, 2) if transpose else planes
        upright = upright[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
        return torch.from_numpy(np.ascontiguousarray(upright))[None]

    def miss(self, lips: np.ndarray) -> None:
        """A tick that is not drawn, whose lips were these."""
        self._lips.append(lips)

    def draw(self, tick: int, lips: np.ndarray, rgb: torch.Tensor) -> torch.Tensor:
        """(1,3,H,W) uint8: the frame `rgb` of the tick with (18,2) `lips`."""
        return self.drawing(tick, lips, rgb)()

    def drawing(self, tick: int, lips: np.ndarray, rgb: torch.Tensor) -> Callable[[], torch.Tensor]:
        """What draws the tick's frame, in any thread, while the next tick is asked for. What the mouth will do next is
        not known: it is taken to stay."""
        radius = self.method.radius
        self._lips.append(lips)
        said = [self._lips[0]] * (radius + 1 - len(self._lips)) + list(self._lips) + [lips] * radius
        rows = self.held.shown(np.arange(tick - radius, tick + radius + 1))
        n, here = len(rows), slice(radius, radius + 1)
        clock = FrameClock.constant(n, self.held.rate)
        points = LipTrack(np.stack(said).astype(np.float32), np.ones(n, bool), clock)
        source = self.held.first + rows
        plan = DubPlan(source, np.zeros(n, bool), points, np.ones(n, bool), clock, np.zeros(0, np.int64))
        scene = Scene.of(self.held.stream, _at(self.held.faces, rows), self.subject)
        role = Role.of(plan, scene, self.method, self.config)
        second = np.array([float(tick / self.held.rate)])

        def draw() -> torch.Tensor:
            made = with_mouth(role, here, rgb, self.config, self.device, self._fitting)
            return made if self.mark is None else self.mark.on(made, rgb, [role.scene.faces], here, second)

        return draw


def _at(faces: PlannedFaces, rows: Sequence[int] | np.ndarray) -> PlannedFaces:
    """Those of the rows."""
    rows = np.asarray(rows)
    return replace(
        faces,
        pixel_from_face=faces.pixel_from_face[rows],
        lips=faces.lips[rows],
        jaw=faces.jaw[rows],
        pose=faces.pose[rows],
        strength=faces.strength[rows],
        shown=None if faces.shown is None else faces.shown[rows],
    )
