"""RGB frames and a speech file into a video file."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
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
from video.clock import FrameClock
from video.colour import FULL, RGB, ColourTags, Converter
from video.mux import SpeechTrack

#: Encoder -> (pixel format, the same for odd sizes, name of its quality option, further options).
ENCODERS: dict[str, tuple[str, str, str | None, dict[str, str]]] = {
    # Without this x264's fastest routines give the same frames other bytes now and then, and on another machine.
    "libx264": ("yuv420p", "yuv444p", "crf", {"x264-params": "cpu-independent=1"}),
    "libx265": ("yuv420p", "yuv444p", "crf", {"x265-params": "log-level=error"}),
    "libvpx-vp9": ("yuv420p", "yuv420p", "crf", {"b": "0", "row-mt": "1"}),
    "h264_nvenc": ("yuv420p", "yuv444p", "cq", {"rc": "vbr"}),
    "hevc_nvenc": ("yuv420p", "yuv444p", "cq", {"rc": "vbr"}),
    "prores_ks": ("yuv422p10le", "yuv444p10le", None, {"profile": "3"}),
    "ffv1": ("bgr0", "bgr0", None, {"level": "3", "slices": "4"}),
}
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_PRESET_ENCODERS = ("libx264", "libx265")
_LEFT_ENCODERS = ("libx264", "libx265", "h264_nvenc", "hevc_nvenc")


def available_encoders() -> list[str]:
    """Names of the encoders that this program knows and this machine's FFmpeg was built with."""
    return [name for name in ENCODERS if name in av.codecs_available]


@dataclass(frozen=True, slots=True)
class WrittenVideo:
    """What was written. audio: "copied", "encoded" or "none"; notes: what the user should know."""

    path: Path
    n_frames: int
    n_bytes: int
    pix_fmt: str
    colour: ColourTags
    audio: str
    notes: tuple[str, ...]


