"""Everything to learn from a target video before the first word is dubbed: its face, its mouths, its teeth. Step by
step, through the cache."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.geometry import mouth_space
from lipsync.core.graphics import GRAPHICS_ARRAYS, Graphics
from lipsync.core.progress import Hook, silent
from lipsync.core.track import behind_graphics, eye_distance_px, unusable_reasons
from lipsync.core.types import REASONS, FaceTrack, Footage, LipTrack, TargetAnalysis, TargetVideo
from lipsync.face.motion import head_motion
from lipsync.face.track import FaceTracker, track_video
from lipsync.store.cache import Cache, content_hash, save_arrays, step_key
from lipsync.store.preflight import refuse_photo
from lipsync.target.mouth_bank import collect_mouths, find_teeth
from media.container import InputLimits
from video.probe import VideoStream, probe

#: Raise whenever the same inputs would give other numbers: old cache entries are then left alone.
TRACK_VERSION = 5
_TRACK_ARRAYS = ("pixel_from_face", "landmarks", "pose", "eyes", "valid", "reason", "shot")


def analyse(
    target: Path, config: DubConfig, cache: Cache, hook: Hook = silent, footage: tuple[Path, ...] = ()
) -> TargetAnalysis:
    """The target's face track, mouth bank and teeth; `footage` adds more mouths and speech of the same person.

    Raises MediaError for files that cannot be read and LipsyncError where no frame shows a usable face.
    """
    refuse_photo(target, len(probed(target, config)))
    subject = follow_face(Path(target), config, cache, hook)
    if not subject.track.valid.any():
        raise LipsyncError(
            f"No usable face in {target}: {unusable_reasons(subject.track)}. {_cure(subject.track)}"
            "Check with `lipsync analyse`, or choose another face with --face or --face-at."
        )
    more, notes = usable_footage(footage, config, cache, hook)
    films = (subject, *more)
    space = mouth_space(eye_distance_px(subject.track) * config.analysis.crop_scale)
    bank, key = collect_mouths(films, space, config, cache, hook)
    teeth = find_teeth(bank, key, config, cache)
    notes = (*_graphics_note(subject.track), *notes)
    return TargetAnalysis(subject.video, subject.track, bank, head_motion(subject.track), teeth, films, key, notes)


def _graphics_note(track: FaceTrack) -> tuple[str, ...]:
    behind = behind_graphics(track)
    if not behind.any():
        return ()
    drawn = int((behind & track.valid).sum())
    return (
        f"A graphic (caption, logo) lies over the mouth in {behind.sum()} frames: its pixels stay as they are, mouths "
        f"behind it are not learnt from, and {behind.sum() - drawn} of these frames pass through unchanged.",
    )


def usable_footage(
    paths: tuple[Path, ...], config: DubConfig, cache: Cache, hook: Hook
) -> tuple[list[Footage], tuple[str, ...]]:
    """The other films that show a usable face, and a note for each that does not. In footage the most present face is
    followed: which face of the target is meant (`face.index`, `face.at`) says nothing about another film."""
    config = replace(config, face=replace(config.face, index=-1, at=None))
    films, notes = [], []
    for path in map(Path, paths):
        try:
            film = follow_face(path, config, cache, hook)
            reason = "" if film.track.valid.any() else unusable_reasons(film.track)
        except LipsyncError as error:
            reason = str(error)
        if reason:
            notes.append(f"Footage {path.name} is of no use: {reason}")
        else:
            films.append(film)
    return films, tuple(notes)


def follow_face(path: Path, config: DubConfig, cache: Cache, hook: Hook = silent) -> Footage:
    """One person's face in every frame of a video (cached by content)."""
    stream = probed(path, config)
    sha256 = content_hash(path)
    key = track_key(sha256, config)

    def load(folder: Path) -> tuple[dict[str, np.ndarray], dict]:
        return load_file(folder / "track.safetensors"), json.loads((folder / "facts.json").read_text())

    arrays, facts = cache.read(
        "track", key, lambda where: _make_track(stream, config, where, hook), load, label=path.name
    )
    lips = LipTrack(arrays["lips"], arrays["lips_valid"], stream.clock)
    graphics = (
        Graphics(**{name: arrays[f"graphics_{name}"] for name in GRAPHICS_ARRAYS})
        if "graphics_begin" in arrays
        else None
    )
    track = FaceTrack(lips=lips, graphics=graphics, **{name: arrays[name] for name in _TRACK_ARRAYS})
    video = TargetVideo(path, stream.clock, stream.width, stream.height, sha256)
    return Footage(video, stream, track, facts["people"], key)


def probed(path: str | Path, config: DubConfig) -> VideoStream:
    """What is in a video no larger than the configuration has it."""
    found = Path(path).stat() if Path(path).is_file() else None
    return _probed(Path(path), found and (found.st_size, found.st_mtime_ns), config.input_limits)


@lru_cache(8)
def _probed(path: Path, _state: tuple[int, int] | None, limits: InputLimits) -> VideoStream:
    """Listing the packets of a film takes seconds: once for each file in this state."""
    return probe(path, limits)


def track_key(sha256: str, config: DubConfig) -> str:
    """In the cache, of the face track of the video with this content."""
    return step_key("track", TRACK_VERSION, asdict(config.face), [sha256])


def _make_track(stream: VideoStream, config: DubConfig, where: Path, hook: Hook) -> None:
    tracker = FaceTracker(config.face, stream.width, stream.height)
    try:
        track = track_video(tracker, stream, config.batch, hook)
    except LipsyncError as error:
        raise LipsyncError(f"{stream.path}: {error}") from error
    arrays = {name: getattr(track, name) for name in _TRACK_ARRAYS}
    if track.graphics is not None:
        arrays |= {f"graphics_{name}": getattr(track.graphics, name) for name in GRAPHICS_ARRAYS}
    save_arrays(where / "track.safetensors", arrays | {"lips": track.lips.points, "lips_valid": track.lips.valid})
    (where / "facts.json").write_text(json.dumps({"people": tracker.people, "video": str(stream.path)}))


def _cure(track: FaceTrack) -> str:
    """What helps against the most frequent reason, where something does."""
    return {
        "face too small": "Enlarge or crop the picture, or lower face.min_eye_distance_px. ",
        "turned too far": "Take a film that shows the face from the front, or raise face.max_yaw_deg and "
        "face.max_pitch_deg. ",
    }.get(REASONS[np.bincount(track.reason).argmax()], "")
