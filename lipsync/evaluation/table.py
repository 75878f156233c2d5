"""The table of a comparison, from its plain results: its rows, its best values, as CSV and as LaTeX."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from media.atomic import atomic_write

#: Rows of the table that are no method.
REAL, FLOOR, MOUTH_SWAPPED = "real video", "re-encoding floor", "unmodified target (disguised)"
#: What a method costs, as columns: key, label, digits.
COSTS = (
    ("render_s", "seconds per frame, drawing", 4),
    ("blend_s", "seconds per frame, blending", 4),
    ("whole_s", "seconds per frame, all", 4),
    ("memory_mib", "peak memory, MiB", 0),
    ("training_s", "training, s", 0),
    ("parameters", "parameters", 0),
)


def table_rows(results: Mapping, kind: str) -> list[dict]:
    """The table of one kind of lips, in order: {"name", "measures", "costs", "is_method"} or {"name", "failed"}."""
    rows = [
        {"name": name, "measures": found["measures"], "costs": {}, "is_method": False}
        for name, found in results["references"].items()
    ]
    for one in results["methods"]:
        if "failed" in one:
            rows.append({"name": one["name"], "failed": one["failed"], "is_method": True})
        elif kind in one["lips"]:
            found = one["lips"][kind]
            spent = found["seconds_per_frame"]
            costs = {
                "render_s": spent["render"],
                "blend_s": spent.get("blend"),
                "whole_s": spent["whole"],
                "memory_mib": one.get("memory_mib"),
                "parameters": one.get("parameters"),
                "training_s": one.get("training", {}).get("seconds"),
            }
            rows.append({"name": one["name"], "measures": found["measures"], "costs": costs, "is_method": True})
    return rows


def kinds_of(results: Mapping) -> list[str]:
    """The kinds of lips that were compared."""
    found = [kind for one in results["methods"] for kind in one.get("lips", {})]
    return list(dict.fromkeys(found)) or ["true"]


#: Measures on a terminal: of textures, of blends.
_SHOWN = {
    "textures": ("ssim_mouth", "perceptual", "sharpness", "flicker", "lmd"),
    "blends": ("ssim_mouth", "seam_gradient", "colour_step", "flicker", "outside"),
}


def best_names(rows: Sequence[Mapping], measure: Mapping) -> set[str]:
    """The methods with the best mean, as printed."""
    values = {
        r["name"]: r["measures"][measure["key"]]["mean"]
        for r in rows
        if r["is_method"] and "failed" not in r and r["measures"][measure["key"]]
    }
    if not values or not measure["better"]:
        return set()
    merit = {"high": lambda v: v, "low": lambda v: -v, "one": lambda v: -abs(v - 1)}[measure["better"]]
    printed = {name: merit(round(value, measure["digits"])) for name, value in values.items()}
    return {name for name, value in printed.items() if value == max(printed.values())}


def summary(results: Mapping) -> list[str]:
    """A few columns for a terminal, one table for each kind of lips; best values with a star."""
    of_blends = results.get("compared") == "blends"
    shown = [m for m in results["measures"] if m["key"] in _SHOWN["blends" if of_blends else "textures"]]
    lines = []
    for kind in kinds_of(results):
        rows = table_rows(results, kind)
        best = {m["key"]: best_names(rows, m) for m in shown}
        lines.append(
            f"{kind + ' lips':<28}"
            + "".join(f"{m['label']:>22}" for m in shown)
            + ("    blending, s/frame" if of_blends else "")
        )
        for row in rows:
            if "failed" in row:
                lines.append(f"{row['name']:<28}failed: {row['failed']}")
                continue
            values = [(m, row["measures"][m["key"]]) for m in shown]
            cells = [
                "-" if not v else f"{v['mean']:.{m['digits']}f}{'*' if row['name'] in best[m['key']] else ''}"
                for m, v in values
            ]
            spent = row["costs"].get("blend_s") if of_blends else None
            cells += [] if spent is None else [f"{spent:.4f}"]
            lines.append(f"{row['name']:<28}" + "".join(f"{cell:>22}" for cell in cells))
    return lines


def write_csv(path: Path, results: Mapping) -> None:
    """One line for each row of each table; full precision."""
    columns = [f"{m['key']}{end}" for m in results["measures"] for end in ("", "_low", "_high")]
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["lips", "name", "n_rows", "n_blocks", *columns, *(key for key, _, _ in COSTS), "failed"])
        for kind in kinds_of(results):
            for row in table_rows(results, kind):
                found = [row.get("measures", {}).get(m["key"]) or {} for m in results["measures"]]
                numbers = [value.get(part, "") for value in found for part in ("mean", "low", "high")]
                costs = [_blank(row.get("costs", {}).get(key)) for key, _, _ in COSTS]
                writer.writerow(
                    [kind, row["name"], results["n_rows"], results["n_blocks"], *numbers, *costs, row.get("failed", "")]
                )


def _blank(value: object) -> object:
    return "" if value is None else value


def latex(results: Mapping) -> str:
    """A plain tabular for each kind of lips, best values in bold."""
    return "\n\n".join(_latex_of(results, kind) for kind in kinds_of(results)) + "\n"


def _latex_of(results: Mapping, kind: str) -> str:
    rows, measures = table_rows(results, kind), results["measures"]
    best = {m["key"]: best_names(rows, m) for m in measures}
    lines = [
        f"% {kind} lips; {results['n_rows']} frames in {results['n_blocks']} blocks; perceptual distance: "
        f"{results['perceptual']}"
    ]
    lines += [r"\begin{tabular}{l" + "r" * (len(measures) + 1) + "}", r"\hline"]
    lines += [" & ".join(["Method", *(tex_escaped(m["label"]) for m in measures), "s/frame"]) + r" \\", r"\hline"]
    for row in rows:
        if "failed" in row:
            why = rf"\multicolumn{{{len(measures) + 1}}}{{l}}{{failed: {tex_escaped(row['failed'])}}}"
            lines.append(rf"{tex_escaped(row['name'])} & {why} \\")
            continue
        cells = []
        for m in measures:
            text = mean_text(row["measures"][m["key"]], m["digits"])
            cells.append(rf"\textbf{{{text}}}" if row["name"] in best[m["key"]] else text)
        spent = row["costs"].get("whole_s")
        lines.append(" & ".join([tex_escaped(row["name"]), *cells, "--" if spent is None else f"{spent:.3f}"]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def tex_escaped(text: str) -> str:
    return "".join(_TEX.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)


def mean_text(value: Mapping | None, digits: int) -> str:
    return "--" if value is None else f"{value['mean']:.{digits}f}"
