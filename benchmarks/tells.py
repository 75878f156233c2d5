"""Whether `lipsync audit` finds defects that are planted into real, undubbed video, each by its own tell and no other.

python -m benchmarks.tells [--rows grid pairs others address presenter] [--split test]

Clips of at most 5 s, each once as it is and once with each defect, all encoded alike and audited from the file as any
video, once alone and once with the clip as it is as the target:

    blur      the lower face blurred, sigma .022 eye distances
    flicker   the lower face brighter or darker by 4 % (standard deviation) and moved by .006 eye distances, at random
              in every frame
    tone      the lower face 12 to 18 % brighter, darker, redder or bluer, with an edge .05 eye distances wide
    ghost     half of the lower face moved by .06 to .08 eye distances over itself
    torn      one side of the upper or lower lip moved by .05 to .07 eye distances, for half a second each second
    teeth     what is seen between the lips stays as it was while the opening changes
    restless  for 0.7 s the face stands still with an open mouth, and the teeth are another frame's in every frame
    silence   the sound is silent for 1.2 s in mid-speech
    frozen    the lower face stands still for 1.6 s of speech
    sync      the sound 3 frames early or late
    dragged   a collar, painted there, moves with the opening by .3 of it (painted and still: "collar", a real clip)

Thresholds were chosen on the clips of split `choose` only:

    grid       GRID s1, clips of the manifest's `train` (choose) and of its `val` (test)
    pairs      of these two clips each, joined, so that an original shows enough of a person's lips to learn them
    others     GRID, other speakers: f1, m1, four clips of s26 (choose); f2, f3, the other six of s26 (test)
    address    days 01, 03, 04, 05, 07 (choose); 02, 06, 08 (test)
    presenter  the shipped clip (choose); the same face says `samples/speech.wav`, rendered for this (test)
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np
import soundfile
import torch

from audio.load import Waveform, load_track
from benchmarks.common import DATA, SAMPLES, config_of, grid_clips, parser, report, sample_target
from lipsync.config.schema import DubConfig
from lipsync.core.geometry import apply, warp_frame
from lipsync.core.lips import INNER_EDGE, opening
from lipsync.core.track import jaw_in_face
from lipsync.core.types import FaceTrack
from lipsync.evaluation.tell_lips import Heard, Shown, offsets
from lipsync.evaluation.tells import audit
from lipsync.store.cache import Cache
from lipsync.target.analyse import follow_face
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames
from video.write import VideoWriter

LENGTH_S, RATE_HZ = 5, 16000
#: The sound of `address` is this late against the picture (its README: 0.07 to 0.13 s), and is put right first.
ADDRESS_LATE_S = 0.1
WAYS = ("alone", "target")
ROWS = ("grid", "pairs", "others", "address", "presenter")
_ALL = slice(None)
OTHERS = {
    "choose": {"f1": _ALL, "m1": _ALL, "s26": slice(None, 4)},
    "test": {"f2": _ALL, "f3": _ALL, "s26": slice(4, None)},
}
DAYS = {"choose": ("01", "03", "04", "05", "07"), "test": ("08", "06", "02")}
_UPPER, _LOWER = [0, 1, 2, 3, 4, 5, 6, 14, 13, 12], [6, 7, 8, 9, 10, 11, 0, 17, 16, 15]


@dataclass(slots=True)
class Clip:
    """Some seconds of video in memory. frames: (T,H,W,3) uint8; sound: (S,) float32 at 16 kHz; track: of the face."""

    name: str
    frames: np.ndarray
    sound: np.ndarray
    rate: Fraction
    track: FaceTrack | None = None

    @property
    def face(self) -> FaceTrack:
        if self.track is None:
            raise ValueError(f"{self.name} was not tracked")
        return self.track


def read_clip(name: str, parts: list[tuple[Path, float, float]]) -> Clip:
    """The parts (file, from, to in seconds), one after the other."""
    frames, sounds, rate = [], [], Fraction(25)
    for path, start_s, end_s in parts:
        stream = probe(path)
        rate = stream.clock.rate.limit_denominator(1001)
        first, last = round(start_s * rate), min(round(end_s * rate), len(stream))
        rgb = [b.rgb.permute(0, 2, 3, 1).numpy() for b in read_frames(stream, 8, first, last)]
        frames.append(np.concatenate(rgb))
        samples = load_track(path).samples.numpy()
        late_s = ADDRESS_LATE_S if path.parent.name == "address" else 0
        begin, n = round((first / rate + late_s) * RATE_HZ), round((last - first) / rate * RATE_HZ)
        sounds.append(np.pad(samples[begin : begin + n], (0, max(0, n - len(samples[begin : begin + n])))))
    return Clip(name, np.concatenate(frames), np.concatenate(sounds), rate)


def write_clip(clip: Clip, path: Path) -> Path:
    """H.264, crf 16; made once."""
    if not path.exists():
        wav = path.with_suffix(".wav")
        soundfile.write(wav, clip.sound, RATE_HZ)
        n, height, width = clip.frames.shape[:3]
        clock = FrameClock.constant(n, clip.rate)
        with VideoWriter(path, width=width, height=height, clock=clock, codec="h264", crf=16, speech=wav) as writer:
            for at in range(0, n, 8):
                writer.write(torch.from_numpy(clip.frames[at : at + 8]).permute(0, 3, 1, 2).contiguous())
        wav.unlink()
    return path


def sources(row: str, split: str, work: Path) -> Iterator[tuple[str, list[tuple[Path, float, float]]]]:
    """(name, parts) of the clips."""
    if row == "grid":
        clips = grid_clips("train")[80:96] if split == "choose" else grid_clips("val")
        yield from ((f"grid-{split}-{k:02d}", [(clip, 0.0, 3.0)]) for k, clip in enumerate(clips))
    elif row == "pairs":
        clips = grid_clips("train")[80:96] if split == "choose" else grid_clips("val")[18:]
        for k in range(0, len(clips) - 1, 2):
            yield f"pairs-{split}-{k // 2:02d}", [(clips[k], 0.52, 3.0), (clips[k + 1], 0.0, 2.52)]
    elif row == "others":
        for speaker, rows in OTHERS[split].items():
            clips = sorted((DATA / "grid" / "others" / speaker).glob("*.mp[g4]"))
            yield from ((f"others-{speaker}-{k}", [(clips[k], 0.0, 3.0)]) for k in range(len(clips))[rows])
    elif row == "address":
        yield from (
            (f"address-{day}", [(DATA / "address" / f"{day}.mp4", 0.0, float(LENGTH_S))]) for day in DAYS[split]
        )
    else:
        path = sample_target() if split == "choose" else rendered(work / "presenter-test.mp4")
        for k in range(round(float(probe(path).clock.duration_s) / LENGTH_S)):
            yield f"presenter-{split}-{k}", [(path, float(k * LENGTH_S), float((k + 1) * LENGTH_S))]


def rendered(path: Path) -> Path:
    """The presenter says what no shipped video shows; made once."""
    if not path.exists():
        from samples.presenter import load_phones
        from samples.presenter.clip import render_clip

        phones = load_phones(SAMPLES / "speech.json")
        render_clip(path, SAMPLES / "speech.wav", phones, size=(1280, 720), fps=Fraction(25))
    return path


Plant = Callable[[Clip, np.random.Generator], Clip | None]


def _grid(clip: Clip, i: int) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]]:
    """Face-frame x and y of the pixels in the box (rows, columns) around the lower face."""
    place, (height, width) = clip.face.pixel_from_face[i], clip.frames.shape[1:3]
    corners = apply(place, np.array([[-0.8, -0.6], [0.8, -0.6], [0.8, 1.0], [-0.8, 1.0]]))
    low = np.clip(np.floor(corners.min(0)), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, [width, height]).astype(int)
    x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
    face = apply(np.linalg.inv(place), np.stack([x.ravel(), y.ravel()], 1)).reshape(*x.shape, 2)
    return face[..., 0], face[..., 1], (slice(low[1], high[1]), slice(low[0], high[0]))


def _oval(x: np.ndarray, y: np.ndarray, soft: float = 0.05, chin: float = 0.5) -> np.ndarray:
    """Weight of the lower face: an oval from under the nose to `chin`, its edge `soft` wide."""
    top, middle = -0.24, (chin - 0.24) / 2
    away = np.hypot(x / 0.46, (y - middle) / (middle - top)) - 1
    return (0.5 - away * 0.4 / soft).clip(0, 1)


def _scale(clip: Clip, i: int) -> float:
    return float(np.sqrt(np.abs(np.linalg.det(clip.face.pixel_from_face[i][:2, :2]))))


def _over(under: np.ndarray, over: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weight = weight[..., None]
    return np.round(under * (1 - weight) + over * weight).clip(0, 255).astype(np.uint8)


def _each(clip: Clip, change: Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray], rows=None) -> Clip:
    """The clip with change(i, part, x, y) in the box around the lower face of each row."""
    frames = clip.frames.copy()
    for i in range(len(frames)) if rows is None else rows:
        x, y, box = _grid(clip, i)
        frames[i][box] = change(i, frames[i][box].copy(), x, y)
    return Clip(clip.name, frames, clip.sound, clip.rate, clip.track)


def _moved(part: np.ndarray, right: float, down: float) -> np.ndarray:
    import cv2

    matrix, size = np.array([[1, 0, right], [0, 1, down]]), (part.shape[1], part.shape[0])
    return cv2.warpAffine(part, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def blur(clip: Clip, rng: np.random.Generator) -> Clip:
    import cv2

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _over(part, cv2.GaussianBlur(part, (0, 0), 0.022 * _scale(clip, i)), _oval(x, y))

    return _each(clip, change)


def flicker(clip: Clip, rng: np.random.Generator) -> Clip:
    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        right, down = rng.normal(0, 0.006 * _scale(clip, i), 2)
        return _over(part, _moved(part, right, down) * (1 + rng.normal(0, 0.04)), _oval(x, y, 0.15))

    return _each(clip, change)


def tone(clip: Clip, rng: np.random.Generator) -> Clip:
    by = rng.uniform(0.12, 0.18) * rng.choice([-1, 1])
    gain = 1 + by * (np.ones(3) if rng.random() < 0.5 else np.array([1, 0, -1]))
    return _each(clip, lambda i, part, x, y: _over(part, part * gain, _oval(x, y)))


def ghost(clip: Clip, rng: np.random.Generator) -> Clip:
    angle = rng.uniform(np.pi / 4, 3 * np.pi / 4) * rng.choice([-1, 1])
    by = rng.uniform(0.06, 0.08) * np.array([np.cos(angle), np.sin(angle)])

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _over(part, _moved(part, *(by * _scale(clip, i))), 0.5 * _oval(x, y, 0.15, 0.62))

    return _each(clip, change)


def torn(clip: Clip, rng: np.random.Generator) -> Clip:
    """As `benchmarks.doubt.torn`, steady over each half second."""
    face, per_s = clip.face, round(float(clip.rate))
    rows = [i for i in range(len(clip.frames)) if i % per_s < per_s // 2 and face.valid[i]]
    each = [(rng.random() < 0.5, rng.uniform(0.35, 0.65), rng.random() < 0.5, rng.uniform(0.05, 0.07)) for _ in "12345"]

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        upper, share, right, by = each[min(i // per_s, 4)]
        lips, scale = face.lips.points[i].astype(float), _scale(clip, i)
        lip = _inside(lips[_UPPER if upper else _LOWER], face.pixel_from_face[i], clip, i, 0.02 * scale)
        middle = lips[0, 0] + (lips[6, 0] - lips[0, 0]) * share
        lip *= (x > middle) if right else (x < middle)
        down = by * scale * (1 if right else -1)
        return _over(part, _moved(part, 0, down), _soft(_moved(lip, 0, down), 0.008 * scale))

    return _each(clip, change, rows)


def teeth(clip: Clip, rng: np.random.Generator) -> Clip | None:
    """The interior of the widest frame near is seen in every frame in which the mouth is open."""
    face, gaps = clip.face, opening(clip.face.lips.points)
    usable = np.flatnonzero((gaps > 0.06) & face.valid)
    if len(usable) < 15:
        return None
    widest = {s: max(usable[face.shot[usable] == s], key=lambda i: gaps[i]) for s in np.unique(face.shot[usable])}
    rows = [i for i in np.flatnonzero((gaps > 0.025) & face.valid) if face.shot[i] in widest]

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        k, scale = widest[face.shot[i]], _scale(clip, i)
        _, _, box = _grid(clip, i)
        shift = np.array([[1, 0, -box[1].start], [0, 1, -box[0].start], [0, 0, 1.0]])
        out_from_k = shift @ face.pixel_from_face[i] @ np.linalg.inv(face.pixel_from_face[k])
        held = warp_frame(clip.frames[k], out_from_k, *part.shape[:2])
        inner = _inside(face.lips.points[i].astype(float)[INNER_EDGE], face.pixel_from_face[i], clip, i, 0)
        return _over(part, held, _soft(inner, 0.006 * scale))

    return _each(clip, change, rows)


def restless(clip: Clip, rng: np.random.Generator) -> Clip | None:
    """Where the mouth is widest, the face stands still for 0.7 s and what is between the lips comes from frames all
    over the clip."""
    face, gaps, n = clip.face, opening(clip.face.lips.points), round(0.7 * float(clip.rate))
    starts = [s for s in range(len(gaps) - n) if _steady(face, slice(s, s + n))]
    others = np.flatnonzero((gaps > 0.05) & face.valid)
    if not starts or len(others) < 5:
        return None
    first = max(starts, key=lambda s: gaps[s] - face.pose[s : s + n].std(0).sum() / 100)
    lips = face.lips.points[first].astype(float)

    def seen_from(k: int, i: int, part: np.ndarray) -> np.ndarray:
        _, _, box = _grid(clip, i)
        shift = np.array([[1, 0, -box[1].start], [0, 1, -box[0].start], [0, 0, 1.0]])
        return warp_frame(
            clip.frames[k], shift @ face.pixel_from_face[i] @ np.linalg.inv(face.pixel_from_face[k]), *part.shape[:2]
        )

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        held = _over(part, seen_from(first, i, part), _oval(x, y, 0.15, 0.5))
        inner = _inside(lips[INNER_EDGE], face.pixel_from_face[i], clip, i, 0)
        return _over(held, seen_from(int(rng.choice(others)), i, part), _soft(inner, 0.006 * _scale(clip, i)))

    return _each(clip, change, range(first, first + n))


def silence(clip: Clip, rng: np.random.Generator) -> Clip | None:
    """Silent for 1.2 s where the mouth moves most in its middle: lips close after a word and open before the next."""
    rate, gaps = float(clip.rate), opening(clip.face.lips.points)
    n, skip = round(1.2 * rate), round(0.3 * rate)
    starts = [s for s in range(len(gaps) - n) if _steady(clip.face, slice(s, s + n))]
    if not starts:
        return None
    first = max(starts, key=lambda s: np.abs(np.diff(gaps[s + skip : s + n - skip])).sum())
    sound = clip.sound.copy()
    sound[round(first / rate * RATE_HZ) : round((first + n) / rate * RATE_HZ)] *= 1e-4
    return Clip(clip.name, clip.frames, sound, clip.rate, clip.track)


def frozen(clip: Clip, rng: np.random.Generator) -> Clip | None:
    """Still where the mouth moves most in 1.6 s."""
    rate, face, gaps = float(clip.rate), clip.face, opening(clip.face.lips.points)
    n = round(1.6 * rate)
    starts = [s for s in range(len(gaps) - n) if _steady(face, slice(s, s + n))]
    if not starts:
        return None
    turned = face.pose.std(0).sum()  # a still head, else more than the mouth would look wrong
    first = max(starts, key=lambda s: gaps[s : s + n].std() / (face.pose[s : s + n].std(0).sum() + 0.2 * turned))

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        _, _, box = _grid(clip, i)
        shift = np.array([[1, 0, -box[1].start], [0, 1, -box[0].start], [0, 0, 1.0]])
        out_from_first = shift @ face.pixel_from_face[i] @ np.linalg.inv(face.pixel_from_face[first])
        held = warp_frame(clip.frames[first], out_from_first, *part.shape[:2])
        return _over(part, held, _oval(x, y, 0.15, 0.5))

    return _each(clip, change, range(first, first + n))


def sync(clip: Clip, rng: np.random.Generator, by: int | None = None) -> Clip:
    """The sound `by` frames late (below 0: early)."""
    by = int(rng.choice([-3, 3])) if by is None else by
    shift, sound = round(by / float(clip.rate) * RATE_HZ), np.zeros_like(clip.sound)
    if shift >= 0:
        sound[shift:] = clip.sound[: len(sound) - shift]
    else:
        sound[:shift] = clip.sound[-shift:]
    return Clip(clip.name, clip.frames, sound, clip.rate, clip.track)


def collar(clip: Clip, rng: np.random.Generator, follows: float = 0.0) -> Clip:
    """A collar below the jaw, which moves with the opening, `follows` of it."""
    jaw, face = np.median(jaw_in_face(clip.face), axis=0), clip.face
    colours = rng.choice([30, 90, 225], 2, replace=False)[:, None] + rng.uniform(-15, 15, (2, 3))
    gaps, per = opening(face.lips.points), rng.uniform(0.1, 0.13)

    def change(i: int, part: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        down = follows * max(gaps[i] - gaps.min(), 0)
        edge = np.interp(x, jaw[2:15, 0], jaw[2:15, 1]) + 0.14
        inside = ((y - down - edge) * _scale(clip, i)).clip(0, 1)
        stripes = (np.sin((x + y - down) * np.pi / per) * np.sin((x - y + down) * np.pi / per) > 0)[..., None]
        return _over(part, np.where(stripes, colours[0], colours[1]).clip(0, 255), inside)

    return _each(clip, change)


def dragged(clip: Clip, rng: np.random.Generator) -> Clip:
    return collar(clip, rng, 0.3)


def _steady(face: FaceTrack, rows: slice) -> bool:
    """The face is seen in all of them, in one shot."""
    return bool(face.valid[rows].all() and (face.shot[rows] == face.shot[rows.start]).all())


def _inside(points: np.ndarray, place: np.ndarray, clip: Clip, i: int, grow_px: float) -> np.ndarray:
    """(h,w) uint8 of the box around the lower face: 1 inside the face-frame polygon."""
    import cv2

    _, _, box = _grid(clip, i)
    at = apply(place, points) - [box[1].start, box[0].start]
    size = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    mask = cv2.fillPoly(np.zeros(size, np.uint8), [np.round(at).astype(np.int32)], (1,))
    return cv2.dilate(mask, np.ones((3, 3)), iterations=round(grow_px)) if grow_px >= 1 else mask


def _soft(mask: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(sigma, 0.3))


PLANTS: dict[str, Plant] = {
    one.__name__: one
    for one in (collar, blur, flicker, tone, ghost, torn, teeth, restless, silence, frozen, sync, dragged)
}  # fmt: skip


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def audits(clips: list[Clip], args: argparse.Namespace, config: DubConfig) -> dict[str, dict[str, dict[str, object]]]:
    """By way ("alone", "target"), by "clip defect": what is told, and every value."""
    cache, found = Cache(config.cache.folder), {way: {} for way in args.ways}
    for clip in clips:
        real = write_clip(clip, args.work / f"{clip.name}.real.mp4")
        clip.track = follow_face(real, config, cache).track
        for defect in ("real", *args.defects):
            made = clip if defect == "real" else PLANTS[defect](clip, _rng(clip.name + defect))
            if made is None:
                continue
            path = write_clip(made, args.work / f"{clip.name}.{defect}.mp4")
            for way in found:
                told = audit(path, target=real if way == "target" else None, config=config, cache=cache)
                raised = [tell.name for tell in told.tells if tell.verdict in ("look", "bad")]
                values = {tell.name: tell.value for tell in told.tells}
                found[way][f"{clip.name} {defect}"] = {"raised": raised, "values": values}
                print(f"{way:7}{clip.name:20}{defect:9}{' '.join(raised) or '-'}", file=sys.stderr, flush=True)
    return found


def summary(found: dict[str, dict[str, object]]) -> dict[str, object]:
    """confusion: of the clips with a defect, the share that raises each tell; alone: the share that raises its own tell
    and no other; false: of the real clips, the share that raises any."""
    by_defect: dict[str, list[list[str]]] = {}
    for name, told in found.items():
        defect = name.split()[1]
        by_defect.setdefault("real" if defect == "collar" else defect, []).append(told["raised"])  # pyright: ignore
    confusion = {
        defect: {tell: round(n / len(each), 3) for tell, n in sorted(Counter(chain.from_iterable(each)).items())}
        for defect, each in by_defect.items()
    }
    own = {d: float(np.mean([told == [d] for told in each])) for d, each in by_defect.items() if d != "real"}
    hit = {d: float(np.mean([d in told for told in each])) for d, each in by_defect.items() if d != "real"}
    real = by_defect.get("real", [])
    return {
        "clips": {defect: len(each) for defect, each in by_defect.items()},
        "confusion": confusion,
        "own": hit,
        "own_and_no_other": own,
        "false_alarms": float(np.mean([bool(told) for told in real])) if real else None,
    }


def shifts(clips: list[Clip], args: argparse.Namespace, config: DubConfig) -> dict[str, object]:
    """How often the shift of a clip's sound, 0 to 8 frames late or early, is found within a frame."""
    cache, missed = Cache(config.cache.folder), []
    for k, clip in enumerate(clips):
        real = write_clip(clip, args.work / f"{clip.name}.real.mp4")
        clip.track = follow_face(real, config, cache).track
        for by in (k % 9, -((k + 4) % 9)):
            heard = Heard.of(Waveform.of(sync(clip, _rng(""), by).sound))
            found = offsets(Shown.of(clip.face, len(heard.voice)), heard)
            best = max(found, key=lambda one: one[1])[0].value if found else np.inf
            missed.append(abs(best * float(clip.rate) - by))
    within = float(np.mean(np.array(missed) <= 1.0))
    return {
        "within_a_frame": within,
        "n": len(missed),
        "worst": float(np.max(missed)),
        "median": float(np.median(missed)),
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", nargs="+", choices=ROWS, default=["grid"])
    options.add_argument("--split", choices=("choose", "test"), default="test")
    options.add_argument("--clips", type=int, default=4, help="of each row at most")
    options.add_argument("--skip", type=int, default=0, help="of each row first, to run in parts")
    options.add_argument("--defects", nargs="*", choices=tuple(PLANTS), default=list(PLANTS))
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="alone, beside the undubbed clip")
    options.add_argument("--shifts", action="store_true", help="how well shifts of the sound are found, and no more")
    args = options.parse_args()
    config = config_of(args)
    chosen = [
        one
        for row in args.rows
        for one in islice(sources(row, args.split, args.work), args.skip, args.skip + args.clips)
    ]
    clips = [read_clip(*one) for one in chosen] if args.shifts else []
    if args.shifts:
        report("tells", {"split": args.split, "shifts": shifts(clips, args, config)})
        return
    found: dict[str, dict[str, dict[str, object]]] = {way: {} for way in args.ways}
    for one in chosen:
        for way, each in audits([read_clip(*one)], args, config).items():
            found[way] |= each
    report("tells", {"split": args.split} | {way: summary(each) | {"each": each} for way, each in found.items()})


if __name__ == "__main__":
    main()
