"""Refusing, before any work, files that cannot be read or must not be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from lipsync.config import WriteConfig
from lipsync.errors import LipsyncError


def receipt_path(out: str | Path) -> Path:
    """The receipt beside a dubbed video: its name and `.json`."""
    return Path(f"{out}.json")


def check_readable(path: str | Path, role: str) -> None:
    """LipsyncError unless `path` is a non-empty file that can be read. role: what it is to the user, such as "target video"."""
    path = Path(path)
    if not path.exists():
        raise LipsyncError(f"The {role} {path} does not exist. Check the name and the folder.")
    if path.is_dir():
        raise LipsyncError(f"The {role} {path} is a folder. Name the file itself.")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise LipsyncError(f"The {role} {path} cannot be read: {error.strerror}. Check its permissions.") from error
    if empty:
        raise LipsyncError(f"The {role} {path} is empty (0 bytes). Copy or export it again.")


def check_paths(target: str | Path, speech: str | Path, out: str | Path, footage: Sequence[str | Path] = (), force: bool = False) -> None:
    """LipsyncError where an input cannot be read, or `out` (or its receipt) is an input, exists already, or cannot be written."""
    inputs = [(target, "target video"), (speech, "speech file"), *((path, "footage") for path in footage)]
    for path, role in inputs:
        check_readable(path, role)
    out = Path(out)
    for written in (out, receipt_path(out)):
        for path, role in inputs:
            if written.exists() and os.path.samefile(written, path):
                raise LipsyncError(f"The output {written} is the {role} itself. Choose another name with -o.")
    if out.is_dir():
        raise LipsyncError(f"The output {out} is a folder. Name the file to write, for example {out / 'dubbed.mp4'}.")
    if not out.parent.is_dir():
        raise LipsyncError(f"The output folder {out.parent} does not exist. Create it, or choose another with -o.")
    for written in (out, receipt_path(out)):
        if written.exists() and not force:
            raise LipsyncError(f"{written} exists already. Add --force to replace it, or choose another name with -o.")
    _check_writable(out.parent)


def check_encoder(out: str | Path, write: WriteConfig) -> None:
    """VideoError where a file named like `out` cannot be written with these settings: known before the work, not after it."""
    import torch

    from video import VideoError
    from video.frames import FrameClock
    from video.write import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / Path(out).name
        try:
            with VideoWriter(
                trial, width=256, height=256, clock=FrameClock.constant(1, Fraction(25)), codec=write.codec, crf=write.crf, preset=write.preset
            ) as writer:
                writer.write(torch.zeros((1, 3, 256, 256), dtype=torch.uint8))
        except VideoError as error:
            raise VideoError(str(error).replace(str(trial), str(out))) from error


def _check_writable(folder: Path) -> None:
    trial = folder / f".lipsync.{os.getpid()}.part.tmp"  # os.access misjudges read-only mounts and root
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise LipsyncError(f"The output folder {folder} cannot be written: {error.strerror}. Choose another with -o.") from error
