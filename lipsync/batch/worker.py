"""One job, from plain values to plain values: the same in a local worker and on a cluster."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lipsync.batch.job import Job, Parts, Sources
from lipsync.batch.parts import casting_of, marks_of, span_of
from lipsync.batch.storage.address import content_id, fetched, is_url, redacted
from lipsync.batch.storage.shared_cache import cache_for
from lipsync.batch.storage.store import OutputStore
from lipsync.config.load import from_plain, to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.errors import user_message
from lipsync.core.progress import Hook, silent
from lipsync.store.cache import Cache
from lipsync.store.fingerprint import fingerprint
from lipsync.store.preflight import page_path, receipt_path
from lipsync.store.receipt import InputFile, Receipt
from media.atomic import this_host

if TYPE_CHECKING:
    from lipsync.pipelines.models import Prepared


@dataclass(frozen=True, slots=True)
class BatchPaths:
    """What all jobs of a batch share. out: folder or address of the videos; cache: folder, "" = the usual; shared:
    folder or address of analyses that several machines share."""

    out: str
    cache: str = ""
    shared: str = ""


#: Whether a quality report is made beside the video: no, too, or nothing else, of a video that is there.
PageWish = Literal["none", "too", "only"]


def task_of(job: Job, paths: BatchPaths, device: str = "", page: PageWish = "none") -> dict:
    """The job as plain values, for `perform`; device: where to compute, unless the job says so itself."""
    config = replace(job.config, device=device) if device and job.config.device == "auto" else job.config
    return {
        "target": _absolute(job.target),
        "speech": job.speech and _absolute(job.speech),
        "parts": asdict(job.parts),
        "sources": asdict(job.sources) | {key: _absolute(name) for key, name in job.sources.files.items()},
        "footage": [_absolute(name) for name in job.footage],
        "out": job.out,
        "config": to_plain(config),
        "paths": {name: value and _absolute(value) for name, value in asdict(paths).items()},
        "page": page,
    }


def _absolute(name: str) -> str:
    """A name that means the same in another working folder."""
    return name if is_url(name) else os.path.abspath(name)


def job_id(job: Job) -> str:
    """What `Receipt` calls "id" once the job is done; inputs are hashed. Raises LipsyncError for one that cannot be
    read."""
    return _id(job.target, job.speech, job.footage, job.config, marks_of(job.parts, job.sources))


def _id(target: str, speech: str, footage: Sequence[str], config: DubConfig, marks: Sequence[object]) -> str:
    said, more = speech and content_id(speech), [content_id(name) for name in footage]
    return fingerprint(content_id(target), said, more, config, segments=marks)


def perform(task: dict, hook: Hook = silent) -> dict:
    """Does the job: {"frames", "duration_s", "seconds", "notes", "dubbed", "doubt", "page"}, as `Outcome` has them, or
    {"fault": one sentence}. Interrupts are passed on, and leave nothing behind."""
    try:
        return _dubbed(task, hook)
    except Exception as error:
        return {"fault": _sentence(error)}


def _sentence(error: Exception) -> str:
    sentence, _ = user_message(error)
    if sentence is not None:
        return sentence
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}, line {last.lineno}"
    return (
        f"A fault of lipsync itself: {type(error).__name__} in {place}: {error}. Please report it, with the "
        "files if you can."
    )


def _dubbed(task: dict, hook: Hook) -> dict:
    began_s = time.monotonic()
    paths = BatchPaths(**task["paths"])
    cache = cache_for(replace(from_plain(task["config"]).cache, folder=paths.cache), paths.shared)
    store = OutputStore(paths.out, cache.folder / "outputs")
    target, out = fetched(task["target"], cache.folder / "inputs"), store.workfile(task["out"])
    wish: PageWish = task.get("page", "none")
    receipt = Receipt.read(receipt_path(out)) if wish == "only" else None
    receipt = receipt or _made(task, target, out, cache, hook)
    fault = _write_page(out, target, cache, hook) if wish != "none" else ""
    store.keep(out, task["out"])
    return {
        "frames": receipt.output.frames,
        "duration_s": receipt.output.duration_s,
        "seconds": time.monotonic() - began_s,
        "notes": [*receipt.notes, *([f"No quality report: {fault}"] if fault else [])],
        "dubbed": receipt.rendered_share,
        "doubt": receipt.doubt.share,
        "page": wish != "none" and not fault,
    }


def _write_page(out: Path, target: Path, cache: Cache, hook: Hook) -> str:
    """Makes the quality report; a sentence where that fails: the video is good all the same."""
    from lipsync.pipelines.report_page import write_report

    try:
        write_report(out, page_path(out), target, cache, hook)
    except Exception as error:
        return _sentence(error)
    return ""


def _made(task: dict, target: Path, out: Path, cache: Cache, hook: Hook) -> Receipt:
    """The receipt of the video, which is written."""
    from lipsync.pipelines.dub import dub

    config, inputs = from_plain(task["config"]), cache.folder / "inputs"
    footage = [fetched(name, inputs) for name in task["footage"]]
    once = inputs / f"speech.{this_host()}.{os.getpid()}"
    speech = task["speech"] and fetched(task["speech"], once)
    parts, sources = _parts(task), Sources(**task["sources"])
    try:
        beside = {key: fetched(name, once) for key, name in sources.files.items()}
        said = casting_of(parts, target, config, cache, hook)
        alone = parts.segments or sources.lips_from
        if alone:
            cache.release()  # what the job before used
        ready = None if alone else _prepared(target, tuple(footage), config, cache, hook)
        receipt = dub(
            target,
            speech or None,
            out,
            config,
            footage=tuple(footage),
            segments=said.segments,
            span=span_of(parts),
            lips_from=beside.get("lips_from"),
            mix=beside.get("mix"),
            background=beside.get("background", sources.background) or None,
            notes=said.notes,
            cache=cache,
            hook=hook,
            force=True,
            prepared=ready,
        )
    finally:
        shutil.rmtree(once, ignore_errors=True)
    return _of_addresses(receipt, task, dict(zip(map(str, footage), task["footage"], strict=True)), out)


def _parts(task: dict) -> Parts:
    return Parts(**task["parts"] | {"cast": tuple(task["parts"]["cast"])})


#: The target that this process has ready, by what it was prepared from.
_ready: tuple[tuple, Prepared] | None = None


def _prepared(target: Path, footage: tuple[Path, ...], config: DubConfig, cache: Cache, hook: Hook) -> Prepared:
    """The target ready to speak: kept from the job before where that had the same."""
    global _ready
    from lipsync.pipelines.dub import prepare

    default = DubConfig()
    shared = replace(config, write=default.write, retime=default.retime, composite=default.composite, others="keep")
    key = (
        target,
        footage,
        config.device,
        fingerprint(content_id(target), "", [content_id(file) for file in footage], shared),
    )
    if _ready is None or _ready[0] != key:
        _ready = None  # two would not always fit into memory
        cache.release()
        _ready = key, prepare(target, config, footage=footage, cache=cache, hook=hook)
    return _ready[1]


def _of_addresses(receipt: Receipt, task: dict, footage: dict[str, str], out: Path) -> Receipt:
    """The receipt; where an input has an address, or more is asked for than a speech for a target, written anew with
    the addresses and with the id that a later run can know without fetching them or looking for faces. footage: names
    by the local files that were used for them."""
    names = [task["target"], task["speech"], *task["footage"]]
    parts, sources = _parts(task), Sources(**task["sources"])
    if any(map(is_url, names)) or (parts, sources) != (Parts(), Sources()):
        inputs = receipt.inputs
        beside = {key: InputFile(redacted(name), getattr(inputs, key).sha256) for key, name in sources.files.items()}
        receipt = replace(
            receipt,
            id=_id(
                task["target"], task["speech"], task["footage"], from_plain(task["config"]), marks_of(parts, sources)
            ),
            inputs=replace(
                inputs,
                target=replace(inputs.target, path=redacted(names[0])),
                speech=replace(inputs.speech, path=redacted(names[1] or inputs.speech.path)),
                footage=[replace(f, path=redacted(footage[f.path])) for f in inputs.footage],  # without those of no use
                **beside,
            ),
        )
        receipt.save(receipt_path(out))
    return receipt
