"""Workers on a real local Ray, in a process of their own: jobs, news, a killed worker, an end that leaves nothing.

Where the system allows it that process has its own network and process numbers: nothing can be reached from outside,
nothing can stay. Run as a script, this file is what happens inside."""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import ROOT

# A second address and a way out, so that there is something else than 127.0.0.1 on which Ray could listen.
INSIDE = 'ip link set lo up; ip addr add 10.9.9.9/32 dev lo; ip route add default dev lo src 10.9.9.9; exec "$@"'
ALONE = ["unshare", "-rnp", "--fork", "--kill-child", "--mount-proc", "sh", "-c", INSIDE, "sh"]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `cluster` is not installed"),
]


def can_be_alone():
    if not all(map(shutil.which, ("unshare", "ip"))):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


def run_inside(part, folder):
    """What the script prints as its last line, as JSON; it prints nothing else, and nothing of it is left but in
    `folder`."""
    before = set(Path("/tmp").glob("lipsync-ray-*"))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LIPSYNC_CACHE": str(folder / "usual cache")}
    env |= dict.fromkeys(THREADS, "1")  # what is drawn depends in its last bits on how many threads add up
    command = [*(ALONE if can_be_alone() else []), sys.executable, __file__, part, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == 1, done.stdout[-3000:]
    assert set(Path("/tmp").glob("lipsync-ray-*")) <= before and not (folder / "usual cache").exists()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return run_inside("workers", tmp_path_factory.mktemp("ray"))


def test_jobs_and_news(seen):
    assert seen["count"] == 2
    assert [job["message"]["number"] for job in seen["ended"]] == list(range(6)) and len(
        {job["message"]["pid"] for job in seen["ended"]}
    ) >= 2
    assert {job["message"]["threads"] for job in seen["ended"]} == {"1"}
    assert {(news["step"], news["total"]) for news in seen["news"]} == {("dub", 100)}
    assert all(
        a["done"] < b["done"] for a, b in pairwise(seen["news"]) if a["number"] == b["number"] and not b["again"]
    )


def test_a_killed_worker_is_told_once_and_replaced(seen):
    (lost,) = seen["lost"]
    assert (lost["worker"], lost["number"]) == (seen["killed"]["worker"], seen["killed"]["number"])
    assert (
        lost["message"]["reason"].startswith("Its worker was lost: Worker unexpectedly exits")
        and "\n" not in lost["message"]["reason"]
    )
    assert {number for number, times in Counter(seen["begun"]).items() if times > 1} == {lost["number"]}


def test_a_fault_below_a_worker_is_told_as_on_one_machine(seen):
    assert seen["failed"]["kind"] == seen["child_killed"]["kind"] == "lost"
    assert (
        "(ZeroDivisionError: on purpose)" in seen["failed"]["reason"]
        and "worker was killed" in seen["child_killed"]["reason"]
    )


def test_only_loopback_is_listened_on(seen):
    assert seen["listening"] and set(seen["listening"]) <= {"127.0.0.1", "::ffff:7f00:1", "::1"}


def test_stopped_jobs_tidy_up_and_nothing_stays(seen):
    assert seen["tidied"] and seen["left"] == [] and seen["environment_as_before"]


def test_a_batch_on_ray_is_the_batch_on_one_machine(tmp_path):
    """Six jobs with videos and analyses in a store, one worker killed in mid-job: the same videos as without Ray, and
    nothing done again."""
    seen = run_inside("batch", tmp_path)
    assert seen["local"]["states"] == seen["ray"]["states"] == ["done"] * 6, seen["ray"]["reasons"]
    assert seen["again"] == ["kept"] * 6
    assert seen["ray"]["videos"] == seen["local"]["videos"] and len(set(seen["local"]["videos"])) == 6
    assert seen["ray"]["receipts"] == seen["local"]["receipts"]
    assert [number for number, times in enumerate(seen["ray"]["attempts"]) if times > 1] == [seen["killed"]]
    assert "faces" in seen["local"]["steps"] and not {"faces", "mouths"} & set(
        seen["ray"]["steps"]
    )  # found in the store
    assert seen["left"] == []


# ----------------------------------------------------------------------------------------------------------------
# inside


def perform(task, hook):
    """A job for tests: notes its beginning and end in a file; fails when asked."""
    with open(task["log"], "a") as log:
        log.write(f"begun {task['number']} {os.getpid()} {os.getppid()}\n")
    try:
        for i in range(task["steps"]):
            hook("dub", i + 1, task["steps"])
            time.sleep(0.02)
    finally:
        with open(task["log"], "a") as log:
            log.write(f"over {task['number']} {os.getpid()} {os.getppid()}\n")
    if task.get("fails"):
        raise ZeroDivisionError("on purpose")
    return {"number": task["number"], "pid": os.getpid(), "threads": os.environ.get("NUMBA_NUM_THREADS")}


def in_my_session():
    """Processes of this one's session, itself not among them: ids and names."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[3]) == os.getsid(0) and rest.split()[0] != "Z" and int(stat.parent.name) != os.getpid():
            found[int(stat.parent.name)] = name.partition("(")[2]
    return found


def listening():
    """Addresses on which this session's processes take connections."""
    import ipaddress

    own = set()
    for pid in [os.getpid(), *in_my_session()]:
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                own.add(os.readlink(fd))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                words = bytes.fromhex(fields[1].partition(":")[0])
                found.add(str(ipaddress.ip_address(b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4)))))
    return sorted(found)


