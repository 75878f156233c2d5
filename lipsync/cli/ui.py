"""The command that opens the local page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import Quiet, Verbose, clear_errors

Port = Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Of the page; 0 = any that is free.")]
Listen = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Answer other machines, too, at this address; needs --auth.")
]
Auth = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Who may see the page: a file with a line NAME:PASSWORD for each.")
]
Presets = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="More presets: each NAME.toml in it, as for --config.")
]
AtOnce = Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=64, help="Dubs made at the same time.")]
Upload = Annotated[float, typer.Option("--max-upload", metavar="GIB", min=0.001, help="Largest file that is taken.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]


@clear_errors
def ui(
    port: Port = 7860,
    listen: Listen = None,
    auth: Auth = None,
    presets: Presets = None,
    at_once: AtOnce = 1,
    max_upload: Upload = 4.0,
    no_browser: NoBrowser = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Open a page in the browser that dubs: drop a video and a speech, look, and keep the result."""
    from lipsync.ui.serve import Options, serve

    options = Options(port, listen, auth, presets, at_once, round(max_upload * 2**30))

    def ready(address: str) -> None:
        if not quiet:
            typer.echo(f"The page: {address}   (Ctrl-C ends it and removes its files)")
        if not no_browser:
            typer.launch(address)

    serve(options, ready, lambda words: typer.echo(f"lipsync: {words}", err=True))
