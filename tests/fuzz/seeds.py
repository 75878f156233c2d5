"""Small whole files of every kind that the program reads: what the fuzz run damages. The same files at every call."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

SIZE = (64, 48)
#: name of the file -> (picture codec and its options, sound codec); "" = none.
VIDEOS = {
    "h264.mp4": ("libx264", {"g": "4", "bf": "1"}, "aac"),
    "frag.mp4": ("libx264", {"g": "4"}, "aac"),
    "turned.mov": ("mpeg4", {}, "pcm_s16le"),
    "h264.mkv": ("libx264", {"g": "4"}, "flac"),
    "ffv1.mkv": ("ffv1", {}, "pcm_s16le"),
    "mpeg4.avi": ("mpeg4", {"g": "4"}, "libmp3lame"),
    "mjpeg.avi": ("mjpeg", {}, "pcm_s16le"),
    "a.gif": ("gif", {}, ""),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "libopus"),
    "a.mjpeg": ("mjpeg", {}, ""),
}
SOUNDS = {
    "s16.wav": "pcm_s16le",
    "f32.wav": "pcm_f32le",
    "a.flac": "flac",
    "a.mp3": "libmp3lame",
    "a.aac": "aac",
    "a.m4a": "aac",
    "a.ogg": "libopus",
}
CONFIG = """texture = "median"
device = "cpu"
batch = 4
[face]
index = 0
at = [10.0, 20.5]
smooth_s = 0.1
[lips]
prior = "none"
steps = 300
[retime]
length = "loop"
seek = 10.0
[median]
trajectory = [0.1, 0.8, 0.1]
[write]
codec = "libx264"
crf = 20
"""


def make_videos(folder: Path) -> list[Path]:
    """Ten frames and 0.4 s of sound in every container."""
    for name, (codec, options, sound) in VIDEOS.items():
        _write_video(folder / name, codec, options, sound)
    return [folder / name for name in VIDEOS]


def make_sounds(folder: Path) -> list[Path]:
    import av

    for name, codec in SOUNDS.items():
        with av.open(str(folder / name), "w", options={"fflags": "+bitexact"}) as out:
            track = _sound_track(out, codec)
            out.mux(track.encode(_tone(track, 0.4)))
            out.mux(track.encode(None))
    return [folder / name for name in SOUNDS]


def _write_video(path: Path, codec: str, options: dict, sound: str) -> None:
    import av

    muxing = {"fflags": "+bitexact"} | (
        {"movflags": "frag_keyframe+empty_moov"} if path.name.startswith("frag") else {}
    )
    with av.open(str(path), "w", options=muxing) as out:
        picture = out.add_stream(codec, rate=25, options=options | {"threads": "1"})
        picture.width, picture.height = SIZE
        picture.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        if path.name.startswith("turned"):
            picture.set_display_rotation(90)
        track = _sound_track(out, sound) if sound else None
        y, x = np.mgrid[: SIZE[1], : SIZE[0]]
        for i in range(10):
            grey = (x * 3 + y * 2 + 9 * i).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.stack([grey, grey // 2, 255 - grey], -1), format="rgb24").reformat(
                format=picture.pix_fmt
            )
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        if track:
            out.mux(track.encode(_tone(track, 0.4)))
            out.mux(track.encode(None))


def _sound_track(out, codec: str):
    track = out.add_stream(codec, rate=48000 if codec == "libopus" else 16000)
    track.codec_context.layout = "mono"
    return track


def _tone(track, seconds: float):
    import av

    rate = track.codec_context.sample_rate
    samples = (0.3 * np.sin(np.arange(round(seconds * rate)) * 0.05)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    return frame


def in_order(path: Path) -> Path:
    """The same safetensors file with its head in order: safetensors writes what is said about the tensors in any
    order."""
    whole = path.read_bytes()
    n = int.from_bytes(whole[:8], "little")
    text = json.dumps(json.loads(whole[8 : 8 + n]), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + n :])
    return path


def make_config(folder: Path) -> list[Path]:
    (folder / "mine.toml").write_text(CONFIG)
    return [folder / "mine.toml"]


def make_settings(folder: Path) -> list[Path]:
    """What follows --set, one a line."""
    lines = [
        "write.crf=18",
        "face.at=[10, 20]",
        "texture=median",
        "lips.prior=none",
        "retime.timeline=keep",
        "median.fade=0.2,0.6,0.2",
        "batch=4",
    ]
    (folder / "settings.txt").write_text("\n".join(lines))
    return [folder / "settings.txt"]


def make_lip_models(folder: Path) -> list[Path]:
    """The smallest network, twice: the second is of two networks."""
    import torch

    from lipsync.core.lips import LipBasis
    from lipsync.speech.encoders.registry import PAPER
    from lipsync.speech.lip_model import SHAPES, LipModel, LipNet

    rng = np.random.default_rng(0)
    basis = LipBasis.fit(rng.normal(0, 0.1, (40, 18, 2)), np.ones(40, bool), 4)
    n_in = PAPER.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets = [LipNet(n_in, 4, SHAPES["paper"]).eval() for _ in range(2)]
    for n, name in ((1, "one"), (2, "two")):
        model = LipModel(
            "paper", nets[:n], torch.zeros(n_in), torch.ones(n_in), basis, basis.mean.copy(), 1.1, {"lmd": 0.02}
        )
        model.save(folder / f"{name}.safetensors")
    return [in_order(folder / f"{name}.safetensors") for name in ("one", "two")]


def make_textures(folder: Path) -> list[Path]:
    """Untrained weights of two methods, small."""
    from lipsync.config.schema import DubConfig
    from lipsync.config.textures import CycleConfig, Pix2PixConfig
    from lipsync.textures import get_method

    subject, small = small_subject(), {"width": 32, "steps": 10, "batch": 2}
    config = DubConfig(
        pix2pix=Pix2PixConfig(**small, levels=3, channels=4, discriminator_channels=4),
        cycle=CycleConfig(**small, channels=4),
    )
    for name in ("pix2pix", "cycle"):
        get_method(name, config).begin(subject, "cpu").save(folder / f"{name}.safetensors")
    return [in_order(folder / f"{name}.safetensors") for name in ("pix2pix", "cycle")]


def make_encoder(folder: Path) -> list[Path]:
    import torch

    from lipsync.learning.perceptual import MouthEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MouthEncoder().save(folder / "encoder.safetensors", {"recipe": "none"})
    return [in_order(folder / "encoder.safetensors")]


def make_track(folder: Path) -> list[Path]:
    """What the cache keeps of a face: arrays and facts."""
    from lipsync.store.cache import save_arrays

    track = small_subject().track
    arrays = {
        name: getattr(track, name)
        for name in ("pixel_from_face", "landmarks", "pose", "eyes", "valid", "reason", "shot")
    }
    save_arrays(folder / "track.safetensors", arrays | {"lips": track.lips.points, "lips_valid": track.lips.valid})
    return [folder / "track.safetensors"]


def make_facts(folder: Path) -> list[Path]:
    (folder / "facts.json").write_text(json.dumps({"people": 1, "video": "target.mp4"}))
    return [folder / "facts.json"]


def make_bank(folder: Path) -> list[Path]:
    from lipsync.store.cache import save_arrays

    bank = small_subject().bank
    save_arrays(
        folder / "bank.safetensors",
        {name: getattr(bank, name) for name in ("source", "lips", "jaw", "pose", "sharpness", "shot")},
    )
    return [folder / "bank.safetensors"]


def make_crops(folder: Path) -> list[Path]:
    np.save(folder / "crops.npy", small_subject().bank.crops)
    return [folder / "crops.npy"]


def make_teeth(folder: Path) -> list[Path]:
    from dataclasses import asdict

    from lipsync.store.cache import save_arrays

    space, rng = small_subject().bank.space, np.random.default_rng(0)
    detail, mask = rng.normal(0, 0.1, (2, 3, space.height, space.width)), rng.random((2, space.height, space.width))
    from lipsync.core.types import TeethReference

    teeth = TeethReference(
        detail.astype(np.float32),
        mask.astype(np.float32),
        small_subject().bank.lips[:2],
        np.array([0.2, 0.1], np.float32),
    )
    save_arrays(folder / "teeth.safetensors", asdict(teeth))
    return [folder / "teeth.safetensors"]


MANIFESTS = {
    "jobs.toml": """[defaults]
