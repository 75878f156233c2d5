"""The environment of the process, set before heavy libraries load: the same for the command and for Python."""

from __future__ import annotations

import os

#: Read by libraries when they load: what the user set stays.
_VARIABLES = {
    # Threads that wait by spinning take a busy machine's time: a dub beside one other process took half as long again.
    "OMP_WAIT_POLICY": "PASSIVE",
    # The matrices of a dub are small: a second thread spins beside them for longer than it helps.
    "OPENBLAS_NUM_THREADS": "1",
    # MediaPipe's own C++ notices would surround our one sentence.
    "GLOG_minloglevel": "2",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # And so would the AV1 encoder's.
    "SVT_LOG": "1",
}
#: How many threads libraries take; one each where several processes share the cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def prepare_environment() -> None:
    """Called by the command line and by the first use of a public name, before torch and OpenCV are imported."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
