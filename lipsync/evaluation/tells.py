"""The tells that a careful viewer looks for in a talking face, each measured against the person's own real frames."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from audio.load import load_track
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.types import Footage
from lipsync.evaluation import tell_pictures
from lipsync.evaluation.tell_judge import Found, Seen, judge
from lipsync.evaluation.tell_lips import Heard
from lipsync.evaluation.tell_pictures import Pictures
from lipsync.render.flaws import MouthLook
from lipsync.store.cache import Cache, save_arrays, step_key
from lipsync.store.preflight import check_readable
from lipsync.store.receipt import Receipt
from lipsync.target.analyse import analyse, follow_people, of_person, probed
from lipsync.target.look import look_of
from lipsync.target.speakers import find_speakers
from media import MediaError

#: Raise whenever `Audit.as_json` changes its form.
FORMAT = 1
Verdict = Literal["pass", "look", "bad", "not measured"]
_ORDER = ("not measured", "pass", "look", "bad")
#: Moments that are kept of a tell, and told of in a line; columns.
MOMENTS, SHOWN, COLUMNS = 8, 3, 80


@dataclass(frozen=True, slots=True)
class Moment:
    """From `start` to `end`, seconds: where a tell is seen most, with its value there. person: who, as `Audit.people`
    has it; empty: nobody's own."""

    start: float
    end: float
    value: float
    person: str = ""


@dataclass(frozen=True, slots=True)
class Tell:
    """One tell. name: for machines; title: for people; value: the worst measured, None where nothing could be; usual:
    the range of real frames; unit: of both; says: one plain sentence; moments: the worst, in order of value."""

    name: str
    title: str
    verdict: Verdict
    value: float | None
    usual: tuple[float, float] | None
    unit: str
    says: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """All tells of a video. people: who was seen, from the left; duration: seconds; limits: what this cannot know, in
    sentences."""

    tells: tuple[Tell, ...]
    people: tuple[str, ...]
    duration: float
    limits: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        return {"version": FORMAT, **asdict(self)}

    @property
    def verdict(self) -> Verdict:
        """The worst of all tells that were measured."""
        return max((tell.verdict for tell in self.tells), key=_ORDER.index)

    def lines(self) -> list[str]:
        """For a terminal of 80 columns."""
        many = len(self.people) > 1
        out = []
        for tell in self.tells:
            out.append(f"{tell.title:<38}{tell.verdict:<14}{_figure(tell)}")
            if tell.verdict in ("look", "bad"):
                at = ", ".join(_when(one, many) for one in tell.moments[:SHOWN])
                out += _wrapped(f"{tell.says} Worst at {at}." if at else tell.says)
        unmeasured = dict.fromkeys(tell.says for tell in self.tells if tell.verdict == "not measured")
        return [*out, *(line for said in (*unmeasured, *self.limits) for line in _wrapped(said, ""))]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of tell. look, bad: limits of its value, which grows with the fault; wrong: what is to be seen."""

    name: str
    title: str
    unit: str
    look: float
    bad: float
    wrong: str
    fine: str


#: The limits were chosen on real video and planted defects of benchmarks/tells.py, split `choose`.
KINDS = (
    Kind("blur", "mouth blurred", "times softer", 1.38, 1.7, "The mouth is softer than the rest of the face.",
         "The mouth is as sharp as the rest of the face."),
    Kind("flicker", "flicker", "times the cheeks'", 2.8, 4.5, "The skin around the mouth flickers.",
         "The skin around the mouth is as steady as the cheeks."),
    Kind("tone", "skin tone steps at an edge", "grey levels", 12.0, 20.0,
         "The skin changes colour along an edge around the mouth.", "No edge is to be seen around the mouth."),
    Kind("ghost", "double lips or edges", "of the limit", 0.9, 1.3, "Lips or edges are seen twice.",
         "The lips look like this person's own."),
    Kind("torn", "torn lip", "of the limit", 1.2, 2.0, "A lip is torn or out of place.",
         "The lips are whole."),
    Kind("teeth", "teeth stand still", "times stiller", 2.0, 2.9,
         "What is seen between the lips stays the same while the mouth moves.", "Teeth move as real ones do."),
    Kind("covered", "something before the mouth", "s", 0.15, float("inf"),
         "A hand or an object is before the mouth: see whether it is painted over.", "Nothing hides the mouth."),
    Kind("silence", "mouth moves in silence", "eye distances", 0.012, 0.02, "The mouth moves while nobody speaks.",
         "The mouth rests in silence."),
    Kind("frozen", "mouth still in speech", "times stiller", 2.5, 5.0, "The mouth hardly moves while somebody speaks.",
         "The mouth moves as the speech asks."),
    Kind("closures", "lips stay open on p, b, m", "of them", 0.4, 0.7, "Lips do not close where the sound asks for it.",
         "The lips close where the sound asks for it."),
    Kind("sync", "sound and lips out of step", "s", 0.075, 0.15, "Sound and lips are out of step.",
         "Sound and lips are in step."),
    Kind("dragged", "collar moves with the jaw", "of the opening", 0.15, 0.3,
         "What lies under the chin moves with the mouth.", "What lies under the chin stays in place."),
)  # fmt: skip
_ABSOLUTE = {"sync"}
_NEEDS_SOUND = ("silence", "frozen", "closures", "sync")
#: What an audit cannot know.
_LIMITS = (
    "A tell shows where to look, not who made the video: real video can have any of them, and a good dub none.",
    "Faces that are small, turned away or hidden are not measured, and neither is a voice whose mouth is not seen.",
)
_ALONE = (
    "There is no original to compare with: mouths are compared with the rest of this video and with limits from other "
    "people's, so a fault that is there all the time may pass."
)


def audit(
    video: Path,
    *,
    target: Path | None = None,
    receipt: Receipt | None = None,
    config: DubConfig = DubConfig(),
    progress: Hook = silent,
    cache: Cache | None = None,
) -> Audit:
    """The tells of `video`. target: what it was made from, whose frames are taken as real; receipt: of the dub, whose
    re-drawn spans alone are judged. Kept in the cache by content. LipsyncError, MediaError: `video` cannot be read."""
    check_readable(video, "video")
    cache = cache or Cache(config.cache.folder or None)
    stream = probed(video, config)
    duration = float(stream.clock.duration_s)
    limits = [*_LIMITS, *([_ALONE] if target is None else [])]
    try:
        films = follow_people(video, config, cache, progress)
        films = [film for film in films if film.track.valid.any()]
        reason = "" if films else "No face is seen well enough to be measured."
    except LipsyncError:
        films, reason = [], "No face is seen."
    heard, deaf = _heard(video, config) if films else (None, "")
    found: list[tuple[str, dict[str, Found | None]]] = []
    for film in films:
        name = f"face {film.person}"
        found.append(
            (name, _judged(film, target, receipt, heard, _speaking(films, film, heard, cache), config, cache, progress))
        )
    whys = {kind.name: reason or (deaf if kind.name in _NEEDS_SOUND else "") for kind in KINDS}
    tells = tuple(_tell(kind, found, whys[kind.name]) for kind in KINDS)
    return Audit(tells, tuple(name for name, _ in found), duration, tuple(limits))


def _heard(video: Path, config: DubConfig) -> tuple[Heard | None, str]:
    try:
        heard = Heard.of(load_track(video, config.input_limits))
    except MediaError:
        return None, "There is no sound to hold the lips against."
    return (heard, "") if heard.voice.any() else (heard, "Nobody speaks in its sound.")


def _speaking(films: list[Footage], film: Footage, heard: Heard | None, cache: Cache) -> np.ndarray | None:
    """(F,) bool at 100 a second: the speech is this person's."""
    if heard is None:
        return None
    if film.people == 1:
        return np.ones(len(heard.voice), bool)
    who = find_speakers(films, cache).who()
    return np.resize(who == films.index(film), len(heard.voice))


