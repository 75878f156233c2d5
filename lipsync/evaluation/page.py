"""A comparison as one page that needs no network: table, plots, curves, mouths, clips, and how it was measured."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lipsync.config.load import changed_settings, from_plain
from lipsync.core.html import html_environment, jpeg_text
from lipsync.core.text import counted
from lipsync.evaluation import plots
from lipsync.evaluation.citation import citation
from lipsync.evaluation.judge import PERCEPTUAL_WIDTH
from lipsync.evaluation.table import (
    BETTER,
    COSTS,
    REAL,
    SIGNS,
    best_names,
    grouped,
    interval_text,
    kinds_of,
    mean_text,
    table_rows,
)  # fmt: skip

_KINDS = {"true": "True lips", "predicted": "Lips predicted from the sound"}
_LIPS_FROM = {
    "prior": "the bundled prior, fitted to this person's mouth",
    "own speech": "this person's own speech (learning part)",
    "prior and own speech": "the bundled prior and this person's own speech (learning part)",
}
#: Measures that are drawn against speed.
_AGAINST_SPEED = ("ssim_mouth", "perceptual", "sharpness", "flicker")


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of the table as printed; interval: its lower and upper end."""

    value: str
    is_best: bool = False
    interval: tuple[str, str] | None = None


def page(
    results: Mapping,
    clips: Mapping[str, Sequence[tuple[str, bytes]]],
    mouths: Mapping[str, Sequence[tuple[str, np.ndarray]]],
) -> str:
    """The whole page. clips: (name, MP4) by kind of lips, and "said" for the new speech; mouths: (name, (h,w,3) uint8
    strip of mouths) by kind of lips."""
    sections = [
        {
            "title": _KINDS.get(kind, kind),
            "tables": _tables(results, kind),
            "scatters": _scatters(results, kind),
            "curves": _curves(results, kind),
            "mouths": [(name, _jpeg(strip)) for name, strip in mouths.get(kind, ())],
            "clips": _videos(clips.get(kind, ())),
        }
        for kind in kinds_of(results)
    ]
    template = html_environment("lipsync.evaluation").get_template("comparison.html")
    return template.render(
        results=results,
        signs=SIGNS,
        files=("results.json", "results.csv", "table.tex", "split.json"),
        options=changed_settings(from_plain(results["config"])),
        machine=_machine(results["machine"]),
        citation=citation(results["made_by"]["lipsync"]),
        sections=sections,
        new_speech=_videos(clips.get("said", ())),
        guard=f"{results['split']['guard_s']:g}",
        perceptual_width=PERCEPTUAL_WIDTH,
        lips=[(_KINDS.get(kind, kind), _lips_source(about)) for kind, about in results["lips"].items()],
        split=json.dumps(results["split"], indent=1, ensure_ascii=False),
    )


def _tables(results: Mapping, kind: str) -> list[dict]:
    """Tables that fit a page: {"title", "headings", "rows"}, rows as {"name", "is_method", "failed", "cells"}."""
    rows = table_rows(results, kind)
    tables = []
    for title, measures in grouped(results["measures"]):
        best = {m["key"]: best_names(rows, m) for m in measures}
        cells = {
            row["name"]: [_cell(row["measures"][m["key"]], m, row["name"] in best[m["key"]]) for m in measures]
            for row in rows
            if "failed" not in row
        }
        headings = [f"{m['label']} {BETTER[m['better']]}".strip() for m in measures]
        tables.append({"title": title, "headings": headings, "rows": _rows(rows, cells)})
    methods = [row for row in rows if row["is_method"]]
    spent = {
        row["name"]: [_cost(row["costs"].get(key), digits) for key, _, digits in COSTS]
        for row in methods
        if "failed" not in row
    }
    return [*tables, {"title": "Cost", "headings": [label for _, label, _ in COSTS], "rows": _rows(methods, spent)}]


def _rows(rows: Sequence[Mapping], cells: Mapping[str, list[Cell]]) -> list[dict]:
    return [
        {
            "name": row["name"],
            "is_method": row["is_method"],
            "failed": row.get("failed", ""),
            "cells": cells.get(row["name"], []),
        }
        for row in rows
    ]


def _cell(value: Mapping | None, measure: Mapping, is_best: bool) -> Cell:
    return Cell(mean_text(value, measure), is_best, interval_text(value, measure))


def _cost(value: float | None, digits: int) -> Cell:
    return Cell("\N{EN DASH}" if value is None else f"{value:,.{digits}f}")


def _machine(facts: Mapping) -> str:
    gpus = ", ".join(facts["gpus"]) or "no GPU"
    memory = f", {facts['memory_gib']:.0f} GiB of memory" if facts["memory_gib"] else ""
    return (
        f"{facts['cpu']}, {counted(facts['cores'], 'core')}, {gpus}{memory}; {facts['system']}, Python "
        f"{facts['python']}, torch {facts['torch']}"
    )


def _scatters(results: Mapping, kind: str) -> list[str]:
    rows = [row for row in table_rows(results, kind) if row["is_method"] and "failed" not in row]
    found = []
    for m in results["measures"]:
        if m["key"] in _AGAINST_SPEED:
            values = {row["name"]: (row["costs"]["whole_s"], row["measures"][m["key"]]) for row in rows}
            points = {name: (seconds, value["mean"]) for name, (seconds, value) in values.items() if value}
            found.append(plots.scatter(points, "seconds per frame, all (logarithmic)", m["label"]))
    return found


def _curves(results: Mapping, kind: str) -> list[str]:
    """SSIM and mouth opening of every method, row by row."""
    blocks = {one["name"]: one["lips"][kind]["rows"] for one in results["methods"] if kind in one.get("lips", {})}
    breaks = np.cumsum(results["rows_of_block"])[:-1].tolist()
    real = {REAL: _joined(results["references"][REAL]["rows"], "opening")}
    openings = real | {name: _joined(rows, "opening") for name, rows in blocks.items()}
    return [
        plots.curves({name: _joined(rows, "ssim_mouth") for name, rows in blocks.items()}, "SSIM mouth", breaks),
        plots.curves(openings, "mouth opening", breaks, REAL),
    ]


def _joined(blocks: Sequence[Mapping], key: str) -> list[float | None]:
    return [value for block in blocks for value in block[key]]


def _videos(clips: Sequence[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [(name, "data:video/mp4;base64," + base64.b64encode(mp4).decode()) for name, mp4 in clips]


def _jpeg(rgb: np.ndarray) -> str:
    return "data:image/jpeg;base64," + jpeg_text(rgb, 92)


def _lips_source(about: object) -> str:
    if not isinstance(about, Mapping):
        return str(about)
    return f"{_LIPS_FROM.get(about.get('lips_from', ''), 'a model given by the user')}."
