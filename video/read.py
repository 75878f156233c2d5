"""Frames of a video file, by number: all in order (`read_frames`) or in any planned order (`read_rows`).

A frame is known by its presentation time, never by counting after a seek. Where a file's times are unusable, frames are
counted from the very start and the file is never sought."""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.stream
import av.video.stream
import numpy as np
import torch

from media import MediaError
from media.container import InputLimits, check_frames, check_size, open_media, too_large
from video.clock import FrameBatch, FrameClock
from video.colour import FULL, ColourTags, Converter
from video.prefetch import ahead

_EXACT_CONTAINERS = {
    "mov",
    "mp4",
    "m4a",
    "3gp",
    "3g2",
    "mj2",
    "matroska",
    "webm",
}  # packet times are stored, not guessed
_HELD_AT_END = 5  # frames that may be missing at the very end before it is an error
_MOST_FPS, _LONGEST_S = 10_000, 1000 * 3600  # beyond these a file's times are damage, not a recording
_PAST = 16  # decoded frames kept, so that a small step back is not a new start at the keyframe
_SEEK_GAP = 24  # frames: decoding this many costs about as much as a seek with frame threads


@dataclass(frozen=True, slots=True, eq=False)
class VideoStream:
    """A video file's picture track.

    clock: time of every frame; width, height: after rotation; orientation: (flip_x, flip_y, transpose) that makes the
    stored picture upright: transposed first, then flipped; rotation: the same in degrees clockwise; sample_aspect:
    width of an upright pixel over its height; colour: tags as in the file; audio_start_s: first audible sample minus
    first frame; keyframes: (K,) int64 frame numbers where decoding can start, only 0 where the file cannot be sought;
    by_count: frames are numbered from the start because times are unusable; notes: what was repaired, for the user;
    limits: the most that is opened of it."""

    path: Path
    clock: FrameClock
    width: int
    height: int
    orientation: tuple[bool, bool, bool]
    rotation: int
    sample_aspect: Fraction
    colour: ColourTags
    pix_fmt: str
    codec: str
    has_audio: bool
    audio_start_s: Fraction | None
    keyframes: np.ndarray
    by_count: bool
    notes: tuple[str, ...]
    limits: InputLimits = InputLimits()

    def __len__(self) -> int:
        return len(self.clock)


def probe(path: str | Path, limits: InputLimits = InputLimits()) -> VideoStream:
    """What is in the file, with the exact time of every frame that decoding will yield.

    Packets are listed without decoding where the container stores times (MP4, MOV, Matroska, WebM) and the first and
    the last frames agree with them; any other file is decoded once. Raises MediaError."""
    path = Path(path)
    with _open(path, limits) as container:
        stream = _picture_track(container, path, limits)
        first = next(_decode(container, stream), None)
        if first is None:
            raise MediaError(
                f"{path}: no frame of its {stream.codec_context.name} picture can be decoded: damaged, or too large. "
                "Re-encode or re-copy the file. " + too_large("megapixels", limits)
            )
        tags = ColourTags(
            *(int(v) for v in (first.colorspace, first.color_primaries, first.color_trc, first.color_range))
        )
        if first.format.name.startswith("yuvj"):
            tags = ColourTags(tags.matrix, tags.primaries, tags.transfer, FULL)
        elif first.format.is_rgb:
            tags = ColourTags(0, tags.primaries, tags.transfer, FULL)
        orientation, rotation = _orientation(first)
        base, codec = stream.time_base, stream.codec_context.name
        aspect = Fraction(stream.codec_context.sample_aspect_ratio or 1)
        aspect = 1 / aspect if orientation[2] else aspect
        exact = not _EXACT_CONTAINERS.isdisjoint(container.format.name.split(","))
        fallback_rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    notes: list[str] = []
    if tags.high_dynamic_range:
        notes.append("high dynamic range picture is handled in eight bits: fine gradients may band")
    if any(part.is_alpha for part in first.format.components) and first.to_ndarray(format="rgba")[..., 3].min() < 255:
        notes.append(
            "transparency is not kept: the picture is shown with the colours beneath it. Lay it over a background "
            "first to keep its look"
        )
    if first.interlaced_frame:
        notes.append("interlaced picture is handled as whole frames: moving edges stay combed")
    listed = _listed_times(path, limits) if exact else None
    pts, end, keys, by_count = listed if listed else _decoded_times(path, base, fallback_rate, notes, limits)
    clock = _believable(path, FrameClock(pts, base, end), limits)
    audio_start = _audio_start(path, limits)
    width, height = (first.height, first.width) if orientation[2] else (first.width, first.height)
    return VideoStream(
        path,
        clock,
        width,
        height,
        orientation,
        rotation,
        aspect,
        tags,
        first.format.name,
        codec,
        audio_start is not None,
        None if audio_start is None else audio_start - int(pts[0]) * base,
        keys,
        by_count,
        tuple(notes),
        limits,
    )


