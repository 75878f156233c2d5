"""What is heard in a dub: the speech as it is, a finished mix, or the speech laid into the target's own sound or over a
background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from audio.duration import sound_end
from audio.fit import MOST, write_faster
from audio.loudness import is_measurable, loudness_of
from audio.soundtrack import Layer, Soundtrack, joined
from lipsync.config.schema import DubConfig, SoundConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.segments import ORIGINAL, Segment
from lipsync.store.cache import Cache, content_hash, step_key
from media.container import InputLimits
from video.clock import FrameClock
from video.probe import VideoStream

#: Speech longer than its slot by no more than this is cut without a word: encoders fill their last block.
ROUNDING_S = Fraction(1, 20)
#: Peaks of sound made as loud as asked for, full scale 1 (-1 dB): louder, encoded sound clips.
_HEADROOM = 10 ** (-1 / 20)


@dataclass(frozen=True, slots=True)
class DubSound:
    """The files of a dub's sound beside its speech. mix: goes into the output instead of the speech; background: lies
    under it, ORIGINAL = the target's own sound; fitted: of each recording that was sped up, (what it was made from, how
    much faster); notes: for the user."""

    mix: Path | None = None
    background: Path | str | None = None
    fitted: dict[Path, tuple[Path, Fraction]] = field(default_factory=dict[Path, tuple[Path, Fraction]])
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, mix: str | Path | None, background: str | Path | None) -> DubSound:
        under = background if background is None or str(background) == ORIGINAL else Path(background)
        return cls(None if mix is None else Path(mix), under)

    def instead(self, partly: bool) -> str:
        """For a note: how what is heard stands to the target's own sound. partly: only parts are dubbed."""
        if self.mix is not None:
            return "the mix replaces"
        done = "lies over" if self.background == ORIGINAL else "replaces"
        return f"in the dubbed parts the speech {done}" if partly else f"the speech {done}"

    @property
    def files(self) -> dict[Path, str]:
        """Those that are read, and what they are."""
        known = (self.mix, "file of --mix"), (self.background, "file of --background")
        return {path: role for path, role in known if isinstance(path, Path)}

    def made_from(self, path: Path) -> tuple[Path, Fraction]:
        """The user's own file, and how much faster it is said."""
        return self.fitted.get(path, (path, Fraction(1)))

    def check(self, config: SoundConfig) -> None:
        """UsageError for options that contradict each other; LipsyncError where what measures loudness is missing."""
        if self.mix is not None and self.background is not None:
            raise UsageError("--mix is the finished sound already: leave out --background, or --mix.")
        if config.background_db and self.background is None:
            raise UsageError("--background-db says how loud a background is: name one with --background.")
        if config.loudness is not None and not is_measurable():
            raise LipsyncError(
                "--loudness needs the package pyloudnorm. Install it with pip install 'lipsync-dub[loudness]', or "
                "leave out --loudness."
            )

    def check_original(self, has_audio: bool, timeline: str, length: str) -> None:
        """UsageError where the target's own sound cannot lie under the speech. has_audio: the target."""
        if self.background != ORIGINAL:
            return
        if not has_audio:
            raise UsageError("The target has no sound to lie under the speech: leave out --background original.")
        if timeline != "keep" or length in ("loop", "bounce"):
            raise UsageError(
                "The target's own sound fits only pictures in its own time: add --timeline keep, or leave out "
                "--background original."
            )


def fitted_segments(
    segments: Sequence[Segment], lengths: dict[Path, Fraction], sound: DubSound, config: DubConfig, cache: Cache
) -> tuple[tuple[Segment, ...], DubSound]:
    """The segments with recordings that fit into them. UsageError, with the place, where one does not."""
    out = []
    for one in segments:
        if one.speech is not None:
            path, sound = _fitted(one.speech, lengths[one.speech], one.end_s - one.start_s, one, sound, config, cache)
            one = replace(one, speech=path)
        out.append(one)
    return tuple(out), sound


