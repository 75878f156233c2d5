"""A picture of which only parts are drawn: packets of the target are copied where key frames allow, and only what lies
between is encoded (smart cut)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.codec.context
import av.error
import av.video.stream
import numpy as np

from media import MediaError
from video.clock import FrameClock
from video.nal_units import CRA, IDR, UNITS, Units, annexb_units, as_sample, sample_units
from video.probe import VideoStream, open_video, picture_track
from video.write import VideoWriter, available_encoders

#: Containers whose packets are copied into each other as they are.
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
#: FFmpeg's name of a codec that is copied -> the encoder of what lies between.
ENCODER_OF = {codec: units.encoder for codec, units in UNITS.items()}
#: FFmpeg's names of H.264's profiles -> x264's.
_PROFILES = {
    "Baseline": "baseline",
    "Constrained Baseline": "baseline",
    "Main": "main",
    "High": "high",
    "High 10": "high10",
    "High 4:2:2": "high422",
    "High 4:4:4 Predictive": "high444",
}
_PROGRESSIVE = (0, 1)  # FFmpeg's field orders: not said, whole frames
_LONGEST_GOP = 250
_MOST_SAID = 5


class CannotSplice(Exception):
    """Why a target's packets cannot be copied, a clause."""


@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """What is encoded and what is copied. Packets are in the order of decoding.

    ranges: of rows, encoded, in order; after: of each range, the kind of picture with which copying goes on, None at
    the end; row, duration: (N,) of every packet; dts: (N,) of the output's packets, ticks of the clock from its first
    frame; keyint: the longest distance of key frames; units: NAL units of the codec; profile: of the encoder, "" = its
    own choice; in_band: packets hold parameter sets, too; passed:
    key frames in the ranges at which copying cannot go on."""

    stream: VideoStream
    ranges: tuple[slice, ...]
    after: tuple[str | None, ...]
    row: np.ndarray
    dts: np.ndarray
    duration: np.ndarray
    keyint: int
    units: Units
    profile: str
    in_band: bool
    passed: bool


def plan_splice(stream: VideoStream, touched: np.ndarray, suffix: str) -> Splice:
    """How the target is copied around the rows that are `touched`, (N,) bool: the first N of its frames are kept.

    A range begins at the last frame before which decoding and showing agree; it ends before an IDR picture, or, in
    HEVC, before a CRA picture, whose leading pictures are encoded too: they refer to frames before it. CannotSplice:
    the codec, the container or the file does not allow it, or nothing could be copied."""
    if suffix not in SUFFIXES:
        raise CannotSplice(f"{suffix} files do not take its packets")
    if stream.codec not in UNITS:
        raise CannotSplice(f"its codec is {stream.codec}; H.264 and HEVC are copied")
    if stream.by_count:
        raise CannotSplice("its times had to be repaired")
    units, profile = _coding(stream)
    packets = _packets_of(stream, units)
    row = np.argsort(np.argsort(packets.pts, kind="stable"), kind="stable")
    if not np.array_equal(np.sort(packets.pts), stream.clock.pts):
        raise CannotSplice("the times of its packets are not those of its frames")
    if packets.trimmed:  # the first frames are decoded from packets that are not shown, and are not kept
        touched = np.append(True, touched[1:])
    ranges, after = _ranges(row, packets.start, touched)
    if sum(part.stop - part.start for part in ranges) == len(touched):
        raise CannotSplice("no key frame lies outside the parts that are dubbed")
    keys = [i for i, start in enumerate(packets.start) if start]
    keyint = int(np.diff([*keys, len(row)]).max())
    passed = any(part.start < at < part.stop for part in ranges for at in row[packets.open])
    return Splice(
        stream, ranges, after, row, _dts(packets.dts, stream.clock, row), packets.duration, min(keyint, _LONGEST_GOP),
        units, profile, packets.in_band, passed,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Packets:
    """(N,) of every packet that is shown: pts; dts, None where one is not known; duration; start: IDR, CRA or None;
    open: other key frames, whose GOPs refer to the one before. in_band: some hold parameter sets; trimmed: the first
    are preceded by others, which are not shown."""

    pts: np.ndarray
    dts: np.ndarray | None
    duration: np.ndarray
    start: list[str | None]
    open: np.ndarray
    in_band: bool
    trimmed: bool


def _coding(stream: VideoStream) -> tuple[Units, str]:
    """The codec's NAL units, and the profile to encode with."""
    with open_video(stream.path, stream.limits) as container:
        context: Any = picture_track(container, stream.path, stream.limits).codec_context
        extradata, profile, field_order = bytes(context.extradata or b""), context.profile, context.field_order
    try:
        units = UNITS[stream.codec](extradata)
    except (ValueError, IndexError) as error:
        raise CannotSplice(f"its packets are not stored as MP4 and Matroska do ({error})") from error
    if field_order not in _PROGRESSIVE:
        raise CannotSplice("it is interlaced")
    if stream.codec == "h264" and profile not in _PROFILES:
        raise CannotSplice(f"its profile is {profile}")
    known = [] if units.encoder not in available_encoders() else av.Codec(units.encoder, "w").video_formats or []
    if stream.pix_fmt not in [known_format.name for known_format in known]:
        raise CannotSplice(f"no encoder here makes {stream.codec} as {stream.pix_fmt}")
    return units, _PROFILES[profile] if stream.codec == "h264" else ""


def _packets_of(stream: VideoStream, units: Units) -> _Packets:
    """All packets of the picture. CannotSplice: their parameter sets change on the way, or some in the middle are not
    shown."""
    listed, starts, keys, in_band, trimmed = [], [], [], False, False
    for packet in _packets(stream):
        try:
            own = list(sample_units(bytes(packet)))
        except ValueError as error:
            raise CannotSplice(f"a packet is damaged ({error})") from error
        sets = [unit for unit in own if units.is_set(unit)]
        if packet.has_sidedata("new_extradata") or any(unit not in units.sets for unit in sets):
            raise CannotSplice("its coding changes on the way")
        in_band = in_band or bool(sets)
        if packet.is_discard:
            if listed:
                raise CannotSplice("some of its packets are not shown")
            trimmed = True
            continue
        keys.append(packet.is_keyframe)
        listed.append((packet.pts, packet.dts, packet.duration or 0))
        starts.append(next((units.start_of(unit) for unit in own if units.is_slice(unit)), None))
    pts, dts, duration = zip(*listed, strict=True)
    if None in pts:
        raise CannotSplice("some of its packets have no time")
    others = np.array(keys) & np.array([start is None for start in starts])
    known = None if None in dts else np.array(dts, np.int64)
    return _Packets(np.array(pts, np.int64), known, np.array(duration, np.int64), starts, others, in_band, trimmed)


def _packets(stream: VideoStream) -> Iterator[av.Packet]:
    with open_video(stream.path, stream.limits) as container:
        try:
            for packet in container.demux(picture_track(container, stream.path, stream.limits)):
                if packet.size:
                    yield packet
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"{stream.path} cannot be read ({error}). Copy it again.") from error


