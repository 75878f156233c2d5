"""The page: the people in a target video say given speech. Stages as in Suwajanakorn et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import UsageError
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import one_thread, pick_device
from lipsync.core.segments import Segment
from lipsync.core.texture import TextureMethod
from lipsync.pipelines.doubt import DubDoubt
from lipsync.pipelines.models import check_texture, lip_model_for, texture_for
from lipsync.pipelines.output import Dub, Prepared, Speaker, finish, open_writer, receipt_of
from lipsync.pipelines.script import Script, script_of
from lipsync.pipelines.sound import DubSound, fitted_segments, fitted_whole
from lipsync.render.loop import Role, Scene, render
from lipsync.render.plan import faces_along, make_plan
from lipsync.speech.predict import files_of
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_encoder, check_paths, check_speech
from lipsync.store.receipt import Receipt, Stopwatch
from lipsync.target.analyse import analyse, probed


@one_thread()
def dub(
    target: str | Path,
    speech: str | Path | None,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: Sequence[str | Path] = (),
    segments: Sequence[Segment] = (),
    mix: str | Path | None = None,
    background: str | Path | None = None,
    preview_s: float | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
    prepared: Prepared | None = None,
) -> Receipt:
    """Writes the video in which the people of `target` say what they are given, and its receipt beside it.

    speech: a recording: all that is said, or what runs beside the target where a segment names no recording of its own;
    footage: more videos of the same person; segments: who says what when, the target keeps its time; none = one person
    says all of `speech`; mix: the finished sound, which goes into `out` instead of the speech; background: what lies
    under the speech, "original" = the target's own sound; preview_s: only the first seconds; force: overwrite `out`;
    prepared: what `prepare` made of the same target, footage and configuration, for several speeches. A long dub that
    was stopped goes on where it was. Raises UsageError for options, LipsyncError, MediaError for material that cannot
    be used; no half video is left behind then."""
    target, speech, out = Path(target), None if speech is None else Path(speech), Path(out)
    more = tuple(map(Path, footage))
    cache, watch = cache or Cache(config.cache.folder or None), Stopwatch(hook)
    asked = Asked(target, speech, out, more, tuple(segments), DubSound.of(mix, background), preview_s)
    texture, script, sound = _check(asked, config, force, prepared, cache)

    speakers = []
    for person in script.people:
        ready = prepared or prepare(
            target, of_person(config, person), footage=more, cache=cache, hook=watch, texture=texture
        )
        speakers.append(_speaker(person, ready, script, cache))
        texture = None  # each person has one of his own
    made = Dub(target, script.speech, out, more, config, script, sound, tuple(speakers))

    with open_writer(made, cache) as writer:
        roles = [
            Role.of(
                one.plan,
                Scene(
                    one.ready.subject.films[0].stream, one.faces, one.ready.subject.bank.space, one.ready.subject.teeth
                ),
                one.ready.method,
                config,
                speech=one.said.embedding,
                watch=one.doubt.watch,
            )
            for one in speakers
        ]
        for rows, frames in render(roles, config, speakers[0].ready.device, writer.todo):
            writer.write(frames)
            watch("dub", rows.stop, len(made.plan))
        made.receipt_path.unlink(missing_ok=True)  # a receipt must never stand beside another video
    receipt = receipt_of(made, writer.facts, watch.seconds)
    finish(made, receipt, cache)
    return receipt


@one_thread()
def prepare(
    target: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: Sequence[str | Path] = (),
    cache: Cache | None = None,
    hook: Hook = silent,
    texture: TextureMethod | None = None,
) -> Prepared:
    """What `dub` can use for several speeches of one target, with the same footage and configuration. texture: the
    configured method where it was checked before. Raises as `dub` does."""
    device = pick_device(config.device)
    cache = cache or Cache(config.cache.folder or None)
    subject = analyse(Path(target), config, cache, hook, tuple(map(Path, footage)))
    model = lip_model_for(subject, config.lips, cache, device, hook)
    return Prepared(subject, model, texture_for(subject, config, cache, device, hook, texture), device)


def of_person(config: DubConfig, person: int | None) -> DubConfig:
    """The configuration that chooses this person; None = as it is."""
    return config if person is None else replace(config, face=replace(config.face, index=person, at=None))


def _speaker(person: int | None, ready: Prepared, script: Script, cache: Cache) -> Speaker:
    """One person, with what is drawn of him when."""
    config, subject = script.config, ready.subject
    said = script.said_by(person, ready.model, embed="speech" in ready.method.needs)
    plan = make_plan(said.lips, said.voiced, subject, config, said.spoken)
    faces = faces_along(subject.track, plan, config.composite.fade_rows)
    return Speaker(person, ready, said, plan, faces, DubDoubt.of(subject, plan, faces, cache, config))


class Asked(NamedTuple):
    """What `dub` was asked to make of what."""

    target: Path
    speech: Path | None
    out: Path
    footage: tuple[Path, ...]
    segments: tuple[Segment, ...]
    sound: DubSound
    preview_s: float | None


def _check(
    asked: Asked, config: DubConfig, force: bool, prepared: Prepared | None, cache: Cache
) -> tuple[TextureMethod, Script, DubSound]:
    """The texture method, the script and the sound, after all that can be refused before any work; what depends on the
    target alone is known good where it is prepared."""
    validate(config)
    speech, segments, sound = asked.speech, asked.segments, asked.sound
    files = files_of(segments, speech) if segments else [speech] if speech is not None else []
    if not files or (any(one.speech is None for one in segments) and speech is None):
        raise UsageError("There is nothing to say. Name a speech, or one for each segment.")
    sound.check(config.sound)
    check_paths(asked.target, files, asked.out, asked.footage, force, sounds=sound.files)
    lengths = {path: check_speech(path, config.input_limits) for path in (*files, *sound.files)}
    check_encoder(asked.out, config.write)
    method = check_texture(config) if prepared is None else prepared.method
    stream = probed(asked.target, config) if prepared is None else prepared.subject.films[0].stream
    whole_s = Fraction(0)
    if segments:
        segments, sound = fitted_segments(segments, lengths, sound, config, cache)
    elif speech is not None:
        speech, whole_s, sound = fitted_whole(speech, lengths[speech], stream.clock.duration_s, sound, config, cache)
    script = script_of(speech, whole_s, stream.clock, config, segments, asked.preview_s)
    sound.check_original(stream, script.config.retime.timeline, config.retime.length)
    return method, script, sound
