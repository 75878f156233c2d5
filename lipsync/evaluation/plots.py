"""Small plots as SVG text that stands in a page by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

COLOURS = (
    "#2563af",
    "#c85c26",
    "#2a8758",
    "#884a9e",
    "#aa8414",
    "#b03060",
    "#1f8a99",
    "#5a5a5a",
    "#7a5230",
    "#4b4fc4",
    "#6b8e23",
    "#d1478c",
)
_FRAME = 'fill="none" stroke="#8a909a" stroke-width="1"'


def colour_of(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def scatter(
    points: Mapping[str, tuple[float, float]], x_label: str, y_label: str, size: tuple[int, int] = (520, 330)
) -> str:
    """Named points; x is logarithmic. Points without a positive x are left out."""
    shown = {name: (x, y) for name, (x, y) in points.items() if x and x > 0}
    if not shown:
        return ""
    x_of, y_of, frame = _axes([np.log10(x) for x, _ in shown.values()], [y for _, y in shown.values()], size)
    marks = []
    for number, (name, (x, y)) in enumerate(points.items()):
        if name in shown:
            px, py, flip = x_of(np.log10(x)), y_of(y), x_of(np.log10(x)) > 0.7 * size[0]
            marks.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" fill="{colour_of(number)}"><title>{escape(name)}: {x:.3g}, {y:.4g}</title></circle>'
            )
            marks.append(f'<text x="{px + (-8 if flip else 8):.1f}" y="{py + 4:.1f}"{_end(flip)}>{escape(name)}</text>')
    ticks = _ticks(x_of, y_of, frame, lambda v: f"{10**v:.3g}")
    return _picture(size, frame, ticks + "".join(marks), x_label, y_label)


def curves(
    series: Mapping[str, Sequence[float | None]],
    y_label: str,
    breaks: Sequence[int] = (),
    first: int = 0,
    size: tuple[int, int] = (1040, 260),
) -> str:
    """Lines over rows, open where a value is None and at each of `breaks`; `first`: number of the first line's
    colour."""
    known = [v for line in series.values() for v in line if v is not None]
    if not known:
        return ""
    n = max(len(line) for line in series.values())
    x_of, y_of, frame = _axes([0, max(1, n - 1)], known, size)
    lines = [
        f'<line x1="{x_of(b - 0.5):.1f}" x2="{x_of(b - 0.5):.1f}" y1="{frame[1]}" y2="{frame[3]}" stroke="#c9ced6" stroke-dasharray="3 3"/>'
        for b in breaks
    ]
    for number, (name, line) in enumerate(series.items(), first):
        parts = "".join(
            _path(line, start, stop, x_of, y_of) for start, stop in zip([0, *breaks], [*breaks, len(line)], strict=True)
        )
        ink, width = ("#111", 2.4) if number < 0 else (colour_of(number), 1.3)
        lines.append(
            f'<path d="{parts}" fill="none" stroke="{ink}" stroke-width="{width}"><title>{escape(name)}</title></path>'
        )
    return _picture(
        size,
        frame,
        _ticks(x_of, y_of, frame, lambda v: f"{v:.0f}" if v >= 0 else "") + "".join(lines),
        "held-out row",
        y_label,
    )


def legend(names: Sequence[str], first: int = 0) -> str:
    """The colours of `curves` and `scatter` in words."""
    ink = lambda number: "#111" if number < 0 else colour_of(number)  # noqa: E731
    return "".join(
        f'<span class="key"><i style="background:{ink(number)}"></i>{escape(name)}</span>'
        for number, name in enumerate(names, first)
    )


def _path(line: Sequence[float | None], start: int, stop: int, x_of, y_of) -> str:
    text, pen = [], "M"
    for row in range(start, min(stop, len(line))):
        if line[row] is None:
            pen = "M"
            continue
        text.append(f"{pen}{x_of(row):.1f} {y_of(line[row]):.1f}")
        pen = "L"
    return "".join(text)


def _axes(xs: Sequence[float], ys: Sequence[float], size: tuple[int, int]):
    """(x to pixel, y to pixel, frame); a little room around the points."""
    left, top, right, bottom = frame = (62, 12, size[0] - 16, size[1] - 40)
    (x0, x1), (y0, y1) = _widened(xs), _widened(ys)
    return (
        (lambda x: left + (x - x0) / (x1 - x0) * (right - left)),
        (lambda y: bottom - (y - y0) / (y1 - y0) * (bottom - top)),
        frame,
    )


def _widened(values: Sequence[float]) -> tuple[float, float]:
    low, high = float(min(values)), float(max(values))
    room = 0.06 * (high - low) or max(0.05 * abs(high), 1e-3)
    return low - room, high + room


def _round_values(low: float, high: float) -> list[float]:
    """Four to eight multiples of 1, 2 or 5 times a power of ten between two values."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= next(k for k in (5, 2, 1) if k * step <= (high - low) / 4)
    return [round(k * step, 10) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _ticks(x_of, y_of, frame, say_x) -> str:
    """Round values on either axis. The axes are straight lines, so two points give them back."""
    left, top, right, bottom = frame
    ends = lambda to, low, high: ((low - to(0)) / (to(1) - to(0)), (high - to(0)) / (to(1) - to(0)))  # noqa: E731
    out = [
        f'<text x="{x_of(x):.1f}" y="{bottom + 16}" text-anchor="middle">{say_x(x)}</text>'
        for x in _round_values(*ends(x_of, left, right))
    ]
    for y in _round_values(*ends(y_of, bottom, top)):
        out.append(f'<line x1="{left}" x2="{right}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}" stroke="#e6e9ee"/>')
        out.append(f'<text x="{left - 6}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:.6g}</text>')
    return "".join(out)


def _end(flip: bool) -> str:
    return ' text-anchor="end"' if flip else ""


def _picture(size: tuple[int, int], frame, inside: str, x_label: str, y_label: str) -> str:
    left, top, right, bottom = frame
    names = (
        f'<text x="{(left + right) / 2}" y="{size[1] - 6}" text-anchor="middle" class="axis">{escape(x_label)}</text>'
    )
    names += f'<text transform="translate(13 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle" class="axis">{escape(y_label)}</text>'
    box = f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" {_FRAME}/>'
    return f'<svg viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" role="img">{inside}{box}{names}</svg>'
