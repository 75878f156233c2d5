"""The commands that dub a video, and look at one before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipsync.cli.common import (
    ConfigFile,
    Device,
    Face,
    FaceAt,
    Force,
    Json,
    Lips,
    MoreFootage,
    Quiet,
    Sandbox,
    Set,
    Target,
    Verbose,
    clear_errors,
    progress,
    sandboxed,
    settings,
    show,
    text_of,
)
from lipsync.core.errors import UsageError

SpeechIfAny = Annotated[
    Path | None, typer.Argument(metavar="SPEECH", help="What to say: an audio file, or a video with sound.")
]
LipsFrom = Annotated[
    Path | None,
    typer.Option(
        "--lips-from",
        metavar="VIDEO",
        help="An actor whose lips are shown, in the range of TARGET's person; without SPEECH, with VIDEO's sound.",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="The video to write; its receipt is OUT.json.")]
Texture = Annotated[
    str | None, typer.Option(metavar="NAME", help="How the mouth is drawn: a method's name or a .py file.")
]
TextureWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What a learned texture has learned: of `train texture`.")
]
TrainTexture = Annotated[
    bool, typer.Option("--train-texture", help="Let a learned texture learn from TARGET now; kept for next time.")
]
Preview = Annotated[float | None, typer.Option(metavar="SECONDS", min=0.04, help="Only the first seconds.")]
Length = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How long OUT is:\n\n\b\n"
        "target  as the target\n"
        "speech  as the speech\n"
        "cut     as the shorter of both\n"
        "loop    as the speech; TARGET starts over\n"
        "bounce  as the speech; TARGET runs backwards\n"
        "hold    as the speech; TARGET stands still\n"
        "auto    target if its time is kept, else speech",
    ),
]
TimelineOf = Annotated[
    str | None,
    typer.Option(
        "--timeline",
        metavar="auto|keep|retime",
        help="keep: the target's own time; retime: frames are chosen so that the head rests in pauses; auto: keep "
        "where the speech is about as long as the target, or only parts are dubbed.",
    ),
]
AllowUndubbed = Annotated[
    bool, typer.Option("--allow-undubbed", help="Write OUT also where no mouth can be drawn in it; else a failure.")
]
NoRetime = Annotated[bool, typer.Option("--no-retime", hidden=True)]


@clear_errors
def dub(
    target: Target,
    out: Out,
    speech: SpeechIfAny = None,
    texture: Texture = None,
    texture_weights: TextureWeights = None,
    train_texture: TrainTexture = False,
    footage: MoreFootage = None,
    lips_from: LipsFrom = None,
    lips: Lips = None,
    device: Device = None,
    sandbox: Sandbox = False,
    face: Face = None,
    face_at: FaceAt = None,
    preview: Preview = None,
    length: Length = None,
    timeline: TimelineOf = None,
    no_retime: NoRetime = False,
    allow_undubbed: AllowUndubbed = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Dub TARGET: its person says SPEECH."""
    from lipsync.config.load import load

    named = {"texture": texture, "train_texture": train_texture or None, "texture_weights": text_of(texture_weights)}
    named |= {"device": device, "face.index": face, "lips.model": text_of(lips), "sandbox.enabled": sandbox or None}
    named |= {"retime.length": length, "retime.timeline": timeline, "allow_undubbed": allow_undubbed or None}
    if no_retime:
        raise UsageError("--no-retime is now called --timeline keep.")
    options = load(config, settings(set_, face_at), named)
    _dub(target, speech, out, options, tuple(footage or ()), lips_from, lips, preview, force, quiet, as_json)


def _dub(target, speech, out, options, footage, lips_from, lips, preview_s, force, quiet, as_json) -> None:
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_paths, check_readable, receipt_path

    if lips is not None:
        check_readable(lips, "lip model")
    if speech is None and lips_from is None:
        raise UsageError("There is nothing to say. Name a SPEECH, or --lips-from VIDEO.")
    if lips_from is not None:
        check_readable(lips_from, "film of --lips-from")
    named = [path for path in (speech, lips_from) if path is not None]
    check_paths(target, named, out, footage, force)  # dub() does so too, but torch takes seconds to come
    sandboxed(options, [target, *named, *footage], [out, receipt_path(out)])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.dub import dub as make

        cache = Cache(options.cache.folder)
        receipt = make(
            target,
            speech,
            out,
            options,
            footage=footage,
            lips_from=lips_from,
            preview_s=preview_s,
            cache=cache,
            hook=hook,
            force=force,
        )
    show(receipt.to_plain(), receipt.summary, as_json, quiet)


@clear_errors
def analyse(
    target: Target,
    device: Device = None,
    sandbox: Sandbox = False,
    face: Face = None,
    face_at: FaceAt = None,
    config: ConfigFile = None,
    set_: Set = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at TARGET: what a dub can use, and why not the rest."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_readable

    named = {"device": device, "face.index": face, "sandbox.enabled": sandbox or None}
    options = load(config, settings(set_, face_at), named)
    check_readable(target, "target video")
    sandboxed(options, [target])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.inspect import inspect_target

        report = inspect_target(target, options, Cache(options.cache.folder), hook)
    show(report.to_plain(), report.lines, as_json)
