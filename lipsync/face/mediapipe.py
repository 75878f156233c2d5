"""Faces from MediaPipe: its detectors find them, its 478-point mesh with attention follows each inside a window of its
own.

A window (about twice the face) is cut from the frame at a steady scale, so the mesh sees small faces enlarged and huge
ones averaged down, and its cost does not depend on the frame's size. The window stays where it is until the face comes
near its edge."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import numpy as np

from lipsync.core.canonical import MESH_FROM_68
from lipsync.core.errors import LipsyncError
from lipsync.face.backend import MAX_FACES, DetectedFace, overlap
from video.picture import Picture, pictured, whole

#: Window side / face size, for a mesh box; the face's size in the window may drift by this factor before a new one is
#: cut.
WINDOW, DRIFT = 2.0, 1.4
#: The window as the mesh sees it, pixels: the face covers half of it, about the 192 pixels the mesh works at.
WINDOW_PX = 448
#: The longer side of the picture that faces are searched in: the detectors shrink it to 128 and 192 pixels, and tiles
#: of half its size to 192.
SEARCH_PX = 1280
#: Frames between searches for further faces while one is being followed, and while none is found in small tiles.
SEARCH_EVERY, TILES_EVERY = 25, 12
#: Detectors report from this confidence on; whether it is a face, the mesh decides.
SUSPECT = 0.4
#: A lost face is looked for in its old window for this many frames.
PATIENCE = 5


@contextlib.contextmanager
def _quiet():
    """MediaPipe's C++ side writes to file descriptor 2 whatever its log level; nothing of it concerns a user."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _solutions():
    """mediapipe.solutions, or LipsyncError with the cure."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _quiet():
            import mediapipe

            return mediapipe.solutions
    except (ImportError, OSError, AttributeError, TypeError) as error:
        raise LipsyncError(
            f"MediaPipe cannot be used here ({error}); install it with: pip install 'mediapipe>=0.10.14,<0.10.30' "
            "'numpy<2', "
            "or choose the other landmark backend: --set face.backend=dlib."
        ) from error


class _Follower:
    """One face, followed from frame to frame by a mesh of its own."""

    def __init__(self, solutions) -> None:
        with _quiet():
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=False, max_num_faces=1, refine_landmarks=True, min_detection_confidence=SUSPECT
            )
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))
        self.box = np.zeros(4)
        self.score = 0.0
        self.lost = 0
        self._corner, self._side, self._fresh = np.zeros(2, int), 8, True
        self._pixel_from_window = np.zeros(2), np.ones(2)  # offset, scale

    def start(self, box: np.ndarray, score: float) -> None:
        """Follow the face in `box` from the next frame given."""
        self.score, self.lost = score, 0
        self._cut_window(box)

    def _cut_window(self, box: np.ndarray) -> None:
        self.box = box
        side = max(8, round(WINDOW * float((box[2:] - box[:2]).max())))
        corner = np.round((box[:2] + box[2:]) / 2 - side / 2).astype(int)
        self._corner = corner // 4 * 4 if side > WINDOW_PX else corner
        self._side, self._fresh = side, True

    def _window(self, picture: Picture) -> np.ndarray:
        """(WINDOW_PX, WINDOW_PX, 3) uint8: the window, square also where it reaches over the frame's edge (MediaPipe's
        turned crops are exact in square pictures only)."""
        import cv2

        side, corner = self._side, self._corner
        low = np.clip(corner, 0, [picture.width - 1, picture.height - 1])
        high = np.clip(corner + side, low + 1, [picture.width, picture.height])
        rect, scale = (*low.tolist(), *high.tolist()), min(1.0, WINDOW_PX / side)
        begin = np.clip(np.round((low - corner) * scale).astype(int), 0, round(side * scale) - 1)
        size = np.clip(np.round((high - low) * scale).astype(int), 1, round(side * scale) - begin)
        part = picture.shrunk(rect, *size.tolist()) if scale < 1 else picture.part(rect)
        (left, top), (right, bottom) = begin, round(side * scale) - begin - size
        if left or top or right or bottom:
            part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT)
        # a part that was shrunk has whole pixels, too
        exact = (high - low) / size
        self._pixel_from_window = low - begin * exact, exact * round(side * scale) / WINDOW_PX
        return part if scale < 1 else cv2.resize(part, (WINDOW_PX, WINDOW_PX), interpolation=cv2.INTER_LINEAR)

    def _mesh_points(self, window: np.ndarray) -> np.ndarray | None:
        """(478,2) float64 pixels of the frame, or None."""
        found = self._mesh.process(window).multi_face_landmarks
        if not found:
            return None
        offset, scale = self._pixel_from_window
        return np.array([(p.x, p.y) for p in found[0].landmark]) * WINDOW_PX * scale + offset

    def _first_points(self, window: np.ndarray) -> np.ndarray | None:
        """As `_mesh_points`, in a new window: MediaPipe starts again. The first answer stems from its detector's rough
        square, the second from the mesh's own, like all later ones."""
        with _quiet():
            self._mesh.reset()
            points = self._mesh_points(window)
            return points if points is None else self._mesh_points(window)

    def step(self, picture: Picture) -> DetectedFace | None:
        """The face in this frame; None where it is hidden."""
        window = self._window(picture)
        points = self._first_points(window) if self._fresh else self._mesh_points(window)
        self._fresh = False
        if points is None:
            self.lost += 1
            return None
        self.lost = 0
        self.box = np.concatenate([points.min(0), points.max(0)])
        if self._drifted():
            self._cut_window(self.box)
        return DetectedFace(points[MESH_FROM_68].astype(np.float32), self.score)

    def _drifted(self) -> bool:
        size = float((self.box[2:] - self.box[:2]).max())
        margin = 0.15 * size
        near = (self.box[:2] - self._corner < margin) | (self._corner + self._side - self.box[2:] < margin)
        return bool(near.any()) or not 1 / DRIFT < self._side / (WINDOW * max(size, 1.0)) < DRIFT

    def close(self) -> None:
        self._mesh.close()


