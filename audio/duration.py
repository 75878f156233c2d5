"""How long a speech is, without decoding all of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from audio.load import _decoded, _existing, _Unreadable
from media import MediaError
from media.container import InputLimits, open_media


def speech_length(path: str | Path, limits: InputLimits = InputLimits()) -> Fraction:
    """Seconds of sound in a file, as its header states or else as its packets say; its first sound is decoded.

    May be off where a header lies: `load_speech` counts. MediaError as there.
    """
    path = _existing(path)
    try:
        with _decoded(path, [], limits, fill_gaps=False):
            pass
        length_s = _by_packets(path, limits)
    except _Unreadable as trouble:
        length_s = _by_soundfile(path, trouble)
    if length_s <= 0:
        raise MediaError(f"{path} holds no sound (0 samples). Record it again.")
    return length_s


def _by_packets(path: Path, limits: InputLimits) -> Fraction:
    import av
    import av.error

    with open_media(path, limits) as container:
        track: Any = container.streams.best("audio")  # found by `_decoded` before
        if track.duration:
            return track.duration * track.time_base
        first = last = None
        try:
            for packet in container.demux(track):
                if packet.pts is not None:
                    first = packet.pts if first is None else first
                    last = packet.pts + (packet.duration or 0)
        except av.error.FFmpegError:  # damage near the end: what came before counts
            pass
        return Fraction(0) if first is None else (last - first) * track.time_base


def _by_soundfile(path: Path, trouble: _Unreadable) -> Fraction:
    import soundfile

    try:
        facts = soundfile.info(str(path))
        return Fraction(facts.frames, facts.samplerate)
    except (soundfile.SoundFileError, OSError, ZeroDivisionError):
        raise MediaError(f"{path} {trouble}. Give a WAV, FLAC, MP3, M4A, OGG file or a video with sound.") from None
