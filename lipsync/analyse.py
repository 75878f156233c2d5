"""Everything to learn from a target video before the first word is dubbed: its face, its mouths, its teeth. Step by step, through the cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lipsync.cache import Cache, content_hash, save_arrays, step_key
from lipsync.config import DubConfig
from lipsync.errors import LipsyncError
from lipsync.face.motion import head_motion
from lipsync.face.track import FaceTracker
from lipsync.geometry import apply, farthest_points, magnification, mouth_space, warp_frame
from lipsync.hooks import Hook, silent
from lipsync.teeth import choose_teeth
from lipsync.types import REASONS, FaceTrack, Footage, LipTrack, MouthBank, MouthSpace, TargetAnalysis, TargetVideo, TeethReference
from video.opening import Largest
from video.read import VideoStream, probe, read_frames, read_rows
from video.shots import ShotDetector

#: Raise a step's number whenever the same inputs would give other numbers: old cache entries are then left alone.
VERSIONS = {"track": 4, "mouths": 1, "teeth": 1}
_TRACK_ARRAYS = ("pixel_from_face", "landmarks", "pose", "eyes", "valid", "reason", "shot")
_BANK_ARRAYS = ("source", "lips", "jaw", "pose", "sharpness", "shot")


def analyse(target: Path, config: DubConfig, cache: Cache, hook: Hook = silent, footage: tuple[Path, ...] = ()) -> TargetAnalysis:
    """The target's face track, mouth bank and teeth; `footage` adds more mouths and speech of the same person.

    Raises VideoError for files that cannot be read and LipsyncError where no frame shows a usable face.
    """
    subject = follow_face(Path(target), config, cache, hook)
    if not subject.track.valid.any():
        raise LipsyncError(
            f"No usable face in {target}: {why_not(subject.track)}. {_cure(subject.track)}"
            "Check with `lipsync analyse`, or choose another face with --face or --face-at."
        )
    more, notes = usable_footage(footage, config, cache, hook)
    films = (subject, *more)
    space = mouth_space(eye_distance_px(subject.track) * config.analysis.crop_scale)
    bank, key = collect_mouths(films, space, config, cache, hook)
    teeth = find_teeth(bank, key, config, cache)
    return TargetAnalysis(subject.video, subject.track, bank, head_motion(subject.track), teeth, films, key, notes)


def usable_footage(paths: tuple[Path, ...], config: DubConfig, cache: Cache, hook: Hook) -> tuple[list[Footage], tuple[str, ...]]:
    """The other films that show a usable face, and a note for each that does not. In footage the most present face is followed: which face
    of the target is meant (`face.index`, `face.at`) says nothing about another film."""
    config = replace(config, face=replace(config.face, index=-1, at=None))
    films, notes = [], []
    for path in map(Path, paths):
        try:
            film = follow_face(path, config, cache, hook)
            reason = "" if film.track.valid.any() else why_not(film.track)
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
    load = lambda folder: (load_file(folder / "track.safetensors"), json.loads((folder / "facts.json").read_text()))  # noqa: E731
    arrays, facts = cache.read("track", key, lambda where: _make_track(stream, config, where, hook), load, label=path.name)
    lips = LipTrack(arrays["lips"], arrays["lips_valid"], stream.clock)
    track = FaceTrack(lips=lips, **{name: arrays[name] for name in _TRACK_ARRAYS})
    video = TargetVideo(path, stream.clock, stream.width, stream.height, sha256)
    return Footage(video, stream, track, facts["people"], key)


def probed(path: str | Path, config: DubConfig) -> VideoStream:
    """What is in a video no larger than the configuration has it."""
    return probe(path, Largest(**asdict(config.largest)))


def track_key(sha256: str, config: DubConfig) -> str:
    """In the cache, of the face track of the video with this content."""
    return step_key("track", VERSIONS["track"], asdict(config.face), [sha256])


def _make_track(stream: VideoStream, config: DubConfig, where: Path, hook: Hook) -> None:
    tracker, shots = FaceTracker(config.face, stream.width, stream.height), ShotDetector()
    for batch in read_frames(stream, config.batch):
        for rgb in batch.rgb.permute(0, 2, 3, 1).numpy():
            tracker.push(rgb, shots.push(rgb))
        hook("faces", int(batch.index[-1]) + 1, len(stream.clock))
    try:
        track = tracker.finish(stream.clock)
    except LipsyncError as error:
        raise LipsyncError(f"{stream.path}: {error}") from error
    arrays = {name: getattr(track, name) for name in _TRACK_ARRAYS}
    save_arrays(where / "track.safetensors", arrays | {"lips": track.lips.points, "lips_valid": track.lips.valid})
    (where / "facts.json").write_text(json.dumps({"people": tracker.people, "video": str(stream.path)}))


def collect_mouths(films: tuple[Footage, ...], space: MouthSpace, config: DubConfig, cache: Cache, hook: Hook = silent) -> tuple[MouthBank, str]:
    """The mouths of all films in one bank (cached by content), and its key."""
    key = step_key("mouths", VERSIONS["mouths"], {"analysis": asdict(config.analysis), "space": asdict(space)}, [film.key for film in films])
    make = lambda where: _make_mouths(films, space, config, where, hook)  # noqa: E731
    arrays, crops = cache.read("mouths", key, make, load_mouths, label=films[0].video.path.name)
    return MouthBank(crops=crops, space=space, **{name: arrays[name] for name in _BANK_ARRAYS}), key


def load_mouths(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The arrays of a kept bank by name, and its crops (K,3,Hm,Wm), memory-mapped."""
    return load_file(folder / "bank.safetensors"), np.load(folder / "crops.npy", mmap_mode="r")