class MediaPipeBackend:
    """MediaPipe behind the Backend interface; about 5 ms a frame for one face on one core, any frame size."""

    def __init__(self) -> None:
        self._solutions: Any = _solutions()  # has no types
        with _quiet():
            detection = self._solutions.face_detection
            self._detectors = [
                detection.FaceDetection(model_selection=m, min_detection_confidence=SUSPECT) for m in (0, 1)
            ]
            for detector in self._detectors:
                detector.process(np.zeros((64, 64, 3), np.uint8))
        self._idle: list[_Follower] = []
        self._active: list[_Follower] = []
        self._since_search = self._since_tiles = 10**6

    def reset(self) -> None:
        self._idle += self._active
        self._active = []
        self._since_search = self._since_tiles = 10**6

    def detect(self, picture: Picture | np.ndarray) -> list[DetectedFace]:
        picture = pictured(picture)
        seen = self._follow(picture)
        self._since_search += 1
        self._since_tiles += 1
        if not seen or self._since_search >= SEARCH_EVERY:
            self._since_search = 0
            self._enlist(picture)
            seen = seen + self._follow(picture, seen)
        return [face for _, face in sorted(seen, key=lambda pair: -_size(pair[1].box))]

    def _follow(self, picture: Picture, done: list | tuple = ()) -> list[tuple[_Follower, DetectedFace]]:
        """(follower, face) of the active followers that are not among the `done` and see their face; the hopeless are
        retired."""
        stepped = {id(follower) for follower, _ in done}
        seen = []
        for follower in list(self._active):
            if id(follower) in stepped:
                continue
            face = follower.step(picture)
            twin = face is not None and any(overlap(face.box, other.box) > 0.4 for _, other in [*done, *seen])
            if twin or follower.lost > PATIENCE:
                self._active.remove(follower)
                self._idle.append(follower)
            elif face is not None:
                seen.append((follower, face))
        return seen

    def _enlist(self, picture: Picture) -> None:
        """Followers for faces nobody follows."""
        shrink = max(1.0, max(picture.width, picture.height) / SEARCH_PX)
        size = max(1, round(picture.width / shrink)), max(1, round(picture.height / shrink))
        rgb = picture.shrunk((0, 0, picture.width, picture.height), *size) if shrink > 1 else whole(picture)
        found = _find(self._detectors, rgb)
        if not found and not self._active and self._since_tiles >= TILES_EVERY:
            self._since_tiles = 0
            found = _find_in_tiles(self._detectors[1], rgb)
        back = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        for score, box in ((score, box * back) for score, box in found):
            if len(self._active) >= MAX_FACES:
                break
            if all(overlap(box, follower.box) < 0.2 for follower in self._active if not follower.lost):
                follower = self._idle.pop() if self._idle else _Follower(self._solutions)
                follower.start(box, score)
                self._active.append(follower)

    def close(self) -> None:
        """Free MediaPipe's graphs."""
        for part in (*self._idle, *self._active, *self._detectors):
            part.close()
        self._idle, self._active = [], []


def _size(box: np.ndarray) -> float:
    return float((box[2:] - box[:2]).prod())


def _find(detectors: list, rgb: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """(score, box in pixels) of the faces in a picture, largest first; a face that several detectors see is given
    once."""
    found = []
    size = np.array([rgb.shape[1], rgb.shape[0]] * 2)
    for detector in detectors:
        for detection in detector.process(rgb).detections or ():
            r = detection.location_data.relative_bounding_box
            box = np.array([r.xmin, r.ymin, r.xmin + r.width, r.ymin + r.height]) * size
            # The detectors frame brows to chin; the mesh's box reaches up to the hairline.
            box[1] -= 0.25 * (box[3] - box[1])
            found.append((float(detection.score[0]), box))
    found.sort(key=lambda pair: -pair[0])
    unique: list[tuple[float, np.ndarray]] = []
    for score, box in found:
        if all(overlap(box, other) < 0.3 for _, other in unique):
            unique.append((score, box))
    return sorted(unique, key=lambda pair: -_size(pair[1]))


def _find_in_tiles(detector, rgb: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Like `_find`, for faces too small for the detector in the whole picture: six overlapping tiles of half its
    size."""
    height, width = rgb.shape[:2]
    found: list[tuple[float, np.ndarray]] = []
    for y in (0, height // 2):
        for x in (0, width // 4, width // 2):
            tile = np.ascontiguousarray(rgb[y : y + (height + 1) // 2, x : x + (width + 1) // 2])
            for score, box in _find([detector], tile):
                box = box + np.array([x, y, x, y])
                if all(overlap(box, other) < 0.3 for _, other in found):
                    found.append((score, box))
    return found
