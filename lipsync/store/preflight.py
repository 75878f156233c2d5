"""Refusing, before any work, files that cannot be read or must not be written."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lipsync.config.schema import WriteConfig
from lipsync.core.errors import LipsyncError, UsageError
from media.atomic import atomic_write, part_path, remove_stale

if TYPE_CHECKING:
    from media.container import InputLimits


def receipt_path(out: str | Path) -> Path:
    """The receipt beside a dubbed video: its name and `.json`."""
    return Path(f"{out}.json")


def page_path(out: str | Path) -> Path:
    """The quality report beside a dubbed video: its name and `.html`."""
    return Path(f"{out}.html")


def curve_path(out: str | Path) -> Path:
    """The picture of a training beside the model it made: model.curve.png beside model.safetensors."""
    return Path(out).with_suffix(".curve.png")


def samples_path(out: str | Path) -> Path:
    """The pictures drawn during a training, beside the weights it makes: weights.samples.png beside
    weights.safetensors."""
    return Path(out).with_suffix(".samples.png")


#: Endings of pictures in files of their own.
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr", ".dpx"}

#: What `lipsync lips` writes, with the endings that fit; the first format with an ending is meant by it.
LIPS_FORMATS = {
    "json": (".json",),
    "csv": (".csv",),
    "mp4": (".mp4", ".mov", ".mkv"),
    "rhubarb-json": (".json",),
    "rhubarb-tsv": (".tsv", ".txt"),
}


def lips_format(out: str | Path, kind: str | None, rate: Fraction | None) -> str:
    """The format of `out`, asked for or by its ending. UsageError: unknown, does not fit the ending, or has no
    `rate`."""
    ending = Path(out).suffix.lower()
    if kind is None:
        kind = next((name for name, endings in LIPS_FORMATS.items() if ending in endings), None)
        if kind is None:
            raise UsageError(
                f"Which format {out} should have is not clear from its ending. "
                "Name it .json, .csv or .mp4, or add --format."
            )
    if kind not in LIPS_FORMATS:
        raise UsageError(f"There is no format {kind!r}; known: {', '.join(LIPS_FORMATS)}.")
    if ending not in LIPS_FORMATS[kind]:
        raise UsageError(f"The format {kind} does not fit the name {out}: end it in {' or '.join(LIPS_FORMATS[kind])}.")
    if rate is not None and kind.startswith("rhubarb"):
        raise UsageError("Mouth cues have times, not frames: leave out --fps.")
    if rate is not None and not 1 <= rate <= 1000:
        raise UsageError(f"--fps {float(rate):g} is out of range: 1 to 1000 rows a second.")
    return kind


def check_readable(path: str | Path, role: str) -> None:
    """LipsyncError unless `path` is a non-empty file that can be read. role: what it is to the user, such as "target
    video"."""
    path = Path(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            _refuse_pictures(path, role)
            raise LipsyncError(f"The {role} {path} is a folder. Name the file itself.")
        if not stat.S_ISREG(kind):  # to open a pipe would wait for ever
            raise LipsyncError(f"The {role} {path} is no file on a disk. Copy it to one first.")
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except (FileNotFoundError, NotADirectoryError) as error:
        _refuse_pictures(path, role)
        raise LipsyncError(f"The {role} {path} does not exist. Check the name and the folder.") from error
    except OSError as error:
        raise LipsyncError(f"The {role} {path} cannot be read: {error.strerror}. Check its permissions.") from error
    if empty:
        raise LipsyncError(f"The {role} {path} is empty (0 bytes). Copy or export it again.")


def _refuse_pictures(path: Path, role: str) -> None:
    """LipsyncError, with the way to make a film of them, where `path` means pictures in files of their own: a folder of
    them, or a pattern such as frame_%04d.png or frame_*.png."""
    shown = path / "*" if path.is_dir() else path.with_name(re.sub(r"%0?\d*d", "*", path.name))
    found = (
        sorted(file for file in shown.parent.glob(shown.name) if file.suffix.lower() in PICTURES)
        if "*" in shown.name
        else []
    )
    if found:
        digits = re.search(r"\d+(?=\.\w+$)", found[0].name)
        start, number = (f"-start_number {int(digits[0])} ", f"%0{len(digits[0])}d") if digits else ("", "")
        name = (
            found[0].with_name(found[0].name.replace(digits[0] + found[0].suffix, number + found[0].suffix))
            if digits
            else found[0]
        )
        raise LipsyncError(
            f"The {role} {path} is {len(found)} pictures, not a film. Join them first, at their frame rate: "
            f"ffmpeg -framerate 25 {start}-i {name} -c:v ffv1 film.mkv"
        )


def check_paths(
    target: str | Path,
    speeches: Sequence[str | Path],
    out: str | Path,
    footage: Sequence[str | Path] = (),
    force: bool = False,
    sounds: Mapping[Path, str] = MappingProxyType({}),
) -> None:
    """LipsyncError where an input cannot be read, or `out` (or its receipt) is an input, exists already, or cannot be
    written."""
    inputs = [
        (target, "target video"),
        *((path, "speech file") for path in speeches),
        *((path, "footage") for path in footage),
        *sounds.items(),
    ]
    check_files(inputs, [Path(out), receipt_path(out)], force)


def check_files(inputs: Sequence[tuple[str | Path, str]], written: Sequence[Path], force: bool = False) -> None:
    """LipsyncError where one of the inputs (path, role) cannot be read, or a file to be written, the output first, is
    one of them, exists already, or cannot be written."""
    for path, role in inputs:
        check_readable(path, role)
    out = written[0]
    for file in written:
        for path, role in inputs:
            if file.exists() and os.path.samefile(file, path):
                raise LipsyncError(f"The output {file} is the {role} itself. Choose another name with -o.")
    if out.is_dir():
        raise LipsyncError(f"The output {out} is a folder. Name the file to write, for example {out / 'dubbed.mp4'}.")
    if not out.parent.is_dir():
        raise LipsyncError(f"The output folder {out.parent} does not exist. Create it, or choose another with -o.")
    for file in written:
        if file.exists() and not force:
            raise LipsyncError(f"{file} exists already. Add --force to replace it, or choose another name with -o.")
    _check_writable(out.parent)


def check_page(page: Path, inputs: Sequence[tuple[str | Path, str]], out: Path, force: bool = False) -> None:
    """UsageError, LipsyncError where the quality report of the dub `out` cannot be written by this name."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"The report {page} is a page. Name it .html.")
    if page.absolute() in (out.absolute(), receipt_path(out).absolute()):
        raise UsageError(f"The report {page} would replace the video or its receipt. Choose another name.")
    check_files(inputs, [page], force)


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it becomes `path` at a clean exit, and after an exception nothing is
    left. LipsyncError where it cannot be written."""
    try:
        with atomic_write(path) as part:
            yield part
    except OSError as error:
        raise LipsyncError(
            f"{path} could not be written ({error.strerror or error}). Check free disk space and the folder."
        ) from error


def refuse_photo(target: str | Path, n_frames: int) -> None:
    """LipsyncError where a target is a single picture."""
    if n_frames == 1:
        raise LipsyncError(
            f"The target {target} is one picture, and one picture has one mouth shape. "
            "Give a video in which the person talks."
        )


def check_speech(speech: str | Path, limits: InputLimits) -> Fraction:
    """Its length in seconds, without decoding all of it. MediaError where it holds no sound that can be read, or more
    than is opened: known before the work."""
    from audio.duration import speech_length
    from media.container import check_length

    length_s = speech_length(speech, limits)
    check_length(round(length_s * 1000), 1000, speech, limits)
    return length_s


#: (ending, settings, size) of files that this process could write.
_ENCODER_WORKS: set[tuple[str, WriteConfig, tuple[int, int]]] = set()


def check_encoder(out: str | Path, write: WriteConfig, size: tuple[int, int] = (256, 256)) -> None:
    """MediaError where a file named like `out` cannot be written with these settings: known before the work, not after
    it. Tried once for each ending, settings and size. size: width and height, where they are known."""
    tried = Path(out).suffix.lower(), write, size
    if tried not in _ENCODER_WORKS:
        _trial_encode(Path(out), write, size)
        _ENCODER_WORKS.add(tried)


def _trial_encode(out: Path, write: WriteConfig, size: tuple[int, int]) -> None:
    import torch

    from media import MediaError
    from video.clock import FrameClock
    from video.write import VideoWriter

    clock = FrameClock.constant(1, Fraction(25))
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / out.name
        try:
            how = {"codec": write.codec, "crf": write.crf, "preset": write.preset, "pix_fmt": write.pix_fmt}
            with VideoWriter(trial, width=size[0], height=size[1], clock=clock, **how) as writer:
                writer.write(torch.zeros((1, 3, size[1], size[0]), dtype=torch.uint8))
        except MediaError as error:
            raise MediaError(str(error).replace(str(trial), str(out))) from error


def _check_writable(folder: Path) -> None:
    path = folder / "lipsync.trial"
    remove_stale(path)
    trial = part_path(path)  # os.access misjudges read-only mounts and root
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise LipsyncError(
            f"The output folder {folder} cannot be written: {error.strerror}. Choose another with -o."
        ) from error
