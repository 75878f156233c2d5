"""The commands that learn from footage: a lip model, or the weights of a texture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import (
    ConfigFile,
    Device,
    Face,
    FaceAt,
    Fresh,
    Json,
    MoreFootage,
    Quiet,
    Set,
    Target,
    Verbose,
    clear_errors,
    going_on,
    notes,
    progress,
    settings,
    show,
    textures,
)
from lipsync.core.errors import UsageError

train_app = typer.Typer(no_args_is_help=True, help="Learn a model from footage, to keep and to use again.")

Footage = Annotated[list[Path], typer.Argument(metavar="FOOTAGE", help="Videos of one person who speaks.")]
Model = Annotated[
    Path, typer.Option("-o", "--out", metavar="MODEL", help="The .safetensors to write; beside it its .curve.png.")
]
Network = Annotated[str | None, typer.Option(metavar="bidirectional|causal|paper", help="Which network.")]
NoPrior = Annotated[bool, typer.Option("--no-prior", help="Start from nothing, not from the model that ships.")]
ForceModel = Annotated[bool, typer.Option("--force", help="Replace MODEL if it exists.")]
Method = Annotated[
    str,
    typer.Argument(
        metavar="METHOD", help="Which texture, such as hybrid or pix2pix; or a .py file.", autocompletion=textures
    ),
]
Weights = Annotated[
    Path, typer.Option("-o", "--out", metavar="WEIGHTS", help="The .safetensors to write; beside it its .samples.png.")
]
Devices = Annotated[int, typer.Option(metavar="N", min=1, help="GPUs that train together (extra `train`).")]
ForceWeights = Annotated[bool, typer.Option("--force", help="Replace WEIGHTS if it exists.")]


@train_app.command("lips")
@clear_errors
def train_lips(
    footage: Footage,
    out: Model,
    network: Network = None,
    no_prior: NoPrior = False,
    fresh: Fresh = False,
    device: Device = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: ForceModel = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Learn the lips of the person in FOOTAGE; `lipsync dub --lips MODEL` uses them."""
    from lipsync.config.load import load
    from lipsync.store.preflight import check_files, curve_path

    named = {"device": device, "lips.network": network, "lips.prior": "none" if no_prior else None}
    options = load(config, set_ or [], named)
    _refuse_suffix(out, "A lip model is")
    check_files([(path, "footage") for path in footage], [out, curve_path(out)], force)
    with progress(quiet, as_json) as hook, going_on():
        from lipsync.pipelines.train_lips import train_lips as learn

        made = learn(footage, out, options, fresh=fresh, hook=hook, force=force)
    show(made, lambda: _lips_summary(made), as_json, quiet)


@train_app.command("texture")
@clear_errors
def train_texture(
    method: Method,
    target: Target,
    out: Weights,
    footage: MoreFootage = None,
    fresh: Fresh = False,
    devices: Devices = 1,
    device: Device = None,
    face: Face = None,
    face_at: FaceAt = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: ForceWeights = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Let a texture learn the mouths of TARGET; `lipsync dub --texture METHOD --texture-weights WEIGHTS` uses them."""
    from lipsync.config.load import load
    from lipsync.store.preflight import check_files

    more = footage or []
    options = load(config, settings(set_, face_at), {"texture": method, "device": device, "face.index": face})
    _refuse_suffix(out, "Texture weights are")
    check_files([(path, "footage") for path in (target, *more)], [out], force)
    with progress(quiet, as_json) as hook, going_on():
        from lipsync.pipelines.train_texture import train_texture as learn

        how = {"footage": more, "devices": devices, "fresh": fresh, "hook": hook, "force": force}
        made = learn(method, target, out, options, **how)
    show(made, lambda: _texture_summary(made), as_json, quiet)


def _refuse_suffix(out: Path, what: str) -> None:
    if out.suffix != ".safetensors":
        raise UsageError(f"{what} a .safetensors file: name it {out.with_suffix('.safetensors')}.")


def _lips_summary(made: dict) -> list[str]:
    from lipsync.learning.curves import summary

    beside = f", its curve {made['picture']}" if made["picture"] else ""
    return [f"{made['path']}{beside}", *summary(made["report"]), *notes(made)]


def _texture_summary(made: dict) -> list[str]:
    report = made["report"]
    learnt = f"{report['steps']} steps on {report['mouths']} mouths in {report['seconds']:.0f} s"
    best = f"best at step {report['best_step']}"
    return [f"{made['path']}: {learnt}, {best}; pictures in {made['picture']}.", *notes(made)]
