"""What `lipsync batch` does: check every job, do what is left, report what became of all."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from lipsync.batch.events import CheckedJob
from lipsync.batch.job import Job, JobRecord, Outcome
from lipsync.batch.lock import locked
from lipsync.batch.pool import LocalWorkers, Workers
from lipsync.batch.preflight import check_jobs, summary, time_s
from lipsync.batch.progress import BatchJsonLines, LiveTable, PlainLines, SilentObserver, event_line, exit_status
from lipsync.batch.report import write_report
from lipsync.batch.run import already_done, run_batch
from lipsync.batch.storage.address import is_url
from lipsync.batch.storage.shared_cache import cache_for
from lipsync.batch.storage.store import OutputStore
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
    folder or address of analyses that machines share; cpus, gpus: of one worker on Ray; pages: a quality report beside
    each video; show: "table", "lines", "json" or "nothing"."""

    out: str
    workers: int | None = None
    ray: str | None = None
    shared: str = ""
    cpus: float = 1
    gpus: float = 0
    force: bool = False
    verify: bool = False
    pages: bool = False
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
    store, began_s = OutputStore(options.out), time.monotonic()
    cache = cache_for(config.cache, options.shared)
    limits = _limits(jobs, config, options, cache)
    if options.dry_run:
        records = _checked(jobs, store, cache, limits, options, stderr)
        if options.show == "json":
            stdout.writelines(event_line(_checked_event(n, record)) for n, record in enumerate(records))
        else:
            _show_summary(records, options, _worker_count(options, _n_open(records)), cache, stdout)
        is_failed = (r.checked.fault or (r.outcome and r.outcome.state == "failed") for r in records)
        return 1 if any(is_failed) else 0
    with locked(options.out) as lock_note:
        records = _checked(jobs, store, cache, limits, options, stderr)
        n_workers = _worker_count(options, _n_open(records))
        if options.show in ("table", "lines"):
            _show_summary(records, options, n_workers, cache, stderr, lock_note)
        workers, device_of = _workers(options, limits, n_workers, cache)
        with _observer(options.show, records, workers.count, stdout, stderr) as observer:
            observer.expected(_n_open(records), time_s(records, workers.count))
            how = {"device_of": device_of, "pages": options.pages}
            outcomes = run_batch(records, _paths(options, config, cache), workers, observer, **how)
        about = {"made by": f"lipsync {own_version()}", "workers": workers.count, "seconds": time.monotonic() - began_s}
        _report(outcomes, store, about)
    if any(outcome.state == "stopped" for outcome in outcomes):
        raise KeyboardInterrupt("the same command does what is left.")
    return exit_status(observer.stats)


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


def _checked(
    jobs: Sequence[Job], store: OutputStore, cache: Cache, limits: Limits | None, options: BatchOptions, stderr: TextIO
) -> list[JobRecord]:
    """What is known of every job before the first begins; those done already, or that cannot be done, have their
    outcome."""
    force, verify = options.force, options.verify
    records = [JobRecord(job, outcome=already_done(job, store, force=force, verify=verify)) for job in jobs]
    with Bars(stderr) if options.show == "table" else nullcontext(silent) as hook:
        check_jobs(records, options.out, cache, hook=hook, limits=limits)
    for record in records:
        found = record.outcome
        if options.pages and found and found.state == "kept" and not found.page and not store.is_remote:
            record.kept, record.outcome = found, None
        if record.checked.fault and record.outcome is None:
            record.outcome = Outcome(record.job, "failed", record.checked.fault, attempts=0)
    return records


def _checked_event(number: int, record: JobRecord) -> CheckedJob:
    """What a dry run writes of a job as JSON."""
    known: dict[str, Any] = asdict(record.checked)
    known["warnings"] = list(known["warnings"])
    return CheckedJob(number, record.job.out, **known, kept=record.is_kept)


def _n_open(records: Sequence[JobRecord]) -> int:
    return sum(record.outcome is None for record in records)


def _show_summary(
    records: Sequence[JobRecord], options: BatchOptions, n_workers: int, cache: Cache, stream: TextIO, note: str = ""
) -> None:
    if options.show != "nothing":
        lines = summary(records, n_workers, options.out, cache, reasons=options.dry_run)
        stream.write("\n".join([*lines, *filter(None, [note])]) + "\n")
        stream.flush()


def _worker_count(options: BatchOptions, n_jobs: int) -> int:
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
        workers = RayWorkers(address, options.workers, cpus=options.cpus, gpus=options.gpus, limits=limits)
        return workers, lambda worker: ""
    n_gpus = _gpus()
    local = LocalWorkers(count, limits, compiled=cache.folder / "numba")
    return local, (lambda worker: f"cuda:{worker % n_gpus}") if n_gpus else (lambda worker: "")


def _gpus() -> int:
    if not any(map(os.path.exists, ("/dev/nvidia0", "/dev/kfd"))):  # torch takes seconds to find out
        return 0
    import torch

    return torch.cuda.device_count()


def _free_gib() -> float:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (ValueError, OSError):
        return _WORKER_GIB


def _paths(options: BatchOptions, config: DubConfig, cache: Cache) -> BatchPaths:
    # On a cluster every machine has its usual cache, unless the user names a folder that is there on all.
    everywhere = options.ray in (None, "local") or config.cache.folder
    return BatchPaths(options.out, str(cache.folder) if everywhere else "", options.shared)


def _observer(
    show: str, records: Sequence[JobRecord], n_workers: int, stdout: TextIO, stderr: TextIO
) -> SilentObserver:
    if show == "json":
        return BatchJsonLines(stdout, records, n_workers)
    if show == "nothing":
        return SilentObserver(records, n_workers)
    if show == "table":
        return LiveTable(stderr, records, n_workers)
    return PlainLines(stdout, records, n_workers)


def _report(outcomes: Sequence[Outcome], store: OutputStore, about: dict) -> None:
    if not is_url(store.root):
        write_report(outcomes, store.root, about)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_report(outcomes, folder, about)
        for file in sorted(Path(folder).iterdir()):
            store.put(file, file.name)
