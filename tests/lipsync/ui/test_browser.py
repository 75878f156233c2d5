"""The page in a browser, from the first look to the finished dub, as a visitor uses it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support import SAMPLES
from tests.support.page import hosts_asked, running_browser, running_page, until

pytest.importorskip("gradio", reason="the extra ui is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="Chromium's driver is not installed"),
]
WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with running_page(tmp_path_factory.mktemp("page")) as page:
        yield page


@pytest.fixture(params=WIDTHS)
def visitor(page, request):
    with running_browser(request.param) as browser:
        visitor = Visitor(browser, page, request.param)
        visitor.arrive()
        yield visitor


class Visitor:
    """Somebody at the page."""

    def __init__(self, browser, page, width):
        self.browser, self.page, self.width = browser, page, width

    def arrive(self):
        self.browser.get(self.page.address)
        until(lambda: self.one("#preview") and self.one(".jobs") is not None)
        until(lambda: self.browser.execute_script("return localStorage.getItem('lipsync-visitor')"))

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        return next(iter(self.all(selector)), None)

    def text(self, selector):
        return self.one(selector).text

    def press(self, selector):
        element = until(lambda: self.one(selector))
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        until(lambda: self.one(selector).click() or True, 30)

    def give(self, where, path):
        for clear in self.all(f"{where} button[aria-label='Clear']"):
            clear.click()
        until(lambda: self.one(f"{where} input[type=file]"), 60).send_keys(str(path))

    def give_film(self, target, speech):
        self.give("#target", target)
        self.give("#speech", speech)
        until(lambda: self.all(".film .face"))

    def agree(self):
        if not self.one("#consent input").is_selected():
            self.press("#consent input")

    def newest(self):
        return until(lambda: self.one(".jobs li"))

    def wait_for(self, state, ended="done failed cancelled"):
        until(lambda: set(self.newest().get_attribute("class").split()) & {state, *ended.split()})
        assert state in self.newest().get_attribute("class"), self.newest().text

    def serious(self):
        axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core-python is not installed")
        found = axe.Axe().run(self.browser)["violations"]
        bad = [one for one in found if one["impact"] in ("serious", "critical")]
        return [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in bad]

    def fits(self):
        return self.browser.execute_script("return document.documentElement.scrollWidth") <= self.width

    def leave_clean(self):
        assert hosts_asked(self.browser) == {self.page.host}
        errors = [one["message"] for one in self.browser.get_log("browser") if one["level"] == "SEVERE"]
        assert not [one for one in errors if "favicon" not in one], errors


def test_upload_choose_preview_look_and_come_back(visitor, small_target, short_speech):
    assert not visitor.serious() and visitor.fits()
    visitor.press("#preview")
    until(lambda: "There is no target yet" in visitor.text("#said"), 60)
    visitor.give_film(small_target, short_speech)
    visitor.press("#preview")
    until(lambda: "Tick the box first" in visitor.text("#said"), 60)
    visitor.agree()
    visitor.press("#preview")
    visitor.wait_for("running")
    until(lambda: "%" in visitor.text(".jobs .words") or visitor.one(".jobs li.done"))
    until(lambda: visitor.one(".result canvas"))
    assert not visitor.serious() and visitor.fits()
    picture = "const c = document.querySelector('.result canvas'); return [c.width, c.toDataURL().length]"
    until(lambda: visitor.browser.execute_script(picture)[0] > 100, 60)
    width, size = visitor.browser.execute_script(picture)
    assert width == 480 and size > 20_000  # not blank
    links = {link.text: link.get_attribute("href") for link in visitor.all(".result a.file")}
    video = next(href for text, href in links.items() if text.startswith("Download small-preview"))
    assert urlopen(video).read(8)[4:] == b"ftyp"
    receipt = json.load(urlopen(links["Download the receipt"]))
    assert receipt["marks"]["consent"]["text"].startswith("stated on the page")
    assert "stays" not in visitor.text(".result .lines") and visitor.all(".result .lines li")

    visitor.browser.refresh()  # all of it is still there
    until(lambda: visitor.one(".result canvas") and visitor.one(".jobs li.done"))
    until(lambda: visitor.all(".film .face"))
    visitor.leave_clean()


def test_the_part_that_was_dragged_is_dubbed(visitor, small_target, short_speech):
    from selenium.webdriver import ActionChains

    visitor.give_film(small_target, short_speech)
    visitor.press(".film .add")
    until(lambda: visitor.one(".film .part"))
    before = float(visitor.one(".film .row input").get_attribute("value"))
    visitor.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", visitor.one(".film .strip"))
    across = visitor.one(".film .strip").size["width"]
    ActionChains(visitor.browser).drag_and_drop_by_offset(visitor.one(".film .part"), round(across * 0.3), 0).perform()
    after = until(lambda: float(visitor.one(".film .row input").get_attribute("value")) - before)
    assert after == pytest.approx(3.0, abs=0.4)  # 0.3 of 10 s
    visitor.agree()
    visitor.press("#preview")
    visitor.wait_for("done")
    until(lambda: visitor.one(".result canvas"))
    link = next(one for one in visitor.all(".result a.file") if "receipt" in one.text).get_attribute("href")
    (segment,) = json.load(urlopen(link))["inputs"]["segments"]
    assert segment["start_s"] == pytest.approx(before + after, abs=0.02)
    visitor.leave_clean()


def test_two_tabs_share_the_jobs_and_cancelling_removes_all(visitor, short_speech):
    visitor.give_film(SAMPLES / "target.mp4", short_speech)
    visitor.agree()
    visitor.press("#whole")
    visitor.wait_for("running")
    first = visitor.browser.current_window_handle
    visitor.browser.switch_to.new_window("tab")
    visitor.arrive()
    until(lambda: visitor.all(".jobs li.running"))
    visitor.press(".jobs li.running .cancel")
    until(lambda: "cancelled" in visitor.newest().get_attribute("class"))
    visitor.browser.close()
    visitor.browser.switch_to.window(first)
    until(lambda: "cancelled" in visitor.newest().get_attribute("class"))
    assert not [path for path in visitor.page.files() if "dubbed" in path.name]
    n = len(visitor.all(".jobs li"))
    visitor.press(".jobs li.cancelled .remove")
    until(lambda: len(visitor.all(".jobs li")) == n - 1)
    visitor.leave_clean()


@pytest.mark.parametrize("width", WIDTHS[:1])
def test_bad_files_get_the_sentences_of_the_command(page, tmp_path, short_speech, width):
    from lipsync.pipelines.people import look_at_people
    from media import MediaError

    bad = tmp_path / "notes.mp4"
    bad.write_text("this is no film\n" * 100)
    with pytest.raises(MediaError) as told:
        look_at_people(bad)
    with running_browser(width) as browser:
        visitor = Visitor(browser, page, width)
        visitor.arrive()
        visitor.give("#target", bad)
        until(lambda: visitor.text("#looking") and "Looking" not in visitor.text("#looking"))
        assert visitor.text("#looking") == str(told.value).replace(f"{tmp_path}/", "")
        visitor.give("#speech", short_speech)
        visitor.agree()
        visitor.press("#preview")
        until(lambda: visitor.text("#said") == visitor.text("#looking"), 60)
        wrong = tmp_path / "silence.wav"
        wrong.write_bytes(b"RIFF")
        visitor.give("#target", SAMPLES / "target.mp4")
        until(lambda: visitor.all(".film .face"))
        visitor.give("#speech", wrong)
        visitor.press("#preview")
        visitor.wait_for("failed")
        assert "silence.wav" in visitor.text(".jobs .words") and "/" not in visitor.text(".jobs .words").split()[0]
        visitor.leave_clean()


def test_a_first_visitor_has_a_preview_with_three_clicks(tmp_path):
    with running_page(tmp_path) as page, running_browser(1280) as browser:
        visitor = Visitor(browser, page, 1280)
        visitor.arrive()
        visitor.press("#sample")
        visitor.agree()
        until(lambda: visitor.all(".film .face"))
        visitor.press("#preview")
        until(lambda: visitor.one(".result canvas"))
        visitor.leave_clean()
    assert not list(Path(tmp_path / "tmp").iterdir())
