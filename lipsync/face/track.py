"""The faces of the people in a video: frames are pushed as they come, the tracks are made at the end."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from lipsync.config.schema import FaceConfig
from lipsync.core.arrays import nearest
from lipsync.core.canonical import RIGID_68
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.geometry import apply
from lipsync.core.graphics import Graphics
from lipsync.core.lips import LIPS_FROM_68, opening
from lipsync.core.progress import Hook, silent
from lipsync.core.types import REASONS, FaceTrack, LipTrack
from lipsync.face.backend import Backend, DetectedFace
from lipsync.face.graphics import GraphicsFinder
from lipsync.face.identity import AHEAD, STEADY, other_person
from lipsync.face.occlusion import behind, covered, mouth_outlines
from lipsync.face.people import Met, People, Person, Seen, chosen, nearby, rough_pixel_from_face
from lipsync.face.pose import fit_pose, own_shape, pixel_from_face, smooth, yaw_pitch_roll
from lipsync.face.registry import get_backend
from video.clock import FrameClock
from video.picture import Cutter, FramePicture, Picture, pictured
from video.prefetch import ahead
from video.probe import VideoStream
from video.read import frames_ahead, pictures_of
from video.shots import Mark, ShotDetector

if TYPE_CHECKING:
    import av

#: Gaps up to BRIDGE frames are filled between their ends; those up to BRIDGE_VALID count as seen.
BRIDGE, BRIDGE_VALID = 3, 2
#: Pictures that wait to be looked at, at most.
_BESIDE = 2
#: A frame is blurred when its log sharpness is this far below the person's median, and this many robust deviations.
BLUR_DROP, BLUR_DEVIATIONS = 1.2, 5.0
#: A mouth of which a graphic takes up more than this share is not drawn.
BEHIND = 0.3
#: Half width of the lips' own filter, seconds: removes the mesh's jitter, keeps closures.
LIP_SMOOTH_S = 0.02
_USABLE, _NO_FACE, _TURNED, _BLURRED, _COVERED, _SMALL, _BETWEEN, _ODD, _GRAPHIC = range(len(REASONS))


class FaceTracker:
    """Follows the faces of one video. `push` every frame in order, then `finish`; `people` is how many were seen by
    then."""

    def __init__(self, config: FaceConfig, width: int, height: int, backend: Backend | None = None) -> None:
        check_position(config.at, width, height)
        self._config = config
        self._backend = backend or get_backend(config.backend, config)
        if backend is None:  # MediaPipe keeps 50 MB that only closing frees
            weakref.finalize(self, self._backend.close).atexit = False
        self._people = People()
        self._size = (width, height)
        self._graphics = GraphicsFinder(width, height)
        self._beside = ThreadPoolExecutor(1, "faces-beside")
        self._waiting: deque[Future[list[Seen]]] = deque()  # frames whose mark is not known yet
        self._marks: list[Mark] = []
        self._changes: dict[int, Mark] = {}  # of frames to come, where one face turns into another

    @property
    def people(self) -> int:
        """How many different people were seen for at least half a second's worth of frames (12), or at all where nobody
        was."""
        return len(self._people.lasting)

    def push(self, picture: Picture | np.ndarray, cut: bool = False, settled: Iterable[Mark] | None = None) -> None:
        """The next frame, or its (H,W,3) uint8 RGB. cut: it looks unlike the last one; settled: the marks of the next
        frames on which a `ShotDetector` has spoken the last word. None: there is no detector, a cut is one."""
        picture, begun = pictured(picture), bool(self._marks or self._waiting)
        if cut and begun:
            self._backend.reset()
        faces = self._backend.detect(picture)
        if len(self._waiting) >= _BESIDE:
            self._waiting[-_BESIDE].result()  # pictures are large
        self._waiting.append(self._beside.submit(self._look, picture, faces))
        self._settle([Mark.CUT if cut and begun else Mark.GOES_ON] if settled is None else settled)

    def _look(self, picture: Picture, faces: list[DetectedFace]) -> list[Seen]:
        """All that is kept of a picture; looked at while faces are found in the next one."""
        poses = [rough_pixel_from_face(face.landmarks) for face in faces]
        near = [
            nearby(picture, face.landmarks, pose, self._graphics.looked_at(face.landmarks))
            for face, pose in zip(faces, poses, strict=True)
        ]
        self._graphics.push([(part, face.landmarks) for part, face in zip(near, faces, strict=True)])
        return [Seen.of(*one) for one in zip(near, faces, poses, strict=True)]

    def _settle(self, marks: Iterable[Mark]) -> None:
        for mark in marks:
            faces, frame = self._waiting.popleft().result(), len(self._marks)
            seen = self._changes.pop(frame, mark)
            mark = mark if mark == Mark.BETWEEN else seen
            self._marks.append(mark)
            if mark in (Mark.GOES_ON, Mark.CUT):  # a blend shows nobody's looks
                self._people.add(frame, faces, mark == Mark.CUT)
                if frame % 4 == 0 and not self._changes:
                    self._foresee(frame + 1)

    def _foresee(self, frame: int) -> None:
        """Marks the frames to come, from `frame` on, in which somebody seen just now turns into somebody else."""
        recent = self._people.recent(frame - 1, STEADY)
        ahead = [look.result() for look in islice(self._waiting, AHEAD)] if recent else []
        for seen in recent:
            found = other_person(seen, ahead)
            if found is not None:
                first, new = frame + found[0], frame + found[1]
                # a cut just before is the beginning of it
                before = dict.fromkeys(range(max(frame, first - STEADY), first), Mark.GOES_ON)
                self._changes = before | dict.fromkeys(range(first, new), Mark.BETWEEN) | {new: Mark.CUT}
                return

    def track(self, frames: Iterable[tuple[np.ndarray, bool]], clock: FrameClock) -> FaceTrack:
        """What `finish` gives after all `frames`: (H,W,3) uint8, and whether it starts a new shot."""
        for rgb, cut in frames:
            self.push(rgb, cut)
        return self.finish(clock)

    def finish(self, clock: FrameClock, settled: Iterable[Mark] = ()) -> FaceTrack:
        """The chosen person's track. settled: the marks of the last frames. LipsyncError where no face was seen at all,
        UsageError where `index` names nobody."""
        persons = self._persons(clock, settled)
        person = persons[chosen([Met.of(one) for one in persons], self._config.index, self._config.at)]
        return _track(person, self._shown, self._graphics.finish(), self._size, clock, self._config)

    def finish_everybody(self, clock: FrameClock, settled: Iterable[Mark] = ()) -> Iterator[tuple[Met, FaceTrack]]:
        """Everybody's track, as `face.index` counts them, one made after the other. Raises as `finish` does."""
        persons, graphics = self._persons(clock, settled), self._graphics.finish()
        for person in persons:
            yield Met.of(person), _track(person, self._shown, graphics, self._size, clock, self._config)

    def _persons(self, clock: FrameClock, settled: Iterable[Mark]) -> list[Person]:
        """The lasting ones, in order, when the last frame is settled."""
        self._settle(settled)
        if self._waiting or len(clock) != len(self._marks):
            raise ValueError(
                f"FaceTracker.finish: {len(self._marks) + len(self._waiting)} frames were pushed, {len(self._marks)} "
                f"are marked, the clock has {len(clock)}"
            )
        persons = self._people.in_order
        if not persons:
            raise LipsyncError(
                f"No face was found in any of the {len(clock)} frames; the target must show a face from the front, "
                f"at least {self._config.min_eye_distance_px:g} pixels from eye to eye."
            )
        return persons

    @property
    def _shown(self) -> np.ndarray:
        return np.array(self._marks, np.int8)


