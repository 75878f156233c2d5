"""A batch: every job once, whatever befalls the others. Run again, it does what is left."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lipsync.batch.job import BatchObserver, Job, Outcome
from lipsync.batch.pool import Report, Workers
from lipsync.batch.schedule import Schedule
from lipsync.batch.storage.store import OutputStore, is_url
from lipsync.batch.worker import BatchPaths, job_id, task_of
from lipsync.core.errors import LipsyncError
from lipsync.store.preflight import receipt_path
from lipsync.store.receipt import MADE_BY
from media.atomic import remove_stale

#: How often a job may be begun: a worker can die of something else than its job.
ATTEMPTS = 3
_WAIT_S = 0.5


def already_done(
    jobs: Sequence[Job], place: OutputStore, *, force: bool = False, verify: bool = False
) -> list[Outcome | None]:
    """What became of the jobs that need not be begun: kept from an earlier run, or failed already; None for those that
    are to be done.

    force: replace videos that lipsync did not make; verify: hash the finished ones, too.
    """
    return [_settled(job, place, force, verify) for job in jobs]


def run_batch(
    jobs: Sequence[Job],
    where: BatchPaths,
    workers: Workers,
    watch: BatchObserver,
    known: Sequence[Outcome | None] = (),
    *,
    device_of: Callable[[int], str] = lambda worker: "",
) -> list[Outcome]:
    """What became of every job, in order. One that fails, or whose worker dies, does not stop the others.

    known: of `already_done`; device_of: where a worker computes. KeyboardInterrupt stops the workers, which tidy up;
    what was not finished is "stopped" then."""
    batch = _Batch(jobs, OutputStore(where.out), watch)
    for number, outcome in enumerate(known):
        if outcome is not None:
            batch.end(number, outcome)
    schedule = Schedule(jobs, [n for n in range(len(jobs)) if batch.outcomes[n] is None])
    try:
        while len(schedule):
            for worker in sorted(set(range(workers.count)) - batch.busy):
                if (number := schedule.next_for(worker)) is not None:
                    batch.begin(number, worker)
                    workers.submit(worker, number, task_of(jobs[number], where, device_of(worker)))
            for report in workers.wait(_WAIT_S):
                batch.hear(report, schedule)
    except KeyboardInterrupt:
        pass  # what has no outcome yet is stopped
    finally:
        workers.close(now=len(schedule) > 0)
    batch.stop()
    return batch.outcomes


class _Batch:
    """What is known of the jobs so far."""

    def __init__(self, jobs: Sequence[Job], place: OutputStore, watch: BatchObserver) -> None:
        self.jobs, self.watch, self._place = jobs, watch, place
        self.outcomes: list[Outcome | None] = [None] * len(jobs)
        self.busy: set[int] = set()
        self._attempts: dict[int, int] = {}
        self._began_s: dict[int, float] = {}

    def begin(self, number: int, worker: int) -> None:
        self.busy.add(worker)
        self._attempts[number] = self._attempts.get(number, 0) + 1
        self._began_s[number] = time.monotonic()
        self.watch.started(number, worker)

    def hear(self, report: Report, schedule: Schedule) -> None:
        number, said, job = report.number, report.said, self.jobs[report.number]
        if report.kind == "progress":
            return self.watch.progress(number, said["step"], said["done"], said["total"])
        self.busy.discard(report.worker)
        if report.kind == "lost":
            self._sweep(job)
        spent = {"attempts": self._attempts[number], "seconds": time.monotonic() - self._began_s[number]}
        if report.kind == "lost" and not said.get("final") and self._attempts[number] < ATTEMPTS:
            return schedule.again(number)
        fault = said["reason"] if report.kind == "lost" else said.get("fault")
        schedule.finished(number, well=fault is None)
        if fault is None:
            made = {"frames": said["frames"], "duration_s": said["duration_s"], "notes": tuple(said["notes"])}
            return self.end(number, Outcome(job, "done", **made, **spent))
        return self.end(number, Outcome(job, "failed", fault, **spent))

    def end(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        self.watch.ended(number, outcome)

    def _sweep(self, job: Job) -> None:
        """Removes what a killed worker had begun to write."""
        if not self._place.is_remote:
            for file in (self._place.workfile(job.out), receipt_path(self._place.workfile(job.out))):
                remove_stale(file)

    def stop(self) -> None:
        """Jobs without an outcome will have none."""
        for number, job in enumerate(self.jobs):
            if self.outcomes[number] is None:
                if number in self._attempts:
                    self._sweep(job)
                self.end(number, Outcome(job, "stopped", attempts=self._attempts.get(number, 0)))


def _settled(job: Job, place: OutputStore, force: bool, verify: bool) -> Outcome | None:
    if job.fault:
        return Outcome(job, "failed", job.fault, attempts=0)
    try:
        if facts := valid_receipt(job, place, verify):
            made = facts["output"]
            return Outcome(job, "kept", "", made["frames"], made["duration_s"], notes=tuple(facts["notes"]), attempts=0)
        if not force:
            _refuse_strangers(job, place)
    except LipsyncError as error:
        return Outcome(job, "failed", str(error), attempts=0)
    return None


def valid_receipt(job: Job, place: OutputStore, verify: bool = False) -> dict | None:
    """The receipt's facts of a job whose video is there, whole, and made from the same contents, options, weights and
    program; else None."""
    facts = place.receipt_of(job.out)
    try:
        made = facts["output"]
        same_size = made["bytes"] == place.size_of(job.out)
        if not same_size or type(made["frames"]) is not int or type(made["duration_s"]) not in (int, float):
            return None
        if made["frames"] < 1 or not 0 < made["duration_s"] < float("inf"):
            return None
        if not all(isinstance(note, str) for note in facts["notes"]) or facts["id"] != job_id(job):
            return None
    except (TypeError, KeyError):  # no receipt, or not one of ours
        return None
    if verify and place.hash_of(job.out) != made.get("sha256"):
        return None
    return facts


def _refuse_strangers(job: Job, place: OutputStore) -> None:
    """LipsyncError where a file that this program did not make has the output's name: a batch replaces only its own
    work."""
    from av.error import FFmpegError

    from media import MediaError
    from media.container import open_media

    if place.is_remote or not place.size_of(job.out) or place.receipt_of(job.out) is not None:
        return
    with suppress(MediaError, FFmpegError, OSError, ValueError), open_media(Path(place.where) / job.out) as container:
        if any(MADE_BY in value for value in container.metadata.values()):
            return
    raise LipsyncError(
        f"{job.out} exists already and was not made by lipsync. Add --force to replace such files, or move it."
    )


@contextmanager
def locked(out: str) -> Iterator[None]:
    """Holds a local output folder, which is made where it is missing. LipsyncError: another batch writes there, or
    nobody can."""
    if is_url(out):
        yield
        return
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise LipsyncError(
            f"The output folder {out} cannot be used: {error.strerror}. Choose another with -o."
        ) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise LipsyncError(
            f"Another batch is writing to {out}. Wait for it, or choose another folder with -o."
        ) from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(folder)
