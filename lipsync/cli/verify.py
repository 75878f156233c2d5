"""The commands that read what a video says of its making, and make what signs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import Force, Json, Verbose, clear_errors, show

sign_app = typer.Typer(no_args_is_help=True, help="Who signs the content credentials (C2PA) of a dub.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="Any video.")]
Trust = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Certificates (PEM) of issuers whom you believe; else no signer is known."),
]
Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to write them.", show_default=False)]


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
def sign_init(folder: Folder = Path("."), force: Force = False, verbose: Verbose = False) -> None:
    """Make a development certificate and its key, to try signing: nobody vouches for it, and every reader says so."""
    from lipsync.provenance.certificates import make_development_certificate

    certificate, key = make_development_certificate(folder, force)
    typer.echo(f"{certificate}: a development certificate, good for a year. Readers will say: untrusted.")
    typer.echo(f"{key}: its private key. Keep it to yourself.")
    typer.echo(f"Sign with:\n  lipsync dub ... --set sign.certificate={certificate} --set sign.key={key}")
