"""Who is who: detections of frame after frame sorted into people, across gaps and cuts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lipsync.core.canonical import RIGID_68, canonical_68
from lipsync.core.errors import UsageError
from lipsync.core.geometry import apply, similarity_fit, translation, warp_frame
from lipsync.face.backend import DetectedFace, overlap
from lipsync.face.occlusion import Thumbnails, mouth_thumbnail
from lipsync.metrics.pictures import laplacian_variance
from video.picture import HeldPicture, Picture, Rect, inside

#: A face seen again after a cut or a long gap is the same person when its small portrait correlates this well with the
#: best of the known
#: ones; less is asked where it is in the same place. (50 clips of one GRID speaker, other days and light: each 0.82 or
#: more with the best
#: earlier one; another speaker's at most 0.77.)
SAME_PORTRAIT, SAME_PORTRAIT_AND_PLACE = 0.78, 0.68
#: Portraits kept of one person: another look is added when none of the known ones correlates this well.
KNOWN_LOOK, MOST_LOOKS = 0.9, 16
#: Frames after which position alone no longer says who it is; as many it takes until it fully does, and until somebody
#: counts.
POSITION_LASTS = 12
#: Faces are looked at in the video's own resolution, shrunk above so many pixels from eye to eye; grid of the parts.
CLOSEUP_PX, _GRID = 160, 32
_PORTRAIT = np.array([[20, 0, 16], [0, 20, 26], [0, 0, 1.0]])


@dataclass(frozen=True, slots=True)
class Seen:
    """A face in one frame, and all that is kept of its pixels. portrait, sharpness, thumbnail: of `portrait`,
    `log_sharpness`, `mouth_thumbnail`."""

    landmarks: np.ndarray
    box: np.ndarray
    portrait: np.ndarray
    sharpness: tuple[float, float]
    thumbnail: np.ndarray

    @classmethod
    def of(cls, picture: Picture, face: DetectedFace, pose: np.ndarray) -> Seen:
        """One face of a picture. pose: its `rough_pixel_from_face`."""
        rgb, part_from_pixel = _closeup(picture, face.landmarks, pose)
        part_from_face = part_from_pixel @ pose
        return cls(
            face.landmarks,
            face.box,
            portrait(rgb, part_from_face),
            log_sharpness(rgb, apply(part_from_pixel, face.landmarks)),
            mouth_thumbnail(rgb, part_from_face),
        )


@dataclass(slots=True)
class Person:
    """One person's appearances. frames[i] is the frame of landmarks[i] and of the two numbers of sharpness[i]."""

    frames: list[int] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    sharpness: list[tuple[float, float]] = field(default_factory=list)
    thumbnails: Thumbnails = field(default_factory=Thumbnails)
    portraits: list[np.ndarray] = field(default_factory=list)
    latest: deque[Seen] = field(default_factory=lambda: deque(maxlen=POSITION_LASTS))

    def likeness(self, portrait: np.ndarray) -> tuple[float, int]:
        """How well a portrait correlates with the best of the known ones, and which one that is."""
        scores = [float(portrait @ known) / max(float(np.linalg.norm(known)), 1e-6) for known in self.portraits]
        best = int(np.argmax(scores))
        return scores[best], best

    @property
    def presence(self) -> float:
        """Frames seen, each weighed with the face's size in pixels: the largest and most lasting face has the most."""
        return float(sum(np.linalg.norm(points[45] - points[36]) for points in self.landmarks))

    @property
    def box(self) -> np.ndarray:
        """(4,) pixels, where last seen."""
        return np.concatenate([self.landmarks[-1].min(0), self.landmarks[-1].max(0)])


def rough_pixel_from_face(landmarks: np.ndarray) -> np.ndarray:
    """(...,3,3) similarity from eyes and nose of (...,68,2) faces, without head pose."""
    return similarity_fit(landmarks[..., RIGID_68, :], canonical_68()[RIGID_68, :2])


