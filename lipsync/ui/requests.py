"""What a visitor asks for, as a job: which files go into its folder, and which commands make it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lipsync.config.load import load
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.segments import Segment, seconds_of
from lipsync.core.text import printable, shortened
from lipsync.sandbox.limits import Limits
from lipsync.store.cache import Cache
from lipsync.store.segment_file import write_segments
from lipsync.ui.jobs import Command, Job

PREVIEW_S = 5
DEFAULT_PRESET = "standard"
#: Without a tick here nothing is made.
CONSENT = "Everybody who is shown and heard has agreed to this, and I will tell viewers that it is a dub."
NO_CONSENT = "Tick the box first: a dub needs the consent of everybody who is shown and heard."
_MOST_PARTS = 200
# Seconds of one core for a second of film, and for learning: they only share out the progress bar.
_COSTS = {"faces": 1.0, "mouths": 0.6, "teeth": 2.0, "lips": 45.0, "dub": 8.0}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be dubbed, as the page or a program says it. target, speech: files; preset: a name; face: which,
    None = the main one; parts: (from_s, to_s, face); consent: the box is ticked; agreed: who agreed, in words;
    preview: only the first seconds; film_s: about how long the target is, for the progress."""

    target: Path
    speech: Path
    preset: str = DEFAULT_PRESET
    face: int | None = None
    parts: Sequence[Sequence[float]] = ()
    consent: bool = False
    agreed: str = ""
    preview: bool = False
    film_s: float = 30.0


def presets(more: Path | None = None) -> dict[str, Path]:
    """The presets by name: files as for `--config`, ours and those of a folder. UsageError: one of them cannot be
    used."""
    own = Path(str(resources.files("lipsync.ui"))) / "presets"
    if more is not None and not more.is_dir():
        raise UsageError(f"--presets {more}: there is no such folder.")
    files = [*own.glob("*.toml"), *([] if more is None else more.glob("*.toml"))]
    found = {path.stem: path.resolve() for path in sorted(files)}
    for path in found.values():
        load(path)
    return dict(sorted(found.items(), key=lambda one: one[0] != DEFAULT_PRESET))


def preset_label(name: str, path: Path) -> str:
    """A preset for people: its name, and its first line where that is a comment."""
    with path.open(encoding="utf-8") as stream:
        first = stream.readline().strip()
    return f"{name}: {first[1:].strip()}" if first.startswith("#") else name


def ready_job(folder: Path) -> Job:
    """A job that makes the first dub begin sooner."""
    return _job("ready", "", "", folder, [Command(["doctor", "--compile"], [], [])], DubConfig(), {})


def look_job(target: Path, folder: Path, owner: str) -> Job:
    """A job that finds out who is in a film. LipsyncError: there is no file."""
    name = _brought(target, folder, "target")
    command = Command(["people", name, "--json"], [name], [])
    return _job("people", owner, name, folder, [command], DubConfig(), {"target": name})


def dub_job(wanted: Wanted, files: Mapping[str, Path], folder: Path, owner: str) -> Job:
    """A job that dubs, or makes a preview, and lays it beside the original. files: the presets. UsageError,
    LipsyncError: something is missing or makes no sense."""
    if not wanted.consent:
        raise UsageError(NO_CONSENT)
    if wanted.preset not in files:
        raise UsageError(f"There is no preset {shortened(wanted.preset, 40)!r}. Choose one of {', '.join(files)}.")
    config = load(files[wanted.preset])
    target, speech = _brought(wanted.target, folder, "target"), _brought(wanted.speech, folder, "speech")
    suffix = {"prores": ".mov", "ffv1": ".mkv", "vp9": ".webm"}.get(config.write.codec, ".mp4")
    kind = "preview" if wanted.preview else "dub"
    out = f"{Path(target).stem}-{'preview' if wanted.preview else 'dubbed'}{suffix}"
    agreed = printable(wanted.agreed).strip()[:500]
    words = ["dub", target, speech, "-o", out, "--config", str(files[wanted.preset]), "--json"]
    # Never the bare words: they could name a file of this machine.
    words += ["--consent", f"stated on the page: {agreed or 'everybody who is shown and heard'}"]
    words += _part_words(wanted, folder)
    words += ["--preview", str(PREVIEW_S)] if wanted.preview else []
    outputs = {"video": out, "receipt": f"{out}.json", "film": "before-after.mp4"}
    commands = [
        Command(words, [target, speech], [out, outputs["receipt"]]),
        Command(
            ["before-after", out, "-o", outputs["film"], "--json"], [out, target], [outputs["film"]], optional=True
        ),
    ]
    if not wanted.preview:
        outputs["report"] = "report.html"
        commands.append(
            Command(["report", out, "-o", outputs["report"], "--json"], [out], ["report.html"], optional=True)
        )
    job = _job(kind, owner, out, folder, commands, config, outputs)
    made_s = PREVIEW_S if wanted.preview else wanted.film_s
    shown = {"faces": wanted.film_s, "mouths": wanted.film_s, "dub": made_s}
    job.expected = {step: cost * shown.get(step, 1.0) for step, cost in _COSTS.items()}
    return job


