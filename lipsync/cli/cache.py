"""The commands that list and clear what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lipsync.cli.common import ConfigFile, Json, Set, Verbose, clear_errors, show
from lipsync.core.text import counted, size_text

if TYPE_CHECKING:
    from lipsync.store.cache import Cache, CacheEntry

cache_app = typer.Typer(no_args_is_help=True, help="Kept analyses and models.")

Step = Annotated[str | None, typer.Option(metavar="STEP", help="Only results of this step.")]
OlderThan = Annotated[float, typer.Option(metavar="DAYS", min=0, help="Only results older than this.")]


@cache_app.command("list")
@clear_errors
def cache_list(config: ConfigFile = None, set_: Set = None, verbose: Verbose = False, as_json: Json = False) -> None:
    """List what is kept."""
    cache = _cache(config, set_)
    entries = cache.entries()
    show(
        {
            "folder": str(cache.folder),
            "entries": [_plain(e) for e in entries],
            "size_bytes": sum(e.size_bytes for e in entries),
            "max_gib": cache.max_gib,
            "max_days": cache.max_days,
        },
        lambda: _lines(cache, entries),
        as_json,
    )


@cache_app.command("clear")
@clear_errors
def cache_clear(
    step: Step = None,
    older_than_days: OlderThan = 0.0,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """Remove what is kept; it is made again when needed."""
    cache = _cache(config, set_)
    _refuse_unknown_step(step, {entry.step for entry in cache.entries()})
    n, size_bytes = cache.clear(step, older_than_days * 24 * 3600)
    typer.echo(f"{counted(n, 'result')} removed, {size_text(size_bytes)} freed")


def _refuse_unknown_step(step: str | None, kept: set[str]) -> None:
    from lipsync.core.errors import UsageError
    from lipsync.core.text import nearest
    from lipsync.store.cache import STEPS

    known = sorted(kept.union(STEPS))
    if step is not None and step not in known:
        meant = nearest(step, known, "Only these are kept.")
        raise UsageError(f"There is no step {step!r}. {meant} Known: {', '.join(known)}.")


def _cache(file: Path | None, settings: list[str] | None) -> Cache:
    from lipsync.config.load import load
    from lipsync.store.cache import Cache

    return Cache.of(load(file, settings or []).cache)


def _plain(e: CacheEntry) -> dict[str, object]:
    ages = {"age_s": round(e.age_s), "unused_s": round(e.unused_s)}
    return {"step": e.step, "key": e.key, "label": e.label, "size_bytes": e.size_bytes, **ages}


def _lines(cache: Cache, entries: list[CacheEntry]) -> list[str]:
    rows = [f"{e.step:<12} {size_text(e.size_bytes):>9} {_age(e.age_s):>8}  {e.label}" for e in entries]
    head = [f"{'step':<12} {'size':>9} {'age':>8}  made from"] if rows else []
    total = f"{counted(len(entries), 'result')}, {size_text(sum(e.size_bytes for e in entries))} in {cache.folder}"
    return [*head, *rows, total, *_limits(cache)]


def _limits(cache: Cache) -> list[str]:
    """A sentence on what is removed by itself."""
    most = f"more than {cache.max_gib:g} GiB (cache.max_gib), unused longest first" if cache.max_gib else ""
    old = f"what nobody has used for {cache.max_days:g} days (cache.max_days)" if cache.max_days else ""
    goes = " and ".join(filter(None, (most, old)))
    return [f"Removed by itself whenever something new is kept: {goes}."] if goes else []


def _age(age_s: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"