def read_frames(stream: VideoStream, batch: int = 8, start: int = 0, stop: int | None = None) -> Iterator[FrameBatch]:
    """Frames start..stop-1 in order, `batch` at a time (the last batch may be short). Decoded ahead in a thread."""
    stop = len(stream) if stop is None else min(stop, len(stream))
    rows = np.arange(start, stop, dtype=np.int64)
    for _, frames, _ in read_rows(stream, rows, batch):
        yield frames


def read_rows(
    stream: VideoStream, source: np.ndarray, batch: int = 8, also_next: np.ndarray | None = None
) -> Iterator[tuple[slice, FrameBatch, torch.Tensor | None]]:
    """Frames in a planned order: (rows, frames with index == source[rows], following frames).

    source: (N,) int64 frame numbers, any order; cheap where they stay, step or skip a little. The following frames are
    a (B,3,H,W) uint8 tensor holding frame source + 1 (the last frame again at the end) where also_next is set and zeros
    elsewhere; None where no row of the batch asks. Decoded ahead in a thread with a short queue; closing the iterator
    ends the thread. Raises MediaError."""
    source = np.asarray(source, np.int64)
    wanted = np.zeros(len(source), bool) if also_next is None else np.asarray(also_next, bool)
    if len(source) and not (source.min() >= 0 and source.max() < len(stream)):
        raise ValueError(f"read_rows: frames {source.min()}..{source.max()} asked of a video of {len(stream)}")
    if batch < 1 or wanted.shape != source.shape:
        raise ValueError(f"read_rows: batch {batch}, source {source.shape}, also_next {wanted.shape}")
    yield from ahead(_batches(stream, source, batch, wanted), depth=2)


