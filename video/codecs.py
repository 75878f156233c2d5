"""The names a user may give an encoder, what it takes, and sentences for what it does not."""

from __future__ import annotations

from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from typing import Any

import av
import av.error

#: The codecs' own names -> the encoder of FFmpeg that is meant.
ALIASES = {
    "h264": "libx264", "avc": "libx264", "x264": "libx264", "hevc": "libx265", "h265": "libx265", "x265": "libx265",
    "vp9": "libvpx-vp9", "av1": "libsvtav1", "prores": "prores_ks",
}  # fmt: skip
#: Presets of x264 and x265, from fast to small, and the number of SVT-AV1 that is meant: above 8 it leaves out changes
#: that can be seen.
PRESETS = {
    "ultrafast": 8, "superfast": 8, "veryfast": 8, "faster": 7, "fast": 6, "medium": 5, "slow": 4, "slower": 3,
    "veryslow": 2, "placebo": 1,
}  # fmt: skip
#: Encoders of NVIDIA's hardware, and those for the CPU that write the same where it does not work.
IN_HARDWARE = {"h264_nvenc": "libx264", "hevc_nvenc": "libx265"}
NAMED_PRESETS, NUMBERED_PRESETS = ("libx264", "libx265"), ("libsvtav1",)
_MOST_AV1 = 8
_MOST_CRF = {"libx264": 51, "libx265": 51}


def encoder_of(codec: str, suffix: str) -> str:
    """The encoder that a codec's name means; "auto": that of most players, or of WebM in such a file."""
    if codec == "auto":
        return "libvpx-vp9" if suffix.lower() == ".webm" else "libx264"
    return ALIASES.get(codec.lower(), codec)


def usable_encoder(encoder: str) -> tuple[str, str]:
    """The encoder, and an empty note; in place of one whose hardware does not work here that for the CPU, and why."""
    if encoder not in IN_HARDWARE or encoder not in av.codecs_available or not (why := does_not_work(encoder)):
        return encoder, ""
    return IN_HARDWARE[encoder], f"written by {IN_HARDWARE[encoder]}: {encoder} does not work here ({why})"


def unknown_codec(codec: str, available: list[str]) -> str:
    """The sentence that names an encoder which is not here, and those that are."""
    names = ["auto", *(name for name in ALIASES if ALIASES[name] in available), *available]
    near = get_close_matches(codec.lower(), names, 1)
    known = [name for name in names if name not in ("avc", "x264", "x265", "h265")]
    return (
        f"write.codec: there is no encoder {codec!r} here. {f'Did you mean {near[0]!r}? ' if near else ''}"
        f"Known: {', '.join(known)}."
    )


def wrong_setting(encoder: str, crf: int, preset: str) -> str:
    """The sentence that names a setting which this encoder does not take; empty = it takes both."""
    if encoder in NAMED_PRESETS and preset not in PRESETS:
        return f"write.preset: {encoder} has no preset {preset!r}. Known: {', '.join(PRESETS)}."
    if encoder in NUMBERED_PRESETS and preset not in PRESETS and preset not in map(str, range(_MOST_AV1 + 1)):
        return f"write.preset: {encoder} has no preset {preset!r}. Known: {', '.join(PRESETS)}, or 0 to {_MOST_AV1}."
    if crf > _MOST_CRF.get(encoder, crf):
        return f"write.crf: {encoder} takes 0 (best) to {_MOST_CRF[encoder]}, not {crf}."
    return ""


def preset_options(encoder: str, preset: str) -> dict[str, str]:
    """The encoder's options for a preset; none where it knows no such."""
    if encoder in NAMED_PRESETS:
        return {"preset": preset}
    return {"preset": str(PRESETS.get(preset, preset))} if encoder in NUMBERED_PRESETS else {}


def failed(encoder: str, size: tuple[int, int], suffix: str, reason: str, others: list[str]) -> str:
    """The sentence for an encoder that does not open."""
    others = [name for name in others if name != encoder]
    if "does not support" in reason:
        cure = "Leave the option out for VP9" if suffix == ".webm" else f"Choose one of: {', '.join(others)}"
        return f"write.codec: a {suffix} file cannot hold {encoder}. {cure}, or end the output in .mp4 or .mkv."
    return (
        f"write.codec: {encoder} at {size[0]}x{size[1]} fails in a {suffix} file ({reason}). "
        f"Choose one of: {', '.join(others)}; or end the output in .mp4 or .mkv."
    )


@cache
def does_not_work(encoder: str) -> str:
    """Why this encoder encodes nothing here (no such hardware, no driver), in FFmpeg's words; empty = it works. Tried
    once with a small picture."""
    try:
        context: Any = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        return "" if [*context.encode(av.VideoFrame(256, 256, "yuv420p")), *context.encode(None)] else "no packet"
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return getattr(error, "strerror", None) or str(error)