def track_video(
    tracker: FaceTracker, stream: VideoStream, batch: int, hook: Hook = silent, step: str = "faces"
) -> FaceTrack:
    """The chosen face in every frame of a video, by a new tracker; one pass. step: its name for `hook`."""
    return tracker.finish(stream.clock, _watched(tracker, stream, batch, hook, step))


def track_everybody(
    tracker: FaceTracker, stream: VideoStream, batch: int, hook: Hook = silent
) -> Iterator[tuple[Met, FaceTrack]]:
    """Every face in every frame of a video, by a new tracker; one pass."""
    return tracker.finish_everybody(stream.clock, _watched(tracker, stream, batch, hook, "faces"))


def _watched(tracker: FaceTracker, stream: VideoStream, batch: int, hook: Hook, step: str) -> list[Mark]:
    """Pushes all frames of a video; the marks of the last ones. Shots are looked for where frames are decoded, beside
    the faces."""
    shots, cutter = ShotDetector(), Cutter(stream)

    def looked_at() -> Generator[tuple[av.VideoFrame, bool, list[Mark]]]:
        beside = Cutter(stream)  # one for each thread
        for frame in pictures_of(stream):
            yield frame, shots.push(FramePicture(frame, beside)), shots.settled()

    for i, (frame, cut, settled) in enumerate(ahead(looked_at(), frames_ahead(stream))):
        tracker.push(FramePicture(frame, cutter), cut, settled)
        if (i + 1) % batch == 0 or i + 1 == len(stream):
            hook(step, i + 1, len(stream))
    return list(shots.finish())


