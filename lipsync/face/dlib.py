"""Faces from dlib: its HOG detector finds them, a 68-point predictor supplied by the user marks them.

The detector is slow and sees faces of 80 pixels and more, so the whole picture is searched rarely, at a size that suits
it; in between each face is looked for in a window around its last place."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from lipsync.core.errors import LipsyncError
from lipsync.face.backend import MAX_FACES, DetectedFace, overlap
from video.picture import Picture, pictured, whole

#: Kept as `DlibBackend.notice`; `lipsync doctor` says it.
NOTICE = (
    "The 68-point predictor of dlib was trained on the iBUG 300-W pictures, whose licence excludes commercial use; "
    "lipsync neither ships nor recommends it for commercial work."
)
#: Whole pictures are searched at this many pixels on the longer side, twice that where nothing is found; windows at
#: this face size.
SEARCH_PX, FACE_PX = 640, 120
#: Frames between searches of the whole picture while faces are followed.
SEARCH_EVERY = 25
#: Window side / face box.
WINDOW = 2.0


def _predictor_file(path: str) -> Path:
    """The user's predictor file, or the one of package face_recognition_models; LipsyncError where there is neither."""
    cure = (
        "give its path: --set face.dlib_predictor=FILE, or install the package face_recognition_models, or use the "
        "default backend, mediapipe."
    )
    if path:
        if not Path(path).is_file():
            raise LipsyncError(f"There is no dlib predictor file at {path}; {cure}")
        return Path(path)
    from importlib.util import find_spec

    # The package itself imports pkg_resources, which new environments lack; only its file is needed.
    spec = find_spec("face_recognition_models")
    if spec is not None and spec.origin:
        file = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        if file.is_file():
            return file
    raise LipsyncError(f"The dlib backend needs a 68-point predictor file; {cure}")


class DlibBackend:
    """dlib behind the Backend interface. `notice`: what the user must know about the predictor's licence."""

    notice = NOTICE

    def __init__(self, predictor: str = "") -> None:
        try:
            dlib: Any = importlib.import_module("dlib")  # has no types
        except (ImportError, OSError) as error:
            raise LipsyncError(
                f"dlib cannot be used here ({error}); install it with: pip install dlib-bin, or use --set "
                "face.backend=mediapipe."
            ) from error
        file = _predictor_file(predictor)
        self._dlib = dlib
        self._detector = dlib.get_frontal_face_detector()
        try:
            self._predict = dlib.shape_predictor(str(file))
            n_points = len(self._predict(np.zeros((64, 64, 3), np.uint8), dlib.rectangle(0, 0, 63, 63)).parts())
        except RuntimeError as error:
            raise LipsyncError(
                f"{file} is not a dlib shape predictor ({error}); give another with --set face.dlib_predictor=FILE."
            ) from error
        if n_points != 68:
            raise LipsyncError(
                f"The dlib predictor {file} marks {n_points} points, 68 are needed; give another with --set "
                "face.dlib_predictor=FILE."
            )
        self.reset()

    def reset(self) -> None:
        self._boxes: list[np.ndarray] = []
        self._since_search = 10**6

    def close(self) -> None:
        """Nothing: dlib frees its memory by itself."""

    def detect(self, picture: Picture | np.ndarray) -> list[DetectedFace]:
        rgb = whole(pictured(picture))
        self._since_search += 1
        followed = [found for box in self._boxes if (found := self._near(rgb, box)) is not None]
        found = _apart(followed)
        if not found or len(followed) < len(self._boxes) or self._since_search >= SEARCH_EVERY:
            self._since_search = 0
            found = _apart(found + self._everywhere(rgb))
        found = sorted(found, key=lambda pair: -float((pair[1][2:] - pair[1][:2]).prod()))[:MAX_FACES]
        self._boxes = [box for _, box in found]
        return [DetectedFace(self._landmarks(rgb, box), float(np.clip(score, 0, 1))) for score, box in found]

    def _hog(self, rgb: np.ndarray, scale: float) -> list[tuple[float, np.ndarray]]:
        """(score, box in pixels of `rgb`) of the faces in `rgb`, which is searched at `scale`."""
        import cv2

        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        rectangles, scores, _ = self._detector.run(small, 0, 0.0)
        back = np.array([rgb.shape[1] / size[0], rgb.shape[0] / size[1]] * 2)
        return [
            (score, np.array([r.left(), r.top(), r.right() + 1, r.bottom() + 1]) * back)
            for r, score in zip(rectangles, scores, strict=True)
        ]

    def _near(self, rgb: np.ndarray, box: np.ndarray) -> tuple[float, np.ndarray] | None:
        """The face that was in `box`, looked for around it."""
        side = float((box[2:] - box[:2]).max())
        centre = (box[:2] + box[2:]) / 2
        low = np.clip(np.floor(centre - WINDOW * side / 2).astype(int), 0, None)
        high = np.ceil(centre + WINDOW * side / 2).astype(int)
        part = rgb[low[1] : high[1], low[0] : high[0]]
        if min(part.shape[:2]) < 16:
            return None
        found = [(score, inner + np.tile(low, 2)) for score, inner in self._hog(part, FACE_PX / side)]
        return max(found, key=lambda pair: overlap(pair[1], box), default=None)

    def _everywhere(self, rgb: np.ndarray) -> list[tuple[float, np.ndarray]]:
        scale = SEARCH_PX / max(rgb.shape[:2])
        return self._hog(rgb, scale) or self._hog(rgb, 2 * scale)

    def _landmarks(self, rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
        """(68,2) float32 pixels. The predictor starts from a mean face in the box, whose steps of whole pixels show as
        jitter: points from the box and from two slightly other ones are averaged."""
        side = float((box[2:] - box[:2]).mean())
        landmarks = []
        for grow in (-0.04, 0.0, 0.04):
            x0, y0, x1, y1 = np.round(box + np.array([-1, -1, 1, 1]) * grow * side).astype(int)
            landmarks.append(
                [
                    (p.x + 0.5, p.y + 0.5)
                    for p in self._predict(
                        rgb, self._dlib.rectangle(int(x0), int(y0), int(x1) - 1, int(y1) - 1)
                    ).parts()
                ]
            )
        return np.mean(landmarks, axis=0).astype(np.float32)


def _apart(found: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """`found` without boxes that overlap an earlier one."""
    kept: list[tuple[float, np.ndarray]] = []
    for score, box in found:
        if all(overlap(box, other) < 0.3 for _, other in kept):
            kept.append((score, box))
    return kept
