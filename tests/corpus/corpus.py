"""The corpus: every kind of clip and speech that people bring, made from the synthetic presenter, each with what must
come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.corpus.make import (
    SAMPLES,
    SIZE,
    Clip,
    Damaged,
    Glued,
    Pictures,
    Track,
    as_pq,
    placed,
    room,
    speaking,
    spoken,
    woven,
    write_sound,
    write_wav,
)

ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Speech:
    """make: writes it to the path given; length_s: of its sound."""

    name: str
    make: Callable[[Path], object]
    length_s: Fraction = ONE

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        if not path.exists():
            self.make(path)
        return path


SAID = Speech("said.wav", lambda p: write_wav(p, spoken(1.2)), Fraction(12, 10))
LONGER = Speech("said-2.4.wav", lambda p: write_wav(p, spoken(2.4)), Fraction(24, 10))


@dataclass(frozen=True, slots=True)
class Item:
    """A clip, a speech, and what must come of them: a refusal (`says`, `status`) or an output with these facts.

    rate: frames a second; passed: reason -> lowest and highest share of the output passed through; levels: most that a
    picture may differ from what the target shows, grey levels; tags: H.273 codes; notes: patterns that the receipt's
    notes hold; stamped: the stamp can be read; mouth: the mouth is looked at; face: which one, as in FaceConfig; still:
    rows and columns that stay as filmed; quick: in the default run; apart: in a process of its own."""

    name: str
    target: Clip | Pictures | Glued | Damaged
    speech: Speech = SAID
    options: tuple[str, ...] = ()
    out: str = "out.mp4"
    rate: Fraction = Fraction(25)
    sar: Fraction = ONE
    passed: dict[str, tuple[float, float]] = field(default_factory=dict)
    levels: float = 4.0
    tags: tuple[int, int, int, int] | None = None
    notes: tuple[str, ...] = ()
    stamped: bool = True
    mouth: bool = True
    face: dict = field(default_factory=dict)
    still: tuple[slice, slice] | None = None
    says: str = ""
    status: int = 3
    quick: bool = False
    apart: bool = False


N = 40  # pictures of most clips: 1.6 s
PLAIN = Clip("plain.mp4", lambda: speaking(N))


def plain(name: str, **how) -> Clip:
    """The usual pictures, written otherwise."""
    return replace(PLAIN, name=name, **how)


def tagged(name: str, pix_fmt: str, tags: tuple[int, int, int, int], **how) -> Clip:
    """The usual pictures with colour tags: matrix, primaries, transfer, range."""
    return plain(name, pix_fmt=pix_fmt, tags=tags, **how)


#: The target played from its start, so that it is known which row shows what.
IN_ORDER = ("--set", "retime.timeline=keep", "--set", "retime.length=speech")
PCM, MUTE = (Track(codec="pcm_s16le"),), ()
X264 = {"preset": "veryfast", "crf": "16", "g": "12", "bf": "2"}
X265 = {"x265-params": "log-level=none", "preset": "ultrafast", "crf": "8"}
LOSSLESS = {"preset": "veryfast", "qp": "0"}
INTERLACED = {"flags": "+ildct+ilme", "x264-params": "tff=1:interlaced=1", "crf": "12"}
SVT = {"preset": "8", "crf": "8", "svtav1-params": "lp=1:enable-tf=0"}
VPX = {"crf": "10", "b": "0", "cpu-used": "8", "deadline": "realtime"}
MILLI = Fraction(1, 1000)


# Clocks

_RNG = np.random.default_rng(5)
#: Frame times of a phone, milliseconds: 24 to 40 ms apart, and one long gap.
UNEVEN = np.cumsum(
    np.concatenate([[0], _RNG.choice([24, 33, 34, 40], 24), [180], _RNG.choice([24, 33, 34, 40], 24)])
).tolist()
UNEVEN_RATE = (Fraction(len(UNEVEN) - 1) / (UNEVEN[-1] * MILLI)).limit_denominator(1001)


def at_rate(name: str, rate: Fraction, n: int, **facts) -> Item:
    clip = Clip(f"rate-{name}.mp4", lambda: speaking(n, rate), rate=rate, options=X264)
    return Item(f"{name} frames a second", clip, rate=rate, **facts)


def uneven(file: str, ticks: int) -> Clip:
    """Frames at UNEVEN times, `ticks` a millisecond."""

    def pictures() -> list[np.ndarray]:
        return speaking(0, times=[t * MILLI for t in UNEVEN])

    return Clip(file, pictures, pts=[ticks * t for t in UNEVEN], base=MILLI / ticks, options=X264)


def shifted(n: int) -> list[int]:
    """Milliseconds of the usual frames, the first one n ms late."""
    return [n + 40 * i for i in range(N)]


CLOCKS = [
    at_rate("10", Fraction(10), 26),
    at_rate("23.976", Fraction(24000, 1001), 36),
    at_rate("29.97", Fraction(30000, 1001), 42),
    at_rate("50", Fraction(50), 70),
    at_rate("59.94", Fraction(60000, 1001), 80),
    at_rate("120", Fraction(120), 130),
    Item("variable rate in Matroska", uneven("vfr.mkv", 1), rate=UNEVEN_RATE, quick=True),
    Item("variable rate in MP4", uneven("vfr.mp4", 90), rate=UNEVEN_RATE),
    Item(
        "edit list that hides ten frames",
        plain(
            "edit.mp4",
            pictures=lambda: speaking(N + 10),
            pts=list(range(-10, N)),
            hidden=10,
            options={"g": "60", "bf": "0", "crf": "16"},
        ),
    ),
    Item(
        "negative start times",
        plain("negative.mp4", options=X264, mux={"movflags": "negative_cts_offsets", "use_editlist": "0"}),
        quick=True,
    ),
    Item(
        "picture that starts at ten seconds",
        plain("late.mkv", pts=shifted(10_000), base=MILLI, options=X264, tracks=(Track(start_s=10.0),)),
    ),
    Item("sound before the picture", plain("sound-first.mkv", pts=shifted(400), base=MILLI, options=X264), quick=True),
    Item("sound before the picture, MP4", plain("sound-first.mp4", pts=list(range(10, N + 10)), options=X264)),
    Item("picture before the sound", plain("sound-late.mp4", options=X264, tracks=(Track(start_s=0.5),))),
    Item(
        "bare H.264 without any times",
        plain("bare.h264", options=X264, form="h264", tracks=MUTE),
        notes=("constant 25 fps",),
        quick=True,
    ),
    Item("H.264 with B-frames in AVI", plain("h264.avi", options=X264, tracks=PCM), notes=("constant 25 fps",)),
]


# Pictures


def fields() -> list[np.ndarray]:
    return woven(speaking(N), speaking(N, times=[Fraction(2 * i + 1, 50) for i in range(N)]))


def greys() -> list[np.ndarray]:
    return [np.repeat(p.mean(-1, keepdims=True), 3, -1).astype(np.uint8) for p in speaking(N)]


def portrait() -> list[np.ndarray]:
    return speaking(N, size=(144, 256))


def disc(i: int) -> np.ndarray:
    """(H,W) uint8: opaque inside an ellipse around the head, clear outside."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return (255 * (((x - 160) / 120) ** 2 + ((y - 90) / 85) ** 2 < 1)).astype(np.uint8)


