"""Files that appear whole or not at all."""

import os
import subprocess
import sys
import time

import pytest

from lipsync.core.errors import LipsyncError
from lipsync.store.preflight import written_whole
from media import atomic as parts
from media.atomic import atomic_write, commit, part_path, remove_stale


def left(folder):
    return sorted(p.name for p in folder.iterdir())


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_name_says_whose_it_is(tmp_path):
    path = tmp_path / "my.clip.mp4"
    name = part_path(path).name
    assert (
        name.startswith(".my.clip.")
        and name.endswith(f".{os.getpid()}.part.mp4")
        and part_path(path).parent == tmp_path
    )
    host = name.removeprefix(".my.clip.").split(".")[0]
    assert host == parts.this_host() and host.replace("-", "").isalnum()


@pytest.mark.parametrize("stem", ["x" * 240, "口" * 80])
def test_the_longest_names_can_be_written(tmp_path, stem):
    with atomic_write(tmp_path / f"{stem}.mp4") as part:
        part.write_text("video")
    assert left(tmp_path) == [f"{stem}.mp4"]


def test_a_part_becomes_the_file_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and left(tmp_path) == ["a.txt"]


def test_content_and_name_are_brought_to_the_disk_in_this_order(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(parts, "sync_file", lambda path: steps.append("content"))
    monkeypatch.setattr(parts, "sync_folder", lambda path: steps.append("name"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), replace(a, b)))
    (tmp_path / "part").write_text("x")
    commit(tmp_path / "part", tmp_path / "whole")
    assert steps == ["content", "rename", "name"]


@pytest.mark.parametrize("step", ["sync_file", "replace"])
def test_a_failure_leaves_the_older_file_and_no_part(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fails(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(*((parts, step) if step == "sync_file" else (os, step)), fails)
    with pytest.raises(LipsyncError, match=r"could not be written.*Input/output error"), written_whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "old" and left(tmp_path) == ["a.txt"]


def test_left_over_parts_go_when_their_process_is_dead_or_a_day_has_passed(tmp_path):
    here, dead, a_day_ago = parts.this_host(), dead_pid(), time.time() - parts.STALE_S - 60
    gone = [
        f".clip.{here}.{dead}.part.mp4",
        f".clip.elsewhere.{os.getpid()}.part.mp4",
        f".clip.{here}.{os.getppid()}.part.mp4",
    ]
    stay = [
        f".clip.elsewhere.{dead}.part.mp4",
        f".clip.{here}.{os.getppid()}.part.mkv",
        f".clips.{here}.{dead}.part.mp4",
        f"clip.{here}.{dead}.part.mp4",
        f".clip.{here}.{dead}.part.mp4.json",
        "clip.mp4",
        f".clip.{here}.x.part.mp4",
        f".my.clip.{here}.{dead}.part.mp4",
    ]
    for name in gone + stay:
        (tmp_path / name).write_text("x")
    for name in gone[1:]:
        os.utime(tmp_path / name, (a_day_ago, a_day_ago))
    remove_stale(tmp_path / "clip.mp4")
    assert left(tmp_path) == sorted(stay)


def test_a_live_process_keeps_its_part(tmp_path):
    part = tmp_path / f".clip.{parts.this_host()}.{os.getppid()}.part.mp4"
    part.write_text("x")
    with atomic_write(tmp_path / "clip.mp4") as own:
        own.write_text("y")
    assert left(tmp_path) == sorted([part.name, "clip.mp4"])
