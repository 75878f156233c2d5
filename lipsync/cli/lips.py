"""The command that gives the lips of a speech alone."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from lipsync.cli.common import (
    ConfigFile,
    Device,
    Force,
    Json,
    Lips,
    Quiet,
    Sandbox,
    Set,
    Speech,
    Verbose,
    clear_errors,
    notes,
    progress,
    sandboxed,
    show,
    text_of,
)
from lipsync.core.errors import UsageError

Out = Annotated[
    Path,
    typer.Option("-o", "--out", metavar="OUT", help="The file to write: .json, .csv or .mp4; .tsv for mouth cues."),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="json|csv|mp4|rhubarb-json|rhubarb-tsv", help="Where OUT's ending does not say it."
    ),
]
OfVideo = Annotated[
    Path | None, typer.Option(metavar="VIDEO", help="Lips learnt from this video's person, as in a dub.")
]
Fps = Annotated[
    str | None, typer.Option(metavar="RATE", help="Rows a second, such as 25 or 30000/1001; else 100, and 25 drawn.")
]


@clear_errors
def lips(
    speech: Speech,
    out: Out,
    kind: Format = None,
    model: Lips = None,
    target: OfVideo = None,
    fps: Fps = None,
    device: Device = None,
    sandbox: Sandbox = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The lips of SPEECH alone: as numbers, as mouth cues, or drawn."""
    from lipsync.config.load import load
    from lipsync.store.preflight import check_files, lips_format

    named = {"device": device, "sandbox.enabled": sandbox or None, "lips.model": text_of(model)}
    options, rate = load(config, set_ or [], named), _rate(fps)
    kind = lips_format(out, kind, rate)
    given = [(speech, "speech file"), (target, "target video"), (options.lips.model or None, "lip model")]
    check_files([(path, role) for path, role in given if path is not None], [out], force)
    sandboxed(options, [speech, *([target] if target else [])], [out])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.lips import lips_of

        made = lips_of(speech, out, options, target=target, kind=kind, rate=rate, hook=hook, force=force)
    show(made, lambda: _summary(made), as_json, quiet)


def _summary(made: Mapping[str, Any]) -> list[str]:
    seconds, what = made["speech"]["duration_s"], "cues" if made["format"].startswith("rhubarb") else "rows"
    first = f"{made['path']}: {made['rows']} {what}, {seconds:.2f} s, lips of {made['model']['source']}."
    return [first, *notes(made)]


def _rate(text: str | None) -> Fraction | None:
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"--fps {text!r} is not a rate: write a number or a fraction, such as 25 or 30000/1001."
        ) from None
