"""The live session against a clock of the test's own: nothing waits, every delay is known."""

from concurrent.futures import Future
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from audio.load import RATE
from lipsync.config.schema import DubConfig
from lipsync.pipelines import live as page
from video.live import Gone


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(0.0, seconds)


class Source:
    """Sound that arrives at given times. arrivals: (second, samples) in order."""

    def __init__(self, clock, arrivals, ends=True):
        self.clock, self.arrivals, self.ends = clock, list(arrivals), ends
        self.waiting_samples = np.zeros(0, np.float32)
        self.began = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _come(self):
        while self.arrivals and self.arrivals[0][0] <= self.clock.now:
            at, samples = self.arrivals.pop(0)
            self.began = self.began if self.began is not None else at - len(samples) / RATE
            self.waiting_samples = np.concatenate([self.waiting_samples, samples])

    @property
    def waiting(self):
        self._come()
        return len(self.waiting_samples)

    @property
    def ended(self):
        return not self.arrivals and self.waiting == 0 and self.ends

    def wait(self, n, until=None):
        while self.waiting < n and self.arrivals and (until is None or self.arrivals[0][0] <= until):
            self.clock.now = max(self.clock.now, self.arrivals[0][0])
        if self.waiting < n and until is not None and (self.arrivals or not self.ends):
            self.clock.now = max(self.clock.now, until)
        return self.waiting >= n

    def take(self, n):
        self._come()
        taken, self.waiting_samples = self.waiting_samples[:n], self.waiting_samples[n:]
        return taken


