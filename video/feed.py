"""Tracks of a target on their way into an output: copied or encoded anew, shifted and cut like the picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

import av
import av.error

from media.container import InputLimits
from media.sound import interleaved
from video.extras import Track
from video.mux import cut, finite, shortened, skipped_s
from video.probe import open_video

#: Sound before the first frame that decoders get: they need some before what is heard.
PREROLL_S = Fraction(1, 10)
#: Forms of file that state a decoder's delay: so much sound may lie before 0, and is not heard.
_STATE_DELAY = ("matroska", "webm")
_MS = Fraction(1, 1000)
#: What FFmpeg says where a container does not take a track.
Refused = (av.error.FFmpegError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Span:
    """The part of the target's time that is taken over: from `first_s`, which becomes 0, to `end_s` after it. floor_s:
    sound that lies before this, after the shift, is left out; less than a millisecond is rounding."""

    first_s: Fraction
    end_s: Fraction | None
    floor_s: Fraction


class Feed:
    """One track on its way: packets of the target in, packets of the output out, in order and within the span."""

    def __init__(self, out: Any, span: Span, make: Callable[[av.Packet | None], Iterator[av.Packet]]) -> None:
        self.out, self._span, self._make = out, span, make
        self._last: int | None = None

    def of(self, packet: av.Packet) -> Iterator[av.Packet]:
        """What this packet of the target becomes."""
        base, span = packet.time_base or Fraction(1), self._span
        packet.pts = (packet.pts or 0) - round(span.first_s / base)
        packet.dts = packet.pts if packet.dts is None else packet.dts - round(span.first_s / base)
        end, last = packet.pts + (packet.duration or 0), None if span.end_s is None else int(span.end_s / base)
        if last is not None and packet.pts >= last:
            return
        if self.out.type == "audio":
            if (late_s := span.floor_s - packet.pts * base) >= _MS:
                return
            if late_s > 0:
                packet.pts = packet.dts = ceil(span.floor_s / base)
        elif packet.pts < 0 or (last is not None and end > last):
            if end <= 0:
                return
            packet.pts = packet.dts = max(0, packet.pts)
            packet.duration = (end if last is None else min(end, last)) - packet.pts
        yield from self._ordered(self._make(packet))

    def rest(self) -> Iterator[av.Packet]:
        """What is left when the target has ended."""
        yield from self._ordered(self._make(None))

    def _ordered(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """The packets with times that only rise, as containers want them."""
        for packet in packets:
            if packet.dts is not None and self._last is not None and packet.dts <= self._last:
                if self.out.type == "audio":
                    continue
                packet.dts = packet.pts = self._last + 1
            self._last = self._last if packet.dts is None else packet.dts
            packet.stream = self.out
            yield packet


def copied(packet: av.Packet | None, span: Span, context: Any) -> Iterator[av.Packet]:
    """The packet as it is; of sound, what lies within the span."""
    if packet is None or (context is not None and context.name == "mov_text" and packet.size <= 2):
        return  # the pauses between subtitles, which the writer puts in itself
    if context is not None and context.type == "audio":
        base = packet.time_base or Fraction(1)
        packet.duration = max(1, (packet.duration or 0) - round(skipped_s(packet)[1] / base))
        left = packet.duration if span.end_s is None else int(span.end_s / base) - (packet.pts or 0)
        if left < packet.duration:
            packet = shortened(packet, max(1, left), context)
    yield packet


def encoding(out: Any, stream: Any, span: Span) -> Callable[[av.Packet | None], Iterator[av.Packet]]:
    """A way to encode a sound track anew, its samples at their times."""
    rate = stream.codec_context.sample_rate

    def make(packet: av.Packet | None) -> Iterator[av.Packet]:
        try:
            frames = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            frames = []  # damaged: a hole in the sound, as everywhere
        for frame in frames:
            if (kept := _within(frame, rate, span.end_s)) is not None:
                yield from out.encode(kept)
        if packet is None:
            yield from out.encode(None)

    return make


def _within(frame: av.AudioFrame, rate: int, end_s: Fraction | None) -> av.AudioFrame | None:
    """The samples from 0 up to the end, at their time in samples; None where there are none."""
    if frame.pts is None or frame.time_base is None:
        return None
    at = round(frame.pts * frame.time_base * rate)
    left = frame.samples if end_s is None else min(frame.samples, round(end_s * rate) - at)
    kept = cut(finite(interleaved(frame)), max(0, -at), left)
    if kept is not None:
        kept.pts, kept.time_base = max(0, at), Fraction(1, rate)
    return kept


def is_taken(path: Path, limits: InputLimits, track: Track, form: str, first_s: Fraction) -> tuple[bool, Fraction]:
    """Whether files of this form take the track as it is, tried with its first packet, as some say so only then; and
    the decoder's delay that its file and the copy state, in seconds. first_s: of the target's first frame."""
    delay_s, packet = Fraction(0), None
    with open_video(path, limits) as source:
        stream: Any = source.streams[track.index]
        try:
            sound = source.demux(stream) if track.kind == "audio" else ()  # the first subtitle may come late
            packet = next((packet for packet in sound if packet.size), None)
            if packet is not None and form in _STATE_DELAY:
                delay_s = _stated_delay_s(packet, track, stream, "matroska" in source.format.name)
                starts_s = (packet.pts or 0) * (packet.time_base or Fraction(1)) - first_s
                if track.codec == "mp3" and (not delay_s or starts_s < -delay_s):
                    return False, Fraction(0)  # its packets borrow bits from those before them
            with av.open(io.BytesIO(), "w", format=form) as trial:
                out = trial.add_stream_from_template(stream, opaque=True)
                trial.start_encoding()
                if packet is not None:
                    packet.pts, packet.dts, packet.stream = 0, 0, out
                    trial.mux(packet)
        except Refused:
            return False, Fraction(0)
    return True, delay_s


def _stated_delay_s(first: av.Packet, track: Track, stream: Any, is_matroska: bool) -> Fraction:
    """What copies of a track state as their decoder's delay, in Matroska's milliseconds: Matroska's own, or that of
    Opus; MP4 states others in its edit list, which is not copied. first: the track's first packet."""
    delay_s, head = skipped_s(first)[0] if is_matroska else Fraction(0), bytes(stream.codec_context.extradata or b"")
    if track.codec == "opus" and head[:8] == b"OpusHead":
        delay_s = Fraction(int.from_bytes(head[10:12], "little"), 48000)  # RFC 7845, 5.1
    return floor(delay_s / _MS + Fraction(1, 2)) * _MS
