"""What became of a batch, as one page that needs no network and no scripts, and as JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from lipsync.batch.job import STATES, Job, Outcome
from lipsync.batch.storage.store import shown
from lipsync.core.text import format_duration, printable
from lipsync.store.preflight import receipt_path, written_whole
from lipsync.store.receipt import own_version

PAGE, FACTS = "report.html", "batch.json"
_MOST_ROWS, _MOST_SPANS, _LARGEST_RECEIPT = 2000, 5, 64 << 20
#: Nothing but the page's own style may be loaded or run, whatever a name contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark;--text:#22262e;--dim:#5d6570;--page:#fff;--line:#e2e6ec;
--bad:#a3242c;--good:#0b5d3b;--link:#0b57a4;--mark:#fff3cd;--markline:#e0c36a}
@media(prefers-color-scheme:dark){
:root{--text:#dfe3e9;--dim:#98a1ad;--page:#15181d;--line:#2d333c;
--bad:#ff8d8d;--good:#6fd3a3;--link:#82b7ff;--mark:#3d3415;--markline:#7d6a2c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:1180px;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.6rem;margin-bottom:.4rem}
h2{font-size:1.2rem;margin-top:2.2rem}
a{color:var(--link)}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
td,th{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;overflow-wrap:normal}
.n{text-align:right;white-space:nowrap}
.done,.kept{color:var(--good)}
.failed,.stopped{color:var(--bad)}
small,.dim{color:var(--dim)}
small{display:block;font-size:12px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1.2rem;font-size:13px}
dt{color:var(--dim)}
dd{margin:0;overflow-wrap:anywhere}
.mark{background:var(--mark);border:1px solid var(--markline);border-radius:4px;padding:.15rem .5rem;font-weight:600}
@media(max-width:700px){
thead{display:none}
tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
td{display:block;border:0;padding:.05rem 0}
td.n{display:inline-block;margin-right:1rem;text-align:left}
td[data-name]:not(:empty)::before{content:attr(data-name) " ";color:var(--dim)}
td:empty{display:none}
.n small{display:inline;margin-left:.5em}
}
@media print{
:root{--text:#000;--dim:#444;--page:#fff;--line:#bbb;--bad:#800;--good:#040;--link:#000;--mark:#fff}
body{margin:0;max-width:none;font-size:11pt}
tr{break-inside:avoid}thead{display:table-header-group}a{text-decoration:none}}
"""


def write_report(outcomes: Iterable[Outcome], folder: str | Path, about: Mapping) -> Path:
    """Path of report.html, written into `folder` with batch.json. outcomes: gone through once; about: what else to say
    of the batch, plain values by name, of which "seconds" is how long it took. LipsyncError where they cannot be
    written."""
    folder = Path(folder)
    page = Page(folder)
    with written_whole(folder / FACTS) as part, part.open("w", encoding="utf-8") as stream:
        for piece in _json_pieces(outcomes, page, about):
            stream.write(piece)
    with written_whole(folder / PAGE) as part, part.open("w", encoding="utf-8") as stream:
        stream.writelines(page.pieces(about))
    return folder / PAGE


class Page:
    """Collects what the page shows: counts of everything, and of each section as many rows as a browser can bear."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts = dict.fromkeys(STATES, 0)
        self.frames, self.duration_s = 0, 0.0
        self.rows: dict[str, list[str]] = {"failed": [], "stopped": [], "made": []}

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.state] += 1
        made = outcome.state in ("done", "kept")
        if made:
            self.frames += outcome.frames
            self.duration_s += outcome.duration_s
        rows = self.rows["made" if made else outcome.state]
        if len(rows) < _MOST_ROWS:
            rows.append(_made_row(outcome, self.folder) if made else _lost_row(outcome))

    def pieces(self, about: Mapping) -> Iterator[str]:
        """The page's text, piece by piece."""
        counts = self.counts
        said = ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "no jobs"
        yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        yield f"<title>Batch: {said}</title><style>{_STYLE}</style></head><body>\n"
        yield f"<h1>Batch: {said}</h1>\n"
        if self.rows["made"]:
            yield '<p><span class="mark">AI-edited</span> In these videos the mouth was synthesised to match other speech.</p>\n'
        yield from _facts(about, self.frames, self.duration_s)
        lost = '<table><thead><tr><th style="width:30%">output</th><th>reason</th></tr></thead><tbody>\n'
        yield from self._section("Failed", lost, self.rows["failed"], counts["failed"])
        yield from self._section("Stopped", lost, self.rows["stopped"], counts["stopped"])
        head = "".join(f"<th{mark}>{name}</th>" for name, mark in _MADE_COLUMNS)
        made = f"<table><thead><tr>{head}</tr></thead><tbody>\n"
        yield from self._section("Videos", made, self.rows["made"], counts["done"] + counts["kept"])
        yield f'<p class="dim">Everything is in <a href="./{FACTS}">{FACTS}</a>. Made by lipsync {_text(own_version())}.</p>\n'
        yield "</body></html>\n"

    def _section(self, title: str, head: str, rows: list[str], n: int) -> Iterator[str]:
        if not rows:
            return
        yield f"<h2>{title} ({n})</h2>\n{head}"
        yield from rows
        yield "</tbody></table>\n"
        if n > len(rows):
            yield f"<p>{n - len(rows)} more are in {FACTS}.</p>\n"


