"""How a lip model's training went: a picture of its curve, and the figures in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, HEIGHT = 1100, 560
#: Drawn larger by this and shrunk: smooth lines and letters.
FINE = 2
PAPER, AXIS, GRID, INK, FAINT = (255, 255, 255), (90, 96, 106), (228, 231, 236), (34, 38, 46), (120, 126, 136)
COLOURS = ((37, 99, 175), (200, 92, 38), (42, 135, 88), (136, 74, 158), (170, 132, 20), (90, 90, 90))
#: The plot's and the bars' boxes: left, top, right, bottom.
PLOT, BARS = (84, 92, 700, 486), (800, 130, 1060, 486)


def summary(report: Mapping) -> list[str]:
    """A few lines for a person. Lengths are in eye distances; figures that a report does not hold are left out."""
    say = lambda name, digits=4: f"{report[name]:.{digits}f}"  # noqa: E731
    lines = [
        f"{_networks(report)}, at most {report.get('steps', '?')} steps each, {report.get('training_s', 0):.0f} s."
    ]
    if "speech_minutes" in report:
        lines.append(
            f"Learnt from {60 * report['speech_minutes']:.0f} s of speech; {report.get('held_out_s', 0):.0f} s of footage held out to measure."
        )
    if "lmd" in report:
        beside = [f"floor of the lip basis {say('floor_lmd')}"] if "floor_lmd" in report else []
        beside += [f"the mean shape alone {say('mean_shape_lmd')}"] if "mean_shape_lmd" in report else []
        lines.append(f"Error {say('lmd')} eye distances" + (f" ({', '.join(beside)})." if beside else "."))
    if "opening_r" in report:
        articulation = f"articulation {report.get('articulation', 0):.2f} (1 = moves as much as the real lips)"
        lines.append(f"Mouth opening: correlation {say('opening_r', 2)}, {articulation}.")
    return lines + ([f"Note: {report['warning']}"] if report.get("warning") else [])


def _networks(report: Mapping) -> str:
    n = report.get("members", 1)
    start = "adapted from the prior" if report.get("from_prior") else "from nothing"
    return f"{n} {report.get('network', '')} network{'s' if n > 1 else ''}, {start}"


def curve_picture(report: Mapping) -> np.ndarray | None:
    """(HEIGHT,WIDTH,3) uint8 RGB: training loss and held-out error over the steps, and the error between its floor and
    the mean shape.

    report["curve"]: rows of member, step, training loss, held-out error (None where not measured). None where there is
    no curve."""
    import cv2

    curve = np.array([[np.nan if x is None else x for x in row] for row in report.get("curve", [])], float)
    if len(curve) == 0:
        return None
    picture = np.full((HEIGHT * FINE, WIDTH * FINE, 3), PAPER, np.uint8)
    _text(picture, f"Learning lips from speech: {report.get('network', '')}", (PLOT[0], 44), 0.8, INK)
    _text(picture, "held-out error (thick) and training loss (thin), logarithmic", (PLOT[0], 72), 0.48, FAINT)
    _draw_curve(picture, curve)
    _draw_bars(picture, report)
    return cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _draw_curve(picture: np.ndarray, curve: np.ndarray) -> None:
    left, top, right, bottom = PLOT
    values = curve[:, 2:][np.isfinite(curve[:, 2:]) & (curve[:, 2:] > 0)]
    if len(values) == 0:
        return
    low, high = np.log10(values.min()) - 0.05, np.log10(values.max()) + 0.05
    first, last = curve[:, 1].min(), max(curve[:, 1].max(), curve[:, 1].min() + 1)

    def place(step: float, value: float) -> tuple[float, float]:
        along, up = (step - first) / (last - first), (np.log10(value) - low) / (high - low)
        return left + (right - left) * along, bottom - (bottom - top) * up

    for value in _round_values(10**low, 10**high):
        y = place(first, value)[1]
        _line(picture, [(left, y), (right, y)], GRID, 1)
        _text(picture, f"{value:g}", (left - 52, y + 5), 0.42, FAINT)
    for step in np.linspace(first, last, 5):
        x = place(step, 1)[0]
        _line(picture, [(x, bottom), (x, bottom + 5)], AXIS, 1)
        _text(picture, f"{step:.0f}", (x - 12, bottom + 22), 0.42, FAINT)
    _text(picture, "step", ((left + right) / 2 - 16, bottom + 46), 0.48, FAINT)
    for member in np.unique(curve[:, 0]):
        colour = COLOURS[int(member) % len(COLOURS)]
        rows = curve[curve[:, 0] == member]
        for column, thick in ((2, 1), (3, 3)):
            seen = rows[np.isfinite(rows[:, column]) & (rows[:, column] > 0)]
            _line(picture, [place(step, value) for step, value in seen[:, [1, column]]], colour, thick)
    _line(picture, [(left, top), (left, bottom), (right, bottom)], AXIS, 1)


def _round_values(low: float, high: float) -> list[float]:
    """Values 1, 2, 5 x 10^n between two."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [digit * 10.0**n for n in decades for digit in (1, 2, 5) if low <= digit * 10.0**n <= high]


def _draw_bars(picture: np.ndarray, report: Mapping) -> None:
    """Floor, error and mean shape side by side, and the two figures of the opening below the title."""
    left, top, right, bottom = BARS
    named = (
        ("floor", "floor_lmd", (176, 184, 196)),
        ("model", "lmd", COLOURS[0]),
        ("mean", "mean_shape_lmd", (224, 200, 176)),
    )
    bars = [(name, report[key], colour) for name, key, colour in named if key in report]
    if not bars:
        return
    _text(picture, "Error, eye distances", (left, 72), 0.48, FAINT)
    if "opening_r" in report:
        _text(
            picture,
            f"opening r {report['opening_r']:.2f}, articulation {report.get('articulation', 0):.2f}",
            (left, 96),
            0.48,
            INK,
        )
    highest = max(value for _, value, _ in bars)
    step = (right - left) / len(bars)
    for i, (name, value, colour) in enumerate(bars):
        x0, x1 = left + i * step + 8, left + (i + 1) * step - 8
        y = bottom - (bottom - top - 30) * value / max(highest, 1e-9)
        corner = lambda x, y: (round(x * FINE), round(y * FINE))  # noqa: E731
        _box(picture, corner(x0, y), corner(x1, bottom), colour)
        _text(picture, f"{value:.4f}", (x0 + 2, y - 8), 0.46, INK)
        _text(picture, name, (x0 + 8, bottom + 22), 0.48, FAINT)
    _line(picture, [(left, bottom), (right, bottom)], AXIS, 1)


def _box(picture: np.ndarray, one: tuple[int, int], other: tuple[int, int], colour: tuple[int, int, int]) -> None:
    import cv2

    cv2.rectangle(picture, one, other, colour, -1)


def _line(picture: np.ndarray, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], thick: int) -> None:
    import cv2

    pixels = (np.array(points, float).reshape(-1, 1, 2) * FINE * 16).round().astype(np.int32)
    cv2.polylines(picture, [pixels], False, colour, thick * FINE, cv2.LINE_AA, 4)


def _text(picture: np.ndarray, text: str, at: tuple[float, float], size: float, colour: tuple[int, int, int]) -> None:
    import cv2

    cv2.putText(
        picture,
        text,
        (round(at[0] * FINE), round(at[1] * FINE)),
        cv2.FONT_HERSHEY_DUPLEX,
        size * FINE,
        colour,
        FINE,
        cv2.LINE_AA,
    )
