"""What became of a batch, as one page that needs no network and no scripts, and as JSON beside it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from lipsync.batch.job import STATES, Job, Outcome, State
from lipsync.batch.storage.address import redacted
from lipsync.batch.worst import WorstMoment, picture_of, worst_moment
from lipsync.core.html import html_environment
from lipsync.core.text import format_duration, percent, readable
from lipsync.store.preflight import receipt_path, written_whole
from lipsync.store.receipt import Receipt, own_version

PAGE, FACTS = "report.html", "batch.json"
_MOST_ROWS, _MOST_SPANS, _MOST_PICTURES = 2000, 5, 200


def write_report(outcomes: Iterable[Outcome], folder: str | Path, about: Mapping) -> Path:
    """Path of report.html, written into `folder` with batch.json. outcomes: gone through once; about: what else to say
    of the batch, plain values by name, of which "seconds" is how long it took. LipsyncError where they cannot be
    written."""
    folder = Path(folder)
    page = _Page(folder)
    with written_whole(folder / FACTS) as part, part.open("w", encoding="utf-8") as stream:
        stream.writelines(_json_pieces(outcomes, page, about))
    with written_whole(folder / PAGE) as part, part.open("w", encoding="utf-8") as stream:
        stream.writelines(page.pieces(about))
    return folder / PAGE


@dataclass(frozen=True, slots=True)
class LostRow:
    """Of a job that failed or was stopped."""

    out: str
    inputs: str
    line: str
    state: State
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class MadeRow:
    """Of a job whose video is there. href: of the video, "" = no link; picture: of its worst moment, a data
    address, "" = none; picture_says: when and why; has_page: a quality report lies beside it; the
    others: as they are read."""

    out: str
    href: str
    inputs: str
    state: State
    length: str
    frames: str
    took: str
    speed: str
    real_time: str
    dubbed: str
    doubt: str
    has_page: bool
    picture: str
    picture_says: str
    notes: list[str]


@dataclass(frozen=True, slots=True, order=True)
class _Kept:
    """A row that may be shown, in the order of keeping: the most doubtful last, of equals the first. worst: the moment
    of its picture."""

    doubt: float
    minus_number: int
    row: MadeRow = field(compare=False)
    worst: WorstMoment | None = field(compare=False)


class _Page:
    """Collects what the page shows: counts of everything, and of each section as many rows as a browser can bear."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._template = folder, html_environment("lipsync.batch").get_template(PAGE)
        self.counts: dict[State, int] = dict.fromkeys(STATES, 0)
        self.frames, self.duration_s = 0, 0.0
        self._lost: dict[State, list[LostRow]] = {"failed": [], "stopped": []}
        self._made: list[_Kept] = []

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.state] += 1
        if outcome.state in self._lost:
            if len(self._lost[outcome.state]) < _MOST_ROWS:
                self._lost[outcome.state].append(_lost_row(outcome))
            return
        self.frames += outcome.frames
        self.duration_s += outcome.duration_s
        doubt = -1.0 if outcome.doubt is None else outcome.doubt
        if len(self._made) < _MOST_ROWS:
            heapq.heappush(self._made, self._kept(outcome, doubt))
        elif doubt > self._made[0].doubt:
            heapq.heapreplace(self._made, self._kept(outcome, doubt))

    def _kept(self, outcome: Outcome, doubt: float) -> _Kept:
        receipt = Receipt.read(receipt_path(self._folder / outcome.job.out))
        row = _made_row(outcome, receipt)
        n_before = self.counts["done"] + self.counts["kept"]
        return _Kept(doubt, -n_before, row, worst_moment(receipt) if receipt else None)

    def _rows(self) -> list[MadeRow]:
        """The videos, the most doubtful first; the first with a picture."""
        rows, n_pictures = [], 0
        for one in sorted(self._made, reverse=True):
            worst = one.worst if n_pictures < _MOST_PICTURES else None
            picture = picture_of(self._folder / one.row.out, worst.row) if worst else ""
            n_pictures += bool(picture)
            rows.append(replace(one.row, picture=picture) if picture else one.row)
        return rows

    def pieces(self, about: Mapping) -> Iterator[str]:
        """The page's text, piece by piece."""
        counts = self.counts
        return self._template.generate(
            counts=", ".join(f"{n} {state}" for state, n in counts.items() if n) or "no jobs",
            about=_about(about, self.frames, self.duration_s),
            lost=[(state.capitalize(), rows, counts[state]) for state, rows in self._lost.items()],
            made=self._rows(),
            n_made=counts["done"] + counts["kept"],
            facts_file=FACTS,
            version=own_version(),
        )


