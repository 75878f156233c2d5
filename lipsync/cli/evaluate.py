"""The commands that measure: a dub against the right answer, textures against each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from lipsync.cli.common import (
    ConfigFile,
    Device,
    Face,
    FaceAt,
    Json,
    MoreFootage,
    Quiet,
    Set,
    Target,
    Verbose,
    clear_errors,
    progress,
    settings,
    show,
)

Real = Annotated[Path, typer.Argument(metavar="REAL", help="The right answer: the person really saying it.")]
Dubbed = Annotated[Path, typer.Argument(metavar="DUBBED", help="The dub.")]
Folder = Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The report's folder.")]
Methods = Annotated[str | None, typer.Option(metavar="A,B,...", help="Which textures; else all.")]
MethodFile = Annotated[list[Path] | None, typer.Option(metavar="FILE.py", help="A texture of your own. Repeatable.")]
HeldOut = Annotated[
    list[Path] | None,
    typer.Option(metavar="VIDEO", help="The truth: other video of the person. Else parts of TARGET. Repeatable."),
]
NewSpeech = Annotated[
    Path | None, typer.Option(metavar="FILE", help="New speech, said by every texture in the report.")
]
SplitFile = Annotated[Path | None, typer.Option(metavar="FILE", help="The split.json of an earlier comparison.")]
Blends = Annotated[
    str | None,
    typer.Option(metavar="A,B,...|all", help="Compare these ways to blend one texture, with true lips, instead."),
]
TrueLipsOnly = Annotated[bool, typer.Option("--true-lips-only", help="Leave out the lips predicted from sound.")]
QuietProgress = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
ForceReport = Annotated[bool, typer.Option("--force", help="Replace a report that is there.")]


@clear_errors
def evaluate(
    real: Real, dubbed: Dubbed, verbose: Verbose = False, quiet: QuietProgress = False, as_json: Json = False
) -> None:
    """Measure DUBBED against REAL and say what it means: lips, pauses, sharpness, flicker. --json: all raw values."""
    from lipsync.store.preflight import check_readable

    check_readable(real, "real video")
    check_readable(dubbed, "dubbed video")
    from lipsync.evaluation.evaluate import evaluate as measure

    with progress(quiet, as_json) as hook:
        measures = measure(real, dubbed, hook=hook)
    from lipsync.evaluation.verdict import lines

    show(measures, lambda: lines(measures, min(100, shutil.get_terminal_size().columns)), as_json)


@clear_errors
def compare(
    target: Target,
    out: Folder = Path("report"),
    methods: Methods = None,
    method_file: MethodFile = None,
    held_out: HeldOut = None,
    footage: MoreFootage = None,
    speech: NewSpeech = None,
    split: SplitFile = None,
    true_lips_only: TrueLipsOnly = False,
    blends: Blends = None,
    device: Device = None,
    face: Face = None,
    face_at: FaceAt = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: ForceReport = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure textures, or ways to blend, on frames of TARGET that none has seen, and write a report."""
    from lipsync.config.load import load
    from lipsync.store.preflight import check_readable

    options = load(config, settings(set_, face_at), {"device": device, "face.index": face})
    check_readable(target, "target video")
    names, ways = ([name.strip() for name in (some or "").split(",") if name.strip()] for some in (methods, blends))
    inputs: dict[str, Any] = {"held_out": held_out or (), "footage": footage or (), "method_files": method_file or ()}
    inputs |= {"speech": speech, "split": split, "true_lips_only": true_lips_only, "blends": ways, "force": force}
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.compare import compare as make

        results = make(target, names, out, options, hook=hook, **inputs)
    from lipsync.evaluation.table import summary

    show(results, lambda: [*summary(results), f"The report: {out / 'index.html'}"], as_json, quiet)
