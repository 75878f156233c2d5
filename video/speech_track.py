"""The sound of a written video: a speech file, copied or encoded, whose first audible sample falls on the first frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from . import VideoError

_PCM = {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"}
#: Codecs each container takes as they are. Codecs with decoder delay (AAC, MP3) need the edit list of MP4 to start exactly.
COPIED = {
    ".mp4": {"aac", "mp3", "alac"},
    ".m4v": {"aac", "mp3", "alac"},
    ".mov": {"aac", "mp3", "alac"} | _PCM,
    ".mkv": {"flac", "alac"} | _PCM,
}
_BIT_RATE = 192_000  # of AAC, per channel up to two


class SpeechTrack:
    """Adds a sound track to an open output container and feeds it on demand. how: "copied" or "encoded"."""

    def __init__(self, path: Path, output: av.container.OutputContainer, suffix: str, end_s: Fraction | None) -> None:
        self.notes: list[str] = []
        self._output, self._end_s = output, end_s
        self._path = path
        self._container = _open(path)
        self._track = self._container.streams.audio[0]
        codec = self._track.codec_context.name.removesuffix("float")
        self.how = "copied" if codec in COPIED.get(suffix, ()) else "encoded"
        self._held: av.Packet | None = None
        if self.how == "copied":
            first = _first_sample_s(path)
            self._stream = output.add_stream_from_template(self._track)
            self._shift = round(first / self._track.time_base)
            self._packets = self._copied()
        else:
            name = "libopus" if suffix == ".webm" else "aac"
            self._stream = output.add_stream(name, rate=48000 if name == "libopus" else self._track.codec_context.sample_rate)
            self._stream.codec_context.layout = self._track.codec_context.layout.name
            self._stream.codec_context.bit_rate = _BIT_RATE * min(2, self._track.codec_context.layout.nb_channels)
            self._packets = self._encoded()
            self.notes.append(f"speech ({codec}) was encoded as {name}, because {suffix} files do not take it as it is")

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

    def _copied(self):
        for packet in self._container.demux(self._track):
            if not packet.size:
                continue
            packet.pts = None if packet.pts is None else packet.pts - self._shift
            packet.dts = None if packet.dts is None else packet.dts - self._shift
            if self._end_s is not None and packet.pts is not None and packet.pts * packet.time_base >= self._end_s:
                return
            packet.stream = self._stream
            yield packet

    def _encoded(self):
        context = self._stream.codec_context
        resampler = av.AudioResampler(format=context.format.name, layout=context.layout.name, rate=context.sample_rate)
        left = None if self._end_s is None else round(self._end_s * context.sample_rate)
        fifo = av.AudioFifo()
        n_done = 0
        for frame in _frames(self._container, self._track, resampler):
            if left is not None:
                if left <= 0:
                    break
                if frame.samples > left:
                    frame = _cut(frame, left)
                left -= frame.samples
            frame.pts = None
            fifo.write(frame)
            while (block := fifo.read(context.frame_size or 1024)) is not None:
                yield from self._block(block, n_done)
                n_done += block.samples
        if (block := fifo.read(context.frame_size or 1024, partial=True)) is not None:
            yield from self._block(block, n_done)
        yield from self._stream.encode(None)

    def _block(self, block: av.AudioFrame, at: int):
        block.pts, block.time_base = at, Fraction(1, self._stream.codec_context.sample_rate)
        return self._stream.encode(block)


def _frames(container, track, resampler):
    for packet in container.demux(track):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            frame.pts = None
            yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _cut(frame: av.AudioFrame, n: int) -> av.AudioFrame:
    samples = frame.to_ndarray()
    width = n if frame.format.is_planar else n * frame.layout.nb_channels
    out = av.AudioFrame.from_ndarray(samples[:, :width].copy(), format=frame.format.name, layout=frame.layout.name)
    out.sample_rate = frame.sample_rate
    return out


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise VideoError(f"{path}: there is no such speech file. Check the path.")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} is not a sound file that can be opened ({getattr(error, 'strerror', None) or error}). Convert it to WAV.") from error  # fmt: skip
    if not container.streams.audio:
        container.close()
        raise VideoError(f"{path} has no sound track. Name a speech recording.")
    return container


def _first_sample_s(path: Path) -> Fraction:
    """Time on the file's own clock of the first sample a player lets sound."""
    with _open(path) as container:
        track = container.streams.audio[0]
        for packet in container.demux(track):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            if frames and frames[0].pts is not None:
                return frames[0].pts * Fraction(frames[0].time_base)
    raise VideoError(f"{path}: its sound cannot be decoded. Convert it to WAV.")
