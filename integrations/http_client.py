"""Dub by a running `lipsync ui`: python integrations/http_client.py ADDRESS TARGET SPEECH OUT (needs gradio_client)."""

from __future__ import annotations

import shutil
import sys

from gradio_client import Client, handle_file


def dub(address: str, target: str, speech: str, out: str, agreed: str = "", preview: bool = False) -> None:
    """Writes `out` and its receipt beside it. An error of gradio_client's, with lipsync's sentence, where it cannot be
    made."""
    client = Client(address, verbose=False)
    video, receipt = client.predict(
        target=handle_file(target),
        speech=handle_file(speech),
        consent=True,  # everybody who is shown and heard has agreed, and viewers are told
        agreed=agreed,
        preset="standard",
        face=-1,  # the main one
        preview=preview,
        api_name="/dub",
    )
    shutil.copyfile(video, out)
    shutil.copyfile(receipt, f"{out}.json")


if __name__ == "__main__":
    dub(*sys.argv[1:5])
