"""A headless Chromium without a network, for tests of pages."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))


def why_not() -> str:
    """Why there is none here; "" = there is one."""
    missing = [name for name, found in (("chromium", CHROMIUM), ("chromedriver", DRIVER)) if not found]
    if importlib.util.find_spec("selenium") is None:
        missing.append("selenium (extra test)")
    return f"needs {', '.join(missing)}" if missing else ""


class Browser:
    """One page at a time. Works as a context manager."""

    def __enter__(self) -> Browser:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service

        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for switch in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "mute-audio", "hide-scrollbars"):
            options.add_argument(f"--{switch}")
        options.add_argument("--autoplay-policy=no-user-gesture-required")
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options=options, service=Service(str(DRIVER)))
        self.driver.set_script_timeout(30)
        return self

    def __exit__(self, *error: object) -> None:
        self.driver.quit()

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False, at: str = "") -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.driver.get(page.as_uri() + at)

    def run(self, script: str, *values: object) -> Any:
        """What JavaScript returns."""
        return self.driver.execute_script(script, *values)

    def until(self, script: str, holds: Callable[[Any], bool] = bool, within_s: float = 30.0) -> Any:
        """What JavaScript returns once that `holds`; AssertionError with the last answer where it never does."""
        end = time.monotonic() + within_s
        while not holds(answer := self.run(f"return {script}")):
            assert time.monotonic() < end, f"{script}: still {answer!r}"
            time.sleep(0.02)
        return answer

    def press(self, key: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(key).perform()

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one for one in events if one["method"] == "Network.requestWillBeSent"]
        return [one["params"]["request"]["url"] for one in sent]

    def complaints(self) -> list[str]:
        """What the console says since the last call: errors, and what the page's own policy refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]