class VideoWriter:
    """Writes frames on a clock, with a speech file that starts together with the first frame.

    Encodes in a thread of its own. Everything goes to a hidden file beside `path`, renamed at a clean exit; after an
    exception nothing is left. Frame i is shown at clock.pts[i] - clock.pts[0] (Matroska rounds to milliseconds). Raises
    MediaError.

    colour: the target's tags; unsaid ones are filled in by size, and written. speech: a file, copied packet by packet
    where the container allows, otherwise encoded as AAC; or sound that is made meanwhile. audio_end_s: cut it there;
    None = all of it. rate: that the encoder is told; None = the clock's. limits: of the speech's file."""

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        clock: FrameClock,
        colour: ColourTags = ColourTags(),
        codec: str = "libx264",
        crf: int = 16,
        preset: str = "veryfast",
        speech: str | Path | Sound | None = None,
        audio_end_s: Fraction | None = None,
        metadata: dict[str, str] | None = None,
        sample_aspect: Fraction | None = None,
        rate: Fraction | None = None,
        limits: InputLimits = InputLimits(),
    ) -> None:
        self.path = Path(path)
        self.width, self.height, self.clock = width, height, clock
        self.todo = [slice(0, len(clock))]  #: the rows that are to be written, in order
        self._facts: WrittenVideo | None = None
        self._codec, self._crf, self._preset = codec, crf, preset
        self._colour = colour.resolved(width, height)
        self._sound = Path(speech) if isinstance(speech, str) else speech
        self._audio_end_s, self._metadata, self._aspect = audio_end_s, dict(metadata or {}), sample_aspect
        self._rate = (rate or clock.rate).limit_denominator(1001)
        self._limits, self._notes = limits, list[str]()
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
            raise MediaError(
                f"Encoder {self._codec!r} is not available here. Choose one of: {', '.join(available_encoders())}."
            )

    def __enter__(self) -> VideoWriter:
        self._container: Any = None  # PyAV's streams have no common type
        self._speech: SpeechTrack | None = None
        self._queue: queue.Queue = queue.Queue(maxsize=3)
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

    def write(self, rgb: torch.Tensor) -> None:
        """Appends (B,3,H,W) uint8 frames. The tensor must not be changed afterwards."""
        if rgb.dtype != torch.uint8 or rgb.ndim != 4 or tuple(rgb.shape[1:]) != (3, self.height, self.width):
            raise ValueError(
                f"VideoWriter.write wants (B,3,{self.height},{self.width}) uint8, got {tuple(rgb.shape)} {rgb.dtype}"
            )
        self._written += len(rgb)
        if self._written > len(self.clock):
            raise ValueError(f"VideoWriter: {self._written} frames for a clock of {len(self.clock)}")
        self._offer(rgb.cpu().numpy())

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._facts is None:
                self._discard()

    def _finish(self) -> None:
        if self._written != len(self.clock):
            raise ValueError(f"VideoWriter: {self._written} frames written for a clock of {len(self.clock)}")
        self._offer(None)
        if self._thread is not None:
            self._thread.join()
        self._raise_failure()
        audio = "none" if self._speech is None else self._speech.how
        self._notes += [] if self._speech is None else self._speech.notes
        self._close()
        try:
            n_bytes = self._part.stat().st_size
            commit(self._part, self.path)
        except OSError as error:
            raise MediaError(
                f"{self.path} could not be completed ({error.strerror or error}). Check free disk space and the folder."
            ) from error
        self._facts = WrittenVideo(
            self.path, self._written, n_bytes, self._pix_fmt, self._colour, audio, tuple(self._notes)
        )

    def _offer(self, item: np.ndarray | None) -> None:
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
            if self.path.suffix.lower() in (".mp4", ".mov", ".m4v")
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
            if self._sound is not None:
                self._speech = SpeechTrack(
                    self._sound, self._container, self.path.suffix.lower(), self._audio_end_s, self._limits
                )
            self._container.metadata.update(self._metadata)
            self._container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) in _DISK:
                raise MediaError(f"{self.path} could not be written ({reason}). Check free disk space.") from error
            others = ", ".join(name for name in available_encoders() if name != self._codec)
            raise MediaError(
                f"{self.path}: encoder {self._codec} at {self.width}x{self.height} fails in a {self.path.suffix} file "
                f"({reason}). "
                f"Try .mp4 with libx264, or one of: {others}."
            ) from error

    def _add_picture(self) -> av.video.stream.VideoStream:
        even, odd, quality, options = ENCODERS[self._codec]
        is_odd = self.width % 2 or self.height % 2
        self._pix_fmt = odd if is_odd else even
        if is_odd and odd != even:
            self._notes.append(
                f"odd size {self.width}x{self.height} is kept by writing {odd}; some players only play {even}"
            )
        if self._pix_fmt == "bgr0":
            self._colour = ColourTags(RGB, self._colour.primaries, self._colour.transfer, FULL)
        elif self._colour.matrix == RGB:
            self._colour = ColourTags(range=self._colour.range).resolved(self.width, self.height)
        options = dict(options)
        if quality:
            options[quality] = str(self._crf)
        if self._codec in _PRESET_ENCODERS:
            options["preset"] = self._preset
        stream = self._container.add_stream(self._codec, rate=self._rate, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = self.width, self.height, self._pix_fmt
        context.time_base = stream.time_base = self.clock.base
        context.thread_type = "AUTO"
        context.colorspace, context.color_range = self._colour.matrix, self._colour.range
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        if self._aspect:
            context.sample_aspect_ratio = self._aspect
        return stream

    def _work(self) -> None:
        try:
            self._encode_all()
        except BaseException as error:
            self._failed = error

    def _encode_all(self) -> None:
        left = self._codec in _LEFT_ENCODERS and self._pix_fmt == "yuv420p"
        convert = Converter(self._colour, self.width, self.height, left)
        ticks = self.clock.pts - self.clock.pts[0]
        durations = dict(zip(ticks.tolist(), np.diff(self.clock.pts, append=self.clock.end).tolist(), strict=True))
        row = 0
        while (rgb := self._queue.get()) is not None:
            for picture in rgb:
                frame = convert.frame(picture, self._pix_fmt)
                frame.pts, frame.time_base = int(ticks[row]), self.clock.base
                self._mux(self._video.encode(frame), durations)
                if self._speech is not None:
                    self._speech.mux_until(int(ticks[row]) * self.clock.base)
                row += 1
        if row == len(self.clock):
            self._mux(self._video.encode(None), durations)
            if self._speech is not None:
                self._speech.mux_until(None)

    def _mux(self, packets: list[av.Packet], durations: dict[int, int]) -> None:
        for packet in packets:
            packet.duration = durations[packet.pts or 0]
            self._container.mux(packet)

    def _close(self) -> None:
        container, self._container = self._container, None
        speech, self._speech = self._speech, None
        if speech is not None:
            speech.close()
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
