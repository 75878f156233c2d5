"""Files for the corpus: clips of the presenter in any format, with a number stamped into every picture, and speech in
any form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import soundfile

from samples.presenter import Presenter, load_phones
from tests.support import SAMPLES
from tests.support.video_clips import N_BITS, SIDE, numbered

SIZE = (320, 180)
LIMITED, FULL = 1, 2


# Pictures: lists of (H,W,3) uint8, the stamp of `video_clips.numbered` in the upper left corner


def stamped(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Copies that carry their own number, as far as the picture has room for it."""
    out = []
    for i, picture in enumerate(pictures):
        picture = picture.copy()
        height, width = min(16 + SIDE, picture.shape[0]), min(16 + SIDE * N_BITS, picture.shape[1])
        picture[:height, :width] = 128
        stamp = numbered(i)[8 : 8 + SIDE, 8 : 8 + SIDE * N_BITS]
        picture[8 : 8 + SIDE, 8 : 8 + SIDE * N_BITS] = stamp[: height - 8, : width - 8]
        out.append(picture)
    return out


@lru_cache(maxsize=6)
def _presenter(size: tuple[int, int], seed: int, occluder: tuple | None, absent: tuple | None) -> Presenter:
    return Presenter(size, seed, pauses=_phones().pauses(), samples=1, occluder=occluder, absent=absent)


@lru_cache(maxsize=1)
def _phones():
    return load_phones(SAMPLES / "target.json")


@lru_cache(maxsize=300)
def _picture(
    size: tuple, moment: Fraction, seed: int, occluder: tuple | None, absent: tuple | None, yaw: float | None
) -> np.ndarray:
    who = _presenter(size, seed, occluder, absent)
    who.yaw_override = yaw
    return who.frame(float(moment), _phones().mouth(float(moment)))


def speaking(
    n: int,
    rate: Fraction | int = 25,
    size: tuple[int, int] = SIZE,
    *,
    seed: int = 0,
    occluder: tuple[float, float] | None = None,
    absent: tuple[float, float] | None = None,
    yaw: Callable[[int], float] | None = None,
    times: Sequence[Fraction] | None = None,
) -> list[np.ndarray]:
    """n pictures of the presenter saying the words of samples/target.wav; times: when, where not at a constant rate."""
    moments = [Fraction(i) / rate for i in range(n)] if times is None else times
    return [_picture(size, t, seed, occluder, absent, yaw and yaw(i)) for i, t in enumerate(moments)]


def room(n: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """n pictures of the same room without anybody."""
    return speaking(n, size=size, absent=(-1, 1e6))


def woven(upper: list[np.ndarray], lower: list[np.ndarray]) -> list[np.ndarray]:
    """Even rows of one picture, odd rows of the other: interlaced, upper field first."""
    out = [a.copy() for a in upper]
    for picture, other in zip(out, lower, strict=True):
        picture[1::2] = other[1::2]
    return out


def placed(
    pictures: list[np.ndarray], size: tuple, at: Callable[[int], tuple[int, int]], ground: list[np.ndarray]
) -> list[np.ndarray]:
    """Each picture pasted into `ground` with its corner at(i), as far as it lies inside."""
    out = []
    for i, (picture, back) in enumerate(zip(pictures, ground, strict=True)):
        canvas, (x, y), (width, height) = back.copy(), at(i), size
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + picture.shape[1], width), min(y + picture.shape[0], height)
        if x0 < x1 and y0 < y1:
            canvas[y0:y1, x0:x1] = picture[y0 - y : y1 - y, x0 - x : x1 - x]
        out.append(canvas)
    return out


def as_pq(picture: np.ndarray) -> np.ndarray:
    """An sRGB picture in the code values of SMPTE ST 2084, white at 203 candelas (BT.2408)."""
    light = (picture / 255.0) ** 2.2 * 203 / 10000
    power = light**0.1593017578125
    return np.clip(255 * ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375 + 0.5, 0, 255).astype(
        np.uint8
    )


# Clips


@dataclass(frozen=True, slots=True)
class Track:
    """Sound of a clip: samples of a file from its start, first heard at start_s."""

    wav: Path = SAMPLES / "target.wav"
    codec: str = "aac"
    start_s: float = 0.0
    default: bool = True


