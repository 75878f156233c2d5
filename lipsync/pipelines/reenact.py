"""Lips from a video: what an actor does with his mouth, as the person of the target would do it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from audio.load import Waveform, load_speech
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.lips import CLOSED_GAP, opening, rest_shape, with_every_closure
from lipsync.core.progress import Hook
from lipsync.core.reenact import LipRange, as_person, lips_at_moments, lost_spans
from lipsync.core.text import few_spans
from lipsync.core.timebase import nominal_rate, output_clock, to_feature_clock, voiced_at
from lipsync.core.track import unusable_reasons
from lipsync.core.types import Footage, LipTrack, TargetAnalysis
from lipsync.pipelines.script import Script
from lipsync.speech.predict import Utterance, speech_embedding
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_readable
from lipsync.target.analyse import follow_face, of_person, probed
from lipsync.target.rest import voiced_frames
from video.clock import FrameClock


@dataclass(frozen=True, slots=True)
class Performance:
    """An actor's mouth. film: with his face; range: how he moves his lips; starts_s: seconds on the film's clock at
    which the sound of the dub begins."""

    film: Footage
    range: LipRange
    starts_s: float


def sound_of_film(lips_from: Path | None, speech: Path | None, config: DubConfig) -> Path | None:
    """The sound of a dub: what was named, else the performance's own; None = neither has any."""
    if lips_from is not None:
        check_readable(lips_from, "film of --lips-from")
    if speech is not None or lips_from is None:
        return speech
    return lips_from if probed(lips_from, config).has_audio else None


def follow_performance(
    lips_from: Path, speech: Path | None, config: DubConfig, cache: Cache, hook: Hook
) -> Performance:
    """The face that is seen most in the film. LipsyncError: none is usable."""
    film = follow_face(lips_from, of_person(config, -1), cache, hook)
    if not film.track.valid.any():
        raise LipsyncError(
            f"--lips-from {lips_from} shows no usable face: {unusable_reasons(film.track)}. "
            "Film the actor's face from the front."
        )
    own_sound = speech is not None and speech.exists() and speech.samefile(lips_from)
    starts_s = float(film.stream.audio_start_s or 0) if own_sound else 0.0
    return Performance(film, lip_range(film, cache), starts_s)


def lip_range(film: Footage, cache: Cache, rest: np.ndarray | None = None) -> LipRange:
    """How the person of a film moves the lips while speaking; of one who is never heard, all the time. rest: where it
    is known."""
    lips, voiced = film.track.lips, voiced_frames(film, cache)
    valid = lips.valid & film.track.valid
    if rest is None:
        rest = rest_shape(lips.points, valid, voiced)
    rows = valid & voiced if (valid & voiced).any() else valid
    return LipRange.of(lips.points[rows], rest, float(rows.sum() / nominal_rate(film.video.clock)))


def performed(
    actor: Performance, subject: TargetAnalysis, rest: np.ndarray, script: Script, cache: Cache, *, embed: bool
) -> Utterance:
    """The performance on the output clock, in the range of the subject. rest: (18,2) of the subject; embed: for methods
    that need speech."""
    config, speech = script.config, script.speech
    wave = None if speech is None else load_speech(speech, config.input_limits)
    clock, length_s = _clock(script, actor, wave)
    track = actor.film.track
    person = lip_range(subject.films[0], cache, rest)
    points = as_person(track.lips.points, actor.range, person)
    own = LipTrack(points, track.lips.valid & track.valid, actor.film.video.clock)
    lips, found = _on_clock(own, clock, actor.starts_s, rest)
    voiced = opening(lips.points) > opening(rest) + CLOSED_GAP if wave is None else _voiced(wave, clock)
    if embed and wave is None:
        raise UsageError(f"The texture {config.texture} listens to speech: name a SPEECH, or a film with sound.")
    return Utterance(
        waves={} if wave is None or speech is None else {speech: wave.without_samples()},
        length_s=length_s,
        lips=lips,
        voiced=voiced,
        spoken=np.ones(len(clock), bool),
        embedding=speech_embedding(wave, clock) if embed and wave is not None else None,
        notes=_notes(actor, found, clock),
    )


def _clock(script: Script, actor: Performance, wave: Waveform | None) -> tuple[FrameClock, Fraction]:
    """Of the output, and how much of it has a sound."""
    if script.segments is not None:
        clock = script.output_clock
        return clock, clock.duration_s
    length_s = actor.film.video.clock.duration_s if wave is None else wave.duration_s
    if script.preview_s is not None:
        length_s = min(length_s, Fraction(script.preview_s).limit_denominator(1000))
    return output_clock(length_s, like=script.clock), length_s


def _on_clock(own: LipTrack, clock: FrameClock, starts_s: float, rest: np.ndarray) -> tuple[LipTrack, np.ndarray]:
    """The lips at the frames of `clock`, closed wherever they were between two of them; and (N,) bool where a face was
    seen."""
    points, found = lips_at_moments(own, clock.seconds + starts_s, rest)
    n_rows = int(np.ceil(float(own.frames.duration_s) * 100))
    between, skipped = to_feature_clock(own, n_rows), round(starts_s * 100)
    if skipped >= 0 and between.valid[skipped:].all():
        whole = LipTrack(between.points[skipped:], between.valid[skipped:])
        return with_every_closure(LipTrack(points, np.ones(len(points), bool), clock), whole, rest), found
    return LipTrack(points, np.ones(len(points), bool), clock), found


def _voiced(wave: Waveform, clock: FrameClock) -> np.ndarray:
    return voiced_at(voice_activity(wave), clock)


def _notes(actor: Performance, found: np.ndarray, clock: FrameClock) -> tuple[str, ...]:
    if found.all():
        return ()
    where, name = few_spans(lost_spans(found, clock.seconds)), actor.film.video.path.name
    return (f"{name} shows no usable face at {where} of the output; the mouth rests there",)