PICTURES = [
    Item("turned by 90", Clip("turned-90.mov", portrait, shown_turned=90, options=X264), quick=True),
    Item("turned by 180", plain("turned-180.mov", shown_turned=180, options=X264)),
    Item("turned by 270", Clip("turned-270.mov", portrait, shown_turned=270, options=X264)),
    Item(
        "odd width and height, 4:4:4",
        Clip("odd.mkv", lambda: speaking(N, size=(321, 181)), pix_fmt="yuv444p", options=X264),
        notes=("odd size",),
        quick=True,
    ),
    Item(
        "odd width, 4:2:0",
        Clip("odd.webm", lambda: speaking(N, size=(321, 180)), codec="libvpx-vp9", tracks=MUTE, options=VPX),
        notes=("odd size",),
    ),
    Item(
        "pixels twice as high as wide",
        plain(
            "sar.mp4",
            pictures=lambda: [np.repeat(p, 2, 1) for p in speaking(N, size=(160, 180))],
            sar=Fraction(1, 2),
            options=X264,
        ),
        sar=Fraction(1, 2),
    ),
    Item("4:2:2", plain("422.mp4", pix_fmt="yuv422p", options=X264)),
    Item("4:4:4", plain("444.mp4", pix_fmt="yuv444p", options=X264)),
    Item("ten bits, H.264", plain("10bit.mp4", pix_fmt="yuv420p10le", options=X264)),
    Item("ten bits, H.265", plain("10bit-265.mp4", codec="libx265", pix_fmt="yuv420p10le", options=X265)),
    Item("BT.709, limited", tagged("709.mp4", "yuv420p", (1, 1, 1, 1), options=X264), tags=(1, 1, 1, 1)),
    Item("BT.709, full range", tagged("709-full.mp4", "yuv420p", (1, 1, 1, 2), options=X264), tags=(1, 1, 1, 2)),
    Item(
        "BT.2020, PQ",
        tagged(
            "pq.mp4",
            "yuv420p10le",
            (9, 9, 16, 1),
            codec="libx265",
            pictures=lambda: [as_pq(p) for p in speaking(N)],
            options=X265,
        ),
        tags=(9, 9, 16, 1),
        notes=("yuv420p10le, as the target",),
        quick=True,
    ),
    Item(
        "BT.2020, HLG",
        tagged("hlg.mkv", "yuv420p10le", (9, 9, 18, 1), options=X264),
        tags=(9, 9, 18, 1),
        notes=("yuv420p10le, as the target",),
    ),
    Item("grey", plain("grey.mkv", pictures=greys, codec="ffv1", pix_fmt="gray")),
    Item("RGB", plain("rgb.mkv", codec="ffv1", pix_fmt="bgr0")),
    Item("sixteen bits of RGB", plain("gbrp16.mkv", codec="ffv1", pix_fmt="gbrp16le")),
    Item(
        "interlaced, H.264", plain("fields.mp4", pictures=fields, options=INTERLACED), notes=("interlaced",), quick=True
    ),
    Item(
        "interlaced, MPEG-2",
        plain(
            "fields.mpg",
            pictures=fields,
            codec="mpeg2video",
            options={"flags": "+ildct+ilme", "b": "4000000"},
            tracks=(Track(codec="mp2"),),
        ),
        notes=("interlaced",),
    ),
    Item(
        "alpha in ProRes 4444",
        plain(
            "alpha.mov",
            codec="prores_ks",
            pix_fmt="yuva444p10le",
            alpha=disc,
            tracks=MUTE,
            options={"profile": "4", "alpha_bits": "16"},
        ),
        notes=("transparen",),
        quick=True,
    ),
    Item(
        "alpha in QuickTime Animation",
        plain("alpha-qt.mov", codec="qtrle", pix_fmt="argb", alpha=disc, tracks=MUTE),
        notes=("transparen",),
    ),
    Item(
        "alpha in VP9",
        plain(
            "alpha.webm",
            codec="libvpx-vp9",
            pix_fmt="yuva420p",
            alpha=disc,
            tracks=MUTE,
            options={**VPX, "auto-alt-ref": "0"},
        ),
    ),
]


