"""What commands share: options, errors as one sentence, progress, JSON, the sandbox."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from lipsync.core.errors import LipsyncError
from lipsync.core.text import readable

if TYPE_CHECKING:
    from lipsync.config.schema import DubConfig
    from lipsync.store.cache import Cache


def _options(begun: str) -> list[str]:
    """For the shell's completion: the options of a dub that go on from `begun`, up to their value."""
    from lipsync.config.load import option_types

    return [f"{name}=" for name in option_types() if name.startswith(begun)]


def textures(begun: str) -> list[str]:
    """For the shell's completion: the texture methods that go on from `begun`."""
    from lipsync.config.schema import texture_names

    return [name for name in texture_names() if name.startswith(begun)]


Target = Annotated[Path, typer.Argument(metavar="TARGET", help="Video of people talking.")]
Speech = Annotated[Path, typer.Argument(metavar="SPEECH", help="What to say: an audio file, or a video with sound.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; `lipsync config` prints one.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="One option of `lipsync config`. Repeatable.",
        autocompletion=_options,
    ),
]
Device = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda:N", help="Where to compute.")]
Face = Annotated[int | None, typer.Option(metavar="N", help="Which face: 0 = leftmost when first seen.")]
FaceAt = Annotated[str | None, typer.Option(metavar="X,Y", help="The face nearest this pixel when first seen.")]
Sandbox = Annotated[
    bool, typer.Option("--sandbox", help="Work in a process with limited memory and time, without network. Linux.")
]
Lips = Annotated[Path | None, typer.Option("--lips", metavar="MODEL", help="A lip model of `lipsync train lips`.")]
MoreFootage = Annotated[
    list[Path] | None, typer.Option("--footage", metavar="FILE", help="More video of the same person. Repeatable.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget an interrupted training of the same; else it goes on.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More lines; a traceback with an error.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


def clear_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with failures as one sentence on standard error and their exit status."""

    @functools.wraps(command)
    def run(*args: object, verbose: bool = False, **options: object) -> None:
        try:
            _refuse_intruders()
            command(*args, verbose=verbose, **options)
        except KeyboardInterrupt as stop:
            typer.echo(f"lipsync: interrupted; {str(stop) or 'nothing was written.'}", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            from lipsync.core.errors import user_message

            sentence, status = user_message(error)
            if sentence is None:
                raise
            if verbose:
                import traceback

                traceback.print_exc()
            typer.echo(f"lipsync: {readable(sentence)}", err=True)
            raise typer.Exit(status) from None

    return run


def _refuse_intruders() -> None:
    from lipsync.core.installation import misplaced

    if sentences := misplaced():
        raise LipsyncError(" ".join(sentences))


def progress(quiet: bool, as_json: bool) -> Any:
    """The hook to show, as a context manager."""
    from lipsync.core.progress import Bars, JsonLines, Lines, silent

    if quiet:
        return contextlib.nullcontext(silent)
    if as_json:
        return JsonLines(sys.stderr, every_s=1.0)  # cheap to skip, and bars are drawn from them
    return Bars(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)


def settings(given: list[str] | None, face_at: str | None = None) -> list[str]:
    """`--set` options, `--face-at` among them."""
    return [*(given or []), *([f"face.at={face_at}"] if face_at is not None else [])]


def text_of(path: Path | None) -> str | None:
    """A path as the value of an option; None = not given."""
    return None if path is None else str(path)


def sandboxed(options: DubConfig, inputs: Sequence[Path], written: Sequence[Path] = ()) -> None:
    """Where options ask for it: has this command done by a limited child, and exits as that did. Returns in the
    child."""
    from lipsync.sandbox.limits import Limits
    from lipsync.sandbox.supervise import in_child, run_sandboxed
    from lipsync.store.cache import Cache

    if options.sandbox.enabled and not in_child():
        limits = Limits(options.sandbox.memory_gib, options.sandbox.seconds)
        cache = Cache.of(options.cache).folder
        raise typer.Exit(run_sandboxed(sys.argv[1:], limits, inputs, written, cache))


@contextlib.contextmanager
def going_on():
    """An interrupt inside says that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on from here.") from None


def show(plain: Mapping[str, object], lines: Callable[[], Iterable[str]], as_json: bool, quiet: bool = False) -> None:
    """The result: JSON where asked for, else lines for people."""
    if as_json:
        typer.echo(json.dumps(readable(plain), indent=2, ensure_ascii=not _is_unicode(sys.stdout)))
    elif not quiet:
        typer.echo(readable("\n".join(lines())))


def _is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def escape_where_needed() -> None:
    """From now on standard output and error write as an escape what their encoding cannot say, in place of a
    failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def kept_pictures(cache: Cache) -> str:
    """Said once, when the first results are kept: where pictures of faces are now, and how they go."""
    from lipsync.core.text import size_text

    size = size_text(sum(entry.size_bytes for entry in cache.entries()))
    for_days = f" They go by themselves {cache.max_days:g} days after their last use." if cache.max_days else ""
    return (
        f"Kept for the next dub of this target, with pictures of its faces: {size} in {cache.folder}. "
        f"`lipsync cache list` shows it, `lipsync cache clear` removes it.{for_days}"
    )


def notes(made: Mapping[str, Any]) -> list[str]:
    return [f"Note: {note}" for note in made["notes"]]
