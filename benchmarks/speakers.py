"""Who speaks when, proposed and true.  python -m benchmarks.speakers [--rows cuts listening talking presenter]

Films are joined from GRID clips (`others/` and s1) and `samples/target.mp4`; the share of speech time (by the sound of
each clip alone) that is given to the right person. Nothing is written but the films, into the work folder.

Rows
    cuts        one speaker after the other
    listening   two side by side, one speaks and the other keeps the mouth of the silence before a sentence
    talking     two side by side, both move their lips, one is heard: by the lips alone
    presenter   the presenter and a GRID speaker side by side, in turns
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from audio.load import RATE, load_track
from benchmarks.common import DATA, SAMPLES, config_of, parser, report
from lipsync.config.schema import DubConfig
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache
from lipsync.target.analyse import follow_people
from lipsync.target.speakers import find_speakers
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter

WIDTH, HEIGHT, FPS = 360, 288, 25
#: Silent frames at the beginning of a GRID clip.
SILENT = 8


@dataclass(frozen=True, slots=True)
class Clip:
    """(T,H,W,3) uint8 pictures of one person, and the sound (S,) at 16 kHz that belongs to them."""

    who: str
    pictures: np.ndarray
    sound: np.ndarray

    @property
    def resting(self) -> np.ndarray:
        """As many pictures of the silence at its beginning, to and fro."""
        turn = np.concatenate([np.arange(SILENT), np.arange(SILENT - 2, 0, -1)])
        return self.pictures[np.resize(turn, len(self.pictures))]


def clip_of(path: Path, who: str, start_s: float = 0.0, stop_s: float = 3.0) -> Clip:
    """Part of a film, at the size of GRID."""
    import cv2

    pictures = []
    for batch in read_frames(probe(path), 25, start=round(start_s * FPS), stop=round(stop_s * FPS)):
        for rgb in batch.rgb.permute(0, 2, 3, 1).numpy():
            scale = HEIGHT / rgb.shape[0]
            small = cv2.resize(rgb, (round(rgb.shape[1] * scale), HEIGHT), interpolation=cv2.INTER_AREA)
            left = (small.shape[1] - WIDTH) // 2
            pictures.append(small[:, left : left + WIDTH])
    sound = load_track(path).samples.numpy()[round(start_s * RATE) :]
    n = round(len(pictures) / FPS * RATE)
    return Clip(who, np.stack(pictures), np.pad(sound[:n], (0, max(0, n - len(sound)))))


def grid(name: str) -> list[Clip]:
    """Two clips of a speaker, or the only one."""
    return [clip_of(path, name) for path in sorted((DATA / "grid" / name).glob("*.mpg"))[:2]]


def alone(clip: Clip) -> Stretch:
    return [(clip, True)], clip


#: One stretch of a film: the people seen from the left, each speaking or not, and whose sound is heard.
Stretch = tuple[list[tuple[Clip, bool]], Clip]


def measured(name: str, film: Sequence[Stretch], folder: Path, config: DubConfig) -> dict:
    """The shares of a film written into `folder`. A face is known for a name by where it is seen."""
    import torch

    path, rows, at = folder / f"speakers {name}.mkv", [], 0
    truth: list[tuple[int, int, str, list[str]]] = []
    for people, heard in film:
        shown = [clip.pictures if talks else clip.resting for clip, talks in people]
        shown = shown * 2 if len(shown) == 1 else shown
        picture = np.concatenate(shown, 2)
        if len(people) == 1:
            picture[:, :, WIDTH:] = 60
        rows.append(picture)
        truth.append((at, at + len(picture), heard.who, [clip.who for clip, _ in people]))
        at += len(picture)
    pictures, sound = np.concatenate(rows), np.concatenate([heard.sound for _, heard in film])
    import soundfile

    soundfile.write(path.with_suffix(".wav"), sound, RATE)
    clock = FrameClock.constant(at, Fraction(FPS))
    with VideoWriter(
        path, width=2 * WIDTH, height=HEIGHT, clock=clock, codec="ffv1", speech=path.with_suffix(".wav")
    ) as writer:
        writer.write(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())
    return shares(path, truth, [voice_activity_of(heard) for _, heard in film], config)


def voice_activity_of(clip: Clip) -> np.ndarray:
    from audio.load import Waveform

    return voice_activity(Waveform.of(clip.sound.astype(np.float32)))


def shares(path: Path, truth: list, voices: list[np.ndarray], config: DubConfig) -> dict:
    cache = Cache.of(config.cache)
    films = follow_people(path, config, cache)
    who = find_speakers(films, cache).who()
    right = nobody = wrong = 0
    for (first, last, name, seen), voice in zip(truth, voices, strict=True):
        start = first * 4
        rows = np.flatnonzero(voice[: (last - first) * 4]) + start
        rows = rows[rows < len(who)]
        place = seen.index(name)
        mine = [i for i, film in enumerate(films) if _seen_at(film, first, last, place, len(seen)) > 0.5]
        right += int(np.isin(who[rows], mine).sum())
        nobody += int((who[rows] < 0).sum())
        wrong += int((~np.isin(who[rows], [-1, *mine])).sum())
    total = right + nobody + wrong
    return {
        "right": round(right / total, 3),
        "nobody": round(nobody / total, 3),
        "wrong": round(wrong / total, 3),
        "speech_s": total / 100,
        "people": len(films),
    }


def _seen_at(film, first: int, last: int, place: int, n: int) -> float:
    """The share of frames in which this face is seen at that place."""
    x = film.track.landmarks[first:last, :, 0].mean(1)
    seen = film.track.reason[first:last] != 1
    return float((seen & ((x < WIDTH) == (place == 0))).mean()) if n else 0.0


def films_of(rows: Sequence[str]) -> dict[str, list[Stretch]]:
    names = [f"others/{name}" for name in ("f1", "f2", "f3", "m1", "s26")] + ["s1"]
    f1, f2, f3, m1, s26, s1 = (grid(name) for name in names)
    films: dict[str, list[Stretch]] = {}
    if "cuts" in rows:
        films["cuts"] = [alone(one) for one in (f1[0], m1[0], s26[0], f2[0], s1[0], f3[0], s26[1], s1[1])]
    for name, talks in (("listening", False), ("talking", True)):
        if name in rows:
            for a, b in ((f1, m1), (f2, s1), (f3, s26), (s1, s26)):
                pairs = [(a[k % len(a)], b[k % len(b)]) for k in range(max(len(a), len(b)))]
                films[f"{name} {a[0].who} {b[0].who}".replace("others/", "")] = [
                    ([(x, talks or heard is x), (y, talks or heard is y)], heard) for x, y in pairs for heard in (x, y)
                ]
    if "presenter" in rows:
        said = [clip_of(SAMPLES / "target.mp4", "presenter", s, s + 3) for s in (0.0, 6.4, 9.6)]
        quiet = clip_of(SAMPLES / "target.mp4", "presenter", 14.95, 15.45)
        rest = Clip("presenter", quiet.pictures[np.resize(np.arange(SILENT), 75)], said[0].sound)
        films["presenter"] = [
            ([(said[0], True), (m1[0], False)], said[0]),
            ([(rest, True), (m1[0], True)], m1[0]),
            ([(said[1], True), (s26[1], True)], said[1]),
            ([(said[2], True), (s26[1], True)], s26[1]),
        ]
    return films


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rows", nargs="+", default=["cuts", "listening", "talking", "presenter"])
    args = arguments.parse_args()
    config = config_of(args)
    found = {name: measured(name, film, args.work, config) for name, film in films_of(args.rows).items()}
    speech_s = sum(one["speech_s"] for one in found.values())
    right_s = sum(one["right"] * one["speech_s"] for one in found.values())
    report("speakers", {"films": found, "right": round(right_s / speech_s, 4)})


if __name__ == "__main__":
    main()
