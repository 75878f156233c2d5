"""From a recording to lips, on the clock they are wanted on."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from audio.load import Waveform, load_speech
from lipsync.config.schema import DubConfig
from lipsync.core.lips import close_when_silent, with_every_closure
from lipsync.core.timebase import lips_at, output_clock, pieces_at, voiced_at
from lipsync.core.types import LipTrack
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import content_hash
from video.clock import FrameClock


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording as lips on the output clock. wave: what is known of it, without its samples; length_s: of it that is
    said; voiced: (N,) bool; embedding: (N,256) float32 of `speech_embedding`, where a texture method needs it."""

    wave: Waveform
    sha256: str
    length_s: Fraction
    lips: LipTrack
    voiced: np.ndarray
    embedding: np.ndarray | None


def predict_utterance(
    speech: Path,
    model: LipModel,
    like: FrameClock,
    config: DubConfig,
    *,
    embed: bool = False,
    preview_s: float | None = None,
) -> Utterance:
    """What `speech` says, at the frame rate of `like`. embed: for methods that need speech. MediaError: unreadable."""
    wave = load_speech(speech, config.input_limits)
    length_s = wave.duration_s
    if preview_s is not None:
        length_s = min(length_s, Fraction(preview_s).limit_denominator(1000))
    clock = output_clock(length_s, like=like)
    embedding = speech_embedding(wave, clock) if embed else None
    lips, voiced = lips_for(model.predict(wave), voice_activity(wave), clock, model.rest, config.lips.pause_s)
    wave = wave.without_samples()  # an hour's would lie beside the pictures
    return Utterance(wave, content_hash(speech), length_s, lips, voiced, embedding)


def lips_for(
    predicted: LipTrack, voice: np.ndarray, clock: FrameClock | None, rest: np.ndarray, pause_s: float
) -> tuple[LipTrack, np.ndarray]:
    """Predicted lips at the frames of `clock`, closed in pauses, and (N,) bool when somebody speaks there.

    predicted, voice: 100 per second; clock: None = leave them so; rest: (18,2) this person's closed lips.
    """
    lips, voiced = predicted, voice
    if clock is not None:
        lips, voiced = with_every_closure(lips_at(predicted, clock), predicted, rest), voiced_at(voice, clock)
    return close_when_silent(lips, voiced, rest, pause_s), voiced


def speech_embedding(wave: Waveform, clock: FrameClock) -> np.ndarray:
    """(N,256) float32: what the LSTM of the bundled log-mel lip model makes of the sound at the frames of `clock`. The
    same for everybody and in every version, so that a texture's weights do not hang on another lip model."""
    return pieces_at(bundled_lip_model("logmel").embed(wave), clock)
