"""Faults at every write: the process is killed, the disk is full, a permission is gone. Nothing is lost, nothing wrong is served."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lipsync.cache import Cache
from lipsync.config import DubConfig
from tests.faults import KILL

HOME = Path(__file__).parent.parent
MODEL = HOME / "lipsync/weights/lips-prior.safetensors"
HOWS = ("ENOSPC", KILL, "EIO", "EACCES")
PREVIEW_S = 0.4
OLDER = hashlib.sha256(b"an older film").hexdigest()

posix = pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self/fd").is_dir(), reason="needs fork and /proc")


class Remembering(Cache):
    """Knows which results were asked for."""

    def __init__(self, folder):
        super().__init__(folder)
        self.used = []

    def get_or_make(self, step, key, make, *, label=""):
        self.used.append(super().get_or_make(step, key, make, label=label))
        return self.used[-1]


@pytest.fixture(scope="module")
def warm(tmp_path_factory, small_target, short_speech, shared_cache):
    """The command line of a short dub, and a cache that holds what it needs and nothing else."""
    import shutil

    from lipsync.dub import dub

    config = DubConfig()
    config = replace(config, lips=replace(config.lips, model=str(MODEL)))
    cache, folder = Remembering(shared_cache.folder), tmp_path_factory.mktemp("warm")
    dub(small_target, short_speech, folder / "out.mp4", config, preview_s=PREVIEW_S, cache=cache)
    for entry in cache.used:
        shutil.copytree(entry, folder / "cache" / entry.parent.name / entry.name)
    arguments = ["dub", str(small_target), str(short_speech), "--preview", str(PREVIEW_S), "--set", f"lips.model={MODEL}", "--quiet"]
    return {"cache": str(folder / "cache"), "arguments": arguments}


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}


def told(warm, work, cases, steps=("teeth",)):
    """The lines that tests/faults.py prints."""
    plan = json.dumps(warm | {"work": str(work), "steps": steps, "cases": cases})
    done = subprocess.run([sys.executable, "-m", "tests.faults", plan], cwd=HOME, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(whole, operations, told):
    """What must be true after a fault and after the same command again, whatever the fault was."""
    (at, how, force), video = told["case"], whole["out.mp4"]
    operation, place = operations[at - 1], f"operation {at} of {len(operations)} ({operations[at - 1]}), {how}: {told}"
    left, receipt = dict(told["left"]), told["left"].get("out.mp4.json")
    if how == KILL:
        assert told["status"] == -9, place
        left = {name: content for name, content in left.items() if not (name.startswith(".") and ".part" in name)}
    else:
        assert told["status"] in (0, 3), place
        is_removal = operation.startswith(("os.remove", "os.rmdir"))
        assert is_removal or not (told["cache_left"] or told["tmp_left"]), place
        assert told["said"].count("\n") == (told["status"] == 3) and told["said"].startswith("lipsync: " if told["status"] else ""), place
        assert told["status"] == 3 or (left.get("out.mp4"), receipt and receipt["sha256"]) == (video, video), place
        if is_removal:
            left = {name: content for name, content in left.items() if not name.startswith(".")}
    assert set(left) <= {"out.mp4", "out.mp4.json"}, place
    assert left.get("out.mp4") in (None, video, *[OLDER] * force), place
    if receipt is not None:  # a receipt stands beside its own video only
        assert (receipt["bytes"], left.get("out.mp4")) == (13, OLDER) or receipt["sha256"] == left.get("out.mp4"), place
    assert told["again"] == [0, ""], place
    assert set(told["then"]) == {"out.mp4", "out.mp4.json"} and told["then"]["out.mp4"] == told["then"]["out.mp4.json"]["sha256"] == video, place
    assert told["cache_then"] == [], place


@posix
def test_a_fault_at_some_write(warm, tmp_path):
    """Every third operation, with another fault each time; all of them with all faults: the slow test below."""
    whole, *rest = told(warm, tmp_path, [[at, HOWS[at // 3 % len(HOWS)], at % 2 == 0] for at in range(2, 33, 3)])
    assert len(whole["operations"]) >= 30 and {"fsync", "write"} < set(whole["operations"])
    for one in rest:
        check(whole["whole"], whole["operations"], one)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("steps", [("teeth",), ("mouths", "teeth")], ids="+".join)
def test_every_fault_at_every_write(warm, tmp_path, steps):
    (whole,) = told(warm, tmp_path / "count", [], steps)
    n = len(whole["operations"])
    cases = [[at, how, (at + k) % 2 == 0] for at in range(1, n + 1) for k, how in enumerate(HOWS)]
    whole, *rest = told(warm, tmp_path / "all", cases, steps)
    assert len(rest) == len(cases)
    for one in rest:
        check(whole["whole"], whole["operations"], one)