def _part_words(wanted: Wanted, folder: Path) -> list[str]:
    """The options that say who is dubbed, and when. UsageError: times or faces that are none."""
    try:
        parts = [(seconds_of(a), seconds_of(b), int(face)) for a, b, face in wanted.parts]
        face = None if wanted.face is None else int(wanted.face)
    except (TypeError, ValueError):
        raise UsageError("A part is a time from, a time to, and a face.") from None
    if len(parts) > _MOST_PARTS:
        raise UsageError(f"At most {_MOST_PARTS} parts are dubbed at once.")
    if len(parts) > 1:
        name = "segments.csv"
        write_segments(folder / name, [Segment(a, b, face) for a, b, face in parts])
        return ["--segments", name]
    if parts:
        start, end, face = parts[0]
        return ["--from", f"{float(start):.3f}", "--to", f"{float(end):.3f}", "--face", str(face)]
    return [] if face is None else ["--face", str(face)]


def _job(
    kind: str,
    owner: str,
    name: str,
    folder: Path,
    commands: Sequence[Command],
    config: DubConfig,
    outputs: Mapping[str, str],
) -> Job:
    limits = Limits(config.sandbox.memory_gib, config.sandbox.seconds)
    return Job(kind, owner, name, folder, commands, limits, Cache(config.cache.folder or None).folder, outputs)


def _brought(path: Path, folder: Path, role: str) -> str:
    """The name in `folder` under which a file that was uploaded now lies there, too: its own, made harmless."""
    own = re.sub(r"[^\w. ()+-]", "_", printable(path.name)).strip(" .-")[-80:].lstrip(" .-") or role
    name = own if not (folder / own).exists() else f"{role}-{own}"
    try:
        if path.is_symlink() or not path.is_file():
            raise LipsyncError(f"The {role} did not arrive. Give it again.")
        try:
            os.link(path, folder / name)
        except OSError:
            shutil.copyfile(path, folder / name)
    except OSError as error:
        raise LipsyncError(f"The {role} could not be kept ({error.strerror}). Check free disk space.") from error
    return name


def told(job: Job) -> dict[str, Any]:
    """A finished job for the page: its summary and the addresses of its files."""
    from lipsync.store.receipt import Receipt

    receipt = Receipt.read(job.folder / job.outputs["receipt"])
    there = {use: f"/files/{job.id}/{use}" for use, name in job.outputs.items() if (job.folder / name).is_file()}
    names = {"video": f"Download {job.name}", "receipt": "Download the receipt", "report": "Download the report"}
    return {
        "id": job.id,
        "title": f"{'Preview' if job.kind == 'preview' else 'Dub'}: {job.name}",
        "film": there.get("film"),
        "video": there.get("video") if job.name.endswith((".mp4", ".webm")) else None,
        "report": there.get("report"),
        "files": [[text, there[use]] for use, text in names.items() if use in there],
        "lines": [] if receipt is None else receipt.summary(),
    }
