"""From a plan to pictures: which target frames the output rows show, where the face is in them, and what a texture
method is asked."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import torch

from lipsync.config.schema import DubConfig, RetimeConfig
from lipsync.core.geometry import apply, warp
from lipsync.core.graphics import Graphics
from lipsync.core.texture import TextureMethod, TextureQuery
from lipsync.core.timebase import nominal_rate
from lipsync.core.track import eye_distance_px, jaw_in_face
from lipsync.core.types import DubPlan, FaceTrack, LipTrack, MouthSpace, TargetAnalysis
from lipsync.render.doubt import known_mouths, softened
from lipsync.render.jaw import chin_per_opening
from lipsync.render.retime import Timing, mouth_shape, played, retime
from video.clock import FrameBatch, FrameClock
from video.probe import VideoStream
from video.read import Window, read_rows


def make_plan(
    lips: LipTrack,
    voiced: np.ndarray,
    subject: TargetAnalysis,
    config: DubConfig,
    spoken: np.ndarray | None = None,
) -> DubPlan:
    """What every output row shows: a target frame, chosen by `retime` or in the target's own order, and the lips to
    draw there: the given ones, but for those that the person's own mouths cannot show. spoken: (N,) bool, the other
    rows pass through; None = all."""
    track = subject.track
    timing = _timing(lips, voiced, subject, config.retime)
    n = len(timing)
    whole = lips.frames
    lips = softened(lips, known_mouths(subject.bank, float(nominal_rate(subject.video.clock))), config.doubt)
    clock = whole if n == len(lips) else FrameClock(whole.pts[:n], whole.base, int(whole.pts[n]))
    lips = LipTrack(lips.points[:n], lips.valid[:n], clock)
    render = track.valid[timing.source] & track.valid[_following(timing)]
    if spoken is not None:
        render &= spoken[:n]
    return DubPlan(timing.source, timing.half, lips, render, clock, timing.seeks)


def _timing(lips: LipTrack, voiced: np.ndarray, subject: TargetAnalysis, config: RetimeConfig) -> Timing:
    track, fixed = subject.track, config.length not in ("auto", "speech", "target")
    if fixed or config.timeline == "keep":
        return played(len(voiced), track.shot, config.length if fixed else "bounce")
    rate, origin = float(nominal_rate(subject.video.clock)), track.pixel_from_face[:, :2, 2] / eye_distance_px(track)
    mouths = mouth_shape(lips.points), mouth_shape(track.lips.points)
    return retime(voiced, subject.motion, track.valid, track.shot, rate, config, track.pose, origin, mouths)


@dataclass(frozen=True, slots=True)
class PlannedFaces:
    """The face in the target frame shown at each of N output rows; between two frames where the plan shows a half-step.

    pixel_from_face: (N,3,3); lips: (N,18,2) and jaw: (N,17,2) face frame, as filmed; pose: (N,3) degrees;
    strength: (N,) in [0,1], how much of the drawn mouth is seen: 0 where the frame passes through, rising over
    `fade_rows` beside it; chin: how far down the chin goes for each unit that the lips open; graphics: over the
    target's frames, of which each row shows the two `shown` (N,2); at: the pixel (x, y) of the frame at which the
    pictures begin that are drawn on."""

    pixel_from_face: np.ndarray
    lips: np.ndarray
    jaw: np.ndarray
    pose: np.ndarray
    strength: np.ndarray
    chin: float = 0.3
    graphics: Graphics | None = None
    shown: np.ndarray | None = None
    at: tuple[int, int] = (0, 0)

    def pixels_of(self, rows: slice) -> np.ndarray:
        """(B,3,3) where the faces are in pictures that begin `at` that pixel."""
        return np.array([[1.0, 0, -self.at[0]], [0, 1, -self.at[1]], [0, 0, 1]]) @ self.pixel_from_face[rows]

    def within(self, at: tuple[int, int]) -> PlannedFaces:
        """The same faces in pictures that begin at this pixel of the frames."""
        return replace(self, at=at)


def faces_along(track: FaceTrack, plan: DubPlan, fade_rows: int) -> PlannedFaces:
    """The track read along the plan."""
    after, part, jaw = _following(plan), 0.5 * plan.half, jaw_in_face(track)

    def along(values: np.ndarray) -> np.ndarray:
        w = part.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - w) * values[plan.source] + w * values[after]

    return PlannedFaces(
        along(track.pixel_from_face),
        along(track.lips.points).astype(np.float32),
        along(jaw).astype(np.float32),
        along(track.pose).astype(np.float32),
        fade(plan.render, plan.seeks, fade_rows),
        chin_per_opening(track, jaw),
        track.graphics,
        np.stack([plan.source, after], -1),
    )


def fade(render: np.ndarray, seeks: np.ndarray, rows: int) -> np.ndarray:
    """(N,) float32 in [0,1]: 0 where `render` is False, rising linearly over `rows` rows beside such rows, never across
    a seek."""
    distance = np.where(render, rows + 1, 0)
    cut = np.zeros(len(render) + 1, bool)
    cut[seeks] = True
    for i in range(1, len(render)):
        if not cut[i]:
            distance[i] = min(distance[i], distance[i - 1] + 1)
    for i in range(len(render) - 2, -1, -1):
        if not cut[i + 1]:
            distance[i] = min(distance[i], distance[i + 1] + 1)
    return (distance / (rows + 1)).clip(0, 1).astype(np.float32)


def frames_along(
    stream: VideoStream,
    plan: DubPlan,
    batch: int,
    start: int = 0,
    stop: int | None = None,
    window: Window | None = None,
) -> Generator[tuple[slice, torch.Tensor, FrameBatch]]:
    """(rows, (B,3,H,W) uint8 frames and half-steps, the same with the target's own samples) along rows start..stop-1 of
    the plan; decoded and drawn ahead in a thread. window: of rows of the plan, as for `read_rows`."""
    source, half = plan.source[start:stop], plan.half[start:stop]

    def along(part: slice) -> slice:
        return slice(part.start + start, part.stop + start)

    part_window = None if window is None else lambda part: window(along(part))
    for part, frames in read_rows(stream, source, batch, half, True, part_window):
        yield along(part), frames.rgb, frames


def build_query(
    plan: DubPlan,
    faces: PlannedFaces,
    space: MouthSpace,
    rows: slice,
    frames: torch.Tensor,
    method: TextureMethod,
    speech: np.ndarray | None = None,
) -> TextureQuery:
    """The question for a texture method: rows with its radius of context, the first and last row repeated at the ends.

    frames: (B,3,H,W) uint8 of the rows; the query's tensors are on their device. speech: (N,256) of all rows. What the
    method does not need is not made.
    """
    around = np.clip(np.arange(rows.start - method.radius, rows.stop + method.radius), 0, len(plan) - 1)
    device = frames.device
    return TextureQuery(
        lips=torch.from_numpy(plan.lips.points[around]).to(device),
        pose=torch.from_numpy(faces.pose[around]).to(device),
        crop=_mouth_crops(faces.pixel_from_face[rows], space, frames, faces.at) if "crop" in method.needs else None,
        speech=None if speech is None or "speech" not in method.needs else torch.from_numpy(speech[around]).to(device),
    )


def _mouth_crops(
    pixel_from_face: np.ndarray, space: MouthSpace, frames: torch.Tensor, at: tuple[int, int]
) -> torch.Tensor:
    """(B,3,Hm,Wm) float32 in [0,1] the target's own mouths in (B,3,H,W) uint8 pictures of frames from pixel `at` on."""
    pixel_from_mouth = pixel_from_face @ np.linalg.inv(space.mouth_from_face)
    part, pixel_from_part = _part_with(pixel_from_mouth, frames, space, at)
    mouth_from_part = np.linalg.inv(pixel_from_mouth) @ pixel_from_part
    return warp(part.float() / 255, mouth_from_part, (space.height, space.width))


def _part_with(
    pixel_from_mouth: np.ndarray, frames: torch.Tensor, space: MouthSpace, at: tuple[int, int]
) -> tuple[torch.Tensor, np.ndarray]:
    """The box of the (B,3,H,W) pictures that holds all their mouth crops with some margin, and its `pixel_from_part`
    (3,3), of the frame."""
    corners = apply(
        pixel_from_mouth, np.array([[0.0, 0], [space.width, 0], [0, space.height], [space.width, space.height]])
    )
    begin = np.array(at)
    end = begin + np.array([frames.shape[3], frames.shape[2]])
    low, high = corners.min((0, 1)).astype(int) - 8, corners.max((0, 1)).astype(int) + 9
    (x0, y0), (x1, y1) = np.clip(low, begin, end - 1), np.clip(high, begin + 1, end)
    (x, y), x1, y1 = at, max(x1, x0 + 1), max(y1, y0 + 1)
    return frames[:, :, y0 - y : y1 - y, x0 - x : x1 - x], np.array([[1.0, 0, x0], [0, 1, y0], [0, 0, 1]])


def _following(timing: Timing | DubPlan) -> np.ndarray:
    """(N,) the second frame that a row shows: source + 1 at half-steps, else source."""
    return timing.source + timing.half
