"""What a video file holds beside its picture and its main sound: tracks, chapters, tags, cover art, attachments."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import av.stream
from av.stream import Disposition

from media.container import InputLimits
from media.credentials import Credentials, credentials_of
from video.languages import term_of
from video.probe import open_video, picture_track

#: Said by every file of itself; FFmpeg or its container writes them anew.
_OF_THE_FILE = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id", "bps", "number_of_frames",
    "number_of_bytes", "source_id", "timecode", "filename", "mimetype",
}  # fmt: skip
_KINDS = {"audio": "sound", "subtitle": "subtitles", "video": "picture"}


@dataclass(frozen=True, slots=True)
class Track:
    """One track. index: in its file; kind: "audio", "subtitle", "video" or "data"; tags: those that are its own, title
    and language among them; disposition: FFmpeg's flags."""

    index: int
    kind: str
    codec: str
    tags: dict[str, str]
    disposition: int = 0

    @property
    def language(self) -> str:
        """Its code of terminology (ISO 639-2/T); empty = not said."""
        language = self.tags.get("language", "")
        return "" if language == "und" else language

    def __str__(self) -> str:
        about = ", ".join(filter(None, (self.language, self.codec)))
        return f"{_KINDS.get(self.kind, self.kind)} ({about})"


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named stretch of a file's own clock."""

    start_s: Fraction
    end_s: Fraction
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file within the file: a font, or a picture as cover art."""

    name: str
    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Extras:
    """sound: the track that is heard, None = there is none; tracks: all others but the picture; picture: its own tags;
    timecode: of the first frame, empty = none; credentials: of its origin."""

    path: Path
    tags: dict[str, str] = field(default_factory=dict[str, str])
    picture: dict[str, str] = field(default_factory=dict[str, str])
    sound: Track | None = None
    tracks: tuple[Track, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    covers: tuple[Attachment, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    timecode: str = ""
    credentials: Credentials = field(default_factory=Credentials)


def extras_of(path: str | Path, limits: InputLimits = InputLimits()) -> Extras:
    """What the file holds beside its picture. MediaError: it cannot be opened."""
    path = Path(path)
    with open_video(path, limits) as container:
        picture = picture_track(container, path, limits)
        best = container.streams.best("audio")
        tracks = {stream.index: track_of(stream) for stream in container.streams if _is_track(stream, picture)}
        chapters = tuple(
            Chapter(one["start"] * base, one["end"] * base, dict(one["metadata"]))
            for one in container.chapters()
            if (base := one["time_base"])
        )
        return Extras(
            path,
            own_tags(container.metadata),
            own_tags(picture.metadata),
            None if best is None else tracks.pop(best.index),
            tuple(tracks.values()),
            chapters,
            _covers(container),
            tuple(_attached(stream) for stream in container.streams.attachments),
            _timecode(container, picture),
            credentials_of(path),
        )


def track_of(stream: Any) -> Track:
    """A stream of a file that is read."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else stream.name
    tags = own_tags(stream.metadata)
    if "title" not in tags and "name" in tags:  # MP4
        tags["title"] = tags.pop("name")
    if "language" in tags:
        tags["language"] = term_of(tags["language"])
    if stream.type == "data" and codec in (None, "bin_data"):
        codec = tags.get("handler_name", "unknown").strip()
    return Track(stream.index, stream.type, codec or "unknown", tags, int(stream.disposition))


def own_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags that are no facts of the file itself, by the names FFmpeg knows them by."""
    kept = {key: value for key, value in tags.items() if key.lower() not in _OF_THE_FILE and not key.startswith("_")}
    return {key.lower() if key.lower() in _KNOWN else key: value for key, value in kept.items()}


#: Tags that containers spell in their own way: Matroska in capitals.
_KNOWN = {
    "title", "artist", "album_artist", "album", "comment", "composer", "copyright", "creation_time", "date",
    "description", "synopsis", "digital_source_type", "disc", "encoded_by", "episode_id", "genre", "grouping",
    "handler_name", "keywords", "language", "location", "lyrics", "network", "performer", "publisher", "show", "track",
}  # fmt: skip


def _is_track(stream: av.stream.Stream, picture: av.stream.Stream) -> bool:
    """Whether it is a track of its own: no picture, cover, attachment, nor what carries chapters or a timecode."""
    if stream.index == picture.index or stream.type == "attachment":
        return False
    if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return False
    is_of_file = stream.discard == av.stream.Discard.all or "timecode" in stream.metadata
    return not (stream.type == "data" and is_of_file)


def _covers(container: av.container.InputContainer) -> tuple[Attachment, ...]:
    """The pictures that stand for the file."""
    covers: dict[int, Attachment | None] = {
        stream.index: None for stream in container.streams.video if stream.disposition & Disposition.attached_pic
    }
    if not covers:
        return ()
    with suppress(av.error.FFmpegError, OSError):  # a damaged cover costs no dub
        for packet in container.demux([container.streams[index] for index in covers]):
            if packet.size and covers[packet.stream.index] is None:
                covers[packet.stream.index] = _cover(packet)
            if all(covers.values()):
                break
    return tuple(cover for cover in covers.values() if cover)


def _cover(packet: av.Packet) -> Attachment:
    png = packet.stream.codec_context is not None and packet.stream.codec_context.name == "png"
    name, mime = ("cover.png", "image/png") if png else ("cover.jpg", "image/jpeg")
    tags = packet.stream.metadata
    return Attachment(tags.get("filename", name), tags.get("mimetype", mime), bytes(packet))


def _attached(stream: av.stream.Stream) -> Attachment:
    tags: Any = stream.metadata
    data: bytes = getattr(stream, "data", b"") or b""
    return Attachment(tags.get("filename", "attachment"), tags.get("mimetype", "application/octet-stream"), data)


def _timecode(container: av.container.InputContainer, picture: av.stream.Stream) -> str:
    places = (picture.metadata, *(stream.metadata for stream in container.streams), container.metadata)
    return next((tags[key] for tags in places for key in ("timecode", "TIMECODE") if tags.get(key)), "")
