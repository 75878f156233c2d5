"""What is in a video file: its size, its colours, and the exact time of every frame."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import av.container
import av.error
import av.stream
import av.video.stream
import numpy as np

from media import MediaError
from media.container import InputLimits, check_frames, check_size, open_media, too_large
from media.demux import decoded
from media.sound import time_of
from media.tracks import sound_track
from video.clock import FrameClock
from video.colour import FULL, ColourTags, siting_of
from video.hdr import NO_HDR, HdrData, hdr_data

#: Packet times are stored there, not guessed.
_EXACT_CONTAINERS = {"mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm"}
_MOST_FPS, _LONGEST_S = 10_000, 1000 * 3600  # beyond these a file's times are damage, not a recording


@dataclass(frozen=True, slots=True, eq=False)
class VideoStream:
    """A video file's picture track.

    clock: time of every frame; width, height: after rotation; orientation: (flip_x, flip_y, transpose) that makes the
    stored picture upright: transposed first, then flipped; rotation: the same in degrees clockwise; sample_aspect:
    width of an upright pixel over its height; colour: tags as in the file; audio_start_s: first audible sample minus
    first frame; keyframes: (K,) int64 frame numbers where decoding can start, only 0 where the file cannot be sought;
    by_count: frames are numbered from the start because times are unusable; notes: what was repaired, for the user;
    limits: the most that is opened of it; siting: FFmpeg's name of where its colour samples lie; hdr: of the screen
    that it was graded on; transparent: some of its first frame is; matrix: FFmpeg's display matrix."""

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
    siting: str = "left"
    hdr: HdrData = NO_HDR
    transparent: bool = False
    matrix: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.clock)


class FrameTimes(NamedTuple):
    """When frames are shown. pts: (T,) int64; end: of the last; both ticks; keyframes: (K,) int64 frame numbers;
    by_count: as of `VideoStream`."""

    pts: np.ndarray
    end: int
    keyframes: np.ndarray
    by_count: bool = False


def probe(
    path: str | Path,
    limits: InputLimits = InputLimits(),
    listed: Callable[[Path, InputLimits], FrameTimes | None] | None = None,
) -> VideoStream:
    """What is in the file, with the exact time of every frame that decoding will yield.

    Packets are listed without decoding where the container stores times (MP4, MOV, Matroska, WebM) and the first and
    the last frames agree with them (`listed_times`, or what is given instead, which may have kept them); any other file
    is decoded once. Raises MediaError."""
    path = Path(path)
    with open_video(path, limits) as container:
        stream = picture_track(container, path, limits)
        context = stream.codec_context
        first = next(decode(container, stream), None)
        if first is None:
            raise MediaError(
                f"{path}: no frame of its {context.name} picture can be decoded: damaged, or too large. "
                "Re-encode or re-copy the file. " + too_large("megapixels", limits)
            )
        base, codec = stream.time_base or Fraction(1, 1000), context.name
        aspect = Fraction(context.sample_aspect_ratio or 1)
        exact = not _EXACT_CONTAINERS.isdisjoint(container.format.name.split(","))
        fallback_rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    colour, matrix, notes = _tags(first), _display_matrix(first), _oddities(first)
    orientation, rotation = _orientation(matrix)
    look = (siting_of(first), hdr_data(first), _is_transparent(first), matrix)
    times = (listed or listed_times)(path, limits) if exact else None
    pts, end, keys, by_count = times or _decoded_times(path, base, fallback_rate, notes, limits)
    clock = _believable(path, FrameClock(pts, base, end), limits)
    sound_s = _audio_start(path, notes, limits)
    audio_start_s = None if sound_s is None else sound_s - int(pts[0]) * base
    width, height = (first.height, first.width) if orientation[2] else (first.width, first.height)
    aspect = 1 / aspect if orientation[2] else aspect
    return VideoStream(
        path, clock, width, height, orientation, rotation, aspect, colour, first.format.name, codec,
        sound_s is not None, audio_start_s, keys, by_count, tuple(notes), limits, *look,
    )  # fmt: skip


def _tags(frame: av.VideoFrame) -> ColourTags:
    """What the picture says of its colours."""
    codes = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    tags = ColourTags(*(int(value) for value in codes))
    if frame.format.name.startswith("yuvj"):
        return ColourTags(tags.matrix, tags.primaries, tags.transfer, FULL)
    return ColourTags(0, tags.primaries, tags.transfer, FULL) if frame.format.is_rgb else tags