def nearby(picture: Picture, landmarks: np.ndarray, pixel_from_face: np.ndarray, too: Rect | None) -> Picture:
    """The picture, with all that is looked at of this face, and of the box `too`, made RGB once; of a large face each
    takes a shrunk part."""
    eye = _eye_px(landmarks)
    if eye > CLOSEUP_PX:
        return picture
    box = _around(picture, landmarks, pixel_from_face, 0.25 * eye + 4)
    x0, y0, x1, y1 = too or box
    return HeldPicture(picture, (min(box[0], x0), min(box[1], y0), max(box[2], x1), max(box[3], y1)))


def _eye_px(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[45] - landmarks[36]))


def _around(picture: Picture, landmarks: np.ndarray, pixel_from_face: np.ndarray, margin_px: float) -> Rect:
    """The box of the face from above the brows to below the chin, and a margin."""
    corners = apply(pixel_from_face, np.array([[-0.9, -1.4], [0.9, -1.4], [-0.9, 0.5], [0.9, 0.5]]))
    points = np.concatenate([landmarks, corners])
    return inside(picture, points.min(0) - margin_px, points.max(0) + margin_px)


def _closeup(picture: Picture, landmarks: np.ndarray, pixel_from_face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h,w,3) uint8, all of a picture that portrait, sharpness and thumbnail of a face see and what their filters reach
    beside it, shrunk above CLOSEUP_PX eye distance; and (3,3) part_from_pixel."""
    eye = _eye_px(landmarks)
    x0, y0, x1, y1 = rect = _around(picture, landmarks, pixel_from_face, 0.25 * eye + 4)
    if eye <= CLOSEUP_PX:
        return picture.part(rect), translation((-x0, -y0))
    x0, y0 = x0 // _GRID * _GRID, y0 // _GRID * _GRID  # few sizes, for which scalers are kept
    x1, y1 = min(picture.width, -(-x1 // _GRID) * _GRID), min(picture.height, -(-y1 // _GRID) * _GRID)
    width, height = (max(1, round(side * CLOSEUP_PX / eye)) for side in (x1 - x0, y1 - y0))
    scale = np.diag([width / (x1 - x0), height / (y1 - y0), 1.0])
    return picture.shrunk((x0, y0, x1, y1), width, height), scale @ translation((-x0, -y0))


def portrait(rgb: np.ndarray, pixel_from_face: np.ndarray) -> np.ndarray:
    """(32*32*3,) float32, zero mean, unit length: the upright face from brows to upper lip, comparable by dot
    product."""
    # Centre the crop between eyes and nose: 0.6 eye distances above the mouth.
    crop = warp_frame(rgb, _PORTRAIT @ np.linalg.inv(pixel_from_face), 32, 32).astype(np.float32)
    crop -= crop.mean((0, 1))
    return crop.ravel() / max(float(np.linalg.norm(crop)), 1e-6)


def log_sharpness(rgb: np.ndarray, landmarks: np.ndarray) -> tuple[float, float]:
    """Log variance of the Laplacian of the upper face (brows and eyes) and of the lower (nose tip and mouth) of a
    close-up. Two, because a blink takes detail from the one and closed lips from the other."""
    lower = np.concatenate([landmarks[30:36], landmarks[48:]])
    return _log_sharpness_around(rgb, landmarks[17:48]), _log_sharpness_around(rgb, lower)


def _log_sharpness_around(rgb: np.ndarray, points: np.ndarray) -> float:
    import cv2

    low = np.maximum(np.floor(points.min(0)).astype(int), 0)
    high = np.ceil(points.max(0)).astype(int)
    part = rgb[low[1] : high[1], low[0] : high[0]]
    if part.shape[0] < 4 or part.shape[1] < 4:
        return 0.0
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    return float(np.log(laplacian_variance(grey) + 1e-2))


class People:
    """Everybody seen so far. Detections go to the person they continue, or found a new one."""

    def __init__(self) -> None:
        self.persons: list[Person] = []
        self._shot_start = 0

    def add(self, frame: int, faces: list[Seen], cut: bool) -> None:
        """Sort the faces of one frame. cut: the picture does not continue the last one."""
        if cut:
            self._shot_start = frame
        scores = np.array([[self._likeness(person, frame, face) for person in self.persons] for face in faces])
        free = set(range(len(self.persons)))
        owner: dict[int, int] = {}
        for flat in np.argsort(-scores, axis=None) if scores.size else ():
            f, p = divmod(int(flat), len(self.persons))
            if scores[f, p] > 0 and f not in owner and p in free:
                owner[f] = p
                free.remove(p)
        for f, face in enumerate(faces):
            if f in owner:
                person = self.persons[owner[f]]
            else:
                person = Person()
                self.persons.append(person)
            _record(person, frame, face)

    def _likeness(self, person: Person, frame: int, face: Seen) -> float:
        """> 0 where the face may be this person; larger is likelier. Where a face was last seen says who it is, but
        little of one just met: an odd frame's stranger does not take the place of somebody known."""
        same_look, _ = person.likeness(face.portrait)
        if person.frames[-1] >= self._shot_start and frame - person.frames[-1] <= POSITION_LASTS:
            last = person.landmarks[-1]
            distance = float(np.linalg.norm(face.landmarks - last, axis=-1).mean()) / max(
                float(np.linalg.norm(last[45] - last[36])), 1.0
            )
            if distance < 0.8 and overlap(face.box, person.box) > 0.3:
                met = min(1.0, len(person.frames) / POSITION_LASTS)
                return max(met * (2 - distance) + same_look, 1e-3)
        enough = SAME_PORTRAIT_AND_PLACE if overlap(face.box, person.box) > 0.4 else SAME_PORTRAIT
        return same_look if same_look > enough else 0.0

    def recent(self, frame: int, n: int) -> list[list[Seen]]:
        """The last n faces of everybody seen in each of the n frames up to `frame`."""
        return [
            list(p.latest)[-n:] for p in self.persons if p.frames[-1] == frame and p.frames[-n:][0] == frame - n + 1
        ]

    @property
    def lasting(self) -> list[Person]:
        """Those seen for at least half a second's worth of frames (12), or everybody where nobody was."""
        return [p for p in self.persons if len(p.frames) >= POSITION_LASTS] or self.persons

    @property
    def in_order(self) -> list[Person]:
        """The lasting ones as `face.index` counts them: those of the first frame with faces from the left, then the
        others as they come."""
        return sorted(self.lasting, key=lambda p: (p.frames[0], float(p.landmarks[0][:, 0].mean())))


