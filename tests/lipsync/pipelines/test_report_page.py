"""The page of a quality report in a real browser without a network: the dub is coded, so that every picture on the
page says which frame it is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lipsync.evaluation.tells import Moment
from lipsync.pipelines import report_film
from lipsync.pipelines.report import _report_of
from lipsync.pipelines.report_page import page_of
from tests.support.browser import Browser, why_not
from tests.support.coded import BITS, coded_dub
from video.clock import FrameClock

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

MOMENTS = (Moment(0.40, 0.44, 2.0), Moment(1.28, 1.30, 1.8))
#: The number that a coded canvas shows, from a share of its width on.
READ = """((id, from, wide) => {
const c = document.getElementById(id), pen = c.getContext("2d"); let number = 0;
for (let bit = 0; bit < BITS; bit++) {
  const p = pen.getImageData(Math.floor(c.width * (bit + .5) / BITS), Math.floor(c.height / 4), 1, 1).data;
  if (p[0] > 127) number += 1 << bit;
}
return number; })""".replace("BITS", str(BITS))


def shown(browser: Browser, canvas: str = "dub") -> int:
    return browser.run(f"return {READ}({canvas!r})")


def comes(browser: Browser, row: int) -> None:
    """The row is named, and its picture drawn a moment later."""
    browser.until("document.body.dataset.row", lambda found: found == str(row))
    browser.until(f"{READ}('dub')", lambda found: found == row)


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    note = "</script><script>window.hacked = 1</script>"
    return coded_dub(tmp_path_factory.mktemp("coded"), FrameClock.constant(50, Fraction(25)), MOMENTS, note)


@pytest.fixture(scope="module")
def report(made):
    return _report_of(made.out, made.seen, made.audit)


@pytest.fixture(scope="module")
def page(made, report):
    path = made.out.with_name("page.html")
    path.write_text(page_of(report, made.seen), encoding="utf-8")
    return path


def opened(browser: Browser, page, **how) -> Browser:
    browser.open(page, **how)
    browser.until("document.body.dataset.row !== undefined")
    return browser


def test_it_asks_nothing_of_any_network_and_obeys_nobody(browser, page):
    browser.requests()
    opened(browser, page)
    asked = browser.requests()
    assert asked and all(address.startswith((page.as_uri(), "blob:null", "data:", "about:")) for address in asked)
    assert browser.complaints() == [] and browser.run("return window.hacked === undefined")


def test_every_linked_moment_is_the_right_frame_in_both_pictures(browser, page, made, report):
    opened(browser, page)
    links = browser.run("return [...document.querySelectorAll('a.at')].map(a => Number(a.dataset.at))")
    told = [one.at_s for one in report.moments] + [m["at_s"] for tell in report.tells for m in tell["moments"]]
    assert set(told) <= set(links)
    for number, at_s in enumerate(links):
        row = int(at_s * 25)
        browser.run("document.querySelectorAll('a.at')[arguments[0]].click()", number)
        browser.until("document.body.dataset.row", lambda found, row=row: found == str(row))
        assert shown(browser) == row and shown(browser, "original") == made.source[row]
    opened(browser, page, at="#t=1.30")  # a link that somebody was sent
    browser.until("document.body.dataset.row", lambda found: found == "32")
    assert shown(browser) == 32


def test_it_plays_and_both_pictures_stay_together(browser, page, made):
    opened(browser, page)
    browser.run("document.getElementById('speed').value = '0.25';"
                "document.getElementById('speed').dispatchEvent(new Event('change'))")  # fmt: skip
    browser.press(" ")
    browser.until("Number(document.body.dataset.row)", lambda row: row >= 5)
    assert browser.run("return document.getElementById('play').textContent") == "Pause"
    row, original = browser.run(f"return [{READ}('dub'), {READ}('original')]")
    assert original == made.source[row] and row >= 5
    browser.press(" ")
    browser.until("document.getElementById('film').paused")
    assert browser.run("return document.getElementById('seek').value") != "0"


def test_the_keyboard_is_enough(browser, page, report):
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    for key, row in (
        (Keys.ARROW_RIGHT, 1),
        (Keys.ARROW_RIGHT, 2),
        (Keys.ARROW_LEFT, 1),
        ("n", 10),
        ("n", 32),
        ("n", 10),
    ):
        browser.press(key)
        comes(browser, row)
    browser.press("s")
    assert browser.run("return document.querySelector('.stage').hidden && !document.querySelector('.wipe').hidden")
    browser.press("s")
    names = browser.run(
        "return [...document.querySelectorAll('button,input,select,a')].filter(e => e.offsetParent && e.tabIndex >= 0)"
        ".map(e => (e.getAttribute('aria-label') || e.textContent).trim())"
    )
    assert len(names) > 10 and all(names)


def test_the_slider_shows_the_original_left_of_its_edge_and_the_dub_right_of_it(browser, page):
    opened(browser, page)
    browser.run("document.getElementById('slider').click(); const e = document.getElementById('edge');"
                "e.value = 25; e.dispatchEvent(new Event('input'))")  # fmt: skip
    left, right = browser.run(
        "const c = document.getElementById('both'), pen = c.getContext('2d');"
        "return [.2, .3].map(x => pen.getImageData(c.width * x, c.height * .9, 1, 1).data[0])"
    )
    assert abs(left - 60) < 10 and abs(right - 180) < 10


def test_it_says_what_the_json_says(browser, page, report):
    opened(browser, page)
    plain = report.to_plain()
    assert browser.run("return JSON.parse(document.getElementById('facts').textContent)") == plain
    assert browser.run("return document.getElementById('verdict').textContent") == plain["verdict"]
    assert browser.run("return document.getElementById('summary').textContent") == plain["summary"]
    rows = browser.run("return [...document.querySelectorAll('tr[data-tell]')].map(r => [r.dataset.tell,"
                       "r.cells[0].textContent, r.querySelector('.badge').textContent])")  # fmt: skip
    assert rows == [[tell["name"], tell["title"], tell["verdict"]] for tell in plain["tells"]]
    words = browser.run("return document.body.innerText")
    for said in (*(reason["says"] for one in plain["moments"] for reason in one["reasons"]), *plain["notes"]):
        assert said in words
    assert "1 of 2 wanted are seen" in words and "tags, XMP" in words and "8.5 s in all" in words


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_on_narrow_and_wide_screens_by_day_and_by_night(browser, page, width, dark):
    opened(browser, page, width=width, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    small = browser.run(
        "return [...document.querySelectorAll('body *')].filter(e => e.offsetParent &&"
        "[...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)).filter(s => s < 11)"
    )
    assert small == []
    ink, paper = browser.run("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    lightness = [np.mean([int(v) for v in c[c.index("(") + 1 : -1].split(",")[:3]]) for c in (ink, paper)]
    assert (lightness[0] > 180 and lightness[1] < 60) if dark else (lightness[0] < 60 and lightness[1] > 240)
    assert browser.run(
        "return [...document.images].every(i => i.alt) &&"
        "[...document.querySelectorAll('canvas,svg')].every(c => c.getAttribute('aria-label'))"
    )


def test_of_a_long_dub_the_parts_on_the_page_are_sought_by_the_dub_s_own_time(browser, made, monkeypatch, tmp_path):
    monkeypatch.setattr(report_film, "LONGEST_S", 1.0)
    monkeypatch.setattr(report_film, "BESIDE_S", 0.2)
    report = _report_of(made.out, made.seen, made.audit)
    (tmp_path / "parts.html").write_text(page_of(report, made.seen), encoding="utf-8")
    opened(browser, tmp_path / "parts.html")
    assert len(report.parts) == 2 and browser.run("return document.getElementById('parts') !== null")
    for number, row in ((1, 32), (0, 10)):
        browser.run("document.querySelectorAll('.moments a.at')[arguments[0]].click()", number)
        browser.until("document.body.dataset.row", lambda found, row=row: found == str(row))
        assert shown(browser) == row


def test_frames_that_are_not_evenly_spaced_are_found_by_their_own_times(browser, tmp_path):
    steps = np.tile([1, 3, 1, 2], 15)
    clock = FrameClock(np.append(0, np.cumsum(steps))[:-1].astype(np.int64), Fraction(1, 50), int(steps.sum()))
    made = coded_dub(tmp_path, clock, (Moment(0.40, 0.44, 2.0),))
    report = _report_of(made.out, made.seen, replace(made.audit))
    (tmp_path / "uneven.html").write_text(page_of(report, made.seen), encoding="utf-8")
    opened(browser, tmp_path / "uneven.html")
    assert len(report.frame_times) == 60
    for number, one in enumerate(report.moments):
        browser.run("document.querySelectorAll('.moments a.at')[arguments[0]].click()", number)
        browser.until("document.body.dataset.row", lambda found, row=one.row: found == str(row))
        assert shown(browser) == one.row
