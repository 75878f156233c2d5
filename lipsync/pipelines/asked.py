"""What a dub is asked for, and all of it that can be refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import UsageError
from lipsync.core.segments import Segment, Span, part_of
from lipsync.core.texture import TextureMethod
from lipsync.pipelines.mistakes import target_stream
from lipsync.pipelines.models import Prepared, check_texture
from lipsync.pipelines.reenact import sound_of_film
from lipsync.pipelines.script import Script, script_of
from lipsync.pipelines.sound import DubSound, fitted_segments, fitted_whole, mix_beside
from lipsync.speech.predict import files_of
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_encoder, check_paths, check_speech
from lipsync.store.segment_file import check_recordings
from lipsync.target.analyse import probed


@dataclass(frozen=True, slots=True)
class Asked:
    """What `dub` was asked to make of what; its arguments."""

    target: Path
    speech: Path | None
    out: Path
    footage: tuple[Path, ...]
    segments: tuple[Segment, ...]
    lips_from: Path | None
    sound: DubSound
    preview_s: float | None

    @classmethod
    def of(
        cls,
        target: str | Path,
        speech: str | Path | None,
        out: str | Path,
        config: DubConfig,
        footage: Sequence[str | Path],
        segments: Sequence[Segment],
        span: Span | None,
        lips_from: str | Path | None,
        sound: DubSound,
        preview_s: float | None,
    ) -> Asked:
        """A span is one segment; a film of lips brings its own sound. UsageError: a span and segments."""
        film = None if lips_from is None else Path(lips_from)
        said = sound_of_film(film, None if speech is None else Path(speech), config)
        if span is not None:
            segments, said = [_only_in(span, Path(target), said, segments, config)], None
        return cls(Path(target), said, Path(out), tuple(map(Path, footage)), tuple(segments), film, sound, preview_s)

    def checked(
        self, config: DubConfig, force: bool, prepared: Prepared | None, cache: Cache
    ) -> tuple[TextureMethod, Script, DubSound]:
        """The texture method, the script and the sound; what depends on the target alone is known good where it is
        prepared. Raises UsageError, LipsyncError, MediaError."""
        validate(config)
        files = self._recordings()
        self.sound.check(config.sound)
        method = check_texture(config) if prepared is None else prepared.method
        seen = self.footage if self.lips_from is None else (*self.footage, self.lips_from)
        check_recordings(self.segments)
        check_paths(self.target, files, self.out, seen, force, sounds=self.sound.files)
        film = (
            target_stream(self.target, files, config, cache) if prepared is None else prepared.subject.films[0].stream
        )
        lengths = {path: check_speech(path, config.input_limits) for path in (*files, *self.sound.files)}
        check_encoder(self.out, config.write, (film.width, film.height))
        speech, sound, whole_s = self.speech, self.sound, Fraction(0)
        if self.lips_from is not None:
            whole_s = lengths[speech] if speech is not None else probed(self.lips_from, config).clock.duration_s
        elif speech is not None and not self.segments:
            speech, whole_s, sound = fitted_whole(speech, lengths[speech], film.clock.duration_s, sound, config, cache)
        script = script_of(speech, whole_s, film.clock, config, self.segments, self.preview_s)
        if script.partly:
            fitting, sound = fitted_segments(script.segments or (), lengths, sound, config, cache)
            script = replace(script, segments=fitting)
        if sound.mix is not None and script.config.retime.timeline == "keep" and self.preview_s is None:
            told = mix_beside(lengths[sound.mix], script.output_clock.duration_s)
            sound = replace(sound, notes=(*sound.notes, *told))
        sound.check_original(film.has_audio, script.config.retime.timeline, config.retime.length)
        return method, script, sound

    def _recordings(self) -> list[Path]:
        """All that is said, each once. UsageError: nothing, or what does not go together."""
        segments, speech = self.segments, self.speech
        if self.lips_from is not None and segments:
            raise UsageError("--lips-from drives a whole dub: leave out --from, --to and --segments.")
        if self.footage and len({one.person for one in segments}) > 1:
            raise UsageError(
                "--footage shows one person, and several are dubbed: leave it out, or dub them one by one."
            )
        files = files_of(segments, speech) if segments else [speech] if speech is not None else []
        if not (files or self.lips_from) or (any(one.speech is None for one in segments) and speech is None):
            raise UsageError("There is nothing to say. Name a SPEECH, or one for each segment, or --lips-from VIDEO.")
        return files


def _only_in(span: Span, target: Path, speech: Path | None, segments: Sequence[Segment], config: DubConfig) -> Segment:
    """The span as the only segment. UsageError: there are others, or nothing to say."""
    if segments:
        raise UsageError("Name a span or segments, not both.")
    if speech is None:
        raise UsageError("There is nothing to say. Name a speech.")
    length_s = probed(target, config).clock.duration_s if span[1] is None else Fraction(0)
    return part_of(span, speech, length_s)


def with_notes(script: Script, notes: Sequence[str]) -> Script:
    """The script with more notes for the receipt, after its own."""
    return replace(script, notes=(*script.notes, *notes))
