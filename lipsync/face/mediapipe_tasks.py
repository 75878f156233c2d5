"""The models of the file `face_landmarker.task`, by MediaPipe's Tasks, which every MediaPipe since 0.10.14 has: a short
range face detector and a 478-point mesh of 256 pixels without attention (MediaPipe's "Face Mesh V2").

The wheels of MediaPipe >= 0.10.30 carry no models: the file is the user's own, or that of an installed package."""

from __future__ import annotations

import weakref
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lipsync.core.errors import LipsyncError
from lipsync.face.mediapipe_models import (
    SUSPECT,
    Found,
    Mesh,
    each_once,
    in_tiles,
    quiet,
    up_to_the_hairline,
)

#: The landmarker smooths along time: its lips come half a frame late and miss closures. Its filter (Casiez et al. 2012,
#: "1 euro") passes pictures this far apart as they are.
_APART_MS = 10**6
_BLANK = np.zeros((64, 64, 3), np.uint8)


class TasksModels:
    """`Models` from `mediapipe.tasks`. LipsyncError: `file` is no face landmarker, or this MediaPipe cannot
    load."""

    def __init__(self, mediapipe: Any, file: Path) -> None:
        self._mediapipe, self._vision = mediapipe, mediapipe.tasks.vision
        self._bundle = file.read_bytes()
        try:
            with zipfile.ZipFile(file) as parts:
                detector = parts.read("face_detector.tflite")
            with quiet():
                self._detector = self._vision.FaceDetector.create_from_options(
                    self._vision.FaceDetectorOptions(
                        base_options=self._options(detector), min_detection_confidence=SUSPECT
                    )
                )
                self._close = weakref.finalize(self, _closed, self._detector)
                self._detected(_BLANK)
                self.new_mesh().close()
        except OSError as error:  # MediaPipe loads its library now
            raise LipsyncError(
                f"MediaPipe cannot load here ({error}). It needs two system libraries of OpenGL (Debian, Ubuntu: "
                "apt-get install libegl1 libgles2)."
            ) from error
        except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError) as error:
            raise LipsyncError(
                f"{file} is not MediaPipe's face landmarker ({str(error).splitlines()[0]}); give another with --set "
                "face.mediapipe_landmarker=FILE."
            ) from error

    def _options(self, model: bytes) -> Any:
        return self._mediapipe.tasks.BaseOptions(model_asset_buffer=model)

    def image(self, rgb: np.ndarray) -> Any:
        """MediaPipe's own picture type."""
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))

    def search(self, rgb: np.ndarray) -> list[Found]:
        """In the whole picture and in nine tiles of half its size: the detector sees faces of an eighth and more."""
        return each_once(self._detected(rgb) + in_tiles(rgb, 2, self._detected))

    def search_finely(self, rgb: np.ndarray) -> list[Found]:
        """In 49 tiles of a quarter of the picture's size."""
        return each_once(in_tiles(rgb, 4, self._detected))

    def _detected(self, rgb: np.ndarray) -> list[Found]:
        found = []
        for detection in self._detector.detect(self.image(rgb)).detections:
            b = detection.bounding_box
            box = np.array([b.origin_x, b.origin_y, b.origin_x + b.width, b.origin_y + b.height], float)
            found.append((float(detection.categories[0].score), up_to_the_hairline(box)))
        return found

    def new_mesh(self) -> Mesh:
        with quiet():
            landmarker = self._vision.FaceLandmarker.create_from_options(
                self._vision.FaceLandmarkerOptions(
                    base_options=self._options(self._bundle),
                    running_mode=self._vision.RunningMode.VIDEO,
                    num_faces=1,
                    min_face_detection_confidence=SUSPECT,
                )
            )
            return _Landmarker(landmarker, self.image)

    def close(self) -> None:
        self._close()


class _Landmarker:
    def __init__(self, landmarker: Any, image: Any) -> None:
        self._landmarker, self._image = landmarker, image
        self._close = weakref.finalize(self, _closed, landmarker)
        self._time_ms = 0
        self.reset()

    def points(self, rgb: np.ndarray) -> np.ndarray | None:
        self._time_ms += _APART_MS
        found = self._landmarker.detect_for_video(self._image(rgb), self._time_ms).face_landmarks
        return np.array([(p.x, p.y) for p in found[0]]) if found else None

    def reset(self) -> None:
        """A picture without a face makes it forget the last one."""
        with quiet():
            self.points(_BLANK)

    def close(self) -> None:
        self._close()


def _closed(task: Any) -> None:
    """Closes a task. Where Python is ending, MediaPipe's own thread has ended before it: then the task forgets what it
    holds, or its destructor would print that it cannot close."""
    try:
        with quiet():
            task.close()
    except RuntimeError:
        task._handle = None
