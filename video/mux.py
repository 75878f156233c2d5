"""The sound of a written video: a speech file, copied or encoded, whose first audible sample falls on the first
frame."""

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
from media.sound import RATES, interleaved, is_believable

_PCM = {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"}
#: Codecs each container takes as they are. Codecs with decoder delay (AAC, MP3) need the edit list of MP4 to start
#: exactly.
COPIED = {
    ".mp4": {"aac", "mp3", "alac"},
    ".m4v": {"aac", "mp3", "alac"},
    ".mov": {"aac", "mp3", "alac"} | _PCM,
    ".mkv": {"flac", "alac"} | _PCM,
}
#: Layouts that the encoders of all containers take, by number of channels.
LAYOUTS = {1: "mono", 2: "stereo", 5: "5.0", 6: "5.1"}
_BIT_RATE = 192_000  # of AAC, per channel up to two


class SpeechTrack:
    """Adds a sound track to an open output container and feeds it on demand. how: "copied" or "encoded"; stream: in the
    output; tags: those of the speech's own track; details: how it is written, for who asks."""

    def __init__(
        self, path: Path, output: av.container.OutputContainer, suffix: str, end_s: Fraction | None, limits: InputLimits
    ) -> None:
        self.notes, self.details = list[str](), list[str]()
        self._output, self._end_s = output, end_s
        self._path = path
        self._container = open_speech(path, limits)
        try:
            self._track: Any = _sound(self._container, path)
        except MediaError:
            self._container.close()
            raise
        codec = self._track.codec_context.name.removesuffix("float")
        self.how = "copied" if codec in COPIED.get(suffix, ()) else "encoded"
        self._held: av.Packet | None = None
        self.tags: dict[str, str] = dict(self._track.metadata)
        self.stream: Any
        if self.how == "copied":
            first = _first_sample_s(path, limits)
            self.stream = output.add_stream_from_template(self._track)
            self._shift = round(first / self._track.time_base)
            self._packets = self._copied()
        else:
            name, n_channels = encoder_for(suffix), self._track.codec_context.layout.nb_channels
            self.stream = sound_encoder(output, name, self._track)
            if n_channels not in LAYOUTS:
                self.notes.append(f"the {n_channels} channels of the speech were mixed down to stereo")
            self._packets = self._encoded()
            self.details.append(
                f"speech ({codec}) was encoded as {name}, because {suffix} files do not take it as it is"
            )

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
        self._container.close()

    def _copied(self) -> Iterator[av.Packet]:
        for packet in self._container.demux(self._track):
            if not packet.size:
                continue
            packet.pts = None if packet.pts is None else packet.pts - self._shift
            packet.dts = None if packet.dts is None else packet.dts - self._shift
            packet.duration = max(1, (packet.duration or 0) - round(padding_s(packet) / self._track.time_base))
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

    def _encoded(self) -> Iterator[av.Packet]:
        rate = self._track.codec_context.sample_rate
        left = None if self._end_s is None else round(self._end_s * rate)
        n_done, kind = 0, None
        for frame in _decoded(self._container, self._track):
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


def encoder_for(suffix: str) -> str:
    """The encoder of sound that a file with this ending does not take as it is."""
    return "libopus" if suffix == ".webm" else "aac"


def sound_encoder(output: av.container.OutputContainer, name: str, track: Any) -> Any:
    """A stream of this encoder at the rate and with the channels of `track`, or the nearest that it takes."""
    n_channels = track.codec_context.layout.nb_channels
    stream: Any = output.add_stream(name, rate=_supported_rate(name, track.codec_context.sample_rate))
    # WAV files often do not say which channel is which.
    stream.codec_context.layout = LAYOUTS.get(n_channels, "stereo")
    stream.codec_context.bit_rate = _BIT_RATE * min(2, n_channels)
    return stream


def shortened(packet: av.Packet, left: int, context: Any) -> av.Packet:
    """The packet's first `left` ticks. Uncompressed sound is cut there; of other codecs only the duration says so."""
    if context.name in _PCM:
        whole = packet
        n_bytes = packet.size * left // (packet.duration or 1)
        frame_bytes = context.format.bytes * context.layout.nb_channels
        packet = av.Packet(bytes(whole)[: n_bytes - n_bytes % frame_bytes])
        packet.pts, packet.dts, packet.time_base = whole.pts, whole.dts, whole.time_base
    packet.duration = left
    return packet


def padding_s(packet: av.Packet) -> Fraction:
    """Seconds at the packet's end that its file says are not part of the recording."""
    for side in packet.iter_sidedata():
        if side.data_type == "skip_samples":
            return Fraction(int.from_bytes(bytes(side)[4:8], "little"), packet.stream.codec_context.sample_rate)
    return Fraction(0)


def _supported_rate(encoder: str, rate: int) -> int:
    """The rate itself where the encoder takes it, otherwise the nearest one above, or the highest."""
    known = sorted(av.Codec(encoder, "w").audio_rates or [rate])
    return rate if rate in known else next((r for r in known if r > rate), known[-1])


def _decoded(container: Any, track: Any) -> Iterator[av.AudioFrame]:
    """Every frame that can be decoded; damaged packets are stepped over."""
    return (interleaved(frame) for frame in decoded(container, track) if frame is not None)


def _sound(container: av.container.InputContainer, path: Path) -> av.audio.stream.AudioStream:
    """The track that is heard: the same as `audio.load` takes."""
    track: Any = container.streams.best("audio")
    if track is None:
        raise MediaError(f"{path} has no sound track. Name a speech recording.")
    if track.codec_context is None:
        raise MediaError(f"{path}: its sound is of a kind that cannot be decoded. Convert it to WAV.")
    if not RATES[0] <= track.codec_context.sample_rate <= RATES[1]:
        raise MediaError(
            f"{path} states {track.codec_context.sample_rate} samples a second of sound. Convert it to WAV with 8,000 "
            "to 192,000."
        )
    return track


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


def _first_sample_s(path: Path, limits: InputLimits) -> Fraction:
    """Time on the file's own clock of the first sample a player lets sound."""
    with open_speech(path, limits) as container:
        for frame in _decoded(container, _sound(container, path)):
            if frame.pts is not None and frame.time_base is not None:
                return frame.pts * frame.time_base
    raise MediaError(f"{path}: its sound cannot be decoded. Convert it to WAV.")
