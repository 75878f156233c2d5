"""Frames of a video file, by number: all in order (`read_frames`) or in any planned order (`read_rows`).

A frame is known by its presentation time, never by counting after a seek. Where a file's times are unusable, frames are
counted from the very start and the file is never sought."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Generator, Iterator

import av
import av.container
import av.error
import av.stream
import av.video.stream
import numpy as np
import torch

from media import MediaError
from video.clock import FrameBatch
from video.colour import Converter
from video.flow import half_step
from video.picture import Cutter, FramePicture, Rect
from video.prefetch import ahead
from video.probe import VideoStream, decode, open_video, picture_track

#: The box of the picture that is wanted of rows begin..end-1.
Window = Callable[[slice], Rect]
_HELD_AT_END = 5  # frames that may be missing at the very end before it is an error
_PAST = 16  # at most: decoded frames kept, so that a small step back is not a new start at the keyframe
_BATCH = 17_000_000  # pixels: larger batches are smaller than asked for, two frames at 3840x2160
_MUCH = 8_300_000  # pixels: of larger batches but one waits
_WAITING = 17_000_000  # pixels of decoded frames that wait, and of those kept behind
_SEEK_GAP = 24  # frames: decoding this many costs about as much as a seek with frame threads


def read_frames(stream: VideoStream, batch: int = 8, start: int = 0, stop: int | None = None) -> Iterator[FrameBatch]:
    """Frames start..stop-1 in order, `batch` at a time, fewer of large ones (the last batch may be short). Decoded
    ahead in a thread."""
    stop = len(stream) if stop is None else min(stop, len(stream))
    rows = np.arange(start, stop, dtype=np.int64)
    for _, frames in read_rows(stream, rows, batch):
        yield frames


def read_rows(
    stream: VideoStream,
    source: np.ndarray,
    batch: int = 8,
    half: np.ndarray | None = None,
    pictures: bool = False,
    window: Window | None = None,
) -> Iterator[tuple[slice, FrameBatch]]:
    """Frames in a planned order: (rows, frames with index == source[rows]).

    source: (N,) int64 frame numbers, any order; cheap where they stay, step or skip a little. batch: of large frames
    there are fewer. Where `half`, (N,) bool, is set, the frame is the one half way to the next (to itself at the end),
    drawn by optical flow. pictures: the batches hold the decoded frames, too; window: only this box of them becomes
    RGB. All this is done ahead in a thread with a short queue; closing the iterator ends the thread. Raises
    MediaError."""
    source = np.asarray(source, np.int64)
    wanted = np.zeros(len(source), bool) if half is None else np.asarray(half, bool)
    if len(source) and not (source.min() >= 0 and source.max() < len(stream)):
        raise ValueError(f"read_rows: frames {source.min()}..{source.max()} asked of a video of {len(stream)}")
    if batch < 1 or wanted.shape != source.shape:
        raise ValueError(f"read_rows: batch {batch}, source {source.shape}, half {wanted.shape}")
    batch = int(np.clip(_BATCH // (stream.width * stream.height), 1, batch))
    depth = 1 if batch * stream.width * stream.height > _MUCH else 2
    yield from ahead(_batches(stream, source, batch, wanted, pictures, window), depth)


def pictures_of(stream: VideoStream, source: np.ndarray | None = None) -> Generator[av.VideoFrame]:
    """Frames in a planned order, `source` as for `read_rows` (None = all in order), as the decoder gives them: in the
    file's own pixel format, not rotated. Raises MediaError."""
    with _Reel(stream) as reel:
        for i in range(len(stream)) if source is None else source.tolist():
            yield reel.frame(i)