@dataclass(frozen=True, slots=True)
class Met:
    """How a person entered a film. at: (x, y) pixels, the face's middle when first seen; presence: of `Person`."""

    at: tuple[float, float]
    presence: float

    @classmethod
    def of(cls, person: Person) -> Met:
        x, y = person.landmarks[0].mean(0)
        return cls((float(x), float(y)), person.presence)


def chosen(met: Sequence[Met], index: int, at: tuple[float, float] | None) -> int:
    """Which of the people of a film, in the order of `People.in_order`, is asked for; by default the one with most
    presence. UsageError where `index` names nobody."""
    if at is not None:
        return min(range(len(met)), key=lambda i: float(np.linalg.norm(np.subtract(met[i].at, at))))
    if index < 0:
        return max(range(len(met)), key=lambda i: met[i].presence)
    if index >= len(met):
        raise UsageError(
            f"There is no face {index}: {len(met)} people were seen; count from 0, from the left (face.index). "
            "`lipsync people` shows them."
        )
    return index


def _record(person: Person, frame: int, face: Seen) -> None:
    person.frames.append(frame)
    person.landmarks.append(face.landmarks)
    person.sharpness.append(face.sharpness)
    person.thumbnails.add(face.thumbnail)
    person.latest.append(face)
    score, best = person.likeness(face.portrait) if person.portraits else (0.0, 0)
    if score < KNOWN_LOOK and len(person.portraits) < MOST_LOOKS:
        person.portraits.append(face.portrait)
    else:
        person.portraits[best] = person.portraits[best] + 0.05 * (face.portrait - person.portraits[best])
