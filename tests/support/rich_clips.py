"""Made videos that hold more than a picture and a sound: tracks, subtitles, chapters, tags, a cover, attachments."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import cv2
import numpy as np
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

from tests.support.video_clips import numbered

TAGS = {"title": "My film", "artist": "Nobody", "comment": "a test", "AIGC": '{"Label":"1"}', "com.example.reel": "A7"}
CHAPTERS = [("One", 0.0, 0.8), ("Two", 0.8, 2.0)]
SUBTITLES = [("Hello", 0.1, 0.7), ("Grüße, <i>now</i>", 0.9, 1.3), ("World", 1.5, 1.9)]
PNG: bytes = cv2.imencode(".png", np.full((24, 32, 3), 90, np.uint8))[1].tobytes()
FONT = b"\0\1\0\0not a font"
#: When the click of the second sound track sounds, seconds.
CLICK_S = 0.5
_MS = Fraction(1, 1000)
_STYLES = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour\n"
    "Style: Default,Arial,16,&Hffffff\n\n"
    "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def rich_clip(
    path: Path,
    *,
    n: int = 50,
    start_s: Fraction = Fraction(0),
    sound: str = "aac",
    subtitles: str = "",
    timecode: str = "01:00:00:00",
    tags: dict[str, str] = TAGS,
) -> Path:
    """n numbered frames at 25 a second, from `start_s` on, with two sound tracks, subtitles, two chapters, tags, a
    cover and, in Matroska, an attachment. The sounds and subtitles keep their times from the first frame. MP4 has the
    cover, MOV the tags of other names than FFmpeg's own: its writer cannot do both."""
    mkv = path.suffix == ".mkv"
    options = {"fflags": "+bitexact"} if mkv or path.suffix == ".mp4" else {"movflags": "use_metadata_tags"}
    with av.open(str(path), "w", options=options) as out:
        video: Any = out.add_stream("libx264", rate=25, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 144, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        if timecode:
            video.metadata["timecode"] = timecode
        sounds = [_add_sound(out, sound, language) for language in ("eng", "ger" if path.suffix == ".mov" else "deu")]
        sounds[0].disposition = Disposition.default
        sounds[1].disposition = Disposition.comment
        text = _add_text(out, subtitles or ("subrip" if mkv else "mov_text"))
        text.disposition = Disposition.default | Disposition.forced
        cover = None if mkv else _add_cover(out)
        if mkv:
            out.add_attachment("cover.png", "image/png", PNG)
            out.add_attachment("font.ttf", "application/x-truetype-font", FONT)
        out.metadata.update(tags)
        spans = [(title, round((a + start_s) * 1000), round((b + start_s) * 1000)) for title, a, b in CHAPTERS]
        out.set_chapters([
            {"id": i, "start": a, "end": b, "time_base": _MS, "metadata": {"title": title}}
            for i, (title, a, b) in enumerate(spans, 1)
        ])  # fmt: skip
        out.start_encoding()
        if cover is not None:
            _mux(out, cover, av.Packet(PNG), Fraction(0), Fraction(0))
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
            frame.pts, frame.time_base = i + round(start_s * 25), Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for track in sounds:
            _write_click(out, track, start_s, Fraction(n, 25))
        for i, (words, a, b) in enumerate(SUBTITLES):
            ass = words.replace("<i>", r"{\i1}").replace("</i>", r"{\i0}")
            shown = SubtitleSet.create(f"{i},0,Default,,0,0,0,,{ass}".encode(), 0, round((b - a) * 1000))
            _mux(out, text, text.codec_context.encode_subtitle(shown), Fraction(a) + start_s, Fraction(b - a))
    return path


def _add_sound(out: av.container.OutputContainer, codec: str, language: str) -> Any:
    track: Any = out.add_stream(codec, rate=48000)
    track.codec_context.layout = "mono"
    track.metadata.update(language=language, title=f"Sound {language}")
    return track


def _write_click(out: av.container.OutputContainer, track: Any, start_s: Fraction, length_s: Fraction) -> None:
    samples = np.zeros((1, round(length_s * 48000)), np.float32)
    at = round(CLICK_S * 48000)
    samples[0, at : at + 64] = 0.9 * np.hanning(64)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, round(start_s * 48000), Fraction(1, 48000)
    wanted = track.codec_context.format.name
    for part in av.AudioResampler(format=wanted, layout="mono", rate=48000, frame_size=960).resample(frame):
        out.mux(track.encode(part))
    out.mux(track.encode(None))


def _add_text(out: av.container.OutputContainer, codec: str) -> Any:
    text: Any = out.add_stream(codec)
    text.codec_context.subtitle_header = _STYLES.encode()
    text.codec_context.time_base = text.time_base = _MS
    text.metadata.update(language="eng", title="Words")
    return text


def _add_cover(out: av.container.OutputContainer) -> Any:
    with av.open(io.BytesIO(PNG), format="png_pipe") as picture:
        cover: Any = out.add_stream_from_template(picture.streams.video[0], opaque=True)
    cover.disposition = Disposition.attached_pic
    return cover


def _mux(out: av.container.OutputContainer, stream: Any, packet: av.Packet, at: Fraction, length: Fraction) -> None:
    packet.time_base, packet.duration, packet.stream = _MS, round(length * 1000), stream
    packet.pts = packet.dts = round(at * 1000)
    packet.is_keyframe = True
    out.mux(packet)


def shown_texts(path: Path) -> list[tuple[str, float, float]]:
    """The first subtitle track: words, start and end in seconds."""
    with av.open(str(path)) as media:
        track: Any = media.streams.subtitles[0]
        found = []
        for packet in media.demux(track):
            read = track.codec_context.decode2(packet) if packet.size > 2 else None
            if read is not None and len(read):
                start = float(packet.pts * packet.time_base)
                found.append((read[0].dialogue.decode(), start, start + float(packet.duration * packet.time_base)))
        return found


def click_of(path: Path, index: int) -> float:
    """When the click of a sound track sounds after the first video frame, seconds."""
    with av.open(str(path)) as media:
        first_s = float(next(media.decode(video=0)).time or 0)
    with av.open(str(path)) as media:
        mono = av.AudioResampler(format="fltp", layout="mono")
        frames = [part for frame in media.decode(audio=index) for part in mono.resample(frame)]
    rate = frames[0].sample_rate
    samples, start = np.zeros(rate * 4), round(((frames[0].time or 0) - first_s) * rate)
    for frame in frames:
        at = round(((frame.time or 0) - first_s) * rate)
        kept = frame.to_ndarray()[0][max(0, -at) :]
        samples[max(0, at) : max(0, at) + len(kept)] = kept
    assert start > -rate
    energy = samples**2
    return (float((energy * np.arange(len(energy))).sum() / energy.sum()) - 32) / rate
