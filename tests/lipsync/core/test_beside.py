"""Work beside other work: its results, its reports, its end."""

import threading
import time

import pytest

from lipsync.core.beside import Stopped, beside


def counting(to):
    def work(hook):
        for i in range(to):
            hook("count", i + 1, to)
        return to

    return work


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_results_in_order_and_reports_in_the_calling_thread(threads):
    heard = []
    with beside([counting(3), counting(1), counting(2)], threads) as results:
        found = results(lambda *said: heard.append((threading.current_thread(), *said)))
    assert found == [3, 1, 2]
    assert {thread for thread, *_ in heard} == {threading.main_thread()}
    assert sorted(said for _, *said in heard) == [["count", 1, 1]] + [
        ["count", i, n] for i, n in [(1, 2), (1, 3), (2, 2), (2, 3), (3, 3)]
    ]


def test_works_go_on_at_the_same_time():
    meet = threading.Barrier(3, timeout=10)
    with beside([lambda hook: meet.wait()] * 2, 2) as results:
        meet.wait()
        assert sorted(results(lambda *_: None)) in ([0, 1], [0, 2], [1, 2])


@pytest.mark.parametrize("threads", [0, 2])
def test_what_a_work_raises_is_raised_where_it_is_waited_for(threads):
    def fails(hook):
        raise KeyError("lips")

    with pytest.raises(KeyError, match="lips"), beside([counting(2), fails], threads) as results:
        results(lambda *_: None)


def test_work_that_nobody_waits_for_ends():
    ended = []

    def endless(hook):
        try:
            while True:
                hook("on", 1, 0)
                time.sleep(0.001)
        except Stopped:
            ended.append(True)
            raise

    with pytest.raises(ZeroDivisionError), beside([endless, endless], 2):
        time.sleep(0.05)
        raise ZeroDivisionError
    assert ended == [True, True]


def test_a_hook_that_raises_stops_the_work():
    def endless(hook):
        while True:
            hook("on", 1, 0)
            time.sleep(0.001)

    def refuse(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), beside([endless], 1) as results:
        results(refuse)


def test_nothing_is_begun_in_threads_where_there_are_none():
    begun = []
    with beside([begun.append], 0):
        pass
    assert not begun
