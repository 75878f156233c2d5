"""Limits of a process, how their end is told, and a command inside them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lipsync.core.errors import LipsyncError, UsageError
from lipsync.sandbox import limits as binding
from lipsync.sandbox import supervise
from lipsync.sandbox.limits import Limits
from tests.support import ROOT

pytestmark = pytest.mark.skipif(binding.why_not() is not None, reason=str(binding.why_not()))


def limited(code, limits="0, 60"):
    """What a process that limited itself, while a second thread was running, prints when it goes on with `code`."""
    start = f"""
import ctypes, errno, os, resource, signal, socket, subprocess, sys, threading, time
from lipsync.sandbox.limits import Limits, limit_this_process, restart_clock
go = threading.Event()
def attempt(deed):
    try: deed(); print("done")
    except (OSError, MemoryError) as error: print(type(error).__name__)
earlier = threading.Thread(target=lambda: (go.wait(), attempt(socket.socket)))
earlier.start()
try: limit_this_process(Limits({limits}))
finally: go.set(); earlier.join()
sys.stdout.flush()
"""
    run = subprocess.run([sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout.split()


def test_no_socket_of_any_family_in_any_thread():
    code = """
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
    attempt(lambda: socket.socket(family))
attempt(lambda: socket.create_connection(("127.0.0.1", 9)))
attempt(socket.socketpair)
"""
    assert limited(code) == (0, ["PermissionError"] * 7 + ["done"])


def test_no_ring_of_requests_beside_the_filter():
    code = """
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(425, 8, 0) == -1 and ctypes.get_errno() == errno.EPERM
print("refused")
"""
    assert limited(code) == (0, ["PermissionError", "refused"])


def test_no_other_program_and_no_way_out_through_a_fork():
    code = """
attempt(lambda: subprocess.run(["true"]))
child = os.fork()
if not child:
    attempt(socket.socket); sys.stdout.flush(); os._exit(0)
os.waitpid(child, 0)
"""
    assert limited(code) == (0, ["PermissionError"] * 3)


def test_the_network_stays_where_it_is_allowed():
    assert limited("attempt(lambda: subprocess.run(['true']))", "0, 60, network=True") == (
        0,
        ["done", "PermissionError"],
    )


def test_memory_is_refused_and_the_process_lives():
    code = """
attempt(lambda: bytearray(300 << 20))
attempt(lambda: bytearray(3 << 20))
try: resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2) if os.geteuid() else None
except ValueError: pass
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
"""
    assert limited(code, "0.25, 60") == (0, ["PermissionError", "MemoryError", "done", "0"])


def test_threads_and_mapped_files_are_no_memory(tmp_path):
    """Why RLIMIT_DATA: forty threads reserve 320 MiB of addresses for their stacks, and weights are mapped."""
    (tmp_path / "weights").write_bytes(b"")
    os.truncate(tmp_path / "weights", 1 << 30)
    code = f"""
import mmap
file = open({str(tmp_path / "weights")!r}, "rb")
held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
threads = [threading.Thread(target=lambda: time.sleep(0.2)) for _ in range(40)]
for t in threads: t.start()
for t in threads: t.join()
print("done")
"""
    assert limited(code, "0.5, 60") == (0, ["PermissionError", "done"])


@pytest.mark.skipif(
    binding._libc().syscall(binding._CREATE_RULESET, None, 0, 1) < 1, reason="this kernel has no Landlock"
)
def test_files_change_in_the_folders_named_only(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "kept").write_text("kept")
    code = f"""
place, here = {str(tmp_path)!r}, {str(tmp_path / "in")!r}
attempt(lambda: open(f"{{here}}/new", "w").write("x"))
attempt(lambda: (os.mkdir(f"{{here}}/folder"), os.rename(f"{{here}}/new", f"{{here}}/folder/new")))
attempt(lambda: open(f"{{place}}/kept").read())
attempt(lambda: open(os.devnull, "w").write("x"))
attempt(lambda: open(f"{{place}}/kept", "a"))
attempt(lambda: os.truncate(f"{{place}}/kept", 0))
attempt(lambda: os.unlink(f"{{place}}/kept"))
attempt(lambda: open(f"{{place}}/new", "w"))
attempt(lambda: os.link(f"{{place}}/kept", f"{{here}}/kept"))
attempt(lambda: os.rename(f"{{here}}/folder", f"{{place}}/folder"))
thread = threading.Thread(target=attempt, args=(lambda: open(f"{{place}}/new", "w"),))
thread.start(), thread.join()
"""
    status, said = limited(code, f"0, 60, writable=({str(tmp_path / 'in')!r},)")
    assert status == 0 and said[1:5] == ["done"] * 4 and len(said) == 12 and not {"done"} & set(said[5:]), said
    assert (tmp_path / "kept").read_text() == "kept"


def test_wall_clock_and_its_new_start():
    assert limited("time.sleep(30)", "0, 0.2")[0] == -signal.SIGALRM
    assert limited("restart_clock(0); time.sleep(0.6); print('alive')", "0, 0.3") == (0, ["PermissionError", "alive"])


def test_time_of_the_processor():
    code = """