def frames_ahead(stream: VideoStream) -> int:
    """How many decoded frames may wait: few of large ones."""
    return int(np.clip(_WAITING // (stream.width * stream.height), 2, 8))


def decoded_pictures(stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Every frame as the decoder gives it, in the file's own pixel format, not rotated."""
    with open_video(stream.path, stream.limits) as container:
        yield from decode(container, picture_track(container, stream.path, stream.limits))


def _batches(
    stream: VideoStream, source: np.ndarray, batch: int, half: np.ndarray, pictures: bool, window: Window | None
) -> Generator[tuple[slice, FrameBatch]]:
    cutter = Cutter(stream)
    with _Reel(stream) as reel:
        for begin in range(0, len(source), batch):
            rows = slice(begin, min(begin + batch, len(source)))
            box = (0, 0, stream.width, stream.height) if window is None else window(rows)
            rgb = torch.empty((rows.stop - begin, 3, box[3] - box[1], box[2] - box[0]), dtype=torch.uint8)
            shown = []
            for i, is_half, out in zip(source[rows].tolist(), half[rows].tolist(), rgb, strict=True):
                is_half &= i < len(stream) - 1
                if window is None and not is_half:
                    shown.append(reel.copy(i, out))
                else:
                    shown.append(reel.between(i) if is_half else reel.frame(i))
                    FramePicture(shown[-1], cutter).copy(box, out.numpy())
            yield rows, FrameBatch(rgb, source[rows].copy(), tuple(shown) if pictures else (), box[:2])


class _Reel:
    """One open decoder over a VideoStream that can show frame i. Forward where possible, otherwise from the keyframe
    before."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream = stream
        stored = (stream.height, stream.width) if stream.orientation[2] else (stream.width, stream.height)
        self._convert = Converter(stream.colour.resolved(*stored), *stored)
        self._pts = stream.clock.pts.tolist()
        self._keys = stream.keyframes.tolist()
        self._recent: dict[int, tuple[tuple[np.ndarray, ...], av.VideoFrame]] = {}  # the last frames and their planes
        self._keep = int(np.clip(_WAITING // (stream.width * stream.height), 2, _PAST))
        self._container: av.container.InputContainer | None = None
        self._may_seek = not stream.by_count and len(self._keys) > 1
        self._restart()

    def __enter__(self) -> _Reel:
        return self

    def __exit__(self, *_) -> None:
        self._recent.clear()
        self._frames = iter(())
        if self._container is not None:
            self._container.close()

    def copy(self, i: int, out: torch.Tensor) -> av.VideoFrame:
        """Fills out, (3,H,W) uint8, with frame i; the frame as decoded."""
        if i not in self._recent:
            picture = self.frame(i)
            planes = self._convert.planes(picture)
            # Two are enough for a repeated source and for a frame with its follower.
            self._recent = {j: old for j, old in self._recent.items() if abs(j - i) == 1}
            self._recent[i] = planes, picture
        flip_x, flip_y, transpose = self.stream.orientation
        planes, picture = self._recent[i]
        for plane, target in zip(planes, out.numpy(), strict=True):
            plane = plane.T if transpose else plane
            target[:] = plane[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        return picture

    def between(self, i: int) -> av.VideoFrame:
        """The frame half way from frame i to the next."""
        return half_step(self.frame(i), self.frame(i + 1))

    def _restart(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = container = open_video(self.stream.path, self.stream.limits)
        self._track = picture_track(container, self.stream.path, self.stream.limits)
        self._begin(container)

    def _begin(self, container: av.container.InputContainer) -> None:
        self._frames = decode(container, self._track)
        self._waiting: tuple[av.VideoFrame, int | None] | None = None  # decoded and numbered, not yet due
        self._shown: av.VideoFrame | None = None
        self._at = -1  # number of the shown frame
        self._past: deque[tuple[int, av.VideoFrame]] = deque(maxlen=self._keep)
        self._count = 0  # frames taken since the start of the file, for by_count

    def frame(self, i: int) -> av.VideoFrame:
        """Frame i as decoded."""
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
        container = self._container
        if container is None or not self._may_seek or key == 0:
            return self._restart()
        pts, back = self._pts[key], 0
        second = max(1, round(1 / self.stream.clock.base))
        while pts - back > self._pts[0]:
            try:
                container.seek(pts - back, stream=self._track)
            except av.error.FFmpegError:
                break
            self._begin(container)
            for ready in iter(self._next, None):
                if ready[1] is not None and ready[0].key_frame:
                    break
            else:
                ready = None
            if ready is not None and ready[1] is not None and ready[1] <= i:
                self._waiting = ready
                return None
            back = 2 * back or second
        return self._restart()