def _json_pieces(outcomes: Iterable[Outcome], page: _Page, about: Mapping) -> Iterator[str]:
    """batch.json, a job a line; `page` gets to know each outcome on the way."""
    yield f'{{"version": {json.dumps(own_version())},\n"about": {json.dumps(dict(about), default=str)},\n"jobs": ['
    between = "\n"
    for outcome in outcomes:
        page.add(outcome)
        yield between + json.dumps(_plain(outcome))
        between = ",\n"
    totals = {"frames": page.frames, "duration_s": round(page.duration_s, 3), "seconds": about.get("seconds")}
    yield f'\n],\n"counts": {json.dumps(page.counts)},\n"totals": {json.dumps(totals, default=str)}}}\n'


def _plain(outcome: Outcome) -> dict:
    job = outcome.job
    facts = {
        "out": job.out,
        "target": redacted(job.target),
        "speech": redacted(job.speech),
        "footage": list(map(redacted, job.footage)),
        "line": job.line,
        "state": outcome.state,
        "reason": outcome.reason,
        "attempts": outcome.attempts,
        "notes": list(outcome.notes),
        "frames": outcome.frames,
        "duration_s": round(outcome.duration_s, 3),
        "dubbed": outcome.dubbed,
        "doubt": outcome.doubt,
        "page": outcome.page,
        "seconds": round(outcome.seconds, 3),
    }
    return readable(facts)


def _about(about: Mapping, frames: int, duration_s: float) -> dict[str, str]:
    """What the page says of the whole batch, by name."""
    facts = {"video": f"{format_duration(duration_s)}, {frames:,} frames"} if frames else {}
    for name, value in about.items():
        if name == "seconds" and isinstance(value, (int, float)):
            facts["took"] = format_duration(value)
        else:
            facts[str(name)] = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return facts


def _lost_row(outcome: Outcome) -> LostRow:
    reason = outcome.reason or ("On the way: run the batch again." if outcome.attempts else "Not begun.")
    job = outcome.job
    return LostRow(job.out, _inputs(job), job.line, outcome.state, reason, outcome.attempts)


def _made_row(outcome: Outcome, receipt: Receipt | None) -> MadeRow:
    """Without its picture."""
    speed = real_time = ""
    if outcome.seconds > 0 and outcome.frames:
        speed = f"{outcome.frames / outcome.seconds:,.1f} f/s"
        real_time = f"{outcome.duration_s / outcome.seconds:.2g}x real time"
    worst = worst_moment(receipt) if receipt else None
    notes = [*outcome.notes, *_spans(receipt)]
    if outcome.attempts > 1:
        notes.append(f"Begun {outcome.attempts} times.")
    return MadeRow(
        outcome.job.out,
        _href(outcome.job.out),
        _inputs(outcome.job),
        outcome.state,
        f"{outcome.duration_s:,.2f} s",
        f"{outcome.frames:,}",
        format_duration(outcome.seconds) if outcome.seconds else "",
        speed,
        real_time,
        "" if outcome.dubbed is None else percent(outcome.dubbed),
        "" if outcome.doubt is None else percent(outcome.doubt),
        outcome.page,
        "",
        f"{worst.at_s:.2f} s, {worst.why}" if worst else "",
        notes,
    )


def _inputs(job: Job) -> str:
    return " + ".join(
        redacted(name) for name in (job.target, job.parts.segments, job.speech, *job.sources.files.values()) if name
    )


def _spans(receipt: Receipt | None) -> list[str]:
    """Spans passed through unchanged, as the receipt has them."""
    spans = receipt.passed_through if receipt else []
    lines = [f"Unchanged {span.from_s:.2f}-{span.to_s:.2f} s: {span.reason}." for span in spans[:_MOST_SPANS]]
    return lines + [f"Unchanged in {len(spans) - _MOST_SPANS} more places."] * (len(spans) > _MOST_SPANS)


def _href(path: str) -> str:
    """The address of a file inside the batch's folder; "" where the path leads out of it, or is no address."""
    if path.startswith("/") or ".." in path.split("/"):
        return ""
    try:
        return "./" + quote(path, safe="/", errors="surrogateescape")
    except UnicodeEncodeError:
        return ""
