"""The page: a person in a target video says a given speech. Stages as in Suwajanakorn et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import one_thread, pick_device
from lipsync.core.texture import TextureMethod
from lipsync.core.types import TargetAnalysis
from lipsync.pipelines.doubt import DubDoubt
from lipsync.pipelines.models import check_texture, lip_model_for, texture_for
from lipsync.pipelines.output import Dub, finish, open_writer, receipt_of
from lipsync.render.loop import Scene, render
from lipsync.render.plan import faces_along, make_plan
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import predict_utterance
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_encoder, check_paths, check_speech
from lipsync.store.receipt import Receipt, Stopwatch
from lipsync.target.analyse import analyse


class Prepared(NamedTuple):
    """A target that is ready to say anything: all that does not hang on the speech."""

    subject: TargetAnalysis
    model: LipModel
    method: TextureMethod
    device: torch.device


@one_thread()
def dub(
    target: str | Path,
    speech: str | Path,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: Sequence[str | Path] = (),
    preview_s: float | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
    prepared: Prepared | None = None,
) -> Receipt:
    """Writes the video in which the person of `target` says `speech`, and its receipt beside it.

    footage: more videos of the same person; preview_s: only the first seconds; force: overwrite `out`; prepared: what
    `prepare` made of the same target, footage and configuration, for several speeches. A long dub that was stopped goes
    on where it was. Raises UsageError for options, LipsyncError, MediaError for material that cannot be used; no half
    video is left behind then."""
    target, speech, out, more = Path(target), Path(speech), Path(out), tuple(map(Path, footage))
    texture = _check(target, speech, out, more, config, force, prepared)
    cache, watch = cache or Cache(config.cache.folder or None), Stopwatch(hook)

    subject, model, method, device = prepared or prepare(
        target, config, footage=more, cache=cache, hook=watch, texture=texture
    )
    said = predict_utterance(
        speech, model, subject.video.clock, config, embed="speech" in method.needs, preview_s=preview_s
    )
    plan = make_plan(said.lips, said.voiced, subject, config)
    faces = faces_along(subject.track, plan, config.composite.fade_rows)
    scene = Scene(subject.films[0].stream, faces, subject.bank.space, subject.teeth)
    doubt = DubDoubt.of(subject, plan, faces, cache, config)
    made = Dub(subject, speech, said, plan, out, more, config, preview_s)

    with open_writer(made, cache) as writer:
        for rows, frames in render(
            plan, scene, method, config, device, speech=said.embedding, start=writer.n_done, watch=doubt.watch
        ):
            writer.write(frames)
            watch("dub", rows.stop, len(plan))
        made.receipt_path.unlink(missing_ok=True)  # a receipt must never stand beside another video
    receipt = receipt_of(made, model, method, writer.facts, doubt.report(), watch.seconds)
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


def _check(
    target: Path,
    speech: Path,
    out: Path,
    footage: tuple[Path, ...],
    config: DubConfig,
    force: bool,
    prepared: Prepared | None,
) -> TextureMethod:
    """The texture method, after all that can be refused before any work; what depends on the target alone is known good
    where it is prepared."""
    validate(config)
    check_paths(target, speech, out, footage, force)
    check_speech(speech, config.input_limits)
    check_encoder(out, config.write)
    return check_texture(config) if prepared is None else prepared.method
