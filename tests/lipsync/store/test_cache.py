"""The cache: found again by content, complete or absent, never in the way."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lipsync.config.schema import FaceConfig
from lipsync.core.errors import LipsyncError
from lipsync.store import cache as cache_module
from lipsync.store.cache import STALE_S, Cache, content_hash, default_folder, step_key
from lipsync.store.in_use import InUse
from media.atomic import this_host


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
        step_key("bank", 1, config, ["a", "b"]),
        step_key("faces", 2, config, ["a", "b"]),
        step_key("faces", 1, config, ["b", "a"]),
        step_key("faces", 1, replace(config, smooth_s=0.07), ["a", "b"]),
        step_key("faces", 1, config, ["ab"]),
    ]
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
    assert oldest.size_bytes == 5 + (tmp_path / "faces/k1/entry.json").stat().st_size and 990 < oldest.age_s < 1100
    assert cache.clear("faces", older_than_s=2000)[0] == 0
    assert cache.clear("faces") == (1, oldest.size_bytes)
    assert [e.step for e in cache.entries()] == ["lips"]
    assert cache.clear()[0] == 1
    assert (tmp_path / "faces/mine/diary.txt").read_text() == "keep"


def test_leftovers_of_dead_processes_are_swept(tmp_path):
    names = (
        f"k.{this_host()}.999999999.ab.part",
        "k.elsewhere.1.ab.part",
        f"k.{this_host()}.{os.getpid()}.ab.part",
        "k.elsewhere.2.ab.part",
        "mine.part",
    )
    dead, stale, alive, young, other = (tmp_path / "faces" / name for name in names)
    for part in (dead, stale, alive, young, other):
        part.mkdir(parents=True)
    old = time.time() - STALE_S - 10
    for part in (stale, alive, other):
        os.utime(part, (old, old))
    Cache(tmp_path).get_or_make("faces", "k", write("x"))
    assert not dead.exists() and not stale.exists() and alive.exists() and young.exists() and other.exists()


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


def truncated(folder):
    (folder / "x.txt").write_text("wh")


def emptied(folder):
    (folder / "x.txt").write_text("")


def same_size(folder):
    (folder / "x.txt").write_text("WHOLE")


def file_gone(folder):
    (folder / "x.txt").unlink()


def a_folder_instead(folder):
    file_gone(folder)
    (folder / "x.txt").mkdir()


def no_label(folder):
    (folder / "entry.json").unlink()


def empty_label(folder):
    (folder / "entry.json").write_text("")


def label_of_an_earlier_version(folder):
    (folder / "entry.json").write_text(json.dumps({"step": "faces", "label": ""}))


def strange_label(folder):
    (folder / "entry.json").write_text(
        json.dumps(json.loads((folder / "entry.json").read_text()) | {"files": {"x.txt": 5}})
    )


def another_key(folder):
    Cache(folder.parent.parent).get_or_make("faces", "other", write("other"))
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "other", folder)


def another_keys_file(folder):
    Cache(folder.parent.parent).get_or_make("faces", "other", write("other"))
    shutil.copy2(folder.parent / "other/x.txt", folder / "x.txt")


def emptied_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def a_file_instead_of_the_folder(folder):
    shutil.rmtree(folder)
    folder.write_text("x")


DAMAGES = [
    truncated, emptied, same_size, file_gone, a_folder_instead, no_label, empty_label, label_of_an_earlier_version,
    strange_label, another_key, another_keys_file, emptied_folder, a_file_instead_of_the_folder,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_made_again(tmp_path, damage):
    done = Cache(tmp_path).get_or_make("faces", "k", write("whole"))
    damage(done)
    assert (Cache(tmp_path).get_or_make("faces", "k", write("again")) / "x.txt").read_text() == "again"
    assert {p.name for p in (tmp_path / "faces").iterdir()} <= {"k", "other"}  # nothing of the damaged one stays
    assert (Cache(tmp_path).get_or_make("faces", "k", write("never")) / "x.txt").read_text() == "again"


@pytest.mark.parametrize("limit", [4, 5])
def test_a_large_file_is_hashed_again_only_when_its_time_changed(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(cache_module, "ALWAYS_HASHED_BYTES", limit)
    file = Cache(tmp_path).get_or_make("faces", "k", write("whole")) / "x.txt"
    stat = file.stat()
    same_size(file.parent)
    assert file.stat().st_mtime_ns != stat.st_mtime_ns
    assert (Cache(tmp_path).get_or_make("faces", "k", write("again")) / "x.txt").read_text() == "again"
    hashed = []
    monkeypatch.setattr(cache_module, "_HASHES", {})
    monkeypatch.setattr(cache_module, "content_hash", lambda path: hashed.append(path) or content_hash(path))
    shutil.copytree(file.parent, tmp_path / "copy")  # a copied cache has other times of change, and is still good
    shutil.rmtree(file.parent)
    shutil.copytree(tmp_path / "copy", file.parent, copy_function=shutil.copyfile)
    Cache(tmp_path).get_or_make("faces", "k", lambda folder: pytest.fail("made again"))
    assert len(hashed) == 1
    os.utime(file, ns=(json.loads((file.parent / "entry.json").read_text())["files"]["x.txt"][1],) * 2)
    Cache(tmp_path).get_or_make("faces", "k", lambda folder: pytest.fail("made again"))
    assert len(hashed) == (1 if limit < 5 else 2)


@pytest.mark.parametrize(
    "damage", [truncated, no_label, lambda folder: shutil.rmtree(folder)], ids=["truncated", "half removed", "removed"]
)
def test_a_result_that_goes_while_it_is_read_is_made_again(tmp_path, damage):
    texts = iter(["whole", "again"])
    damages = [damage]

    def load(folder):
        if damages:
            damages.pop()(folder)
            raise ValueError("cannot be read")
        return (folder / "x.txt").read_text()

    assert Cache(tmp_path).read("faces", "k", lambda folder: write(next(texts))(folder), load) == "again"


def test_a_fault_of_the_reader_is_no_reason_to_make_it_again(tmp_path):
    made = []

    def make(folder):
        made.append(1)
        write("whole")(folder)

    with pytest.raises(ZeroDivisionError):
        Cache(tmp_path).read("faces", "k", make, lambda folder: 1 / 0)
    assert made == [1]


def test_a_result_that_another_process_just_made_again_is_not_thrown_away(tmp_path):
    cache = Cache(tmp_path)
    cache.get_or_make("faces", "k", write("whole"))
    cache._discard("faces", "k")
    assert (cache.get_or_make("faces", "k", lambda folder: pytest.fail("made again")) / "x.txt").read_text() == "whole"


def test_a_folder_for_unfinished_work_survives_a_damaged_label(tmp_path):
    cache = Cache(tmp_path)
    folder = cache.unfinished("unfinished", "k", label="mine")
    (folder / "training.safetensors").write_text("half")
    (folder / "entry.json").write_text("")
    assert (
        cache.unfinished("unfinished", "k", label="mine") == folder
        and (folder / "training.safetensors").read_text() == "half"
    )
    assert [entry.label for entry in cache.entries()] == ["mine"]
    assert cache.clear()[0] == 1 and not folder.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_what_the_disk_refuses_is_one_sentence(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache_module, "sync_file", refuse)
    with pytest.raises(LipsyncError, match=f"{os.strerror(number)}.*LIPSYNC_CACHE"):
        Cache(tmp_path).get_or_make("faces", "k", write("x"))
    assert list((tmp_path / "faces").iterdir()) == []


def read_again_and_again(folder, seconds, number):
    cache, end, made = Cache(folder), time.monotonic() + seconds, 0

    def make(part):
        nonlocal made
        made += 1
        write("whole" * 1000)(part)

    while time.monotonic() < end:
        assert cache.read("faces", "k", make, lambda done: (done / "x.txt").read_text()) == "whole" * 1000
    print(number, made)


def damage_again_and_again(folder, seconds, number):
    cache, end, rng = Cache(folder), time.monotonic() + seconds, random.Random(number)
    while time.monotonic() < end:
        time.sleep(0.1)
        with suppress(OSError):
            rng.choice(
                [
                    cache.clear,
                    lambda: os.unlink(folder / "faces/k/entry.json"),
                    lambda: os.unlink(folder / "faces/k/x.txt"),
                ]
            )()


def test_eight_processes_on_one_result_two_of_which_destroy_it(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    acts = [read_again_and_again] * 6 + [damage_again_and_again] * 2
    crowd = [spawn.Process(target=act, args=(tmp_path, 1.5, k)) for k, act in enumerate(acts)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(60)
    assert [one.exitcode for one in crowd] == [0] * 8
    Cache(tmp_path).get_or_make("faces", "k", write("x"))
    assert [p.name for p in (tmp_path / "faces").iterdir()] == ["k"]


MIB = 1 << 20


def filled(cache, ages_days):
    """A result of 1 MiB for each age: unused for so long, the last one now; nobody holds them."""
    for name, days in ages_days.items():
        cache.get_or_make("faces", name, lambda folder: (folder / "x").write_bytes(bytes(MIB)))
        then = time.time() - days * 24 * 3600
        os.utime(cache.folder / "faces" / name, (then, then))
    cache.release()


def kept(folder):
    return sorted(path.parent.name for path in folder.glob("faces/*/entry.json"))


def test_beyond_the_limit_what_was_unused_longest_goes(tmp_path):
    filled(Cache(tmp_path), {"old": 9, "older": 20, "young": 1})
    Cache(tmp_path).get_or_make("faces", "old", write("never made"))  # now it has been used
    Cache(tmp_path).release()
    limited = Cache(tmp_path, max_gib=1.5 / 1024)
    limited.get_or_make("faces", "new", write("small"))
    assert kept(tmp_path) == ["new", "old"], "what was used last, though it is older"


def test_what_nobody_used_for_long_goes_though_there_is_room(tmp_path):
    filled(Cache(tmp_path), {"old": 91, "young": 89})
    Cache(tmp_path, max_gib=1, max_days=90).get_or_make("faces", "new", write("x"))
    assert kept(tmp_path) == ["new", "young"]


def test_no_limit_no_loss(tmp_path):
    filled(Cache(tmp_path), {"old": 999})
    Cache(tmp_path).get_or_make("faces", "new", write("x"))
    assert kept(tmp_path) == ["new", "old"]


def test_what_this_process_uses_stays_whatever_the_limit(tmp_path):
    filled(Cache(tmp_path), {"mine": 99, "other": 99})
    cache = Cache(tmp_path, max_gib=1 / 1024, max_days=1)
    folder = cache.get_or_make("faces", "mine", write("never made"))
    long_ago = time.time() - 99 * 24 * 3600
    os.utime(folder, (long_ago, long_ago))
    cache.get_or_make("faces", "new", write("x"))
    assert kept(tmp_path) == ["mine", "new"]
    cache.release()
    cache.get_or_make("faces", "newer", write("x"))
    assert kept(tmp_path) == ["new", "newer"], "after it is released it may go"


def hold_and_wait(folder, has, go):
    Cache(folder).get_or_make("faces", "theirs", write("never made"))
    has.set()
    go.wait(60)


def test_what_another_process_uses_stays_until_it_ends(tmp_path):
    filled(Cache(tmp_path), {"theirs": 0, "old": 99})
    spawn = multiprocessing.get_context("spawn")
    has, go = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold_and_wait, args=(tmp_path, has, go))
    other.start()
    assert has.wait(60)
    long_ago = time.time() - 99 * 24 * 3600
    os.utime(tmp_path / "faces/theirs", (long_ago, long_ago))
    limited = Cache(tmp_path, max_days=1)
    limited.get_or_make("faces", "new", write("x"))
    assert kept(tmp_path) == ["new", "theirs"]
    go.set()
    other.join(60)
    limited.get_or_make("faces", "newer", write("x"))
    assert kept(tmp_path) == ["new", "newer"]


def test_a_killed_process_holds_nothing_and_a_far_one_for_a_week(tmp_path):
    filled(Cache(tmp_path), {"of the dead": 99, "far": 99, "far and old": 99})
    lists = tmp_path / "in-use"
    (lists / f"{this_host()}.999999999").write_text("faces\tof the dead\n")
    (lists / "elsewhere.1").write_text("faces\tfar\n")
    (lists / "elsewhere.2").write_text("faces\tfar and old\n")
    week = time.time() - STALE_S - 10
    os.utime(lists / "elsewhere.2", (week, week))
    Cache(tmp_path, max_days=1).get_or_make("faces", "new", write("x"))
    assert kept(tmp_path) == ["far", "new"]
    assert sorted(file.name for file in lists.glob("elsewhere.*")) == ["elsewhere.1"]


def test_a_result_removed_between_the_look_and_the_use_is_made_again(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache.get_or_make("faces", "k", write("one"))
    cache.release()
    hold = InUse.hold

    def removed_meanwhile(self, step, key):
        monkeypatch.undo()
        shutil.rmtree(tmp_path / "faces/k")
        hold(self, step, key)

    monkeypatch.setattr(InUse, "hold", removed_meanwhile)
    assert (cache.get_or_make("faces", "k", write("two")) / "x.txt").read_text() == "two"
