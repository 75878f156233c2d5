"""The render loop: target frames along a plan, mouths for each, put into place. All drawing goes through
`with_mouth`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.runtime import FittingRows, alone
from lipsync.core.texture import MouthTexture, TextureMethod, TextureQuery
from lipsync.core.types import DubPlan, MouthSpace, TargetAnalysis, TeethReference
from lipsync.render.blends.base import Join
from lipsync.render.composite import composite
from lipsync.render.extent import drawn_within
from lipsync.render.mark import Mark
from lipsync.render.plan import PlannedFaces, build_query, frames_along
from lipsync.render.shapes import Shapes
from lipsync.render.teeth import sharpen_teeth
from video.clock import FrameBatch
from video.picture import Rect
from video.prefetch import side_by_side
from video.probe import VideoStream

_SMALLEST, _GRID = 16, 32  # pixels: windows of frames
_MOST_PIXELS = 4_000_000  # of a batch: four frames of 1280x720
#: (rows, (B,3,H,W) uint8 pictures, the faces in them) -> their mouths and the (B,18,2) lips these show.
Draw = Callable[[slice, torch.Tensor, PlannedFaces], tuple[MouthTexture, np.ndarray]]
Render = Callable[[TextureQuery], MouthTexture]
#: Shown (rows, the pictures beneath, the finished ones, the faces in them), as they come.
Watch = Callable[[slice, torch.Tensor, torch.Tensor, PlannedFaces], None]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn over. stream: the video whose frames the plan names; faces: where its face is at each row."""

    stream: VideoStream
    faces: PlannedFaces
    space: MouthSpace
    teeth: TeethReference

    @classmethod
    def of(cls, stream: VideoStream, faces: PlannedFaces, known: TargetAnalysis) -> Scene:
        """With the mouths and teeth of a person that is known."""
        return cls(stream, faces, known.bank.space, known.teeth)


@dataclass(frozen=True, slots=True)
class Role:
    """One person's mouth through a whole film. draw: makes it; watch: looks at what was drawn. The roles of a film have
    plans of the same rows, frames and clock."""

    plan: DubPlan
    scene: Scene
    draw: Draw
    watch: Watch | None = None

    @classmethod
    def of(
        cls,
        plan: DubPlan,
        scene: Scene,
        method: TextureMethod,
        config: DubConfig,
        *,
        speech: np.ndarray | None = None,
        answer: Render | None = None,
        watch: Watch | None = None,
    ) -> Role:
        """The plan's lips drawn by `method`. speech: (N,256) of all rows, for methods that need it; answer: asked
        instead of `method.render`, to measure it."""
        answer = answer or method.render

        def draw(rows: slice, frames: torch.Tensor, faces: PlannedFaces) -> tuple[MouthTexture, np.ndarray]:
            lips = plan.lips.points[rows]
            query = build_query(plan, faces, scene.space, rows, frames, method, speech)
            if "shown" in method.needs:
                shapes = Shapes.of(lips, faces, rows, config.composite, torch.device("cpu"))
                query = replace(query, shown=shapes.shown(config.composite))
            mouth = answer(query)
            return sharpen_teeth(mouth, scene.teeth, lips, scene.space, config.teeth), lips

        return cls(plan, scene, draw, watch)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A batch of rows. stages: (B,3,H,W) uint8 pictures before anybody's mouth, after each role's, and with the
    mark."""

    rows: slice
    stages: list[torch.Tensor]
    beneath: FrameBatch


def render(
    roles: Sequence[Role],
    config: DubConfig,
    device: torch.device,
    todo: Sequence[slice] | None = None,
    blend: Join | None = None,
    threads: int = 1,
    parts: bool = False,
    mark: Mark | None = None,
) -> Iterator[tuple[slice, torch.Tensor, FrameBatch]]:
    """(rows, (B,3,H,W) uint8 frames with everybody's mouth in place, the target's frames beneath) of the rows `todo`
    (None = all), in order; frames are handed out on the CPU, drawn on `device`. Any range of rows is the same drawn
    alone. blend: asked instead of the config's, to measure it; threads: so many batches are drawn side by side; parts:
    of frames only a box around the faces, where that is all that changes; it begins at `FrameBatch.at`; mark: put into
    everybody's drawn mouth."""
    plan, stream = roles[0].plan, roles[0].scene.stream
    fitting = FittingRows(config.batch)

    def draw(read: tuple[slice, torch.Tensor, FrameBatch]) -> _Drawn:
        rows, frames, beneath = read
        stages = [frames]
        for one in roles:
            seen = one.scene.faces.strength[rows].any()
            under = stages[-1]
            stages.append(with_mouth(one, rows, under, config, device, fitting, blend, beneath.at) if seen else under)
        if mark is not None:
            faces = [one.scene.faces.within(beneath.at) for one in roles]
            stages.append(mark.on(stages[-1], frames, faces, rows, plan.clock.seconds[rows]))
        return _Drawn(rows, stages, beneath)

    at_once, window = _rows_at_once(config, stream), partial(_window, roles, config) if parts else None
    for part in [slice(0, len(plan))] if todo is None else todo:
        with closing(frames_along(stream, plan, at_once, part.start, part.stop, window)) as batches:
            for made in side_by_side(draw, batches, threads, alone):
                for one, under, over in zip(roles, made.stages, made.stages[1:], strict=False):
                    if one.watch is not None and over is not under:
                        one.watch(made.rows, under, over, one.scene.faces.within(made.beneath.at))
                yield made.rows, made.stages[-1], made.beneath


def _rows_at_once(config: DubConfig, stream: VideoStream) -> int:
    """Of large pictures fewer than the config says: several batches are in memory at a time."""
    return max(1, min(config.batch, _MOST_PIXELS // (stream.width * stream.height)))


def _window(roles: Sequence[Role], config: DubConfig, rows: slice) -> Rect:
    """The box of the frames that holds all that is drawn and looked at in these rows; its first pixels where nobody is
    drawn."""
    low, high = [], []
    for one in roles:
        seen = np.flatnonzero(one.scene.faces.strength[rows] > 0) + rows.start
        if len(seen):
            first, last = drawn_within(one.scene.faces, one.scene.space, seen, config.composite)
            low.append(first)
            high.append(last)
    stream = roles[0].scene.stream
    size = np.array([stream.width, stream.height])
    if not low:
        return 0, 0, *np.minimum(_SMALLEST, size).tolist()
    first = np.clip(np.min(low, 0) // _GRID * _GRID, 0, size - 1)
    last = np.clip(-(-np.max(high, 0) // _GRID) * _GRID, first + 1, size)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def with_mouth(
    one: Role,
    rows: slice,
    frames: torch.Tensor,
    config: DubConfig,
    device: torch.device,
    fitting: FittingRows,
    blend: Join | None = None,
    at: tuple[int, int] = (0, 0),
) -> torch.Tensor:
    """(B,3,H,W) uint8 pictures, on the CPU as the given ones, with one person's mouth in place. To the device and back
    goes each once, in as large parts as fit it. at: the pixel of the frames at which they begin."""
    faces = one.scene.faces.within(at)

    def draw(part: slice) -> torch.Tensor:
        there, own = frames[part].to(device), slice(rows.start + part.start, rows.start + part.stop)
        mouth, lips = one.draw(own, there, faces)
        return composite(there, mouth, lips, faces, own, one.scene.space, config.composite, blend).cpu()

    drawn = fitting.each(len(frames), draw)
    return drawn[0] if len(drawn) == 1 else torch.cat(drawn)
