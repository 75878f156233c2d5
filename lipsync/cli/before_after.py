"""The command that lays a dub beside what it was made from."""

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
    Verbose,
    clear_errors,
    progress,
    sandboxed,
    settings,
    show,
)

Dubbed = Annotated[Path, typer.Argument(metavar="DUBBED", help="A video that lipsync made, its receipt beside it.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The film to write (.mp4).")]
Original = Annotated[
    Path | None, typer.Option("--target", metavar="VIDEO", help="The original, if it is not where the receipt has it.")
]


@clear_errors
def before_after(
    dubbed: Dubbed,
    out: Out,
    target: Original = None,
    sandbox: Sandbox = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write up to a minute of DUBBED below the original's own frames, as one film."""
    from lipsync.config.load import load

    options = load(config, settings(set_), {"sandbox.enabled": sandbox or None})
    sandboxed(options, [dubbed, *([] if target is None else [target])], [out])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.before_after import write_before_after

        made = write_before_after(dubbed, out, target, options, hook, force)
    show(made, lambda: [f"{out}: {made['seconds']:.1f} s of {dubbed} from {made['start_s']:.1f} s on."], as_json, quiet)
