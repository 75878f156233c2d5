"""The command line: dub, batch, lips, train, analyse, evaluate, compare, doctor, cache, config. The only module that
prints."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

import lipsync
from lipsync.core.errors import LipsyncError, UsageError

app = typer.Typer(
    name="lipsync",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The person in a video says a new recording. Offline; without a GPU, or with one.",
)
cache_app = typer.Typer(no_args_is_help=True, help="Kept analyses and models.")
app.add_typer(cache_app, name="cache")
train_app = typer.Typer(no_args_is_help=True, help="Learn a model from footage, to keep and to use again.")
app.add_typer(train_app, name="train")

Target = Annotated[Path, typer.Argument(metavar="TARGET", help="Video of one person talking.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; `lipsync config` prints one.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One option of `lipsync config`. Repeatable."),
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
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="More lines; a traceback with an error.")]
SilentObserver = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


def main() -> None:
    """The console command."""
    # MediaPipe's own C++ notices would surround our one sentence.
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait by spinning take a busy machine's time
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill tidies up like Ctrl-C
    app(_with_ray_address(sys.argv[1:]))


def _with_ray_address(words: list[str]) -> list[str]:
    """The command line with `--ray` alone as `--ray local`."""
    return [
        part
        for word, after in zip(words, [*words[1:], "-"])
        for part in ([word, "local"] if word == "--ray" and after.startswith("-") else [word])
    ]


def _said_clearly(command: Callable) -> Callable:
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
            typer.echo(f"lipsync: {sentence}", err=True)
            raise typer.Exit(status) from None

    return run


def _refuse_intruders() -> None:
    from lipsync.core.installation import misplaced

    sentences = misplaced()
    if sentences:
        raise LipsyncError(" ".join(sentences))


def _progress(quiet: bool, as_json: bool):
    from lipsync.core import progress as hooks

    if quiet:
        return contextlib.nullcontext(hooks.silent)
    if as_json:
        return hooks.JsonLines(sys.stderr)
    return hooks.Bars(sys.stderr) if sys.stderr.isatty() else hooks.Lines(sys.stderr)


def _settings(settings: list[str] | None, face_at: str | None) -> list[str]:
    return [*(settings or []), *([f"face.at={face_at}"] if face_at is not None else [])]


def _lips_setting(model: Path | None) -> dict[str, str | None]:
    return {"lips.model": None if model is None else str(model)}


def _sandboxed(options, inputs: Sequence[Path], written: Sequence[Path] = ()) -> None:
    """Where options ask for it: has this command done by a limited child, and exits as that did. Returns in the
    child."""
    from lipsync.sandbox.limits import Limits
    from lipsync.sandbox.supervise import in_child, run_sandboxed
    from lipsync.store.cache import Cache

    if options.sandbox.enabled and not in_child():
        limits = Limits(options.sandbox.memory_gib, options.sandbox.seconds)
        raise typer.Exit(
            run_sandboxed(sys.argv[1:], limits, inputs, written, Cache(options.cache.folder or None).folder)
        )


def _print_json(plain: object) -> None:
    typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"lipsync {lipsync.__version__}")
        raise typer.Exit()


@app.command()
@_said_clearly
def dub(
    target: Target,
    speech: Annotated[
        Path, typer.Argument(metavar="SPEECH", help="What to say: an audio file, or a video with sound.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="The video to write; its receipt is OUT.json.")
    ],
    texture: Annotated[
        str | None, typer.Option(metavar="NAME", help="How the mouth is drawn: a method's name or a .py file.")
    ] = None,
    texture_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What a learned texture has learned: of `train texture`.")
    ] = None,
    train_texture: Annotated[
        bool, typer.Option("--train-texture", help="Let a learned texture learn from TARGET now; kept for next time.")
    ] = False,
    footage: MoreFootage = None,
    lips: Lips = None,
    device: Device = None,
    sandbox: Sandbox = False,
    face: Face = None,
    face_at: FaceAt = None,
    preview: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.04, help="Only the first seconds.")
    ] = None,
    length: Annotated[
        str | None, typer.Option(metavar="speech|cut|loop|bounce|hold", help="How long, and from which frames.")
    ] = None,
    no_retime: Annotated[bool, typer.Option("--no-retime", help="Keep the target's own head motion.")] = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Json = False,
) -> None:
    """Dub TARGET: its person says SPEECH."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_paths, check_readable, receipt_path

    named = {
        "texture": texture,
        "train_texture": train_texture or None,
        "device": device,
        "face.index": face,
        "retime.length": length,
        "retime.enabled": False if no_retime else None,
    }
    named |= {
        "texture_weights": None if texture_weights is None else str(texture_weights),
        "sandbox.enabled": sandbox or None,
    }
    options = load(config, _settings(set_, face_at), named | _lips_setting(lips))
    if lips is not None:
        check_readable(lips, "lip model")
    check_paths(target, speech, out, footage or (), force)  # dub() does so too, but torch takes seconds to come
    _sandboxed(options, [target, speech, *(footage or ())], [out, receipt_path(out)])
    with _progress(quiet, as_json) as hook:
        from lipsync.pipelines.dub import dub as make

        receipt = make(
            target,
            speech,
            out,
            options,
            footage=tuple(footage or ()),
            preview_s=preview,
            cache=Cache(options.cache.folder),
            hook=hook,
            force=force,
        )
    if as_json:
        _print_json(receipt.to_plain())
    elif not quiet:
        typer.echo("\n".join(receipt.summary()))


