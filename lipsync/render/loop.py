"""The render loop: target frames along a plan, mouths for each, put into place. All drawing goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.runtime import alone
from lipsync.core.texture import MouthTexture, TextureMethod, TextureQuery
from lipsync.core.types import DubPlan, MouthSpace, TargetAnalysis, TeethReference
from lipsync.render.blends.base import Join
from lipsync.render.composite import composite
from lipsync.render.plan import PlannedFaces, build_query, frames_along
from lipsync.render.teeth import sharpen_teeth
from video.clock import FrameBatch
from video.prefetch import side_by_side
from video.probe import VideoStream

_MOST_PIXELS = 4_000_000  # of a batch: four frames of 1280x720
#: (rows, (B,3,H,W) uint8 frames) -> their mouths and the (B,18,2) lips these show.
Draw = Callable[[slice, torch.Tensor], tuple[MouthTexture, np.ndarray]]
Render = Callable[[TextureQuery], MouthTexture]
#: Shown (rows, the frames beneath, the finished frames), as they come.
Watch = Callable[[slice, torch.Tensor, torch.Tensor], None]


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

        def draw(rows: slice, frames: torch.Tensor) -> tuple[MouthTexture, np.ndarray]:
            lips = plan.lips.points[rows]
            mouth = answer(build_query(plan, scene.faces, scene.space, rows, frames, method, speech))
            return sharpen_teeth(mouth, scene.teeth, lips, scene.space, config.teeth), lips

        return cls(plan, scene, draw, watch)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A batch of rows. stages: (B,3,H,W) uint8 frames before anybody's mouth, and after each role's."""

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
) -> Iterator[tuple[slice, torch.Tensor, FrameBatch]]:
    """(rows, (B,3,H,W) uint8 frames with everybody's mouth in place, the target's frames beneath) of the rows `todo`
    (None = all), in order. Any range of rows is the same drawn alone. blend: asked instead of the config's, to measure
    it; threads: so many batches are drawn side by side."""
    plan, stream = roles[0].plan, roles[0].scene.stream

    def draw(read: tuple[slice, torch.Tensor, FrameBatch]) -> _Drawn:
        rows, frames, beneath = read
        stages = [frames.to(device)]
        for one in roles:
            stages.append(_with_mouth(one, rows, stages[-1], config, blend))
        return _Drawn(rows, stages, beneath)

    for part in [slice(0, len(plan))] if todo is None else todo:
        with closing(frames_along(stream, plan, _rows_at_once(config, stream), part.start, part.stop)) as batches:
            for made in side_by_side(draw, batches, threads, alone):
                for one, under, over in zip(roles, made.stages, made.stages[1:], strict=False):
                    if one.watch is not None and over is not under:
                        one.watch(made.rows, under, over)
                yield made.rows, made.stages[-1], made.beneath


def _rows_at_once(config: DubConfig, stream: VideoStream) -> int:
    """Of large pictures fewer than the config says: several batches are in memory at a time."""
    return max(1, min(config.batch, _MOST_PIXELS // (stream.width * stream.height)))


def _with_mouth(one: Role, rows: slice, frames: torch.Tensor, config: DubConfig, blend: Join | None) -> torch.Tensor:
    """The frames with this role's mouth; the same tensor where it is seen in none."""
    if not one.scene.faces.strength[rows].any():
        return frames
    mouth, lips = one.draw(rows, frames)
    return composite(frames, mouth, lips, one.scene.faces, rows, one.scene.space, config.composite, blend)
