"""The command that looks at any video as a careful viewer does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import ConfigFile, Json, Quiet, Set, Verbose, clear_errors, progress, settings, show

Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="Any video of people talking.")]
Against = Annotated[
    Path | None, typer.Option("--target", metavar="FILE", help="What it was made from: its frames are taken as real.")
]


@clear_errors
def audit(
    video: Video,
    target: Against = None,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look for what gives a dub away in VIDEO: blur, flicker, edges, torn lips, sound out of step, and when."""
    from lipsync.config.load import load
    from lipsync.evaluation.tells import audit as look

    options = load(config, settings(set_))
    with progress(quiet, as_json) as hook:
        found = look(video, target=target, config=options, progress=hook)
    show(found.as_json(), found.lines, as_json)
