"""The command that writes networks as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import (
    ConfigFile,
    Force,
    Json,
    Quiet,
    Set,
    Verbose,
    clear_errors,
    progress,
    settings,
    show,
)

Weights = Annotated[
    Path, typer.Argument(metavar="WEIGHTS", help="A lip model, texture weights, or a speech encoder (.safetensors).")
]
Folder = Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to write the networks.")]
TrainedOn = Annotated[
    Path | None, typer.Option("--target", metavar="VIDEO", help="For texture weights: what they were trained on.")
]


@clear_errors
def export(
    weights: Weights,
    out: Folder,
    target: TrainedOn = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write the networks of WEIGHTS as ONNX, compared with torch, for other programs."""
    from lipsync.config.load import load
    from lipsync.pipelines.export import export as made_of
    from lipsync.store.cache import Cache

    options = load(config, settings(set_), {})
    cache = Cache.of(options.cache)
    with progress(quiet, as_json) as hook:
        made = made_of(weights, out, options, target=target, cache=cache, hook=hook, force=force)

    def lines() -> list[str]:
        return [
            f"{made['what']}: {made['path']}",
            *(f"  {name}  {_shapes(one)}; {one['difference']:.1g} off torch" for name, one in made["files"].items()),
            f"Opset {next(iter(made['files'].values()))['opset']}; export.json says what goes in and out.",
        ]

    show(made, lines, as_json, quiet)


def _shapes(one: dict) -> str:
    """Inputs and outputs of a network, in one line."""
    sides = [
        ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in one[side].items())
        for side in ("inputs", "outputs")
    ]
    return " -> ".join(sides)
