"""The render loop: target frames along a plan, a mouth for each, put into place. All drawing goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.texture import MouthTexture, TextureMethod, TextureQuery
from lipsync.core.types import DubPlan, MouthSpace, TeethReference
from lipsync.render.blends.base import Join
from lipsync.render.composite import composite
from lipsync.render.plan import PlannedFaces, build_query, frames_along
from lipsync.render.teeth import sharpen_teeth
from video.probe import VideoStream

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


def render(
    plan: DubPlan,
    scene: Scene,
    method: TextureMethod,
    config: DubConfig,
    device: torch.device,
    *,
    speech: np.ndarray | None = None,
    start: int = 0,
    answer: Render | None = None,
    blend: Join | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(rows, (B,3,H,W) uint8 frames) with the plan's lips drawn by `method`, from row `start` on. Any range of rows is
    the same drawn alone.

    speech: (N,256) of all rows, for methods that need it; answer, blend: asked instead of `method.render` and of the
    config's blend, to measure them; watch: looks at what is drawn.
    """
    answer = answer or method.render

    def draw(rows: slice, frames: torch.Tensor) -> tuple[MouthTexture, np.ndarray]:
        lips = plan.lips.points[rows]
        mouth = answer(build_query(plan, scene.faces, scene.space, rows, frames, method, speech))
        return sharpen_teeth(mouth, scene.teeth, lips, scene.space, config.teeth), lips

    return composited(plan, scene, draw, config, device, start, blend, watch)


def composited(
    plan: DubPlan,
    scene: Scene,
    draw: Draw,
    config: DubConfig,
    device: torch.device,
    start: int = 0,
    blend: Join | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(rows, (B,3,H,W) uint8 frames) with the mouths that `draw` gives in place."""
    for rows, frames in frames_along(scene.stream, plan, config.batch, start):
        frames = frames.to(device)
        mouth, lips = draw(rows, frames)
        drawn = composite(frames, mouth, lips, scene.faces, rows, scene.space, config.composite, blend)
        if watch is not None:
            watch(rows, frames, drawn)
        yield rows, drawn
