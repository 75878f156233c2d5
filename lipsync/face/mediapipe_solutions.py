"""The models of MediaPipe < 0.10.30, which lie inside its wheel: two face detectors, and the 478-point face mesh with
attention (Grishchenko et al. 2020, arXiv:2006.10962)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lipsync.face.mediapipe_models import SUSPECT, Found, Mesh, each_once, quiet, up_to_the_hairline

_BLANK = np.zeros((64, 64, 3), np.uint8)
#: A landmark of x, y and z alone in protobuf's wire format, and the tags that tell it: the message's, its length, those
#: of its three fields.
_POINT = np.dtype("u1,u1,u1,<f4,u1,<f4,u1,<f4")
_POINT.names = ("message", "length", "in_x", "x", "in_y", "y", "in_z", "z")
_TAGS = {"message": 0x0A, "length": 15, "in_x": 0x0D, "in_y": 0x15, "in_z": 0x1D}


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


def places(landmarks: Any) -> np.ndarray:
    """(n,2) float64 x and y of a `NormalizedLandmarkList`. Read from its message as it is sent, in a tenth of the time
    that asking every point takes."""
    sent, n = landmarks.SerializeToString(), len(landmarks.landmark)
    if len(sent) == n * _POINT.itemsize:
        points = np.frombuffer(sent, _POINT)
        if all((points[tag] == value).all() for tag, value in _TAGS.items()):
            return np.stack([points["x"], points["y"]], 1).astype(np.float64)
    return np.array([(p.x, p.y) for p in landmarks.landmark])


class _FaceMesh:
    def __init__(self, solutions: Any) -> None:
        with quiet():
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=False, max_num_faces=1, refine_landmarks=True, min_detection_confidence=SUSPECT
            )
            self._mesh.process(_BLANK)

    def points(self, rgb: np.ndarray) -> np.ndarray | None:
        found = self._mesh.process(rgb).multi_face_landmarks
        return places(found[0]) if found else None

    def reset(self) -> None:
        with quiet():
            self._mesh.reset()

    def close(self) -> None:
        self._mesh.close()
