"""What a written video takes over from its target: other tracks, chapters, tags, cover art, attachments, timecode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.error
import av.stream
from av.stream import Discard, Disposition

from media import MediaError
from media.container import InputLimits
from media.mp4_tables import outer_boxes
from video.extras import Extras, Track, extras_of
from video.feed import PREROLL_S, Feed, Refused, Span, copied, encoding, is_taken
from video.languages import spelled, term_of
from video.mux import encoder_for, sound_encoder
from video.probe import open_video
from video.timed_text import TEXT, converted, text_encoder

QUICKTIME = (".mp4", ".m4v", ".mov")
#: FFmpeg writes them itself.
_USUAL_HANDLERS = {"VideoHandler", "SoundHandler", "SubtitleHandler", "DataHandler"}
_RATES = {24, 25, 30, 48, 50, 60, 100, 120, 150}  #: frames a second that have timecodes
#: Key of cover art in the tags of QuickTime.
ARTWORK = "com.apple.quicktime.artwork"
_PLACEHOLDER = "\x01"


@dataclass(frozen=True, slots=True)
class Carry:
    """What is taken over from where. first_s: of the target's first frame on its file's clock; end_s: the output's
    length where it ends before the target, else None; lost: why nothing that runs with time can be taken over; empty =
    it can; notes: for the user, of what was decided before; instead: how the new sound stands to the target's main
    sound, a subject and a verb for a note."""

    extras: Extras
    first_s: Fraction = Fraction(0)
    end_s: Fraction | None = None
    lost: str = ""
    notes: tuple[str, ...] = ()
    limits: InputLimits = InputLimits()
    instead: str = "the speech replaces"


class Carried:
    """Adds to an open output container what it takes over, before its header is written, and feeds it on demand.

    picture, speech: the output's streams; speech None = the target's own sound stays; rate: of the output's frames.
    Tracks that the container does not take are converted where they can be, else named in `notes`,
    as is what it turns out not to keep."""

    def __init__(
        self, carry: Carry, output: av.container.OutputContainer, suffix: str, picture: Any, speech: Any, rate: Fraction
    ) -> None:
        self._carry, self._output, self._suffix = carry, output, suffix
        self.details: list[str] = []  #: what was converted
        self._lost: dict[str, list[str]] = {}  # why -> what
        self._kept: list[Track] = []
        self._feeds: dict[int, Feed] = {}
        self._container: av.container.InputContainer | None = None
        self._held: av.Packet | None = None
        self._packets: Iterator[av.Packet] = iter(())
        extras = carry.extras
        if not carry.lost:
            self._add_tracks(speech is None)
            self._add_chapters()
        else:
            own = [extras.sound] if speech is None and extras.sound else []
            self._lose(carry.lost, *map(str, [*own, *extras.tracks]), *([_chapters(extras)] if extras.chapters else []))
        picture.metadata.update(_tags_for(suffix, extras.picture))
        self._add_timecode(picture, rate)
        self._add_files()

    @property
    def notes(self) -> list[str]:
        """One for each reason why something was left behind; complete once all was fed."""
        left = [f"not taken over from the target: {', '.join(what)}: {why}" for why, what in self._lost.items()]
        sound = self._carry.extras.sound
        others = sound and any(track.kind == "audio" and track is not sound for track in self._kept)
        told = [f"{self._carry.instead} the target's {sound}; its other sound is kept"] if others else []
        return [*(told if sound not in self._kept else []), *self._carry.notes, *left]

    def mux_until(self, time_s: Fraction | None) -> None:
        """Muxes what is to be seen or heard up to this time; None = all that is left."""
        while (packet := self._held or next(self._packets, None)) is not None:
            self._held = None
            if time_s is not None and (packet.pts or 0) * (packet.time_base or Fraction(1)) > time_s:
                self._held = packet
                return
            try:
                self._output.mux(packet)
            except (av.error.InvalidDataError, av.error.ArgumentError):  # a damaged packet costs no dub
                self._lose("parts of it are damaged", f"{packet.stream.type} track {packet.stream.index}")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def complete(self, path: Path) -> None:
        """Puts into the written file what its container's writer cannot, and looks what of all is not there."""
        extras = self._carry.extras
        if self._suffix in QUICKTIME and extras.covers:
            _put_cover(path, extras.covers[0].data, extras.covers[0].mime)
        with suppress(MediaError):  # a kind of file that is written, but not read
            self._compare(extras_of(path, self._carry.limits))

    def _lose(self, why: str, *what: str) -> None:
        if what:
            known = self._lost.setdefault(why, [])
            known += [one for one in dict.fromkeys(what) if one not in known]

    def _add_tracks(self, with_sound: bool) -> None:
        extras = self._carry.extras
        wanted = [*([extras.sound] if with_sound and extras.sound else []), *extras.tracks]
        if not wanted:
            return
        self._container = open_video(extras.path, self._carry.limits)
        for stream in self._container.streams:
            stream.discard = Discard.all  # so that MP4 reads no byte of the picture
        for track in wanted:
            stream = self._container.streams[track.index]
            feed = None
            with suppress(*Refused):
                feed = self._feed(track, stream)
            if feed is None:
                self._lose(self._why_not(track, stream), str(track))
                continue
            feed.out.metadata.update(_tags_for(self._suffix, track.tags))
            is_second = track.kind == "audio" and not with_sound
            feed.out.disposition = track.disposition & ~Disposition.default if is_second else track.disposition
            stream.discard = Discard.default
            self._feeds[track.index] = feed
            self._kept.append(track)
        self._packets = self._fed()

    def _feed(self, track: Track, stream: Any) -> Feed | None:
        """How the track comes into the output; None, or one of `Refused`, where it cannot."""
        carry, suffix = self._carry, self._suffix
        if track.kind not in ("audio", "subtitle"):
            return None
        form = self._output.format.name
        taken, delay_s = is_taken(carry.extras.path, carry.limits, track, form, carry.first_s)
        span = Span(carry.first_s, carry.end_s, -PREROLL_S if suffix in QUICKTIME or not taken else -delay_s)
        if taken:
            out = self._output.add_stream_from_template(stream, opaque=True)
            return Feed(out, span, lambda packet: copied(packet, span, stream.codec_context))
        if stream.codec_context is None:
            return None
        if track.kind == "audio":
            out = sound_encoder(
                self._output,
                encoder_for(suffix),
                stream.codec_context.sample_rate,
                stream.codec_context.layout.nb_channels,
            )
            self.details.append(
                f"{track} was encoded as {out.codec_context.name}, because {suffix} files do not take it as it is"
            )
            return Feed(out, span, encoding(out, stream, span))
        if track.codec in TEXT:
            out = text_encoder(self._output, suffix, stream)
            if track.codec == "ass":
                self._lose(f"in {suffix} files they are {out.codec_context.name}", f"styles of {track}")
            return Feed(out, span, lambda packet: converted(packet, stream, out))
        return None

    def _why_not(self, track: Track, stream: Any) -> str:
        if track.kind not in ("audio", "subtitle"):
            return "tracks of this kind are not taken over"
        unknown = stream.codec_context is None
        return f"{self._suffix} files do not take {'what has no decoder' if unknown else 'it'}"

    def _fed(self) -> Iterator[av.Packet]:
        container = self._container
        if container is None:
            return
        streams = [container.streams[index] for index in self._feeds]
        try:
            for packet in container.demux(streams):
                if packet.size and packet.pts is not None:
                    yield from self._feeds[packet.stream.index].of(packet)
        except Refused as error:
            self._lose(f"the target is damaged ({getattr(error, 'strerror', None) or error})", "the rest of its tracks")
        for feed in self._feeds.values():
            yield from feed.rest()

    def _add_chapters(self) -> None:
        first_s, end_s, kept = self._carry.first_s, self._carry.end_s, []
        for one in self._carry.extras.chapters:
            start, end = max(Fraction(0), one.start_s - first_s), one.end_s - first_s
            end = end if end_s is None else min(end, end_s)
            if start < end:
                span = {"start": round(start * 1000), "end": round(end * 1000), "time_base": Fraction(1, 1000)}
                kept.append({"id": len(kept) + 1, "metadata": one.tags, **span})
        if kept:
            self._output.set_chapters(kept)

    def _add_timecode(self, picture: Any, rate: Fraction) -> None:
        timecode, carry = self._carry.extras.timecode, self._carry
        if not timecode:
            return
        if carry.lost:
            self._lose(carry.lost, f"timecode {timecode}")
        elif not _has_timecode(round(rate), timecode):
            self._lose(f"{float(rate):.5g} frames a second have no timecode", f"timecode {timecode}")
        else:
            picture.metadata["timecode"] = timecode

    def _add_files(self) -> None:
        """Cover art and attachments."""
        extras, name = self._carry.extras, self._output.format.name
        if self._suffix in QUICKTIME:
            for cover in extras.covers[:1]:
                self._output.metadata[ARTWORK] = _PLACEHOLDER * len(cover.data)
            self._lose(f"{self._suffix} files hold one cover picture", *(one.name for one in extras.covers[1:]))
            self._lose(f"{self._suffix} files hold no attachments", *(one.name for one in extras.attachments))
        elif name == "matroska":
            for one in (*extras.covers, *extras.attachments):
                self._output.add_attachment(one.name, one.mime, one.data)
        else:
            what = [*(f"cover art {one.name}" for one in extras.covers), *(one.name for one in extras.attachments)]
            self._lose(f"{self._suffix} files hold no attachments", *what)

    def _compare(self, made: Extras) -> None:
        """Looks what of all that was added is not in the written file."""
        extras, why = self._carry.extras, f"{self._suffix} files do not say it"
        tags = {key.lower() for key in made.tags}
        self._lose(why, *(f"the tag {key}" for key in extras.tags if key.lower() not in tags))
        lost = {what for known in self._lost.values() for what in known}
        if extras.covers and not made.covers:
            self._lose(why, *({f"cover art {one.name}" for one in extras.covers} - lost))
        if extras.timecode and not made.timecode:
            self._lose(why, *({f"timecode {extras.timecode}"} - lost))
        if self._carry.lost:
            return
        found: list[Track] = [*made.tracks, *([made.sound] if made.sound else [])]
        tracks = sorted(found, key=lambda track: track.index)
        for was, now in zip(self._kept, tracks[-len(self._kept) :], strict=False):
            if now.kind != was.kind:  # MPEG-TS takes anything, as data that no player knows
                self._lose(f"{self._suffix} files do not take it", str(was))
                continue
            for key in ("title", "language"):
                want = was.tags.get(key, "")
                if want not in ("", "und", now.tags.get(key, "")):
                    self._lose(why, f"the {key} {want!r} of {was}")
            gone = was.disposition & ~now.disposition & ~Disposition.default
            self._lose(why, *(f"the mark {mark.name!r} of {was}" for mark in Disposition if mark & gone))
        if extras.chapters and not made.chapters:
            self._lose(f"{self._suffix} files hold none", _chapters(extras))


