"""RGB frames and a speech file into a video file."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import av.error
import av.video.stream
import numpy as np
import torch

from media import MediaError
from media.atomic import commit, part_path, remove_part, remove_stale
from media.container import InputLimits
from media.sound import Sound
from video.carry import QUICKTIME, Carried, Carry, name_speech
from video.clock import FrameBatch, FrameClock
from video.codecs import encoder_of, failed, preset_options, unknown_codec, usable_encoder, wrong_setting
from video.colour import FULL, LIMITED, RGB, ColourTags, Converter
from video.extras import own_tags
from video.formats import best_format, format_notes, keeps_turned, picture_options, writable_formats
from video.mux import SpeechTrack
from video.picture import Cutter, FramePicture
from video.probe import VideoStream
from video.samples import Drawn, Painter, drawn_over

#: Encoder -> (pixel format, the same for odd sizes, name of its quality option, further options).
ENCODERS: dict[str, tuple[str, str, str | None, dict[str, str]]] = {
    # Without this x264's fastest routines give the same frames other bytes now and then, and on another machine.
    "libx264": ("yuv420p", "yuv444p", "crf", {"x264-params": "cpu-independent=1"}),
    "libx265": ("yuv420p", "yuv444p", "crf", {"x265-params": "log-level=error"}),
    "libsvtav1": ("yuv420p", "yuv420p", "crf", {}),
    "libvpx-vp9": ("yuv420p", "yuv420p", "crf", {"b": "0", "row-mt": "1"}),
    "h264_nvenc": ("yuv420p", "yuv444p", "cq", {"rc": "vbr"}),
    "hevc_nvenc": ("yuv420p", "yuv444p", "cq", {"rc": "vbr"}),
    "prores_ks": ("yuv422p10le", "yuv444p10le", None, {"profile": "3"}),
    "ffv1": ("bgr0", "bgr0", None, {"level": "3", "slices": "4"}),
}
#: Pixels of frames that wait to be encoded, 8 frames at most.
_WAITING = 17_000_000
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: (file) -> notes; see `VideoWriter`.
Seal = Callable[[Path], Sequence[str]]
_LEFT_ENCODERS = ("libx264", "libx265", "h264_nvenc", "hevc_nvenc")


def available_encoders() -> list[str]:
    """Names of the encoders that this program knows and this machine's FFmpeg was built with."""
    return [name for name in ENCODERS if name in av.codecs_available]


@dataclass(frozen=True, slots=True)
class WrittenVideo:
    """What was written. audio: "copied", "encoded" or "none"; notes: what the user should know; details: what who
    asks may know."""

    path: Path
    n_frames: int
    n_bytes: int
    pix_fmt: str
    colour: ColourTags
    audio: str
    notes: tuple[str, ...]
    details: tuple[str, ...] = ()


