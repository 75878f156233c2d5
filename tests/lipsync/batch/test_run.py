"""The driver loop with workers that do what the test says: order, retries, resume, stops."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from lipsync.batch import run
from lipsync.batch.job import Job, JobRecord, Outcome
from lipsync.batch.lock import LOCK_NAME, locked
from lipsync.batch.pool import WorkerEvent
from lipsync.batch.run import already_done, run_batch, valid_receipt
from lipsync.batch.storage.store import OutputStore
from lipsync.batch.worker import BatchPaths
from lipsync.core.errors import LipsyncError
from lipsync.store.cache import content_hash
from tests.support import ROOT

MADE = {"frames": 5, "duration_s": 0.2, "seconds": 1.0, "notes": ["n"]}


class Ends:
    def __init__(self):
        self.ends = {}

    def started(self, number, worker): ...

    def progress(self, number, step, done, total): ...

    def ended(self, number, outcome):
        assert number not in self.ends
        self.ends[number] = outcome


class Fake:
    """Ends every job in the order given, by `ends`: number -> list of (kind, message) for each attempt."""

    def __init__(self, count=2, ends=None, stop_after=None):
        self.count, self.ends, self.given, self.tasks, self.closed = count, ends or {}, [], {}, None
        self.running, self.stop_after = [], stop_after

    def submit(self, worker, number, task):
        assert worker not in [w for w, _ in self.running]
        self.running.append((worker, number))
        self.given.append(number)
        self.tasks[number] = task

    def wait(self, timeout_s):
        if self.stop_after is not None and len(self.given) > self.stop_after:
            raise KeyboardInterrupt
        worker, number = self.running.pop(0)
        kind, message = self.ends[number].pop(0) if self.ends.get(number) else ("ended", MADE)
        return [
            WorkerEvent(worker, number, "progress", {"step": "dub", "done": 1, "total": 2}),
            WorkerEvent(worker, number, kind, message),
        ]

    def close(self, now):
        self.closed = now


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "t.mp4").write_text("target")
    made = []
    for i in range(5):
        (tmp_path / f"{i}.wav").write_text(f"speech {i}")
        made.append(Job(str(tmp_path / "t.mp4"), str(tmp_path / f"{i}.wav"), f"{i}.mp4"))
    return made


def run_all(jobs, folder, workers, observer=None, **options):
    folder.mkdir(exist_ok=True)
    store = OutputStore(str(folder))
    records = [JobRecord(job, outcome=already_done(job, store, **options)) for job in jobs]
    return run_batch(records, BatchPaths(str(folder)), workers, observer or Ends())


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def test_every_job_ends_once_whatever_the_others_do(jobs, tmp_path):
    jobs[2] = Job("x", "y", "z.mp4", fault="row 3 has no speech.")
    lost = ("lost", {"reason": "killed"})
    workers = Fake(ends={0: [("ended", {"fault": "bad"})], 1: [lost, ("ended", MADE)], 3: [lost] * run.ATTEMPTS})
    observer = Ends()
    outcomes = run_all(jobs, tmp_path / "out", workers, observer)
    assert (
        states(outcomes) == ["failed", "done", "failed", "failed", "done"]
        and list(map(observer.ends.get, range(5))) == outcomes
    )
    assert [o.reason for o in outcomes] == ["bad", "", "row 3 has no speech.", "killed", ""]
    assert [o.attempts for o in outcomes] == [1, 2, 0, run.ATTEMPTS, 1] and workers.given.count(3) == run.ATTEMPTS
    assert workers.closed is False and outcomes[1].notes == ("n",)


def test_a_finished_video_gets_its_quality_report_and_stays_finished_where_that_fails(jobs, tmp_path):
    kept = [Outcome(job, "kept", frames=5, duration_s=0.2, attempts=0, notes=("n",)) for job in jobs[:3]]
    records = [JobRecord(one.job, kept=one) for one in kept] + [JobRecord(jobs[3])]
    page = MADE | {"doubt": 0.25, "page": True}
    ends = {
        0: [("ended", page)],
        1: [("ended", {"fault": "No face."})],
        2: [("lost", {"reason": "killed", "final": True})],
    }
    workers = Fake(count=1, ends=ends | {3: [("ended", page)]})
    outcomes = run_batch(records, BatchPaths(str(tmp_path)), workers, Ends(), pages=True)
    assert [workers.tasks[i]["page"] for i in range(4)] == ["only", "only", "only", "too"]
    assert states(outcomes) == ["kept", "kept", "kept", "done"] and [o.page for o in outcomes] == [
        True,
        False,
        False,
        True,
    ]
    assert outcomes[0].doubt == outcomes[3].doubt == 0.25
    assert [o.notes[1:] for o in outcomes[1:3]] == [("No quality report: No face.",), ("No quality report: killed",)]


def test_a_page_older_than_its_video_counts_as_none(tmp_path):
    store = OutputStore(tmp_path)
    for name, at in (("a.mp4.json", 100), ("a.mp4.html", 200)):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (at, at))
    assert store.has_page("a.mp4") and not store.has_page("b.mp4")
    os.utime(tmp_path / "a.mp4.json", (300, 300))
    assert not store.has_page("a.mp4")


def test_a_job_that_would_be_lost_again_is_not_begun_again(jobs, tmp_path):
    workers = Fake(ends={0: [("lost", {"reason": "too long", "final": True})]})
    assert run_all(jobs[:1], tmp_path, workers)[0].reason == "too long" and workers.given == [0]


def test_a_stop_leaves_the_rest_stopped_and_the_workers_told(jobs, tmp_path):
    workers = Fake(count=1, stop_after=2)
    outcomes = run_all(jobs, tmp_path / "out", workers)
    assert states(outcomes) == ["done", "done", "stopped", "stopped", "stopped"] and workers.closed is True


def finish(job, folder, **other):
    """The video and receipt that a worker would leave."""
    video = folder / job.out
    video.write_bytes(b"video of " + job.out.encode())
    facts = {
        "id": run.job_id(job),
        "notes": [],
        "output": {"frames": 5, "duration_s": 0.2, "bytes": video.stat().st_size, "sha256": content_hash(video)},
    }
    (folder / f"{job.out}.json").write_text(json.dumps(facts | other))


def test_finished_jobs_are_kept_and_only_they(jobs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for job in jobs[:4]:
        finish(job, out)
    (out / "1.mp4").write_bytes(b"cut")
    (tmp_path / "2.wav").write_text("other words")
    finish(jobs[3], out, id="of other options")
    workers = Fake()
    outcomes = run_all(jobs, out, workers, force=True)
    assert states(outcomes) == ["kept", "done", "done", "done", "done"] and sorted(workers.given) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"id": 3}',
        '{"id": "x", "notes": 3, "output": []}',
        '{"output": {"bytes": 14}}',
        "[" * 5000,
    ],
)
def test_a_damaged_receipt_is_no_receipt(jobs, tmp_path, text):
    finish(jobs[0], tmp_path)
    assert valid_receipt(jobs[0], OutputStore(str(tmp_path)))
    (tmp_path / "0.mp4.json").write_text(text)
    assert valid_receipt(jobs[0], OutputStore(str(tmp_path))) is None


def test_verify_looks_into_the_video(jobs, tmp_path):
    finish(jobs[0], tmp_path)
    video = tmp_path / "0.mp4"
    video.write_bytes(video.read_bytes()[::-1])
    store = OutputStore(str(tmp_path))
    assert valid_receipt(jobs[0], store) and valid_receipt(jobs[0], store, verify=True) is None


def test_what_lipsync_did_not_make_is_not_replaced(jobs, tmp_path):
    (tmp_path / "0.mp4").write_bytes(b"a video of mine")
    workers = Fake()
    outcome = run_all(jobs[:1], tmp_path, workers)[0]
    assert outcome.state == "failed" and "--force" in outcome.reason and workers.given == []
    assert run_all(jobs[:1], tmp_path, workers, force=True)[0].state == "done"


def test_two_batches_do_not_share_a_folder(tmp_path):
    again = pytest.raises(LipsyncError, match="Another batch")
    with locked(str(tmp_path / "out")), again, locked(str(tmp_path / "out")):
        pass
    with locked(str(tmp_path / "out")):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_batch_leaves_does_not_keep_the_next_one_out(tmp_path):
    (tmp_path / LOCK_NAME).write_text("")
    with locked(str(tmp_path)) as note:
        assert note == "" and (tmp_path / LOCK_NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with locked(str(tmp_path)) as note:
        assert note == f"The file system of {tmp_path} has no locks: take care that no other batch writes there."


def test_a_platform_without_fcntl_runs_batches_and_locks_folders(tmp_path):
    code = """
import sys
sys.modules["fcntl"] = None
import lipsync.batch.run
from lipsync.batch.lock import LOCK_NAME, locked
from lipsync.core.errors import LipsyncError
with locked(sys.argv[1]):
    try:
        with locked(sys.argv[1]):
            print("two batches")
    except LipsyncError as error:
        print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Another batch is writing to {tmp_path}.") and list(tmp_path.iterdir()) == []


def test_an_input_that_cannot_be_read_fails_alone(jobs, tmp_path):
    finish(jobs[0], tmp_path)
    (tmp_path / "0.wav").unlink()
    outcomes = run_all(jobs[:2], tmp_path, Fake(), force=True)
    assert states(outcomes) == ["failed", "done"] and "0.wav" in outcomes[0].reason
