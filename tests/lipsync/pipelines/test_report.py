"""The facts of a quality report, and the film on its page: against a dub whose every frame says its own number."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from typer.testing import CliRunner

from audio.load import load_track
from lipsync.cli.app import app
from lipsync.core.errors import LipsyncError
from lipsync.evaluation.tells import Moment
from lipsync.pipelines import report_film
from lipsync.pipelines.report import _report_of, look_at_dub
from lipsync.pipelines.report_film import Pair, film_of, parts_of
from lipsync.pipelines.report_page import page_of
from lipsync.store.preflight import page_path, receipt_path
from tests.support.coded import BITS, WIDTH, coded_dub
from video.clock import FrameClock
from video.probe import probe
from video.read import read_frames

MOMENTS = (Moment(0.40, 0.44, 2.0), Moment(1.28, 1.30, 1.8))


def number_of(rgb) -> int:
    """What a coded (3,H,W) picture says."""
    bits = [rgb[:, rgb.shape[1] // 4, (2 * bit + 1) * WIDTH // (2 * BITS)].float().mean() > 127 for bit in range(BITS)]
    return sum(int(is_set) << bit for bit, is_set in enumerate(bits))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return coded_dub(tmp_path_factory.mktemp("coded"), FrameClock.constant(50, Fraction(25)), MOMENTS)


@pytest.fixture(scope="module")
def report(made):
    return _report_of(made.out, made.seen, made.audit)


def test_what_is_near_is_one_moment_and_the_bad_come_first(report):
    told = [(one.row, one.severity, [reason.of for reason in one.reasons]) for one in report.moments]
    # the tell's two moments; the doubt at its highest row is near the second; what passed through is near the first
    assert told == [(10, "bad", ["tell", "unchanged"]), (32, "bad", ["tell", "doubt"])]
    assert (
        report.moments[0].at_s == pytest.approx(10.5 / 25) and report.verdict == "2 moments to look at, 2 of them bad."
    )


def test_a_bad_tell_without_moments_is_told_of_all_the_same(made):
    whole = replace(made.audit, tells=(replace(made.audit.tells[0], moments=()),))
    first = _report_of(made.out, made.seen, whole).moments[0]
    assert first.severity == "bad" and (first.from_s, first.to_s) == (0, 2) and "throughout" in first.reasons[0].says


def test_nothing_found_is_said_so(made):
    receipt = replace(made.seen.receipt, passed_through=[], doubt=replace(made.seen.receipt.doubt, spans=[]))
    tame = replace(made.audit, tells=made.audit.tells[1:])
    report = _report_of(made.out, replace(made.seen, receipt=receipt), tame)
    assert report.moments == [] and report.verdict == "Nothing to look at was found."


def test_closures_are_met_where_the_drawn_lips_close(report):
    (mouth,) = report.mouths
    assert [(one.met, one.gap) for one in mouth.closures] == [(True, pytest.approx(0.01)), (False, pytest.approx(0.2))]
    assert mouth.wanted[10] == mouth.drawn[10] == pytest.approx(0.01) and 0.5 < mouth.r < 0.95


def test_the_timeline_says_what_was_done_to_the_target_s_time(made):
    plan = replace(made.seen.receipt.plan, source=[0, 1, 1, 2, 3, 5, 6, 20, 21, 22, *range(22, 62)], half=[0] * 50)
    plan.half[4] = 1
    retiming = replace(made.seen.receipt.retiming, seeks=[0, 7])
    receipt = replace(made.seen.receipt, plan=plan, retiming=retiming)
    timeline = _report_of(made.out, replace(made.seen, receipt=receipt), made.audit).timeline
    assert timeline.repeated == [[0.08, 0.12], [0.16, 0.2], [0.4, 0.44]]
    assert timeline.skipped == [[0.2, 0.24]] and timeline.jumps == [0.28]


def test_json_says_all_and_survives_a_round_trip(report):
    plain = report.to_plain()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["version"] == 1 and plain["tells"][0]["moments"][0]["row"] == 10 and plain["frame_times"] == []
    assert max(map(len, report.lines())) <= 80


def test_a_short_dub_is_shown_whole_and_a_long_one_around_its_moments(monkeypatch):
    clock = FrameClock.constant(1000, Fraction(25))
    (part,) = parts_of(clock, [3.0])
    assert (part.first, part.after, part.film_s) == (0, 1000, 0.0)
    monkeypatch.setattr(report_film, "LONGEST_S", 10.0)
    parts = parts_of(clock, [30.0, 31.0, 8.0, 20.0])
    shown = np.concatenate([np.arange(part.first, part.after) for part in parts])
    assert len(shown) <= 250 and {200, 750, 775} <= set(shown.tolist()) and 500 not in shown
    assert [part.film_s for part in parts] == pytest.approx(np.cumsum([0, *(p.end_s - p.start_s for p in parts)])[:-1])
    (start,) = parts_of(clock, [])
    assert (start.first, start.start_s) == (0, 0.0)


@pytest.mark.parametrize("longest", [120.0, 1.0])
def test_the_film_shows_every_row_over_its_frame_and_sounds_as_the_dub(made, report, monkeypatch, tmp_path, longest):
    monkeypatch.setattr(report_film, "LONGEST_S", longest)
    monkeypatch.setattr(report_film, "BESIDE_S", 0.2)
    parts = parts_of(made.seen.dub.clock, [1.5, 0.2])
    pair = Pair(made.seen.dub, made.seen.target, np.array(made.source), np.zeros(50, bool))
    (tmp_path / "film.mp4").write_bytes(film_of(pair, parts))
    film = probe(tmp_path / "film.mp4")
    rows = [row for part in parts for row in range(part.first, part.after)]
    pictures = [rgb for batch in read_frames(film) for rgb in batch.rgb]
    assert [number_of(rgb[:, :, WIDTH:]) for rgb in pictures] == rows and len(parts) == (1 if longest > 2 else 2)
    assert [number_of(rgb[:, :, :WIDTH]) for rgb in pictures] == [made.source[row] for row in rows]
    assert film.codec == "h264" and film.pix_fmt == "yuv420p" and len(film.keyframes) >= len(rows) // 25
    sound = load_track(tmp_path / "film.mp4").samples.numpy()
    clicks = np.flatnonzero(np.diff((np.abs(sound) > 0.3).astype(int), prepend=0) == 1) / 16000
    inside = [p.film_s + s - p.start_s for p in parts for s in (0.5, 1.5) if p.start_s <= s < p.end_s]
    assert len(inside) == (2 if longest > 2 else 1)
    assert all(np.abs(clicks - s).min() < 0.01 for s in inside)


def test_the_film_keeps_its_budget_whatever_it_shows(tmp_path, monkeypatch):
    import torch

    from tests.support.coded import HEIGHT
    from video.write import VideoWriter

    monkeypatch.setattr(report_film, "FILM_BYTES", 300_000)
    clock, noise = FrameClock.constant(100, Fraction(25)), torch.Generator().manual_seed(0)
    with VideoWriter(tmp_path / "n.mkv", width=WIDTH, height=HEIGHT, clock=clock, codec="ffv1") as writer:
        for _ in range(100):
            writer.write(torch.randint(0, 255, (1, 3, HEIGHT, WIDTH), generator=noise, dtype=torch.uint8))
    stream = probe(tmp_path / "n.mkv")
    film = film_of(Pair(stream, stream, np.arange(100), np.zeros(100, bool)), parts_of(clock, []))
    assert len(film) < 300_000


def test_what_a_receipt_says_never_becomes_markup(made):
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    receipt = replace(made.seen.receipt, notes=[nasty], marks=replace(made.seen.receipt.marks, signer=nasty))
    seen = replace(made.seen, receipt=receipt)
    text = page_of(_report_of(made.out, seen, made.audit), seen)
    tame = page_of(_report_of(made.out, made.seen, made.audit), made.seen)
    assert text.count("<script") == tame.count("<script") == 4 and "<img src=x" not in text
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", text) and "http://" not in text and "https://" not in text


def test_without_the_original_the_page_shows_the_dub_alone(made):
    seen = replace(made.seen, target=None)
    text = page_of(_report_of(made.out, seen, made.audit), seen)
    assert 'id="original"' not in text and "--target FILE" in text and 'id="dub"' in text


def test_what_cannot_be_reported_on_is_said_in_one_sentence(made, tmp_path):
    run = CliRunner()
    stranger = tmp_path / "a.mkv"
    stranger.write_bytes(made.out.read_bytes())
    for words, said in (
        (["report", str(tmp_path / "no.mp4")], "does not exist"),
        (["report", str(stranger)], "no receipt a.mkv.json beside it"),
        (["report", str(made.out), "-o", str(made.out)], "Name it .html"),
        (["report", str(made.out), "--target", str(stranger), "--json"], "not the target"),
        (["dub", str(made.target), str(stranger), "-o", str(tmp_path / "o.mp4"), "--report", "x.mp4"], "Name it .html"),
    ):
        done = run.invoke(app, words)
        assert done.exit_code in (2, 3) and said in " ".join(done.output.split()), done.output
    receipt_path(stranger).write_text("{}")
    with pytest.raises(LipsyncError, match="damaged, or of another version"):
        look_at_dub(stranger)
    longer = made.seen.receipt.to_plain()
    longer["output"]["frames"] = 51
    receipt_path(stranger).write_text(json.dumps(longer))
    with pytest.raises(LipsyncError, match="has 50 frames, its receipt tells of 51"):
        look_at_dub(stranger)
    assert not page_path(stranger).exists()


@pytest.mark.slow
def test_a_dub_writes_its_page_and_the_report_of_it_later_says_the_same(small_target, short_speech, tmp_path):
    out, page = tmp_path / "out.mp4", tmp_path / "page.html"
    quick = ["--set", "lips.members=1", "--set", "lips.steps=80", "-q"]
    done = CliRunner().invoke(
        app, ["dub", str(small_target), str(short_speech), "-o", str(out), "--report", str(page), *quick]
    )
    assert done.exit_code == 0, done.output
    again = CliRunner().invoke(app, ["report", str(out), "--json"])
    facts = json.loads(again.stdout)
    (within,) = re.findall(r'id="facts">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert json.loads(within) == facts and facts["original"] and len(facts["tells"]) >= 10
    assert facts["mouths"][0]["r"] > 0.8 and not page_path(out).exists()
    assert page.stat().st_size < 15e6