class VideoWriter:
    """Writes frames on a clock, with a speech file that starts together with the first frame.

    Encodes in a thread of its own. Everything goes to a hidden file beside `path`, renamed at a clean exit; after an
    exception nothing is left. Frame i is shown at clock.pts[i] - clock.pts[0] (Matroska rounds to milliseconds). Raises
    MediaError.

    colour: the target's tags; unsaid ones are filled in by size, and written. like: the target, whose pixel format,
    place of colour samples, HDR data and turn the output gets where the encoder can; notes say where not. pix_fmt:
    instead of that, or of the encoder's usual one. speech: a file, copied packet by packet where the container allows,
    otherwise encoded as AAC; or sound that is made meanwhile. audio_end_s: cut it there; None = all of it. rate: that
    the encoder is told; None = the clock's. limits: of the speech's file. carry: what is taken over from the target;
    language: of the speech, three letters, empty = as its file says, else as the track that it replaces. notes: begin
    those of `facts`. seal: called with the whole file before it gets its name; it may change it, and returns notes.
    options: more for the encoder, by FFmpeg's names."""

    _hevc_tag = "hvc1"  # in MP4 and MOV: Apple's players know no other

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        clock: FrameClock,
        colour: ColourTags = ColourTags(),
        codec: str = "auto",
        crf: int = 16,
        preset: str = "veryfast",
        speech: str | Path | Sound | None = None,
        audio_end_s: Fraction | None = None,
        metadata: dict[str, str] | None = None,
        sample_aspect: Fraction | None = None,
        rate: Fraction | None = None,
        limits: InputLimits = InputLimits(),
        carry: Carry | None = None,
        language: str = "",
        notes: Sequence[str] = (),
        like: VideoStream | None = None,
        pix_fmt: str = "",
        seal: Seal | None = None,
        options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.path = Path(path)
        self.width, self.height, self.clock = width, height, clock
        self.todo = [slice(0, len(clock))]  #: the rows that are to be written, in order
        self._facts: WrittenVideo | None = None
        self._codec, unusable = usable_encoder(encoder_of(codec, self.path.suffix))
        self._crf, self._preset = crf, preset
        self._colour = colour.resolved(width, height)
        self._sound = Path(speech) if isinstance(speech, str) else speech
        self._audio_end_s, self._metadata, self._aspect = audio_end_s, dict(metadata or {}), sample_aspect
        self._rate = (rate or clock.rate).limit_denominator(1001)
        self._limits, self._notes, self._details = limits, [*notes, *filter(None, [unusable])], list[str]()
        self._carry, self._language, self._seal = carry, language, seal
        self._more_options = dict(options)
        self._like, self._wanted_format = like, pix_fmt
        self._turned = keeps_turned(like, self.path.suffix.lower())
        self._size = (height, width) if self._turned and like and like.orientation[2] else (width, height)
        self._check()
        self._part = part_path(self.path)

    def _check(self) -> None:
        if not self.path.parent.is_dir():
            raise MediaError(f"{self.path}: the folder {self.path.parent} does not exist. Make it first.")
        if self.path.is_dir():
            raise MediaError(f"{self.path} is a folder. Name a file to write, such as out.mp4.")
        if not os.access(self.path.parent, os.W_OK):
            raise MediaError(f"{self.path}: the folder {self.path.parent} may not be written to. Choose another one.")
        if self._codec not in available_encoders():
            raise MediaError(f"{self.path}: {unknown_codec(self._codec, available_encoders())}")
        if sentence := wrong_setting(self._codec, self._crf, self._preset):
            raise MediaError(f"{self.path}: {sentence}")
        if self._wanted_format and self._wanted_format not in (known := writable_formats(self._codec)):
            raise MediaError(
                f"{self._codec} cannot write the pixel format {self._wanted_format!r} (--set write.pix_fmt). Choose "
                f"one of: {', '.join(known)}."
            )

    def __enter__(self) -> VideoWriter:
        self._container: Any = None  # PyAV's streams have no common type
        self._speech: SpeechTrack | None = None
        self._carried: Carried | None = None
        few = _WAITING // max(1, self.width * self.height)  # large frames: whole pictures wait
        self._queue: queue.Queue = queue.Queue(maxsize=min(max(2, few), 8))
        self._failed: BaseException | None = None
        self._written = 0
        self._thread: threading.Thread | None = None
        remove_stale(self.path)
        try:
            self._open()
        except BaseException:
            self._discard()
            raise
        self._thread = threading.Thread(target=self._work, name="video-writer", daemon=True)
        self._thread.start()
        return self

    @property
    def facts(self) -> WrittenVideo:
        """What was written. RuntimeError before a clean exit."""
        if self._facts is None:
            raise RuntimeError("VideoWriter: not finished")
        return self._facts

    @property
    def _wanted(self) -> int:
        return sum(part.stop - part.start for part in self.todo)

    def write(self, rgb: torch.Tensor, beneath: FrameBatch | None = None) -> None:
        """Appends (B,3,H,W) uint8 frames. The tensor must not be changed afterwards. beneath: the frames of `like` that
        they were drawn over, with their pictures: where they are the same, the decoded samples are written. Frames of
        which that holds a box only are given as this box."""
        is_part = beneath is not None and bool(beneath.pictures) and self._like is not None
        size = beneath.rgb.shape[2:] if beneath is not None and is_part else (self.height, self.width)
        if rgb.dtype != torch.uint8 or rgb.ndim != 4 or tuple(rgb.shape[1:]) != (3, *size):
            raise ValueError(
                f"VideoWriter.write wants (B,3,{size[0]},{size[1]}) uint8, got {tuple(rgb.shape)} {rgb.dtype}"
            )
        self._written += len(rgb)
        if self._written > self._wanted:
            raise ValueError(f"VideoWriter: {self._written} frames for a clock of {self._wanted}")
        for k, picture in enumerate(rgb.cpu().numpy()):
            self._offer(self._drawn(picture, beneath, k))

    def _drawn(self, rgb: np.ndarray, beneath: FrameBatch | None, k: int) -> Drawn | np.ndarray:
        """Row k of a batch, (3,H,W) uint8, as a drawing over a decoded frame where the output can hold its samples."""
        if beneath is None or not beneath.pictures or self._like is None:
            return self._as_stored(rgb)
        under, frame = beneath.rgb[k].numpy(), beneath.pictures[k]
        from_rgb, to_rgb = frame.format.is_rgb, av.VideoFormat(self._pix_fmt).is_rgb
        turned = any(self._like.orientation) and not self._turned
        if (frame.width, frame.height) != self._size or (to_rgb and not from_rgb) or turned:
            return self._as_stored(self._whole(rgb, frame, beneath.at))
        if rgb.__array_interface__["data"] == under.__array_interface__["data"]:
            return Drawn(frame)
        (x, y), (height, width) = beneath.at, rgb.shape[1:]
        at = self._cutter.stored((x, y, x + width, y + height))[:2] if self._turned else beneath.at
        return drawn_over(frame, self._as_stored(under), self._as_stored(rgb), at)

    def _whole(self, part: np.ndarray, frame: av.VideoFrame, at: tuple[int, int]) -> np.ndarray:
        """(3,H,W) the RGB of a frame with a part, (3,h,w) from pixel `at` on, in its place."""
        if part.shape[1:] == (self.height, self.width):
            return part
        rgb = np.empty((3, self.height, self.width), np.uint8)
        FramePicture(frame, self._cutter).copy((0, 0, self.width, self.height), rgb)
        rgb[:, at[1] : at[1] + part.shape[1], at[0] : at[0] + part.shape[2]] = part
        return rgb

    @cached_property
    def _cutter(self) -> Cutter:
        """Of `like`."""
        if self._like is None:
            raise RuntimeError("VideoWriter: no target")
        return Cutter(self._like)

    def _as_stored(self, upright: np.ndarray) -> np.ndarray:
        """(3,H,W) as the output stores it."""
        if not self._turned or self._like is None:
            return upright
        flip_x, flip_y, transpose = self._like.orientation
        stored = upright[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
        return np.ascontiguousarray(stored.swapaxes(1, 2) if transpose else stored)

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._facts is None:
                self._discard()

    def _finish(self) -> None:
        if self._written != self._wanted:
            raise ValueError(f"VideoWriter: {self._written} frames written for a clock of {self._wanted}")
        self._offer(None)
        if self._thread is not None:
            self._thread.join()
        self._raise_failure()
        audio = "none" if self._speech is None else self._speech.how
        carried = self._carried
        if self._speech is not None:
            self._notes += self._speech.notes
            self._details += self._speech.details
        self._close()
        try:
            if carried is not None:
                carried.complete(self._part)
                self._notes += carried.notes
                self._details += carried.details
            if self._seal is not None:
                self._notes += self._seal(self._part)
            n_bytes = self._part.stat().st_size
            commit(self._part, self.path)
        except OSError as error:
            raise MediaError(
                f"{self.path} could not be completed ({error.strerror or error}). Check free disk space and the folder."
            ) from error
        self._facts = WrittenVideo(
            self.path,
            len(self.clock),
            n_bytes,
            self._pix_fmt,
            self._colour,
            audio,
            tuple(self._notes),
            tuple(self._details),
        )

    def _offer(self, item: Drawn | np.ndarray | None) -> None:
        while True:
            self._raise_failure()
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def _raise_failure(self) -> None:
        if self._failed is None:
            return
        if isinstance(self._failed, (av.error.FFmpegError, OSError)):
            reason = getattr(self._failed, "strerror", None) or str(self._failed)
            raise MediaError(
                f"{self.path} could not be written ({reason}). "
                f"Check free disk space, and that {self.path.suffix} can hold {self._codec}."
            ) from self._failed
        raise self._failed

    def _open(self) -> None:
        # Bit-exact: without a random number in each file.
        options = (
            {"movflags": "use_metadata_tags+faststart"}
            if self.path.suffix.lower() in QUICKTIME
            else {"fflags": "+bitexact"}
        )
        try:
            self._container = av.open(str(self._part), "w", options=options)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            known = "Use .mp4, .mov or .mkv, and a folder you may write to."
            raise MediaError(
                f"{self.path} cannot be opened for writing ({getattr(error, 'strerror', None) or error}). {known}"
            ) from error
        try:
            self._video = self._add_picture()
            if self.path.suffix.lower() in QUICKTIME and self._video.codec_context.codec.canonical_name == "hevc":
                self._video.codec_context.codec_tag = self._hevc_tag
            if self._sound is not None:
                self._speech = SpeechTrack(
                    self._sound, self._container, self.path.suffix.lower(), self._audio_end_s, self._limits
                )
            self._container.metadata.update(self._metadata)
            self._add_carried()
            self._container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) in _DISK:
                raise MediaError(f"{self.path} could not be written ({reason}). Check free disk space.") from error
            size, others = (self.width, self.height), available_encoders()
            raise MediaError(f"{self.path}: {failed(self._codec, size, self.path.suffix, reason, others)}") from error

    def _add_carried(self) -> None:
        """What is taken over from the target, and the name of the speech's track."""
        carry, suffix = self._carry, self.path.suffix.lower()
        speech = None if self._speech is None else self._speech.stream
        if self._speech is not None:
            replaced = None if carry is None else carry.extras.sound
            name_speech(speech, replaced, own_tags(self._speech.tags), suffix, self._language)
        if carry is not None:
            self._carried = Carried(carry, self._container, suffix, self._video, speech, self._rate)

    def _choose_format(self) -> None:
        """Sets the pixel format, and the colours that go with it, with notes on what is lost."""
        even, odd, _, _ = ENCODERS[self._codec]
        is_odd, like = bool(self.width % 2 or self.height % 2), self._like
        usual = odd if is_odd else even
        if self._wanted_format:
            self._pix_fmt = self._wanted_format
        else:
            self._pix_fmt = usual if like is None else best_format(like.pix_fmt, self._codec, is_odd and odd != even)
        if is_odd and odd != even and self._pix_fmt == odd:
            self._notes.append(
                f"odd size {self.width}x{self.height} is kept by writing {odd}; some players only play {even}"
            )
        elif like is not None:
            self._notes += format_notes(like, self._codec, self._pix_fmt)
        if av.VideoFormat(self._pix_fmt).is_rgb:
            self._colour = ColourTags(RGB, self._colour.primaries, self._colour.transfer, FULL)
        elif self._colour.matrix == RGB:
            self._colour = ColourTags(range=self._colour.range).resolved(self.width, self.height)
        if self._codec == "prores_ks":  # its files cannot say that the range is full
            self._colour = replace(self._colour, range=LIMITED)

    def _options(self) -> dict[str, str]:
        """What the encoder is told besides size and colours."""
        _, _, quality, options = ENCODERS[self._codec]
        options = dict(options)
        if quality:
            options[quality] = str(self._crf)
        options |= preset_options(self._codec, self._preset)
        for name, value in picture_options(self._codec, self._pix_fmt, self._like).items():
            options[name] = f"{options[name]}:{value}" if name.endswith("-params") and name in options else value
        return options | self._more_options

    def _choose_siting(self) -> None:
        """Sets where the colour samples lie."""
        left = self._codec in _LEFT_ENCODERS and self._pix_fmt.startswith("yuv420p")
        self._siting = self._like.siting if self._like is not None else "left" if left else "center"

    def _add_picture(self) -> av.video.stream.VideoStream:
        self._choose_format()
        self._choose_siting()
        options = self._options()
        stream = self._container.add_stream(self._codec, rate=self._rate, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = *self._size, self._pix_fmt
        if self._turned and self._like is not None:
            stream.set_display_matrix(self._like.matrix)
        context.time_base = stream.time_base = self.clock.base
        context.thread_type = "AUTO"
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        if self._aspect:
            context.sample_aspect_ratio = self._aspect if self._size[0] == self.width else 1 / self._aspect
        return stream

    def _work(self) -> None:
        try:
            self._encode_all()
        except BaseException as error:
            self._failed = error

    def _encode_all(self) -> None:
        ticks = self.clock.pts - self.clock.pts[0]
        durations = dict(zip(ticks.tolist(), np.diff(self.clock.pts, append=self.clock.end).tolist(), strict=True))
        row = 0
        for frame in self._frames():
            frame.pts, frame.time_base = int(ticks[row]), self.clock.base
            self._mux(self._video.encode(frame), durations)
            self._mux_beside(int(ticks[row]) * self.clock.base)
            row += 1
        if row == len(self.clock):
            self._mux(self._video.encode(None), durations)
            self._mux_beside(None)

    def _frames(self) -> Iterator[av.VideoFrame]:
        """The written pictures, as the encoder takes them; fewer where the writer is given up."""
        convert = Converter(self._colour, *self._size, self._siting)
        source = self._colour if self._like is None else self._like.colour.resolved(*self._size)
        painter = Painter(self._colour, self._pix_fmt, self._siting, source)
        while (item := self._queue.get()) is not None:
            yield painter.frame(item) if isinstance(item, Drawn) else convert.frame(item, self._pix_fmt)

    def _mux_beside(self, time_s: Fraction | None) -> None:
        """Muxes all but the picture up to this time; None = all that is left."""
        for track in (self._speech, self._carried):
            if track is not None:
                track.mux_until(time_s)

    def _mux(self, packets: list[av.Packet], durations: dict[int, int]) -> None:
        for packet in packets:
            packet.duration = durations[packet.pts or 0]
            if len(durations) <= 2:  # x265 leaves it unset in so short a video
                packet.dts = packet.pts
            self._container.mux(packet)

    def _close(self) -> None:
        container, self._container = self._container, None
        speech, carried, self._speech, self._carried = self._speech, self._carried, None, None
        for track in (speech, carried):
            if track is not None:
                track.close()
        if container is not None:
            try:
                container.close()
            except (av.error.FFmpegError, OSError) as error:
                raise MediaError(
                    f"{self.path} could not be completed ({getattr(error, 'strerror', None) or error}). "
                    "Check free disk space."
                ) from error

    def _discard(self) -> None:
        """Ends the thread and removes the unfinished file, whatever happened before."""
        if self._thread is not None and self._thread.is_alive():
            while self._thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
                with contextlib.suppress(queue.Full):
                    self._queue.put_nowait(None)
                self._thread.join(timeout=0.05)
        with contextlib.suppress(MediaError):
            self._close()
        remove_part(self._part)
