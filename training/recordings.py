"""Recordings of Debian packages, installed or unpacked: where they lie, and what they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio.load import RATE, Waveform, load_speech
from media.container import open_media


def share_folders() -> list[Path]:
    """Folders in which packages keep their data: those in LIPSYNC_SOUNDS (":" between them; also a folder of unpacked
    packages), else /usr/share and /usr/local/share."""
    named = os.environ.get("LIPSYNC_SOUNDS")
    if not named:
        return [Path("/usr/share"), Path("/usr/local/share")]
    folders = [Path(name) for name in named.split(os.pathsep)]
    return [share for one in folders for share in (one, one / "usr" / "share", *sorted(one.glob("*/usr/share")))]


def files_of(patterns: Sequence[str], without: Sequence[str] = ()) -> list[Path]:
    """The packages' files of these patterns, none whose path holds one of `without`."""
    found = {path.resolve(): path for share in share_folders() for one in patterns for path in share.glob(one)}
    return sorted(path for path in found.values() if not any(part in path.as_posix() for part in without))


def load_recording(path: Path) -> Waveform:
    """The sound of a file; .g722 is bare wide-band telephone sound. MediaError: unreadable."""
    if path.suffix != ".g722":
        return load_speech(path)
    with open_media(path, raw_format="g722") as container:
        blocks = [np.zeros(0), *(frame.to_ndarray()[0] for frame in container.decode(audio=0))]
    return Waveform.of(np.concatenate(blocks) / 32768, RATE, path.name)