def fitted_whole(
    speech: Path, length_s: Fraction, slot_s: Fraction, sound: DubSound, config: DubConfig, cache: Cache
) -> tuple[Path, Fraction, DubSound]:
    """The speech of a whole target, how long it is, and what is known of it: sped up where the options ask for it, the
    target may keep its time, and that suffices."""
    retime = config.retime
    keeps = retime.timeline != "retime" and retime.length in ("auto", "target")
    if not config.sound.fit or not keeps or not slot_s < length_s <= MOST * slot_s:
        return speech, length_s, sound
    path, sound = _fitted(speech, length_s, slot_s, None, sound, config, cache)
    return path, slot_s, sound


def _fitted(
    speech: Path,
    length_s: Fraction,
    slot_s: Fraction,
    place: Segment | None,
    sound: DubSound,
    config: DubConfig,
    cache: Cache,
) -> tuple[Path, DubSound]:
    if length_s - slot_s <= (ROUNDING_S if place else 0):
        return speech, sound
    refuse_too_long(speech, length_s, slot_s, place, config.sound.fit)
    tempo = length_s / slot_s
    made = _faster(speech, tempo, config, cache)
    where = f" to fit into {float(place.start_s):.2f}-{float(place.end_s):.2f} s" if place else " to fit the target"
    note = f"{speech.name} was sped up by {100 * float(tempo - 1):.1f} %{where}"
    return made, replace(sound, fitted=sound.fitted | {made: (speech, tempo)}, notes=(*sound.notes, note))


def refuse_too_long(speech: Path, length_s: Fraction, slot_s: Fraction, place: Segment | None, fit: bool) -> None:
    """UsageError where a speech does not fit into its slot, not even faster where that is allowed."""
    over_s = length_s - slot_s
    if over_s > (ROUNDING_S if place else 0) and (not fit or length_s > MOST * slot_s):
        raise UsageError(_too_long(speech, length_s, slot_s, place, fit))


def _too_long(speech: Path, length_s: Fraction, slot_s: Fraction, place: Segment | None, fit: bool) -> str:
    over_s, most_s = length_s - slot_s, MOST * slot_s
    said = (
        f"{place}: {speech.name} lasts {float(length_s):.2f} s, {float(over_s):.2f} s longer than its slot of "
        f"{float(slot_s):.2f} s"
    )
    if length_s <= most_s and not fit:
        return f"{said}. Add --fit to have it sped up by {100 * float(length_s / slot_s - 1):.1f} %, or end later."
    return f"{said}: more than the {round(100 * (MOST - 1))} % that --fit takes in. Shorten it, or end later."


def _faster(speech: Path, tempo: Fraction, config: DubConfig, cache: Cache) -> Path:
    """The sped-up recording, kept by content."""
    name = f"{speech.stem}.wav"
    key = step_key("fitted speech", 1, {"tempo": tempo, "name": name}, [content_hash(speech)])
    return cache.read(
        "fitted speech",
        key,
        lambda folder: write_faster(speech, folder / name, tempo, config.input_limits),
        lambda folder: folder / name,
        label=speech.name,
    )


def sound_of(
    sound: DubSound,
    speech: Path | None,
    segments: Sequence[Segment] | None,
    target: VideoStream,
    length_s: Fraction,
    config: DubConfig,
) -> tuple[Path | Soundtrack | None, list[str]]:
    """What goes into the output, `length_s` long, and notes. segments: None = the speech is heard from the beginning to
    the end. Raises MediaError."""
    gain, limits = 10 ** (config.sound.background_db / 20), config.input_limits
    if sound.mix is not None:
        layers = [Layer(sound.mix, outside=1.0)]
    elif segments is None:
        layers = [] if speech is None else [Layer(speech, outside=1.0)]
        layers += _under(sound, target, (), gain)
    else:
        layers = _of_segments(sound, speech, segments, target, gain)
    if len(layers) == 1 and layers[0].outside == 1.0 and not layers[0].spans and config.sound.loudness is None:
        return layers[0].path, []  # copied packet by packet where that is possible
    if not layers:
        return None, []
    track = Soundtrack(layers, length_s, limits)
    return track, [] if config.sound.loudness is None else _made_loud(track, config.sound.loudness)


