"""How a lip model's training went: a picture of its curve, and the figures in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

WIDTH, HEIGHT = 1100, 560
_COLOURS = ("#2563af", "#c85c26", "#2a8758", "#884a9e", "#aa8414", "#5a5a5a")
_STYLE: dict[RcKeyType, Any] = {
    "text.parse_math": False,
    "font.size": 10,
    "text.color": "#22262e",
    "axes.edgecolor": "#5a606a",
    "axes.axisbelow": True,
    "grid.color": "#e4e7ec",
}


def summary(report: Mapping) -> list[str]:
    """A few lines for a person. Lengths are in eye distances; figures that a report does not hold are left out."""

    def text(name: str, digits: int = 4) -> str:
        return f"{report[name]:.{digits}f}"

    lines = [
        f"{_networks(report)}, at most {report.get('steps', '?')} steps each, {report.get('training_s', 0):.0f} s."
    ]
    if "speech_minutes" in report:
        lines.append(
            f"Learnt from {60 * report['speech_minutes']:.0f} s of speech; {report.get('held_out_s', 0):.0f} s of "
            "footage held out to measure."
        )
    if "lmd" in report:
        beside = [f"floor of the lip basis {text('floor_lmd')}"] if "floor_lmd" in report else []
        beside += [f"the mean shape alone {text('mean_shape_lmd')}"] if "mean_shape_lmd" in report else []
        lines.append(f"Error {text('lmd')} eye distances" + (f" ({', '.join(beside)})." if beside else "."))
    if "opening_r" in report:
        articulation = f"articulation {report.get('articulation', 0):.2f} (1 = moves as much as the real lips)"
        lines.append(f"Mouth opening: correlation {text('opening_r', 2)}, {articulation}.")
    return lines + ([f"Note: {report['warning']}"] if report.get("warning") else [])


def _networks(report: Mapping) -> str:
    n = report.get("members", 1)
    start = "adapted from the prior" if report.get("from_prior") else "from nothing"
    return f"{n} {report.get('network', '')} network{'s' if n > 1 else ''}, {start}"


def curve_picture(report: Mapping) -> np.ndarray | None:
    """(HEIGHT,WIDTH,3) uint8 RGB: training loss and held-out error over the steps, a dot at each network's lowest, and
    the error between its floor and the mean shape.

    report["curve"]: rows of member, step, training loss, held-out error (None where not measured). None where there is
    no curve."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curve = np.array([[np.nan if x is None else x for x in row] for row in report.get("curve", [])], float)
    if len(curve) == 0:
        return None
    with matplotlib.rc_context(_STYLE):
        figure = Figure((WIDTH / 100, HEIGHT / 100), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
        figure.suptitle(f"Learning lips from speech: {report.get('network', '')}", fontsize=14)
        _draw_curve(left, curve)
        _draw_bars(right, report)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_curve(axes: Axes, curve: np.ndarray) -> None:
    """One colour for each network."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not (curve[:, 2:] > 0).any():
        axes.set_axis_off()
        return
    for member in np.unique(curve[:, 0]):
        colour = _COLOURS[int(member) % len(_COLOURS)]
        for column, width in ((2, 0.9), (3, 2.4)):
            steps, values = curve[(curve[:, 0] == member) & (curve[:, column] > 0)][:, [1, column]].T
            axes.plot(steps, values, color=colour, linewidth=width)
        if len(values):
            best = values.argmin()
            axes.plot(steps[best], values[best], "o", color=colour, markersize=8, markeredgecolor="white")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("step")
    axes.grid(True, axis="y")
    axes.set_title("held-out error (thick, lowest dotted) and training loss (thin), logarithmic", fontsize=10)


def _draw_bars(axes: Axes, report: Mapping) -> None:
    """Floor, error and mean shape side by side, and the two figures of the opening above."""
    named = (
        ("floor", "floor_lmd", "#b0b8c4"),
        ("model", "lmd", _COLOURS[0]),
        ("mean", "mean_shape_lmd", "#e0c8b0"),
    )
    bars = [(name, report[key], colour) for name, key, colour in named if key in report]
    if not bars:
        axes.set_axis_off()
        return
    names, values, colours = zip(*bars, strict=True)
    axes.bar_label(axes.bar(names, values, color=colours), fmt="%.4f", padding=3)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    title = "Error, eye distances"
    if "opening_r" in report:
        title += f"\nopening r {report['opening_r']:.2f}, articulation {report.get('articulation', 0):.2f}"
    axes.set_title(title, fontsize=10)