def decoded_pictures(stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Every frame as the decoder gives it, in the file's own pixel format, not rotated."""
    with _open(stream.path, stream.limits) as container:
        yield from _decode(container, _picture_track(container, stream.path, stream.limits))


def _batches(stream: VideoStream, source: np.ndarray, batch: int, wanted: np.ndarray) -> Iterator:
    with _Reel(stream) as reel:
        for begin in range(0, len(source), batch):
            rows = slice(begin, min(begin + batch, len(source)))
            shape = (rows.stop - begin, 3, stream.height, stream.width)
            rgb = torch.empty(shape, dtype=torch.uint8)
            following = torch.zeros(shape, dtype=torch.uint8) if wanted[rows].any() else None
            for k, row in enumerate(range(rows.start, rows.stop)):
                reel.copy(int(source[row]), rgb[k])
                if wanted[row]:
                    reel.copy(min(int(source[row]) + 1, len(stream) - 1), following[k])
            yield rows, FrameBatch(rgb, source[rows].copy()), following


class _Reel:
    """One open decoder over a VideoStream that can show frame i. Forward where possible, otherwise from the keyframe
    before."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream = stream
        stored = (stream.height, stream.width) if stream.orientation[2] else (stream.width, stream.height)
        self._convert = Converter(stream.colour.resolved(*stored), *stored)
        self._pts = stream.clock.pts.tolist()
        self._keys = stream.keyframes.tolist()
        self._recent: dict[int, tuple[np.ndarray, ...]] = {}  # planes of the last frames
        self._container = None
        self._may_seek = not stream.by_count and len(self._keys) > 1
        self._restart()

    def __enter__(self) -> _Reel:
        return self

    def __exit__(self, *_) -> None:
        self._recent.clear()
        self._frames = None
        self._container.close()

    def copy(self, i: int, out: torch.Tensor) -> None:
        """Fills out, (3,H,W) uint8, with frame i."""
        if i not in self._recent:
            planes = self._convert.planes(self._frame(i))
            # Two are enough for a repeated source and for a frame with its follower.
            self._recent = {j: old for j, old in self._recent.items() if abs(j - i) == 1}
            self._recent[i] = planes
        flip_x, flip_y, transpose = self.stream.orientation
        for plane, target in zip(self._recent[i], out.numpy(), strict=True):
            plane = plane.T if transpose else plane
            target[:] = plane[:: -1 if flip_y else 1, :: -1 if flip_x else 1]

    def _restart(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = _open(self.stream.path, self.stream.limits)
        self._track = _picture_track(self._container, self.stream.path, self.stream.limits)
        self._begin()

    def _begin(self) -> None:
        self._frames = _decode(self._container, self._track)
        self._waiting: tuple[av.VideoFrame, int] | None = None  # decoded and numbered, not yet due
        self._shown: av.VideoFrame | None = None
        self._at = -1  # number of the shown frame
        self._past: deque[tuple[int, av.VideoFrame]] = deque(maxlen=_PAST)
        self._count = 0  # frames taken since the start of the file, for by_count

    def _frame(self, i: int) -> av.VideoFrame:
        for number, frame in self._past:
            if number == i:
                return frame
        key = self._keys[bisect.bisect_right(self._keys, i) - 1]
        if i < self._at or (self._may_seek and key - self._at > _SEEK_GAP):
            self._seek(i, key)
        frame = self._forward(i)
        if frame is None and self._may_seek:
            # The file's times after a seek are not those of a straight run: trust only straight runs from here on.
            self._may_seek = False
            self._restart()
            frame = self._forward(i)
        if frame is None:
            at = float(self.stream.clock.seconds[i])
            raise MediaError(
                f"{self.stream.path}: frame {i} ({at:.2f} s) cannot be decoded. The file is damaged: copy it again or "
                "re-encode it."
            )
        return frame

    def _forward(self, i: int) -> av.VideoFrame | None:
        """Frame i; where it is damaged, the one before is held. None where decoding does not get near i."""
        if self._at == i:
            return self._shown
        while (ready := self._waiting or self._next()) is not None:
            frame, number = ready
            self._waiting = None
            if number is None:
                return None
            if number > i:
                self._waiting = ready
                break
            self._shown, self._at = frame, number
            self._past.append((number, frame))
            if number == i:
                return frame
        else:
            return self._shown if i - self._at <= _HELD_AT_END else None
        return self._shown

    def _next(self) -> tuple[av.VideoFrame, int | None] | None:
        """The next decoded frame and its number; number None where the frame's time is not on the clock; None at the
        end."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        if self.stream.by_count:
            self._count += 1
            return frame, self._count - 1
        at = len(self._pts) if frame.pts is None else bisect.bisect_left(self._pts, frame.pts)
        return frame, at if at < len(self._pts) and self._pts[at] == frame.pts else None

    def _seek(self, i: int, key: int) -> None:
        """Stands before frame i at a keyframe: `key`, or an earlier one where the container lands too late."""
        if not self._may_seek or key == 0:
            return self._restart()
        pts, back = self._pts[key], 0
        second = max(1, round(1 / self.stream.clock.base))
        while pts - back > self._pts[0]:
            try:
                self._container.seek(pts - back, stream=self._track)
            except av.error.FFmpegError:
                break
            self._begin()
            for ready in iter(self._next, None):
                if ready[1] is not None and ready[0].key_frame:
                    break
            else:
                ready = None
            if ready is not None and ready[1] <= i:
                self._waiting = ready
                return None
            back = 2 * back or second
        return self._restart()


def _open(path: Path, limits: InputLimits) -> av.container.InputContainer:
    if not path.exists():
        raise MediaError(f"{path}: there is no such file. Check the path.")
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a video file. Name a file in it.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes). Copy or record it again.")
    try:
        return open_media(path, limits)
    except PermissionError as error:
        raise MediaError(f"{path} may not be read. Give yourself read permission.") from error
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} is not a video that can be opened ({_reason(error)}): "
            "cut off, damaged or of an unknown format. Copy it again or convert it to MP4."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _picture_track(
    container: av.container.InputContainer, path: Path, limits: InputLimits
) -> av.video.stream.VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                break
            check_size(stream, path, limits)
            stream.thread_type = "AUTO"
            return stream
    kind = "an audio file" if container.streams.audio else "no video"
    raise MediaError(f"{path} has no picture track that can be decoded (it is {kind}). Name a video file.")


