"""The quality report of a dub: what its receipt says, what is seen in its pictures, and which moments to look at."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from lipsync.config.load import from_plain, to_plain
from lipsync.config.schema import DubConfig
from lipsync.core.arrays import runs_of
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.progress import Hook, silent
from lipsync.core.text import counted, percent, readable, shortened
from lipsync.core.timebase import nominal_rate
from lipsync.core.types import Footage
from lipsync.evaluation.tells import Audit, Moment, Tell, Verdict, audit
from lipsync.metrics.lips import closed, long_silences, opening_r, resting_gap
from lipsync.pipelines.report_film import Part, parts_of
from lipsync.store.cache import Cache, content_hash
from lipsync.store.preflight import check_readable, receipt_path
from lipsync.store.receipt import Receipt, SpeakerFacts, own_version
from lipsync.target.analyse import follow_people, probed
from video.clock import FrameClock
from video.probe import VideoStream

#: Raise whenever `QualityReport.to_plain` changes its form.
FORMAT = 1
Severity = Literal["bad", "look"]
_RANK: dict[Severity, int] = {"bad": 0, "look": 1}
_VERDICTS: tuple[Verdict, ...] = ("bad", "look", "pass", "not measured")
#: What happens so near to something else is the same moment, seconds.
_SAME_S = 0.5
#: Moments of one tell, and of a kind of passed-through span, at most.
_OF_EACH = 3
#: A moment that takes more of the dub is all of it.
_THROUGHOUT = 0.6
#: Moments that a terminal shows.
_LINES = 8


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a moment is worth a look. of: "tell", "doubt" or "unchanged"; name: the tell's or the cause; value: its own
    measure there."""

    of: str
    name: str
    severity: Severity
    says: str
    value: float


@dataclass(frozen=True, slots=True)
class LookAt:
    """A moment to look at. row: the frame; at_s: the middle of that frame; from_s, to_s: of the first reason; person:
    whose, "" = nobody's own."""

    row: int
    at_s: float
    from_s: float
    to_s: float
    severity: Severity
    person: str
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Closure:
    """A closure of the lips that the speech wants, as for p, b and m, and whether it is seen. gap: the least distance
    of the lips there, eye distances, None where the face was not found."""

    from_s: float
    to_s: float
    gap: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Mouth:
    """One person's mouth opening by row, eye distances: wanted as the receipt has it, drawn as it is found in the
    dub; None: not drawn, not found. r: their correlation; closed_gap: a drawn mouth opened less is closed."""

    person: str
    spans: list[list[float]]
    wanted: list[float | None]
    drawn: list[float | None]
    r: float | None
    closed_gap: float | None
    closures: list[Closure]


