"""Workers of a batch on a Ray cluster, or on a local Ray of their own.

A worker is an actor on whichever machine has room for it, and does its jobs as a batch on that machine alone would:
through `LocalWorkers`, in a child process that keeps its prepared target from job to job. A job is sent as plain
values; its paths and addresses must mean the same on all machines."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from lipsync.batch.pool import LocalWorkers, WorkerEvent
from lipsync.core.environment import THREADS, cores
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.sandbox.limits import Limits
from lipsync.store.fingerprint import program_hash

POLL_S = 0.3  # between two questions how far a job is
GRACE_S = 30.0  # a job waits so long for its own worker to start, before another one does it
ROOM_S = 600.0  # a cluster may have to start machines first
TIDY_S = 30.0  # a stopped job has to remove what it had begun
_TRIES = 3  # of starting a worker
#: Nothing goes to strangers, and nothing printed between our own lines: what matters comes back as an error.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".", "RAY_SCHEDULER_EVENTS": "0"}
_STORE_BYTES = 100 << 20  # Ray's object store, as small as it may be: jobs and results are a few kilobytes


class Actor:
    """What a worker's process on the cluster holds. One thread performs, another one answers `progress`, `stop` and
    `program`."""

    def __init__(self, work: str, limits: Limits | None, threads: int) -> None:
        os.environ.update(dict.fromkeys(THREADS, str(threads)))
        self._workers, self._progress, self._is_stopped = LocalWorkers(1, limits, work), None, False

    def program(self) -> str:
        """Which lipsync this is."""
        return program_hash()

    def perform(self, number: int, task: dict) -> tuple[str, dict]:
        """Kind and message of the last event of a job; "stopped": it was."""
        self._progress: dict | None = None
        self._workers.submit(0, number, task)
        while not self._is_stopped:
            for event in self._workers.wait(POLL_S):
                if event.kind != "progress":
                    return event.kind, event.message
                self._progress = event.message
        self._workers.close(now=True)
        return "stopped", {}

    def progress(self) -> dict | None:
        """How far the job is that runs: step, done, total."""
        return self._progress

    def stop(self) -> None:
        """Ends the job that runs."""
        self._is_stopped = True

    def end(self) -> None:
        """Ends the child process, after the job that runs."""
        self._workers.close(now=False)


@dataclass(eq=False)
class _Remote:
    """A worker's actor and what it does. up: its first answer; job: (worker, number) that it does; run: the result of
    that; query: how far that is; progress: what was last reported of it."""

    actor: Any
    up: Any
    is_up: bool = False
    since_s: float = field(default_factory=time.monotonic)
    job: tuple[int, int] | tuple[()] = ()
    run: Any = None
    query: Any = None
    progress: dict | None = None


class RayWorkers:
    """Workers 0..count-1. One whose process or machine dies is reported as lost and replaced under its number; while
    the cluster has no room for it, another one does its job. Every actor lives as long as the batch: tasks beside
    actors that hold all cores would never begin."""

    def __init__(
        self,
        address: str | None = None,
        count: int | None = None,
        *,
        cpus: float = 1,
        gpus: float = 0,
        limits: Limits | None = None,
        work: str = LocalWorkers.work,
    ) -> None:
        """address: of a cluster, as Ray writes it ("auto", "10.0.0.1:6379"); None = a local Ray that listens on
        loopback only and ends with this batch. count: None = as many as there is room for. cpus, gpus: of one worker.
        limits, work: as in LocalWorkers. LipsyncError where they cannot be had."""
        self._remotes: list[_Remote] = []
        self._waiting: list[tuple[int, int, dict]] = []
        self._ray = _Ray(address, count, cpus, gpus)
        try:
            self.count = count or self._ray.room(cpus, gpus)
            actor = self._ray.ray.remote(
                num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, concurrency_groups={"watch": 1}
            )(Actor)
            self._new_actor = lambda: actor.remote(work, limits, max(1, round(cpus)))
            self._remotes = [self._new_remote() for _ in range(self.count)]
        except BaseException:
            self.close(now=True)
            raise
        self._failed_starts, self._seen_up_s = 0, time.monotonic()

    def submit(self, worker: int, number: int, task: dict) -> None:
        """Gives job `number` to a worker whose last job was reported."""
        self._waiting.append((worker, number, task))
        self._begin_waiting()

    def wait(self, timeout_s: float) -> list[WorkerEvent]:
        """What happened since; empty after timeout_s. LipsyncError where no worker can be started."""
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, end_s - time.monotonic())
            events = self._poll(min(POLL_S, left_s))
            if events or not left_s:
                return events

    def close(self, now: bool) -> None:
        """Ends the workers, and a Ray started here. now: running jobs are stopped and given time to tidy up; else they
        are waited for."""
        at_work = [remote for remote in self._remotes if remote.is_up]
        if now:
            for remote in at_work:
                _aside(remote.actor.stop)
        ends = [remote.actor.end.remote() for remote in at_work]
        if ends:
            self._ray.ray.wait(ends, num_returns=len(ends), timeout=TIDY_S if now else None)
        for remote in self._remotes:
            self._ray.ray.kill(remote.actor)
        self._remotes = []
        self._ray.end()

    def _poll(self, timeout_s: float) -> list[WorkerEvent]:
        """What has changed, waited for at most timeout_s."""
        results = {remote.run: remote for remote in self._remotes if remote.run is not None}
        starts = {remote.up: remote for remote in self._remotes if not remote.is_up}
        events = []
        for ref in self._ray.ready([*results, *starts], timeout_s):
            if ref in starts:
                self._started(starts[ref])
            else:
                events.append(self._ended(results[ref]))
        self._begin_waiting()
        if any(remote.is_up for remote in self._remotes):
            self._seen_up_s = time.monotonic()
        elif time.monotonic() - self._seen_up_s > ROOM_S:
            raise LipsyncError(
                f"The cluster has had no room for a worker for {ROOM_S / 60:.0f} minutes. Ask for fewer cores or GPUs, "
                "or try later."
            )
        return events + self._news()

    def _new_remote(self) -> _Remote:
        actor = self._new_actor()
        return _Remote(actor, _aside(actor.program))

    def _replace(self, remote: _Remote) -> None:
        with suppress(Exception):  # it is dead already, or cannot be reached
            self._ray.ray.kill(remote.actor)
        self._remotes[self._remotes.index(remote)] = self._new_remote()

    def _started(self, remote: _Remote) -> None:
        try:
            program = self._ray.ray.get(remote.up)
        except self._ray.Error as error:
            self._failed_starts += 1
            if self._failed_starts >= _TRIES:
                raise LipsyncError(
                    f"No worker starts on the cluster: {_why(error)} Is the same lipsync installed on every machine?"
                ) from error
            return self._replace(remote)
        if program != program_hash():
            raise LipsyncError(
                "A machine of the cluster has another lipsync than this one. Install the same on all of them."
            )
        remote.is_up, self._failed_starts = True, 0

    def _ended(self, remote: _Remote) -> WorkerEvent:
        worker, number, run = *remote.job, remote.run
        remote.job = ()
        remote.run = remote.query = remote.progress = None
        try:
            kind, message = self._ray.ray.get(run)
            return WorkerEvent(worker, number, kind, message)
        except self._ray.Error as error:
            self._replace(remote)
            return WorkerEvent(worker, number, "lost", {"reason": f"Its worker was lost: {_why(error)}"})

    def _begin_waiting(self) -> None:
        """Begins jobs whose worker is up, and gives those whose worker takes too long to start, or does another one's
        job, to one that is idle."""
        for item in list(self._waiting):
            worker, number, task = item
            own = self._remotes[worker]
            idle = [remote for remote in self._remotes if remote.is_up and not remote.job]
            late = own.is_up or time.monotonic() - own.since_s > GRACE_S
            remote = own if own in idle else idle[0] if idle and late else None
            if remote is not None:
                self._waiting.remove(item)
                remote.job, remote.run = (worker, number), remote.actor.perform.remote(number, task)

    def _news(self) -> list[WorkerEvent]:
        """News of the jobs that run. Each actor is asked again when it has answered."""
        events = []
        for ref in self._ray.ready([remote.query for remote in self._remotes if remote.query is not None], 0):
            remote = next(remote for remote in self._remotes if remote.query == ref)
            remote.query = None
            with suppress(self._ray.Error):  # its result says that it died
                message = self._ray.ray.get(ref)
                if remote.job and message and message != remote.progress:
                    worker, number = remote.job
                    remote.progress = message
                    events.append(WorkerEvent(worker, number, "progress", message))
        for remote in self._remotes:
            if remote.job and remote.query is None:
                remote.query = _aside(remote.actor.progress)
        return events


class _Ray:
    """A connection to a cluster, or a local Ray. Error: what Ray raises for a process that died or code that failed in
    it."""

    def __init__(self, address: str | None, count: int | None, cpus: float, gpus: float) -> None:
        self._folder = None
        on_loopback = address is None or bool(re.match(r"(localhost|127\.0\.0\.1)(:|$)", address))
        wanted = _environment(is_own=address is None, on_loopback=on_loopback)
        self._before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            self._restore()
            raise UsageError("--ray needs the package ray: pip install 'lipsync-dub[cluster]'.") from error
        self.ray, self.Error = ray, ray.exceptions.RayError
        try:
            self._connect(address, {"num_cpus": max(1, round((count or cores() // cpus) * cpus))})
        except Exception as error:
            self.end()
            where = f"No Ray cluster answers at {address}, or it refuses the token"
            if address is None:
                where = "A local Ray does not start"
            raise LipsyncError(f"{where}: {_why(error)} docs/catalogue.md tells of addresses and tokens.") from error
        if on_loopback and (seen := {node["NodeManagerAddress"] for node in self._nodes()} - {"127.0.0.1", "::1"}):
            self.end()
            raise LipsyncError(
                f"Ray would listen on {', '.join(seen)}, not on loopback only: it was imported before the batch. Start "
                "a new process."
            )

    def _connect(self, address: str | None, own: dict[str, Any]) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is not None:
            self.ray.init(address=address, **quiet)
            return
        self._folder = tempfile.mkdtemp(prefix="lipsync-ray-")
        self.ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            _temp_dir=self._folder,
            **own,
            **quiet,
        )

    def room(self, cpus: float, gpus: float) -> int:
        """Workers for which the machines of the cluster have room. LipsyncError: none."""
        shares = [
            [node["Resources"].get(name, 0) // needed for name, needed in (("CPU", cpus), ("GPU", gpus)) if needed]
            for node in self._nodes()
        ]
        count = int(sum(min(of_node) for of_node in shares if of_node))
        if not count:
            raise LipsyncError(
                f"No machine of the Ray cluster has the {cpus:g} cores and {gpus:g} GPUs of a worker. "
                "Ask for less, or name the number of workers where the cluster starts machines when they are needed."
            )
        return count

    def ready(self, refs: list, timeout_s: float) -> list:
        """Those of `refs` that have a result, waiting up to timeout_s for the first."""
        if not refs:
            time.sleep(timeout_s)
            return []
        self.ray.wait(refs, num_returns=1, timeout=timeout_s)
        return self.ray.wait(refs, num_returns=len(refs), timeout=0)[0]

    def end(self) -> None:
        self.ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._restore()

    def _restore(self) -> None:
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def _nodes(self) -> list[dict]:
        return [node for node in self.ray.nodes() if node["Alive"]]


def _environment(is_own: bool, on_loopback: bool) -> dict[str, str]:
    """Variables that Ray reads when it is imported and starts. is_own: it is started here."""
    wanted = dict(_QUIET)
    if on_loopback:
        # Ray 2.60 replaces 127.0.0.1 by the address of a network interface, and then listens on all of them; not where
        # it believes that this system has no clusters.
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if is_own:
        home = str(Path(__file__).parents[2])  # of these packages, which need not be installed
        wanted["PYTHONPATH"] = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        wanted["RAY_worker_niceness"] = os.environ.get("RAY_worker_niceness", "0")  # noqa: SIM112  Ray's name; as local workers, Ray's own value is 15
        if "RAY_AUTH_TOKEN" not in os.environ:
            wanted |= {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
            }  # else Ray writes one into the home folder
    return wanted


def _aside(method: Any) -> Any:
    """Calls an actor's method in the thread that does not perform."""
    return method.options(concurrency_group="watch").remote()


def _why(error: Exception) -> str:
    """A sentence on what Ray says in many lines."""
    if type(error).__name__ == "ActorUnavailableError":
        return "its machine does not answer."
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    found = re.findall(r"^\w+(?:Error|Exception): .*", text, re.MULTILINE) or re.findall(
        r"Worker exit detail: (.*?)\. ", " ".join(text.split())
    )
    return " ".join((found[-1] if found else text or type(error).__name__).split())[:300].rstrip(". ") + "."
