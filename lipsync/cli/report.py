"""The command that makes a page on how good a dub is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import Force, Json, Quiet, Verbose, clear_errors, progress, show

Dubbed = Annotated[Path, typer.Argument(metavar="OUT", help="A video that lipsync dubbed; its receipt lies beside it.")]
Page = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="PAGE", help="The page to write; left out: OUT.html.")
]
Original = Annotated[
    Path | None, typer.Option("--target", metavar="FILE", help="The original, if it is not where the receipt has it.")
]


@clear_errors
def report(
    dubbed: Dubbed,
    out: Page = None,
    target: Original = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at the dub OUT and write a page on it: original and dub side by side, what to look at, and why.

    With --json and without -o no page is written."""
    from lipsync.store.preflight import check_page, page_path

    page = out or (None if as_json else page_path(dubbed))
    if page is not None:
        inputs = [(dubbed, "dubbed video"), *([] if target is None else [(target, "target video")])]
        check_page(page, inputs, dubbed, force)
    with progress(quiet, as_json) as hook:
        if page is None:
            from lipsync.pipelines.report import look_at_dub

            found, _ = look_at_dub(dubbed, target, hook=hook)
        else:
            from lipsync.pipelines.report_page import write_report

            found = write_report(dubbed, page, target, hook=hook)
    show(found.to_plain(), lambda: [*found.lines(), *([f"{page}: the report."] if page else [])], as_json, quiet)
