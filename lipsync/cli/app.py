"""The command line: what each command does stands in a file of its own."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from typing import Annotated

import typer

import lipsync
from lipsync.cli.audit import audit
from lipsync.cli.batch import batch
from lipsync.cli.before_after import before_after
from lipsync.cli.cache import cache_app
from lipsync.cli.common import escape_where_needed
from lipsync.cli.config import config
from lipsync.cli.doctor import doctor
from lipsync.cli.dub import analyse, dub
from lipsync.cli.evaluate import compare, evaluate
from lipsync.cli.export import export
from lipsync.cli.lips import lips
from lipsync.cli.live import live
from lipsync.cli.people import people
from lipsync.cli.report import report
from lipsync.cli.train import train_app
from lipsync.cli.ui import ui
from lipsync.cli.verify import sign_app, verify
from lipsync.core.environment import prepare_environment

app = typer.Typer(
    name="lipsync",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The person in a video says a new recording. Offline; without a GPU, or with one.",
)
app.add_typer(cache_app, name="cache")
app.add_typer(train_app, name="train")
app.add_typer(sign_app, name="sign")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"lipsync {lipsync.__version__}")
        raise typer.Exit()


for command in (
    *(dub, ui, analyse, people, live, batch, lips, evaluate, compare),
    *(before_after, report, audit, verify, export, doctor, config),
):
    app.command()(command)


def main() -> None:
    """The console command."""
    gc.set_threshold(200_000)  # imports make 260,000 objects that stay: looking through them time and again took 0.4 s
    atexit.register(gc.freeze)  # and once more, in vain, at the end 0.1 s
    prepare_environment()
    escape_where_needed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill tidies up like Ctrl-C
    app(_with_ray_address(sys.argv[1:]))


def _with_ray_address(words: list[str]) -> list[str]:
    """The command line with `--ray` alone as `--ray local`."""
    return [
        part
        for word, after in zip(words, [*words[1:], "-"], strict=False)
        for part in ([word, "local"] if word == "--ray" and after.startswith("-") else [word])
    ]
