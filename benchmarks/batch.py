"""Batches through the command.  python -m benchmarks.batch many|kills|workers [--jobs N] [--kills N] [--seed N]

many: jobs of which ten are bad on purpose, two workers: what became of them, and memory on the way. kills: SIGKILL to a
whole batch at random moments, then resumed: outputs, and whether anything finished was done again. workers: two workers
against one."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.batch_jobs import bad_jobs, good_jobs, manifest
from benchmarks.common import ROOT, parser, report
from lipsync.core.environment import THREADS

COMMAND = [sys.executable, "-m", "lipsync", "batch"]
#: Given, so that nothing is learnt.
PRIOR = ROOT / "lipsync" / "weights" / "lips-prior-logmel.safetensors"
ONE_THREAD = dict.fromkeys(THREADS, "1")
#: How a job may end.
ENDS = ("done", "kept", "failed", "stopped")
#: What a batch may leave in its folder beside videos and receipts.
OWN_FILES = {"report.html", "batch.json"}


@dataclass
class Run:
    """What a batch reported and used. events: with "at_s", the second since the start at which each came."""

    status: int
    seconds: float
    cpu_s: float
    events: list[dict] = field(default_factory=list)
    other_lines: list[str] = field(default_factory=list)

    def ended(self, *states: str) -> list[dict]:
        return [e for e in self.events if e["event"] in states]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("what", choices=("many", "kills", "workers"))
    options.add_argument("--jobs", type=int, help="default: 200 for many, 12 for kills, 24 for workers")
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--repeats", type=int, default=2, help="of workers")
    args = options.parse_args()
    args.work = (args.work / "batch").resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    report(f"batch {args.what}", {"many": many, "kills": kills, "workers": workers}[args.what](args))


def many(args: argparse.Namespace) -> dict:
    """190 jobs done, 10 failed with their reasons, memory at five moments."""
    n = args.jobs or 200
    good = good_jobs(args.work, n - 10, 1.2)
    bad = bad_jobs(args.work, good[1], good[0])
    # Spread among the good ones; the job that takes another's output comes after it.
    jobs = list(good)
    for i, job in enumerate(bad.values()):
        jobs.insert((i + 1) * len(good) // 10 + i, job)
    out, cache = args.work / "many", args.work / "many-cache"
    _clear(out, cache)
    outside = out.parent / "outside.mp4"
    outside.unlink(missing_ok=True)
    child = start(manifest(jobs, args.work / "many.jsonl"), out, cache, 2, args)
    memory = MemoryAtMoments(child.pid, n)
    run = finish(child, memory)
    reasons = {e["job"]: e["reason"] for e in run.ended("failed")}
    return {
        "jobs": n,
        "status": run.status,
        "became": dict(Counter(e["event"] for e in run.ended(*ENDS))),
        "reasons": {name: reasons.get(jobs.index(job)) for name, job in bad.items()},
        "good_that_failed": [reason for number, reason in reasons.items() if jobs[number] in good][:5],
        "memory_mib": memory.mib,
        "seconds": round(run.seconds, 1),
        "jobs_per_minute": round(60 * len(run.ended("done")) / run.seconds, 1),
        "videos": len(list(out.rglob("*.mp4"))),
        "left_over": left_over(out, cache, good),
        "wrote_outside": outside.exists(),
        "other_words": run.other_lines[-5:],
    }


class MemoryAtMoments:
    """What a batch of n jobs holds when both workers have done something, and at each quarter; gets every event."""

    def __init__(self, pid: int, n: int) -> None:
        self.mib: dict[str, dict] = {}
        self._pid, self._count = pid, Counter()
        self._moments = {max(1, round(share * n)): f"{share:.0%}" for share in (0.25, 0.5, 0.75, 1)}

    def __call__(self, event: dict) -> None:
        if event["event"] not in ENDS:
            return
        self._count.update([event["event"], "ended"])
        if event["event"] == "done" and self._count["done"] == 4:
            self.mib["start"] = memory_mib(self._pid)
        if self._count["ended"] in self._moments:
            self.mib[self._moments[self._count["ended"]]] = memory_mib(self._pid)


def kills(args: argparse.Namespace) -> dict:
    """Outputs after SIGKILL at random moments and a second run, against those of a run that nothing disturbed."""
    jobs = good_jobs(args.work, args.jobs or 12, 1.2, n_targets=2)
    listed = manifest(jobs, args.work / "kills.jsonl")
    out, warm = args.work / "kills-truth", args.work / "kills-truth-cache"
    _clear(out, warm)
    undisturbed_s = [undisturbed(args, listed, out, warm)]
    truth = sums(out, jobs)
    _clear(out)
    undisturbed_s.append(undisturbed(args, listed, out, warm))
    if sums(out, jobs) != truth:
        raise SystemExit("Two undisturbed batches differ.")
    rng, rounds = np.random.default_rng(args.seed), []
    while (
        sum(r["killed_before_its_end"] for r in rounds) < args.kills
    ):  # a batch that was faster than the kill does not count
        number = len(rounds)  # every other one finds the targets analysed, so that more jobs have ended by then
        moment_s = rng.uniform(0, undisturbed_s[number % 2])
        rounds.append(
            kill_once(args, jobs, listed, moment_s, truth, warm if number % 2 else None, whole=number % 3 < 2)
        )
        print(f"round {number + 1}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    total = {
        name: sum(len(r[name]) if isinstance(r[name], list) else r[name] for r in rounds)
        for name in rounds[0]
        if name not in ("at_s", "runs")
    }
    return {
        "seed": args.seed,
        "rounds_made": len(rounds),
        "jobs": len(jobs),
        "undisturbed_s": undisturbed_s,
        "total": total,
        "rounds": rounds,
    }


def undisturbed(args: argparse.Namespace, listed: Path, out: Path, cache: Path) -> float:
    """Seconds of a batch that nothing disturbs."""
    run = finish(start(listed, out, cache, 2, args))
    if run.status:
        raise SystemExit(f"The undisturbed batch ended with status {run.status}: {run.other_lines}")
    return run.seconds


def kill_once(
    args: argparse.Namespace,
    jobs: list[dict],
    listed: Path,
    moment_s: float,
    truth: dict[str, str],
    warm: Path | None,
    whole: bool,
) -> dict:
    """One round, from an empty folder and an empty cache, or a copy of `warm`. whole: its workers are killed in the
    same moment, too."""
    out, cache = args.work / "kills", args.work / "kills-cache"
    _clear(out, cache)
    if warm:
        shutil.copytree(warm, cache)
    killed, outlived = _killed(start(listed, out, cache, 2, args), moment_s, whole)
    before = finished(out, jobs)
    runs, status = 0, 1
    while status and runs < 3:
        status = finish(start(listed, out, cache, 2, args)).status
        runs += 1
    after, found = finished(out, jobs), sums(out, jobs)
    return {
        "at_s": round(moment_s, 2),
        "whole": int(whole),
        "runs": runs,
        "not_finished": int(bool(status)),
        "killed_before_its_end": int(killed.status == -signal.SIGKILL),
        "finished_before": len(before),
        "redone": [name for name, metadata in before.items() if after.get(name) != metadata],
        "said_done_but_not": [e["out"] for e in killed.ended("done") if e["out"] not in before],
        "different": [name for name, right in truth.items() if found.get(name) != right],
        "left_over": left_over(out, cache, jobs),
        "outlived_the_kill": outlived,
    }


def _killed(child: subprocess.Popen, moment_s: float, whole: bool) -> tuple[Run, int]:
    """(the batch, killed after a while; how many of its processes outlived that)."""
    time.sleep(moment_s)
    members = list(family(child.pid))
    for pid in members if whole else [child.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    outlived = _outlived(members, 25)
    return finish(child), outlived


def workers(args: argparse.Namespace) -> dict:
    """Throughput of two workers over that of one; with one thread each, and with as many as the libraries take."""
    jobs = good_jobs(args.work, args.jobs or 24, 2.4)
    listed = manifest(jobs, args.work / "workers.jsonl")
    taken: dict[str, dict[int, list[dict]]] = {"one thread": {1: [], 2: []}, "default threads": {1: [], 2: []}}
    for _ in range(args.repeats):
        for name, by_count in taken.items():
            for count, runs in by_count.items():
                runs.append(timed(args, jobs, listed, count, ONE_THREAD if name == "one thread" else {}))
    ratio = {
        name: {
            measure: round(min(r[measure] for r in by_count[1]) / min(r[measure] for r in by_count[2]), 3)
            for measure in ("seconds", "working_s")
        }
        for name, by_count in taken.items()
    }
    return {"jobs": len(jobs), "two_over_one": ratio, "runs": taken}


def timed(args: argparse.Namespace, jobs: list[dict], listed: Path, n_workers: int, env: dict) -> dict:
    """Seconds of one cold batch; working_s: from the first job begun to the last ended; cores_used: processor seconds
    per second."""
    out, cache = args.work / "workers", args.work / "workers-cache"
    _clear(out, cache)
    plain = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    run = finish(start(listed, out, cache, n_workers, args, plain | env))
    ended = run.ended("done")
    if len(ended) != len(jobs):
        reasons = [e["reason"] for e in run.ended("failed")][:3]
        raise SystemExit(f"Only {len(ended)} of {len(jobs)} jobs were done: {reasons} {run.other_lines}")
    working_s = ended[-1]["at_s"] - run.ended("started")[0]["at_s"]
    return {
        "seconds": round(run.seconds, 2),
        "working_s": round(working_s, 2),
        "cores_used": round(run.cpu_s / run.seconds, 2),
    }


# Running the command.


def start(
    jobs: Path, out: Path, cache: Path, n_workers: int, args: argparse.Namespace, env: dict | None = None
) -> subprocess.Popen:
    """The batch, in a process group of its own; what it says on either stream comes through one pipe. env: None = this
    process's own."""
    out.mkdir(parents=True, exist_ok=True)
    command = [*COMMAND, str(jobs), "-o", str(out), "--workers", str(n_workers), "--json"]
    for setting in (f"lips.model={PRIOR}", f"cache.folder={cache}", *args.set):
        command += ["--set", setting]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(child: subprocess.Popen, on_event: Callable[[dict], None] = lambda event: None) -> Run:
    """Listens until the batch ends; `on_event` gets each event."""
    began, run = time.monotonic(), Run(0, 0.0, 0.0)
    output = child.stdout or []
    for line in output:
        event = None
        with suppress(ValueError):
            event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            run.events.append(event | {"at_s": time.monotonic() - began})
            on_event(event)
        else:
            run.other_lines = [*run.other_lines[-20:], line.rstrip()]
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = run.status = os.waitstatus_to_exitcode(status)
    if child.stdout:
        child.stdout.close()
    run.seconds, run.cpu_s = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    return run


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        yield one
        found += [child for child, parent in parents.items() if parent == one]


