"""Worker processes: what they say arrives, one that dies takes only its job along, and none outlives the batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lipsync.batch.pool import LocalWorkers
from lipsync.core.errors import UsageError
from lipsync.sandbox.limits import Limits, why_not
from tests.support import ROOT


@pytest.fixture
def pool():
    made = []

    def make(count=1, **options):
        made.append(LocalWorkers(count, work="tests.support.batch_work:perform", **options))
        return made[-1]

    yield make
    for workers in made:
        workers.close(now=True)


def ends(workers, n=1, seconds=60):
    """The next `n` events that are not of progress."""
    found, end = [], time.monotonic() + seconds
    while len(found) < n and time.monotonic() < end:
        found += [event for event in workers.wait(1.0) if event.kind != "progress"]
    assert len(found) == n
    return found


def test_what_a_worker_says_arrives(pool):
    workers, received = pool(), []
    workers.submit(0, 7, {"x": "ä" * 3000})
    while not received or received[-1].kind != "ended":
        received += workers.wait(1.0)
    assert [(r.worker, r.number, r.kind) for r in received] == [(0, 7, "progress"), (0, 7, "progress"), (0, 7, "ended")]
    assert received[0].message == {"step": "dub", "done": 0, "total": 2} and received[-1].message["x"] == "ä" * 3000


def test_a_worker_stays_and_cores_are_shared(pool):
    workers = pool(os.cpu_count() or 1)
    pids = set()
    for number in range(3):
        workers.submit(0, number, {})
        message = ends(workers)[0].message
        pids.add(message["pid"])
    assert len(pids) == 1 and message["threads"] == "1"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"die": signal.SIGSEGV}, "SIGSEGV (last words)"),
        ({"die": signal.SIGKILL}, "memory"),
        ({"leave": 3}, "status 3"),
    ],
)
def test_a_dead_worker_is_reported_and_replaced(pool, task, words):
    workers = pool(2)
    workers.submit(0, 0, task)
    workers.submit(1, 1, {})
    events = {r.number: r for r in ends(workers, 2)}
    assert events[0].kind == "lost" and words in events[0].message["reason"] and events[1].kind == "ended"
    workers.submit(0, 2, {})
    assert ends(workers)[0].kind == "ended"


@pytest.mark.skipif(why_not() is not None, reason="no sandbox here")
@pytest.mark.parametrize(
    ("task", "limits", "option"), [("fill", Limits(1.0, 60.0), "memory_gib"), ("part", Limits(1.0, 1.0), "seconds")]
)
def test_a_limit_ends_the_job_for_good(pool, tmp_path, task, limits, option):
    workers = pool(limits=limits)
    workers.submit(0, 0, {task: 200 if task == "fill" else str(tmp_path / "part")})
    event = ends(workers)[0]
    assert event.kind == "lost" and event.message["final"] and f"sandbox.{option}" in event.message["reason"]


def test_a_stop_lets_a_job_tidy_up(pool, tmp_path):
    workers, part = pool(), tmp_path / "part"
    workers.submit(0, 0, {"part": str(part)})
    pid = awaited(part)
    workers.close(now=True)
    assert not part.exists() and not alive(pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_batch(tmp_path, how):
    part = tmp_path / "part"
    batch = subprocess.Popen([sys.executable, "-m", "tests.support.batch_work", part], cwd=ROOT)
    pid = awaited(part)
    batch.send_signal(how)
    batch.wait(20)
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid) and not part.exists()


def awaited(part: Path) -> int:
    """The process that wrote its number there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if part.exists() and part.read_text():
            return int(part.read_text())
        time.sleep(0.02)
    raise AssertionError("the job did not begin")


def alive(pid: int) -> bool:
    try:
        return (
            "(batch" in Path(f"/proc/{pid}/stat").read_text()
            or Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] not in "ZX"
        )
    except OSError:
        return False


def test_a_system_without_poll_is_named(monkeypatch):
    monkeypatch.delattr("select.poll")
    with pytest.raises(UsageError, match=r"needs select\.poll, which this system lacks"):
        LocalWorkers(1)
