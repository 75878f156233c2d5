"""Sound files of strangers, opened: known formats only, nothing but the file itself, and not more of it than was agreed."""

from __future__ import annotations

import os
from pathlib import Path

from audio import AudioError
from audio.atoms import impossible_count

#: FFmpeg's names of the formats that are opened: the list of video/opening.py, which says why. Neither package may import the other.
FORMATS = (
    "mov", "matroska", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg", "mxf", "gxf", "nut", "ivf", "obu", "dv", "rm", "wtv", "m4v",
    "h261", "h263", "h264", "hevc", "vvc", "av1", "vc1", "dirac", "dnxhd", "mjpeg", "mpjpeg", "yuv4mpegpipe",
    "gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "ppm_pipe",
    "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "loas", "ac3", "eac3", "dts", "truehd", "mlp", "amr", "amrnb", "amrwb", "ape", "wv",
    "tta", "tak", "voc", "nistsphere", "ircam", "dsf", "oma", "mmf", "mpc", "mpc8", "gsm",
)  # fmt: skip
MAX_PIXELS = 40_000_000  # of a video's pictures, where they are looked at for their times
MAX_CHANNELS = 64
HOURS = 12.0  # of sound, unless the configuration says otherwise (largest.hours)


def open_media(path: str | Path):
    """The opened file (av.container.InputContainer). Errors of PyAV are its own, MemoryError among them, save for AudioError where the format
    is none of FORMATS."""
    import av

    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    if count := impossible_count(path):
        raise AudioError(f"{Path(path).name} is damaged: it states {count:,} samples, more than its size allows. Copy it again.")
    try:
        # From the root: a relative name can look like an address, "concat:a|b".
        return av.open(os.path.abspath(path), options=options, metadata_errors="replace")
    except av.error.ArgumentError:
        raise AudioError(
            f"{Path(path).name} is damaged, or of a kind that is not opened, such as a playlist, which names other files. Convert it to WAV."
        ) from None


def check_channels(n_channels: int, name: str) -> None:
    """AudioError where sound has more channels than any recording."""
    if not 1 <= n_channels <= MAX_CHANNELS:
        raise AudioError(f"{name} states {n_channels} channels; at most {MAX_CHANNELS} are read. Convert it to mono.")


def check_length(n_samples: int, rate: int, name: str, hours: float) -> None:
    """AudioError where there is more sound than is opened."""
    if n_samples > hours * 3600 * rate:
        raise AudioError(
            f"{name} holds more than {hours:g} hours of sound. If you trust the file, raise that limit with --set largest.hours=NUMBER."
        )
