"""The speed benchmark's clock: stages stand where it says, a stage's time is its own, every thread's counts."""

from __future__ import annotations

import threading
from collections import Counter
from xml.etree import ElementTree

import pytest

from benchmarks import stages
from benchmarks.sampler import Sampler, flame_graph


@pytest.mark.parametrize("place", [place for places in stages.STAGES.values() for place in places])
def test_every_stage_stands_where_the_benchmark_looks_for_it(place):
    _, name, function = stages.found(place)
    assert callable(function) and name == place.rpartition(":")[2].rpartition(".")[2]


def test_a_missing_stage_is_named():
    with pytest.raises(LookupError, match="video.flow:gone is gone"):
        stages.found("video.flow:gone")


class Ticks:
    """A clock that moves only when told."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(stages.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(stages.time, "thread_time", lambda: self.now / 2)

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def test_a_stage_inside_another_counts_once(monkeypatch):
    ticks, clock = Ticks(monkeypatch), stages.StageClock()
    inner = clock.wrapped("inner", lambda: ticks.pass_(3))

    def work():
        ticks.pass_(1)
        inner()
        ticks.pass_(1)

    clock.wrapped("outer", work)()
    assert clock.wall_s == {"inner": 3, "outer": 2} and clock.processor_s == {"inner": 1.5, "outer": 1}


def test_a_generator_counts_only_while_it_works(monkeypatch):
    ticks, clock = Ticks(monkeypatch), stages.StageClock()

    def items():
        for i in range(3):
            ticks.pass_(1)
            yield i

    for _ in clock.wrapped("items", items)():
        ticks.pass_(10)
    assert clock.wall_s == {"items": 3}


def test_closing_a_watched_generator_closes_it():
    closed = []

    def items():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    made = stages.StageClock().wrapped("items", items)()
    assert next(made) == 1
    made.close()
    assert closed


def test_samples_name_what_a_thread_does():
    ready, stop = threading.Event(), threading.Event()

    def busy_with_this():
        ready.set()
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=busy_with_this, name="worker")
    sampler = Sampler(1000)
    thread.start()
    ready.wait()
    sampler.start()
    while "busy_with_this" not in sampler.collapsed():
        stop.wait(0.01)
    stop.set()
    thread.join()
    sampler.stop()
    assert any(line.startswith("worker;") and "busy_with_this" in line for line in sampler.collapsed().splitlines())


def test_boxes_are_as_wide_as_their_share():
    graph = flame_graph(Counter({("a", "b"): 3, ("a", "<c>"): 1}), "made")
    boxes = {}
    for group in ElementTree.fromstring(graph).iter("{http://www.w3.org/2000/svg}g"):
        title, rect, _ = group
        boxes[(title.text or "").partition(":")[0]] = float(rect.get("width") or 0)
    assert boxes["a"] == pytest.approx(1600, abs=1)
    assert boxes["b"] == pytest.approx(1200, abs=1) and boxes["<c>"] == pytest.approx(400, abs=1)
