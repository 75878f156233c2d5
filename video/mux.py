"""The sound of a written video: a speech file, copied or encoded, whose first audible sample falls on the first
frame, or sound that is made meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.audio.stream
import av.container
import av.error
import numpy as np

from media import MediaError
from media.container import InputLimits, open_media
from media.demux import decoded
from media.holes import HOLE_S, silences
from media.sound import LAYOUTS, RATES, Sound, interleaved, is_believable, time_of
from media.tracks import sound_track

#: Uncompressed codecs, with the bytes of a sample.
_PCM = {"pcm_s16le": 2, "pcm_s24le": 3, "pcm_s32le": 4, "pcm_f32le": 4}
#: Codecs each container takes as they are. Codecs with decoder delay (AAC, MP3) need the edit list of MP4 to start
#: exactly.
COPIED = {
    ".mp4": {"aac", "mp3", "alac"},
    ".m4v": {"aac", "mp3", "alac"},
    ".mov": {"aac", "mp3", "alac", *_PCM},
    ".mkv": {"flac", "alac", *_PCM},
}
#: Encoders of sound that is made here; "aac" in all other containers.
MADE = {".webm": ("libopus", "flt"), ".mkv": ("flac", "s32"), ".mov": ("pcm_s24le", "s32")}
_BIT_RATE = 192_000  # of AAC, per channel up to two
_PIECE = 4096  # samples of silence encoded together


class SpeechTrack:
    """Adds a sound track to an open output container and feeds it on demand. sound: a file, or sound that is made
    meanwhile; how: "copied" or "encoded"; stream: in the output; tags: those of the file's own track; notes: complete
    at the end; details: how it is written, for who asks."""

    def __init__(
        self,
        sound: Path | Sound,
        output: av.container.OutputContainer,
        suffix: str,
        end_s: Fraction | None,
        limits: InputLimits,
    ) -> None:
        self.notes, self.details, self.tags = list[str](), list[str](), dict[str, str]()
        self._output, self._end_s = output, end_s
        self._container: av.container.InputContainer | None = None
        self._held: av.Packet | None = None
        self.stream: Any
        if isinstance(sound, Path):
            self._path = sound
            self._container = open_speech(sound, limits)
            try:
                self._open_file(suffix, limits)
            except MediaError:
                self._container.close()
                raise
        else:
            self.how = "encoded"
            name, kind = MADE.get(suffix, ("aac", "fltp"))
            self.stream = sound_encoder(output, name, sound.rate, sound.n_channels)
            self.stream.codec_context.format = kind
            self._packets = self._made(sound)

    def _open_file(self, suffix: str, limits: InputLimits) -> None:
        self._track: Any = self._best_track(limits)
        self.tags, context = dict(self._track.metadata), self._track.codec_context
        codec = context.name.removesuffix("float")
        self.how = "copied" if codec in COPIED.get(suffix, ()) else "encoded"
        if self.how == "copied":
            first = _first_sample_s(self._path, self._track.index, limits)
            self.stream = self._output.add_stream_from_template(self._track)
            self._shift = round(first / self._track.time_base)
            self._packets = self._copied()
            return
        name, n_channels = encoder_for(suffix), context.layout.nb_channels
        self.stream = sound_encoder(self._output, name, context.sample_rate, n_channels)
        if n_channels not in LAYOUTS:
            self.notes.append(f"the {n_channels} channels of the speech were mixed down to stereo")
        self._packets = self._encoded()
        self.details.append(f"speech ({codec}) was encoded as {name}, because {suffix} files do not take it as it is")

    def _best_track(self, limits: InputLimits) -> av.audio.stream.AudioStream:
        """The track that is heard: the same as `audio.load` takes."""
        assert self._container is not None  # noqa: S101
        track, notes = sound_track(self._container, self._path, limits)
        self.notes += notes
        if track is None:
            raise MediaError(f"{self._path} has no sound track. Name a speech recording.")
        if track.codec_context is None:
            raise MediaError(f"{self._path}: its sound is of a kind that cannot be decoded. Convert it to WAV.")
        if not RATES[0] <= track.codec_context.sample_rate <= RATES[1]:
            raise MediaError(
                f"{self._path} states {track.codec_context.sample_rate} samples a second of sound. Convert it to WAV "
                "with 8,000 to 192,000."
            )
        return track

    def mux_until(self, time_s: Fraction | None) -> None:
        """Muxes the sound up to this time; None = all that is left."""
        while True:
            packet = self._held or next(self._packets, None)
            self._held = None
            if packet is None:
                return
            if time_s is not None and packet.pts is not None and packet.pts * packet.time_base > time_s:
                self._held = packet
                return
            self._output.mux(packet)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def _copied(self) -> Iterator[av.Packet]:
        for packet in self._believed():
            packet.duration = max(1, (packet.duration or 0) - round(skipped_s(packet)[1] / self._track.time_base))
            if self._end_s is not None and packet.pts is not None:
                left = int(self._end_s / packet.time_base) - packet.pts
                if left <= 0:
                    return
                if left < packet.duration:
                    packet = shortened(packet, left, self._track.codec_context)
            if self._track.codec_context.name == "pcm_f32le":
                packet = _numbers_only(packet)
            packet.stream = self.stream
            yield packet

    def _believed(self) -> Iterator[av.Packet]:
        """Every packet at its time in the output: holes that are silence are kept, broken times are not."""
        base, end_s, shift_s = self._track.time_base, None, self._shift * self._track.time_base
        for hole_s, packet in silences(self._spans()):
            start_s, length_s = None if packet.pts is None else packet.pts * base, self._length_s(packet)
            if start_s is not None and end_s is not None and abs(start_s - end_s - hole_s) > HOLE_S:
                shift_s += start_s - end_s - hole_s
            end_s = None if start_s is None else start_s + length_s
            packet.pts = None if packet.pts is None else packet.pts - round(shift_s / base)
            packet.dts = None if packet.dts is None else packet.dts - round(shift_s / base)
            if hole_s and packet.pts is not None and self._track.codec_context.name in _PCM:
                yield from self._quiet(packet.pts * base - hole_s, hole_s)  # MOV holds uncompressed sound without times
            yield packet

    def _quiet(self, start_s: Fraction, length_s: Fraction) -> Iterator[av.Packet]:
        """Uncompressed silence, a second a packet."""
        context, base = self._track.codec_context, self._track.time_base
        rate, n_bytes = context.sample_rate, _PCM[context.name] * context.layout.nb_channels
        n = round(length_s * rate)
        for i in range(0, n, rate):
            packet = av.Packet(bytes(min(rate, n - i) * n_bytes))
            packet.pts = packet.dts = round((start_s + Fraction(i, rate)) / base)
            packet.time_base, packet.duration = base, round(Fraction(min(rate, n - i), rate) / base)
            yield packet

    def _spans(self) -> Iterator[tuple[Fraction | None, Fraction, av.Packet]]:
        packets = self._container.demux(self._track) if self._container is not None else ()
        for packet in packets:
            if packet.size:
                start_s = None if packet.pts is None else packet.pts * self._track.time_base
                yield start_s, self._length_s(packet), packet

    def _length_s(self, packet: av.Packet) -> Fraction:
        """Of the sound in it. In MP4 the duration of a packet before a hole spans the hole."""
        context, stated_s = self._track.codec_context, (packet.duration or 0) * self._track.time_base
        coded_s = Fraction(context.frame_size or 0, context.sample_rate)
        return coded_s if 0 < coded_s < stated_s - HOLE_S else stated_s

    def _encoded(self) -> Iterator[av.Packet]:
        rate = self._track.codec_context.sample_rate
        left = None if self._end_s is None else round(self._end_s * rate)
        n_done, kind = 0, None
        for frame in self._without_holes(rate):
            was, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)
            if was not in (None, kind):
                raise MediaError(
                    f"{self._path}: its sound changes its rate or its channels at {n_done / rate:.2f} s. Convert it to "
                    "WAV."
                )
            if left is not None and n_done + frame.samples > left:
                frame = cut(frame, 0, left - n_done)
            if frame is None:
                break
            frame = finite(frame)
            frame.pts, frame.time_base = n_done, Fraction(1, rate)
            n_done += frame.samples
            yield from self.stream.encode(frame)
        yield from self.stream.encode(None)

    def _without_holes(self, rate: int) -> Iterator[av.AudioFrame]:
        """Every frame that can be decoded, and frames of silence in the holes of their times."""
        frames = _decoded(self._container, self._track)
        for hole_s, frame in silences((time_of(frame), Fraction(frame.samples, rate), frame) for frame in frames):
            n = round(hole_s * rate)
            yield from (_silent(frame, min(_PIECE, n - i)) for i in range(0, n, _PIECE))
            yield frame

    def _made(self, sound: Sound) -> Iterator[av.Packet]:
        n_done, base, layout = 0, Fraction(1, sound.rate), LAYOUTS[sound.n_channels]
        left = None if self._end_s is None else round(self._end_s * sound.rate)
        for block in sound.blocks():
            block = block if left is None else block[:, : max(0, left - n_done)]
            if block.shape[1]:
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = sound.rate, n_done, base
                n_done += frame.samples
                yield from self.stream.encode(frame)
        yield from self.stream.encode(None)
        self.notes += sound.notes


def encoder_for(suffix: str) -> str:
    """The encoder of sound that a file with this ending does not take as it is."""
    return "libopus" if suffix == ".webm" else "aac"


def sound_encoder(output: av.container.OutputContainer, name: str, rate: int, n_channels: int) -> Any:
    """A stream of this encoder with this rate and so many channels, or the nearest that it takes."""
    stream: Any = output.add_stream(name, rate=_supported_rate(name, rate))
    # WAV files often do not say which channel is which.
    stream.codec_context.layout = LAYOUTS.get(n_channels, "stereo")
    if name in ("aac", "libopus"):
        stream.codec_context.bit_rate = _BIT_RATE * min(2, n_channels)
    return stream


def shortened(packet: av.Packet, left: int, context: Any) -> av.Packet:
    """The packet's first `left` ticks. Uncompressed sound is cut there; of other codecs only the duration says so."""
    if context.name in _PCM:
        whole = packet
        n_bytes = packet.size * left // (packet.duration or 1)
        frame_bytes = _PCM[context.name] * context.layout.nb_channels
        packet = av.Packet(bytes(whole)[: n_bytes - n_bytes % frame_bytes])
        packet.pts, packet.dts, packet.time_base = whole.pts, whole.dts, whole.time_base
    packet.duration = left
    return packet


