"""Work in threads of its own, whose reports are passed on where its results are waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from lipsync.core.progress import Hook

T = TypeVar("T")


class Stopped(Exception):
    """Raised within work that nobody waits for any more."""


@contextmanager
def beside(works: Sequence[Callable[[Hook], T]], threads: int) -> Generator[Callable[[Hook], list[T]]]:
    """Begins the works in so many threads. Yields a function that waits for what they return, passes what they report
    on to the hook it is given, in the calling thread, and raises what they raise. Work that still goes on when the
    block is left ends at its next report. threads = 0: the calling thread does them when it waits."""
    if not threads:
        yield lambda hook: [work(hook) for work in works]
        return
    reports: SimpleQueue[tuple[str, int, int] | Future[T]] = SimpleQueue()
    stopped = threading.Event()

    def report(step: str, done: int, total: int) -> None:
        if stopped.is_set():
            raise Stopped
        reports.put((step, done, total))

    with ThreadPoolExecutor(threads, "beside") as pool:
        begun = [pool.submit(work, report) for work in works]
        for each in begun:
            each.add_done_callback(reports.put)

        def results(hook: Hook) -> list[T]:
            left = len(begun)
            while left:
                said = reports.get()
                if isinstance(said, Future):
                    said.result()
                    left -= 1
                else:
                    hook(*said)
            return [each.result() for each in begun]

        try:
            yield results
        finally:
            stopped.set()
            for each in begun:
                each.cancel()
