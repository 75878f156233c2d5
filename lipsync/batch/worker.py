"""One job, from plain values to plain values: the same in a local worker and on a cluster."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lipsync.batch.job import Job
from lipsync.batch.storage.store import OutputStore, cache_for, content_id, fetched, is_url, shown
from lipsync.config.load import from_plain, to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.errors import user_message
from lipsync.core.progress import Hook, silent
from lipsync.store.cache import Cache
from lipsync.store.fingerprint import fingerprint
from lipsync.store.preflight import receipt_path
from media.atomic import this_host


@dataclass(frozen=True, slots=True)
class BatchPaths:
    """What all jobs of a batch share. out: folder or address of the videos; cache: folder, "" = the usual; shared:
    folder or address of analyses that several machines share."""

    out: str
    cache: str = ""
    shared: str = ""


def task_of(job: Job, where: BatchPaths, device: str = "") -> dict:
    """The job as plain values, for `perform`; device: where to compute, unless the job says so itself."""
    config = replace(job.config, device=device) if device and job.config.device == "auto" else job.config
    return {
        "target": _anywhere(job.target),
        "speech": _anywhere(job.speech),
        "footage": [_anywhere(name) for name in job.footage],
        "out": job.out,
        "config": to_plain(config),
        "where": {name: value and _anywhere(value) for name, value in asdict(where).items()},
    }


def _anywhere(name: str) -> str:
    """A name that means the same in another working folder."""
    return name if is_url(name) else os.path.abspath(name)


def job_id(job: Job) -> str:
    """What `Receipt` calls "id" once the job is done; inputs are hashed. Raises LipsyncError for one that cannot be
    read."""
    return _id(job.target, job.speech, job.footage, job.config)


def _id(target: str, speech: str, footage: Sequence[str], config: DubConfig) -> str:
    return fingerprint(content_id(target), content_id(speech), [content_id(name) for name in footage], config)


def perform(task: dict, hook: Hook = silent) -> dict:
    """Does the job: {"frames", "duration_s", "seconds", "notes"}, or {"fault": one sentence}. Interrupts are passed on,
    and leave nothing behind."""
    try:
        return _dubbed(task, hook)
    except Exception as error:
        sentence, _ = user_message(error)
        if sentence is None:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            sentence = (
                f"A fault of lipsync itself: {type(error).__name__} in {where}: {error}. Please report it, with the "
                "files if you can."
            )
        return {"fault": sentence}


def _dubbed(task: dict, hook: Hook) -> dict:
    from lipsync.pipelines.dub import dub

    began_s = time.monotonic()
    where, config = BatchPaths(**task["where"]), from_plain(task["config"])
    cache = cache_for(where.cache or None, where.shared)
    place = OutputStore(where.out, cache.folder / "outputs")
    inputs = cache.folder / "inputs"
    target, *footage = (fetched(name, inputs) for name in (task["target"], *task["footage"]))
    once = inputs / f"speech.{this_host()}.{os.getpid()}"
    speech, out = fetched(task["speech"], once), place.workfile(task["out"])
    try:
        ready = _prepared(target, tuple(footage), config, cache, hook)
        receipt = dub(
            target, speech, out, config, footage=tuple(footage), cache=cache, hook=hook, force=True, prepared=ready
        )
        facts = _of_addresses(receipt, task, dict(zip(map(str, footage), task["footage"], strict=True)), out)
        place.keep(out, task["out"])
    finally:
        shutil.rmtree(once, ignore_errors=True)
    made = facts["output"]
    return {
        "frames": made["frames"],
        "duration_s": made["duration_s"],
        "seconds": time.monotonic() - began_s,
        "notes": facts["notes"],
    }


#: The target that this process has ready, by what it was prepared from.
_ready: tuple[tuple, object] | None = None


def _prepared(target: Path, footage: tuple[Path, ...], config, cache: Cache, hook: Hook):
    """The target ready to speak: kept from the job before where that had the same."""
    global _ready
    from lipsync.pipelines.dub import prepare

    said_later = {"write": type(config.write)(), "retime": type(config.retime)(), "composite": type(config.composite)()}
    key = (
        target,
        footage,
        config.device,
        fingerprint(content_id(target), "", [content_id(file) for file in footage], replace(config, **said_later)),
    )
    if _ready is None or _ready[0] != key:
        _ready = None  # two would not always fit into memory
        _ready = key, prepare(target, config, footage=footage, cache=cache, hook=hook)
    return _ready[1]


def _of_addresses(receipt, task: dict, footage: dict[str, str], out: Path) -> dict:
    """The receipt's facts; where an input has an address, written anew with the addresses and with the id that a later
    run can know without fetching them. footage: names by the local files that were used for them."""
    names = [task["target"], task["speech"], *task["footage"]]
    if any(map(is_url, names)):
        inputs = receipt.inputs
        receipt = replace(
            receipt,
            id=_id(task["target"], task["speech"], task["footage"], from_plain(task["config"])),
            inputs=replace(
                inputs,
                target=replace(inputs.target, path=shown(names[0])),
                speech=replace(inputs.speech, path=shown(names[1])),
                footage=[replace(f, path=shown(footage[f.path])) for f in inputs.footage],  # without those of no use
            ),
        )
        receipt.save(receipt_path(out))
    return receipt.to_plain()
