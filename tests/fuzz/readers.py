"""What each kind of damaged file is given to: the functions that the product uses for it, and what they may answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from tests.fuzz import seeds


class Wrong(Exception):
    """An answer that is neither right nor a refusal."""


@dataclass(frozen=True, slots=True)
class Kind:
    """make: writes whole files into a folder; form: of damage, by suffix of the file or for all (""); read: raises for
    what it refuses; share: of the inputs."""

    make: Callable[[Path], list[Path]]
    form: dict[str, str]
    read: Callable[[Path, Path], None]
    share: int

    def form_of(self, path: Path) -> str:
        return self.form.get(path.suffix, self.form.get("", "bytes"))


def read_video(path: Path, work: Path) -> None:
    """As a target: probed, read there and back. As footage: its sound on the picture's clock. As speech: loaded, and
    put into a video."""
    from audio.load import load_track
    from lipsync.core.timebase import feature_position, output_clock
    from video.probe import probe
    from video.read import read_rows

    with refusals() as refused:
        stream = probe(path)
        clock = output_clock(Fraction(1, 2), stream.clock)
        expect(len(clock) < 100_000, f"half a second of output has {len(clock)} frames")
        expect((np.diff(feature_position(stream.clock)[0]) >= 0).all(), "features run backwards")
        n = len(stream)
        rows = np.array([0, n // 2, n - 1, n // 3, 0, min(1, n - 1)])
        shown = 0
        for part, frames in read_rows(stream, rows, 4, rows % 2 == 1):
            expect(frames.rgb.shape[1:] == (3, stream.height, stream.width), f"frames of {tuple(frames.rgb.shape)}")
            shown += part.stop - part.start
        expect(shown == len(rows), f"{shown} of {len(rows)} rows")
    with refusals() as refused_sound:
        checked_wave(load_track(path))
    with refusals() as refused_speech:
        read_sound(path, work)
    for trouble in (*refused, *refused_sound, *refused_speech):
        raise trouble


def read_sound(path: Path, work: Path) -> None:
    """As speech: loaded, and put into a video of three frames."""
    import torch

    from audio.load import load_speech
    from video.clock import FrameClock
    from video.write import VideoWriter

    with refusals() as refused:
        checked_wave(load_speech(path))
    out = work / ("out.mkv" if path.stem.endswith("5") else "out.mp4")
    clock = FrameClock.constant(3, Fraction(25))
    with (
        refusals() as refused_track,
        VideoWriter(
            out, width=32, height=32, clock=clock, preset="ultrafast", speech=path, audio_end_s=Fraction(3, 25)
        ) as writer,
    ):
        writer.write(torch.zeros(3, 3, 32, 32, dtype=torch.uint8))
    expect(out.exists() != bool(refused_track), "a refusal with a file, or neither")
    out.unlink(missing_ok=True)
    for trouble in (*refused, *refused_track):
        raise trouble


def checked_wave(wave) -> None:
    samples = wave.samples.numpy()
    expect(
        len(samples) > 0 and np.isfinite(samples).all() and np.abs(samples).max() <= 1, "sound that is not in [-1, 1]"
    )
    expect(len(samples) < 16000 * 3600, f"{len(samples) / 16000:.0f} s of sound from a file of a few kB")


def read_config(path: Path, work: Path) -> None:
    from lipsync.config.load import load, to_toml

    config = load(path)
    (work / "again.toml").write_text(to_toml(config), encoding="utf-8")
    expect(load(work / "again.toml") == config, "the configuration is another one when written and read")


def read_settings(path: Path, work: Path) -> None:
    from lipsync.config.load import load

    refused = []
    for line in path.read_bytes().decode("utf-8", "surrogateescape").splitlines():
        with refusals() as refused_line:
            load(settings=[line])
        refused += refused_line
    for trouble in refused:
        raise trouble


def read_lip_model(path: Path, work: Path) -> None:
    from lipsync.speech.lip_model import LipModel

    model = LipModel.load(path)
    lips = model.retarget(model.rest).predict(_second()).points
    expect(lips.shape[1:] == (18, 2) and np.isfinite(lips).all(), "lips that are not numbers")


def read_texture(path: Path, work: Path) -> None:
    from lipsync.config.schema import DubConfig
    from lipsync.textures import get_method
    from lipsync.textures.trainable import read_weights

    about, _ = read_weights(path)
    name = about["method"] if about["method"] in ("pix2pix", "cycle") else "pix2pix"
    get_method(name, DubConfig(texture=name, texture_weights=str(path))).prepare(_subject(), "cpu")


def read_encoder(path: Path, work: Path) -> None:
    import torch

    from lipsync.learning.perceptual import mouth_encoder

    layers = mouth_encoder(path)(torch.zeros(1, 3, 32, 32))
    expect(all(torch.isfinite(layer).all() for layer in layers), "an encoder that answers no numbers")


def read_cached(name: str) -> Callable[[Path, Path], None]:
    """The file `name` of an entry of the cache: served only as it was made, else made again."""

    def read(path: Path, work: Path) -> None:
        from lipsync.store.cache import Cache

        whole, kept = _whole(name), Cache(work / "cache")

        def make(folder: Path) -> None:
            (folder / name).write_bytes(whole)

        entry = kept.get_or_make("track", "key", make)
        os.replace(path, entry / name)
        again = kept.get_or_make("track", "key", make)
        expect((again / name).read_bytes() == whole, "a damaged entry of the cache is served")

    return read


def read_label(path: Path, work: Path) -> None:
    """The label of a cached result: listed, cleared, and the result served only as it was made."""
    from lipsync.store.cache import Cache

    kept = Cache(work / "cache")

    def make(folder: Path) -> None:
        (folder / "facts.json").write_text("{}")

    entry = kept.get_or_make("track", "key", make, label="a.mp4")
    os.replace(path, entry / "entry.json")
    kept.entries()
    expect(
        (kept.get_or_make("track", "key", make) / "facts.json").read_text() == "{}",
        "a result without its content is served",
    )
    kept.clear()
    expect(not kept.entries(), "a result stays after clearing")


def read_manifest(path: Path, work: Path) -> None:
    """Read twice, freely and kept inside a folder; a job either has a fault or lies inside it."""
    from lipsync.batch.manifest import out_path, read_manifest

    with refusals() as refused:
        for job in read_manifest(path):
            checked_job(job)
    with refusals() as refused_root:
        for job in read_manifest(path, root=work):
            checked_job(job)
            names = [os.path.realpath(name) for name in (job.target, job.speech, *job.footage)]
            outside = [name for name in names if not name.startswith(os.path.realpath(work) + os.sep)]
            expect(bool(job.fault) or not outside, f"files outside the root: {outside}")
            with refusals():
                expect(
                    out_path(work, job.out).resolve().is_relative_to(work.resolve()),
                    f"an output outside its folder: {job.out}",
                )
    for trouble in (*refused, *refused_root):
        raise trouble


def checked_job(job) -> None:
    poor = poor_sentence(job.fault) if job.fault else ""
    expect(not poor, f"{poor}: {job.fault!r}")


def read_receipt(path: Path, work: Path) -> None:
    """Beside a finished video of seven bytes: the batch keeps it only as its own, and reports it."""
    from lipsync.batch.job import Outcome
    from lipsync.batch.report import write_report
    from lipsync.batch.run import already_done
    from lipsync.batch.storage.store import OutputStore

    job = seeds.receipt_job(work)
    (work / "out.mp4").write_bytes(b"sevenby")
    os.replace(path, work / "out.mp4.json")
    outcome = already_done(job, OutputStore(work))
    if outcome is None or outcome.state != "kept":
        expect(outcome is None or (bool(outcome.reason) and not poor_sentence(outcome.reason)), f"settled as {outcome}")
        outcome = Outcome(job, "done", "", 10, 0.4)
    sane = type(outcome.frames) is int and outcome.frames > 0 and 0 < outcome.duration_s < 1e99
    expect(sane, f"kept as {outcome.frames} frames, {outcome.duration_s} s")
    write_report([outcome], work, {"seconds": 1.0, "commit": "none"})


def read_archive(path: Path, work: Path) -> None:
    from lipsync.batch.storage.archive import DamagedArchive, unpack

    out = work / "unpacked"
    out.mkdir()
    try:
        with path.open("rb") as stream:
            unpack(stream, out, "track/key")
    except DamagedArchive:
        return
    files = {file.relative_to(out).as_posix(): file.read_text() for file in out.rglob("*") if file.is_file()}
    expect(files == seeds.ARCHIVED, "another result is unpacked")


@contextmanager
def refusals() -> Iterator[list[Exception]]:
    """A list that receives the refusal raised inside, if one is; everything else passes."""
    refused: list[Exception] = []
    try:
        yield refused
    except may_refuse() as trouble:
        refused.append(trouble)


@cache
def may_refuse() -> tuple[type[Exception], ...]:
    from lipsync.core.errors import LipsyncError
    from media import MediaError

    return MediaError, LipsyncError, MemoryError


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Wrong(otherwise)


def poor_sentence(text: str) -> str:
    """What is wrong with a refusal as a message on a terminal; "" = nothing."""
    if not (20 <= len(text) <= 700):
        return f"a message of {len(text)} letters"
    if not text.isprintable():
        return "a message with control characters"
    return "" if text.rstrip().endswith((".", "?")) else "a message that does not end as a sentence"


@cache
def _second():
    from audio.load import Waveform

    return Waveform.of(np.sin(np.arange(4000) * 0.05) * 0.3)


@cache
def _subject():
    return seeds.small_subject()


@cache
def _whole(name: str) -> bytes:
    import tempfile

    make = {"track.safetensors": seeds.make_track, "facts.json": seeds.make_facts, "crops.npy": seeds.make_crops}[name]
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder))[0].read_bytes()


_ATOMS = {".mp4": "mp4", ".mov": "mp4", ".m4a": "mp4", ".avi": "riff", ".wav": "riff"}
_TENSORS = {"": "safetensors"}
KINDS = {
    "video": Kind(seeds.make_videos, _ATOMS, read_video, 30),
    "sound": Kind(seeds.make_sounds, _ATOMS, read_sound, 20),
    "config": Kind(seeds.make_config, {"": "lines"}, read_config, 10),
    "settings": Kind(seeds.make_settings, {"": "lines"}, read_settings, 3),
    "lips": Kind(seeds.make_lip_models, _TENSORS, read_lip_model, 8),
    "texture": Kind(seeds.make_textures, _TENSORS, read_texture, 8),
    "encoder": Kind(seeds.make_encoder, _TENSORS, read_encoder, 3),
    "manifest": Kind(seeds.make_manifests, {".toml": "lines", ".csv": "csv", ".jsonl": "jsonl"}, read_manifest, 10),
    "receipt": Kind(seeds.make_receipt, {"": "json"}, read_receipt, 4),
    "archive": Kind(seeds.make_archive, {}, read_archive, 2),
    "cached-label": Kind(seeds.make_label, {"": "json"}, read_label, 3),
    "cached-track": Kind(seeds.make_track, _TENSORS, read_cached("track.safetensors"), 4),
    "cached-facts": Kind(seeds.make_facts, {"": "json"}, read_cached("facts.json"), 2),
    "cached-crops": Kind(seeds.make_crops, {"": "npy"}, read_cached("crops.npy"), 2),
}
