"""What a dub is made from, as one number: equal exactly when the same contents, options, weights and program would make
the same video."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from lipsync.config.schema import DubConfig
from lipsync.core.installation import HOME
from lipsync.store.cache import content_hash, step_key

_PACKAGES = ("media", "audio", "video", "lipsync")
#: Options that change where and how fast a dub is made, not what it shows.
_WITHOUT_EFFECT = ("cache", "limits", "sandbox", "device", "batch", "allow_undubbed")
#: Options that name a file, whose content counts, not its name; where they hold another word (a method's name), the
#: word counts.
_FILES = (
    "texture",
    "texture_weights",
    "lips.model",
    "lips.prior",
    "face.dlib_predictor",
    "mark.badge_font",
    "mark.consent",
    "sign.certificate",
)


def fingerprint(
    target: str,
    speech: str,
    footage: Sequence[str],
    config: DubConfig,
    preview_s: float | None = None,
    segments: Sequence[object] = (),
    sounds: Sequence[object] = (),
) -> str:
    """Hex. target, speech, footage: marks of their contents, such as SHA-256; segments, sounds: plain values, with
    marks in the place of files."""
    plain = {name: value for name, value in asdict(config).items() if name not in _WITHOUT_EFFECT}
    for name in _FILES:
        section, _, key = name.rpartition(".")
        place = plain[section] if section else plain
        if place[key] and _is_file(str(place[key])):
            place[key] = content_hash(place[key])
    about = {"config": plain, "preview_s": preview_s} | ({"segments": list(segments)} if segments else {})
    about |= {"sounds": list(sounds)} if sounds else {}
    return step_key("dub", program_hash(), about, [target, speech, *footage])


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # words, too many for a name
        return False


@cache
def program_hash() -> str:
    """SHA-256 (hex) of this program: its Python files and the files that ship with it."""
    home, total = HOME, hashlib.sha256()
    for file in sorted(
        path for name in _PACKAGES for path in (home / name).rglob("*") if path.is_file() and _is_program(path)
    ):
        total.update(f"{file.relative_to(home).as_posix()} {content_hash(file)}\n".encode())
    return total.hexdigest()


def _is_program(path: Path) -> bool:
    return path.suffix in (".py", ".npy", ".toml", ".safetensors")
