"""The tells that a careful viewer looks for in a talking face, each measured against the person's own real frames."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from audio.load import load_track
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.text import counted, format_duration
from lipsync.core.types import Footage
from lipsync.evaluation import tell_pictures
from lipsync.evaluation.tell_judge import KINDS, Found, Kind, Seen, judge
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
_ORDER: tuple[Verdict, ...] = ("bad", "look", "pass", "not measured")
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

    def lines(self) -> list[str]:
        """For a terminal of 80 columns."""
        many, counts = len(self.people) > 1, Counter(tell.verdict for tell in self.tells)
        found = ", ".join(f"{counts[one]} {one}" for one in _ORDER if counts[one])
        out = [f"{counted(len(self.people), 'face')} in {format_duration(self.duration)}; tells: {found}"]
        for tell in self.tells:
            out.append(f"{tell.title:<38}{tell.verdict:<14}{_figure(tell)}")
            if tell.verdict in ("look", "bad"):
                at = ", ".join(_when(one, many) for one in tell.moments[:SHOWN])
                out += _wrapped(f"{tell.says} Worst at {at}." if at else tell.says)
        unmeasured = dict.fromkeys(tell.says for tell in self.tells if tell.verdict == "not measured")
        return [*out, *(line for said in (*unmeasured, *self.limits) for line in _wrapped(said, ""))]


_NEEDS_SOUND = ("silence", "frozen", "closures", "sync")
#: What an audit cannot know.
_LIMITS = (
    "A tell shows where to look, not who made the video: real video can have any of them, and a good dub none.",
    "Faces that are small, turned away or hidden are not measured, and neither is a voice whose mouth is not seen.",
)
_ALONE = (
    "There is no original to compare with: what is measured is compared with limits from other people's video, so a "
    "fault that this person would never show may pass."
)
_BESIDE_ORIGINAL = (
    "A step of tone, double or torn lips and what was painted over can be told only beside the original (--target)."
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
    cache = cache or Cache.of(config.cache)
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
    if target is None:
        whys |= {name: whys[name] or _BESIDE_ORIGINAL for name in ("covered", "tone", "ghost", "torn")}
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
    clock, own, own_track = film.video.clock, None, None
    if target is not None:
        subject = analyse(target, of_person(config, film.person), cache, hook)
        own_track, look = subject.track, look_of(subject, cache)
        own = _pictures(subject.films[0], "", None, cache, hook)
        pictures = _pictures(film, subject.key, look, cache, hook)
    else:
        pictures = _pictures(film, "", None, cache, hook)
    only = np.ones(len(clock), bool)
    if receipt is not None and receipt.changed:
        only = np.logical_or.reduce([(clock.seconds >= a) & (clock.seconds < b) for a, b in receipt.changed])
    beneath = None if own_track is None else _beneath(len(clock), len(own_track), receipt)
    seen = Seen(
        film.track,
        clock.seconds,
        float(clock.rate),
        pictures,
        only,
        own,
        own_track,
        beneath,
        _closures(receipt, film.person),
    )
    return judge(seen, heard, speaks)


def _closures(receipt: Receipt | None, person: int) -> list[tuple[float, float]] | None:
    """When the lips of a dub were to meet; None: not known."""
    speakers = [] if receipt is None else receipt.speakers
    if len(speakers) > 1:
        speakers = [one for one in speakers if one.person == person]
    if len(speakers) != 1 or not speakers[0].closed_gap:
        return None
    return [(start, end) for start, end in speakers[0].closures]


def _beneath(n: int, n_target: int, receipt: Receipt | None) -> np.ndarray | None:
    """(n,) the target's frame beneath each of the video's; None: not known."""
    if receipt is not None and len(receipt.plan.source) == n:
        return np.minimum(receipt.plan.source, n_target - 1)
    return np.arange(n) if n == n_target else None


def _pictures(film: Footage, look_key: str, look: MouthLook | None, cache: Cache, hook: Hook) -> Pictures:
    key = step_key("tells", tell_pictures.VERSION, look_key, [film.key])

    def make(folder: Path) -> None:
        found = tell_pictures.measure(film, look, hook)
        save_arrays(folder / "tells.safetensors", {name: getattr(found, name) for name in Pictures.names()})

    load = lambda folder: Pictures(**load_file(folder / "tells.safetensors"))  # noqa: E731
    return cache.read("tells", key, make, load, label=film.video.path.name)


def _tell(kind: Kind, found: list[tuple[str, dict[str, Found | None]]], why: str) -> Tell:
    moments = [
        Moment(round(a, 3), round(b, 3), round(value, 4), person)
        for person, tells in found
        for a, b, value in tells.get(kind.name) or ()
    ]
    usual = (-kind.look if kind.name == "sync" else 0.0, kind.look)
    if not moments:
        says = why or "Too little of it is seen, or another fault hides it."
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