@dataclass(frozen=True, slots=True)
class Timeline:
    """[from, to] seconds of the dub: where a mouth was drawn; where a frame of the target is shown again, or one is
    left out; at which seconds the picture jumps."""

    drawn: list[list[float]]
    repeated: list[list[float]]
    skipped: list[list[float]]
    jumps: list[float]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """All that the page says. verdict: one sentence; original: the target is beside the dub in the film; parts: of the
    dub that the film shows; tells: as an audit has them, the worst first, each moment with the frame `row` to look at
    and its middle `at_s`; frame_times: seconds of every frame where they are not evenly spaced; doubt: by row."""

    video: str
    target: str
    verdict: str
    summary: str
    frames: int
    duration_s: float
    rate: str
    frame_times: list[float]
    original: bool
    parts: list[Part]
    moments: list[LookAt]
    tells: list[dict[str, Any]]
    limits: list[str]
    timeline: Timeline
    mouths: list[Mouth]
    doubt: dict[str, Any]
    passed_through: list[dict[str, Any]]
    marks: dict[str, Any]
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list[str])

    def to_plain(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON."""
        return readable({"version": FORMAT, "made_by": f"lipsync {own_version()}", **asdict(self)})

    def lines(self) -> list[str]:
        """For people, in 80 columns."""
        told = textwrap.wrap(f"{Path(self.video).name}: {self.verdict} {self.summary}", 80, subsequent_indent="  ")
        for one in self.moments[:_LINES]:
            says = shortened("; ".join(reason.says for reason in one.reasons), 58)
            told.append(f"  {one.at_s:8.2f} s  {one.severity:4}  {says}")
        more = len(self.moments) - _LINES
        return told + [f"  and {counted(more, 'moment')} more; --json has all"] * (more > 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a report is made of. target: None where the original is not there; people: of the dub, one for each speaker
    of the receipt, None where the face was not found again."""

    dub: VideoStream
    receipt: Receipt
    target: VideoStream | None
    people: list[Footage | None]


def look_at_dub(
    out: str | Path, target: str | Path | None = None, cache: Cache | None = None, hook: Hook = silent
) -> tuple[QualityReport, Seen]:
    """The report of a dubbed video that has its receipt beside it, and what its pages are drawn from. target: where
    the original is now, instead of where the receipt has it. LipsyncError: no receipt, another video, or another
    target; MediaError."""
    out, cache = Path(out), cache or Cache()
    check_readable(out, "dubbed video")
    receipt = _receipt_of(out)
    config = _config_of(receipt, cache)
    dub = probed(out, config)
    if receipt.output.frames != len(dub):
        raise LipsyncError(
            f"{out} has {len(dub)} frames, its receipt tells of {receipt.output.frames}: it was changed since. "
            "Dub again."
        )
    original = _target_of(receipt, target)
    stream = None if original is None else probed(original, config)
    found = audit(out, target=original, receipt=receipt, config=config, progress=hook, cache=cache)
    seen = Seen(dub, receipt, stream, _speakers_in(out, receipt, config, cache, hook))
    return _report_of(out, seen, found), seen


def _receipt_of(out: Path) -> Receipt:
    path = receipt_path(out)
    if not path.is_file():
        raise LipsyncError(
            f"{out} has no receipt {path.name} beside it: a report is of a dub that lipsync made. "
            f"`lipsync audit {out}` looks at any video."
        )
    receipt = Receipt.read(path)
    if receipt is None or not receipt.speakers or not receipt.plan.source:
        raise LipsyncError(f"The receipt {path} is damaged, or of another version. Dub again.")
    return receipt


def _config_of(receipt: Receipt, cache: Cache) -> DubConfig:
    """How the dub looked for faces. Nothing else of a receipt is obeyed: anybody can write one."""
    plain = to_plain(DubConfig())
    plain["face"] |= {k: v for k, v in receipt.config.get("face", {}).items() if k in plain["face"]}
    plain["face"]["dlib_predictor"] = ""
    try:
        config = from_plain(plain)
    except LipsyncError:
        config = DubConfig()
    return replace(config, cache=replace(config.cache, folder=str(cache.folder)))


def _target_of(receipt: Receipt, named: str | Path | None) -> Path | None:
    """The original, where it is what the receipt tells of; None: it is not there any more."""
    path = Path(named or receipt.inputs.target.path)
    if named is not None:
        check_readable(path, "target video")
    elif not path.is_file():
        return None
    if content_hash(path) == receipt.inputs.target.sha256:
        return path
    if named is None:
        return None
    raise LipsyncError(f"{path} is not the target that the receipt tells of: its content is another.")


def _speakers_in(out: Path, receipt: Receipt, config: DubConfig, cache: Cache, hook: Hook) -> list[Footage | None]:
    """The speakers as they are found again in the dub: by number, as in the target."""
    try:
        films = {film.person: film for film in follow_people(out, config, cache, hook)}
    except LipsyncError:
        films = {}
    if len(receipt.speakers) == 1 and receipt.people == 1:
        return [films.get(0)]
    return [films.get(-1 if one.person is None else one.person) for one in receipt.speakers]


def _report_of(out: Path, seen: Seen, found: Audit) -> QualityReport:
    receipt, clock = seen.receipt, seen.dub.clock
    rows = _Rows.of(clock)
    moments = _moments(receipt, found.tells, rows)
    even = np.allclose(clock.seconds, np.arange(len(clock)) / float(nominal_rate(clock)), atol=2e-3)
    return QualityReport(
        video=str(out),
        target=receipt.inputs.target.path,
        verdict=_verdict(moments),
        summary=_summary(found.tells, receipt),
        frames=len(clock),
        duration_s=round(float(clock.duration_s), 3),
        rate=str(nominal_rate(clock)),
        frame_times=[] if even else [round(float(s), 4) for s in clock.seconds],
        original=seen.target is not None,
        parts=parts_of(clock, [one.at_s for one in moments]),
        moments=moments,
        tells=[_told(tell, rows) for tell in sorted(found.tells, key=lambda one: _VERDICTS.index(one.verdict))],
        limits=list(found.limits),
        timeline=_timeline(receipt, rows),
        mouths=_mouths(seen),
        doubt=asdict(receipt.doubt),
        passed_through=[asdict(span) for span in receipt.passed_through],
        marks=asdict(receipt.marks),
        seconds=receipt.seconds,
        notes=receipt.notes,
    )


def _verdict(moments: Sequence[LookAt]) -> str:
    n_bad = sum(one.severity == "bad" for one in moments)
    if not moments:
        return "Nothing to look at was found."
    bad = f", {n_bad} of them bad" if n_bad and len(moments) > 1 else ", and it is bad" if n_bad else ""
    return f"{counted(len(moments), 'moment')} to look at{bad}."


def _summary(tells: Sequence[Tell], receipt: Receipt) -> str:
    counts = Counter(one.verdict for one in tells)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS if counts[verdict])
    made, doubtful = percent(receipt.rendered_share), percent(receipt.doubt.share)
    return f"{counted(len(tells), 'tell')}: {told}. {made} of the frames to be dubbed were; {doubtful} are doubtful."