class Session:
    """Two workers, and what is seen of them."""

    def __init__(self, folder):
        from lipsync.batch.ray_pool import RayWorkers

        self.environment = dict(os.environ)
        self.log = Path(folder) / "log"
        self.log.touch()
        self.workers = RayWorkers(None, 2, work="tests.lipsync.batch.test_ray_pool:perform")
        self.seen = {"count": self.workers.count, "ended": [], "news": [], "lost": [], "killed": None}

    def give(self, worker, number, **more):
        self.workers.submit(worker, number, {"number": number, "steps": 100, "log": str(self.log), **more})

    def process_of(self, number):
        """The child that does a job, and the worker above it."""
        return map(int, self.log.read_text().partition(f"begun {number} ")[2].split()[:2])

    def six_jobs(self):
        todo, lost, seen = list(range(6)), set(), self.seen
        for worker in range(2):
            self.give(worker, todo.pop(0))
        while len(seen["ended"]) < 6:
            for event in self.workers.wait(5):
                facts = {"worker": event.worker, "number": event.number, "message": event.message}
                if event.kind == "progress":
                    seen["news"].append({**event.message, "number": event.number, "again": event.number in lost})
                    if event.number == 1 and not seen["killed"]:
                        seen["killed"] = facts
                        os.kill(list(self.process_of(1))[1], signal.SIGKILL)
                elif event.kind == "lost":
                    seen["lost"].append(facts)
                    lost.add(event.number)
                    self.give(event.worker, event.number)
                else:
                    seen["ended"].append(facts)
                    if todo:
                        self.give(event.worker, todo.pop(0))
        seen["ended"].sort(key=lambda facts: facts["number"])
        seen["begun"] = [int(line.split()[1]) for line in self.log.read_text().splitlines() if line.startswith("begun")]

    def end_of(self, worker, number, then=None, **more):
        """How a job ends; then: called once when it has begun."""
        self.give(worker, number, **more)
        while True:
            for event in self.workers.wait(5):
                if event.kind != "progress":
                    return {"kind": event.kind, **event.message}
                if then is not None:
                    then()
                then = None

    def last_things(self):
        seen = self.seen
        seen["listening"] = listening()
        seen["failed"] = self.end_of(0, 6, fails=True)
        seen["child_killed"] = self.end_of(
            1, 7, lambda: os.kill(next(self.process_of(7)), signal.SIGKILL), steps=100_000
        )
        self.give(1, 8, steps=100_000)
        while not self.workers.wait(5):
            pass
        self.workers.close(now=True)
        end_s = time.monotonic() + 20
        while in_my_session() and time.monotonic() < end_s:
            time.sleep(0.1)
        seen["tidied"] = "over 8 " in self.log.read_text()
        seen["left"] = sorted(in_my_session().values())
        now = dict(os.environ)
        seen["environment_as_before"] = now | self.environment == now and "RAY_AUTH_TOKEN" not in now


def observe_workers(folder):
    session = Session(folder)
    session.six_jobs()
    session.last_things()
    return session.seen