signal.setitimer(signal.ITIMER_REAL, 0)
soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
assert 1 <= soft <= 2 + (os.cpu_count() or 1)
resource.setrlimit(resource.RLIMIT_CPU, (1, hard))
while True: pass
"""
    assert limited(code, "0, 1")[0] == -signal.SIGXCPU


def test_limits_below_nothing_are_refused():
    with pytest.raises(UsageError, match="sandbox.seconds must be 0"):
        Limits(1, -1)


# How a child ended


def told(code, tmp_path, limits=Limits(0, 30)):
    """The sentence about a child that runs `code`, which opens clip.mp4 first."""
    clip, speech = tmp_path / "clip.mp4", tmp_path / "speech.wav"
    for path in (clip, speech):
        path.write_bytes(b"x")
    start = f"import os, signal, sys, time\nfile = open({str(clip)!r}, 'rb')\ntime.sleep(0.3)\n"
    watched = supervise._Watched([sys.executable, "-c", start + code], os.environ, limits, [clip, speech])
    watched.wait()
    assert watched.process.poll() is not None
    return watched.sentence


def test_a_crash_names_the_file_that_was_open(tmp_path):
    sentence = told("os.kill(os.getpid(), signal.SIGSEGV)", tmp_path)
    assert sentence.startswith("clip.mp4: reading it crashed (SIGSEGV)") and sentence.endswith(".")


def test_too_much_memory_and_too_much_time_are_told_apart(tmp_path):
    hungry = "held = [bytearray(b'x') * (20 << 20) for _ in range(20)]\ntime.sleep(30)"
    assert "clip.mp4: stopped at the limit of 0.3 GiB of memory." in told(hungry, tmp_path, Limits(0.3, 30))
    assert "at the limit of 0.6 seconds." in told("time.sleep(30)", tmp_path, Limits(0, 0.6))
    assert "sandbox.memory_gib=NUMBER" in told(f"sys.exit({binding.OUT_OF_MEMORY})", tmp_path)
    assert "sandbox.seconds=NUMBER" in told(f"sys.exit({binding.OUT_OF_TIME})", tmp_path)
    assert told("sys.exit(3)", tmp_path) == ""  # it has said why itself


def test_a_crash_near_the_limit_is_want_of_memory(tmp_path):
    code = "held = bytearray(b'x') * (280 << 20)\ntime.sleep(0.3)\nos.abort()"
    assert "GiB of memory" in told(code, tmp_path, Limits(0.32, 30))


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(12, "Cannot allocate memory"), RuntimeError("can't start new thread")]
)
def test_words_for_refused_memory(error):
    assert binding.short_of_memory(error) and not binding.short_of_memory(RuntimeError("shapes differ"))


# Commands


def lipsync(*words, cache=None):
    env = os.environ | ({"LIPSYNC_CACHE": str(cache)} if cache else {})
    return subprocess.run(
        [sys.executable, "-m", "lipsync", *map(str, words)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_a_dub_is_the_same_in_the_sandbox(small_target, short_speech, shared_cache, tmp_path):
    from lipsync.config.schema import DubConfig, LipsConfig
    from lipsync.pipelines.dub import dub

    quick = DubConfig(lips=LipsConfig(members=1, steps=80))
    dub(small_target, short_speech, tmp_path / "free.mp4", quick, cache=shared_cache)
    (tmp_path / "in").mkdir()
    words = ["--sandbox", "--set", "lips.members=1", "--set", "lips.steps=80", "-q"]
    done = lipsync(
        "dub", small_target, short_speech, "-o", tmp_path / "in" / "free.mp4", *words, cache=shared_cache.folder
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "in" / "free.mp4").read_bytes() == (tmp_path / "free.mp4").read_bytes()
    plans = [json.loads((folder / "free.mp4.json").read_text())["plan"] for folder in (tmp_path, tmp_path / "in")]
    assert plans[0] == plans[1]


def test_a_refusal_is_said_once_and_its_status_kept(tmp_path):
    (tmp_path / "text.wav").write_text("no sound\n" * 50)
    done = lipsync("lips", tmp_path / "text.wav", "-o", tmp_path / "a.json", "--sandbox")
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "text.wav" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["text.wav"]


def test_the_end_of_its_time_is_one_sentence_and_leaves_nothing(short_speech, tmp_path):
    done = lipsync("lips", short_speech, "-o", tmp_path / "a.json", "--sandbox", "--set", "sandbox.seconds=0.5")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("lipsync: short.wav: stopped at the limit of 0.5 seconds.") and not list(
        tmp_path.iterdir()
    )


@pytest.mark.parametrize(
    ("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_child_ends_with_its_parent(signal_number, status, short_speech, tmp_path):
    command = [sys.executable, "-m", "lipsync", "lips", short_speech, "-o", tmp_path / "a.json", "--sandbox"]
    parent = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    child = ""
    while not child:
        assert parent.poll() is None
        child = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().strip()
    while b"sandbox" not in Path(f"/proc/{child}/cmdline").read_bytes():
        pass
    parent.send_signal(signal_number)
    said = parent.stderr.read()  # until the child has closed it too
    assert parent.wait(60) == status and not list(tmp_path.iterdir())
    assert signal_number == signal.SIGKILL or (said.count("\n") == 1 and "interrupted" in said), said


def test_an_interrupt_while_the_child_is_started_stops_it(monkeypatch, tmp_path):
    """Else the child, told by its parent's death, would say so a second time."""
    started, start = [], subprocess.Popen

    def popen(*args, **options):
        started.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(supervise.subprocess, "Popen", popen)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            supervise.run_sandboxed(["lips"], Limits(1, 60), [], [], tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].poll() == -signal.SIGTERM


def test_where_there_is_no_sandbox_it_is_said(monkeypatch):
    monkeypatch.setattr(binding.sys, "platform", "darwin")
    with pytest.raises(LipsyncError, match="only on Linux"):
        supervise.run_sandboxed(["lips"], Limits(1, 1), [], [], Path("cache"))
    monkeypatch.undo()
    monkeypatch.setattr(binding.platform, "machine", lambda: "riscv64")
    with pytest.raises(LipsyncError, match="riscv64"):
        binding.limit_this_process(Limits(1, 1))
