"""`lipsync batch` for real: processes, videos, kill -9, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import soundfile

from tests.support import ROOT
from video.probe import probe

QUICK = ("--set", "lips.members=1", "--set", "lips.steps=80")
RATE = 16000
LENGTHS_S = (0.6, 0.9, 0.75)


@pytest.fixture(scope="module")
def folder(small_target, short_speech, tmp_path_factory):
    """A folder with three recordings and a manifest of five jobs: the second names no file, the fourth a wrong
    option."""
    folder = tmp_path_factory.mktemp("batch")
    samples, rate = soundfile.read(short_speech, dtype="int16")
    for i, length_s in enumerate(LENGTHS_S):
        soundfile.write(folder / f"s{i}.wav", samples[i * 8000 :][: round(length_s * rate)], rate)
    jobs = [
        {"target": str(small_target), "speech": "s0.wav", "out": "a/0.mp4"},
        {"target": str(small_target), "speech": "missing.wav", "out": "1.mp4"},
        {"target": str(small_target), "speech": "s1.wav", "out": "2.mp4", "write": {"crf": 20}},
        {"target": str(small_target), "speech": "s2.wav", "out": "3.mp4", "write.crf": "high"},
        {"target": str(small_target), "speech": "s2.wav", "out": "4.mkv"},
    ]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    return folder


@pytest.fixture
def start(folder, shared_cache):
    def begin(out, *options):
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lipsync",
                "batch",
                folder / "jobs.jsonl",
                "-o",
                out,
                "--workers",
                "2",
                "--json",
                *QUICK,
                *options,
            ],
            cwd=ROOT,
            env=os.environ | {"LIPSYNC_CACHE": str(shared_cache.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def finish(process):
    """(exit status, events)"""
    out, errors = process.communicate(timeout=240)
    assert "Traceback" not in errors, errors
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return tmp_path_factory.mktemp("truth") / "out"


def test_good_jobs_are_done_and_bad_ones_named(truth, start, folder):
    assert finish(start(truth, "--dry-run"))[0] == 1 and not truth.exists()
    status, events = finish(start(truth))
    ends = {e["job"]: e for e in events if e["event"] in ("done", "failed")}
    assert status == 1 and [ends[n]["event"] for n in range(5)] == ["done", "failed", "done", "failed", "done"]
    assert "missing.wav" in ends[1]["reason"] and "write.crf" in ends[3]["reason"] and events[-1]["event"] == "summary"
    assert events[0]["event"] == "estimate" and events[0]["jobs"] == 3 and events[0]["seconds"] > 0
    made = list(files(truth))
    assert made == [
        "2.mp4",
        "2.mp4.json",
        "4.mkv",
        "4.mkv.json",
        "a/0.mp4",
        "a/0.mp4.json",
        "batch.json",
        "report.html",
    ]
    for out, length_s in zip(("a/0.mp4", "2.mp4", "4.mkv"), LENGTHS_S, strict=True):
        assert len(probe(truth / out)) == round(Fraction(str(length_s)) * 25)
    assert json.loads((truth / "2.mp4.json").read_text())["config"]["write"]["crf"] == 20


def test_what_is_finished_is_kept(truth, start):
    before = {path: path.stat().st_mtime_ns for path in truth.rglob("*.m*")}
    status, events = finish(start(truth, "--verify"))
    assert status == 1 and [e["event"] for e in events if "job" in e] == ["kept", "failed", "kept", "failed", "kept"]
    assert {path: path.stat().st_mtime_ns for path in truth.rglob("*.m*")} == before


def test_killed_and_run_again_it_makes_the_same(truth, start, tmp_path):
    process, out = start(tmp_path / "out"), tmp_path / "out"
    for line in process.stdout:  # until one is done and another is being drawn
        event = json.loads(line)
        if event["event"] == "done":
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*.m*")
        if Path(f"{path}.json").exists() and not path.name.startswith(".")
    }
    assert done and finish(start(out))[0] == 1
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    videos = {name: content for name, content in files(out).items() if name.endswith((".mp4", ".mkv"))}
    assert videos == {name: content for name, content in files(truth).items() if name.endswith((".mp4", ".mkv"))}
    assert set(files(out)) == set(files(truth))


def test_ctrl_c_leaves_whole_files_only(start, tmp_path):
    process, out = start(tmp_path / "out"), tmp_path / "out"
    for line in process.stdout:
        if json.loads(line).get("step") == "dub":
            break
    process.send_signal(signal.SIGINT)
    status, events = finish(process)
    assert status == 130 and "stopped" in {e["event"] for e in events}
    names = set(files(out))
    assert {"batch.json", "report.html"} <= names and all(
        f"{name}.json" in names for name in names if name.endswith((".mp4", ".mkv"))
    )
    assert not [name for name in names if ".part" in name]
