"""The example that dubs through a running page."""

from __future__ import annotations

import importlib.util

import pytest

from lipsync.store.receipt import Receipt
from tests.support import ROOT
from tests.support.page import running_page, until

pytest.importorskip("gradio", reason="the extra ui is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_the_example_dubs_and_says_what_is_wrong(tmp_path, small_target, short_speech):
    spec = importlib.util.spec_from_file_location("http_client", ROOT / "integrations" / "http_client.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with running_page(tmp_path) as page:
        out = tmp_path / "out.mp4"
        example.dub(page.address, str(small_target), str(short_speech), str(out), "Robin", preview=True)
        receipt = Receipt.read(f"{out}.json")
        assert receipt.output.bytes == out.stat().st_size
        assert receipt.marks.consent["text"] == "stated on the page: Robin"
        until(lambda: not [path for path in page.files() if "jobs" in path.parts], 60)
        wrong = tmp_path / "notes.txt"
        wrong.write_text("no film")
        with pytest.raises(Exception, match=r"notes\.txt"):
            example.dub(page.address, str(wrong), str(short_speech), str(tmp_path / "none.mp4"))
        assert not (tmp_path / "none.mp4").exists()