def check_position(at: tuple[float, float] | None, width: int, height: int) -> None:
    """UsageError where a face is looked for outside the picture."""
    if at is not None and not (0 <= at[0] <= width and 0 <= at[1] <= height):
        raise UsageError(
            f"The face position {at[0]:g},{at[1]:g} lies outside the picture of {width}x{height} pixels (face.at)."
        )


def _bridged(person: Person, shot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,68,2) float64 landmarks in every frame, and (T,) how long the gap is that the frame lies in (0 = seen, large =
    not bridged)."""
    n = len(shot)
    frames = np.array(person.frames)
    landmarks = np.stack(person.landmarks).astype(np.float64)
    out = landmarks[nearest(frames, n)]
    gap = np.full(n, n + BRIDGE)
    gap[frames] = 0
    for i in np.flatnonzero((np.diff(frames) > 1) & (np.diff(frames) <= BRIDGE + 1)):
        a, b = frames[i], frames[i + 1]
        if shot[a] == shot[b]:
            share = (np.arange(a + 1, b) - a)[:, None, None] / (b - a)
            out[a + 1 : b] = (1 - share) * landmarks[i] + share * landmarks[i + 1]
            gap[a + 1 : b] = b - a - 1
    return out, gap


def _track(
    person: Person,
    marks: np.ndarray,
    graphics: Graphics | None,
    size: tuple[int, int],
    clock: FrameClock,
    config: FaceConfig,
) -> FaceTrack:
    shot = np.cumsum(marks == Mark.CUT).astype(np.int32)
    landmarks, gap = _bridged(person, shot)
    present = gap <= BRIDGE
    shape = own_shape(landmarks[:, RIGID_68], (gap == 0).astype(np.float64))
    raw = fit_pose(landmarks[:, RIGID_68], shape)
    params = smooth(raw, clock.seconds, present.astype(np.float64), shot, config.smooth_s)
    pose = yaw_pitch_roll(params[:, :3])
    mouths, graphics = _mouths(person, graphics)
    reason = _reasons(person, mouths, params, pose, gap, config)
    if graphics is not None:
        reason[(graphics.mouth > BEHIND) & np.isin(reason, [_USABLE, _BLURRED, _COVERED])] = _GRAPHIC
    reason[_over_the_edge(landmarks, size) & (reason == _USABLE)] = _COVERED
    reason[marks == Mark.BETWEEN] = _BETWEEN
    reason[marks == Mark.ODD] = _ODD
    valid = reason == _USABLE

    origin = _resting_mouth(landmarks, params, valid if valid.any() else present)
    affine = pixel_from_face(params, origin)
    face = apply(np.linalg.inv(affine), landmarks)
    face = smooth(face.reshape(len(face), -1), clock.seconds, present.astype(np.float64), shot, LIP_SMOOTH_S).reshape(
        face.shape
    )
    lips = face[:, LIPS_FROM_68].astype(np.float32)
    return FaceTrack(
        pixel_from_face=affine,
        landmarks=apply(affine, face).astype(np.float32),
        lips=LipTrack(lips, valid, clock),
        pose=pose,
        eyes=_eye_opening(face).astype(np.float32),
        valid=valid,
        reason=reason,
        shot=shot,
        graphics=graphics,
    )


def _mouths(person: Person, graphics: Graphics | None) -> tuple[np.ndarray, Graphics | None]:
    """(n,1152) thumbnails of the person's mouths without the graphics over them; and those, with how much of the lips
    they take up."""
    mouths = person.thumbnails.stacked()
    if graphics is None:
        return mouths, None
    landmarks = np.stack(person.landmarks)
    pixel_from_face = rough_pixel_from_face(landmarks)
    frames = np.array(person.frames)
    share, mouths = behind(graphics, frames, mouths, mouth_outlines(landmarks, pixel_from_face), pixel_from_face)
    mouth = graphics.mouth.copy()
    mouth[frames] = share
    return mouths, replace(graphics, mouth=mouth)


def _reasons(
    person: Person, mouths: np.ndarray, params: np.ndarray, pose: np.ndarray, gap: np.ndarray, config: FaceConfig
) -> np.ndarray:
    """(T,) int8 index into REASONS; where several hold, the one that says most about the frame."""
    seen = np.array(person.frames)
    reason = np.zeros(len(gap), np.int8)
    hidden, soft = np.zeros(len(gap), bool), np.zeros(len(gap), bool)
    turned = (np.abs(pose[:, 0]) > config.max_yaw_deg) | (np.abs(pose[:, 1]) > config.max_pitch_deg)
    front = ~turned[seen]  # a turned mouth looks like no other, and is not shown anyway
    landmarks = np.stack(person.landmarks)[front]
    hidden[seen[front]] = covered(mouths[front], mouth_outlines(landmarks, rough_pixel_from_face(landmarks)))
    soft[seen] = _blurred(np.array(person.sharpness))
    reason[soft] = _BLURRED
    reason[hidden] = _COVERED
    reason[turned] = _TURNED
    reason[np.exp(params[:, 3]) < config.min_eye_distance_px] = _SMALL
    reason[gap > BRIDGE_VALID] = _NO_FACE
    return reason


def _over_the_edge(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(T,) bool: the lips of (T,68,2) landmarks reach over the edge of the picture of (width, height) `size`."""
    lips = landmarks[:, 48:60]
    return ((lips < 0) | (lips > np.array(size))).any((1, 2))


