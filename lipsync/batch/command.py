"""What `lipsync batch` does: look at every job, do what is left, tell what became of all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from lipsync.batch.job import Job, Outcome
from lipsync.batch.pool import LocalWorkers, Workers
from lipsync.batch.preflight import Checked, check_jobs, summary
from lipsync.batch.progress import BatchJsonLines, LiveTable, PlainLines, SilentObserver, exit_status
from lipsync.batch.report import write_report
from lipsync.batch.run import already_done, locked, run_batch
from lipsync.batch.storage.store import OutputStore, cache_for, is_url
from lipsync.batch.worker import BatchPaths
from lipsync.config.schema import DubConfig
from lipsync.core.progress import Bars, silent
from lipsync.sandbox.limits import Limits
from lipsync.store.cache import Cache
from lipsync.store.receipt import own_version

#: A worker with a target of usual size and its libraries.
_WORKER_GIB = 2.0


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """out: folder or address; workers: None = as many as fit; ray: None, "local", or a cluster's address; shared:
    folder or address of analyses that machines share; cpus, gpus: of one worker on Ray; show: "table", "lines", "json"
    or "nothing"."""

    out: str
    workers: int | None = None
    ray: str | None = None
    shared: str = ""
    cpus: float = 1
    gpus: float = 0
    force: bool = False
    verify: bool = False
    dry_run: bool = False
    show: str = "lines"


def run_command(
    jobs: Sequence[Job],
    config: DubConfig,
    options: BatchOptions,
    stdout: TextIO = sys.stdout,
    stderr: TextIO = sys.stderr,
) -> int:
    """The exit status: 0 = every job is done, 1 = some failed, 130 = stopped. config: what the command line set for all
    jobs.

    The report goes to the output folder. LipsyncError where the batch cannot begin at all.
    """
    place, began_s = OutputStore(options.out), time.monotonic()
    cache = cache_for(config.cache.folder or None, options.shared)
    limits = _limits(jobs, config, options, cache)

    if options.dry_run:
        known, checked = _looked_at(jobs, place, cache, limits, options, stderr)
        if options.show == "json":
            stdout.writelines(
                json.dumps({"event": "checked", "job": n, "out": jobs[n].out} | asdict(look)) + "\n"
                for n, look in enumerate(checked)
            )
        else:
            _say(checked, options, _count(options, sum(outcome is None for outcome in known)), cache, stdout)
        return 1 if any(c.fault for c in checked) or any(o and o.state == "failed" for o in known) else 0
    with locked(options.out):
        known, checked = _looked_at(jobs, place, cache, limits, options, stderr)
        n_workers = _count(options, sum(outcome is None for outcome in known))
        if options.show in ("table", "lines"):
            _say(checked, options, n_workers, cache, stderr)
        workers, device_of = _workers(options, limits, n_workers, cache)
        watch = _watch(options.show, jobs, workers.count, checked, stdout, stderr)
        with watch:
            outcomes = run_batch(jobs, _where(options, config, cache), workers, watch, known, device_of=device_of)
        about = {"made by": f"lipsync {own_version()}", "workers": workers.count, "seconds": time.monotonic() - began_s}
        _report(outcomes, place, about)
    if any(outcome.state == "stopped" for outcome in outcomes):
        raise KeyboardInterrupt("the same command does what is left.")
    return exit_status(watch.tally)


def _limits(jobs: Sequence[Job], config: DubConfig, options: BatchOptions, cache: Cache) -> Limits | None:
    """What binds the workers: they write videos and analyses, and reach the network only where something has an
    address."""
    if not config.sandbox.enabled:
        return None
    named = [options.out, options.shared, *(name for job in jobs for name in (job.target, job.speech, *job.footage))]
    return Limits(
        config.sandbox.memory_gib,
        config.sandbox.seconds,
        any(map(is_url, named)),
        (os.path.abspath(options.out), str(cache.folder)),
    )


def _looked_at(
    jobs: Sequence[Job], place: OutputStore, cache: Cache, limits: Limits | None, options: BatchOptions, stderr: TextIO
) -> tuple[list[Outcome | None], list[Checked]]:
    """What is settled, and what is known of the rest; what cannot be done is settled, too."""
    known = already_done(jobs, place, force=options.force, verify=options.verify)
    kept = [number for number, outcome in enumerate(known) if outcome is not None and outcome.state == "kept"]
    with Bars(stderr) if options.show == "table" else nullcontext(silent) as hook:
        checked = check_jobs(jobs, options.out, cache, kept=kept, hook=hook, limits=limits)
    for number, look in enumerate(checked):
        if look.fault and known[number] is None:
            known[number] = Outcome(jobs[number], "failed", look.fault, attempts=0)
    return known, checked


def _say(checked: Sequence[Checked], options: BatchOptions, n_workers: int, cache: Cache, stream: TextIO) -> None:
    if options.show != "nothing":
        stream.write("\n".join(summary(checked, n_workers, options.out, cache, reasons=options.dry_run)) + "\n")
        stream.flush()


def _count(options: BatchOptions, n_jobs: int) -> int:
    """How many workers: as asked for; else one for each GPU, or for each core while memory lasts. Never more than
    jobs."""
    fits = _gpus() or min(os.cpu_count() or 1, int(_free_gib() / _WORKER_GIB))
    return max(1, min(options.workers or fits, n_jobs))


def _workers(
    options: BatchOptions, limits: Limits | None, count: int, cache: Cache
) -> tuple[Workers, Callable[[int], str]]:
    """Who does the jobs, and on which device each computes."""
    if options.ray is not None:
        from lipsync.batch.ray_pool import RayWorkers

        address = None if options.ray == "local" else options.ray
        limits = limits and replace(limits, writable=None)  # folders differ from machine to machine
        return RayWorkers(
            address, options.workers, cpus=options.cpus, gpus=options.gpus, limits=limits
        ), lambda worker: ""
    n_gpus = _gpus()
    return LocalWorkers(count, limits, compiled=cache.folder / "numba"), (
        lambda worker: f"cuda:{worker % n_gpus}"
    ) if n_gpus else (lambda worker: "")


def _gpus() -> int:
    if not (
        os.path.exists("/dev/nvidia0") or os.path.exists("/dev/kfd")
    ):  # torch takes seconds to say that there is none
        return 0
    import torch

    return torch.cuda.device_count()


def _free_gib() -> float:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError):
        return _WORKER_GIB


def _where(options: BatchOptions, config: DubConfig, cache: Cache) -> BatchPaths:
    # On a cluster every machine has its usual cache, unless the user names a folder that is there on all.
    everywhere = options.ray in (None, "local") or config.cache.folder
    return BatchPaths(options.out, str(cache.folder) if everywhere else "", options.shared)


def _watch(
    show: str, jobs: Sequence[Job], n_workers: int, checked: Sequence[Checked], stdout: TextIO, stderr: TextIO
) -> SilentObserver:
    lengths_s = [look.duration_s for look in checked]
    if show == "json":
        return BatchJsonLines(stdout, jobs, n_workers, lengths_s=lengths_s)
    if show == "nothing":
        return SilentObserver(jobs, n_workers, lengths_s=lengths_s)
    kind = LiveTable if show == "table" else PlainLines
    return kind(stderr if show == "table" else stdout, jobs, n_workers, lengths_s=lengths_s)


def _report(outcomes: Sequence[Outcome], place: OutputStore, about: dict) -> None:
    if not is_url(place.where):
        write_report(outcomes, place.where, about)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_report(outcomes, folder, about)
        for file in sorted(Path(folder).iterdir()):
            place.put(file, file.name)