@dataclass(frozen=True, slots=True)
class Clip:
    """How to write pictures as a clip. tags: matrix, primaries, transfer, range as in H.273; shown_turned: degrees
    anticlockwise that a player turns the stored picture; sar: width of a pixel over its height; hidden: pictures at the
    start that an edit list leaves out."""

    name: str
    pictures: Callable[[], list[np.ndarray]]
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = Fraction(25)
    pts: Sequence[int] | None = None
    base: Fraction | None = None
    options: dict = field(default_factory=dict)
    mux: dict = field(default_factory=dict)
    tags: tuple[int, int, int, int] | None = None
    shown_turned: int = 0
    sar: Fraction | None = None
    tracks: tuple[Track, ...] = (Track(),)
    form: str | None = None
    alpha: Callable[[int], np.ndarray] | None = None
    cover: bool = False
    hidden: int = 0

    def shown(self) -> list[np.ndarray]:
        """What a viewer sees."""
        return stamped(self.pictures())[self.hidden :]

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        if path.exists():
            return path
        pictures = [np.ascontiguousarray(np.rot90(p, -(self.shown_turned // 90))) for p in stamped(self.pictures())]
        with av.open(str(path), "w", format=self.form, options=self.mux) as out:
            cover = _add_cover(out) if self.cover else None
            video = self._add_picture(out, pictures[0].shape)
            sounds = [(track, _add_sound(out, track)) for track in self.tracks]
            if cover is not None:
                out.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")))
            base = video.codec_context.time_base
            for i, picture in enumerate(pictures):
                frame = self._frame(picture, i)
                frame.pts, frame.time_base = i if self.pts is None else self.pts[i], base
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            ticks = len(pictures) if self.pts is None else self.pts[-1] - self.pts[0] + 1
            for track, sound in sounds:
                _write_sound(out, sound, track, float(ticks * base))
        return path

    def _add_picture(self, out, shape: tuple[int, ...]):
        video = out.add_stream(self.codec, rate=self.rate, options=dict(self.options))
        context = video.codec_context
        video.height, video.width, video.pix_fmt = shape[0], shape[1], self.pix_fmt
        context.time_base = self.base or 1 / self.rate
        if self.tags:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = self.tags
        if self.sar:
            context.sample_aspect_ratio = self.sar
        if self.shown_turned:
            video.set_display_rotation(self.shown_turned)
        return video

    def _frame(self, picture: np.ndarray, i: int) -> av.VideoFrame:
        if self.alpha is not None:
            picture = np.concatenate([picture, self.alpha(i)[..., None]], -1)
        frame = av.VideoFrame.from_ndarray(picture, format="rgba" if self.alpha is not None else "rgb24")
        if self.pix_fmt in ("rgb24", "bgr0", "rgba", "argb", "gbrp", "rgb8", "bgr8", "pal8"):
            return frame.reformat(format=self.pix_fmt)
        matrix, _, _, extent = self.tags or (6, 2, 2, FULL if self.pix_fmt.startswith("yuvj") else LIMITED)
        frame = frame.reformat(
            format=self.pix_fmt,
            dst_colorspace={1: 1, 9: 9}.get(matrix, 5),
            src_color_range=FULL,
            dst_color_range=extent,
            interpolation=4 | 0x40000 | 0x2000,
        )
        if self.tags:
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = self.tags
        return frame


@dataclass(frozen=True, slots=True)
class Pictures:
    """A numbered sequence of PNG files; `name`: how it is meant, a folder or a pattern in one."""

    name: str
    pictures: Callable[[], list[np.ndarray]]

    def write(self, folder: Path) -> Path:
        import cv2

        place = folder / self.name.split("/")[0]
        place.mkdir(exist_ok=True)
        for i, picture in enumerate(self.pictures()):
            cv2.imwrite(str(place / f"frame_{i + 1001}.png"), picture[..., ::-1])
        return folder / self.name


@dataclass(frozen=True, slots=True)
class Glued:
    """Clips of a kind that may be put one after the other, byte by byte, as recorders do when the signal changes."""

    name: str
    clips: tuple[Clip, ...]
    hidden: int = 0

    def shown(self) -> list[np.ndarray]:
        import cv2

        first, *more = (clip.shown() for clip in self.clips)
        size = first[0].shape[1::-1]
        return first + [cv2.resize(p, size, interpolation=cv2.INTER_CUBIC) for pictures in more for p in pictures]

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(b"".join(clip.write(folder).read_bytes() for clip in self.clips))
        return path


@dataclass(frozen=True, slots=True)
class Damaged:
    """A clip whose sound packets are noise."""

    name: str
    clip: Clip
    hidden: int = 0

    def shown(self) -> list[np.ndarray]:
        return self.clip.shown()

    def write(self, folder: Path) -> Path:
        whole = self.clip.write(folder)
        content, noise = bytearray(whole.read_bytes()), np.random.default_rng(3)
        with av.open(str(whole)) as container:
            for packet in container.demux(audio=0):
                if packet.size:
                    at = content.find(bytes(packet))
                    content[at : at + packet.size] = noise.bytes(packet.size)
        path = folder / self.name
        path.write_bytes(content)
        return path


def _add_cover(out):
    """A stream for one small picture, marked as the cover, before the real one."""
    cover = out.add_stream("mjpeg", rate=1)
    cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
    cover.time_base = Fraction(1, 90000)
    cover.disposition = av.stream.Disposition.attached_pic
    return cover


def _add_sound(out, track: Track):
    sound = out.add_stream(track.codec, rate=soundfile.info(str(track.wav)).samplerate, layout="mono")
    sound.disposition = av.stream.Disposition.default if track.default else av.stream.Disposition(0)
    return sound


def _write_sound(out, sound, track: Track, length_s: float) -> None:
    samples, rate = soundfile.read(str(track.wav), dtype="float32", always_2d=True)
    mono = samples[: math.ceil(length_s * rate), 0]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono[None]), format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, round(track.start_s * rate), Fraction(1, rate)
    out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


# Speech


@lru_cache(maxsize=8)
def spoken(length_s: float, rate: int = 16000, start_s: float = 0.0) -> np.ndarray:
    """(S,) float64: so much of samples/speech.wav, again and again where it is too short, at any rate."""
    samples, own = soundfile.read(SAMPLES / "speech.wav")
    first = round(start_s * own)
    part = np.resize(samples[first:], round(length_s * own) + 1)
    moments = np.arange(round(length_s * rate)) / rate
    return np.interp(moments, np.arange(len(part)) / own, part)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def write_sound(path: Path, codec: str, length_s: float, rate: int) -> Path:
    """Speech in a container of its own, through any encoder."""
    if codec == "vorbis":
        return write_wav(path, spoken(length_s, rate), rate, "VORBIS")
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 96000
        frame = av.AudioFrame.from_ndarray(spoken(length_s, rate).astype(np.float32)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
