"""The models of MediaPipe < 0.10.30, which lie inside its wheel: two face detectors, and the 478-point face mesh with
attention (Grishchenko et al. 2020, arXiv:2006.10962)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lipsync.face.mediapipe_models import SUSPECT, Found, Mesh, each_once, quiet, up_to_the_hairline

_BLANK = np.zeros((64, 64, 3), np.uint8)


class SolutionsModels:
    """`Models` from `mediapipe.solutions`."""

    def __init__(self, mediapipe: Any) -> None:
        self._solutions = mediapipe.solutions
        detection = self._solutions.face_detection
        # MediaPipe 0.10.14's word to its own makers, at its first answer
        warnings.filterwarnings("ignore", r"SymbolDatabase\.GetPrototype", module=r"google\.protobuf")
        with quiet():
            self._detectors = [
                detection.FaceDetection(model_selection=m, min_detection_confidence=SUSPECT) for m in (0, 1)
            ]
            for detector in self._detectors:
                detector.process(_BLANK)

    def search(self, rgb: np.ndarray) -> list[Found]:
        return each_once([face for detector in self._detectors for face in _detected(detector, rgb)])

    def search_finely(self, rgb: np.ndarray) -> list[Found]:
        """In six overlapping tiles of half the picture's size."""
        height, width = rgb.shape[:2]
        found: list[Found] = []
        for y in (0, height // 2):
            for x in (0, width // 4, width // 2):
                tile = np.ascontiguousarray(rgb[y : y + (height + 1) // 2, x : x + (width + 1) // 2])
                found += [(score, box + np.array([x, y, x, y])) for score, box in _detected(self._detectors[1], tile)]
        return each_once(found)

    def new_mesh(self) -> Mesh:
        return _FaceMesh(self._solutions)

    def close(self) -> None:
        for detector in self._detectors:
            detector.close()


def _detected(detector: Any, rgb: np.ndarray) -> list[Found]:
    found, size = [], np.array([rgb.shape[1], rgb.shape[0]] * 2)
    for detection in detector.process(rgb).detections or ():
        r = detection.location_data.relative_bounding_box
        box = np.array([r.xmin, r.ymin, r.xmin + r.width, r.ymin + r.height]) * size
        found.append((float(detection.score[0]), up_to_the_hairline(box)))
    return found


class _FaceMesh:
    def __init__(self, solutions: Any) -> None:
        with quiet():
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=False, max_num_faces=1, refine_landmarks=True, min_detection_confidence=SUSPECT
            )
            self._mesh.process(_BLANK)

    def points(self, rgb: np.ndarray) -> np.ndarray | None:
        found = self._mesh.process(rgb).multi_face_landmarks
        return np.array([(p.x, p.y) for p in found[0].landmark]) if found else None

    def reset(self) -> None:
        with quiet():
            self._mesh.reset()

    def close(self) -> None:
        self._mesh.close()