def _oddities(frame: av.VideoFrame) -> list[str]:
    """What the user should know of how these pictures are handled."""
    return ["interlaced picture is handled as whole frames: moving edges stay combed"] if frame.interlaced_frame else []


def _is_transparent(frame: av.VideoFrame) -> bool:
    has_alpha = any(part.is_alpha for part in frame.format.components)
    return has_alpha and int(frame.to_ndarray(format="rgba")[..., 3].min()) < 255


def open_video(path: Path, limits: InputLimits) -> av.container.InputContainer:
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


def picture_track(
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


def decode(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded from here to the end; damaged packets are stepped over."""
    return (frame for frame in decoded(container, stream, flush_damaged=True) if frame is not None)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    found: Any = next((s for s in cast(Any, frame.side_data) if s.type.name == "DISPLAYMATRIX"), None)
    return None if found is None else tuple(np.frombuffer(bytes(found), np.int32, 9).tolist())


def _orientation(matrix: tuple[int, ...] | None) -> tuple[tuple[bool, bool, bool], int]:
    """(flip_x, flip_y, transpose) and degrees clockwise, from the display matrix: x' = a x + c y, y' = b x + d y."""
    if matrix is None:
        return (False, False, False), 0
    a, b, _, c, d = matrix[:5]
    transpose = abs(b) + abs(c) > abs(a) + abs(d)
    flips = (c < 0, b < 0) if transpose else (a < 0, d < 0)
    rotation = round(np.degrees(np.arctan2(b, a)) / 90) * 90 % 360
    return (flips[0], flips[1], transpose), int(rotation)


def listed_times(path: Path, limits: InputLimits) -> FrameTimes | None:
    """From packets alone, or None where they cannot be trusted: all from the last keyframe on are decoded to see."""
    with open_video(path, limits) as container:
        stream = picture_track(container, path, limits)
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
    return FrameTimes(pts, _end(pts, packets[-1][1], 1), keys)


def _for_times(container: av.container.InputContainer, path: Path, limits: InputLimits) -> av.video.stream.VideoStream:
    """The picture track, decoded without what only makes pictures look well: a quarter faster."""
    stream = picture_track(container, path, limits)
    stream.codec_context.options = {"skip_loop_filter": "all", "skip_idct": "all"}
    return stream


def _ends_agree(path: Path, pts: np.ndarray, keys: np.ndarray, limits: InputLimits) -> bool:
    """Whether the first frames, and those from the last keyframe on, decode to the listed times."""
    head = 8
    with open_video(path, limits) as container:
        stream = _for_times(container, path, limits)
        for want, frame in zip(pts[:head], decode(container, stream), strict=False):
            if frame.pts != want:
                return False
    with open_video(path, limits) as container:
        stream = _for_times(container, path, limits)
        if keys[-1] > 0:
            try:
                container.seek(int(pts[keys[-1]]), stream=stream)
            except av.error.FFmpegError:
                return False
        got = [frame.pts for frame in decode(container, stream)]
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


def _decoded_times(path: Path, base: Fraction, rate: Fraction, notes: list[str], limits: InputLimits) -> FrameTimes:
    """By decoding the whole file; unusable times are repaired with a note."""
    seen = []
    with open_video(path, limits) as container:
        for f in decode(container, _for_times(container, path, limits)):
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
            return FrameTimes(pts, _end(pts, seen[-1][2], step), keys)
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
    return FrameTimes(pts, _end(pts, 0, step), np.zeros(1, np.int64), True)


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


def _audio_start(path: Path, notes: list[str], limits: InputLimits) -> Fraction | None:
    """Seconds on the file's own clock at which the first audible sample sounds; None without audio that can be
    decoded."""
    with open_video(path, limits) as container:
        track, left = sound_track(container, path, limits)
        notes += left
        if track is None:
            return None
        if track.codec_context is None:
            notes.append(f"{path.name}: its sound is of a kind that cannot be decoded, and counts as none")
            return None
        for frame in filter(None, decoded(container, track)):
            if (start_s := time_of(frame)) is not None:
                return start_s
        return Fraction(0) if track.start_time is None else track.start_time * (track.time_base or Fraction(1))
