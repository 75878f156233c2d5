"""Faults at every write: the process is killed, the disk is full, a permission is gone. Nothing is lost, nothing wrong
is served."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lipsync.config.schema import DubConfig
from lipsync.store.cache import Cache, save_arrays
from lipsync.store.preflight import written_whole
from media import MediaError
from tests.support import ROOT
from tests.support.faults import KILL, Fault, forked
from video.clock import FrameClock
from video.write import VideoWriter

MODEL = ROOT / "lipsync/weights/lips-prior-logmel.safetensors"
ERRORS = ("ENOSPC", "EIO", "EACCES")
HOWS = (KILL, *ERRORS)
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


def of_bundled_lips():
    config = DubConfig()
    return replace(config, lips=replace(config.lips, model=str(MODEL)))


@pytest.fixture(scope="module")
def warm(tmp_path_factory, small_target, short_speech, shared_cache):
    """The command line of a short dub, and a cache that holds what it needs and nothing else."""
    from lipsync.pipelines.dub import dub

    cache, folder = Remembering(shared_cache.folder), tmp_path_factory.mktemp("warm")
    dub(small_target, short_speech, folder / "out.mp4", of_bundled_lips(), preview_s=PREVIEW_S, cache=cache)
    for entry in set(cache.used):
        shutil.copytree(entry, folder / "cache" / entry.parent.name / entry.name)
    arguments = [
        "dub",
        str(small_target),
        str(short_speech),
        "--preview",
        str(PREVIEW_S),
        "--set",
        f"lips.model={MODEL}",
        "--quiet",
    ]
    return {"cache": str(folder / "cache"), "arguments": arguments, "whole": str(folder / "out.mp4")}


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def told(warm, work, cases, steps=("teeth",), together=0):
    """The lines that tests/support/faults.py prints."""
    plan = json.dumps(warm | {"work": str(work), "steps": steps, "cases": cases, "together": together})
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.faults", plan],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=7200,
    )
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
        assert told["said"].count("\n") == (told["status"] == 3) and told["said"].startswith(
            "lipsync: " if told["status"] else ""
        ), place
        assert told["status"] == 3 or (left.get("out.mp4"), receipt and receipt["sha256"]) == (video, video), place
        if is_removal:
            left = {name: content for name, content in left.items() if not name.startswith(".")}
    assert set(left) <= {"out.mp4", "out.mp4.json"}, place
    assert left.get("out.mp4") in (None, video, *[OLDER] * force), place
    if receipt is not None:  # a receipt stands beside its own video only
        assert (receipt["bytes"], left.get("out.mp4")) == (13, OLDER) or receipt["sha256"] == left.get("out.mp4"), place
    assert told["again"] == [0, ""], place
    assert (
        set(told["then"]) == {"out.mp4", "out.mp4.json"}
        and told["then"]["out.mp4"] == told["then"]["out.mp4.json"]["sha256"] == video
    ), place
    assert told["cache_then"] == [], place


def every_fault(folder, act):
    """(its folder, how it ended, the operation, what went wrong) of `act(folder)` killed and failing at each of its
    operations."""
    fault = Fault(folder / "0")
    (folder / "0").mkdir()
    ended, operations = forked(lambda: act(folder / "0"), fault)
    assert ended == 0 and len(operations) > 5
    for at, operation in enumerate(operations, 1):
        for how in (KILL, ERRORS[at % len(ERRORS)]):
            place = folder / f"{at}-{how}"
            place.mkdir()
            ended, _ = forked(lambda: act(place), Fault(place, at, how))
            yield place, ended, operation, how


@posix
def test_every_fault_at_every_write_of_a_file(tmp_path):
    def act(folder):
        for text in ("old", "new"):
            with written_whole(folder / "a.txt") as part:
                part.write_text(text * 10000)

    tried = set()
    for place, ended, operation, how in every_fault(tmp_path, act):
        tried.add((operation.split()[0], how, ended))
        names = {path.name for path in place.iterdir()}
        if how != KILL:
            assert ended in (0, "LipsyncError") and (names <= {"a.txt"} or operation.startswith("os.remove")), (
                operation,
                how,
                ended,
                names,
            )
        assert "a.txt" not in names or (place / "a.txt").read_text() in ("old" * 10000, "new" * 10000)
        act(place)
        assert [path.name for path in place.iterdir()] == ["a.txt"] and (place / "a.txt").read_text() == "new" * 10000
    assert {("write", KILL, -9), ("fsync", KILL, -9), ("os.rename", KILL, -9)} <= tried and "LipsyncError" in {
        ended for _, _, ended in tried
    }


@posix
@pytest.mark.slow
def test_every_fault_at_every_write_of_the_cache(tmp_path):
    def make(folder):
        (folder / "a.bin").write_bytes(b"a" * 100000)
        save_arrays(folder / "b.safetensors", {"b": np.arange(1000)})

    def act(folder):
        cache = Cache(folder)
        cache.get_or_make("faces", "k", make)
        os.truncate(folder / "faces/k/a.bin", 10)
        cache.get_or_make("faces", "k", make)  # thrown away and made again
        cache.unfinished("unfinished", "u")
        cache.clear("unfinished")

    def load(folder):
        return (folder / "a.bin").read_bytes(), load_file(folder / "b.safetensors")["b"].sum()

    tried = set()
    for place, ended, operation, how in every_fault(tmp_path, act):
        tried.add((operation.split()[0], how, ended))
        assert ended == -9 if how == KILL else ended in (0, "LipsyncError"), (operation, how, ended)
        if how != KILL and not operation.startswith(("os.remove", "os.rmdir")):
            assert not list(place.rglob("*.part*")), (operation, how)
        assert Cache(place).read("faces", "k", make, load) == (b"a" * 100000, 499500)
        Cache(place).get_or_make("faces", "other", make)  # sweeps
        assert {path.name for path in (place / "faces").iterdir()} == {"k", "other"}
    assert {("write", KILL, -9), ("fsync", KILL, -9), ("os.mkdir", KILL, -9)} <= tried and "LipsyncError" in {
        ended for _, _, ended in tried
    }


@posix
@pytest.mark.timeout(1200)
@pytest.mark.slow
def test_a_dub_with_a_fault_at_some_writes_and_three_at_once(warm, tmp_path):
    """Every sixth operation, with another fault each time; all of them with all faults: the slow test below."""
    whole, together, *rest = told(
        warm, tmp_path, [[at, HOWS[k % len(HOWS)], k % 2 == 0] for k, at in enumerate(range(4, 33, 6))], together=3
    )
    assert len(whole["operations"]) >= 30 and {"fsync", "write"} < set(whole["operations"])
    assert together["together"] == [[0, ""]] * 3 and together["cache"] == []
    assert (
        together["left"]["out.mp4"] == together["left"]["out.mp4.json"]["sha256"] == whole["whole"]["out.mp4"]
        and len(together["left"]) == 2
    )
    for one in rest:
        check(whole["whole"], whole["operations"], one)


@posix
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("steps", [("teeth",), ("mouths", "teeth")], ids="+".join)
def test_every_fault_at_every_write(warm, tmp_path, steps):
    (whole,) = told(warm, tmp_path / "count", [], steps)
    n = len(whole["operations"])
    cases = [[at, how, (at + k) % 2 == 0] for at in range(1, n + 1) for k, how in enumerate(HOWS)]
    whole, *rest = told(warm, tmp_path / "all", cases, steps)
    assert len(rest) == len(cases)
    for one in rest:
        check(whole["whole"], whole["operations"], one)


@pytest.fixture
def command(warm, tmp_path):
    """Runs the dub: (exit status, standard error)."""
    from typer.testing import CliRunner

    from lipsync.cli.app import app

    def run(out, cache):
        done = CliRunner().invoke(app, [*warm["arguments"], "-o", str(out), "--set", f"cache.folder={cache}"])
        return done.exit_code, done.stderr

    return run


@contextmanager
def small_disk(folder, size):
    """A file system of `size` bytes; skips where none can be made."""
    folder.mkdir(exist_ok=True)
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def is_sentence(done, *words):
    status, said = done
    return (
        status == 3 and said.count("\n") == 1 and said.startswith("lipsync: ") and all(word in said for word in words)
    )


@pytest.mark.parametrize("size", [4096, 24576])
def test_the_disk_of_the_output_is_full(warm, command, tmp_path, size):
    with small_disk(tmp_path / "disk", size) as disk:
        done = command(disk / "out.mp4", warm["cache"])
        assert is_sentence(done, "out.mp4", "disk space"), done
        assert list(disk.iterdir()) == []


def test_the_disk_of_the_cache_is_full(warm, command, tmp_path):
    with small_disk(tmp_path / "disk", "12m") as disk:
        shutil.copytree(warm["cache"], disk / "cache", ignore=shutil.ignore_patterns("teeth"))
        with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        (tmp_path / "out").mkdir()
        done = command(tmp_path / "out/out.mp4", disk / "cache")
        assert is_sentence(done, "No space left for the cache", "LIPSYNC_CACHE"), done
        assert list((tmp_path / "out").iterdir()) == [] and not list(disk.rglob("*.part"))
        (disk / "filler").unlink()
        assert command(tmp_path / "out/out.mp4", disk / "cache") == (0, "")
    assert (tmp_path / "out/out.mp4").read_bytes() == Path(warm["whole"]).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_film_is_whole_or_not_there_wherever_its_writing_stops(tmp_path, short_speech, ending):
    import resource

    path = tmp_path / "out" / f"a{ending}"
    path.parent.mkdir()
    frames = torch.randint(0, 255, (12, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def film():
        clock = FrameClock.constant(12, Fraction(25))
        with VideoWriter(
            path, width=96, height=64, clock=clock, crf=20, speech=short_speech, audio_end_s=Fraction(12, 25)
        ) as writer:
            writer.write(frames)

    film()
    size, (soft, hard) = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    path.unlink()
    for limit in [*range(0, size, size // 12), *range(size - 30, size, 7), size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(MediaError, match="disk space|folder you may write to"):
                film()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(path.parent.iterdir()) == [], limit
    film()
    assert path.stat().st_size == size


@contextmanager
def read_only(folder):
    """The folder without the permission to write."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    bind = [
        ["mount", "--bind", str(folder), str(folder)],
        ["mount", "-o", "remount,bind,ro", str(folder)],
    ]  # root ignores modes
    if not shutil.which("mount") or subprocess.run(bind[0], capture_output=True).returncode:
        pytest.skip("root may write everywhere, and nothing can be mounted here")
    try:
        subprocess.run(bind[1], check=True, capture_output=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_output_folder_may_not_be_written(warm, command, tmp_path):
    with read_only(tmp_path):
        done = command(tmp_path / "out.mp4", warm["cache"])
    assert is_sentence(done, "cannot be written"), done
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_may_not_be_written_is_read_and_where_it_does_not_do_a_sentence_says_so(warm, command, tmp_path):
    shutil.copytree(warm["cache"], tmp_path / "cache")
    with read_only(tmp_path / "cache"):
        assert command(tmp_path / "out.mp4", tmp_path / "cache") == (0, "")
    assert (tmp_path / "out.mp4").read_bytes() == Path(warm["whole"]).read_bytes()
    for label in tmp_path.glob("cache/teeth/*/entry.json"):
        label.write_text("")
    with read_only(tmp_path / "cache/teeth"):
        done = command(tmp_path / "other.mp4", tmp_path / "cache")
    assert is_sentence(done, "cache", "cannot be written", "LIPSYNC_CACHE"), done
    assert not (tmp_path / "other.mp4").exists()


def test_damaged_results_change_nothing_in_the_film(warm, command, tmp_path):
    """Each of these alone would be a traceback or another film."""
    shutil.copytree(warm["cache"], tmp_path / "cache")
    (crops,) = tmp_path.glob("cache/mouths/*/crops.npy")
    os.truncate(crops, crops.stat().st_size // 2)
    (teeth,) = tmp_path.glob("cache/teeth/*/teeth.safetensors")
    content = bytearray(teeth.read_bytes())
    content[-1000:] = os.urandom(1000)
    teeth.write_bytes(content)
    assert command(tmp_path / "out.mp4", tmp_path / "cache") == (0, "")
    assert (tmp_path / "out.mp4").read_bytes() == Path(warm["whole"]).read_bytes()


@posix
def test_a_cache_that_is_cleared_during_a_dub_changes_nothing(warm, small_target, short_speech, tmp_path):
    from lipsync.pipelines.dub import dub

    shutil.copytree(warm["cache"], tmp_path / "cache")
    cache, cleared = Cache(tmp_path / "cache"), []

    def hook(step, done, total):
        if step == "dub" and not cleared:
            cleared.append(cache.clear()[0])

    dub(
        small_target, short_speech, tmp_path / "out.mp4", of_bundled_lips(), preview_s=PREVIEW_S, cache=cache, hook=hook
    )
    assert len(cleared) == 1 and cleared[0] >= 5  # its times among them, unless known before
    assert (tmp_path / "out.mp4").read_bytes() == Path(warm["whole"]).read_bytes()
