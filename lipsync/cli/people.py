"""The command that shows who is seen in a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import (
    ConfigFile,
    Force,
    Json,
    Quiet,
    Sandbox,
    Set,
    Target,
    Verbose,
    clear_errors,
    progress,
    sandboxed,
    settings,
    show,
)

Sheet = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="SHEET", help="A page with their faces (.html), or .json.")
]
SegmentsOut = Annotated[
    Path | None,
    typer.Option("--segments-out", metavar="FILE.csv", help="Who speaks when, to be edited, for `dub --segments`."),
]


@clear_errors
def people(
    target: Target,
    out: Sheet = None,
    segments_out: SegmentsOut = None,
    sandbox: Sandbox = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at the people of TARGET: who is seen when, and who speaks."""
    from lipsync.config.load import load
    from lipsync.core.errors import LipsyncError, UsageError
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_files, check_readable

    options = load(config, settings(set_), {"sandbox.enabled": sandbox or None})
    check_readable(target, "target video")
    for path in (one for one in (out, segments_out) if one is not None):
        check_files([(target, "target video")], [path], force)
    if segments_out is not None and segments_out.suffix.lower() != ".csv":
        raise UsageError(f"--segments-out {segments_out}: segments are written as CSV. Name it .csv.")
    sandboxed(options, [target], [path for path in (out, segments_out) if path is not None])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.people import check_sheet, look_at_people, write_sheet
        from lipsync.store.segment_file import write_segments

        if out is not None:
            check_sheet(out)
        sheet = look_at_people(target, options, Cache.of(options.cache), hook)
    if segments_out is not None:
        if not sheet.turns:
            raise LipsyncError(f"Nobody who is seen in {target} speaks in its sound: there are no segments to write.")
        write_segments(segments_out, sheet.turns)
    if out is not None:
        write_sheet(sheet, out)
    show(sheet.to_plain(), sheet.lines, as_json, quiet)
