"""The mouths of all footage in one bank, kept by content, and the teeth chosen from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lipsync.config.schema import DubConfig
from lipsync.core.geometry import apply, farthest_points, translation, warp_frame
from lipsync.core.progress import Hook, silent
from lipsync.core.track import behind_graphics, jaw_in_face
from lipsync.core.types import FaceTrack, Footage, MouthBank, MouthSpace, TeethReference
from lipsync.metrics.pictures import laplacian_variance
from lipsync.render.overlays import beside_mouth, without_graphics
from lipsync.render.teeth import choose_teeth
from lipsync.store.cache import Cache, save_arrays, step_key
from video.picture import Cutter, FramePicture
from video.prefetch import ahead
from video.read import frames_ahead, pictures_of

#: Raise a number whenever the same inputs would give other arrays: old cache entries are then left alone.
BANK_VERSION, TEETH_VERSION = 2, 2
#: What a bank holds of every mouth beside its crop.
BANK_COLUMNS = ("source", "lips", "jaw", "pose", "sharpness", "shot")


def collect_mouths(
    films: tuple[Footage, ...], space: MouthSpace, config: DubConfig, cache: Cache, hook: Hook = silent
) -> tuple[MouthBank, str]:
    """The mouths of all films in one bank (cached by content), and its key."""
    key = step_key(
        "mouths",
        BANK_VERSION,
        {"analysis": asdict(config.analysis), "space": asdict(space)},
        [film.key for film in films],
    )

    def make(folder: Path) -> None:
        _make_mouths(films, space, config, folder, hook)

    return cached_bank(cache, key, make, space, films[0].video.path.name), key


def cached_bank(cache: Cache, key: str, make: Callable[[Path], None], space: MouthSpace, label: str) -> MouthBank:
    """The bank kept under `key`, its crops memory-mapped; where there is none, `make` writes one to a folder, by
    `write_crops` and `write_columns`."""

    def load(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return load_file(folder / "bank.safetensors"), np.load(folder / "crops.npy", mmap_mode="r")

    columns, crops = cache.read("mouths", key, make, load, label=label)
    return MouthBank(crops=crops, space=space, **{name: columns[name] for name in BANK_COLUMNS})


def write_crops(folder: Path, n: int, space: MouthSpace, parts: Iterable[np.ndarray]) -> None:
    """Writes a bank's n crops. parts: (3,Hm,Wm) or (k,3,Hm,Wm) uint8, one after the other: a mapped file would stay in
    memory."""
    with open(folder / "crops.npy", "wb") as file:
        shape = (n, 3, space.height, space.width)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.ascontiguousarray(part).data)


def write_columns(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes what a bank holds beside its crops, each of BANK_COLUMNS."""
    save_arrays(folder / "bank.safetensors", columns)


def _make_mouths(films: tuple[Footage, ...], space: MouthSpace, config: DubConfig, where: Path, hook: Hook) -> None:
    chosen = choose_rows([film.track for film in films], _room(space, config))
    total = sum(len(rows) for rows in chosen)
    sharpnesses: list[float] = []

    def crops() -> Iterator[np.ndarray]:
        import cv2

        for crop, sharp in _cropped(films, chosen, space):
            yield np.stack(cv2.split(crop))  # a transposed view is written value by value
            sharpnesses.append(sharp)
            hook("mouths", len(sharpnesses), total)

    write_crops(where, total, space, crops())
    columns: dict[str, list[np.ndarray]] = {name: [] for name in BANK_COLUMNS}
    first_shot = 0
    for film, rows in zip(films, chosen, strict=True):
        track = film.track
        columns["source"].append(rows)
        columns["lips"].append(track.lips.points[rows])
        columns["jaw"].append(jaw_in_face(track)[rows])
        columns["pose"].append(track.pose[rows])
        columns["shot"].append(track.shot[rows].astype(np.int64) + first_shot)
        first_shot += int(track.shot.max()) + 1
    columns["sharpness"] = [np.array(sharpnesses, np.float32)]
    write_columns(where, {name: np.concatenate(parts) for name, parts in columns.items()})


def _cropped(
    films: tuple[Footage, ...], chosen: list[np.ndarray], space: MouthSpace
) -> Iterator[tuple[np.ndarray, float]]:
    """The (Hm,Wm,3) uint8 crop and the sharpness of every chosen frame, film after film."""
    for film, rows in zip(films, chosen, strict=True):
        track = film.track
        frames, cutter = ahead(pictures_of(film.stream, rows), frames_ahead(film.stream)), Cutter(film.stream)
        for index, frame in zip(rows.tolist(), frames, strict=True):
            picture = FramePicture(frame, cutter)
            mouth_from_pixel = space.mouth_from_face @ np.linalg.inv(track.pixel_from_face[index])
            box = beside_mouth(picture, mouth_from_pixel, space)
            part = without_graphics(picture.part(box), track.graphics, index, box)
            mouth_from_part = mouth_from_pixel @ translation(box[:2])
            crop = warp_frame(part, mouth_from_part, space.height, space.width)
            yield crop, lip_sharpness(crop, track.lips.points[index], space)


def choose_rows(tracks: list[FaceTrack], room: int, run: int = 8) -> list[np.ndarray]:
    """Per track, the (K,) int64 frames worth keeping: all valid ones before which no graphic
    lies where they fit, else the most different runs of
    `run` frames.

    Runs, because candidates are compared over neighbouring frames; most different by farthest-point sampling of lip
    trajectories."""
    clear = [np.flatnonzero(track.valid & ~behind_graphics(track)) for track in tracks]
    # where captions lie over every mouth, those beneath them are all there is
    valid = clear if any(map(len, clear)) else [np.flatnonzero(track.valid) for track in tracks]
    if sum(map(len, valid)) <= room:
        return valid
    runs = [(i, rows[at : at + run]) for i, rows in enumerate(valid) for at in range(0, len(rows), run)]
    shapes = np.stack([tracks[i].lips.points[rows[[0, len(rows) // 2, -1]]].ravel() for i, rows in runs]).astype(
        np.float32
    )
    keep = farthest_points(shapes, room // run)
    picked = [[rows for j in sorted(keep) for i, rows in [runs[j]] if i == t] for t in range(len(tracks))]
    return [np.concatenate(rows) if rows else np.zeros(0, np.int64) for rows in picked]


def _room(space: MouthSpace, config: DubConfig) -> int:
    return max(
        200,
        min(config.analysis.max_mouths, int(config.analysis.max_bank_gib * 2**30) // (3 * space.height * space.width)),
    )


def lip_sharpness(crop: np.ndarray, lips: np.ndarray, space: MouthSpace) -> float:
    """Variance of the Laplacian (grey levels squared) in the box around the lips of an (Hm,Wm,3) crop."""
    import cv2

    inside = apply(space.mouth_from_face, lips)
    (x0, y0), (x1, y1) = np.clip(inside.min(0) - 2, 0, None).astype(int), inside.max(0).astype(int) + 3
    return laplacian_variance(cv2.cvtColor(crop[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY))


def find_teeth(bank: MouthBank, bank_key: str, config: DubConfig, cache: Cache, hook: Hook = silent) -> TeethReference:
    """The sharp teeth of the bank (cached by content)."""
    key = step_key("teeth", TEETH_VERSION, asdict(config.teeth), [bank_key])

    def make(where: Path) -> None:
        teeth = choose_teeth(bank, config.teeth, hook)
        save_arrays(where / "teeth.safetensors", asdict(teeth))

    return TeethReference(**cache.read("teeth", key, make, lambda folder: load_file(folder / "teeth.safetensors")))
