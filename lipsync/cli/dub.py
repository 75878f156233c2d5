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
    Speech,
    Target,
    Verbose,
    clear_errors,
    progress,
    sandboxed,
    settings,
    show,
    text_of,
)

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
        help="target: as long as the target; speech: as the speech; cut: as the shorter; loop, bounce, hold: as the "
        "speech, and when the target runs out it starts over, runs backwards, stands still.",
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
Mix = Annotated[
    Path | None,
    typer.Option(
        "--mix", metavar="FILE", help="Finished sound that OUT gets instead of SPEECH, which still moves the lips."
    ),
]
Background = Annotated[
    str | None,
    typer.Option(metavar="FILE|original", help="Music and effects under the speech; original: the target's own sound."),
]
BackgroundDb = Annotated[float | None, typer.Option(metavar="DB", help="How much louder the background is made.")]
Loudness = Annotated[
    float | None,
    typer.Option(metavar="LUFS", help="Make OUT so loud, such as -16 (EBU R128); else loudness is left alone."),
]
Fit = Annotated[
    bool, typer.Option("--fit", help="Speed up speech that is up to 10 % longer than its slot; its pitch stays.")
]
NoRetime = Annotated[bool, typer.Option("--no-retime", hidden=True)]


@clear_errors
def dub(
    target: Target,
    speech: Speech,
    out: Out,
    texture: Texture = None,
    texture_weights: TextureWeights = None,
    train_texture: TrainTexture = False,
    footage: MoreFootage = None,
    lips: Lips = None,
    device: Device = None,
    sandbox: Sandbox = False,
    face: Face = None,
    face_at: FaceAt = None,
    preview: Preview = None,
    length: Length = None,
    timeline: TimelineOf = None,
    no_retime: NoRetime = False,
    mix: Mix = None,
    background: Background = None,
    background_db: BackgroundDb = None,
    loudness: Loudness = None,
    fit: Fit = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Dub TARGET: its person says SPEECH."""
    from lipsync.config.load import load
    from lipsync.core.errors import UsageError

    named = {"texture": texture, "train_texture": train_texture or None, "texture_weights": text_of(texture_weights)}
    named |= {"device": device, "face.index": face, "lips.model": text_of(lips), "sandbox.enabled": sandbox or None}
    named |= {"retime.length": length, "retime.timeline": timeline}
    named |= {"sound.background_db": background_db, "sound.loudness": loudness, "sound.fit": fit or None}
    if no_retime:
        raise UsageError("--no-retime is now called --timeline keep.")
    options = load(config, settings(set_, face_at), named)
    sounds = {"mix": mix, "background": background}
    _dub(target, speech, out, options, tuple(footage or ()), lips, preview, sounds, force, quiet, as_json)


def _dub(target, speech, out, options, footage, lips, preview_s, sounds, force, quiet, as_json) -> None:
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_paths, check_readable, receipt_path

    if lips is not None:
        check_readable(lips, "lip model")
    check_paths(target, [speech], out, footage, force)  # dub() does so too, but torch takes seconds to come
    more = [Path(name) for name in sounds.values() if name and str(name) != "original"]
    sandboxed(options, [target, speech, *footage, *more], [out, receipt_path(out)])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.dub import dub as make

        cache = Cache(options.cache.folder)
        receipt = make(
            target,
            speech,
            out,
            options,
            footage=footage,
            preview_s=preview_s,
            cache=cache,
            hook=hook,
            force=force,
            **sounds,
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