def skipped_s(packet: av.Packet) -> tuple[Fraction, Fraction]:
    """Seconds at the packet's beginning and at its end that its file says are not part of the recording."""
    for side in packet.iter_sidedata():
        if side.data_type == "skip_samples":
            rate = packet.stream.codec_context.sample_rate
            first, last = (Fraction(int.from_bytes(bytes(side)[at : at + 4], "little"), rate) for at in (0, 4))
            return first, last
    return Fraction(0), Fraction(0)


def _supported_rate(encoder: str, rate: int) -> int:
    """The rate itself where the encoder takes it, otherwise the nearest one above, or the highest."""
    known = sorted(av.Codec(encoder, "w").audio_rates or [rate])
    return rate if rate in known else next((r for r in known if r > rate), known[-1])


def _decoded(container: Any, track: Any) -> Iterator[av.AudioFrame]:
    """Every frame that can be decoded; damaged packets are stepped over."""
    return (interleaved(frame) for frame in decoded(container, track) if frame is not None)


def _silenced(values: np.ndarray) -> np.ndarray | None:
    """The samples with silence for those that are no sound; None where all are. Of such the AAC encoder stops or never
    ends."""
    good = is_believable(values)
    return None if good.all() else np.where(good, values, values.dtype.type(0))


def finite(frame: av.AudioFrame) -> av.AudioFrame:
    """The frame with silence where a sample is not a number, or beyond all sound."""
    if frame.format.name[:3] not in ("flt", "dbl") or (values := _silenced(frame.to_ndarray())) is None:
        return frame
    out = av.AudioFrame.from_ndarray(values, format=frame.format.name, layout=frame.layout.name)
    out.sample_rate = frame.sample_rate
    return out