@app.command()
@_said_clearly
def analyse(
    target: Target,
    device: Device = None,
    sandbox: Sandbox = False,
    face: Face = None,
    face_at: FaceAt = None,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Json = False,
) -> None:
    """Look at TARGET: what a dub can use, and why not the rest."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_readable

    options = load(
        config, _settings(set_, face_at), {"device": device, "face.index": face, "sandbox.enabled": sandbox or None}
    )
    check_readable(target, "target video")
    _sandboxed(options, [target])
    with _progress(quiet, as_json) as hook:
        from lipsync.pipelines.inspect import inspect_target

        look = inspect_target(target, options, Cache(options.cache.folder), hook)
    if as_json:
        _print_json(look.to_plain())
    else:
        typer.echo("\n".join(look.lines()))


@app.command()
@_said_clearly
def batch(
    jobs: Annotated[
        Path | None,
        typer.Argument(metavar="JOBS", help="A manifest: .toml, .csv or .jsonl; docs/batch.md shows them."),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "-o", "--out", metavar="OUTDIR", help="Folder (or s3://... address) of the videos, receipts and report."
        ),
    ] = ...,
    targets: Annotated[str | None, typer.Option(metavar="GLOB", help="Without a manifest: these videos ...")] = None,
    speech: Annotated[str | None, typer.Option(metavar="GLOB", help="... say these recordings.")] = None,
    pairs: Annotated[
        str, typer.Option(metavar="cross|name", help="Every video all recordings, or those of its own name.")
    ] = "cross",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at every job, estimate time and room, make nothing.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes; else one a GPU, or a core.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Refuse what a manifest names outside this folder.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash finished videos, too, before keeping them.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace videos that lipsync did not make.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS]", help="Workers on this Ray cluster, or on a local Ray (extra `cluster`)."),
    ] = None,
    shared_cache: Annotated[
        str, typer.Option(metavar="DIR", help="Folder or address of analyses that machines share.")
    ] = "",
    worker_cpus: Annotated[float, typer.Option(metavar="N", min=0.1, help="Cores of a worker on Ray.")] = 1,
    worker_gpus: Annotated[
        float, typer.Option(metavar="N", min=0, help="GPUs of a worker on Ray; may be a part of one.")
    ] = 0,
    texture: Annotated[
        str | None, typer.Option(metavar="NAME", help="How mouths are drawn, unless a job says otherwise.")
    ] = None,
    lips: Lips = None,
    device: Device = None,
    sandbox: Sandbox = False,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for everything that happens.")] = False,
) -> None:
    """Dub all JOBS into OUTDIR. Run again, it does what is left: finished videos are known by their receipts."""
    from lipsync.config.load import load

    named = {"texture": texture, "device": device, "sandbox.enabled": sandbox or None} | _lips_setting(lips)
    options = load(config, set_ or [], named)
    if (jobs is None) == (targets is None) or (targets is None) != (speech is None):
        raise UsageError("Give either a manifest, or both --targets and --speech.")
    from lipsync.batch.manifest import jobs_from_globs, read_manifest

    asked = (
        jobs_from_globs(targets, speech, pairs, config, set_ or [], named)
        if jobs is None
        else read_manifest(jobs, config, set_ or [], named, root=root)
    )
    show = "nothing" if quiet else "json" if as_json else "table" if sys.stderr.isatty() else "lines"
    from lipsync.batch.command import BatchOptions
    from lipsync.batch.command import batch as run

    raise typer.Exit(
        run(
            asked,
            options,
            BatchOptions(
                out=out,
                workers=workers,
                ray=ray,
                shared=shared_cache,
                cpus=worker_cpus,
                gpus=worker_gpus,
                force=force,
                verify=verify,
                dry_run=dry_run,
                show=show,
            ),
        )
    )


@app.command()
@_said_clearly
def lips(
    speech: Annotated[
        Path, typer.Argument(metavar="SPEECH", help="What to say: an audio file, or a video with sound.")
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="OUT", help="The file to write: .json, .csv or .mp4; .tsv for mouth cues."),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="json|csv|mp4|rhubarb-json|rhubarb-tsv", help="Where OUT's ending does not say it."
        ),
    ] = None,
    model: Lips = None,
    target: Annotated[
        Path | None, typer.Option(metavar="VIDEO", help="Lips learnt from this video's person, as in a dub.")
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Rows a second, such as 25 or 30000/1001; else 100, and 25 drawn."),
    ] = None,
    device: Device = None,
    sandbox: Sandbox = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Json = False,
) -> None:
    """The lips of SPEECH alone: as numbers, as mouth cues, or drawn."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_files, lips_format

    options = load(config, set_ or [], {"device": device, "sandbox.enabled": sandbox or None} | _lips_setting(model))
    rate = _rate(fps)
    kind = lips_format(out, kind, rate)
    given = [(speech, "speech file"), (target, "target video"), (options.lips.model or None, "lip model")]
    check_files([(path, role) for path, role in given if path is not None], [out], force)
    _sandboxed(options, [speech, *([target] if target else [])], [out])
    with _progress(quiet, as_json) as hook:
        from lipsync.pipelines.lips import lips_of

        made = lips_of(
            speech,
            out,
            options,
            target=target,
            kind=kind,
            rate=rate,
            cache=Cache(options.cache.folder),
            hook=hook,
            force=force,
        )
    if as_json:
        _print_json(made)
    elif not quiet:
        seconds, what = made["speech"]["duration_s"], "cues" if kind.startswith("rhubarb") else "rows"
        typer.echo(f"{made['path']}: {made['rows']} {what}, {seconds:.2f} s, lips of {made['model']['source']}.")
        for note in made["notes"]:
            typer.echo(f"Note: {note}")


