"""How long a speech is, and where a film's sound ends, without decoding all of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from audio.load import _decoded, _existing, _Unreadable
from media import MediaError
from media.container import InputLimits, open_media
from media.demux import decoded
from media.holes import HOLE_S, silences
from media.sound import time_of
from media.tracks import sound_track


def speech_length(path: str | Path, limits: InputLimits = InputLimits()) -> Fraction:
    """Seconds of sound in a file, as its header states or else as its packets say; its first sound is decoded.

    May be off where a header lies: `load_speech` counts. MediaError as there.
    """
    path = _existing(path)
    try:
        with _decoded(path, [], limits):
            pass
        length_s = _by_packets(path, limits)
    except _Unreadable as trouble:
        length_s = _by_soundfile(path, trouble)
    if length_s <= 0:
        raise MediaError(f"{path} holds no sound (0 samples). Record it again.")
    return length_s


def sound_end(path: Path, near_s: Fraction, limits: InputLimits = InputLimits()) -> Fraction | None:
    """Seconds on the file's own clock at which its sound ends, decoded from about `near_s` on; None: nothing sounds
    there."""
    end_s = None
    with open_media(path, limits) as container:
        track, _ = sound_track(container, path, limits)
        if track is None or track.codec_context is None:
            return None
        container.seek(max(0, round(near_s / track.time_base)), stream=track)
        for frame in decoded(container, track):
            if frame is not None and (start_s := time_of(frame)) is not None:
                end_s = max(end_s or start_s, start_s + Fraction(frame.samples, frame.sample_rate))
    return end_s


def _by_packets(path: Path, limits: InputLimits) -> Fraction:
    """Holes in the timestamps are silence, as `load_speech` has it."""
    with open_media(path, limits) as container:
        track, _ = sound_track(container, path, limits)
        if track is None or track.duration:
            return Fraction(0) if track is None else track.duration * track.time_base
        parts = silences(_spans(container, track))
        return sum((hole_s + length_s for hole_s, length_s in parts), Fraction(0))


def _spans(container: Any, track: Any) -> Iterator[tuple[Fraction | None, Fraction, Fraction]]:
    """Start, length, and length again of every packet; one that states none lasts until the next."""
    for packet, after in pairwise(chain(_packets(container, track), [None])):
        start, ticks = packet.pts, packet.duration or 0
        if not ticks and None not in (start, after and after.pts):
            ticks = after.pts - start if 0 < (after.pts - start) * packet.time_base <= HOLE_S else 0
        length_s = ticks * packet.time_base
        yield None if start is None else start * packet.time_base, length_s, length_s


def _packets(container: Any, track: Any) -> Iterator[Any]:
    from av.error import FFmpegError

    try:
        yield from (packet for packet in container.demux(track) if packet.size)
    except FFmpegError:  # damage near the end: what came before counts
        return


def _by_soundfile(path: Path, trouble: _Unreadable) -> Fraction:
    import soundfile

    try:
        facts = soundfile.info(str(path))
        return Fraction(facts.frames, facts.samplerate)
    except (soundfile.SoundFileError, OSError, ZeroDivisionError):
        raise MediaError(f"{path} {trouble}. Give a WAV, FLAC, MP3, M4A, OGG file or a video with sound.") from None
