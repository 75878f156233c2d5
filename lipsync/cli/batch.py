"""The command that makes many dubs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import ConfigFile, Device, Lips, Quiet, Sandbox, Set, Verbose, clear_errors, text_of
from lipsync.core.errors import UsageError

Manifest = Annotated[
    Path | None, typer.Argument(metavar="JOBS", help="A manifest: .toml, .csv or .jsonl; docs/batch.md shows them.")
]
OutDir = Annotated[
    str,
    typer.Option(
        "-o", "--out", metavar="OUTDIR", help="Folder (or s3://... address) of the videos, receipts and report."
    ),
]
Targets = Annotated[str | None, typer.Option(metavar="GLOB", help="Without a manifest: these videos ...")]
Recordings = Annotated[str | None, typer.Option(metavar="GLOB", help="... say these recordings.")]
Pairs = Annotated[str, typer.Option(metavar="cross|name", help="Every video all recordings, or those of its own name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Look at every job, estimate time and room, make nothing.")]
Workers = Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes; else one a GPU, or a core.")]
Root = Annotated[Path | None, typer.Option(metavar="DIR", help="Refuse what a manifest names outside this folder.")]
Verify = Annotated[bool, typer.Option("--verify", help="Hash finished videos, too, before keeping them.")]
Reports = Annotated[
    bool, typer.Option("--reports", help="Look at each video and write a page on how good it is beside it: OUT.html.")
]
ForceAll = Annotated[bool, typer.Option("--force", help="Replace videos that lipsync did not make.")]
Ray = Annotated[
    str | None,
    typer.Option(metavar="[ADDRESS]", help="Workers on this Ray cluster, or on a local Ray (extra `cluster`)."),
]
SharedCache = Annotated[str, typer.Option(metavar="DIR", help="Folder or address of analyses that machines share.")]
WorkerCpus = Annotated[float, typer.Option(metavar="N", min=0.1, help="Cores of a worker on Ray.")]
WorkerGpus = Annotated[float, typer.Option(metavar="N", min=0, help="GPUs of a worker on Ray; may be a part of one.")]
Texture = Annotated[str | None, typer.Option(metavar="NAME", help="How mouths are drawn, unless a job says otherwise.")]
JsonLines = Annotated[bool, typer.Option("--json", help="A line of JSON for everything that happens.")]


@clear_errors
def batch(
    out: OutDir,
    jobs: Manifest = None,
    targets: Targets = None,
    speech: Recordings = None,
    pairs: Pairs = "cross",
    dry_run: DryRun = False,
    workers: Workers = None,
    root: Root = None,
    verify: Verify = False,
    reports: Reports = False,
    force: ForceAll = False,
    ray: Ray = None,
    shared_cache: SharedCache = "",
    worker_cpus: WorkerCpus = 1,
    worker_gpus: WorkerGpus = 0,
    texture: Texture = None,
    lips: Lips = None,
    device: Device = None,
    sandbox: Sandbox = False,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: JsonLines = False,
) -> None:
    """Dub all JOBS into OUTDIR. Run again, it does what is left: finished videos are known by their receipts."""
    given = {"texture": texture, "device": device, "lips.model": text_of(lips), "sandbox.enabled": sandbox or None}
    asked, options = _jobs(jobs, targets, speech, pairs, root, config, set_ or [], given)
    from lipsync.batch.command import BatchOptions, run_command

    show = "nothing" if quiet else "json" if as_json else "table" if sys.stderr.isatty() else "lines"
    ray_share = {"ray": ray, "shared": shared_cache, "cpus": worker_cpus, "gpus": worker_gpus}
    how = BatchOptions(out, workers, force=force, verify=verify, pages=reports, dry_run=dry_run, show=show, **ray_share)
    raise typer.Exit(run_command(asked, options, how))


def _jobs(manifest, targets, speech, pairs, root, config, settings, named):
    """The jobs, and what the command line set for all of them."""
    from lipsync.config.load import load

    options = load(config, settings, named)
    if (manifest is None) == (targets is None) or (targets is None) != (speech is None):
        raise UsageError("Give either a manifest, or both --targets and --speech.")
    from lipsync.batch.manifest import jobs_from_globs, read_manifest

    if manifest is None:
        return jobs_from_globs(targets, speech, pairs, config, settings, named), options
    return read_manifest(manifest, config, settings, named, root=root), options
