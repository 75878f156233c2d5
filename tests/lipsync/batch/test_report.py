"""The page and the JSON of a batch: every row, every name harmless, memory flat."""

from __future__ import annotations

import json
import re
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from lipsync.batch.job import Job, Outcome
from lipsync.batch.report import write_report
from lipsync.batch.worst import WorstMoment, picture_of, worst_moment
from lipsync.core.errors import LipsyncError
from lipsync.core.text import readable
from lipsync.store.receipt import Doubt, DoubtfulSpan, Receipt, Span

NASTY = (
    *("<script>alert(1)</script>.mp4", '"><img src=x onerror=alert(1)>.mp4', "' onmouseover='alert(1).mp4"),
    *("javascript:alert(1).mp4", "javascript:alert(1)//.mp4", "data:text/html,<b>.mp4", "&lt;b&gt;&amp;.mp4"),
    *("a b#c?d%41.mp4", "back\\slash.mp4", "ümläut/名前.mp4", "line\nbreak\x00\x1b[31m.mp4", "turned\u202e4pm.mp4"),
    *("raw\udcff.mp4", "lone\ud800.mp4", "</title></style><b>.mp4", "--><b>.mp4"),
)


class Read(HTMLParser):
    """Tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.names, self.words = [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, text):
        self.words += text


def outcome(out, state="done", target="t.mp4", speech="s.wav", line="", **made):
    return Outcome(Job(target, speech, out, line=line), state, **made)


def written(outcomes, folder, about=None):
    page = write_report(outcomes, folder, about or {})
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["batch.json", "report.html"]
    return page.read_text(encoding="utf-8"), json.loads((folder / "batch.json").read_text(encoding="utf-8"))


def test_nothing_that_a_job_says_becomes_markup_or_a_link_elsewhere(tmp_path):
    some = [
        outcome(name, target=name, speech=name, line=name, notes=(name,), frames=5, duration_s=0.2, seconds=1)
        for name in NASTY
    ]
    lost = [outcome(name, "failed", target=name, line=name, reason=name) for name in NASTY]
    plain = [
        outcome("a.mp4", notes=("n",), line="l", frames=5, duration_s=0.2, seconds=1),
        outcome("b.mp4", "failed", line="l", reason="r"),
    ]
    text, facts = written([*some, *lost], tmp_path, {name: name for name in NASTY})
    read, tame = Read(text), Read(written(plain * len(NASTY), tmp_path, {f"n{i}": "v" for i in range(len(NASTY))})[0])
    n_links = 2 * sum("\ud800" not in name for name in NASTY) + 1
    assert sorted(tag for tag in read.tags if tag != "a") == sorted(tag for tag in tame.tags if tag != "a")
    assert (
        read.names == tame.names and not any(name.startswith("on") for name in read.names) and "script" not in read.tags
    )
    assert len(read.links) == n_links
    for link in read.links:
        assert (
            link.startswith("./")
            and not urlsplit(link).scheme
            and not urlsplit(link).netloc
            and not re.search(r"[\s<>\"'\\]", link)
        )
    assert {unquote(urlsplit(link).path, errors="surrogateescape") for link in read.links} == {"./batch.json"} | {
        f"./{name}{end}" for name in NASTY if "\ud800" not in name for end in ("", ".json")
    }
    assert "\u202e" not in text and "\x1b" not in text and "<script>alert(1)</script>.mp4" in read.words
    assert [job["out"] for job in facts["jobs"]] == readable([*NASTY, *NASTY])


@pytest.mark.parametrize("out", ["/etc/passwd", "../secret.mp4", "a/../../secret.mp4", "//host/share.mp4"])
def test_an_output_outside_the_folder_gets_no_link(tmp_path, out):
    (tmp_path / "in").mkdir()
    assert Read(written([outcome(out)], tmp_path / "in")[0]).links == ["./batch.json"]


def test_secrets_in_addresses_are_not_shown(tmp_path):
    text, facts = written(
        [
            outcome("a.mp4", target="s3://me:word@b/t.mp4?key=secret"),
            outcome("b.mp4", "failed", speech="https://h/s?k=secret"),
        ],
        tmp_path,
    )
    for shown in (text, json.dumps(facts)):
        assert "secret" not in shown and "word" not in shown and "s3://b/t.mp4" in shown


def test_the_most_doubtful_video_comes_first_and_links_its_quality_report(tmp_path, monkeypatch):
    doubts = {"a.mp4": 0.0, "b.mp4": 0.5, "c.mp4": None, "d.mp4": 0.5, "e.mp4": 0.2}
    some = [outcome(name, doubt=doubt, page=name == "b.mp4") for name, doubt in doubts.items()]
    text, facts = written(some, tmp_path)
    videos = [link for link in Read(text).links if link.endswith(".mp4")]
    assert videos == ["./b.mp4", "./d.mp4", "./e.mp4", "./a.mp4", "./c.mp4"]
    assert [link for link in Read(text).links if link.endswith(".html")] == ["./b.mp4.html"]
    assert [job["doubt"] for job in facts["jobs"]] == list(doubts.values()) and facts["jobs"][1]["page"]
    monkeypatch.setattr("lipsync.batch.report._MOST_ROWS", 2)
    few = [link for link in Read(written(some, tmp_path)[0]).links if link.endswith(".mp4")]
    assert few == ["./b.mp4", "./d.mp4"], "of too many, the most doubtful"


def test_failures_come_first_with_reasons_then_videos_with_figures(tmp_path):
    some = [
        outcome("a.mp4", frames=250, duration_s=10.0, seconds=5.0, notes=("Loud.",), attempts=2),
        outcome("b.mp4", "kept", frames=25, duration_s=1.0),
        outcome("c.mp4", "failed", reason="No face.", line="jobs.csv, row 3"),
        outcome("d.mp4", "stopped", attempts=0),
    ]
    text, facts = written(some, tmp_path, {"seconds": 61.0, "workers": 2})
    words = Read(text).words
    places = [
        words.index(mark)
        for mark in ("Failed (1)", "c.mp4", "No face.", "Stopped (1)", "d.mp4", "Videos (2)", "a.mp4", "b.mp4")
    ]
    assert places == sorted(places)
    for said in (
        "1 done, 1 kept, 1 failed, 1 stopped",
        "jobs.csv, row 3",
        "10.00 s",
        "50.0 f/s",
        "2x real time",
        "Loud.",
        "Begun 2 times.",
        "1 min 1 s",
        "Not begun.",
        "11 s, 275 frames",
    ):
        assert said in words
    assert Read(text).links == ["./a.mp4", "./a.mp4.json", "./b.mp4", "./b.mp4.json", "./batch.json"]
    assert facts["counts"] == {"done": 1, "kept": 1, "failed": 1, "stopped": 1}
    assert (
        facts["totals"] == {"frames": 275, "duration_s": 11.0, "seconds": 61.0}
        and facts["about"]["workers"] == 2
        and facts["version"]
    )
    assert facts["jobs"][2] == {
        "out": "c.mp4",
        "target": "t.mp4",
        "speech": "s.wav",
        "footage": [],
        "line": "jobs.csv, row 3",
        "frames": 0,
        "duration_s": 0.0,
        "seconds": 0.0,
        "state": "failed",
        "reason": "No face.",
        "attempts": 1,
        "notes": [],
        "dubbed": None,
        "doubt": None,
        "page": False,
    }


def test_the_page_needs_nothing_from_anywhere(tmp_path):
    text, _ = written([outcome("a.mp4")], tmp_path)
    assert "Content-Security-Policy" in text and "default-src 'none'" in unescape(text)
    assert not re.search(r"https?:|src=|url\(|@import|<script|<link", text)


def test_spans_come_from_receipts_and_damaged_receipts_do_no_harm(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    spans = [{"from_s": i, "to_s": i + 0.5, "reason": "<i>no face</i>"} for i in range(7)]
    receipts = {
        "good": json.dumps({"passed_through": spans}),
        "cut": '{"passed_through": [',
        "list": "[]",
        "odd": '{"passed_through": [{"from_s": "x"}]}',
        "number": '{"passed_through": 5}',
        "deep": "[" * 200_000,
        "bytes": "\udcff",
        "none": '{"passed_through": []}',
    }
    for name, text in receipts.items():
        (folder / f"{name}.mp4.json").write_text(text, errors="surrogateescape")
    (folder / "folder.mp4.json").mkdir()
    text, _ = written([outcome(f"videos/{name}.mp4") for name in (*receipts, "folder", "missing")], tmp_path)
    words = Read(text).words
    assert re.findall(r"Unchanged ([0-9.]+-[0-9.]+) s: <i>no face</i>\.", words) == [f"{i}.00-{i}.50" for i in range(5)]
    assert words.count("Unchanged in 2 more places.") == 1


def test_a_batch_of_nothing_has_a_page_too(tmp_path):
    text, facts = written([], tmp_path)
    assert "Batch: no jobs" in text and facts["jobs"] == []


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(LipsyncError, match=r"batch\.json could not be written"):
        write_report([], tmp_path / "none", {})


def test_when_writing_ends_early_the_old_report_stays(tmp_path):
    before = written([outcome("a.mp4")], tmp_path)

    def broken():
        yield outcome("b.mp4")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(broken(), tmp_path, {})
    assert (tmp_path / "report.html").read_text() == before[0] and json.loads(
        (tmp_path / "batch.json").read_text()
    ) == before[1]
    assert len(list(tmp_path.iterdir())) == 2


def test_memory_does_not_grow_with_the_jobs(tmp_path):
    states, n = ("done", "kept", "done", "failed"), 16_000
    jobs = [Job("t.mp4", "s.wav", f"{i}.mp4") for i in range(4)]

    def many():
        for i in range(n):
            yield Outcome(jobs[i % 4], states[i % 4], reason="No." if i % 4 == 3 else "", frames=25, duration_s=1.0)
            if i == 8000:
                tracemalloc.start()  # every section is full by now

    try:
        page = write_report(many(), tmp_path, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000
    text = page.read_text()
    assert (
        text.count("<tr><td>") == 4000
        and "10000 more are in batch.json" in text
        and "2000 more are in batch.json" in text
    )
    facts = json.loads((tmp_path / "batch.json").read_text())
    assert len(facts["jobs"]) == n and facts["counts"] == {"done": 8000, "kept": 4000, "failed": 4000, "stopped": 0}


def test_the_worst_moment_is_shown(tmp_path):
    import base64

    import cv2
    import torch

    from video.clock import FrameClock
    from video.write import VideoWriter

    frames = torch.zeros((10, 3, 48, 64), dtype=torch.uint8)
    frames[6, 0] = 250  # red
    clock = FrameClock.constant(10, Fraction(25))
    with VideoWriter(tmp_path / "a.mkv", width=64, height=48, clock=clock, codec="ffv1") as video:
        video.write(frames)
    spans = [DoubtfulSpan(1, 2, 0.04, 0.12, "torn", 0.7), DoubtfulSpan(5, 7, 0.2, 0.32, "torn or doubled lips", 0.9)]
    doubt = Doubt(0.5, 0.5, spans, [0, 0.7, 0.7, 0, 0, 0.6, 0.9, 0.6, 0, 0])
    receipt = Receipt(doubt=doubt, rendered_share=0.97)
    receipt.save(tmp_path / "a.mkv.json")
    made = outcome("a.mkv", frames=10, duration_s=0.4, seconds=1.0, dubbed=0.97)
    page = write_report([made], tmp_path, {}).read_text()
    assert json.loads((tmp_path / "batch.json").read_text())["jobs"][0]["dubbed"] == 0.97
    assert "97 %" in page and "worst: 0.24 s, doubtful: torn or doubled lips" in page and "img-src data:" in page
    packed = base64.b64decode(re.search('data:image/jpeg;base64,([^"]+)', page)[1])
    shown = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (180, 240, 3) and shown[90, 120, 2] > 200 and shown[90, 120, 0] < 40
    unchanged = replace(receipt, passed_through=[Span(0, 1, 0.0, 0.08, "no face")])
    assert worst_moment(unchanged) == WorstMoment(0, 0.04, "unchanged: no face")
    assert worst_moment(Receipt()) is None and picture_of(tmp_path / "none.mkv", 0) == ""