def _rate(text: str | None) -> Fraction | None:
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"--fps {text!r} is not a rate: write a number or a fraction, such as 25 or 30000/1001."
        ) from None


@train_app.command("lips")
@_said_clearly
def train_lips(
    footage: Annotated[list[Path], typer.Argument(metavar="FOOTAGE", help="Videos of one person who speaks.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="MODEL", help="The .safetensors to write; beside it its .curve.png.")
    ],
    network: Annotated[str | None, typer.Option(metavar="bidirectional|causal|paper", help="Which network.")] = None,
    no_prior: Annotated[
        bool, typer.Option("--no-prior", help="Start from nothing, not from the model that ships.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget an interrupted training of the same; else it goes on.")
    ] = False,
    device: Device = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Replace MODEL if it exists.")] = False,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Json = False,
) -> None:
    """Learn the lips of the person in FOOTAGE; `lipsync dub --lips MODEL` uses them."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_files, curve_path

    options = load(
        config, set_ or [], {"device": device, "lips.network": network, "lips.prior": "none" if no_prior else None}
    )
    if out.suffix != ".safetensors":
        raise UsageError(f"A lip model is a .safetensors file: name it {out.with_suffix('.safetensors')}.")
    check_files([(path, "footage") for path in footage], [out, curve_path(out)], force)
    with _progress(quiet, as_json) as hook:
        from lipsync.pipelines.train_lips import train_lips as learn

        try:
            cache = Cache(options.cache.folder)
            made = learn(footage, out, options, fresh=fresh, cache=cache, hook=hook, force=force)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from here.") from None
    if as_json:
        _print_json(made)
    elif not quiet:
        from lipsync.learning.curves import summary

        beside = f", its curve {made['picture']}" if made["picture"] else ""
        typer.echo(
            "\n".join(
                [f"{made['path']}{beside}", *summary(made["report"]), *(f"Note: {note}" for note in made["notes"])]
            )
        )


@train_app.command("texture")
@_said_clearly
def train_texture(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="Which texture, such as hybrid or pix2pix; or a .py file.")
    ],
    target: Target,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="WEIGHTS", help="The .safetensors to write; beside it its .samples.png."),
    ],
    footage: MoreFootage = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget an interrupted training of the same; else it goes on.")
    ] = False,
    devices: Annotated[int, typer.Option(metavar="N", min=1, help="GPUs that train together (extra `train`).")] = 1,
    device: Device = None,
    face: Face = None,
    face_at: FaceAt = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Replace WEIGHTS if it exists.")] = False,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Json = False,
) -> None:
    """Let a texture learn the mouths of TARGET; `lipsync dub --texture METHOD --texture-weights WEIGHTS` uses them."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache

    options = load(config, _settings(set_, face_at), {"texture": method, "device": device, "face.index": face})
    if out.suffix != ".safetensors":
        raise UsageError(f"Texture weights are a .safetensors file: name it {out.with_suffix('.safetensors')}.")
    with _progress(quiet, as_json) as hook:
        from lipsync.pipelines.train_texture import train_texture as learn

        try:
            cache = Cache(options.cache.folder)
            made = learn(
                method,
                target,
                out,
                options,
                footage=footage or (),
                devices=devices,
                fresh=fresh,
                cache=cache,
                hook=hook,
                force=force,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from here.") from None
    if as_json:
        _print_json(made)
    elif not quiet:
        report = made["report"]
        learnt = f"{report['steps']} steps on {report['mouths']} mouths in {report['seconds']:.0f} s, best at step {report['best_step']}"
        typer.echo(f"{made['path']}: {learnt}; pictures in {made['picture']}.")
        for note in made["notes"]:
            typer.echo(f"Note: {note}")


@app.command()
@_said_clearly
def evaluate(
    real: Annotated[Path, typer.Argument(metavar="REAL", help="The right answer: the person really saying it.")],
    dubbed: Annotated[Path, typer.Argument(metavar="DUBBED", help="The dub.")],
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Measure DUBBED against REAL: lips, sharpness, flicker."""
    from lipsync.store.preflight import check_readable

    check_readable(real, "real video")
    check_readable(dubbed, "dubbed video")
    from lipsync.evaluation.evaluate import evaluate as measure

    measures = measure(real, dubbed)
    if as_json:
        _print_json(measures)
    else:
        typer.echo("\n".join(_lines(measures)))


def _lines(plain: Mapping, prefix: str = "") -> list[str]:
    lines = []
    for name, value in plain.items():
        if isinstance(value, Mapping):
            lines += _lines(value, f"{prefix}{name}.")
        else:
            lines.append(f"{prefix + name:<36} {f'{value:.4g}' if isinstance(value, float) else value}")
    return lines


@app.command()
@_said_clearly
def compare(
    target: Target,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The report's folder.")] = Path("report"),
    methods: Annotated[str | None, typer.Option(metavar="A,B,...", help="Which textures; else all.")] = None,
    method_file: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.py", help="A texture of your own. Repeatable.")
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(metavar="VIDEO", help="The truth: other video of the person. Else parts of TARGET. Repeatable."),
    ] = None,
    footage: MoreFootage = None,
    speech: Annotated[
        Path | None, typer.Option(metavar="FILE", help="New speech, said by every texture in the report.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The split.json of an earlier comparison.")
    ] = None,
    true_lips_only: Annotated[
        bool, typer.Option("--true-lips-only", help="Leave out the lips predicted from sound.")
    ] = False,
    device: Device = None,
    face: Face = None,
    face_at: FaceAt = None,
    config: ConfigFile = None,
    set_: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is there.")] = False,
    verbose: Verbose = False,
    quiet: SilentObserver = False,
    as_json: Json = False,
) -> None:
    """Measure textures on frames of TARGET that none has seen, and write a report."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_readable

    options = load(config, _settings(set_, face_at), {"device": device, "face.index": face})
    check_readable(target, "target video")
    with _progress(quiet, as_json) as hook:
        from lipsync.pipelines.compare import compare as make

        results = make(
            target,
            [name.strip() for name in (methods or "").split(",") if name.strip()],
            out,
            options,
            held_out=held_out or (),
            footage=footage or (),
            speech=speech,
            method_files=method_file or (),
            split=split,
            true_lips_only=true_lips_only,
            cache=Cache(options.cache.folder),
            hook=hook,
            force=force,
        )
    if as_json:
        _print_json(results)
    elif not quiet:
        from lipsync.evaluation.table import summary

        typer.echo("\n".join([*summary(results), f"The report: {out / 'index.html'}"]))


@app.command()
@_said_clearly
def doctor(verbose: Verbose = False, as_json: Json = False) -> None:
    """Check this machine: libraries, devices, codecs, cache."""
    from lipsync.cli.doctor import examine

    report = examine()
    if as_json:
        _print_json(report.to_plain())
    else:
        typer.echo("\n".join(report.lines()))
    if not report.well:
        raise typer.Exit(LipsyncError.exit_status)


@app.command()
@_said_clearly
def config(file: ConfigFile = None, set_: Set = None, verbose: Verbose = False) -> None:
    """Print every option as TOML: `lipsync config > my.toml`."""
    from lipsync.config.load import load, to_toml

    typer.echo(to_toml(load(file, set_ or [])), nl=False)


def _cache(file: Path | None, settings: list[str] | None):
    from lipsync.config.load import load
    from lipsync.store.cache import Cache

    return Cache(load(file, settings or []).cache.folder)


@cache_app.command("list")
@_said_clearly
def cache_list(config: ConfigFile = None, set_: Set = None, verbose: Verbose = False, as_json: Json = False) -> None:
    """List what is kept."""
    cache = _cache(config, set_)
    entries = cache.entries()
    if as_json:
        rows = [
            {"step": e.step, "key": e.key, "label": e.label, "size_bytes": e.size_bytes, "age_s": round(e.age_s)}
            for e in entries
        ]
        _print_json({"folder": str(cache.folder), "entries": rows})
        return
    for e in entries:
        typer.echo(f"{e.step:<12} {_size(e.size_bytes):>9} {_age(e.age_s):>8}  {e.label}")
    typer.echo(f"{len(entries)} results, {_size(sum(e.size_bytes for e in entries))} in {cache.folder}")


@cache_app.command("clear")
@_said_clearly
def cache_clear(
    step: Annotated[str | None, typer.Option(metavar="STEP", help="Only results of this step.")] = None,
    older_than_days: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Only results older than this.")] = 0.0,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """Remove what is kept; it is made again when needed."""
    n, size_bytes = _cache(config, set_).clear(step, older_than_days * 24 * 3600)
    typer.echo(f"{n} results removed, {_size(size_bytes)} freed")


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000


def _age(age_s: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"
