"""The command that prints every option."""

from __future__ import annotations

import typer

from lipsync.cli.common import ConfigFile, Set, Verbose, clear_errors


@clear_errors
def config(file: ConfigFile = None, set_: Set = None, verbose: Verbose = False) -> None:
    """Print every option as TOML: `lipsync config > my.toml`."""
    from lipsync.config.load import load, to_toml

    typer.echo(to_toml(load(file, set_ or [])), nl=False)