def _ranges(
    row: np.ndarray, start: list[str | None], touched: np.ndarray
) -> tuple[tuple[slice, ...], tuple[str | None, ...]]:
    """(ranges of rows to encode, the pictures after them)."""
    n = len(touched)
    agree = np.append(True, np.maximum.accumulate(row) == np.arange(len(row)))  # (N+1,) the first i packets: i frames
    wanted = np.flatnonzero(touched).tolist()
    if n < len(row) and not agree[n]:
        wanted.append(n - 1)
    resume = _resumes(row, start, agree)
    begins = np.flatnonzero(agree)
    ranges, after = list[slice](), list[str | None]()
    for r in wanted:
        if ranges and r < ranges[-1].stop:
            continue
        begin = int(begins[np.searchsorted(begins, r, "right") - 1])
        end, kind = next(((at, kind) for at, kind in resume if r < at < n), (n, None))
        if ranges and begin <= ranges[-1].stop:
            begin = ranges.pop().start
            after.pop()
        ranges.append(slice(begin, end))
        after.append(kind)
    return tuple(ranges), tuple(after)


def _resumes(row: np.ndarray, start: list[str | None], agree: np.ndarray) -> list[tuple[int, str]]:
    """(row, kind) of the pictures from which on packets can be copied after others than their own."""
    latest, found = np.maximum.accumulate(row), list[tuple[int, str]]()
    for i, kind in enumerate(start):
        at = int(row[i])
        if kind == IDR and agree[i]:
            found.append((i, IDR))
        elif kind == CRA and (i == 0 or latest[i - 1] < at) and (row[i + 1 : at + 1] < at).all():
            found.append((at, CRA))
    return found


def _dts(known: np.ndarray | None, clock: FrameClock, row: np.ndarray) -> np.ndarray:
    """(N,) decoding times of the output's packets: the file's own, whichever packet stands there (the i-th is decoded
    no later than the i-th frame is shown); where they are not known, as late as the order allows."""
    ticks = clock.pts - clock.pts[0]
    if known is not None and (np.diff(known) > 0).all() and (known <= clock.pts).all():
        return known - clock.pts[0]
    delay = int((np.arange(len(row)) - row).max())
    step = int(ticks[1]) if len(ticks) > 1 else 1
    return np.append(ticks[0] - np.arange(delay, 0, -1) * step, ticks[: len(ticks) - delay])


