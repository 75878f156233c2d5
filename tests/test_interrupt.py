"""A test run that ignores Ctrl-C, as one in the background does, still starts programs that can be interrupted."""

from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT

CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
RUNNER = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import tests.conftest
signal.raise_signal(signal.SIGINT)
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


def test_programs_under_test_can_be_interrupted_where_the_runner_cannot():
    done = subprocess.run([sys.executable, "-c", RUNNER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
