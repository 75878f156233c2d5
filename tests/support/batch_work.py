"""Work for the tests of batch workers: does what the task says."""

import os
import signal
import sys
import time
from pathlib import Path


def perform(task, hook):
    hook("dub", 0, 2)
    if "die" in task:
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), task["die"])
        time.sleep(10)
    if "leave" in task:
        os._exit(task["leave"])
    if "fill" in task:
        kept = [bytearray(1 << 24) for _ in range(task["fill"])]
        return {"filled": len(kept)}
    if "part" in task:  # something begun, which a polite stop removes
        part = Path(task["part"])
        try:
            part.write_text(str(os.getpid()))
            time.sleep(60)
        finally:
            part.unlink(missing_ok=True)
    print("a library says something", flush=True)
    hook("dub", 2, 2)
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")} | task


def stop_is_polite(number, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":  # a batch of its own, to be killed by a test
    from lipsync.batch.pool import LocalWorkers

    signal.signal(signal.SIGTERM, stop_is_polite)
    workers = LocalWorkers(1, work="tests.support.batch_work:perform")
    workers.submit(0, 0, {"part": sys.argv[1]})
    while True:
        workers.wait(1.0)
