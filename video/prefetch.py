"""Working ahead: a generator run in a thread, with a short queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
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
