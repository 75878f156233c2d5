"""Everything to learn from a target video before the first word is dubbed: its face, its mouths, its teeth. Step by
step, through the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import av
import numpy as np
from safetensors.numpy import load_file

from lipsync.config.schema import DubConfig
from lipsync.core.arrays import nearest
from lipsync.core.errors import LipsyncError
from lipsync.core.geometry import mouth_space
from lipsync.core.graphics import GRAPHICS_ARRAYS, Graphics
from lipsync.core.progress import Hook, silent
from lipsync.core.track import behind_graphics, eye_distance_px, unusable_reasons
from lipsync.core.types import REASONS, FaceTrack, Footage, LipTrack, TargetAnalysis, TargetVideo
from lipsync.face.motion import head_motion
from lipsync.face.people import Met, chosen
from lipsync.face.registry import landmark_models
from lipsync.face.track import FaceTracker, check_position, track_everybody
from lipsync.store.cache import Cache, content_hash, save_arrays, step_key
from lipsync.store.preflight import refuse_photo
from lipsync.target.mouth_bank import collect_mouths, find_teeth
from lipsync.target.speakers import find_speakers
from media.container import InputLimits
from video.probe import FrameTimes, VideoStream, listed_times, probe

#: Raise whenever the same inputs would give other numbers: old cache entries are then left alone.
TRACK_VERSION, TIMES_VERSION = 9, 1
#: Of a track, kept of the frames that show the face and of AROUND frames beside those; and of every frame.
_WHERE_SEEN, AROUND = ("pixel_from_face", "landmarks", "pose", "eyes"), 3
_EVERYWHERE = ("valid", "reason", "shot")
#: What is in the files asked for last, by path, state and limits.
_PROBED: dict[tuple, VideoStream] = {}
_MOST_PROBED = 8


def analyse(
    target: Path, config: DubConfig, cache: Cache, hook: Hook = silent, footage: tuple[Path, ...] = ()
) -> TargetAnalysis:
    """The target's face track, mouth bank and teeth; `footage` adds more mouths and speech of the same person. Raises
    as `follow_films` does."""
    films, notes = follow_films(target, config, cache, hook, footage)
    return analysed(films, config, cache, hook, notes)


def follow_films(
    target: Path, config: DubConfig, cache: Cache, hook: Hook = silent, footage: tuple[Path, ...] = ()
) -> tuple[tuple[Footage, ...], tuple[str, ...]]:
    """The person in the target and in all footage that is of use, and what is to be said of the films. MediaError for
    files that cannot be read, LipsyncError where no frame of the target shows a usable face."""
    refuse_photo(target, len(probed(target, config, cache)))
    subject = follow_face(Path(target), config, cache, hook)
    if not subject.track.valid.any():
        raise LipsyncError(
            f"No usable face in {target}: {unusable_reasons(subject.track)}. {_cure(subject.track)}"
            "Check with `lipsync analyse`, or choose another face with --face or --face-at."
        )
    if subject.people > 1:
        subject = replace(subject, speaks=_speaks(subject, config, cache, hook))
    more, notes = usable_footage(footage, config, cache, hook)
    return (subject, *more), (*_graphics_note(subject.track), *notes)


def analysed(
    films: tuple[Footage, ...], config: DubConfig, cache: Cache, hook: Hook = silent, notes: tuple[str, ...] = ()
) -> TargetAnalysis:
    """What `follow_films` found, with its mouths and teeth."""
    track = films[0].track
    space = mouth_space(eye_distance_px(track) * config.analysis.crop_scale)
    bank, key = collect_mouths(films, space, config, cache, hook)
    teeth = find_teeth(bank, key, config, cache, hook)
    return TargetAnalysis(films[0].video, track, bank, head_motion(track), teeth, films, key, notes)


def _speaks(film: Footage, config: DubConfig, cache: Cache, hook: Hook) -> np.ndarray | None:
    """(T,) bool: frames in which nobody speaks but perhaps this person; None where the film has no sound."""
    try:
        speakers = find_speakers(follow_people(film.video.path, config, cache, hook), cache)
    except LipsyncError:
        return None
    return speakers.free_for(film.person, film.video.clock)


def _graphics_note(track: FaceTrack) -> tuple[str, ...]:
    behind = behind_graphics(track)
    if not behind.any():
        return ()
    drawn = int((behind & track.valid).sum())
    return (
        f"A graphic (caption, logo) lies over the mouth in {behind.sum()} frames: its pixels stay as they are, mouths "
        f"behind it are not learnt from, and {behind.sum() - drawn} of these frames pass through unchanged.",
    )


def of_person(config: DubConfig, person: int | None) -> DubConfig:
    """The configuration that chooses this person, as `face.index` counts; None = as it is."""
    return config if person is None else replace(config, face=replace(config.face, index=person, at=None))


def usable_footage(
    paths: tuple[Path, ...], config: DubConfig, cache: Cache, hook: Hook
) -> tuple[list[Footage], tuple[str, ...]]:
    """The other films that show a usable face, and a note for each that does not. In footage the most present face is
    followed: which face of the target is meant (`face.index`, `face.at`) says nothing about another film."""
    config = of_person(config, -1)
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
    """The face of one person, the one that the configuration chooses, in every frame of a video (cached by content, all
    people together). UsageError: it chooses nobody; LipsyncError: no face at all."""
    stream = probed(path, config, cache)
    check_position(config.face.at, stream.width, stream.height)
    films = _followed(stream, config, cache, hook, lambda met: [chosen(met, config.face.index, config.face.at)])
    return films[0]


def follow_people(path: Path, config: DubConfig, cache: Cache, hook: Hook = silent) -> list[Footage]:
    """The same of everybody who lasts, as `face.index` counts them; after one pass."""
    return _followed(probed(path, config, cache), config, cache, hook, lambda met: range(len(met)))


def _followed(
    stream: VideoStream, config: DubConfig, cache: Cache, hook: Hook, choose: Callable[[list[Met]], Iterable[int]]
) -> list[Footage]:
    path, sha256 = Path(stream.path), content_hash(stream.path)
    key = track_key(sha256, config)

    def load(folder: Path) -> tuple[list[Met], dict[int, dict[str, np.ndarray]]]:
        met = [Met(tuple(one["at"]), one["presence"]) for one in json.loads((folder / "people.json").read_text())]
        return met, {i: load_file(folder / f"{i}.safetensors") for i in choose(met)}

    met, arrays = cache.read(
        "track", key, lambda where: _make_tracks(stream, config, where, hook), load, label=path.name
    )
    video = TargetVideo(path, stream.clock, stream.width, stream.height, sha256)
    return [
        Footage(video, stream, _unpacked(packed, stream), len(met), step_key("person", TRACK_VERSION, i, [key]), i)
        for i, packed in arrays.items()
    ]


def probed(path: str | Path, config: DubConfig, cache: Cache | None = None) -> VideoStream:
    """What is in a video no larger than the configuration has it. cache: keeps when its frames are shown; to make sure
    of that, up to all of the film is decoded."""
    path = Path(path)
    found = path.stat() if path.is_file() else None
    key = path, found and (found.st_size, found.st_mtime_ns), config.input_limits
    stream = _PROBED.pop(key, None)
    if stream is None:
        stream = probe(path, config.input_limits, None if cache is None else partial(_times, cache))
    _PROBED[key] = stream  # last again: the one not asked for the longest goes first
    if len(_PROBED) > _MOST_PROBED:
        _PROBED.pop(next(iter(_PROBED)), None)
    return stream


class _Untrusted(Exception):
    """The times that a file lists are not those of its frames."""


def _times(cache: Cache, path: Path, limits: InputLimits) -> FrameTimes | None:
    """`listed_times`, where there are some cached by content and by what decodes it."""

    def make(where: Path) -> None:
        times = listed_times(path, limits)
        if times is None:
            raise _Untrusted
        arrays = {"pts": times.pts, "end": np.array([times.end]), "keyframes": times.keyframes}
        save_arrays(where / "times.safetensors", arrays)

    def load(folder: Path) -> FrameTimes:
        arrays = load_file(folder / "times.safetensors")
        return FrameTimes(arrays["pts"], int(arrays["end"][0]), arrays["keyframes"])

    key = step_key("times", TIMES_VERSION, [asdict(limits), av.__version__], [content_hash(path)])
    try:
        return cache.read("times", key, make, load, label=path.name)
    except _Untrusted:
        return None


def track_key(sha256: str, config: DubConfig) -> str:
    """In the cache, of the face tracks of the video with this content: the same whoever is chosen."""
    face = of_person(config, -1).face
    named = replace(face, mediapipe_landmarker="", dlib_predictor="")  # what is in the files counts, not where they lie
    return step_key("track", TRACK_VERSION, asdict(named), [landmark_models(face), sha256])


def _make_tracks(stream: VideoStream, config: DubConfig, where: Path, hook: Hook) -> None:
    """One file for each person, and one that says how they were met."""
    tracker, everybody = FaceTracker(of_person(config, -1).face, stream.width, stream.height), []
    try:
        for met, track in track_everybody(tracker, stream, config.batch, hook):
            save_arrays(where / f"{len(everybody)}.safetensors", _packed(track))
            everybody.append(met)
    except LipsyncError as error:
        raise LipsyncError(f"{stream.path}: {error}") from error
    (where / "people.json").write_text(json.dumps([asdict(one) for one in everybody]))


def _packed(track: FaceTrack) -> dict[str, np.ndarray]:
    """The arrays of a track; where the face was not seen for long, nothing is kept: there may be many people."""
    from scipy.ndimage import binary_dilation  # 0.13 s, and a dub of a known target needs none

    seen = np.flatnonzero(binary_dilation(track.reason != REASONS.index("no face"), iterations=AROUND))
    arrays = {"rows": seen.astype(np.int32)} | {name: getattr(track, name)[seen] for name in _WHERE_SEEN}
    arrays |= {"lips": track.lips.points[seen]} | {name: getattr(track, name) for name in _EVERYWHERE}
    if track.graphics is not None:
        arrays |= {f"graphics_{name}": getattr(track.graphics, name) for name in GRAPHICS_ARRAYS}
    return arrays


def _unpacked(arrays: dict[str, np.ndarray], stream: VideoStream) -> FaceTrack:
    """The track; a frame of which nothing was kept has the face of the nearest one that has."""
    row = nearest(arrays["rows"], len(stream.clock))
    graphics = None
    if "graphics_begin" in arrays:
        graphics = Graphics(**{name: arrays[f"graphics_{name}"] for name in GRAPHICS_ARRAYS})
    return FaceTrack(
        lips=LipTrack(arrays["lips"][row], arrays["valid"], stream.clock),
        graphics=graphics,
        **{name: arrays[name][row] for name in _WHERE_SEEN},
        **{name: arrays[name] for name in _EVERYWHERE},
    )


def _cure(track: FaceTrack) -> str:
    """What helps against the most frequent reason, where something does."""
    return {
        "face too small": "Enlarge or crop the picture, or lower face.min_eye_distance_px. ",
        "turned too far": "Take a film that shows the face from the front, or raise face.max_yaw_deg and "
        "face.max_pitch_deg. ",
    }.get(REASONS[np.bincount(track.reason).argmax()], "")
