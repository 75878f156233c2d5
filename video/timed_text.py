"""Subtitles that are text, from one container's codec to another's."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error

#: Codecs that can be read as text, by FFmpeg's names.
TEXT = ("mov_text", "subrip", "ass", "webvtt", "text")
_ENCODER = {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
_BASE = Fraction(1, 1000)


def text_encoder(output: av.container.OutputContainer, suffix: str, source: Any) -> Any:
    """A stream of the text codec that files with this ending take, in the styles of `source`. ValueError, FFmpegError:
    there is none."""
    if suffix not in _ENCODER:
        raise ValueError(f"{suffix} files hold no text")
    if not source.codec_context.is_open:
        source.codec_context.open()  # only then are the styles known
    out: Any = output.add_stream(_ENCODER[suffix])
    out.codec_context.subtitle_header = source.codec_context.subtitle_header
    out.codec_context.time_base = out.time_base = _BASE
    return out


def converted(packet: av.Packet | None, source: Any, out: Any) -> Iterator[av.Packet]:
    """The subtitle in the codec of `out`, at its time; nothing where it is empty or damaged."""
    if packet is None or packet.pts is None:
        return
    try:
        read = source.codec_context.decode2(packet)
        made = out.codec_context.encode_subtitle(read) if read else None
    except (av.error.FFmpegError, ValueError):
        return
    if made is not None:
        base = packet.time_base or _BASE
        made.time_base, made.duration = _BASE, round((packet.duration or 0) * base / _BASE)
        made.pts = made.dts = round(packet.pts * base / _BASE)
        yield made
