"""Media files of strangers, opened: known formats only, nothing but the file itself, and not more of it than was agreed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import av

from . import VideoError
from .atoms import impossible_count

#: FFmpeg's names of the formats that are opened. None of them reads another file, an address or a device, as playlists do (concat, hls, dash,
#: sdp, imf, image2). The same list as in audio/opening.py: neither package may import the other.
FORMATS = (
    "mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg", "mxf", "gxf", "nut", "ivf", "obu", "dv", "rm", "wtv", "m4v",
    "h261", "h263", "h264", "hevc", "vvc", "av1", "vc1", "dirac", "dnxhd", "mjpeg", "mpjpeg", "yuv4mpegpipe",
    "gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "ppm_pipe",
    "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "loas", "ac3", "eac3", "dts", "truehd", "mlp", "amr", "amrnb", "amrwb", "ape", "wv",
    "tta", "tak", "voc", "nistsphere", "ircam", "dsf", "oma", "mmf", "mpc", "mpc8", "gsm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Largest:
    """The most that is opened, as section `largest` of the configuration has it. megapixels: of one picture; frames, hours: of one video."""

    megapixels: float = 40.0
    frames: int = 1_000_000
    hours: float = 12.0

    @property
    def n_pixels(self) -> int:
        return round(self.megapixels * 1e6)


def open_media(path: str | Path, largest: Largest = Largest()) -> av.container.InputContainer:
    """The opened file. Errors of PyAV are its own, MemoryError among them, save for VideoError where the format is none of FORMATS."""
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file", "max_pixels": str(largest.n_pixels)}
    if count := impossible_count(path):
        raise VideoError(f"{path} is damaged: it states {count:,} samples, more than its size allows. Copy it again.")
    try:
        # From the root: a relative name can look like an address, "concat:a|b".
        return av.open(os.path.abspath(path), options=options, metadata_errors="replace")
    except av.error.ArgumentError as error:
        raise VideoError(
            f"{path} is damaged, or of a kind that is not opened, such as a playlist, which names other files. Convert it to MP4 or WAV."
        ) from error


def check_size(stream: av.video.stream.VideoStream, path: Path, largest: Largest) -> None:
    """VideoError where a picture track states more than is opened; its decoder will refuse a picture that turns out larger."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > largest.n_pixels:
        raise VideoError(f"{path} has pictures of {width}x{height} pixels. {too_large('megapixels', largest)}")
    check_frames(stream.frames, path, largest)
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(largest.n_pixels)}


def check_frames(n_frames: int, path: Path, largest: Largest) -> None:
    """VideoError where there are more frames than are opened."""
    if n_frames > largest.frames:
        raise VideoError(f"{path} has {n_frames} frames or more. {too_large('frames', largest)}")


def too_large(option: str, largest: Largest) -> str:
    """The sentence that names a limit, and how to raise it."""
    value = getattr(largest, option)
    return f"At most {value:,.10g} {option} are opened; if you trust the file, raise that with --set largest.{option}=NUMBER."
