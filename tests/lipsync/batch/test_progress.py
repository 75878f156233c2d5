"""What a batch shows while it runs: constructed events on a clock of their own."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest

from lipsync.batch.job import Checked, Job, JobRecord, Outcome
from lipsync.batch.progress import BatchJsonLines, LiveTable, PlainLines, SilentObserver, exit_status, summary
from lipsync.batch.stats import BatchStats
from lipsync.core.text import format_duration, printable, shortened


class Hand:
    """A clock moved by hand."""

    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


def records_of(n, out="{}.mp4", lengths_s=()):
    """Jobs; lengths_s: of their videos, where they are known."""
    records = [JobRecord(Job("t.mp4", f"{i}.wav", out.format(i))) for i in range(n)]
    for record, length_s in zip(records, lengths_s, strict=False):
        record.checked = Checked(duration_s=length_s)
    return records


def done(job, **made):
    return Outcome(job, "done", **({"frames": 250, "duration_s": 10.0, "seconds": 5.0} | made))


def work(observer, clock, number, seconds, frames=250, steps=10, worker=0):
    """A job from start to end, `seconds` long, its frames evenly spread."""
    observer.started(number, worker)
    for i in range(steps):
        clock.s += seconds / steps
        observer.progress(number, "dub", (i + 1) * frames // steps, frames)
    observer.ended(
        number, done(observer.stats.records[number].job, frames=frames, duration_s=frames / 25, seconds=seconds)
    )


def test_a_job_without_a_name_is_called_by_its_line_once():
    record = JobRecord(
        Job("t.mp4", "", "", line="jobs.csv, line 10", fault="jobs.csv, line 10: The speech is missing.")
    )
    stream, clock = io.StringIO(), Hand()
    observer = PlainLines(stream, [record], now=clock)
    record.outcome = Outcome(record.job, "failed", record.job.fault)
    observer.ended(0, record.outcome)
    said = [*stream.getvalue().splitlines(), *summary(observer.stats, clock())]
    assert [line.count("line 10") for line in said if "missing" in line] == [1, 1]


def test_frames_per_second_are_those_of_the_last_30_s():
    clock = Hand()
    observer = SilentObserver(records_of(3), now=clock)
    assert observer.stats.frames_per_s(clock()) is None
    work(observer, clock, 0, 100, frames=1000, steps=100)  # 10 a second
    assert observer.stats.frames_per_s(clock()) == pytest.approx(10)
    work(observer, clock, 1, 30, frames=1200, steps=30)  # 40 a second
    assert observer.stats.frames_per_s(clock()) == pytest.approx(40)
    clock.s += 15
    assert observer.stats.frames_per_s(clock()) == pytest.approx(20)
    clock.s += 100
    assert observer.stats.frames_per_s(clock()) == 0


def test_frames_per_second_of_a_young_batch_and_of_two_workers():
    clock = Hand()
    observer = SilentObserver(records_of(2), 2, now=clock)
    observer.started(0, 0)
    observer.started(1, 1)
    for second in range(10):
        clock.s += 1
        observer.progress(0, "dub", (second + 1) * 10, 250)
        observer.progress(1, "dub", (second + 1) * 5, 250)
    assert observer.stats.frames_per_s(clock()) == pytest.approx(15)
    assert observer.stats.running[0].frames_per_s(clock()) == pytest.approx(10)


def test_rows_found_from_an_earlier_run_and_other_steps_are_no_speed():
    clock = Hand()
    observer = SilentObserver(records_of(1), now=clock)
    observer.started(0, 0)
    for step in ("faces", "lips"):
        clock.s += 5
        observer.progress(0, step, 500, 500)
    assert observer.stats.frames_per_s(clock()) is None
    observer.progress(0, "dub", 45_000, 90_000)
    clock.s += 10
    observer.progress(0, "dub", 45_100, 90_000)
    assert observer.stats.frames_per_s(clock()) == pytest.approx(100 / 20)
    assert observer.stats.running[0].frames_per_s(clock()) == pytest.approx(10)


def test_time_left_by_jobs_is_shared_by_the_workers():
    clock = Hand()
    stats = BatchStats(records_of(12), 2, clock())
    assert stats.left_s(clock()) is None
    for number in (0, 1):
        stats.start(number, number, clock())
    clock.s += 60
    assert stats.left_s(clock()) is None, "nothing is known before a job is done"
    for number in (0, 1):
        stats.end(number, done(stats.records[number].job), clock())
    assert stats.left_s(clock()) == pytest.approx(10 * 60 / 2)
    for number in (2, 3):
        stats.start(number, number - 2, clock())
    clock.s += 30
    assert stats.left_s(clock()) == pytest.approx(10 * 60 / 2 - 30)


def test_time_left_by_output_seconds_where_all_are_known():
    clock = Hand()
    stats = BatchStats(records_of(4, lengths_s=[10.0, 100.0, 30.0, 5.0]), 1, clock())
    stats.start(0, 0, clock())
    clock.s += 20
    stats.end(0, done(stats.records[0].job, duration_s=10.0), clock())  # two seconds for one
    assert stats.left_s(clock()) == pytest.approx(2 * 135)
    stats.end(1, Outcome(stats.records[1].job, "kept", frames=2500, duration_s=100.0), clock())
    assert stats.left_s(clock()) == pytest.approx(2 * 35)
    stats.end(2, Outcome(stats.records[2].job, "failed", "No."), clock())
    assert stats.left_s(clock()) == pytest.approx(2 * 5)
    stats.end(3, done(stats.records[3].job), clock())
    assert stats.left_s(clock()) is None


def test_one_unknown_length_and_jobs_are_counted_instead():
    clock = Hand()
    stats = BatchStats(records_of(3, lengths_s=[10.0, 1000.0, 0.0]), 1, clock())
    stats.start(0, 0, clock())
    clock.s += 20
    stats.end(0, done(stats.records[0].job), clock())
    assert stats.left_s(clock()) == pytest.approx(40)


def test_many_workers_do_not_make_the_last_job_short_and_a_late_one_has_no_estimate():
    clock = Hand()
    stats = BatchStats(records_of(2), 64, clock())
    stats.start(0, 0, clock())
    clock.s += 100
    stats.end(0, done(stats.records[0].job), clock())
    assert stats.left_s(clock()) == pytest.approx(100)
    stats.start(1, 0, clock())
    clock.s += 40
    assert stats.left_s(clock()) == pytest.approx(60)
    clock.s += 100
    assert stats.left_s(clock()) is None


def test_kept_and_failed_jobs_promise_nothing():
    clock = Hand()
    stats = BatchStats(records_of(5), 1, clock())
    stats.end(0, Outcome(stats.records[0].job, "kept", frames=9, duration_s=1.0), clock())
    stats.start(1, 0, clock())
    clock.s += 1
    stats.end(1, Outcome(stats.records[1].job, "failed", "No."), clock())
    assert stats.left_s(clock()) is None and stats.waiting == 3


def test_late_words_of_a_given_up_worker_are_ignored_and_a_job_may_begin_again():
    clock = Hand()
    stream = io.StringIO()
    observer = BatchJsonLines(stream, records_of(1), 2, now=clock)
    observer.progress(0, "dub", 5, 10)
    assert stream.getvalue() == ""
    observer.started(0, 0)
    observer.started(0, 1)
    observer.ended(0, done(observer.stats.records[0].job))
    observer.progress(0, "dub", 9, 10)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["started", "started", "done"]
    assert not observer.stats.running and observer.stats.waiting == 0


def test_a_worker_that_begins_another_job_has_lost_its_last():
    clock = Hand()
    stats = BatchStats(records_of(3), 2, clock())
    stats.start(0, 0, clock())
    stats.start(1, 1, clock())
    stats.start(2, 0, clock())
    assert list(stats.running) == [1, 2] and stats.waiting == 1


def test_nothing_is_left_when_nothing_waits():
    clock = Hand()
    stats = BatchStats(records_of(3, lengths_s=[0.1, 0.2, 0.3]), 1, clock())
    for number in range(3):
        assert stats.left_s(clock()) is None or number
        stats.start(number, 0, clock())
        clock.s += 1
        stats.end(number, done(stats.records[number].job, duration_s=0.1), clock())
    assert stats.left_s(clock()) is None


def test_jobs_never_begun_get_no_line_of_their_own():
    stream = io.StringIO()
    records = records_of(1000)
    with PlainLines(stream, records, now=Hand()) as observer:
        observer.started(0, 0)
        observer.ended(0, Outcome(records[0].job, "stopped", attempts=1))
        for number in range(1, 1000):
            observer.ended(number, Outcome(records[number].job, "stopped", attempts=0))
    assert stream.getvalue().splitlines() == ["[1/1000] stopped 0.mp4", "1000 jobs: 1000 stopped; took 0 s."]


def test_json_lines_are_throttled_for_each_job_and_end_in_a_summary():
    clock, stream = Hand(), io.StringIO()
    records = records_of(4)
    with BatchJsonLines(stream, records, 2, now=clock) as observer:
        observer.started(0, 0)
        observer.started(1, 1)
        for i in range(40):  # ten seconds, four words a second from either
            observer.progress(0, "dub", i, 40)
            observer.progress(1, "faces", i, 40)
            clock.s += 0.25
        observer.ended(0, done(records[0].job, notes=("Loud.",), attempts=2))
        observer.ended(1, Outcome(records[1].job, "failed", "No face."))
        observer.ended(2, Outcome(records[2].job, "kept", frames=25, duration_s=1.0))
        observer.ended(3, Outcome(records[3].job, "stopped"))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    steps = [(e["job"], e["step"], e["done"]) for e in events if e["event"] == "progress"]
    assert steps == [pair for i in range(0, 40, 4) for pair in ((0, "dub", i), (1, "faces", i))]
    assert events[0] == {"event": "started", "job": 0, "out": "0.mp4", "worker": 0}
    assert [(e["event"], e["job"], e["out"]) for e in events[-5:-1]] == [
        ("done", 0, "0.mp4"),
        ("failed", 1, "1.mp4"),
        ("kept", 2, "2.mp4"),
        ("stopped", 3, "3.mp4"),
    ]
    assert events[-5]["notes"] == ["Loud."] and events[-5]["attempts"] == 2 and events[-4]["reason"] == "No face."
    assert events[-1] == {
        "event": "summary",
        "jobs": 4,
        "done": 1,
        "kept": 1,
        "failed": 1,
        "stopped": 1,
        "unended": 0,
        "frames": 275,
        "duration_s": 11.0,
        "seconds": 10.0,
        "status": 1,
    }


def test_plain_lines_tell_each_end_and_the_whole_every_30_s():
    clock, stream = Hand(), io.StringIO()
    records = records_of(3)
    with PlainLines(stream, records, now=clock) as observer:
        work(observer, clock, 0, 100, frames=1000, steps=100)
        observer.ended(1, Outcome(records[1].job, "failed", "No face."))
        observer.ended(2, Outcome(records[2].job, "kept", frames=25, duration_s=1.0))
    lines = stream.getvalue().splitlines()
    assert lines[:4] == [
        *["done 0, kept 0, failed 0, running 1, waiting 2, 10.0 frames/s"] * 3,
        "[1/3] done 0.mp4: 1000 frames, 40.00 s, took 1 min 40 s",
    ]
    assert lines[4:6] == ["[2/3] failed 1.mp4: No face.", "[3/3] kept 2.mp4"]
    assert lines[6:] == [
        "Failed: 1.mp4: No face.",
        "3 jobs: 1 done, 1 kept, 1 failed; 1025 frames, 41 s of video; took 1 min 40 s.",
    ]


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((), 0),
        (("done", "kept"), 0),
        (("done", "failed"), 1),
        (("done", "stopped"), 1),
        (("done", None), 1),
    ],
)
def test_exit_status(states, status):
    observer = SilentObserver(records_of(len(states)))
    for number, state in enumerate(states):
        if state:
            observer.ended(number, Outcome(observer.stats.records[number].job, state))
    assert exit_status(observer.stats) == status


def test_the_summary_names_failures_and_says_how_many_more():
    observer = SilentObserver(records_of(40), now=Hand())
    for number, record in enumerate(observer.stats.records):
        observer.ended(number, Outcome(record.job, "failed", f"Reason {number}."))
    lines = summary(observer.stats, 1000.0)
    assert len(lines) == 22 and lines[0] == "Failed: 0.mp4: Reason 0." and lines[20] == "And 20 more failed."
    assert lines[21] == "40 jobs: 40 failed; took 0 s."


@pytest.mark.parametrize("width", [60, 100, 200])
@pytest.mark.parametrize("workers", [1, 2, 16, 64])
@pytest.mark.parametrize("height", [10, 24, 100])
def test_the_live_table_fits_every_terminal(width, workers, height):
    clock = Hand()
    records = records_of(200, "a folder/名前のとても長い出力/an output with a long name {}.mp4")
    table, drawn = live(records, workers, width, height, clock)
    for number in range(8):
        work(table, clock, number, 3)
    for number in range(8, 12):
        table.ended(
            number,
            Outcome(
                records[number].job,
                "failed",
                "A long reason in which words follow words until no terminal holds them. " * 3,
            ),
        )
    for worker in range(workers):
        table.started(12 + worker, worker)
        table.progress(12 + worker, "texture pix2pix" if worker % 2 else "dub", 3, 0 if worker % 3 else 7)
    lines = drawn()
    assert len(lines) < height and max(map(len, lines)) <= width
    assert lines[0].rstrip() == f"done 8  kept 0  failed 4  running {workers}  waiting {188 - workers}"
    assert "frames/s, about" in lines[1] and sum(line.startswith("failed") for line in lines) == 3
    named = sum(
        "name 1" in line or "name 2" in line or ".mp4" in line for line in lines[2:] if not line.startswith("failed")
    )
    more = next((int(line.split()[1]) for line in lines if line.startswith("and ")), 0)
    assert named + more == workers


def test_nothing_is_promised_before_anything_is_known():
    _, drawn = live(records_of(5), 2, 80, 24, Hand())
    assert [line.split() for line in drawn()] == [
        ["done", "0", "kept", "0", "failed", "0", "running", "0", "waiting", "5"],
        [],
        ["idle"],
        ["idle"],
    ]


def test_the_live_part_goes_away_and_a_summary_stays():
    stream, clock = io.StringIO(), Hand()
    records = records_of(30, "[bold]{}\x1b[31m.mp4")
    table = LiveTable(stream, records, 1, now=clock)
    with table:
        for number in range(29):
            work(table, clock, number, number + 1)
        table.ended(29, Outcome(records[29].job, "failed", "No [red]face[/red] in it.\x07"))
    text = stream.getvalue()
    slow = [line.split()[-1] for line in text.splitlines() if " s   10 s" in line or " s    10 s" in line]
    assert slow == [f"[bold]{n}\N{REPLACEMENT CHARACTER}[31m.mp4" for n in range(28, 18, -1)]
    assert (
        "No [red]face[/red] in it.\N{REPLACEMENT CHARACTER}" in text and "\x1b[31m" not in text and "\x07" not in text
    )
    assert "30 jobs: 29 done, 1 failed" in text


def test_names_are_shortened_in_the_middle_by_cells():
    assert shortened("short.mp4", 20) == "short.mp4"
    assert shortened("folder/a very long name 17.mp4", 16) == "folde…ame 17.mp4"
    assert shortened("名前のとても長い出力.mp4", 12) == "名…出力.mp4"
    assert printable("a\nb\x1b[2J\ud800\u202e") == "a b\N{REPLACEMENT CHARACTER}[2J\\ud800\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.42, "0.42 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min"),
        (60, "1 min"),
        (725, "12 min 5 s"),
        (3599.9, "1 h"),
        (12000, "3 h 20 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_time_in_words(seconds, words):
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    ("kind", "n"), [(SilentObserver, 25_000), (PlainLines, 2500), (BatchJsonLines, 2500), (LiveTable, 2500)]
)
def test_memory_does_not_grow_with_the_jobs(kind, n):
    clock = Hand()
    records = [JobRecord(Job("t.mp4", "s.wav", "one.mp4"))] * n
    observer = kind(records, now=clock) if kind is SilentObserver else kind(Nowhere(), records, 2, now=clock)
    grown = []
    tracemalloc.start()
    try:
        for number in range(n):  # four events each
            observer.started(number, number % 2)
            clock.s += 0.4
            observer.progress(number, "dub", 10, 20)
            observer.progress(number, "dub", 20, 20)
            ended = (
                Outcome(records[number].job, "failed", f"Reason {number}.")
                if number % 3 == 0
                else done(records[number].job, seconds=number % 977)
            )
            observer.ended(number, ended)
            if number in (n // 5, n - 1):
                grown.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert grown[1] - grown[0] < 30_000


class Nowhere(io.StringIO):
    def write(self, text):
        return len(text)


def live(records, workers, width, height, clock):
    """A live table, and what draws its lines as a terminal of that size shows them."""
    from rich.cells import cell_len
    from rich.console import Console

    table = LiveTable(io.StringIO(), records, workers, now=clock)
    table.console = Console(width=width, height=height, file=io.StringIO())

    def drawn():
        with table.console.capture() as captured:
            table.console.print(table.draw())
        lines = captured.get().splitlines()
        assert all(cell_len(line) <= width for line in lines)
        return lines

    return table, drawn
