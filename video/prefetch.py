"""Working ahead: a generator run in a thread, with a short queue; work on its items done by several threads."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
_END = object()


def ahead(items: Generator[T], depth: int) -> Generator[T]:
    """The same items, made in a thread up to `depth` ahead. Its exceptions are raised here; closing this iterator ends
    the thread."""
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def offer(item) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((item, None)):
                    break
            else:
                offer((_END, None))
        except BaseException as error:
            offer((_END, error))
        finally:
            items.close()

    thread = threading.Thread(target=work, name="video-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def side_by_side(
    work: Callable[[T], U], items: Iterator[T], threads: int, begin: Callable[[], object] = lambda: None
) -> Generator[U]:
    """`work(item)` of every item, in order, done by so many threads, one item more than threads at a time; `begin` is
    called first in each. With one thread: here, as they are asked for. Exceptions are raised here; closing this
    iterator waits for the work under way and begins no other."""
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, "side-by-side", begin) as pool:
        done: deque[Future[U]] = deque()
        try:
            for item in items:
                done.append(pool.submit(work, item))
                if len(done) > threads:
                    yield done.popleft().result()
            while done:
                yield done.popleft().result()
        finally:
            for each in done:
                each.cancel()
