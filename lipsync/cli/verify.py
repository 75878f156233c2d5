"""The commands that read what a video says of its making, and make what signs it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import Json, Verbose, clear_errors, show

sign_app = typer.Typer(no_args_is_help=True, help="Who signs the content credentials (C2PA) of a dub.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="Any video.")]
Trust = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Certificates (PEM) of issuers whom you believe; else no signer is known."),
]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where to write them; left out: here.", show_default=False)
]
ForceBoth = Annotated[bool, typer.Option("--force", help="Replace those that are there.")]


@clear_errors
def verify(file: File, trust: Trust = None, verbose: Verbose = False, as_json: Json = False) -> None:
    """Read what FILE says of its making: content credentials, labels, receipt, watermark, and whether they agree.

    Exit status 1: content credentials and content do not agree, or could not be compared."""
    from lipsync.provenance.verify import verify as look

    found = look(file, trust)
    show(found.to_plain(), found.lines, as_json)
    if found.verdict in ("altered", "unchecked"):
        raise typer.Exit(1)


@sign_app.command("init")
@clear_errors
def sign_init(folder: Folder = Path("."), force: ForceBoth = False, verbose: Verbose = False) -> None:
    """Make a development certificate and its key, to try signing: nobody vouches for it, and every reader says so."""
    from lipsync.provenance.certificates import make_development_certificate

    certificate, key = make_development_certificate(folder, force)
    typer.echo(f"{certificate}: a development certificate, good for a year; readers will say untrusted.")
    typer.echo(f"{key}: its private key. Keep it to yourself.")
    options = [
        f"--set {shlex.quote(f'sign.{name}={path}')}" for name, path in (("certificate", certificate), ("key", key))
    ]
    typer.echo("To sign a dub, add\n  " + " \\\n  ".join(options))
