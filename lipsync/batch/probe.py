"""One probe of a file or an option, from plain values to plain values: what the preflight asks of a process of its own,
which may crash or hang."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from lipsync.config.load import from_plain
from lipsync.config.schema import DubConfig
from lipsync.core.errors import user_message
from lipsync.core.progress import Hook, silent

if TYPE_CHECKING:
    import numpy as np

    from lipsync.face.backend import Backend
    from video.probe import VideoStream

#: Pictures of a target in which a face is looked for.
PICTURES = 12
T = TypeVar("T")


def perform(task: dict, hook: Hook = silent) -> dict:
    """{"found": what the probe finds, or None}, or {"fault": one sentence}. task: probe, one of PROBES; name, of the
    file; config, plain."""
    try:
        return {"found": PROBES[task["probe"]](task["name"], from_plain(task["config"]))}
    except Exception as error:
        sentence, _ = user_message(error)
        return {"fault": sentence or f"{task['name']} cannot be used ({type(error).__name__}: {error})."}


def _video(name: str, config: DubConfig) -> dict:
    """The fields of `estimate.VideoFacts`."""
    from lipsync.core.timebase import nominal_rate

    stream = _probed(name, config)
    n = len(stream)
    bits = 8 * os.path.getsize(name) / (stream.width * stream.height * n)
    return {
        "width": stream.width,
        "height": stream.height,
        "frames": n,
        "rate": float(nominal_rate(stream.clock)),
        "bits": bits,
        "length_s": float(stream.clock.duration_s),
        "has_audio": stream.has_audio,
    }


def _eyes(name: str, config: DubConfig) -> float:
    """Pixels between the outer corners of the eyes in the first of some pictures that shows a face of usable size; 0 =
    none does."""
    import numpy as np

    from video.read import read_rows

    stream, finder = _probed(name, config), _finder(config)
    for _, frames in read_rows(stream, spread_rows(len(stream), stream.keyframes), 1):
        finder.reset()
        for face in finder.detect(frames.rgb[0].permute(1, 2, 0).numpy()):
            eyes_px = float(np.linalg.norm(face.landmarks[45] - face.landmarks[36]))
            if eyes_px >= config.face.min_eye_distance_px:
                return eyes_px
    return 0.0


def spread_rows(n: int, keyframes: np.ndarray) -> np.ndarray:
    """About PICTURES frame numbers spread over n frames, in order, moved to keyframes where those are near."""
    import numpy as np

    rows = (np.arange(PICTURES) + 0.5) * n / PICTURES
    near = keyframes[np.abs(keyframes[None, :] - rows[:, None]).argmin(1)]
    return np.unique(np.where(np.abs(near - rows) <= n / (2 * PICTURES), near, rows.astype(np.int64)))


def _track_key(name: str, config: DubConfig) -> str:
    """Of the target's face track in the cache."""
    from lipsync.store.cache import content_hash
    from lipsync.target.analyse import track_key

    return track_key(content_hash(name), config)


def _speech(name: str, config: DubConfig) -> float:
    """Seconds."""
    from lipsync.store.preflight import check_speech

    return float(check_speech(name, config.input_limits))


def _encoder(name: str, config: DubConfig) -> None:
    from lipsync.store.preflight import check_encoder

    check_encoder(name, config.write)


def _texture(name: str, config: DubConfig) -> None:
    from lipsync.pipelines.models import check_texture

    check_texture(config)


def _device(name: str, config: DubConfig) -> None:
    from lipsync.core.runtime import pick_device

    pick_device(name)


def _lip_model(name: str, config: DubConfig) -> None:
    from lipsync.speech.lip_model import LipModel

    LipModel.load(name)


PROBES: dict[str, Callable[[str, DubConfig], object]] = {
    "video": _video,
    "eyes": _eyes,
    "track key": _track_key,
    "speech": _speech,
    "encoder": _encoder,
    "texture": _texture,
    "device": _device,
    "lip model": _lip_model,
}

#: The last video, which the next probe often needs again, and the finder of faces, which is slow to start; with what
#: they were made for.
_last: dict[str, tuple[object, Any]] = {}


def _kept(what: str, key: object, make: Callable[[], T]) -> T:
    if what not in _last or _last[what][0] != key:
        _last.pop(what, None)
        _last[what] = key, make()
    return _last[what][1]


def _probed(name: str, config: DubConfig) -> VideoStream:
    from lipsync.target.analyse import probed

    return _kept("video", (name, config.limits), lambda: probed(name, config))


def _finder(config: DubConfig) -> Backend:
    from lipsync.face.registry import get_backend

    return _kept(
        "finder",
        (config.face.backend, config.face.dlib_predictor, config.face.mediapipe_landmarker),
        lambda: get_backend(config.face.backend, config.face),
    )
