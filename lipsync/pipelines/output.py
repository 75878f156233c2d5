"""What a dub leaves: the video, with marks that say what it is, and its receipt."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lipsync.config.load import to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.texture import TextureMethod
from lipsync.core.types import DubPlan, TargetAnalysis
from lipsync.pipelines.models import texture_facts
from lipsync.render.retime import pause_motion, retime
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import Utterance
from lipsync.store.cache import Cache, content_hash, step_key
from lipsync.store.fingerprint import fingerprint
from lipsync.store.preflight import receipt_path
from lipsync.store.receipt import (
    MADE_BY,
    Doubt,
    InputFile,
    Inputs,
    Output,
    PlannedRows,
    Receipt,
    Retiming,
    SpeechFile,
    own_version,
    spans_passed_through,
    versions,
)
from video.ranges import RangedWriter
from video.write import VideoWriter, WrittenVideo


@dataclass(frozen=True)
class Dub:
    """One dub under way: everything that its output and its receipt say."""

    subject: TargetAnalysis
    speech: Path
    said: Utterance
    plan: DubPlan
    out: Path
    footage: tuple[Path, ...]
    config: DubConfig
    preview_s: float | None

    @property
    def receipt_path(self) -> Path:
        return receipt_path(self.out)

    @cached_property
    def fingerprint(self) -> str:
        """What it is made from, as one number."""
        footage = [content_hash(path) for path in self.footage]
        return fingerprint(self.subject.video.sha256, self.said.sha256, footage, self.config, self.preview_s)

    @property
    def rows_of_range(self) -> int:
        """Rows written to one file; whole batches, so that a dub that goes on draws the same batches."""
        config = self.config
        return max(1, round(config.write.range_s * self.plan.clock.rate / config.batch)) * config.batch

    @property
    def is_long(self) -> bool:
        """Written in ranges that a stopped dub goes on from."""
        return len(self.plan) > self.rows_of_range


def open_writer(dub: Dub, cache: Cache) -> VideoWriter | RangedWriter:
    """The output file: the target's size, clock and colours, the speech, and metadata that say what this video is."""
    stream, plan, write = dub.subject.films[0].stream, dub.plan, dub.config.write
    common: dict[str, Any] = {
        "clock": plan.clock,
        "metadata": _metadata(dub),
        "width": stream.width,
        "height": stream.height,
        "colour": stream.colour,
        "sample_aspect": stream.sample_aspect,
        "codec": write.codec,
        "crf": write.crf,
        "preset": write.preset,
        "speech": dub.speech,
        "limits": dub.config.input_limits,
        "audio_end_s": min(dub.said.length_s, plan.clock.duration_s + 1 / plan.clock.rate),
    }
    if dub.is_long:
        return RangedWriter(dub.out, _ranges_folder(dub, cache), dub.rows_of_range, **common)
    return VideoWriter(dub.out, **common)


def _metadata(dub: Dub) -> dict[str, str]:
    video, config = dub.subject.video, dub.config
    return {
        "title": f"{video.path.stem} (AI-edited: lips re-synthesised to match other speech)",
        "comment": f"{MADE_BY} {own_version()} (texture: {config.texture}): the mouth in this video was synthesised. "
        f"Made from target sha256 {video.sha256}, speech sha256 {dub.said.sha256}.",
        "digital_source_type": "compositeWithTrainedAlgorithmicMedia",
    }


def _ranges_folder(dub: Dub, cache: Cache) -> Path:
    """Where the ranges of a long dub wait to be joined: the same folder for the same dub by the same libraries."""
    plan = dub.plan
    drawn = hashlib.sha256(plan.source.tobytes() + plan.half.tobytes() + plan.lips.points.tobytes()).hexdigest()
    key = step_key("ranges", 1, versions() | {"suffix": dub.out.suffix}, [dub.fingerprint, drawn])
    return cache.unfinished("ranges", key, label=dub.out.name)


def receipt_of(
    dub: Dub,
    model: LipModel,
    method: TextureMethod,
    written: WrittenVideo,
    doubt: Doubt,
    seconds: dict[str, float],
) -> Receipt:
    """The receipt of a dub whose video is written."""
    subject, plan = dub.subject, dub.plan
    of_films = [note for film in subject.films for note in film.stream.notes]
    of_model = filter(None, [model.report.get("warning")])
    return Receipt(
        id=dub.fingerprint,
        made_by=versions(),
        ai_edited="the mouth in this video was synthesised to match other speech",
        inputs=_inputs(dub),
        config=to_plain(dub.config),
        output=_output(dub, written),
        lips=model.report,
        texture=texture_facts(method),
        mouths=len(subject.bank),
        retiming=_retiming(dub),
        plan=PlannedRows(source=plan.source.tolist(), half=plan.half.astype(int).tolist()),
        rendered_share=float(plan.render.mean()),
        passed_through=spans_passed_through(plan, subject.track),
        doubt=doubt,
        notes=[*dub.said.wave.notes, *subject.notes, *of_films, *written.notes, *of_model],
        seconds=seconds,
    )


def _inputs(dub: Dub) -> Inputs:
    video, wave = dub.subject.video, dub.said.wave
    return Inputs(
        target=InputFile(str(video.path), video.sha256),
        speech=SpeechFile(wave.name, dub.said.sha256, float(wave.duration_s)),
        footage=[InputFile(str(film.video.path), film.video.sha256) for film in dub.subject.films[1:]],
    )


def _output(dub: Dub, written: WrittenVideo) -> Output:
    clock = dub.plan.clock
    return Output(
        path=str(dub.out),
        frames=len(dub.plan),
        duration_s=float(clock.duration_s),
        rate=str(clock.rate),
        bytes=written.n_bytes,
        speech=written.audio,
        sha256=content_hash(dub.out),
    )


def _retiming(dub: Dub) -> Retiming:
    """How much the head moves in pauses, and how much it would if the target were played as it is."""
    subject, plan, track, voiced = dub.subject, dub.plan, dub.subject.track, dub.said.voiced
    rate = float(subject.video.clock.rate)
    played = retime(voiced, subject.motion, track.valid, track.shot, rate, replace(dub.config.retime, enabled=False))
    return Retiming(
        pause_motion=pause_motion(plan, voiced, subject.motion, track.valid),
        pause_motion_without=pause_motion(played, voiced, subject.motion, track.valid),
        seeks=plan.seeks.tolist(),
        half_steps=int(plan.half.sum()),
    )


def finish(dub: Dub, receipt: Receipt, cache: Cache) -> None:
    """Keeps the receipt; what was kept to go on from is no longer needed."""
    receipt.save(dub.receipt_path)
    if dub.is_long:
        shutil.rmtree(_ranges_folder(dub, cache), ignore_errors=True)