def _has_timecode(rate: int, timecode: str) -> bool:
    """Whether frames at this rate can be counted so; drop-frame counting is for multiples of 30 only."""
    parts = re.fullmatch(r"\d\d:\d\d:\d\d([:;.])\d\d", timecode)
    return parts is not None and rate in _RATES and (parts[1] == ":" or rate % 30 == 0)


def _chapters(extras: Extras) -> str:
    return f"{len(extras.chapters)} chapter{'s' if len(extras.chapters) > 1 else ''}"


def _tags_for(suffix: str, tags: dict[str, str]) -> dict[str, str]:
    """A track's tags as the container spells them."""
    kept = {key: value for key, value in tags.items() if key not in ("creation_time", "handler_name")}
    if kept.get("language") == "und":
        del kept["language"]
    handler = tags.get("handler_name", "")
    if suffix in QUICKTIME and handler and handler not in _USUAL_HANDLERS:
        kept["handler_name"] = handler
    if "language" in kept:
        kept["language"] = spelled(kept["language"], suffix)
    return kept


def name_speech(speech: Any, replaced: Track | None, own: dict[str, str], suffix: str, language: str = "") -> None:
    """Gives the new speech's stream the tags and marks of the track that it replaces. own: tags of the speech's file;
    language: as the user says; where either tells of another language, the title, which may name the old one, is the
    speech's own or none. The new speech is never marked as the original."""
    tags, said = dict(replaced.tags) if replaced else {}, language or own.get("language", "und")
    if said != "und" and replaced is not None and term_of(said) != replaced.language:
        tags.pop("title", None)
        tags.pop("handler_name", None)
    if said != "und":
        tags |= {"language": said} | {key: own[key] for key in ("title",) if key in own}
    speech.metadata.update(_tags_for(suffix, tags))
    marks = replaced.disposition if replaced else 0
    speech.disposition = marks & ~Disposition.original | Disposition.default


def _put_cover(path: Path, data: bytes, mime: str) -> None:
    """Writes the picture over its placeholder among the tags of an MP4 or MOV file, as a value of its type."""
    with path.open("r+b") as file:
        tables = next(((at, size) for name, at, size in outer_boxes(file) if name == b"moov"), (0, 0))
        file.seek(tables[0])
        at = file.read(tables[1]).find(_PLACEHOLDER.encode() * len(data))
        if at >= 8:
            file.seek(tables[0] + at - 8)
            file.write((14 if mime == "image/png" else 13).to_bytes(4, "big"))
            file.seek(tables[0] + at)
            file.write(data)
