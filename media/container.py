"""Media files of strangers, opened: known formats only, nothing but the file itself, and not more of it than was
agreed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from media import MediaError
from media.mp4_tables import impossible_count

if TYPE_CHECKING:
    import av.container
    import av.video.stream

MAX_CHANNELS = 64
#: FFmpeg's names of the formats that are opened. None of them reads another file, an address or a device, as playlists
#: do (concat, hls, dash, sdp, imf, image2).
FORMATS = (
    "mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg", "mxf", "gxf", "nut", "ivf", "obu",
    "dv", "rm", "wtv", "m4v", "h261", "h263", "h264", "hevc", "vvc", "av1", "vc1", "dirac", "dnxhd", "mjpeg", "mpjpeg",
    "yuv4mpegpipe", "gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "ppm_pipe", "wav",
    "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "loas", "ac3", "eac3", "dts", "truehd", "mlp", "amr", "amrnb",
    "amrwb", "ape", "wv", "tta", "tak", "voc", "nistsphere", "ircam", "dsf", "oma", "mmf", "mpc", "mpc8", "gsm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The most that is opened, as section `limits` of the configuration has it. megapixels: of one picture; frames,
    hours: of one video."""

    megapixels: float = 40.0
    frames: int = 1_000_000
    hours: float = 12.0

    @property
    def n_pixels(self) -> int:
        return round(self.megapixels * 1e6)


def open_media(
    path: str | Path, limits: InputLimits = InputLimits(), raw_format: str | None = None
) -> av.container.InputContainer:
    """The opened file. raw_format: of a file that does not say what it is, such as "g722". Errors of PyAV are its own,
    MemoryError among them, save for MediaError where the format is none of FORMATS."""
    import av
    import av.error

    formats = [*FORMATS, *([raw_format] if raw_format else [])]
    options = {"format_whitelist": ",".join(formats), "protocol_whitelist": "file", "max_pixels": str(limits.n_pixels)}
    if count := impossible_count(path):
        raise MediaError(f"{path} is damaged: it states {count:,} samples, more than its size allows. Copy it again.")
    try:
        # From the root: a relative name can look like an address, "concat:a|b".
        return av.open(os.path.abspath(path), format=raw_format, options=options, metadata_errors="replace")
    except av.error.ArgumentError as error:
        raise MediaError(
            f"{path} is damaged, or of a kind that is not opened, such as a playlist, which names other files. Convert "
            "it to MP4 or WAV."
        ) from error


def check_size(stream: av.video.stream.VideoStream, path: Path, limits: InputLimits) -> None:
    """MediaError where a picture track states more than is opened; its decoder will refuse a picture that turns out
    larger."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.n_pixels:
        raise MediaError(f"{path} has pictures of {width}x{height} pixels. {too_large('megapixels', limits)}")
    check_frames(stream.frames, path, limits)
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(limits.n_pixels)}


def check_frames(n_frames: int, path: Path, limits: InputLimits) -> None:
    """MediaError where there are more frames than are opened."""
    if n_frames > limits.frames:
        raise MediaError(f"{path} has {n_frames} frames or more. {too_large('frames', limits)}")


def too_large(option: str, limits: InputLimits) -> str:
    """The sentence that names a limit, and how to raise it."""
    value = getattr(limits, option)
    return (
        f"At most {value:,.10g} {option} are opened; if you trust the file, raise that with --set "
        f"limits.{option}=NUMBER."
    )


def check_channels(n_channels: int, path: str | Path) -> None:
    """MediaError where sound has more channels than any recording."""
    if not 1 <= n_channels <= MAX_CHANNELS:
        raise MediaError(f"{path} states {n_channels} channels; at most {MAX_CHANNELS} are read. Convert it to mono.")


def check_length(n_samples: int, rate: int, path: str | Path, limits: InputLimits) -> None:
    """MediaError where there is more sound than is opened."""
    if n_samples > limits.hours * 3600 * rate:
        raise MediaError(
            f"{path} holds more than {limits.hours:g} hours of sound. "
            "If you trust the file, raise that limit with --set limits.hours=NUMBER."
        )