def _blurred(sharpness: np.ndarray) -> np.ndarray:
    """(n,) bool: upper and lower face, (n,2) log sharpness, both far below this person's usual."""
    below = np.median(sharpness, axis=0) - sharpness
    spread = 1.4826 * np.median(np.abs(below), axis=0)
    return (below > np.maximum(BLUR_DROP, BLUR_DEVIATIONS * spread)).all(1)


def _resting_mouth(landmarks: np.ndarray, params: np.ndarray, use: np.ndarray) -> np.ndarray:
    """(3,) the midpoint of the resting mouth corners on this person's face: the median over the fifth of frames with
    the smallest opening."""
    plane = pixel_from_face(params[use], np.zeros(3))
    lips = apply(np.linalg.inv(plane), landmarks[use][:, LIPS_FROM_68])
    gap = opening(lips)
    rest = gap <= np.quantile(gap, 0.2)
    middle = np.median(lips[rest][:, [0, 6]].mean(1), axis=0)
    return np.array([middle[0], middle[1], 0.0])


def _eye_opening(face: np.ndarray) -> np.ndarray:
    """(T,) mean gap between the lids of (T,68,2) face-frame landmarks."""
    upper, lower = face[:, [37, 38, 43, 44], 1], face[:, [41, 40, 47, 46], 1]
    return np.maximum(lower - upper, 0).mean(1)