class WorkerKiller:
    """An observer that kills the worker of a job when that is seen to have begun drawing and not to be half-way."""

    def __init__(self, workers, kills):
        self.workers, self.kills, self.killed, self.steps, self.worker_of = workers, kills, None, set(), {}

    def started(self, number, worker):
        self.worker_of[number] = worker

    def progress(self, number, step, done, total):
        self.steps.add(step)
        if self.kills and self.killed is None and number > 1 and step == "dub" and 2 * done < total:
            import ray

            actor = self.workers._remotes[self.worker_of[number]].actor
            pid = ray.get(actor.__ray_call__.options(concurrency_group="watch").remote(lambda self: os.getpid()))
            os.kill(pid, signal.SIGKILL)
            self.killed = number

    def ended(self, number, outcome): ...


def batches(folder):
    """The same jobs on this machine, then on Ray with one worker killed, then what a further run would find to do."""
    from lipsync.batch.pool import LocalWorkers
    from lipsync.batch.ray_pool import RayWorkers
    from lipsync.batch.run import already_done
    from lipsync.batch.storage.store import OutputStore

    folder = Path(folder)
    jobs = tiny_jobs(folder)
    local, _ = run(jobs, folder / "local", LocalWorkers(1))
    ray, killed = run(jobs, folder / "ray", RayWorkers(None, 2), kills=True)
    again = [
        outcome and outcome.state
        for outcome in (already_done(job, OutputStore(f"file://{folder}/ray")) for job in jobs)
    ]
    return {"local": local, "ray": ray, "again": again, "killed": killed, "left": sorted(in_my_session().values())}


def tiny_jobs(folder):
    """Four seconds of the presenter say six beginnings of a speech; with the bundled model, so that nothing is
    learnt."""
    import cv2
    import numpy as np
    import soundfile
    import torch

    from lipsync.batch.job import Job
    from lipsync.config.schema import DubConfig, LipsConfig
    from video.clock import FrameClock
    from video.probe import probe
    from video.read import read_frames
    from video.write import VideoWriter

    config = DubConfig(batch=4, lips=LipsConfig(model=str(ROOT / "lipsync/weights/lips-prior-logmel.safetensors")))
    samples, rate = soundfile.read(ROOT / "samples/speech.wav", dtype="int16")
    for i in range(6):
        soundfile.write(folder / f"{i}.wav", samples[: int((1.6 + 0.2 * i) * rate)], rate)
    with VideoWriter(
        folder / "tiny.mkv", width=320, height=180, clock=FrameClock.constant(100, 25), codec="ffv1"
    ) as writer:
        for batch in read_frames(probe(ROOT / "samples/target.mp4"), 25, stop=100):
            small = np.stack(
                [
                    cv2.resize(rgb, (320, 180), interpolation=cv2.INTER_AREA)
                    for rgb in batch.rgb.permute(0, 2, 3, 1).numpy()
                ]
            )
            writer.write(torch.from_numpy(small).permute(0, 3, 1, 2).contiguous())
    return [Job(str(folder / "tiny.mkv"), str(folder / f"{i}.wav"), f"{i}.mp4", config=config) for i in range(6)]


def run(jobs, out, workers, kills=False):
    """What became of a batch whose videos go to an address, and whose worker was killed. Each has its own cache; they
    share a store."""
    from lipsync.batch.job import JobRecord
    from lipsync.batch.run import run_batch
    from lipsync.batch.worker import BatchPaths

    observer = WorkerKiller(workers, kills)
    paths = BatchPaths(f"file://{out}", f"{out}-cache", f"file://{out.parent}/store")
    outcomes = run_batch([JobRecord(job) for job in jobs], paths, workers, observer)
    receipts = [json.loads((out / f"{job.out}.json").read_text()) for job in jobs]
    for facts in receipts:
        del facts["seconds"], facts["output"]["path"]
    return {
        "states": [outcome.state for outcome in outcomes],
        "attempts": [outcome.attempts for outcome in outcomes],
        "steps": sorted(observer.steps),
        "videos": [hashlib.sha256((out / job.out).read_bytes()).hexdigest() for job in jobs],
        "receipts": receipts,
        "reasons": [outcome.reason for outcome in outcomes],
    }, observer.killed


if __name__ == "__main__":
    os.setsid()
    print(json.dumps({"workers": observe_workers, "batch": batches}[sys.argv[1]](*sys.argv[2:])))