def _judged(
    film: Footage,
    target: Path | None,
    receipt: Receipt | None,
    heard: Heard | None,
    speaks: np.ndarray | None,
    config: DubConfig,
    cache: Cache,
    hook: Hook,
) -> dict[str, Found | None]:
    clock, own, own_track, look = film.video.clock, None, None, None
    if target is not None:
        subject = analyse(target, of_person(config, film.person), cache, hook)
        own_track, look = subject.track, look_of(subject, cache)
        own = _pictures(subject.films[0], "", lambda _: None, cache, hook)
        pictures = _pictures(film, subject.key, lambda _: look, cache, hook)
    else:
        pictures = _pictures(film, "own", _own_look(film, config, cache, hook), cache, hook)
    only = np.ones(len(clock), bool)
    if receipt is not None and receipt.changed:
        only = np.logical_or.reduce([(clock.seconds >= a) & (clock.seconds < b) for a, b in receipt.changed])
    return judge(Seen(film.track, clock.seconds, float(clock.rate), pictures, only, own, own_track), heard, speaks)


def _own_look(film: Footage, config: DubConfig, cache: Cache, hook: Hook) -> Callable[[int], MouthLook | None]:
    return lambda _: None


def _pictures(
    film: Footage, look_key: str, look_at: Callable[[int], MouthLook | None], cache: Cache, hook: Hook
) -> Pictures:
    key = step_key("tells", tell_pictures.VERSION, look_key, [film.key])

    def make(folder: Path) -> None:
        found = tell_pictures.measure(film, look_at, hook)
        save_arrays(folder / "tells.safetensors", {name: getattr(found, name) for name in Pictures.names()})

    load = lambda folder: Pictures(**load_file(folder / "tells.safetensors"))  # noqa: E731
    return cache.read("tells", key, make, load, label=film.video.path.name)


def _tell(kind: Kind, found: list[tuple[str, dict[str, Found | None]]], why: str) -> Tell:
    moments = [
        Moment(round(a, 3), round(b, 3), round(value, 4), person)
        for person, tells in found
        for a, b, value in tells.get(kind.name) or ()
    ]
    usual = (-kind.look if kind.name in _ABSOLUTE else 0.0, kind.look)
    if not moments:
        says = why or f"Too little is seen to judge: {kind.title}."
        return Tell(kind.name, kind.title, "not measured", None, usual, kind.unit, says, ())
    moments.sort(key=lambda one: -abs(one.value))
    worst = moments[0].value
    verdict: Verdict = "bad" if abs(worst) >= kind.bad else "look" if abs(worst) >= kind.look else "pass"
    if verdict == "pass":
        return Tell(kind.name, kind.title, verdict, worst, usual, kind.unit, kind.fine, ())
    worst_of = tuple(one for one in moments[:MOMENTS] if abs(one.value) >= kind.look)
    return Tell(kind.name, kind.title, verdict, worst, usual, kind.unit, kind.wrong, worst_of)


def _figure(tell: Tell) -> str:
    return "" if tell.value is None else f"{tell.value:.2g} {tell.unit}"


def _when(moment: Moment, many: bool) -> str:
    return f"{moment.start:.1f} s" + (f" ({moment.person})" if many and moment.person else "")


def _wrapped(text: str, indent: str = "    ") -> list[str]:
    return textwrap.wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
