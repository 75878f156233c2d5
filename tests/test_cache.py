"""The cache: found again by content, complete or absent, never in the way."""

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lipsync.cache import STALE_S, Cache, content_hash, default_folder, step_key
from lipsync.config import FaceConfig
from lipsync.errors import LipsyncError


def write(text):
    return lambda folder: (folder / "x.txt").write_text(text)


def test_made_once_then_found(tmp_path):
    cache = Cache(tmp_path / "c")
    first = cache.get_or_make("faces", "k", write("one"))
    second = Cache(tmp_path / "c").get_or_make("faces", "k", write("two"))
    assert first == second and (second / "x.txt").read_text() == "one"


def test_nothing_is_created_before_a_result(tmp_path):
    cache = Cache(tmp_path / "c")
    assert cache.entries() == [] and not (tmp_path / "c").exists()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_nothing_stays_after_an_exception(tmp_path, error):
    def make(folder):
        (folder / "half.txt").write_text("half")
        raise error

    with pytest.raises(error):
        Cache(tmp_path).get_or_make("faces", "k", make)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [] and list((tmp_path / "faces").iterdir()) == []
    assert (Cache(tmp_path).get_or_make("faces", "k", write("whole")) / "x.txt").read_text() == "whole"


def test_the_later_of_two_discards_its_own(tmp_path):
    cache = Cache(tmp_path)

    def make_slowly(folder):
        cache.get_or_make("faces", "k", write("winner"))
        (folder / "x.txt").write_text("loser")

    folder = cache.get_or_make("faces", "k", make_slowly)
    assert (folder / "x.txt").read_text() == "winner"
    assert [p.name for p in (tmp_path / "faces").iterdir()] == ["k"]


def race(folder, gate, number):
    def make(part):
        (part / "a.txt").write_text(str(number))
        gate.wait(20)  # all are making before any is done
        (part / "b.txt").write_text(str(number))

    Cache(folder).get_or_make("faces", "k", make)


def test_processes_may_race(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(2)
    racers = [spawn.Process(target=race, args=(tmp_path, gate, i)) for i in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(30)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert [p.name for p in (tmp_path / "faces").iterdir()] == ["k"]
    assert (tmp_path / "faces/k/a.txt").read_text() == (tmp_path / "faces/k/b.txt").read_text()


def test_key_depends_on_everything_that_matters():
    config = FaceConfig()
    key = step_key("faces", 1, config, ["a", "b"])
    assert key == step_key("faces", 1, FaceConfig(), ["a", "b"]) and len(key) == 64
    others = [
        step_key("bank", 1, config, ["a", "b"]), step_key("faces", 2, config, ["a", "b"]), step_key("faces", 1, config, ["b", "a"]),
        step_key("faces", 1, replace(config, smooth_s=0.07), ["a", "b"]), step_key("faces", 1, config, ["ab"]),
    ]  # fmt: skip
    assert len({key, *others}) == 6
    assert step_key("s", 1, {"a": 1, "b": 2}) == step_key("s", 1, {"b": 2, "a": 1})


def test_key_refuses_what_has_no_plain_form():
    with pytest.raises(TypeError):
        step_key("s", 1, {"a": object()})
    with pytest.raises(ValueError):
        step_key("s", 1, {"a": float("nan")})


def test_content_hash_follows_content_not_name(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"abc")
    b.write_bytes(b"abc")
    assert content_hash(a) == content_hash(b) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    a.write_bytes(b"abd")
    os.utime(a, ns=(1, 1))
    assert content_hash(a) != content_hash(b)


def test_content_hash_reads_an_unchanged_file_once(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    known = content_hash(file)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
    assert content_hash(file) == known


def test_content_hash_of_nothing(tmp_path):
    with pytest.raises(LipsyncError, match="nothing.mp4"):
        content_hash(tmp_path / "nothing.mp4")


def test_entries_and_clear_touch_only_their_own(tmp_path):
    cache = Cache(tmp_path)
    (tmp_path / "faces" / "mine").mkdir(parents=True)
    (tmp_path / "faces" / "mine" / "diary.txt").write_text("keep")
    cache.get_or_make("faces", "k1", write("12345"), label="one.mp4")
    cache.get_or_make("lips", "k2", write("12345"))
    old = time.time() - 1000
    os.utime(tmp_path / "faces/k1/entry.json", (old, old))
    newest, oldest = cache.entries()
    assert (newest.step, oldest.step, oldest.label) == ("lips", "faces", "one.mp4")
    assert oldest.size_bytes == 5 + len(json.dumps({"step": "faces", "label": "one.mp4"})) and 990 < oldest.age_s < 1100
    assert cache.clear("faces", older_than_s=2000)[0] == 0
    assert cache.clear("faces") == (1, oldest.size_bytes)
    assert [e.step for e in cache.entries()] == ["lips"]
    assert cache.clear()[0] == 1
    assert (tmp_path / "faces/mine/diary.txt").read_text() == "keep"


def test_leftovers_of_dead_processes_are_swept(tmp_path):
    dead, alive, young = (tmp_path / "faces" / name for name in ("k.999999999.ab.part", f"k.{os.getpid()}.ab.part", "k.999999998.ab.part"))
    for part in (dead, alive, young):
        part.mkdir(parents=True)
    old = time.time() - STALE_S - 10
    os.utime(dead, (old, old))
    os.utime(alive, (old, old))
    Cache(tmp_path).get_or_make("faces", "k", write("x"))
    assert not dead.exists() and alive.exists() and young.exists()


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for act in (lambda c: c.get_or_make("faces", "k", write("x")), lambda c: c.check_writable()):
        with pytest.raises(LipsyncError, match="cache.folder=FOLDER or the environment variable LIPSYNC_CACHE"):
            act(Cache(tmp_path / "file" / "c"))


def test_full_disk_is_said_so(tmp_path):
    def make(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(LipsyncError, match="No space left"):
        Cache(tmp_path).get_or_make("faces", "k", make)


def test_errors_of_the_step_itself_are_not_the_caches(tmp_path):
    with pytest.raises(FileNotFoundError):
        Cache(tmp_path).get_or_make("faces", "k", lambda folder: Path(tmp_path / "gone").read_text())


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "mine"))
    assert Cache().folder == tmp_path / "mine"
    monkeypatch.delenv("LIPSYNC_CACHE")
    assert default_folder().name == "lipsync"


def test_writable_check_leaves_nothing(tmp_path):
    Cache(tmp_path / "c").check_writable()
    assert list((tmp_path / "c").iterdir()) == []