class Screen:
    paced = False

    def __init__(self, clock, stops_at=None):
        self.clock, self.stops_at, self.rows, self.at, self.sound = clock, stops_at, [], [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def show(self, row, rgb, sound):
        if row == self.stops_at:
            raise Gone
        self.rows.append(row)
        self.at.append(self.clock.now)
        self.sound.append(sound)


@pytest.fixture
def world(monkeypatch):
    """What a session touches, made of numbers. cost: seconds to draw the tick."""
    clock = Clock()
    state = SimpleNamespace(clock=clock, cost=lambda tick: 0.03, heard=[], missed=[], begun=[])

    class Lips:
        rest, ahead_s = np.zeros((18, 2), np.float32), 0.1

        def __init__(self, model): ...

        def hear(self, samples):
            state.heard.append(samples)

        def at(self, second):
            return self.rest

    class Stage:
        def __init__(self, *_): ...

        def rgb(self, tick):
            return torch.zeros(1, 3, 2, 2, dtype=torch.uint8)

        def drawing(self, tick, lips, rgb):
            def made():
                state.begun.append(tick)
                clock.now += state.cost(tick)
                return rgb

            return made

        def miss(self, lips):
            state.missed.append(lips)

    class AtOnce:
        """In place of threads."""

        def __init__(self, *_): ...

        def __enter__(self):
            return self

        def __exit__(self, *_): ...

        def submit(self, work, *given):
            done = Future()
            try:
                done.set_result(work(*given))
            except Exception as error:
                done.set_exception(error)
            return done

    monkeypatch.setattr(page, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(page, "time", clock)
    monkeypatch.setattr(page, "LiveLips", Lips)
    monkeypatch.setattr(page, "LiveStage", Stage)
    monkeypatch.setattr(page, "ahead", lambda items, depth: items)
    subject = SimpleNamespace(video=SimpleNamespace(sha256="0a"))
    person = SimpleNamespace(model=None, subject=subject, method=None, device=torch.device("cpu"))
    state.ready = SimpleNamespace(person=person, held=SimpleNamespace(rate=Fraction(25)), config=DubConfig())
    return state


def steady(seconds, start=100.0, first=0):
    """10 ms after 10 ms, each when it was said; the samples count up."""
    n = round(seconds * 100)
    return [(start + (k + 1) / 100, np.arange(k * 160, (k + 1) * 160, dtype=np.float32) + first) for k in range(n)]


def run(world, monkeypatch, arrivals, seconds=None, screen=None, ends=True, listening=lambda: None):
    source = Source(world.clock, arrivals, ends)
    monkeypatch.setattr(page, "LiveSound", lambda sound: source)
    screen = screen or Screen(world.clock)
    return page.live(world.ready, iter(()), screen, seconds, listening), screen


def test_every_frame_as_soon_as_the_network_and_drawing_allow(world, monkeypatch):
    report, screen = run(world, monkeypatch, steady(2))
    assert screen.rows == list(range(50)) and report.dropped == 0 and report.silence_s == 0
    assert np.allclose(np.array(screen.at) - 100 - np.arange(50) / 25, 0.13, atol=0.011)  # 0.1 listening, 0.03 drawing
    assert np.allclose(report.delay_s, 0.13, atol=0.011)
    assert np.array_equal(np.concatenate(screen.sound), np.arange(2 * RATE))  # all of it, in order
    assert [len(part) for part in screen.sound] == [RATE // 25] * 50


def test_a_screen_that_shows_at_once_is_given_frames_when_they_are_due(world, monkeypatch):
    screen = Screen(world.clock)
    screen.paced = True
    world.cost = lambda tick: 0.01 + 0.02 * (tick % 2)
    run(world, monkeypatch, steady(1), screen=screen)
    assert np.allclose(np.diff(screen.at), 0.04)


def test_frames_that_are_late_are_dropped_and_their_sound_is_kept(world, monkeypatch):
    world.cost = lambda tick: 0.25 if tick == 10 else 0.03
    report, screen = run(world, monkeypatch, steady(2))
    assert report.dropped == len(world.missed) == 50 - len(screen.rows) > 2
    gone = sorted(set(range(50)) - set(screen.rows))
    assert gone == list(range(11, 11 + report.dropped))  # right after the slow one, then never again
    assert np.array_equal(np.concatenate(screen.sound), np.arange(2 * RATE))


def test_a_frame_whose_turn_comes_too_late_is_dropped_and_its_sound_goes_with_the_next(world, monkeypatch):
    """Two threads draw; frames wait for them for as long as they are not due, and are not begun then."""
    waiting = []

    class Busy:
        """Draws what waits when it is asked for the third time, as busy threads do."""

        def __init__(self, count, name, *_):
            self.draws = name == "live-drawing"

        def __enter__(self):
            return self

        def __exit__(self, *_): ...

        def submit(self, work, *given):
            done = Future()

            def go():
                done.set_result(work(*given))

            if self.draws and world.begun[2:]:  # warm by now
                waiting.append(go)
                return done
            if not self.draws and given and not given[1].done():
                waiting.append(go)
                if len(waiting) >= 6:
                    world.clock.now += 0.02
                    while waiting:
                        waiting.pop(0)()
                return done
            go()
            return done

    monkeypatch.setattr(page, "ThreadPoolExecutor", Busy)
    monkeypatch.setattr(page, "drawing_threads", lambda device: 2)
    report, screen = run(world, monkeypatch, steady(0.4))
    assert report.frames == len(screen.rows) and report.frames + report.dropped == 10
    assert 0 < report.dropped < 10 and world.missed == [], "they were under way, and no more were so than may be"
    assert world.begun == [0, 0, *screen.rows], "nothing is drawn that is not shown"
    sound = np.concatenate(screen.sound)
    assert np.array_equal(sound, np.arange(len(sound)))


def test_all_is_warm_before_the_sound_begins(world, monkeypatch):
    monkeypatch.setattr(page, "drawing_threads", lambda device: 3)
    known = []
    run(world, monkeypatch, steady(0.2), listening=lambda: known.extend([len(world.begun), len(world.heard)]))
    assert known == [3, 1], "every thread has drawn, and a network has heard"


def test_a_stall_is_silence_and_speech_is_live_again_after_it(world, monkeypatch):
    lost = [*steady(1), *steady(1, 102.0, RATE)]  # a second in which nothing was recorded
    report, screen = run(world, monkeypatch, lost)
    sound = np.concatenate(screen.sound)
    assert screen.rows == list(range(75)) and report.dropped == 0
    assert abs(report.silence_s - 1) < 0.06 and report.skipped_s == 0
    assert np.array_equal(sound[:RATE], np.arange(RATE)) and (sound[RATE : 2 * RATE - 1000] == 0).all()
    assert abs(float(np.flatnonzero(sound == RATE + 8000)[0]) / RATE - 2.5) < 0.06


def test_sound_that_comes_too_late_in_a_heap_is_left_out(world, monkeypatch):
    late = [(max(at, 102.0) if at > 101.0 else at, samples) for at, samples in steady(4)]
    report, screen = run(world, monkeypatch, late)
    assert abs(report.silence_s - 1) < 0.06 and 0.7 < report.skipped_s <= report.silence_s + 0.01
    said = np.concatenate(screen.sound)
    at = np.flatnonzero(said == 3 * RATE)[0] / RATE
    assert abs(at - 3.0) < page._SPARE_S + 0.06  # in time again


def test_it_ends_with_the_sound_with_the_seconds_and_with_the_watcher(world, monkeypatch):
    assert run(world, monkeypatch, steady(0.5))[1].rows == list(range(13))
    world.clock.now = 100.0
    assert run(world, monkeypatch, steady(3), seconds=0.4)[1].rows == list(range(10))
    world.clock.now = 100.0
    report, screen = run(world, monkeypatch, steady(3), screen=Screen(world.clock, stops_at=7))
    assert screen.rows == list(range(7)) and report.frames == 7
    world.clock.now = 100.0
    report, screen = run(world, monkeypatch, [])
    assert report.frames == 0 and report.seconds == 0


def test_a_file_plays_in_its_own_time(world, monkeypatch):
    all_at_once = [(100.0, np.arange(RATE, dtype=np.float32))]
    source = Source(world.clock, all_at_once)
    source.began = 100.0
    monkeypatch.setattr(page, "LiveSound", lambda sound: source)
    screen = Screen(world.clock)
    page.live(world.ready, iter(()), screen)
    assert np.allclose(np.diff(screen.at), 0.04, atol=0.002) and screen.at[0] > 100.09


def test_what_it_says(world, monkeypatch):
    report, _ = run(world, monkeypatch, [*steady(1), *steady(1, 102.0, RATE)])
    lines = report.lines()
    assert "0 dropped" in lines[0] and "the network's" in lines[0] and "the mouth rested" in lines[1]
    assert set(report.to_plain()) >= {"frames", "dropped", "delay_s", "network_delay_s"}
