"""A film of several people made from the shipped presenter: cuts, two side by side, and who says the words is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.support import SAMPLES

#: Plate of one person; the film is two plates wide.
PLATE_WIDTH, HEIGHT, RATE = 240, 216, 25
#: Seconds of samples/target.mp4 in which nobody speaks.
SILENT_S = (15.0, 15.45)


@dataclass(frozen=True, slots=True)
class Shot:
    """Some frames. people: who is seen, from the left, as looks 0, 1, 2; speaks: which of those says the words of this
    time, None = nobody who is seen."""

    frames: int
    people: tuple[int, ...]
    speaks: int | None


#: Three people, four cuts, two shots with two of them.
SHOTS = (Shot(30, (0,), 0), Shot(30, (1,), 1), Shot(30, (0, 1), 0), Shot(30, (2,), 2), Shot(30, (0, 2), 2))


def make_film(path: Path, shots: Sequence[Shot] = SHOTS, start_s: float = 0.0) -> Path:
    """`path`, to which the film is written (ffv1, with sound): the words of samples/target.mp4 from `start_s` on, said
    by whoever speaks; the others rest."""
    import soundfile
    import torch

    from video.clock import FrameClock
    from video.write import VideoWriter

    n, first = sum(shot.frames for shot in shots), round(start_s * RATE)
    talking, resting = _plates(first, n), _plates(*_silent_rows())
    pictures = []
    for shot in shots:
        for _ in range(shot.frames):
            k = len(pictures)
            quiet = resting[_to_and_fro(k, len(resting))]
            seen = [(one, _with_look(*(talking[k] if one == shot.speaks else quiet), one)) for one in shot.people]
            pictures.append(_side_by_side(seen))
    samples, rate = soundfile.read(SAMPLES / "target.wav", dtype="int16")
    sound = path.with_suffix(".wav")
    soundfile.write(sound, samples[round(start_s * rate) : round((start_s + n / RATE) * rate)], rate)
    clock = FrameClock.constant(n, Fraction(RATE))
    with VideoWriter(path, width=2 * PLATE_WIDTH, height=HEIGHT, clock=clock, codec="ffv1", speech=sound) as writer:
        writer.write(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous())
    return path


def _silent_rows() -> tuple[int, int]:
    first, last = (round(s * RATE) for s in SILENT_S)
    return first, last - first


def _to_and_fro(k: int, n: int) -> int:
    return n - 1 - abs(k % (2 * n - 2) - (n - 1)) if n > 1 else 0


def _plates(first: int, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames first.. of the presenter, small, each with its (68,2) landmarks in pixels."""
    import cv2

    from lipsync.config.schema import FaceConfig
    from lipsync.face.registry import get_backend
    from video.probe import probe
    from video.read import read_frames

    finder, plates = get_backend("mediapipe", FaceConfig()), []
    width = round(1280 * HEIGHT / 720)
    left = (width - PLATE_WIDTH) // 2
    for batch in read_frames(probe(SAMPLES / "target.mp4"), 25, start=first, stop=first + n):
        for rgb in batch.rgb.permute(0, 2, 3, 1).numpy():
            small = cv2.resize(rgb, (width, HEIGHT), interpolation=cv2.INTER_AREA)
            plate = np.ascontiguousarray(small[:, left : left + PLATE_WIDTH])
            plates.append((plate, finder.detect(plate)[0].landmarks))
    finder.close()
    return plates


def _with_look(picture: np.ndarray, points: np.ndarray, look: int) -> np.ndarray:
    """Another person: 0 as she is, 1 darker, with round glasses, 2 mirrored, with a painted face. The mouth's shape
    stays."""
    import cv2

    out, eye = picture.copy(), float(np.linalg.norm(points[45] - points[36]))

    def at(point: np.ndarray) -> tuple[int, int]:
        return round(float(point[0])), round(float(point[1]))

    def line(a: np.ndarray, b: np.ndarray, colour: tuple[int, int, int], width: float) -> None:
        cv2.line(out, at(a), at(b), colour, round(width * eye), cv2.LINE_AA)

    if look == 1:
        for rows in (slice(36, 42), slice(42, 48)):
            cv2.circle(out, at(points[rows].mean(0)), round(0.3 * eye), (25, 20, 20), round(0.08 * eye), cv2.LINE_AA)
        out = (out * [0.8, 0.65, 0.6]).astype(np.uint8)
    if look == 2:
        for low, high in ((2, 31), (14, 35)):
            line(points[low] * 0.8 + points[high] * 0.2, points[high], (20, 60, 160), 0.2)
        line(points[27], points[30], (250, 250, 250), 0.16)
        out = (out[:, ::-1] * [0.8, 0.9, 1.0]).astype(np.uint8)
    return out


def _side_by_side(seen: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """One person (look, picture) in the middle, at the left or at the right; or two beside each other."""
    frame = np.full((HEIGHT, 2 * PLATE_WIDTH, 3), 70, np.uint8)
    for k, (look, picture) in enumerate(seen):
        left = k * PLATE_WIDTH if len(seen) > 1 else (PLATE_WIDTH // 2, 0, PLATE_WIDTH)[look]
        frame[:, left : left + PLATE_WIDTH] = picture
    return frame
