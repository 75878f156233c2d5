"""Work done ahead and side by side: in order, bounded, failures and stops passed on."""

import threading

import pytest

from video.prefetch import side_by_side


def counted(n: int, taken: list[int]):
    for i in range(n):
        taken.append(i)
        yield i


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_order_whoever_is_first(threads):
    first_may_end = threading.Event()

    def work(i: int) -> int:
        if i == 0 and threads > 1:
            assert first_may_end.wait(10)
        if i == 1:
            first_may_end.set()
        return i * i

    assert list(side_by_side(work, iter(range(20)), threads)) == [i * i for i in range(20)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_more_is_taken_than_is_worked_on(threads):
    taken: list[int] = []
    made = side_by_side(lambda i: i, counted(50, taken), threads)
    for i in range(10):
        assert next(made) == i and len(taken) <= i + 1 + threads
    made.close()
    assert len(taken) <= 10 + threads


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_is_raised_where_its_result_is_due(threads):
    def work(i: int) -> int:
        return 1 // (3 - i)

    seen = []
    with pytest.raises(ZeroDivisionError):
        for value in side_by_side(work, iter(range(10)), threads):
            seen.append(value)
    assert seen == [0, 0, 1]


def test_every_thread_begins_once():
    begun = []
    list(side_by_side(lambda i: i, iter(range(30)), 2, lambda: begun.append(threading.get_ident())))
    assert 1 <= len(begun) == len(set(begun)) <= 2 and threading.get_ident() not in begun
