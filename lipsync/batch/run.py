"""A batch: every job once, whatever befalls the others. Run again, it does what is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lipsync.batch.job import BatchObserver, Job, JobRecord, Outcome, State
from lipsync.batch.pool import WorkerEvent, Workers
from lipsync.batch.schedule import Schedule
from lipsync.batch.storage.store import OutputStore
from lipsync.batch.worker import BatchPaths, PageWish, job_id, task_of
from lipsync.core.errors import LipsyncError
from lipsync.store.preflight import receipt_path
from lipsync.store.receipt import MADE_BY, Receipt
from media.atomic import remove_stale

#: How often a job may be begun: a worker can die of something else than its job.
ATTEMPTS = 3
_WAIT_S = 0.5


def run_batch(
    records: Sequence[JobRecord],
    paths: BatchPaths,
    workers: Workers,
    observer: BatchObserver,
    *,
    device_of: Callable[[int], str] = lambda worker: "",
    pages: bool = False,
) -> list[Outcome]:
    """What became of every job, in order; the records know it too. One that fails, or whose worker dies, does not stop
    the others; one that has an outcome already is not begun.

    device_of: where a worker computes; pages: a quality report is made of each video. KeyboardInterrupt stops the
    workers, which tidy up; what was not finished is "stopped" then."""
    run = _Run(records, OutputStore(paths.out), observer)
    for number, record in enumerate(records):
        if record.outcome is not None:
            observer.ended(number, record.outcome)
    schedule = Schedule([r.job for r in records], [n for n, r in enumerate(records) if r.outcome is None])
    try:
        while len(schedule):
            for worker in sorted(set(range(workers.count)) - run.busy):
                if (number := schedule.next_for(worker)) is not None:
                    run.begin(number, worker)
                    workers.submit(worker, number, _task(records[number], paths, device_of(worker), pages))
            for event in workers.wait(_WAIT_S):
                run.handle(event, schedule)
    except KeyboardInterrupt:
        pass  # what has no outcome yet is stopped
    finally:
        workers.close(now=len(schedule) > 0)
    run.stop()
    return [record.outcome for record in records if record.outcome is not None]


def _task(record: JobRecord, paths: BatchPaths, device: str, pages: bool) -> dict:
    page: PageWish = "only" if record.kept is not None else "too" if pages else "none"
    return task_of(record.job, paths, device, page)


class _Run:
    """What workers report becomes what the records and the observer know. busy: workers."""

    def __init__(self, records: Sequence[JobRecord], store: OutputStore, observer: BatchObserver) -> None:
        self._records, self._store, self._observer = records, store, observer
        self.busy: set[int] = set()

    def begin(self, number: int, worker: int) -> None:
        record = self._records[number]
        self.busy.add(worker)
        record.attempts += 1
        record.began_s = time.monotonic()
        self._observer.started(number, worker)

    def handle(self, event: WorkerEvent, schedule: Schedule) -> None:
        number, message, record = event.number, event.message, self._records[event.number]
        if event.kind == "progress":
            return self._observer.progress(number, message["step"], message["done"], message["total"])
        self.busy.discard(event.worker)
        is_lost = event.kind == "lost"
        if is_lost:
            self._remove_parts(record.job)
            if not message.get("final") and record.attempts < ATTEMPTS:
                return schedule.again(number)
        seconds = time.monotonic() - record.began_s
        fault = message["reason"] if is_lost else message.get("fault")
        schedule.finished(number, well=fault is None)
        if fault is not None and record.kept is not None:
            outcome = _without_page(record.kept, fault)
        elif fault is not None:
            outcome = Outcome(record.job, "failed", fault, seconds=seconds, attempts=record.attempts)
        else:
            frames, duration_s, notes = message["frames"], message["duration_s"], tuple(message["notes"])
            dubbed, doubt, page = message.get("dubbed"), message.get("doubt"), message.get("page", False)
            state: State = "done" if record.kept is None else "kept"
            made = frames, duration_s, seconds, record.attempts, notes, dubbed, doubt, page
            outcome = Outcome(record.job, state, "", *made)
        return self._end(number, outcome)

    def _end(self, number: int, outcome: Outcome) -> None:
        self._records[number].outcome = outcome
        self._observer.ended(number, outcome)

    def _remove_parts(self, job: Job) -> None:
        """Removes what a killed worker had begun to write."""
        if not self._store.is_remote:
            for file in (self._store.workfile(job.out), receipt_path(self._store.workfile(job.out))):
                remove_stale(file)

    def stop(self) -> None:
        """Jobs without an outcome will have none."""
        for number, record in enumerate(self._records):
            if record.outcome is None and record.kept is not None:
                self._end(number, _without_page(record.kept, "the batch was stopped."))
            elif record.outcome is None:
                if record.attempts:
                    self._remove_parts(record.job)
                self._end(number, Outcome(record.job, "stopped", attempts=record.attempts))


def _without_page(kept: Outcome, why: str) -> Outcome:
    return replace(kept, notes=(*kept.notes, f"No quality report: {why}"))


def already_done(job: Job, store: OutputStore, *, force: bool = False, verify: bool = False) -> Outcome | None:
    """What became of a job that need not be begun: kept from an earlier run, or failed already; None for one that is to
    be done.

    force: replace a video that lipsync did not make; verify: hash a finished one, too."""
    if job.fault:
        return Outcome(job, "failed", job.fault, attempts=0)
    try:
        if receipt := valid_receipt(job, store, verify):
            made = receipt.output
            found = made.frames, made.duration_s, 0.0, 0, tuple(receipt.notes), receipt.rendered_share
            return Outcome(job, "kept", "", *found, receipt.doubt.share, store.has_page(job.out))
        if not force:
            _refuse_foreign(job, store)
    except LipsyncError as error:
        return Outcome(job, "failed", str(error), attempts=0)
    return None


def valid_receipt(job: Job, store: OutputStore, verify: bool = False) -> Receipt | None:
    """The receipt of a job whose video is there, whole, and made from the same contents, options, weights and program;
    else None."""
    receipt = store.receipt_of(job.out)
    if receipt is None or receipt.output.bytes != store.size_of(job.out):
        return None
    made = receipt.output
    if made.frames < 1 or not 0 < made.duration_s < math.inf or receipt.id != job_id(job):
        return None
    return None if verify and store.hash_of(job.out) != made.sha256 else receipt


def _refuse_foreign(job: Job, store: OutputStore) -> None:
    """LipsyncError where a file that this program did not make has the output's name: a batch replaces only its own
    work."""
    from av.error import FFmpegError

    from media import MediaError
    from media.container import open_media

    if store.is_remote or not store.size_of(job.out) or store.receipt_of(job.out) is not None:
        return
    with suppress(MediaError, FFmpegError, OSError, ValueError), open_media(Path(store.root) / job.out) as container:
        if any(MADE_BY in value for value in container.metadata.values()):
            return
    raise LipsyncError(
        f"{job.out} exists already and was not made by lipsync. Add --force to replace such files, or move it."
    )