def _numbers_only(packet: av.Packet) -> av.Packet:
    """`finite` of an uncompressed packet of 32-bit floats."""
    if (values := _silenced(np.frombuffer(bytes(packet)[: packet.size - packet.size % 4], "<f4"))) is None:
        return packet
    out = av.Packet(values.tobytes())
    out.pts, out.dts, out.time_base, out.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    return out


def _silent(like: av.AudioFrame, n: int) -> av.AudioFrame:
    """n samples of silence of the same kind."""
    values: Any = like.to_ndarray()
    width = n if like.format.is_planar else n * like.layout.nb_channels
    quiet = np.full((values.shape[0], width), 128 if values.dtype == np.uint8 else 0, values.dtype)
    out = av.AudioFrame.from_ndarray(quiet, format=like.format.name, layout=like.layout.name)
    out.sample_rate = like.sample_rate
    return out


def cut(frame: av.AudioFrame, first: int, last: int) -> av.AudioFrame | None:
    """The samples from `first` to before `last`; None where there are none."""
    if last <= first:
        return None
    if first == 0 and last == frame.samples:
        return frame
    width = 1 if frame.format.is_planar else frame.layout.nb_channels
    samples = frame.to_ndarray()[:, first * width : last * width].copy()
    out = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    out.sample_rate = frame.sample_rate
    return out


def open_speech(path: Path, limits: InputLimits = InputLimits()) -> av.container.InputContainer:
    if not path.is_file():
        raise MediaError(f"{path}: there is no such speech file. Check the path.")
    try:
        return open_media(path, limits)
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} is not a sound file that can be opened ({getattr(error, 'strerror', None) or error}). "
            "Convert it to WAV."
        ) from error


def _first_sample_s(path: Path, index: int, limits: InputLimits) -> Fraction:
    """Time on the file's own clock of the first sample of a track that a player lets sound."""
    with open_speech(path, limits) as container:
        for frame in _decoded(container, container.streams[index]):
            if (start_s := time_of(frame)) is not None:
                return start_s
    raise MediaError(f"{path}: its sound cannot be decoded. Convert it to WAV.")