def _decode(container, stream) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded from here to the end; damaged packets are stepped over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except MemoryError:  # is no damage: frames would be missing
            raise
        except (StopIteration, av.error.FFmpegError, OSError):
            packet = None
        try:
            yield from stream.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            pass
        if packet is None or (packet.dts is None and packet.size == 0):
            return


def _orientation(frame: av.VideoFrame) -> tuple[tuple[bool, bool, bool], int]:
    """(flip_x, flip_y, transpose) and degrees clockwise, from the display matrix: x' = a x + c y, y' = b x + d y."""
    matrix = next((s for s in frame.side_data if s.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return (False, False, False), 0
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    transpose = abs(b) + abs(c) > abs(a) + abs(d)
    flips = (c < 0, b < 0) if transpose else (a < 0, d < 0)
    rotation = round(np.degrees(np.arctan2(b, a)) / 90) * 90 % 360
    return (*flips, transpose), int(rotation)


def _listed_times(path: Path, limits: InputLimits) -> tuple[np.ndarray, int, np.ndarray, bool] | None:
    """(pts, end, keyframes, False) from packets alone, or None where they cannot be trusted."""
    with _open(path, limits) as container:
        stream = _picture_track(container, path, limits)
        packets = []
        try:
            for p in container.demux(stream):
                if p.size and not p.is_discard:
                    packets.append((p.pts, p.duration or 0, p.is_keyframe, p.is_corrupt))
                    check_frames(len(packets), path, limits)
        except (av.error.FFmpegError, OSError):
            return None
    if not packets or any(p[0] is None or p[3] for p in packets):
        return None
    packets.sort(key=lambda p: p[0])
    pts = np.array([p[0] for p in packets], np.int64)
    keys = np.flatnonzero([p[2] for p in packets])
    if len(keys) == 0 or keys[0] != 0 or (np.diff(pts) <= 0).any() or not _ends_agree(path, pts, keys, limits):
        return None
    return pts, _end(pts, packets[-1][1], 1), keys, False


def _ends_agree(path: Path, pts: np.ndarray, keys: np.ndarray, limits: InputLimits) -> bool:
    """Whether the first frames, and those from the last keyframe on, decode to the listed times."""
    head = 8
    with _open(path, limits) as container:
        stream = _picture_track(container, path, limits)
        for want, frame in zip(pts[:head], _decode(container, stream), strict=False):
            if frame.pts != want:
                return False
    with _open(path, limits) as container:
        stream = _picture_track(container, path, limits)
        if keys[-1] > 0:
            try:
                container.seek(int(pts[keys[-1]]), stream=stream)
            except av.error.FFmpegError:
                return False
        got = [frame.pts for frame in _decode(container, stream)]
    tail = pts[keys[-1] :]
    return None not in got and [p for p in got if p >= tail[0]] == tail.tolist()


def _believable(path: Path, clock: FrameClock, limits: InputLimits) -> FrameClock:
    """The same clock; MediaError where so many frames a second, or so many hours, can only be damage."""
    length_s = (clock.end - int(clock.pts[0])) * clock.base
    if length_s > _LONGEST_S or (int(clock.pts[-1]) - int(clock.pts[0])) * clock.base * _MOST_FPS < len(clock) - 1:
        raise MediaError(
            f"{path}: by the times in the file, {len(clock)} frames take {float(length_s):.4g} s. They are damaged: "
            "convert it to a constant frame rate."
        )
    if length_s > limits.hours * 3600:
        raise MediaError(f"{path} lasts {float(length_s) / 3600:.4g} hours. {too_large('hours', limits)}")
    return clock


def _decoded_times(
    path: Path, base: Fraction, rate: Fraction, notes: list[str], limits: InputLimits
) -> tuple[np.ndarray, int, np.ndarray, bool]:
    """(pts, end, keyframes, by_count) by decoding the whole file; unusable times are repaired with a note."""
    seen = []
    with _open(path, limits) as container:
        for f in _decode(container, _picture_track(container, path, limits)):
            seen.append((f.pts, f.key_frame, getattr(f, "duration", 0) or 0))
            check_frames(len(seen), path, limits)
    step = max(1, round(1 / (rate * base)))
    times = [s[0] for s in seen]
    keys = np.flatnonzero([s[1] for s in seen])
    missing = sum(t is None for t in times)
    if not missing:
        pts = np.array(times, np.int64)
        if (np.diff(pts) > 0).all():
            keys = keys if len(keys) and keys[0] == 0 else np.zeros(1, np.int64)
            return pts, _end(pts, seen[-1][2], step), keys, False
    wrong = missing or int(sum(b <= a for a, b in itertools.pairwise(times)))
    if wrong > len(times) // 10:  # AVI with B-frames, bare streams: the times mean nothing
        pts = np.array([round(i / (rate * base)) for i in range(len(times))], np.int64)
        repair = f"the video is taken as constant {float(rate):.4g} fps"
    else:
        pts = _repaired(times, step)
        repair = "they were put in order"
    notes.append(
        f"{wrong} of {len(pts)} frames had missing, repeated or backward times; {repair}. Jumps in it are slow: "
        "convert it to MP4"
    )
    return pts, _end(pts, 0, step), np.zeros(1, np.int64), True


def _repaired(times: list[int | None], step: int) -> np.ndarray:
    """Strictly increasing times: gaps filled by `step`, repeats moved by one tick, backward jumps joined on."""
    out: list[int] = []
    shift = 0
    for t in times:
        if not out:
            out.append(t or 0)
            continue
        new = out[-1] + step if t is None else t + shift
        if new <= out[-1]:
            if out[-1] - new >= step:
                shift += out[-1] + step - new
                new = out[-1] + step
            else:
                new = out[-1] + 1
        out.append(new)
    return np.array(out, np.int64)


def _end(pts: np.ndarray, last_duration: int, step: int) -> int:
    usual = int(np.median(np.diff(pts))) if len(pts) > 1 else step
    return int(pts[-1]) + (last_duration if last_duration > 0 else usual)


def _audio_start(path: Path, limits: InputLimits) -> Fraction | None:
    """Seconds on the file's own clock at which the first audible sample sounds; None without audio."""
    with _open(path, limits) as container:
        track = container.streams.best("audio")
        if track is None:
            return None
        try:
            for frame in container.decode(track):
                if frame.pts is not None:
                    return frame.pts * Fraction(frame.time_base)
        except av.error.FFmpegError:
            pass
        return Fraction(0) if track.start_time is None else track.start_time * Fraction(track.time_base)
