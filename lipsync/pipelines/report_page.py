"""The quality report as one page that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from audio.load import load_track
from lipsync.core.html import html_environment, jpeg_text
from lipsync.core.lips import LIPS_FROM_68
from lipsync.core.progress import Hook, silent
from lipsync.core.text import percent
from lipsync.core.types import Footage
from lipsync.pipelines.report import LookAt, QualityReport, Seen, face_name, look_at_dub
from lipsync.pipelines.report_film import Pair, film_of, mouths_of
from lipsync.store.cache import Cache
from lipsync.store.preflight import written_whole
from media import MediaError
from video.probe import VideoStream

#: Columns of a curve, at most: more than a screen has.
_COLUMNS = 1600
#: Mouths on the contact sheet: of moments, and with the frames next in doubt, so far apart, at least so many.
MOUTHS, LEAST_MOUTHS, _APART_S = 12, 6, 0.5
#: A mouth's picture: so many widths of the lips across and down.
_ACROSS, _DOWN = 2.4, 1.9
_QUALITY = 95


@dataclass(frozen=True, slots=True)
class MouthPicture:
    """One pair of the contact sheet: data addresses of JPEGs, original "" where it is not there; width, height: of
    each, pixels; shown: how many screen pixels a pixel is across."""

    at_s: float
    says: str
    severity: str
    original: str
    dub: str
    width: int
    height: int
    shown: int


def write_report(
    out: str | Path,
    page: str | Path,
    target: str | Path | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
) -> QualityReport:
    """Writes the page on the dubbed video `out`; see `look_at_dub`. Raises what that raises."""
    report, seen = look_at_dub(out, target, cache, hook)
    text = page_of(report, seen, hook)
    with written_whole(page) as part:
        part.write_text(text, encoding="utf-8")
    return report


def page_of(report: QualityReport, seen: Seen, hook: Hook = silent) -> str:
    """The whole page."""
    plan = seen.receipt.plan
    pair = Pair(seen.dub, seen.target, np.asarray(plan.source, np.int64), np.asarray(plan.half, bool))
    film, script = film_of(pair, report.parts, hook), _script()
    edges = np.append(seen.dub.clock.seconds, float(seen.dub.clock.duration_s))
    x = (edges[1:] + edges[:-1]) * 500 / edges[-1]
    return (
        html_environment("lipsync.pipelines")
        .get_template("report.html")
        .render(
            report=report,
            facts=report.to_plain(),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            film=base64.b64encode(film).decode(),
            places=_places(seen),
            wave=_wave(seen.dub),
            curves=[_curves(mouth.wanted, mouth.drawn, x) for mouth in report.mouths],
            doubt=_line(report.doubt["curve"], 1.0, x),
            mouths=_sheet(report, seen, pair),
            stages=_stages(report.seconds),
            doubt_share=percent(report.doubt["share"]),
            shown_s=sum(part.end_s - part.start_s for part in report.parts),
        )
    )


@cache
def _script() -> str:
    return files("lipsync.pipelines").joinpath("templates/report.js").read_text(encoding="utf-8")


def _stages(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(step, seconds, share of the longest), the longest first, without the total."""
    steps = sorted(((name, s) for name, s in seconds.items() if name != "total"), key=lambda one: -one[1])
    longest = max((s for _, s in steps), default=0.0) or 1.0
    return [(name, s, s / longest) for name, s in steps]


def _sheet(report: QualityReport, seen: Seen, pair: Pair) -> list[MouthPicture]:
    """The mouths of the worst moments."""
    chosen = [(one.row, one.at_s, "; ".join(r.says for r in one.reasons), one.severity, one) for one in report.moments]
    chosen = chosen[:MOUTHS] + _more(report, seen.dub, LEAST_MOUTHS - len(chosen))
    boxes = [(one, _box(_face_at(seen, one[4]), one[0], seen.dub)) for one in chosen]
    known = [(one, box) for one, box in boxes if box is not None]
    pictures = mouths_of(pair, [(one[0], box) for one, box in known])
    return [
        MouthPicture(
            at_s,
            says,
            severity,
            "" if original is None else _jpeg(original),
            _jpeg(dub),
            dub.shape[1],
            dub.shape[0],
            max(1, round(150 / dub.shape[1])),
        )
        for ((_, at_s, says, severity, _), _), (original, dub) in zip(known, pictures, strict=True)
    ]


def _more(report: QualityReport, dub: VideoStream, n: int) -> list[tuple[int, float, str, str, LookAt | None]]:
    """The most doubtful frames beside the moments, in the order of doubt."""
    curve, edges = np.asarray(report.doubt["curve"], float), np.append(dub.clock.seconds, float(dub.clock.duration_s))
    taken, chosen = [one.at_s for one in report.moments], []
    for row in np.argsort(-curve, kind="stable").tolist():
        at_s = round(float(edges[row] + edges[row + 1]) / 2, 4)
        if len(chosen) >= n or curve[row] <= 0:
            break
        if all(abs(at_s - other) >= _APART_S for other in taken):
            taken.append(at_s)
            chosen.append((row, at_s, f"doubt {curve[row]:.2f}, below the limit", "pass", None))
    return chosen


