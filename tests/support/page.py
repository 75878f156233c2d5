"""The local page in a process of its own, and a browser that looks at it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import ROOT

STEP_S = 600


class Page:
    """A running `lipsync ui`. folder: its temporary files, and nobody else's."""

    def __init__(self, process: subprocess.Popen[str], address: str, folder: Path) -> None:
        self.process, self.address, self.folder = process, address, folder

    @property
    def host(self) -> str:
        return self.address.split("/")[2]

    def files(self) -> list[Path]:
        """What lies in its folders: uploads, and what jobs hold."""
        return [path for path in self.folder.rglob("*") if path.is_file() and path.name != "lock"]

    def memory_mib(self) -> float:
        """Private memory of the page's own process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024


@contextmanager
def running_page(folder: Path, *words: str, cache: Path | None = None) -> Iterator[Page]:
    """`lipsync ui` until the block ends; then it has removed its files."""
    temporary = folder / "tmp"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "LIPSYNC_CACHE": str(cache or folder / "cache")}
    command = [sys.executable, "-m", "lipsync", "ui", "--port", "0", "--no-browser", *words]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.search(r"http://\S+", line)
        assert address, (folder / "log").read_text()
        yield Page(process, address[0], temporary)
        assert process.poll() is None, (folder / "log").read_text()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
    assert not list(temporary.iterdir())


@contextmanager
def running_browser(width: int) -> Iterator[Any]:
    """Headless Chromium of this width; a narrow one is a telephone."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    if width < 600:
        metrics = {"width": width, "height": 850, "pixelRatio": 1.0, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    browser.set_window_size(width, 1000)
    try:
        yield browser
    finally:
        browser.quit()


def until(found: Callable[[], Any], seconds: float = STEP_S) -> Any:
    """What `found` answers, as soon as that is true; elements that are just being drawn anew are asked for again."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + seconds
    while True:
        try:
            if answer := found():
                return answer
        except WebDriverException:
            pass
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


def hosts_asked(browser: Any) -> set[str]:
    """The hosts that the browser sent anything to since it was last asked."""
    hosts = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            address = (message["params"].get("request") or message["params"])["url"]
            if not address.startswith(("data:", "blob:", "chrome:", "about:")):
                hosts.add(address.split("/")[2])
    return hosts