@dataclass(frozen=True, slots=True)
class _Rows:
    """The frames of a clock. edges: (N+1,) seconds at which they begin, and the end of the last."""

    edges: np.ndarray

    @classmethod
    def of(cls, clock: FrameClock) -> Self:
        return cls(np.append(clock.seconds, float(clock.duration_s)))

    def at(self, seconds: float) -> int:
        """The frame that is seen then."""
        row = int(np.searchsorted(self.edges, seconds + 1e-6, "right")) - 1
        return min(max(row, 0), len(self.edges) - 2)

    def middle_s(self, row: int) -> float:
        """What to seek, so that no rounding leads to the frame before."""
        return round(float(self.edges[row] + self.edges[row + 1]) / 2, 4)

    def spans(self, rows: np.ndarray) -> list[list[float]]:
        """[from, to] seconds of the runs in (N,) bool."""
        return [
            [round(float(self.edges[first]), 3), round(float(self.edges[after]), 3)] for first, after in runs_of(rows)
        ]

    def moment(self, row: int, from_s: float, to_s: float, reason: Reason, person: str = "") -> LookAt:
        """With one reason."""
        return LookAt(row, self.middle_s(row), round(from_s, 3), round(to_s, 3), reason.severity, person, [reason])


def _moments(receipt: Receipt, tells: Sequence[Tell], rows: _Rows) -> list[LookAt]:
    """What to look at, the worst first; reasons at one time are one moment."""
    end_s = float(rows.edges[-1])
    found: list[LookAt] = []
    for tell in tells:
        if tell.verdict in ("bad", "look"):
            for one in tell.moments[:_OF_EACH] or (Moment(0.0, end_s, tell.value or 0.0),):
                reason = _of_tell(tell, one, end_s)
                found.append(rows.moment(_row_of(one, rows), one.start, one.end, reason, one.person))
    for span in receipt.doubt.spans:
        curve = receipt.doubt.curve[span.from_row : span.to_row + 1]
        row = span.from_row + (int(np.argmax(curve)) if curve else 0)
        reason = Reason("doubt", span.reason, "look", f"doubtful: {span.reason}", span.value)
        found.append(rows.moment(row, span.from_s, span.to_s, reason))
    for span in sorted(receipt.passed_through, key=lambda one: one.from_s - one.to_s)[:_OF_EACH]:
        length_s = round(span.to_s - span.from_s, 3)
        reason = Reason("unchanged", span.reason, "look", f"shown unchanged: {span.reason}", length_s)
        found.append(rows.moment((span.from_row + span.to_row) // 2, span.from_s, span.to_s, reason))
    return _joined(sorted(found, key=lambda one: _RANK[one.severity]))


def _row_of(one: Moment, rows: _Rows) -> int:
    return rows.at((one.start + one.end) / 2)


def _of_tell(tell: Tell, one: Moment, end_s: float) -> Reason:
    severity: Severity = "bad" if tell.verdict == "bad" else "look"
    throughout = ", throughout" if one.end - one.start > _THROUGHOUT * end_s else ""
    return Reason("tell", tell.name, severity, tell.title + throughout, one.value)


def _told(tell: Tell, rows: _Rows) -> dict[str, Any]:
    """The tell, with the frame and the time to seek of each moment."""
    moments = [(one, _row_of(one, rows)) for one in tell.moments]
    return asdict(tell) | {"moments": [asdict(one) | {"row": row, "at_s": rows.middle_s(row)} for one, row in moments]}


def _joined(found: Sequence[LookAt]) -> list[LookAt]:
    """Those nearer than _SAME_S to an earlier one are further reasons of it, each told once."""
    kept: list[LookAt] = []
    for one in found:
        same = next((k for k, other in enumerate(kept) if abs(other.at_s - one.at_s) < _SAME_S), None)
        if same is None:
            kept.append(one)
        elif one.reasons[0].says not in {reason.says for reason in kept[same].reasons}:
            kept[same] = replace(kept[same], reasons=[*kept[same].reasons, *one.reasons])
    return kept


def _timeline(receipt: Receipt, rows: _Rows) -> Timeline:
    source, half = np.asarray(receipt.plan.source), np.asarray(receipt.plan.half, bool)
    step, jumped = np.diff(source, prepend=source[0] - 1), np.zeros(len(source), bool)
    jumped[[row for row in receipt.retiming.seeks if 0 < row < len(source)]] = True
    begins_half = half & ~np.append(False, half[:-1])
    return Timeline(
        drawn=receipt.changed,
        repeated=rows.spans(((step == 0) | begins_half) & ~jumped),
        skipped=rows.spans((step > 1) & ~jumped),
        jumps=[round(float(rows.edges[row]), 3) for row in np.flatnonzero(jumped)],
    )


def face_name(person: int) -> str:
    """What a person is called, as in an audit."""
    return f"face {person}"


def _mouths(seen: Seen) -> list[Mouth]:
    people = zip(seen.receipt.speakers, seen.people, strict=True)
    return [_mouth(one, film, seen.dub.clock) for one, film in people if one.opening]


def _mouth(one: SpeakerFacts, film: Footage | None, clock: FrameClock) -> Mouth:
    n = len(clock)
    wanted = np.array([np.nan if value is None else value for value in one.opening], float)
    drawn, r, limit = np.full(n, np.nan), None, None
    if film is not None and len(wanted) == n:
        drawn = np.where(film.track.valid, opening(film.track.lips.points), np.nan)
        both = np.isfinite(wanted) & np.isfinite(drawn)
        if both.sum() > 2:
            r = round(opening_r(wanted[both], drawn[both]), 3)
            at_rest = long_silences(wanted > one.closed_gap, float(clock.rate))
            limit = resting_gap(drawn[both], _within(at_rest, both)) + CLOSED_GAP
    return Mouth(
        person="" if one.person is None else face_name(one.person),
        spans=one.spans,
        wanted=_plain(wanted),
        drawn=_plain(drawn),
        r=r,
        closed_gap=None if limit is None else round(limit, 3),
        closures=list(_closures(one, drawn, limit, clock)),
    )


def _within(spans: Sequence[slice], kept: np.ndarray) -> list[slice]:
    """The spans of rows in which all are `kept` (N,), counted among those alone."""
    place = np.cumsum(kept) - 1
    whole = [rows for rows in spans if kept[rows].all()]
    return [slice(int(place[rows.start]), int(place[rows.stop - 1]) + 1) for rows in whole]


def _closures(one: SpeakerFacts, drawn: np.ndarray, limit: float | None, clock: FrameClock) -> Iterator[Closure]:
    """Each closure, met where the lips are closed in a frame of it or beside it."""
    for from_s, to_s in one.closures:
        first, after = np.searchsorted(clock.seconds, [from_s - 1e-3, to_s - 1e-3])
        around = drawn[max(0, first - 1) : after + 1]
        gap = float(np.nanmin(around)) if np.isfinite(around).any() else None
        met = None if gap is None or limit is None else bool(closed(np.array(gap), limit - CLOSED_GAP))
        yield Closure(from_s, to_s, None if gap is None else round(gap, 3), met)


def _plain(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]