def memory_mib(pid: int) -> dict:
    """Resident memory of the batch's own process and of those under it, largest first."""
    sizes = {}
    for one in family(pid):
        with suppress(OSError):
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text().splitlines())
            if "VmRSS" in fields:
                sizes[one] = round(int(fields["VmRSS"].split()[0]) / 1024, 1)
    return {"parent": sizes.pop(pid, None), "under_it": sorted(sizes.values(), reverse=True)}


# What lies in the folders.


def sums(out: Path, jobs: list[dict]) -> dict[str, str]:
    """SHA-256 of every output that is there."""
    paths = {job["out"]: out / job["out"] for job in jobs}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items() if path.exists()}


def finished(out: Path, jobs: list[dict]) -> dict[str, list]:
    """Time of change and inode of video and receipt of every job that has both."""
    found = {}
    for job in jobs:
        files = [out / job["out"], out / f"{job['out']}.json"]
        if all(file.exists() for file in files):
            found[job["out"]] = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files]
    return found


def left_over(out: Path, cache: Path, jobs: list[dict]) -> list[str]:
    """Files that no user asked for: in the outputs' folder all but videos, receipts and the report; in the cache,
    parts."""
    expected = {job["out"] for job in jobs} | {f"{job['out']}.json" for job in jobs} | OWN_FILES
    strange = [
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.is_file() and path.relative_to(out).as_posix() not in expected
    ]
    return strange + [path.name for path in cache.rglob("*") if path.name.endswith(".part") or ".part." in path.name]


def _outlived(pids: list[int], patience_s: float) -> int:
    """How many of these processes are still there after a while: they should have died with the batch. They are
    ended."""
    until = time.monotonic() + patience_s
    while (alive := [pid for pid in pids if _runs(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in alive:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(alive)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
