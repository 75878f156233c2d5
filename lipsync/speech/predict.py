"""From recordings to lips, on the clock they are wanted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import torch

from audio.load import Waveform, load_speech
from lipsync.config.schema import DubConfig
from lipsync.core.lips import close_when_silent, with_every_closure
from lipsync.core.segments import Segment
from lipsync.core.timebase import lips_at, output_clock, pieces_at, voiced_at
from lipsync.core.types import LipTrack
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity
from video.clock import FrameClock

#: Sound heard beside the first and the last segment, seconds: a network that hears the whole speech needs some.
_AROUND_S = Fraction(2)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one person says, as lips on the output clock. waves: what is known of the recordings, without their samples,
    by path; length_s: of the output that has a sound; voiced: (N,) bool; spoken: (N,) bool, the rows whose mouth is
    drawn; embedding: (N,256) float32 of `speech_embedding`, where a texture method needs it; notes: for the user."""

    waves: dict[Path, Waveform]
    length_s: Fraction
    lips: LipTrack
    voiced: np.ndarray
    spoken: np.ndarray
    embedding: np.ndarray | None
    notes: tuple[str, ...] = ()


def predict_utterance(
    speech: Path,
    model: LipModel,
    like: FrameClock,
    config: DubConfig,
    *,
    embed: bool = False,
    preview_s: float | None = None,
) -> Utterance:
    """All that `speech` says, on a clock of its own at the frame rate of `like`. embed: for methods that need speech.
    MediaError: unreadable."""
    wave = load_speech(speech, config.input_limits)
    length_s = wave.duration_s
    if preview_s is not None:
        length_s = min(length_s, Fraction(preview_s).limit_denominator(1000))
    clock = output_clock(length_s, like=like)
    lips, voiced, embedding = _said(wave, model, clock, config, embed)
    known = {speech: wave.without_samples()}  # an hour's samples would lie beside the pictures
    return Utterance(known, length_s, lips, voiced, np.ones(len(clock), bool), embedding)


def predict_segments(
    segments: Sequence[Segment],
    track: Path | None,
    model: LipModel,
    clock: FrameClock,
    config: DubConfig,
    *,
    embed: bool = False,
) -> Utterance:
    """What one person says in the segments, on the target's own `clock`, at rest elsewhere. track: what is said in
    segments without a file of their own, at their time. MediaError: unreadable."""
    first, last = _rows_around(segments, clock)
    start_s = int(clock.pts[first] - clock.pts[0]) * clock.base
    part = FrameClock(clock.pts[first:last], clock.base, clock.end if last == len(clock) else int(clock.pts[last]))
    waves = {path: load_speech(path, config.input_limits) for path in files_of(segments, track)}
    heard = _placed(segments, track, waves, start_s, part.duration_s)
    lips, voiced, embedding = _said(heard, model, part, config, embed)
    n, rows = len(clock), slice(first, last)
    points, said, spoken = np.tile(model.rest, (n, 1, 1)), np.zeros(n, bool), np.zeros(n, bool)
    points[rows], said[rows] = lips.points, voiced
    for one in segments:
        spoken[rows_of(one, clock)] = True
    if embedding is not None:
        inside, embedding = embedding, np.repeat(embedding[:1], n, 0)
        embedding[rows] = inside
    known = {path: wave.without_samples() for path, wave in waves.items()}
    whole = LipTrack(points.astype(np.float32), np.ones(n, bool), clock)
    return Utterance(known, clock.duration_s, whole, said & spoken, spoken, embedding)


def files_of(segments: Sequence[Segment], track: Path | None) -> list[Path]:
    """The recordings that the segments need, each once."""
    return list(dict.fromkeys(path for one in segments if (path := one.speech or track) is not None))


def rows_of(segment: Segment, clock: FrameClock) -> slice:
    """The frames that are seen in the segment's time: from the one shown at its start to the last that begins before
    its end."""
    ticks = clock.pts - clock.pts[0]
    start, end = floor(segment.start_s / clock.base), ceil(segment.end_s / clock.base)
    if start >= clock.end - clock.pts[0]:  # beyond the end of a preview
        return slice(len(clock), len(clock))
    return slice(max(0, int(np.searchsorted(ticks, start, "right")) - 1), int(np.searchsorted(ticks, end, "left")))


def _rows_around(segments: Sequence[Segment], clock: FrameClock) -> tuple[int, int]:
    """First and one past the last frame from a little before the first segment to a little after the last."""
    start, end = min(one.start_s for one in segments) - _AROUND_S, max(one.end_s for one in segments) + _AROUND_S
    rows = rows_of(Segment(max(start, Fraction(0)), end), clock)
    return min(rows.start, len(clock) - 1), len(clock) if rows.start == rows.stop else rows.stop


def _placed(
    segments: Sequence[Segment], track: Path | None, waves: dict[Path, Waveform], start_s: Fraction, length_s: Fraction
) -> Waveform:
    """The sound of the segments in silence, from `start_s` of the target on."""
    rate = next(iter(waves.values())).rate
    out = torch.zeros(round(length_s * rate))
    for one in segments:
        path = one.speech or track
        if path is None:
            continue
        wave, begin = waves[path], Fraction(0) if one.speech else one.start_s
        said = wave.samples[round(begin * rate) : round((begin + one.end_s - one.start_s) * rate)]
        at = round((one.start_s - start_s) * rate)
        said = said[max(0, -at) : max(0, len(out) - at)]
        out[max(0, at) : max(0, at) + len(said)] = said
    return Waveform(out, length_s, rate, name=" ".join(wave.name for wave in waves.values()))


def _said(
    wave: Waveform, model: LipModel, clock: FrameClock, config: DubConfig, embed: bool
) -> tuple[LipTrack, np.ndarray, np.ndarray | None]:
    """Lips, voiced and embedding (where wanted) of a recording that begins with the clock."""
    embedding = speech_embedding(wave, clock) if embed else None
    lips, voiced = lips_for(model.predict(wave), voice_activity(wave), clock, model.rest, config.lips.pause_s)
    return lips, voiced, embedding


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
