"""The page: the people in a target video say given speech. Stages as in Suwajanakorn et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lipsync.config.schema import DubConfig
from lipsync.core.beside import beside
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import drawing_threads, learning_threads, one_thread, opencv_on_one_thread, pick_device
from lipsync.core.segments import Segment, Span
from lipsync.core.texture import TextureMethod
from lipsync.pipelines.asked import Asked, with_notes
from lipsync.pipelines.doubt import DubDoubt
from lipsync.pipelines.marks import Sealing, badge_for, check_marks, mark_for
from lipsync.pipelines.models import Prepared, lip_model_for, resting_model, texture_for
from lipsync.pipelines.others import resting_people
from lipsync.pipelines.output import Dub, Speaker, edit_of, finish, open_writer, receipt_of
from lipsync.pipelines.reenact import Performance, follow_performance, performed
from lipsync.pipelines.script import Script
from lipsync.pipelines.seen import refuse_undubbed
from lipsync.pipelines.sound import DubSound
from lipsync.provenance.certificates import SignBytes
from lipsync.render.loop import Role, Scene, render
from lipsync.render.plan import faces_along, make_plan
from lipsync.store.cache import Cache
from lipsync.store.receipt import Receipt, Stopwatch
from lipsync.target.analyse import analysed, follow_face, follow_films, of_person
from lipsync.target.look import look_of


@one_thread()
@opencv_on_one_thread()
def dub(
    target: str | Path,
    speech: str | Path | None,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: Sequence[str | Path] = (),
    segments: Sequence[Segment] = (),
    span: Span | None = None,
    lips_from: str | Path | None = None,
    mix: str | Path | None = None,
    background: str | Path | None = None,
    notes: Sequence[str] = (),
    preview_s: float | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
    prepared: Prepared | None = None,
    sign: SignBytes | None = None,
) -> Receipt:
    """Writes the video in which the people of `target` say what they are given, and its receipt beside it.

    speech: a recording: all that is said, or what runs beside the target where a segment names no recording of its own;
    footage: more videos of the same person; segments: who says what when, as lipsync/pipelines/casting.py reads them
    from files, the target keeps its time; none = one person says all of `speech`; span: (from, to) in seconds or as
    [[hh:]mm:]ss[.fff], only there `speech` is said, from its beginning; None = from the target's beginning, to its end;
    lips_from: a film of an actor, whose lips are shown, with its own sound where no speech is named; mix: the finished
    sound, which goes into `out` instead of the speech; background: what lies under the speech, "original" = the
    target's own sound; notes: more for the receipt; preview_s: only the first seconds; force: overwrite `out`;
    prepared: what `prepare` made of the same target, footage and configuration, for several speeches; sign: signs bytes
    with the key of `sign.certificate`, in place of `sign.key`. A long dub that was stopped goes on where it was. Raises
    UsageError for options, LipsyncError, MediaError for material that cannot be used; no half video is left behind
    then."""
    cache, watch = cache or Cache.of(config.cache), Stopwatch(hook)
    sound = DubSound.of(mix, background)
    asked = Asked.of(target, speech, out, config, footage, segments, span, lips_from, sound, preview_s)
    identity = check_marks(config, asked.out, sign, force)
    texture, script, sound = asked.checked(config, force, prepared, cache)
    target, film = asked.target, asked.lips_from
    actor = None if film is None else follow_performance(film, asked.speech, config, cache, watch)
    if asked.segments:
        main = prepared.subject.films[0] if prepared else follow_face(target, config, cache, watch)
        script = script.cast(main.person, main.people)

    speakers = []
    for person in script.people:
        ready = prepared if prepared and person in (None, prepared.subject.films[0].person) else None
        ready = ready or prepare(
            target,
            of_person(config, person),
            footage=asked.footage,
            cache=cache,
            hook=watch,
            texture=texture,
            learn=actor is None,
        )
        speakers.append(_speaker(person, ready, script, cache, actor))
        texture = None  # each person has one of his own
    if not config.allow_undubbed:
        refuse_undubbed([(one.plan, one.ready.subject.track, one.said.spoken) for one in speakers])
    resting, unseen = resting_people(target, script, speakers[0].ready, cache, watch)
    made = Dub(asked, config, with_notes(script, (*notes, *unseen)), sound, tuple(speakers), resting)

    stream, faces = speakers[0].ready.subject.films[0].stream, [faces for _, faces in made.drawn]
    mark = mark_for(config.mark, made.content_id)
    badge = badge_for(config.mark, made.labelled, faces, (stream.width, stream.height))
    seal = Sealing(edit_of(made), config.mark, asked.out, identity, badge is not None)
    with open_writer(made, cache, seal) as writer:
        roles = [*(_role(one, config) for one in speakers), *resting.values()]
        device = speakers[0].ready.device
        drawn = render(
            roles, config, device, writer.todo, threads=drawing_threads(device), parts=badge is None, mark=mark
        )
        for rows, frames, beneath in drawn:
            writer.write(frames if badge is None else badge.on(rows, frames), beneath)
            watch("dub", rows.stop, len(made.plan))
        made.receipt_path.unlink(missing_ok=True)  # a receipt must never stand beside another video
    seal.finish()
    receipt = receipt_of(made, writer.facts, watch.seconds, seal.marks)
    finish(made, receipt, cache)
    return receipt


@one_thread()
@opencv_on_one_thread()
def prepare(
    target: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: Sequence[str | Path] = (),
    cache: Cache | None = None,
    hook: Hook = silent,
    texture: TextureMethod | None = None,
    learn: bool = True,
) -> Prepared:
    """What `dub` can use for several speeches of one target, with the same footage and configuration. texture: the
    configured method where it was checked before; learn: a lip model, which a performance does not need. Raises as
    `dub` does."""
    device = pick_device(config.device)
    cache = cache or Cache.of(config.cache)
    films, told = follow_films(Path(target), config, cache, hook, tuple(map(Path, footage)))
    learning = [partial(lip_model_for, films, config.lips, cache, device)] if learn else []
    with beside(learning, learning_threads(1, device)) as models:
        subject = analysed(films, config, cache, hook, told)
        look_of(subject, cache)  # kept for the doubt of each dub
        model = models(hook)[0] if learn else resting_model(subject, cache)
    return Prepared(subject, model, texture_for(subject, config, cache, device, hook, texture), device)


def _role(one: Speaker, config: DubConfig) -> Role:
    """What is drawn of a speaker."""
    subject, method = one.ready.subject, one.ready.method
    scene = Scene.of(subject.films[0].stream, one.faces, subject)
    return Role.of(one.plan, scene, method, config, speech=one.said.embedding, watch=one.doubt.watch)


def _speaker(person: int | None, ready: Prepared, script: Script, cache: Cache, actor: Performance | None) -> Speaker:
    """One person, with what is drawn of him when."""
    config, subject, embed = script.config, ready.subject, "speech" in ready.method.needs
    if actor is None:
        said = script.said_by(person, ready.model, embed=embed)
    else:
        said = performed(actor, subject, ready.model.rest, script, cache, embed=embed)
    plan = make_plan(said.lips, said.voiced, subject, config, script.drawn(person, said.spoken))
    faces = faces_along(subject.track, plan, config.composite.fade_rows)
    return Speaker(person, ready, said, plan, faces, DubDoubt.of(subject, plan, faces, cache, config))
