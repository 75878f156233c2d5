"""The commands that dub a video, and look at one before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    kept_pictures,
    progress,
    sandboxed,
    settings,
    show,
    text_of,
    textures,
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
    str | None,
    typer.Option(
        metavar="NAME", help="How the mouth is drawn: a method's name or a .py file.", autocompletion=textures
    ),
]
TextureWeights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What a learned texture has learned: of `train texture`.")
]
TrainTexture = Annotated[
    bool, typer.Option("--train-texture", help="Let a learned texture learn from TARGET now; kept for next time.")
]
EngineOf = Annotated[
    str | None,
    typer.Option("--engine", metavar="torch|onnx", help="What runs a learned texture's networks on the CPU."),
]
Preview = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.04,
        help="Only the first seconds; with --from or --segments, up to so many seconds into the first part.",
    ),
]
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
Segments = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|auto",
        help="Who says what when: CSV (start,end,person,speech), SRT, WebVTT or RTTM; auto: whoever is seen to speak.",
    ),
]
Cast = Annotated[
    list[str] | None, typer.Option("--cast", metavar="LABEL=N", help="Which face a name in --segments is. Repeatable.")
]
OthersDo = Annotated[
    str | None,
    typer.Option(
        "--others",
        metavar="keep|rest",
        help="People who are seen while another is dubbed: keep their mouths, or draw them at rest.",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Only from here on TARGET says SPEECH, from SPEECH's beginning; all before stays. Seconds or "
        "[[hh:]mm:]ss[.fff].",
    ),
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only up to here; all after stays.")]
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
BadgeWords = Annotated[
    str | None,
    typer.Option("--badge", metavar="TEXT|eu", help="Draw these words into a corner of the picture; eu: AI MODIFIED."),
]
NoMark = Annotated[
    bool,
    typer.Option("--no-mark", help="Write no mark that OUT was made by a machine; its receipt says so."),
]
Consent = Annotated[
    str | None,
    typer.Option(metavar="FILE|TEXT", help="Who agreed to this dub: recorded in the receipt and content credentials."),
]
ReportPage = Annotated[
    Path | None,
    typer.Option("--report", metavar="PAGE", help="Look at OUT afterwards and write a page (.html) on how good it is."),
]
NoRetime = Annotated[bool, typer.Option("--no-retime", hidden=True)]


@clear_errors
def dub(
    target: Target,
    out: Out,
    speech: SpeechIfAny = None,
    segments: Segments = None,
    cast: Cast = None,
    others: OthersDo = None,
    texture: Texture = None,
    texture_weights: TextureWeights = None,
    train_texture: TrainTexture = False,
    footage: MoreFootage = None,
    lips_from: LipsFrom = None,
    lips: Lips = None,
    device: Device = None,
    engine: EngineOf = None,
    sandbox: Sandbox = False,
    face: Face = None,
    face_at: FaceAt = None,
    preview: Preview = None,
    length: Length = None,
    timeline: TimelineOf = None,
    from_: From = None,
    to: To = None,
    no_retime: NoRetime = False,
    mix: Mix = None,
    background: Background = None,
    background_db: BackgroundDb = None,
    loudness: Loudness = None,
    fit: Fit = False,
    badge: BadgeWords = None,
    no_mark: NoMark = False,
    consent: Consent = None,
    report: ReportPage = None,
    allow_undubbed: AllowUndubbed = False,
    config: ConfigFile = None,
    set_: Set = None,
    force: Force = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Dub TARGET: its people say SPEECH, or what --segments gives each."""
    from lipsync.config.load import load
    from lipsync.store.cache import Cache
    from lipsync.store.preflight import check_page, check_readable, receipt_path
    from lipsync.store.segment_file import read_cast

    named = {"texture": texture, "train_texture": train_texture or None, "texture_weights": text_of(texture_weights)}
    named |= {
        "device": device,
        "engine": engine,
        "face.index": face,
        "lips.model": text_of(lips),
        "sandbox.enabled": sandbox or None,
    }
    named |= {"retime.length": length, "retime.timeline": timeline, "others": others}
    named |= {"allow_undubbed": allow_undubbed or None, "mark.enabled": False if no_mark else None}
    named |= {"mark.badge": badge, "mark.consent": consent}
    named |= {"sound.background_db": background_db, "sound.loudness": loudness, "sound.fit": fit or None}
    if no_retime:
        raise UsageError("--no-retime is now called --timeline keep.")
    if segments is None and cast:
        raise UsageError("--cast names the people of a script: add --segments FILE.")
    if segments is None and others and from_ is None and to is None:
        raise UsageError("--others is for several people: add --segments FILE, --segments auto, or --from and --to.")
    if speech is None and lips_from is None and segments is None:
        raise UsageError("There is nothing to say. Name a SPEECH, --lips-from VIDEO, or --segments FILE.")
    options = load(config, settings(set_, face_at), named)
    asked = {"footage": tuple(footage or ()), "lips_from": lips_from, "mix": mix, "background": background}
    asked |= {"span": None if from_ is None and to is None else (from_, to), "preview_s": preview, "force": force}
    if lips is not None:
        check_readable(lips, "lip model")
    casting = read_cast(cast or ())
    files = _check_files(target, speech, out, segments, casting, asked)
    if report is not None:
        check_page(report, [(target, "target video"), *((file, "file that is read") for file in files)], out, force)
    sandboxed(options, [target, *files], [out, receipt_path(out), *([] if report is None else [report])])
    with progress(quiet, as_json) as hook:
        from lipsync.pipelines.casting import NOBODY, segments_from
        from lipsync.pipelines.dub import dub as make

        cache = Cache.of(options.cache)
        is_first = cache.is_empty
        found = NOBODY if segments is None else segments_from(segments, target, options, casting, cache, hook)
        asked |= {"segments": found.segments, "notes": found.notes}
        receipt = make(target, speech, out, options, cache=cache, hook=hook, **asked)
        if report is not None:
            from lipsync.pipelines.report_page import write_report

            write_report(out, report, target, cache, hook)
    kept = [kept_pictures(cache)] if is_first and not cache.is_empty else []
    show(receipt.to_plain(), lambda: [*receipt.summary(verbose), *kept], as_json, quiet)


def _check_files(
    target: Path, speech: Path | None, out: Path, segments: str | None, casting: Any, asked: dict[str, Any]
) -> list[Path]:
    """The files that are read beside the target. `dub` checks them, too, but torch takes seconds to come."""
    from lipsync.core.segments import ORIGINAL, seconds_of
    from lipsync.store.preflight import check_paths, check_readable
    from lipsync.store.segment_file import AUTO, check_recordings, labels_of, read_cues

    for time in asked["span"] or ():
        if time is not None:
            seconds_of(time)
    if asked["lips_from"] is not None:
        check_readable(asked["lips_from"], "film of --lips-from")
    script = None if segments in (None, AUTO) else Path(segments)
    cues = [] if script is None else read_cues(script)
    labels_of(cues, casting)
    said = [path for path in (speech, asked["lips_from"], *(cue.speech for cue in cues)) if path is not None]
    files = list(dict.fromkeys(said))
    check_recordings(cues)
    named = {key: asked[key] for key in ("mix", "background") if asked[key] and str(asked[key]) != ORIGINAL}
    sounds = {Path(name): f"file of --{key}" for key, name in named.items()}
    check_paths(target, files, out, asked["footage"], asked["force"], sounds)
    return [*files, *asked["footage"], *sounds, *([] if script is None else [script])]


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

        report = inspect_target(target, options, Cache.of(options.cache), hook)
    show(report.to_plain(), report.lines, as_json)
