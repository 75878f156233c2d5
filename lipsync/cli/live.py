"""The command that shows a target speaking live."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lipsync.cli.common import (
    ConfigFile,
    Device,
    Face,
    FaceAt,
    Force,
    Json,
    Lips,
    Quiet,
    Set,
    Target,
    Verbose,
    clear_errors,
    progress,
    settings,
    show,
    text_of,
)
from lipsync.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from lipsync.config.schema import DubConfig
    from lipsync.render.live import Held
    from video.live import Screen

SpeechNow = Annotated[
    str | None,
    typer.Option(
        "--speech",
        metavar="-|FILE",
        help="What is said: - reads 16-bit little-endian mono samples from standard input as they come; a file plays "
        "in its own time.",
    ),
]
Rate = Annotated[int, typer.Option("--rate", metavar="HZ", help="Samples a second of standard input.")]
Microphone = Annotated[bool, typer.Option("--microphone", help="What is said comes from a microphone. Extra live.")]
MicrophoneName = Annotated[
    str, typer.Option("--microphone-device", metavar="NAME", help="Which one; else the usual one.")
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="-|window|camera|FILE",
        help="Where the frames go: standard output (NUT: raw pictures and sound), a window, a virtual camera (extra "
        "live), or a .mkv or .nut file.",
    ),
]
Seconds = Annotated[float | None, typer.Option("--seconds", metavar="S", min=0.1, help="Stop after so many seconds.")]


@clear_errors
def live(
    target: Target,
    speech: SpeechNow = None,
    rate: Rate = 16_000,
    microphone: Microphone = False,
    microphone_device: MicrophoneName = "",
    to: To = "-",
    seconds: Seconds = None,
    model: Lips = None,
    face: Face = None,
    face_at: FaceAt = None,
    device: Device = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """TARGET says what comes from a pipe or a microphone, as it comes."""
    from lipsync.config.load import load
    from lipsync.store.preflight import check_files, check_readable

    named = {"device": device, "face.index": face, "lips.model": text_of(model)}
    options = load(config, settings(set_, face_at), named)
    _check(speech, microphone, rate, to)
    check_readable(target, "target video")
    if speech not in (None, "-"):
        check_readable(speech, "speech file")
    if to not in ("-", "window", "camera"):
        from video.live import check_ending

        check_files([(target, "target video")], [Path(to)], force)
        check_ending(Path(to))
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.live import live as live_of
        from lipsync.pipelines.live import prepare_live

        ready = prepare_live(target, options, hook=hook)

    def listening() -> None:
        if not quiet and not as_json:
            where = "standard output" if to == "-" else to
            typer.echo(f"lipsync: listening; frames go to {where}. Ctrl-C ends.", err=True)

    sound = _sound(speech, microphone_device, rate, options)
    report = live_of(ready, sound, _screen(to, ready.held), seconds, listening)
    with redirect_stdout(sys.stderr if to == "-" else sys.stdout):  # where the pictures do not go
        show(report.to_plain(), report.lines, as_json, quiet)


def _check(speech: str | None, microphone: bool, rate: int, to: str) -> None:
    if (speech is None) == (not microphone):
        raise UsageError("Say where the sound comes from: --speech - (a pipe), --speech FILE, or --microphone.")
    if not 4000 <= rate <= 384_000:
        raise UsageError(f"--rate {rate} is not a rate of samples: 4000 to 384000, such as 16000 or 48000.")
    if to == "-" and sys.stdout.isatty():
        raise UsageError(
            "The frames would go to this terminal. Pipe them into a player (lipsync live ... | ffplay -), or choose "
            "--to window, --to camera or --to FILE.mkv."
        )


def _sound(speech: str | None, microphone: str, rate: int, options: DubConfig) -> Iterator[np.ndarray]:
    from audio.live import file_blocks, microphone_blocks, pcm_blocks

    if speech is None:
        return microphone_blocks(microphone)
    return pcm_blocks(sys.stdin.buffer, rate) if speech == "-" else file_blocks(Path(speech), options.input_limits)


def _screen(to: str, held: Held) -> Screen:
    from audio.load import RATE
    from video.live import CameraScreen, StreamScreen, WindowScreen

    stream = held.stream
    if to == "window":
        return WindowScreen()
    if to == "camera":
        return CameraScreen(stream.width, stream.height, held.rate)
    out = sys.stdout.buffer if to == "-" else Path(to)
    return StreamScreen(out, stream.width, stream.height, held.rate, stream.colour, RATE)