class SplicedWriter(VideoWriter):
    """`VideoWriter` for the drawn parts of a target, around which its own packets are copied, byte by byte, with their
    times (less the first frame's).

    todo: the rows to write. The parts are encoded in the target's codec, format, colours and orientation, without
    B-frames: so every packet finds a decoding time of the packets it stands for. Before a CRA picture an
    end-of-sequence NAL unit lets decoding start anew. Further options as for `VideoWriter`."""

    def __init__(self, path: str | Path, splice: Splice, *, clock: FrameClock, **options: Any) -> None:
        options["like"] = splice.stream
        super().__init__(path, clock=clock, codec=splice.units.encoder, **options)
        self.todo = list(splice.ranges)
        self._splice, self._pix_fmt = splice, splice.stream.pix_fmt
        self._turned = any(splice.stream.orientation)
        self._size = (self.height, self.width) if splice.stream.orientation[2] else (self.width, self.height)
        self._choose_siting()
        self._hevc_tag = "hev1" if splice.in_band else "hvc1"
        self._muxed, self._given_up = 0, False
        self._notes.append(self._told())

    def _told(self) -> str:
        """Which parts were encoded."""
        ends = np.append(self.clock.seconds, float(self.clock.duration_s))
        spans = [f"{ends[part.start]:.2f}-{ends[part.stop]:.2f} s" for part in self.todo]
        said = ", ".join(spans[:_MOST_SAID])
        if len(spans) > _MOST_SAID:
            said += f" and {len(spans) - _MOST_SAID} more parts"
        if not spans:
            return "nothing was re-encoded; the picture was copied"
        if self._splice.passed:
            said += ", up to the next IDR picture, because its GOPs are open"
        return f"re-encoded {said}; the rest of the picture was copied"

    def _add_picture(self) -> av.video.stream.VideoStream:
        source = self._splice.stream
        with open_video(source.path, source.limits) as container:
            stream = self._container.add_stream_from_template(picture_track(container, source.path, source.limits))
        stream.codec_context.extradata = self._splice.units.with_sets_of(self._encoder().extradata or b"")
        stream.time_base = self.clock.base
        return stream

    def _encoder(self) -> Any:
        source, units = self._splice.stream, self._splice.units
        options, name = self._options(), f"{self._codec.removeprefix('lib')}-params"
        params = [options.get(name, ""), "bframes=0", "open-gop=0", f"keyint={self._splice.keyint}", units.options]
        options[name] = ":".join(filter(None, params))
        if self._splice.profile:
            options["profile"] = self._splice.profile
        context: Any = av.CodecContext.create(self._codec, "w")
        context.width, context.height = self._size
        context.pix_fmt, context.time_base, context.framerate = source.pix_fmt, self.clock.base, self._rate
        tags = source.colour
        context.colorspace, context.color_range = tags.matrix, tags.range
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.sample_aspect_ratio = 1 / source.sample_aspect if source.orientation[2] else source.sample_aspect
        context.thread_type = "AUTO"
        context.flags |= av.codec.context.Flags.global_header
        context.options = options
        context.open()
        return context

    def _encode_all(self) -> None:
        plan, n = self._splice, len(self.clock)
        ticks = (self.clock.pts - self.clock.pts[0]).tolist()
        drawn = np.zeros(len(plan.row), bool)
        drawn[n:] = True  # after the end
        for part in plan.ranges:
            drawn[part] = True
        begins = {part.start: k for k, part in enumerate(plan.ranges)}
        frames = self._frames()
        for i, packet in enumerate(packet for packet in _packets(plan.stream) if not packet.is_discard):
            if self._given_up or (i in begins and not self._encode_range(begins[i], ticks, frames)):
                return
            if not drawn[row := int(plan.row[i])]:
                packet.pts = ticks[row]
                self._mux_next(packet, int(plan.duration[i]) or self._duration(row))
        self._mux_beside(None)

    def _encode_range(self, k: int, ticks: list[int], frames: Iterator[av.VideoFrame]) -> bool:
        """Whether its frames came; False: the writer was given up."""
        part, context, end = self.todo[k], self._encoder(), self._splice.after[k] == CRA
        made = part.start
        for row in [*range(part.start, part.stop), None]:
            frame = None
            if row is not None:
                if (frame := next(frames, None)) is None:
                    return False
                frame.pts, frame.time_base = ticks[row], self.clock.base
            for packet in context.encode(frame):
                units = [self._splice.units.renumbered(unit) for unit in annexb_units(bytes(packet))]
                made += 1
                if made == part.stop and end:
                    units.append(self._splice.units.end_of_sequence)
                copy = av.Packet(as_sample(units))
                copy.pts, copy.is_keyframe = packet.pts, packet.is_keyframe
                self._mux_next(copy, self._duration(made - 1))
        return True

    def _duration(self, row: int) -> int:
        """Of a frame, in ticks."""
        after = self.clock.end if row + 1 == len(self.clock) else int(self.clock.pts[row + 1])
        return after - int(self.clock.pts[row])

    def _mux_next(self, packet: av.Packet, duration: int) -> None:
        packet.time_base, packet.stream = self.clock.base, self._video
        packet.dts, packet.duration = int(self._splice.dts[self._muxed]), duration
        self._muxed += 1
        at = (packet.pts or 0) * self.clock.base
        self._container.mux(packet)
        self._mux_beside(at)

    def _discard(self) -> None:
        self._given_up = True
        super()._discard()
