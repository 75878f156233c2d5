"""Where live pictures go: a stream of a pipe or file, a window, a virtual camera."""

from __future__ import annotations

import contextlib
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import av.error
import numpy as np
import torch

from media import MediaError
from video.codecs import preset_options
from video.colour import ColourTags, Converter

#: Endings of files that can be written without going back, with their format and encoder.
FORMATS = {".nut": ("nut", "rawvideo"), ".mkv": ("matroska", "libx264")}
#: Bytes that are written at once, a whole picture of 1280x720: with each piece of one the writer waits for its turn
#: among the threads that draw.
_BUFFER = 1 << 22


def check_ending(out: Path) -> str:
    """The ending of a file for live pictures. MediaError: not one of FORMATS."""
    ending = out.suffix.lower()
    if ending not in FORMATS:
        raise MediaError(f"{out}: live pictures go to {', '.join(FORMATS)}, a pipe (-), a window or a camera.")
    return ending


class Gone(Exception):
    """Whoever watched has gone: the pipe is broken, the window was closed."""


class Screen(Protocol):
    """Shows one picture after another. A context manager. paced: whether a picture is seen when it is given, so that
    it must be given in time; else its number says when."""

    paced: bool

    def __enter__(self) -> Screen: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, row: int, rgb: torch.Tensor, sound: np.ndarray) -> None:
        """rgb: (3,H,W) uint8, seen from row / rate seconds on; sound: (n,) float32, what follows all that was given
        before. Raises Gone."""
        ...


class StreamScreen:
    """Pictures and sound into a pipe or a file that is never gone back in: NUT with both as they are, or Matroska with
    H.264."""

    paced = False

    def __init__(
        self, out: BinaryIO | Path, width: int, height: int, rate: Fraction, colour: ColourTags, sound_rate: int
    ) -> None:
        """out: a path ends in one of FORMATS; anything else is NUT. MediaError: another ending."""
        ending = check_ending(out) if isinstance(out, Path) else ".nut"
        self._out, self._size, self._rate, self._sound_rate = out, (width, height), rate, sound_rate
        self._form, self._codec = FORMATS[ending]
        self._colour = colour.resolved(width, height)
        even = width % 2 == height % 2 == 0
        self._pix_fmt = "yuv420p" if even else "yuv444p"
        self._convert = Converter(self._colour, width, height, "left" if self._pix_fmt == "yuv420p" else "center")
        self._heard = 0

    def __enter__(self) -> StreamScreen:
        target: Any = str(self._out) if isinstance(self._out, Path) else self._out
        try:
            self._container: Any = av.open(
                target, "w", format=self._form, options={"flush_packets": "1"}, buffer_size=_BUFFER
            )
            options = {}
            if self._codec == "libx264":
                options = {"crf": "20", "tune": "zerolatency", **preset_options(self._codec, "ultrafast")}
            self._video = self._container.add_stream(self._codec, rate=self._rate, options=options)
            context = self._video.codec_context
            context.width, context.height, context.pix_fmt = *self._size, self._pix_fmt
            context.time_base = self._video.time_base = 1 / self._rate
            context.colorspace, context.color_range = self._colour.matrix, self._colour.range
            context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
            self._audio = self._container.add_stream("pcm_s16le", rate=self._sound_rate, layout="mono")
            self._container.start_encoding()
        except (av.error.FFmpegError, OSError) as error:
            raise _gone_or_failed(error, self._out) from error
        return self

    def show(self, row: int, rgb: torch.Tensor, sound: np.ndarray) -> None:
        """Writes one row with its sound. Gone: nobody reads any more."""
        frame = self._convert.frame(rgb.numpy(), self._pix_fmt)
        frame.pts, frame.time_base = row, 1 / self._rate
        try:
            self._container.mux(self._video.encode(frame))
            if len(sound):
                heard = av.AudioFrame.from_ndarray(_sixteen_bits(sound)[None], "s16", "mono")
                heard.sample_rate, heard.pts = self._sound_rate, self._heard
                heard.time_base = Fraction(1, self._sound_rate)
                self._heard += len(sound)
                self._container.mux(self._audio.encode(heard))
        except (av.error.FFmpegError, OSError) as error:
            raise _gone_or_failed(error, self._out) from error

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(av.error.FFmpegError, OSError):
            for stream in (self._video, self._audio):
                self._container.mux(stream.encode(None))
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._container.close()


def _gone_or_failed(error: Exception, out: object) -> Exception:
    if isinstance(error, BrokenPipeError):
        return Gone()
    return MediaError(f"{out} could not be written ({getattr(error, 'strerror', None) or error}).")


def _sixteen_bits(sound: np.ndarray) -> np.ndarray:
    return np.rint(sound.clip(-1, 32767 / 32768) * 32768).astype(np.int16)


class WindowScreen:
    """A window of OpenCV; it is closed with its button, Escape or q."""

    paced, title = True, "lipsync live"

    def __enter__(self) -> WindowScreen:
        import cv2

        instead = "Use --to - with a player: lipsync live ... --to - | ffplay -"
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise MediaError(f"There is no display here for a window. {instead}")  # OpenCV would end the program
        try:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise MediaError(f"The OpenCV that is installed has no windows. {instead}") from error
        return self

    def show(self, row: int, rgb: torch.Tensor, sound: np.ndarray) -> None:
        import cv2

        cv2.imshow(self.title, np.ascontiguousarray(rgb.numpy()[::-1].transpose(1, 2, 0)))
        if cv2.waitKey(1) & 0xFF in (27, ord("q")) or cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            raise Gone

    def __exit__(self, *_: object) -> None:
        import cv2

        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self.title)


class CameraScreen:
    """A virtual camera that other programs see, by the package pyvirtualcam."""

    paced = True

    def __init__(self, width: int, height: int, rate: Fraction, device: str = "") -> None:
        self._size, self._rate, self._device = (width, height), float(rate), device or None

    def __enter__(self) -> CameraScreen:
        try:
            import pyvirtualcam  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MediaError("A virtual camera needs the extra live: pip install 'lipsync-dub[live]'.") from error
        try:
            self._camera = pyvirtualcam.Camera(*self._size, self._rate, device=self._device)
        except RuntimeError as error:
            more = " On Linux it needs the kernel module v4l2loopback." if sys.platform == "linux" else ""
            raise MediaError(f"There is no virtual camera to show pictures in ({error}).{more}") from error
        return self

    def show(self, row: int, rgb: torch.Tensor, sound: np.ndarray) -> None:
        self._camera.send(np.ascontiguousarray(rgb.numpy().transpose(1, 2, 0)))

    def __exit__(self, *_: object) -> None:
        self._camera.close()