def _face_at(seen: Seen, moment: LookAt | None) -> Footage | None:
    """Whose mouth is meant: the moment's person, else the first speaker who is found."""
    named = {face_name(film.person): film for film in seen.people if film is not None}
    return named.get(moment.person if moment else "") or next(iter(named.values()), None)


def _box(film: Footage | None, row: int, dub: VideoStream) -> tuple[int, int, int, int] | None:
    """Around the lips, within the picture; None: no face."""
    if film is None:
        return None
    lips = film.track.landmarks[:, LIPS_FROM_68]
    width = max(12.0, float(np.median(np.ptp(lips[film.track.valid, :, 0], axis=1)) if film.track.valid.any() else 0.0))
    (x, y), half = lips[row].mean(0), (width * _ACROSS / 2, width * _DOWN / 2)
    x0, x1 = np.clip(np.round([x - half[0], x + half[0]]).astype(int), 0, dub.width)
    y0, y1 = np.clip(np.round([y - half[1], y + half[1]]).astype(int), 0, dub.height)
    return (int(x0), int(y0), int(x1), int(y1)) if x1 - x0 > 4 and y1 - y0 > 4 else None


def _places(seen: Seen) -> list[list[float]]:
    """By row of the dub: x, y of the first speaker's mouth and its width, shares of the picture's width and height;
    empty where no face was found."""
    film = next((one for one in seen.people if one is not None), None)
    if film is None:
        return []
    lips = film.track.landmarks[:, LIPS_FROM_68]
    size = np.array([seen.dub.width, seen.dub.height])
    centre, width = lips.mean(1) / size, np.ptp(lips[:, :, 0], axis=1) / seen.dub.width
    wide = np.full(len(width), float(np.median(width)))
    return [[round(float(v), 4) for v in row] for row in np.column_stack([_steady(centre), wide])]


def _steady(values: np.ndarray) -> np.ndarray:
    """Smoothed over half a second's worth of rows, so that the picture does not tremble."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(values, 13, axis=0, mode="nearest")


def _wave(dub: VideoStream) -> str:
    """The outline of the sound as an SVG path, x in thousandths of the length, y in [-1, 1] of its peak; "" = no
    sound."""
    if not dub.has_audio:
        return ""
    try:
        samples = load_track(dub.path).samples.numpy()
    except MediaError:
        return ""
    n = int(float(dub.clock.duration_s) * 16000)
    samples = np.pad(samples[:n], (0, max(0, n - len(samples))))
    columns = np.array_split(samples, min(_COLUMNS, max(1, n)))
    peak = max(1e-4, float(np.abs(samples).max()))
    x = (np.arange(len(columns)) + 0.5) * 1000 / len(columns)
    high = [(float(c.max()) / peak) for c in columns]
    low = [(float(c.min()) / peak) for c in columns]
    points = [*zip(x, high, strict=True), *reversed(list(zip(x, low, strict=True)))]
    return "M" + " ".join(f"{px:.1f},{-py:.3f}" for px, py in points) + "Z"


def _curves(wanted: Sequence[float | None], drawn: Sequence[float | None], x: np.ndarray) -> dict[str, Any]:
    """Two lines on one scale, 0 = closed lips at the bottom; top: the value at its upper edge."""
    values = [v for v in (*wanted, *drawn) if v is not None]
    top = max(0.05, max(values, default=0.0) * 1.05)
    return {"wanted": _line(wanted, top, x), "drawn": _line(drawn, top, x), "top": top}


def _line(values: Sequence[float | None], top: float, x: np.ndarray) -> str:
    """An SVG path, y 1 at 0 and 0 at `top`; open where a value is None. Of long lines the lowest and the highest of
    each column. x: of each value, thousandths of the length."""
    known = np.array([np.nan if v is None else v for v in values], float)
    n = len(known)
    if n > 2 * _COLUMNS:
        groups = np.array_split(np.arange(n), _COLUMNS)
        rows = [r for g in groups for r in _extremes(known, g)]
        x, known = x[rows], known[rows]
    path, pen_up = [], True
    for px, value in zip(x[: len(known)], known, strict=True):
        if np.isfinite(value):
            path.append(f"{'M' if pen_up else 'L'}{px:.1f},{1 - min(1.0, max(0.0, value / top)):.3f}")
        pen_up = not np.isfinite(value)
    return "".join(path)


def _extremes(values: np.ndarray, rows: np.ndarray) -> list[int]:
    """The rows with the lowest and the highest value, in order; any two where none is known."""
    known = rows[np.isfinite(values[rows])]
    if len(known) == 0:
        return [int(rows[0])]
    return sorted({int(known[values[known].argmin()]), int(known[values[known].argmax()])})


def _jpeg(rgb: np.ndarray) -> str:
    return "data:image/jpeg;base64," + jpeg_text(rgb, _QUALITY)
