"""The page: a person in a target video says a given speech. Stages as in Suwajanakorn, Seitz, Kemelmacher-Shlizerman
2017."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from audio.features import speech_features
from audio.load import Waveform, load_speech
from audio.vad import voice_activity
from lipsync.config.load import to_plain, validate
from lipsync.config.schema import DubConfig
from lipsync.core.lips import close_when_silent
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import one_thread, pick_device
from lipsync.core.texture import TextureMethod
from lipsync.core.timebase import lips_at, output_clock, voiced_at
from lipsync.core.types import DubPlan, TargetAnalysis
from lipsync.pipelines.models import check_texture, lip_model_for, texture_facts, texture_for
from lipsync.render.composite import composite
from lipsync.render.plan import build_query, faces_along, frames_along, make_plan
from lipsync.render.retime import pause_motion, retime
from lipsync.render.teeth import sharpen_teeth
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import speech_embedding
from lipsync.store.cache import Cache, content_hash, step_key
from lipsync.store.fingerprint import fingerprint
from lipsync.store.preflight import check_encoder, check_paths, receipt_path
from lipsync.store.receipt import MADE_BY, Receipt, Stopwatch, own_version, spans_passed_through, versions
from lipsync.target.analyse import analyse
from video.ranges import RangedWriter
from video.write import VideoWriter


@one_thread()
def dub(
    target: str | Path,
    speech: str | Path,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: tuple = (),
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
    target, speech, out, footage = Path(target), Path(speech), Path(out), tuple(map(Path, footage))
    validate(config)
    check_paths(target, speech, out, footage, force)
    check_encoder(out, config.write)
    if prepared is None:
        check_texture(config)
    cache = cache or Cache(config.cache.folder or None)
    hook = Stopwatch(hook)

    wave, speech_sha256 = load_speech(speech, config.input_limits), content_hash(speech)
    subject, model, method, device = prepared or prepare(target, config, footage=footage, cache=cache, hook=hook)
    length_s = (
        wave.duration_s if preview_s is None else min(wave.duration_s, Fraction(preview_s).limit_denominator(1000))
    )
    clock = output_clock(length_s, like=subject.video.clock)
    voiced = voiced_at(voice_activity(wave), clock)
    features, sounds = (
        speech_features(wave, model.spec),
        speech_embedding(wave, clock) if getattr(method, "hears", False) else None,
    )
    wave = wave.without_samples()
    lips = close_when_silent(lips_at(model.speak(features), clock), voiced, model.rest, config.lips.pause_s)
    del features  # these, too, are as long as the speech
    plan = make_plan(lips, voiced, subject, config)
    shown = faces_along(subject.track, plan, config.composite.fade_rows)
    space = subject.bank.space
    key = fingerprint(subject.video.sha256, speech_sha256, [content_hash(path) for path in footage], config, preview_s)
    ranges = unfinished_ranges(key, plan, out, config, cache)

    with open_writer(out, subject, plan, speech, speech_sha256, length_s, config, ranges) as writer:
        for rows, frames in frames_along(subject.films[0].stream, plan, config.batch, writer.n_done):
            frames = frames.to(device)
            mouth = method.render(build_query(plan, shown, space, rows, frames, method.radius, sounds))
            mouth = sharpen_teeth(mouth, subject.teeth, plan.lips.points[rows], space, config.teeth)
            writer.write(composite(frames, mouth, plan.lips.points[rows], shown, rows, space, config.composite))
            hook("dub", rows.stop, len(plan))
        receipt_path(out).unlink(missing_ok=True)  # a receipt must never stand beside another video

    receipt = write_up(key, config, wave, speech_sha256, subject, model, method, plan, voiced, writer, hook)
    receipt.save(receipt_path(out))
    if ranges is not None:
        shutil.rmtree(ranges, ignore_errors=True)
    return receipt


class Prepared(NamedTuple):
    """A target that is ready to say anything: all that does not hang on the speech."""

    subject: TargetAnalysis
    model: LipModel
    method: TextureMethod
    device: torch.device


@one_thread()
def prepare(
    target: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: tuple = (),
    cache: Cache | None = None,
    hook: Hook = silent,
) -> Prepared:
    """What `dub` can use for several speeches of one target, with the same footage and configuration. Raises as `dub`
    does."""
    device = pick_device(config.device)
    cache = cache or Cache(config.cache.folder or None)
    subject = analyse(Path(target), config, cache, hook, tuple(map(Path, footage)))
    model = lip_model_for(subject, config.lips, cache, device, hook)
    return Prepared(subject, model, texture_for(subject, config, cache, device, hook), device)


def open_writer(
    out: Path,
    subject: TargetAnalysis,
    plan: DubPlan,
    speech: Path,
    speech_sha256: str,
    length_s: Fraction,
    config: DubConfig,
    ranges: Path | None,
) -> VideoWriter | RangedWriter:
    """The output file: the target's size, clock and colours, the speech, and metadata that say what this video is.
    ranges: a folder for the pieces of a long one."""
    stream = subject.films[0].stream
    origin = f"target sha256 {subject.video.sha256}, speech sha256 {speech_sha256}"
    metadata = {
        "title": f"{subject.video.path.stem} (AI-edited: lips re-synthesised to match other speech)",
        "comment": f"{MADE_BY} {own_version()} (texture: {config.texture}): the mouth in this video was synthesised. Made from {origin}.",
        "digital_source_type": "compositeWithTrainedAlgorithmicMedia",
    }
    Writer = (
        VideoWriter if ranges is None else partial(RangedWriter, folder=ranges, range_rows=rows_of_range(plan, config))
    )
    return Writer(
        out,
        width=stream.width,
        height=stream.height,
        clock=plan.clock,
        colour=stream.colour,
        codec=config.write.codec,
        crf=config.write.crf,
        preset=config.write.preset,
        speech=speech,
        metadata=metadata,
        sample_aspect=stream.sample_aspect,
        audio_end_s=min(length_s, plan.clock.duration_s + 1 / plan.clock.rate),
    )


def rows_of_range(plan: DubPlan, config: DubConfig) -> int:
    """Output rows that are written to one file; whole batches, so that a dub that goes on draws the same batches."""
    return max(1, round(config.write.range_s * plan.clock.rate / config.batch)) * config.batch


def unfinished_ranges(key: str, plan: DubPlan, out: Path, config: DubConfig, cache: Cache) -> Path | None:
    """Where the ranges of a long dub wait to be joined: the same folder for the same dub by the same libraries. None:
    it is short."""
    if len(plan) <= rows_of_range(plan, config):
        return None
    drawn = hashlib.sha256(plan.source.tobytes() + plan.half.tobytes() + plan.lips.points.tobytes()).hexdigest()
    return cache.unfinished(
        "ranges", step_key("ranges", 1, versions() | {"suffix": out.suffix}, [key, drawn]), label=out.name
    )


def write_up(
    key: str,
    config,
    wave: Waveform,
    speech_sha256: str,
    subject: TargetAnalysis,
    model,
    method,
    plan: DubPlan,
    voiced: np.ndarray,
    writer,
    watch: Stopwatch,
) -> Receipt:
    """The receipt of a finished dub."""
    track, rate = subject.track, float(subject.video.clock.rate)
    played = retime(voiced, subject.motion, track.valid, track.shot, rate, replace(config.retime, enabled=False))
    of_films = [note for film in subject.films for note in film.stream.notes]
    notes = [*wave.notes, *subject.notes, *of_films, *writer.facts.notes, *filter(None, [model.report.get("warning")])]
    return Receipt(
        {
            "id": key,
            "made_by": versions(),
            "ai_edited": "the mouth in this video was synthesised to match other speech",
            "inputs": {
                "target": {"path": str(subject.video.path), "sha256": subject.video.sha256},
                "speech": {"path": wave.name, "sha256": speech_sha256, "duration_s": float(wave.duration_s)},
                "footage": [{"path": str(f.video.path), "sha256": f.video.sha256} for f in subject.films[1:]],
            },
            "config": to_plain(config),
            "output": {
                "path": str(writer.path),
                "frames": len(plan),
                "duration_s": float(plan.clock.duration_s),
                "rate": str(plan.clock.rate),
                "bytes": writer.facts.n_bytes,
                "speech": writer.facts.audio,
                "sha256": content_hash(writer.path),
            },
            "lips": model.report,
            "texture": texture_facts(method),
            "mouths": len(subject.bank),
            "retiming": {
                "pause_motion": pause_motion(plan, voiced, subject.motion, track.valid),
                "pause_motion_without": pause_motion(played, voiced, subject.motion, track.valid),
                "seeks": plan.seeks.tolist(),
                "half_steps": int(plan.half.sum()),
            },
            "plan": {"source": plan.source.tolist(), "half": plan.half.astype(int).tolist()},
            "rendered_share": float(plan.render.mean()),
            "passed_through": spans_passed_through(plan, subject.track),
            "notes": notes,
            "seconds": watch.seconds,
        }
    )
