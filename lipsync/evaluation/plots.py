"""The plots of a comparison as SVG text that stands in a page by itself; the same values give the same text."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lipsync.core.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

_COLOURS = (
    "#2563af", "#c85c26", "#2a8758", "#884a9e", "#aa8414", "#b03060",
    "#1f8a99", "#5a5a5a", "#7a5230", "#4b4fc4", "#6b8e23", "#d1478c",
)  # fmt: skip
_MARKERS = "os^Dv<>Pp*Xh"
_INK, _AXIS, _GRID = "#22262e", "#8a909a", "#e6e9ee"
_STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "lipsync",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": _AXIS,
    "axes.labelcolor": _INK,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def scatter(
    points: Mapping[str, tuple[float, float]], x_label: str, y_label: str, size: tuple[int, int] = (560, 310)
) -> str:
    """Named points over a logarithmic x; "" without any. Points without a positive x are left out, and keep their
    colour and marker for other plots of the same names."""
    shown = {name: number for number, (name, (x, _)) in enumerate(points.items()) if x > 0}
    if not shown:
        return ""

    def draw(axes: Axes) -> list[str]:
        for name, number in shown.items():
            look = {"color": _colour(number), "marker": _MARKERS[number % len(_MARKERS)], "markersize": 6}
            axes.plot(*points[name], linestyle="none", **look)
        x = np.log10([points[name][0] for name in shown])
        axes.set_xscale("log")
        axes.set_xlim(10.0 ** np.floor(x.min() - 0.02), 10.0 ** np.ceil(x.max() + 0.02))
        axes.margins(y=0.12)
        axes.grid(True)
        return list(shown)

    return _svg(draw, x_label, y_label, size)


def curves(
    series: Mapping[str, Sequence[float | None]],
    y_label: str,
    breaks: Sequence[int] = (),
    reference: str = "",
    size: tuple[int, int] = (1040, 270),
) -> str:
    """Named lines over rows, open where a value is None and at each of `breaks`; `reference`: the name drawn thick and
    black, which takes no colour. "" where nothing is known."""
    known = {name: line for name, line in series.items() if any(v is not None for v in line)}
    if not known:
        return ""

    def draw(axes: Axes) -> list[str]:
        numbers = {name: i for i, name in enumerate(name for name in series if name != reference)}
        for name, line in known.items():
            values = np.array([np.nan if v is None else v for v in line], float)
            inside = [b for b in breaks if b <= len(values)]
            rows = np.insert(np.arange(len(values), dtype=float), inside, np.nan)
            look = (
                {"color": "#111", "linewidth": 2.0}
                if name == reference
                else {"color": _colour(numbers[name]), "linewidth": 1.1}
            )
            axes.plot(rows, np.insert(values, inside, np.nan), **look)
        for at in breaks:
            axes.axvline(at - 0.5, color="#c9ced6", linestyle=(0, (3, 3)), linewidth=0.8)
        axes.margins(x=0.01)
        axes.grid(True, axis="y")
        return list(known)

    return _svg(draw, "held-out row", y_label, size)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _svg(draw: Callable[[Axes], list[str]], x_label: str, y_label: str, size: tuple[int, int]) -> str:
    """What `draw` puts on the axes, with labels and a key of the names that it returns, beside the plot so that it
    covers nothing."""
    import matplotlib
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the measuring font lacks: the browser has its own
        figure = Figure((size[0] / 96, size[1] / 96), layout="constrained")
        axes = figure.add_subplot()
        names = draw(axes)
        handles = axes.lines[: len(names)]
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _plain_ticks(axes)
        figure.legend(handles, [_label(name) for name in names], loc="outside right upper")
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(out.getvalue(), f"{y_label} over {x_label}")


def _plain_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axes.get_xscale() == "log":
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _label(name: str) -> str:
    """For the key, which before matplotlib 3.10 leaves out names that start with an underscore."""
    name = printable(name)
    return f"\u200b{name}" if name.startswith("_") else name


def _inline(svg: str, title: str) -> str:
    """The svg element alone, as HTML has it: no declaration, no name spaces, no ids that repeat from plot to plot."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="\w+">', "<g>", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
