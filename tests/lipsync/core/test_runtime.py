"""How many threads torch takes."""

import os
import subprocess
import sys
import threading

import cv2
import pytest
import torch

from lipsync.core.environment import THREADS
from lipsync.core.runtime import all_threads, alone, drawing_threads, learning_threads, one_thread, opencv_on_one_thread
from tests.support import ROOT


@pytest.fixture(autouse=True)
def three():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_all_threads_within_one_are_those_before():
    with one_thread():
        with one_thread():
            assert torch.get_num_threads() == 1
            with all_threads():
                assert torch.get_num_threads() == 3
            assert torch.get_num_threads() == 1
        with all_threads():
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3
    torch.set_num_threads(2)
    with all_threads():
        assert torch.get_num_threads() == 2


def test_threads_come_back_after_a_failure():
    with pytest.raises(KeyError), one_thread(), all_threads():
        raise KeyError
    assert torch.get_num_threads() == 3


def test_opencv_gets_its_threads_back():
    before = cv2.getNumThreads()
    with pytest.raises(KeyError), opencv_on_one_thread():
        assert cv2.getNumThreads() == 1
        raise KeyError
    assert cv2.getNumThreads() == before


def test_numba_leaves_torch_on_one_thread():
    """Its first parallel call used to set torch's threads to all: another process, as the pool starts once."""
    code = (
        "import numpy as np, torch\n"
        "from numba import njit, prange\n"
        "from lipsync.core.runtime import one_thread, start_numba\n"
        "@njit(parallel=True)\n"
        "def total(x):\n"
        "    s = 0.0\n"
        "    for i in prange(len(x)):\n"
        "        s += x[i]\n"
        "    return s\n"
        "torch.set_num_threads(3)\n"
        "with one_thread():\n"
        "    start_numba()\n"
        "    total(np.ones(1000))\n"
        "    assert torch.get_num_threads() == 1, torch.get_num_threads()\n"
        "assert torch.get_num_threads() == 3\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment)
    broken = subprocess.run([sys.executable, "-c", code.replace("    start_numba()\n", "")], cwd=ROOT, env=environment)
    assert broken.returncode or len(os.sched_getaffinity(0)) < 2, "numba no longer does so: start_numba can go"


def test_the_library_prepares_the_environment_as_the_command_does():
    code = (
        "import os, lipsync; assert 'OMP_WAIT_POLICY' not in os.environ; "
        "lipsync.dub; print(os.environ['OMP_WAIT_POLICY'], os.environ['OPENBLAS_NUM_THREADS'])"
    )
    set_here = ("OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in set_here}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["PASSIVE", "1"]


def test_a_thread_that_works_beside_others_takes_one_thread_of_its_own():
    seen = []

    def work():
        import numba

        alone()
        seen.append((torch.get_num_threads(), numba.get_num_threads()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(1, 1)]
    assert torch.get_num_threads() == 3, "the caller keeps his"


@pytest.mark.parametrize(("threads", "share"), [(2, 1), (3, 1), (8, 2)])
def test_networks_that_draw_beside_others_share_the_threads(threads, share):
    seen = []

    def work():
        alone()
        with all_threads():
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    torch.set_num_threads(threads)
    with one_thread():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with all_threads():
            assert torch.get_num_threads() == threads, "the caller works with nobody beside"
    assert seen == [share, 1]


def test_batches_are_drawn_side_by_side_where_cores_are_free(monkeypatch):
    monkeypatch.delenv(THREADS[0], raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    assert drawing_threads(torch.device("cpu")) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert drawing_threads(torch.device("cpu")) == 4, "each takes memory"
    assert learning_threads(3, torch.device("cpu")) == 3 and learning_threads(9, torch.device("cpu")) == 4
    assert learning_threads(3, torch.device("cuda:0")) == 0
    assert drawing_threads(torch.device("cuda:0")) == 1
    monkeypatch.setenv(THREADS[0], "1")
    assert drawing_threads(torch.device("cpu")) == 1, "several processes share the cores"
    assert learning_threads(3, torch.device("cpu")) == 0, "and the calling thread does all"
