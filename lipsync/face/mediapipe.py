"""Faces from MediaPipe: its detectors find them, its 478-point mesh with attention follows each inside a window of its
own.

A window (about twice the face) is cut from the frame at a steady scale, so the mesh sees small faces enlarged and huge
ones averaged down, and its cost does not depend on the frame's size. The window stays where it is until the face comes
near its edge."""

from __future__ import annotations

import os

import numpy as np

from lipsync.core.canonical import MESH_FROM_68
from lipsync.core.errors import LipsyncError
from lipsync.face.backend import MAX_FACES, DetectedFace, overlap
from lipsync.face.mediapipe_models import Mesh, Models, box_size, has_solutions, landmarker_file, quiet
from lipsync.face.mediapipe_solutions import SolutionsModels
from lipsync.face.mediapipe_tasks import TasksModels
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
#: A lost face is looked for in its old window for this many frames.
PATIENCE = 5


def get_models(landmarker: str = "") -> Models:
    """MediaPipe's models: those of the file `landmarker` where one is named; else those inside the wheel of MediaPipe
    < 0.10.30; else those of the landmark file in an installed package. LipsyncError with the cure where there are
    none."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet():
            import mediapipe
    except (ImportError, OSError, AttributeError, TypeError) as error:
        raise LipsyncError(
            f"MediaPipe cannot be used here ({error}); install it with: pip install mediapipe, or choose the other "
            "landmark backend: --set face.backend=dlib."
        ) from error
    if not landmarker and has_solutions():
        return SolutionsModels(mediapipe)
    return TasksModels(mediapipe, landmarker_file(landmarker))


class _Follower:
    """One face, followed from frame to frame by a mesh of its own."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
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
        points = self._mesh.points(window)
        offset, scale = self._pixel_from_window
        return None if points is None else points * WINDOW_PX * scale + offset

    def _first_points(self, window: np.ndarray) -> np.ndarray | None:
        """As `_mesh_points`, in a new window: MediaPipe starts again. The first answer stems from its detector's rough
        square, the second from the mesh's own, like all later ones."""
        with quiet():
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

    def __init__(self, landmarker: str = "") -> None:
        self._models = get_models(landmarker)
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
        return [face for _, face in sorted(seen, key=lambda pair: -box_size(pair[1].box))]

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
        found = self._models.search(rgb)
        if not found and not self._active and self._since_tiles >= TILES_EVERY:
            self._since_tiles = 0
            found = self._models.search_finely(rgb)
        back = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        for score, box in ((score, box * back) for score, box in found):
            if len(self._active) >= MAX_FACES:
                break
            if all(overlap(box, follower.box) < 0.2 for follower in self._active if not follower.lost):
                follower = self._idle.pop() if self._idle else _Follower(self._models.new_mesh())
                follower.start(box, score)
                self._active.append(follower)

    def close(self) -> None:
        """Free MediaPipe's graphs."""
        for part in (*self._idle, *self._active, self._models):
            part.close()
        self._idle, self._active = [], []