_MADE_COLUMNS = (
    ("output", ' style="width:30%"'), ("state", ""), ("length", " class=n"), ("frames", " class=n"), ("took", " class=n"),
    ("speed", " class=n"), ("notes", ' style="width:32%"'),
)  # fmt: skip


def _json_pieces(outcomes: Iterable[Outcome], page: Page, about: Mapping) -> Iterator[str]:
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
    inputs = {"target": shown(job.target), "speech": shown(job.speech), "footage": list(map(shown, job.footage))}
    made = {"frames": outcome.frames, "duration_s": round(outcome.duration_s, 3), "seconds": round(outcome.seconds, 3)}
    became = {
        "state": outcome.state,
        "reason": outcome.reason,
        "attempts": outcome.attempts,
        "notes": list(outcome.notes),
    }
    return {"out": job.out} | inputs | {"line": job.line} | became | made


def _facts(about: Mapping, frames: int, duration_s: float) -> Iterator[str]:
    """What is said of the whole batch."""
    facts = {"video": f"{format_duration(duration_s)}, {frames:,} frames"} if frames else {}
    for name, value in about.items():
        if name == "seconds" and isinstance(value, (int, float)):
            facts["took"] = format_duration(value)
        else:
            facts[str(name)] = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if facts:
        yield (
            "<dl>"
            + "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
            + "</dl>\n"
        )


def _lost_row(outcome: Outcome) -> str:
    job = outcome.job
    tried = f"<small>tried {outcome.attempts} times</small>" if outcome.attempts > 1 else ""
    line = f"<small>{_text(job.line)}</small>" if job.line else ""
    reason = outcome.reason or ("On the way: run the batch again." if outcome.attempts else "Not begun.")
    return f'<tr><td>{_text(job.out)}{_inputs(job)}{line}</td><td class="{outcome.state}">{_text(reason)}{tried}</td></tr>\n'


def _made_row(outcome: Outcome, folder: Path) -> str:
    job = outcome.job
    video, receipt = _link(job.out, _text(job.out)), _link(f"{job.out}.json", "receipt")
    speed = ""
    if outcome.seconds > 0 and outcome.frames:
        speed = (
            f"{outcome.frames / outcome.seconds:,.1f} f/s<small>{outcome.duration_s / outcome.seconds:.2g}x real "
            "time</small>"
        )
    notes = [*outcome.notes, *_spans_said(job.out, folder)]
    if outcome.attempts > 1:
        notes.append(f"Begun {outcome.attempts} times.")
    figures = (
        ("length", f"{outcome.duration_s:,.2f} s"),
        ("frames", f"{outcome.frames:,}"),
        ("took", format_duration(outcome.seconds) if outcome.seconds else ""),
        ("speed", speed),
    )
    cells = "".join(f'<td class="n" data-name="{name}">{value}</td>' for name, value in figures)
    said = "".join(f"<div>{_text(note)}</div>" for note in notes)
    first = f"<td>{video}{_inputs(job)}<small>{receipt}</small></td>"
    return f'<tr>{first}<td class="{outcome.state}">{outcome.state}</td>{cells}<td>{said}</td></tr>\n'


def _inputs(job: Job) -> str:
    return f"<small>{_text(shown(job.target))} + {_text(shown(job.speech))}</small>"


def _spans_said(out: str, folder: Path) -> list[str]:
    """Spans passed through unchanged, as the receipt tells them; none where it cannot be read."""
    try:
        path = receipt_path(folder / out)
        if path.stat().st_size > _LARGEST_RECEIPT:
            return []
        spans = json.loads(path.read_bytes())["passed_through"]
        said = [
            f"Unchanged {float(s['from_s']):.2f}-{float(s['to_s']):.2f} s: {s['reason']}." for s in spans[:_MOST_SPANS]
        ]
        return said + [f"Unchanged in {len(spans) - _MOST_SPANS} more places."] * (len(spans) > _MOST_SPANS)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _link(path: str, text: str) -> str:
    """A link inside the batch's folder, or only `text` (HTML) where the path leads out of it."""
    if path.startswith("/") or ".." in path.split("/"):
        return text
    try:
        address = quote(path, safe="/", errors="surrogateescape")
    except UnicodeEncodeError:
        return text
    return f'<a href="./{address}">{text}</a>'


def _text(words: str) -> str:
    """`words` as HTML text or attribute, in which nothing is markup and nothing hides."""
    return escape(printable(words))