def _make_mouths(films: tuple[Footage, ...], space: MouthSpace, config: DubConfig, where: Path, hook: Hook) -> None:
    chosen = choose_rows([film.track for film in films], _room(space, config))
    total = sum(len(rows) for rows in chosen)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _BANK_ARRAYS}
    first_shot = 0
    with open(where / "crops.npy", "wb") as file:  # written row by row: a mapped file would stay in memory
        shape = (total, 3, space.height, space.width)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for crop, sharp in _cropped(films, chosen, space, config.batch):
            file.write(crop.transpose(2, 0, 1).tobytes())
            columns["sharpness"].append(sharp)
            hook("mouths", len(columns["sharpness"]), total)
    for film, rows in zip(films, chosen):
        track = film.track
        columns["source"].append(rows)
        columns["lips"].append(track.lips.points[rows])
        columns["jaw"].append(jaw_in_face(track)[rows])
        columns["pose"].append(track.pose[rows])
        columns["shot"].append(track.shot[rows].astype(np.int64) + first_shot)
        first_shot += int(track.shot.max()) + 1
    columns["sharpness"] = [np.array(columns["sharpness"], np.float32)]
    save_arrays(where / "bank.safetensors", {name: np.concatenate(parts) for name, parts in columns.items()})


def _cropped(films: tuple[Footage, ...], chosen: list[np.ndarray], space: MouthSpace, batch: int) -> Iterator[tuple[np.ndarray, float]]:
    """The (Hm,Wm,3) uint8 crop and the sharpness of every chosen frame, film after film."""
    for film, rows in zip(films, chosen):
        track = film.track
        for _, frames, _ in read_rows(film.stream, rows, batch):
            for index, rgb in zip(frames.index, frames.rgb):
                mouth_from_pixel = space.mouth_from_face @ np.linalg.inv(track.pixel_from_face[index])
                crop = warp_frame(rgb.permute(1, 2, 0).numpy(), mouth_from_pixel, space.height, space.width)
                yield crop, sharpness(crop, track.lips.points[index], space)


def choose_rows(tracks: list[FaceTrack], room: int, run: int = 8) -> list[np.ndarray]:
    """Per track, the (K,) int64 frames worth keeping: all valid ones where they fit, else the most different runs of `run` frames.

    Runs, because candidates are compared over neighbouring frames; most different by farthest-point sampling of lip trajectories.
    """
    valid = [np.flatnonzero(track.valid) for track in tracks]
    if sum(map(len, valid)) <= room:
        return valid
    runs = [(i, rows[at : at + run]) for i, rows in enumerate(valid) for at in range(0, len(rows), run)]
    shapes = np.stack([tracks[i].lips.points[rows[[0, len(rows) // 2, -1]]].ravel() for i, rows in runs]).astype(np.float32)
    keep = farthest_points(shapes, room // run)
    picked = [[rows for j in sorted(keep) for i, rows in [runs[j]] if i == t] for t in range(len(tracks))]
    return [np.concatenate(rows) if rows else np.zeros(0, np.int64) for rows in picked]


def _room(space: MouthSpace, config: DubConfig) -> int:
    return max(200, min(config.analysis.max_mouths, int(config.analysis.max_bank_gib * 2**30) // (3 * space.height * space.width)))


def jaw_in_face(track: FaceTrack) -> np.ndarray:
    """(T,17,2) float32 jaw line in the face frame."""
    return apply(np.linalg.inv(track.pixel_from_face), track.landmarks[:, :17]).astype(np.float32)


def sharpness(crop: np.ndarray, lips: np.ndarray, space: MouthSpace) -> float:
    """Variance of the Laplacian (grey levels squared) in the box around the lips of an (Hm,Wm,3) crop."""
    import cv2

    inside = apply(space.mouth_from_face, lips)
    (x0, y0), (x1, y1) = np.clip(inside.min(0) - 2, 0, None).astype(int), inside.max(0).astype(int) + 3
    return float(cv2.Laplacian(cv2.cvtColor(crop[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def find_teeth(bank: MouthBank, bank_key: str, config: DubConfig, cache: Cache) -> TeethReference:
    """The sharp teeth of the bank (cached by content)."""
    key = step_key("teeth", VERSIONS["teeth"], asdict(config.teeth), [bank_key])

    def make(where: Path) -> None:
        teeth = choose_teeth(bank, config.teeth)
        save_arrays(where / "teeth.safetensors", asdict(teeth))

    return TeethReference(**cache.read("teeth", key, make, lambda folder: load_file(folder / "teeth.safetensors")))


def eye_distance_px(track: FaceTrack) -> float:
    """Median outer-eye-corner distance over the usable frames, pixels."""
    return float(np.median(magnification(track.pixel_from_face[track.valid])))


def why_not(track: FaceTrack) -> str:
    """The reasons for unusable frames, most frequent first: '12 x no face, 3 x blurred'."""
    counts = np.bincount(track.reason, minlength=len(REASONS))
    order = [i for i in np.argsort(-counts) if i > 0 and counts[i] > 0]
    return ", ".join(f"{counts[i]} frames: {REASONS[i]}" for i in order) or "every frame is usable"


def _cure(track: FaceTrack) -> str:
    """What helps against the most frequent reason, where something does."""
    return {
        "face too small": "Enlarge or crop the picture, or lower face.min_eye_distance_px. ",
        "turned too far": "Take a film that shows the face from the front, or raise face.max_yaw_deg and face.max_pitch_deg. ",
    }.get(REASONS[np.bincount(track.reason).argmax()], "")
