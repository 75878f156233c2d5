"""The queue of the local page: order, lanes, progress, cancelling, and that nothing stays behind."""

from __future__ import annotations

import os
import threading
import time

import pytest

from lipsync.core.errors import LipsyncError
from lipsync.sandbox.limits import Limits, why_not
from lipsync.ui import jobs
from lipsync.ui.jobs import Command, Job, Queue, Workplace


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(jobs.tempfile, "tempdir", str(tmp_path))
    place = Workplace()
    yield place
    place.close()


@pytest.fixture
def queue():
    queue = Queue(most_waiting=3, on_fault=lambda words: None)
    yield queue
    queue.close()


def job_in(place: Workplace, kind="dub", owner="anna", commands=(Command(["x"], [], []),)) -> Job:
    folder = place.new_folder()
    (folder / "film").write_bytes(b"x")
    return Job(kind, owner, "film", folder, commands, Limits(2.0, 60.0), place.folder / "cache", {"video": "film"})


class Gate:
    """Children that say a step and then wait for us."""

    def __init__(self, monkeypatch):
        self.running, self.order, self.go, self.most = [], [], threading.Semaphore(0), 0
        monkeypatch.setattr(jobs, "_start", self.start)

    def start(self, job, command, around):
        self.running.append(job)
        self.order.append(job.id)
        self.most = max(self.most, len(self.running))
        os.write(around.stderr, b'{"step": "faces", "done": 1, "total": 4, "elapsed_s": 0.1}\nWarning: x\n')
        while not self.go.acquire(timeout=0.02):
            if job.stop.is_set():
                break
        self.running.remove(job)
        os.write(around.stdout, b'{"answer": 42}')
        return 0


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_jobs_run_one_at_a_time_in_their_order(queue, place, monkeypatch):
    gate = Gate(monkeypatch)
    added = [queue.add(job_in(place)) for _ in range(3)]
    until(lambda: added[0].step == "faces")
    assert [queue.ahead_of(job) for job in added] == [0, 1, 2]
    gate.go.release(3)
    for job in added:
        queue.wait(job, 20)
    assert gate.order == [job.id for job in added] and gate.most == 1
    assert {job.state for job in added} == {"done"} and added[0].result == {"answer": 42}
    assert queue.of("anna") == added[::-1] and queue.of("ben") == []
    assert queue.get(added[0].id, "ben") is None and queue.get(added[0].id, "anna") is added[0]


def test_looks_have_a_lane_and_a_dub_waits_for_its_own(queue, place, monkeypatch):
    gate = Gate(monkeypatch)
    other, look = queue.add(job_in(place)), queue.add(job_in(place, "people"))
    until(lambda: len(gate.running) == 2)
    dub = job_in(place)
    dub.after = look
    queue.add(dub)
    queue.cancel(other)
    queue.wait(other, 20)
    time.sleep(0.1)
    assert dub.state == "waiting"
    gate.go.release(2)
    queue.wait(dub, 20)
    assert dub.state == "done" and gate.order.index(look.id) < gate.order.index(dub.id)


def test_cancelled_and_removed_jobs_leave_nothing(queue, place, monkeypatch):
    Gate(monkeypatch)
    running, waiting = queue.add(job_in(place)), queue.add(job_in(place))
    until(lambda: running.state == "running")
    queue.cancel(waiting)
    assert waiting.state == "cancelled" and not waiting.folder.exists()
    queue.remove(running)
    assert queue.of("anna") == [waiting]
    until(lambda: running.state == "cancelled" and not running.folder.exists() and queue.find(running.id) is None)


def test_too_many_waiting_jobs_are_refused(queue, place, monkeypatch):
    Gate(monkeypatch)
    first = queue.add(job_in(place))
    until(lambda: first.state == "running")
    for _ in range(3):
        queue.add(job_in(place))
    more = job_in(place)
    with pytest.raises(LipsyncError, match="3 jobs of yours wait already"):
        queue.add(more)
    assert not more.folder.exists()
    queue.add(job_in(place, owner="ben"))


def test_the_oldest_finished_jobs_are_forgotten(queue, place, monkeypatch):
    monkeypatch.setattr(jobs, "_start", lambda job, command, around: os.write(around.stdout, b"{}") and 0)
    monkeypatch.setattr(jobs, "MOST_KEPT", 2)
    made = []
    for _ in range(4):
        made.append(queue.add(job_in(place)))
        queue.wait(made[-1], 20)
    assert [job.folder.exists() for job in made] == [False, True, True, True]


def test_a_fault_of_ours_fails_one_job_only(queue, place, monkeypatch):
    monkeypatch.setattr(jobs, "_start", lambda job, command, around: os.write(around.stderr, b"Traceback\n") and 1)
    bad = queue.add(job_in(place))
    queue.wait(bad, 20)
    assert bad.state == "failed" and "should not have" in bad.sentence
    optional = queue.add(job_in(place, commands=[Command(["x"], [], [], optional=True)]))
    queue.wait(optional, 20)
    assert optional.state == "failed"  # only a sentence can be done without, never a fault
    Gate(monkeypatch).go.release()
    good = queue.add(job_in(place))
    queue.wait(good, 20)
    assert good.state == "done"


@pytest.mark.skipif(why_not() is not None, reason="no sandbox here")
def test_the_sentence_of_a_bad_film_is_that_of_the_command(queue, place):
    job = job_in(place, "people", commands=[Command(["people", "film", "--json"], ["film"], [])])
    (job.folder / "film").write_bytes(b"PK\3\4" + bytes(1000))
    queue.add(job)
    queue.wait(job, 120)
    assert job.state == "failed" and job.sentence.startswith("film"), job.sentence
    assert str(place.folder) not in job.sentence and not job.folder.exists()


def test_the_share_leaves_out_steps_that_were_skipped(place, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    job = job_in(place)
    job.expected, job.started_s = {"faces": 30.0, "lips": 10.0, "dub": 10.0}, 100.0
    now[0] = 110.0
    job.progress("lips", 5, 10)  # no faces: they were kept
    assert job.share == pytest.approx(5 / 20) and job.left_s == pytest.approx(30.0)
    job.progress("hash", 1, 1)
    assert job.share == pytest.approx(0.25) and job.step == "hash"
    job.progress("dub", 10, 10)
    assert job.left_s == 0.0 and job.share == pytest.approx(1.0)


def test_what_a_killed_process_left_is_swept_up(tmp_path, monkeypatch, place):
    left = tmp_path / "lipsync-ui-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "film").write_bytes(b"x")
    Workplace().close()
    assert not left.exists() and place.folder.exists()  # the other one is alive