retime.length = "loop"
write.crf = 20
[[job]]
target = "a.mp4"
speech = "b.wav"
out = "one.mp4"
[[job]]
target = "a.mp4"
speech = "c.wav"
out = "more/two.mp4"
footage = ["d.mp4", "e.mp4"]
face = {index = 0}
""",
    "jobs.csv": """target,speech,out,footage,write.crf,face.at
a.mp4,b.wav,one.mp4,,18,
"a.mp4",c.wav,two.mp4,d.mp4;e.mp4,,"10,20"
x.mp4,"c, d.wav",three.mp4,,,none
""",
    "jobs.jsonl": """{"target": "a.mp4", "speech": "b.wav", "out": "one.mp4"}
{"target": "a.mp4", "speech": "c.wav", "out": "two.mp4", "footage": ["d.mp4"], "write": {"crf": 18}}
{"target": "x.mp4", "speech": "c.wav", "face.at": [1.5, 2]}
""",
}


def make_manifests(folder: Path) -> list[Path]:
    for name, text in MANIFESTS.items():
        (folder / name).write_text(text)
    return [folder / name for name in MANIFESTS]


def make_receipt(folder: Path) -> list[Path]:
    """The receipt of `receipt_job` done in `folder`, whose files are written too."""
    from lipsync.batch.worker import job_id
    from lipsync.config.load import to_plain

    job = receipt_job(folder)
    facts = {
        "id": job_id(job),
        "made_by": {"lipsync": "1"},
        "config": to_plain(job.config),
        "notes": ["a note"],
        "output": {
            "path": "out.mp4",
            "frames": 10,
            "duration_s": 0.4,
            "rate": "25",
            "bytes": 7,
            "sha256": "0" * 64,
            "speech": "copied",
        },
        "lips": {"lmd": 0.01, "opening_r": 0.9, "articulation": 1.0},
        "seconds": {"dub": 1.0, "total": 2.0},
        "rendered_share": 1.0,
        "passed_through": [{"from_row": 0, "to_row": 3, "from_s": 0.0, "to_s": 0.16, "reason": "no face"}],
    }
    (folder / "out.mp4.json").write_text(json.dumps(facts))
    return [folder / "out.mp4.json"]


def receipt_job(folder: Path):
    """A job whose inputs are two short files in `folder`."""
    from lipsync.batch.job import Job

    inputs = folder.parent / f"{folder.name}-inputs"
    inputs.mkdir(exist_ok=True)
    for name in ("a.mp4", "b.wav"):
        (inputs / name).write_bytes(name.encode())
    return Job(str(inputs / "a.mp4"), str(inputs / "b.wav"), "out.mp4")


def make_archive(folder: Path) -> list[Path]:
    """A result of the cache as it is shared between machines."""
    from lipsync.batch.storage.archive import pack

    inner = folder.parent / f"{folder.name}-packed"
    (inner / "more").mkdir(parents=True, exist_ok=True)
    (inner / "facts.json").write_text(ARCHIVED["facts.json"])
    (inner / "more" / "rows.txt").write_text(ARCHIVED["more/rows.txt"])
    with (folder / "result.tar").open("wb") as stream:
        pack(inner, stream, "track/key")
    return [folder / "result.tar"]


ARCHIVED = {"facts.json": json.dumps({"people": 1}), "more/rows.txt": "row\n" * 300}


def make_label(folder: Path) -> list[Path]:
    """What the cache notes down of a result."""
    from lipsync.store.cache import Cache

    kept = Cache(folder.parent / f"{folder.name}-cache")
    entry = kept.get_or_make("track", "key", lambda part: (part / "facts.json").write_text("{}"), label="a.mp4")
    label = json.loads((entry / "entry.json").read_text())
    for facts in label["files"].values():
        facts[1] = 10**18  # when it was written
    (folder / "entry.json").write_text(json.dumps(label))
    return [folder / "entry.json"]


def small_subject():
    """A subject of ten drawn mouths, as the tests have it."""
    from tests.support.drawn import drawn_subject

    return drawn_subject(np.linspace(0.0, 0.2, 10), 12.0)