def _under(
    sound: DubSound, target: VideoStream, spans: Sequence[tuple[Fraction, Fraction]], gain: float
) -> list[Layer]:
    """The background, in the spans; without any, everywhere."""
    if sound.background is None:
        return []
    if isinstance(sound.background, Path):
        return [Layer(sound.background, spans=spans, inside=gain, outside=0.0 if spans else gain)]
    start_s = target.audio_start_s or Fraction(0)
    return [Layer(target.path, start_s, spans, inside=gain, outside=1.0 if spans else gain)]


def _of_segments(
    sound: DubSound, speech: Path | None, segments: Sequence[Segment], target: VideoStream, gain: float
) -> list[Layer]:
    """The target's own sound outside of the segments, what is said inside."""
    spans = joined([(one.start_s, one.end_s) for one in segments])
    layers = _under(sound, target, spans, gain)
    if sound.background != ORIGINAL and target.has_audio:
        layers.append(Layer(target.path, target.audio_start_s or Fraction(0), spans, inside=0.0, outside=1.0))
    beside = [(one.start_s, one.end_s) for one in segments if one.speech is None]
    if beside and speech is not None:
        layers.append(Layer(speech, spans=beside))
    for one in segments:
        if one.speech is not None:
            layers.append(Layer(one.speech, one.start_s, [(one.start_s, one.end_s)]))
    return layers


def own_sound_end(segments: Sequence[Segment], target: VideoStream, limits: InputLimits) -> Fraction:
    """Where the target's own sound ends on the output's clock, seconds, if it is heard again after the last segment;
    else 0. Films often sound a little longer than their picture."""
    clock = target.clock
    if not target.has_audio or max(one.end_s for one in segments) >= clock.duration_s:
        return Fraction(0)
    first_s = int(clock.pts[0]) * clock.base
    end_s = sound_end(target.path, first_s + clock.duration_s - 1, limits)
    return Fraction(0) if end_s is None else end_s - first_s


def lost_sound(said_s: Fraction, clock: FrameClock) -> list[str]:
    """A note where speech goes on beyond the end of the picture."""
    lost_s = said_s - clock.duration_s
    if lost_s <= 1 / clock.rate:
        return []
    return [
        f"the last {float(lost_s):.2f} s of the speech lie beyond the end of the picture and are cut; --length speech "
        "keeps them"
    ]


def mix_beside(mix_s: Fraction, picture_s: Fraction) -> list[str]:
    """A note where a finished mix is much shorter than the picture, or is cut at its end."""
    if picture_s - mix_s > 1:
        return [f"the mix ends {float(picture_s - mix_s):.1f} s before the picture"]
    if mix_s - picture_s > Fraction(1, 10):
        return [f"the last {float(mix_s - picture_s):.2f} s of the mix lie beyond the end of the picture and are cut"]
    return []


def _made_loud(track: Soundtrack, wanted: float) -> list[str]:
    """Sets the gain at which the track is as loud as wanted, or as loud as its peaks allow; notes."""
    loudness, peak = loudness_of(track)
    track.notes = []
    if loudness == float("-inf"):
        return ["the sound is silent, and stays as it is"]
    gain = 10 ** ((wanted - loudness) / 20)
    track.gain = min(gain, _HEADROOM / peak)
    if track.gain == gain:
        return []
    reached = loudness + 20 * np.log10(track.gain)
    return [f"the sound is at {reached:.1f} LUFS, not {wanted:g}: louder, its peaks would clip (they lie at -1 dB)"]
