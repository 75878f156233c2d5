"""What a dub leaves: the video, with marks that say what it is, and its receipt."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from audio.soundtrack import Soundtrack
from lipsync.config.load import to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.arrays import runs_of
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.text import few_spans, readable
from lipsync.core.timebase import nominal_rate
from lipsync.core.types import DubPlan, TargetAnalysis
from lipsync.pipelines.asked import Asked
from lipsync.pipelines.carried import carry_of, with_targets
from lipsync.pipelines.doubt import DubDoubt
from lipsync.pipelines.marks import labelled_rows
from lipsync.pipelines.models import Prepared, texture_facts
from lipsync.pipelines.script import Script
from lipsync.pipelines.seen import MOST_SPANS, changed_spans, picture_seen
from lipsync.pipelines.sound import DubSound, lost_sound, own_sound_end, sound_of
from lipsync.provenance.consent import consent_of
from lipsync.provenance.labels import AIGC, aigc_label
from lipsync.provenance.manifest import SOURCE_TYPE, Edit, Ingredient
from lipsync.render.loop import Role
from lipsync.render.mark import ID_DIGITS
from lipsync.render.plan import PlannedFaces
from lipsync.render.retime import pause_motion, played
from lipsync.speech.predict import Utterance
from lipsync.store.cache import Cache, content_hash, step_key
from lipsync.store.fingerprint import fingerprint
from lipsync.store.preflight import receipt_path
from lipsync.store.receipt import (
    MADE_BY,
    InputFile,
    Inputs,
    Marks,
    Output,
    PlannedRows,
    Receipt,
    Retiming,
    SaidSegment,
    SpeakerFacts,
    SpeechFile,
    merged_doubt,
    own_version,
    spans_passed_through,
    versions,
)
from video.codecs import encoder_of
from video.ranges import RangedWriter
from video.splice import ENCODER_OF, CannotSplice, Splice, SplicedWriter, plan_splice
from video.write import Seal, VideoWriter, WrittenVideo


@dataclass(frozen=True)
class Speaker:
    """One person who speaks in a dub. person: as `face.index` counts, None = the one that the options choose."""

    person: int | None
    ready: Prepared
    said: Utterance
    plan: DubPlan
    faces: PlannedFaces
    doubt: DubDoubt


@dataclass(frozen=True)
class Dub:
    """One dub under way: everything that its output and its receipt say. The speakers have plans of the same rows;
    resting: others, by number as `face.index` counts, whose lips are drawn at rest."""

    asked: Asked
    config: DubConfig
    script: Script
    sound: DubSound
    speakers: tuple[Speaker, ...]
    resting: Mapping[int, Role] = field(default_factory=dict[int, Role])

    @property
    def drawn(self) -> list[tuple[DubPlan, PlannedFaces]]:
        """Of everybody whose mouth is drawn."""
        speakers = [(one.plan, one.faces) for one in self.speakers]
        return speakers + [(role.plan, role.scene.faces) for role in self.resting.values()]

    @property
    def out(self) -> Path:
        return self.asked.out

    @property
    def subject(self) -> TargetAnalysis:
        """Of the first speaker; what it says of the film holds for all."""
        return self.speakers[0].ready.subject

    @property
    def plan(self) -> DubPlan:
        """Of the first speaker; rows, frames and clock are those of all."""
        return self.speakers[0].plan

    @property
    def receipt_path(self) -> Path:
        return receipt_path(self.out)

    @cached_property
    def fingerprint(self) -> str:
        """What it is made from, as one number."""
        footage = [content_hash(path) for path in self.asked.footage]
        speech = "" if self.script.speech is None else content_hash(self.script.speech)
        said = [
            [str(one.start_s), str(one.end_s), str(one.person), one.speech and content_hash(one.speech)]
            for one in (self.script.segments or () if self.script.partly else ())
        ]
        if self.asked.lips_from is not None:
            said.append(["lips", content_hash(self.asked.lips_from)])
        other = [content_hash(one) if isinstance(one, Path) else one for one in (self.sound.mix, self.sound.background)]
        return fingerprint(
            self.subject.video.sha256,
            speech,
            footage,
            self.config,
            self.script.preview_s,
            segments=said,
            sounds=other if any(other) else (),
        )

    @property
    def content_id(self) -> str:
        """What the watermark holds: the beginning of the fingerprint."""
        return self.fingerprint[:ID_DIGITS]

    @cached_property
    def audio_end_s(self) -> Fraction:
        """Where the sound is cut: with the speech, and about where the picture ends; the target's own goes on to its
        end."""
        clock, said_s = self.plan.clock, self.speakers[0].said.length_s
        picture_s = clock.duration_s + 1 / nominal_rate(clock)
        if self.sound.mix is not None:
            return picture_s
        end_s = min(said_s, picture_s)
        if not self.script.partly or self.script.preview_s is not None:
            return end_s
        film, limits = self.subject.films[0].stream, self.config.input_limits
        return max(end_s, own_sound_end(self.script.segments or (), film, limits))

    @cached_property
    def heard(self) -> tuple[Path | Soundtrack | None, list[str]]:
        """What goes into the output, and notes on it."""
        segments = self.script.segments if self.script.partly else None
        sound, notes = sound_of(
            self.sound, self.script.speech, segments, self.subject.films[0].stream, self.audio_end_s, self.config
        )
        whole = self.script.segments is None and self.script.preview_s is None  # else the script tells of it
        lost = lost_sound(self.speakers[0].said.length_s, self.plan.clock) if whole and self.sound.mix is None else []
        return sound, [*self.sound.notes, *notes, *lost]

    @cached_property
    def labelled(self) -> np.ndarray:
        """(N,) bool: the rows that bear the label."""
        in_parts, rate = bool(self.script.segments) and not self.script.whole, float(nominal_rate(self.plan.clock))
        return labelled_rows(self.config.mark, [faces for _, faces in self.drawn], in_parts, rate)

    @property
    def rows_of_range(self) -> int:
        """Rows written to one file; whole batches, so that a dub that goes on draws the same batches."""
        config = self.config
        return max(1, round(config.write.range_s * nominal_rate(self.plan.clock) / config.batch)) * config.batch

    @property
    def is_long(self) -> bool:
        """Written in ranges that a stopped dub goes on from."""
        return len(self.plan) > self.rows_of_range


def open_writer(dub: Dub, cache: Cache, seal: Seal | None = None) -> VideoWriter | RangedWriter:
    """The output file: the target's size, clock and colours, the speech, and metadata that say what this video is. Its
    picture is copied from the target where only parts are drawn and that can be done. seal: as for `VideoWriter`."""
    splice, notes = _splice_of(dub)
    stream, plan, write = dub.subject.films[0].stream, dub.plan, dub.config.write
    rate = nominal_rate(plan.clock)
    metadata, carry = with_targets(
        _metadata(dub),
        carry_of(stream, plan, dub.script.config.retime.timeline, dub.sound.instead(dub.script.partly)),
        bool(dub.config.sign.certificate),
    )
    common: dict[str, Any] = {
        "clock": plan.clock,
        "rate": rate,
        "metadata": metadata,
        "carry": carry,
        "language": write.language,
        "width": stream.width,
        "height": stream.height,
        "colour": stream.colour,
        "sample_aspect": stream.sample_aspect,
        "like": stream,
        "crf": write.crf,
        "preset": write.preset,
        "speech": dub.heard[0],
        "limits": dub.config.input_limits,
        "notes": notes,
        "audio_end_s": dub.audio_end_s,
        "seal": seal,
    }
    if splice is not None:
        return SplicedWriter(dub.out, splice, **common)
    common |= {"codec": write.codec, "pix_fmt": write.pix_fmt}
    if dub.is_long:
        return RangedWriter(dub.out, _ranges_folder(dub, cache), dub.rows_of_range, **common)
    return VideoWriter(dub.out, **common)


def _splice_of(dub: Dub) -> tuple[Splice | None, list[str]]:
    """How the target's packets are copied around what is drawn; None where they are not, and why, where that was to be
    expected."""
    write, stream = dub.config.write, dub.subject.films[0].stream
    if not dub.script.partly or not write.smart_cut:
        return None, []
    if write.codec != "auto" and encoder_of(write.codec, dub.out.suffix) != ENCODER_OF.get(stream.codec):
        return None, []
    touched = np.any([faces.strength > 0 for _, faces in dub.drawn], axis=0) | dub.labelled
    try:
        return plan_splice(stream, touched, dub.out.suffix.lower()), []
    except CannotSplice as why:
        return None, [f"the whole picture was encoded again, not only the parts that are dubbed: {why}"]


def _metadata(dub: Dub) -> dict[str, str]:
    video, config = dub.subject.video, dub.config
    if not config.mark.enabled:
        return {}
    spans = changed_spans([plan for plan, _ in dub.drawn])
    said = dict.fromkeys(dub.sound.made_from(path)[0] for one in dub.speakers for path in one.said.waves)
    made_from = f"Made from target sha256 {video.sha256}, speech sha256 {', '.join(map(content_hash, said))}."
    if not spans:
        return {"comment": f"Written by lipsync {own_version()}: no mouth was changed. {made_from}"}
    return {
        "title": f"{readable(video.path.stem)} (AI-edited: lips re-synthesised to match other speech)",
        "comment": f"{MADE_BY} {own_version()} (texture: {config.texture}): the mouth in this video was synthesised "
        f"at {few_spans(spans, most=MOST_SPANS)}. {made_from} Watermark {dub.content_id}.",
        "digital_source_type": SOURCE_TYPE,
    } | ({AIGC: aigc_label(config.mark.aigc, dub.fingerprint)} if config.mark.aigc else {})


def _ranges_folder(dub: Dub, cache: Cache) -> Path:
    """Where the ranges of a long dub wait to be joined: the same folder for the same dub by the same libraries."""
    plan = dub.plan
    lips = b"".join(one.lips.points.tobytes() for one, _ in dub.drawn)
    drawn = hashlib.sha256(plan.source.tobytes() + plan.half.tobytes() + lips).hexdigest()
    key = step_key("ranges", 2, versions() | {"suffix": dub.out.suffix}, [dub.fingerprint, drawn])
    return cache.unfinished("ranges", key, label=dub.out.name)


def edit_of(dub: Dub) -> Edit:
    """What the content credentials of a dub say."""
    target, footage = dub.asked.target, dub.asked.footage
    heard = dict.fromkeys(dub.sound.made_from(path)[0] for one in dub.speakers for path in one.said.waves)
    heard |= dict.fromkeys(one for one in (dub.sound.mix, dub.sound.background) if isinstance(one, Path))
    seen = [one for one in (dub.asked.lips_from, *footage) if one is not None and one not in heard]
    named = [(target, "parentOf"), *((one, "componentOf") for one in heard), *((one, "inputTo") for one in seen)]
    return Edit(
        dub.out.name,
        dub.fingerprint,
        dub.content_id,
        own_version(),
        changed_spans([plan for plan, _ in dub.drawn]),
        [Ingredient(path, how, content_hash(path)) for path, how in named],
        consent_of(dub.config.mark.consent),
    )


def receipt_of(dub: Dub, written: WrittenVideo, seconds: dict[str, float], marks: Marks) -> Receipt:
    """The receipt of a dub whose video is written."""
    subject, plan, speakers = dub.subject, dub.plan, dub.speakers
    changed = changed_spans([plan for plan, _ in dub.drawn])
    shown = few_spans(changed, most=MOST_SPANS)
    of_films = [note for film in subject.films for note in film.stream.notes]
    of_models = [
        f"face {one.ready.subject.films[0].person}: {warning}" if len(speakers) > 1 else warning
        for one in speakers
        if (warning := one.ready.model.report.get("warning"))
    ]
    of_speeches = [note for one in speakers for wave in one.said.waves.values() for note in wave.notes]
    of_speeches += [note for one in speakers for note in one.said.notes]
    of_people = [note for one in speakers for note in one.ready.subject.notes]
    notes = [*of_speeches, *dub.script.notes, *dub.heard[1], *of_people, *of_films, *written.notes, *of_models]
    return Receipt(
        id=dub.fingerprint,
        made_by=versions(),
        ai_edited=f"the mouth was synthesised to match other speech at {shown}" if changed else "",
        changed=changed,
        inputs=_inputs(dub),
        config=to_plain(dub.config),
        output=_output(dub, written),
        marks=marks,
        people=subject.films[0].people,
        speakers=[_facts_of(one) for one in speakers],
        resting=list(dub.resting),
        retiming=_retiming(dub),
        plan=PlannedRows(source=plan.source.tolist(), half=plan.half.astype(int).tolist()),
        rendered_share=_rendered_share(speakers),
        passed_through=list(
            dict.fromkeys(
                span
                for one in speakers
                for span in spans_passed_through(one.plan, one.ready.subject.track, one.said.spoken)
            )
        ),
        doubt=merged_doubt([one.doubt.report() for one in speakers], dub.config.doubt.spans),
        notes=list(dict.fromkeys(notes)),
        details=list(written.details),
        seconds=seconds,
    )


def _rendered_share(speakers: Sequence[Speaker]) -> float:
    """Of the rows in which somebody is to be dubbed, those in which everybody was who was to be."""
    n = len(speakers[0].plan)
    asked = np.any([one.said.spoken[:n] for one in speakers], axis=0)
    made = np.all([one.plan.render | ~one.said.spoken[:n] for one in speakers], axis=0)
    return float(made[asked].mean()) if asked.any() else 0.0


def _facts_of(one: Speaker) -> SpeakerFacts:
    """What the receipt says of one speaker."""
    n, drawn = len(one.plan), one.plan.render
    spoken, gap = one.said.spoken[:n], opening(one.plan.lips.points)
    closed_gap = float(opening(one.ready.model.rest)) + CLOSED_GAP
    ends = np.append(one.plan.clock.seconds, float(one.plan.clock.duration_s))

    def spans_of(rows: np.ndarray) -> list[list[float]]:
        return [[round(float(ends[first]), 3), round(float(ends[after]), 3)] for first, after in runs_of(rows)]

    return SpeakerFacts(
        person=one.ready.subject.films[0].person,
        spans=spans_of(spoken),
        rendered_share=float(one.plan.render[spoken].mean()) if spoken.any() else 0.0,
        lips=one.ready.model.report,
        texture=texture_facts(one.ready.method),
        mouths=len(one.ready.subject.bank),
        opening=[round(float(value), 3) if seen else None for value, seen in zip(gap, drawn, strict=True)],
        closed_gap=round(closed_gap, 3),
        closures=spans_of(drawn & one.said.voiced[:n] & (gap < closed_gap)),
    )


def _inputs(dub: Dub) -> Inputs:
    video = dub.subject.video
    waves = {path: wave for one in dub.speakers for path, wave in one.said.waves.items()}

    def speech_of(path: Path | None) -> SpeechFile:
        if path is None or path not in waves:
            return SpeechFile()
        own, tempo = dub.sound.made_from(path)
        return SpeechFile(own.name, content_hash(own), float(waves[path].duration_s * tempo), float(tempo))

    def file_of(path: Path | str | None) -> InputFile:
        return InputFile(str(path), content_hash(path)) if isinstance(path, Path) else InputFile(path or "")

    segments = dub.script.segments or () if dub.script.partly else ()
    return Inputs(
        target=InputFile(str(video.path), video.sha256),
        speech=speech_of(dub.script.speech),
        lips_from=file_of(dub.asked.lips_from),
        footage=[InputFile(str(film.video.path), film.video.sha256) for film in dub.subject.films[1:]],
        segments=[
            SaidSegment(float(one.start_s), float(one.end_s), one.person, speech_of(one.speech or dub.script.speech))
            for one in segments
        ],
        mix=file_of(dub.sound.mix),
        background=file_of(dub.sound.background),
    )


def _output(dub: Dub, written: WrittenVideo) -> Output:
    clock = dub.plan.clock
    return Output(
        path=str(dub.out),
        frames=len(dub.plan),
        duration_s=float(clock.duration_s),
        rate=str(nominal_rate(clock)),
        bytes=written.n_bytes,
        speech=written.audio,
        sha256=content_hash(dub.out),
    )


def _retiming(dub: Dub) -> Retiming:
    """How much the head moves in pauses, and how much it would if the target were played as it is."""
    subject, plan, track, voiced = dub.subject, dub.plan, dub.subject.track, dub.speakers[0].said.voiced
    plain = played(len(voiced), track.shot)
    return Retiming(
        timeline=dub.script.config.retime.timeline,
        picture=picture_seen(plan, subject.video.clock, dub.script.config.retime.timeline),
        pause_motion=pause_motion(plan, voiced, subject.motion, track.valid),
        pause_motion_without=pause_motion(plain, voiced, subject.motion, track.valid),
        seeks=plan.seeks.tolist(),
        half_steps=int(plan.half.sum()),
    )


def finish(dub: Dub, receipt: Receipt, cache: Cache) -> None:
    """Keeps the receipt; what was kept to go on from is no longer needed."""
    receipt.save(dub.receipt_path)
    if dub.is_long:
        shutil.rmtree(_ranges_folder(dub, cache), ignore_errors=True)