# Codecs and containers

TURNING_SMALL = Glued(
    "sizes.ts",
    (
        plain("size-1.ts", options=X264),
        plain("size-2.ts", options=X264, pictures=lambda: speaking(N, size=(240, 134))),
    ),
)
THREE_TRACKS = (Track(wav=SAMPLES / "speech.wav", default=False), Track(), Track(codec="flac", default=False))

CODECS = [
    Item(
        "Motion JPEG in AVI",
        plain("mjpeg.avi", codec="mjpeg", pix_fmt="yuvj420p", options={"q": "2", "qmin": "1"}, tracks=PCM),
        quick=True,
    ),
    Item(
        "ProRes 422",
        plain("prores.mov", codec="prores_ks", pix_fmt="yuv422p10le", tracks=PCM),
        out="out.mov",
        quick=True,
    ),
    Item(
        "VP9",
        plain("vp9.webm", codec="libvpx-vp9", options=VPX, tracks=(Track(codec="libopus"),)),
        out="out.webm",
        options=("--set", "write.codec=libvpx-vp9"),
    ),
    Item("AV1", plain("av1.mp4", codec="libsvtav1", options=SVT), quick=True),
    Item("AV1 in Matroska", plain("av1.mkv", codec="libsvtav1", options=SVT), out="out.mkv"),
    Item(
        "MPEG-4 part 2 in AVI",
        plain("xvid.avi", codec="mpeg4", options={"b": "3000000"}, tracks=(Track(codec="libmp3lame"),)),
    ),
    Item("transport stream", plain("stream.ts", options=X264)),
    Item(
        "fragmented MP4",
        plain("fragments.mp4", options=X264, mux={"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    ),
    Item("GIF", plain("gif.gif", codec="gif", pix_fmt="rgb8", tracks=MUTE), levels=16, quick=True),
    Item("animated PNG", plain("apng.apng", codec="apng", pix_fmt="rgb24", tracks=MUTE, form="apng")),
    Item(
        "one picture",
        plain(
            "still.png",
            pictures=lambda: speaking(1),
            codec="png",
            pix_fmt="rgb24",
            form="image2",
            mux={"update": "1"},
            tracks=MUTE,
        ),
    ),
    Item(
        "numbered pictures",
        Pictures("frames/frame_%04d.png", lambda: speaking(3)),
        quick=True,
        apart=True,
        says=r"3 pictures, not a film.*-start_number 1001 -i \S*/frames/frame_%04d.png",
    ),
    Item(
        "a folder of pictures",
        Pictures("frames", lambda: speaking(3)),
        says=r"3 pictures, not a film.*-i \S*/frames/frame_%04d.png",
    ),
    Item("several sound tracks", plain("tracks.mkv", options=X264, tracks=THREE_TRACKS), quick=True),
    Item("no sound at all", plain("mute.mp4", options=X264, tracks=MUTE)),
    Item(
        "sound that is damaged",
        Damaged("hurt.mkv", plain("whole.mkv", options=X264, tracks=(Track(codec="libmp3lame"),))),
    ),
    Item("a cover picture beside the clip", plain("cover.mp4", options=X264, cover=True)),
    Item("a picture that changes its size", TURNING_SMALL, LONGER, options=IN_ORDER, stamped=False, levels=16),
]


# Faces

LEFT, LEFT_AND_MIDDLE = (slice(0, 180), slice(0, 150)), (slice(0, 180), slice(0, 330))


def three() -> list[np.ndarray]:
    """A tinted person left, another in the middle and largest, a third one right."""
    left = [p[..., [0, 2, 1]] for p in speaking(N, size=(150, 150), seed=1)]
    middle, right = speaking(N, size=(180, 180)), speaking(N, size=(150, 150), seed=1)
    ground = placed(left, (480, 180), lambda i: (0, 30), room(N, (480, 180)))
    ground = placed(middle, (480, 180), lambda i: (150, 0), ground)
    return placed(right, (480, 180), lambda i: (330, 30), ground)


def passing(n: int = 80) -> list[np.ndarray]:
    """A person who walks in from the right, stays, and walks out to the left."""
    where = np.interp(np.arange(n), [0, 8, 18, 56, 66, n], [330, 180, 70, 70, -150, -200]).round().astype(int)
    return placed(speaking(n, size=(180, 180)), SIZE, lambda i: (int(where[i]), 0), room(n))


def small(height: int) -> list[np.ndarray]:
    """A whole presenter in a square of this height, at the bottom of a room."""
    return placed(speaking(N, size=(height, height)), SIZE, lambda i: (160 - height // 2, 180 - height), room(N))


def huge() -> list[np.ndarray]:
    """From brow to chin the face fills the picture."""
    return [p[220:490, 400:880] for p in speaking(N, size=(1280, 720))]


def black(which: range) -> list[np.ndarray]:
    return [p * 0 if i in which else p for i, p in enumerate(speaking(N))]


def elsewhere() -> list[np.ndarray]:
    """The person, eight frames of another place without anybody, the person."""
    return speaking(15) + [p[:, ::-1] // 2 for p in room(8)] + speaking(N)[23:]


def once() -> list[np.ndarray]:
    return [face if i == 20 else empty for i, (face, empty) in enumerate(zip(speaking(N), room(N), strict=True))]


FACES = [
    Item(
        "a cut to a room without anybody",
        plain("cut.mp4", pictures=elsewhere),
        options=IN_ORDER,
        passed={"no face": (0.26, 0.28)},
        quick=True,
    ),
    Item(
        "nobody in the middle",
        plain("absent.mp4", pictures=lambda: speaking(N, absent=(0.6, 1.0))),
        options=IN_ORDER,
        passed={"no face": (0.3, 0.4)},
        quick=True,
    ),
    Item("three people", Clip("three.mp4", three), still=LEFT),
    Item(
        "three people, the one on the right",
        Clip("three.mp4", three),
        options=("--face", "2"),
        face={"index": 2},
        still=LEFT_AND_MIDDLE,
        quick=True,
    ),
    Item(
        "a face entering and leaving",
        Clip("passing.mp4", passing),
        LONGER,
        options=IN_ORDER,
        quick=True,
        passed={"no face": (0.1, 0.4), "covered": (0, 0.15)},
    ),
    Item(
        "a hand over the mouth",
        plain("hand.mp4", pictures=lambda: speaking(75, occluder=(1.0, 2.0))),
        LONGER,
        options=IN_ORDER,
        passed={"covered": (0.25, 0.4)},
        quick=True,
    ),
    Item(
        "yaw to 60 degrees",
        plain("yaw.mp4", pictures=lambda: speaking(50, yaw=lambda i: min(60, 60 * i / 27))),
        options=IN_ORDER,
        passed={"turned too far": (0.25, 0.45)},
        quick=True,
    ),
    Item("a face of 40 pixels", plain("small.mp4", pictures=lambda: small(118), options=LOSSLESS), quick=True),
    Item(
        "a face of 25 pixels",
        plain("tiny.mp4", pictures=lambda: small(72), options=LOSSLESS),
        says="face too small.*Enlarge",
    ),
    Item("a huge face", plain("huge.mp4", pictures=huge)),
    Item(
        "black at the start",
        plain("black.mp4", pictures=lambda: black(range(15))),
        options=IN_ORDER,
        passed={"no face": (0.3, 0.6)},
        stamped=False,
    ),
    Item(
        "nothing but black",
        plain("all-black.mp4", pictures=lambda: black(range(N))),
        says="No face",
        quick=True,
        apart=True,
    ),
    Item("a face for one frame only", plain("once.mp4", pictures=once), passed={"no face": (0.9, 1.0)}, quick=True),
    Item("one frame", plain("one.mp4", pictures=lambda: speaking(1), tracks=MUTE)),
    Item("nobody", plain("nobody.mp4", pictures=lambda: room(N)), says="No face"),
]


# Speech


def speech(
    name: str, samples: Callable[[], np.ndarray], rate: int = 16000, subtype: str = "PCM_16", length_s: Fraction = ONE
) -> Speech:
    return Speech(name, lambda p: write_wav(p, samples(), rate, subtype), length_s)


def with_nan() -> np.ndarray:
    samples = spoken(1.0).copy()
    samples[3000:3100], samples[9000], samples[9100] = np.nan, np.inf, -1e30
    return samples


def channels(n: int) -> np.ndarray:
    return spoken(1.0, 48000)[:, None] * np.linspace(1, 0.3, n)


def encoded(ending: str, codec: str, rate: int, length_s: Fraction = ONE, out: str = "out.mp4") -> Item:
    return Item(
        f"speech as {ending}",
        PLAIN,
        Speech(f"as.{ending}", lambda p: write_sound(p, codec, 1.0, rate), length_s),
        out=out,
    )


def two_tracks(path: Path) -> None:
    """A clip in whose second sound track, the default one, the words are."""
    tracks = (Track(wav=SAMPLES / "speech.wav", codec="pcm_s16le", default=False), Track(codec="pcm_s16le"))
    plain(path.name, options=X264, tracks=tracks).write(path.parent)


NAN = speech("nan.wav", with_nan, subtype="FLOAT")
ALL_NAN = speech("all-nan.wav", lambda: np.full(16000, np.nan), subtype="FLOAT")
RATES = (8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000)

SPEECH = [
    Item(
        "speech of 0.05 s",
        PLAIN,
        speech("short.wav", lambda: spoken(0.05, start_s=0.5), length_s=Fraction(1, 20)),
        quick=True,
        apart=True,
    ),
    Item(
        "speech of one sample",
        PLAIN,
        speech("sample.wav", lambda: spoken(1 / 16000, start_s=0.5), length_s=Fraction(1, 16000)),
    ),
    Item("silence", PLAIN, speech("silence.wav", lambda: np.zeros(16000)), notes=("silent",), mouth=False, quick=True),
    Item("clipped speech", PLAIN, speech("clipped.wav", lambda: np.clip(30 * spoken(1.0), -1, 1)), mouth=False),
    Item("speech beyond full scale", PLAIN, speech("loud.wav", lambda: 8 * spoken(1.0), subtype="FLOAT"), quick=True),
    Item("samples that are not numbers", PLAIN, NAN, notes=("not numbers",), quick=True),
    Item("samples that are not numbers, copied", PLAIN, NAN, out="out.mkv", notes=("not numbers",)),
    Item("nothing but samples that are not numbers", PLAIN, ALL_NAN, notes=("not numbers", "silent"), mouth=False),
    *(
        Item(f"{r} Hz", PLAIN, speech(f"{r}.wav", lambda r=r: spoken(1.0, r), r), quick=r in (8000, 192000))
        for r in RATES
    ),
    *(
        Item(f"{n} channels", PLAIN, speech(f"{n}ch.wav", lambda n=n: channels(n), 48000), quick=n in (2, 8))
        for n in range(2, 9)
    ),
    Item(
        "8 channels at 192 kHz, copied",
        PLAIN,
        speech("8ch-192.wav", lambda: spoken(1.0, 192000)[:, None] * np.ones(8), 192000, "PCM_24"),
        out="out.mov",
    ),
    Item(
        "channels that cancel each other",
        PLAIN,
        speech("against.wav", lambda: spoken(1.0, 48000)[:, None] * [1, -1], 48000),
        notes=("silent",),
        mouth=False,
    ),
    encoded("mp3", "libmp3lame", 44100),
    encoded("m4a", "aac", 44100),
    encoded("ogg", "vorbis", 48000),
    encoded("opus", "libopus", 48000),
    encoded("flac", "flac", 48000, out="out.mkv"),
    # What these two keep of one second: whole blocks; a bare AAC stream does not say how much of its first and last one
    # is filling.
    encoded("wma", "wmav2", 44100, Fraction(21 * 2048, 44100)),
    encoded("aac", "aac", 44100, Fraction(45 * 1024, 44100)),
    Item(
        "speech from a clip with several sound tracks",
        PLAIN,
        Speech("said-tracks.mkv", two_tracks, Fraction(16, 10)),
        quick=True,
    ),
]

ITEMS: list[Item] = [*CLOCKS, *PICTURES, *CODECS, *FACES, *SPEECH]
