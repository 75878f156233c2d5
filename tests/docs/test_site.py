"""The site is built without a warning, from these files alone, and asks nothing of another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ
        | {"NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


def test_every_page_is_there(site):
    names = {path.name for path in site.glob("*.html")}
    assert {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")} | {"index.html", "options.html"} <= names


def test_nothing_is_loaded_from_another_host(site):
    foreign = []
    for page in site.glob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=\"?([^\"\s>]+)", page.read_text()
        )
        foreign += [address for address in loaded if re.match(r"(https?:)?//", address)]
    assert not foreign
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//[^)]*\)", styles)


def test_every_link_leads_somewhere(site):
    broken = []
    for page in site.glob("*.html"):
        for link in re.findall(r"<a\b[^>]*?\bhref=\"([^\"#:]+)(?:#[^\"]*)?\"", page.read_text()):
            # 404.html is shown at any address, so its links begin at the root.
            if not (site / link[1:] if link.startswith("/") else page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert not broken
