"""The table of a comparison, from its plain results: its rows, its best values, as CSV and as LaTeX."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from lipsync.core.text import printable, shortened
from lipsync.metrics.pictures import PSNR_CAP
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


#: Measures that belong together, as tables of a width that a page holds; what is in none comes last.
GROUPS = (
    ("The mouth", ("ssim_mouth", "psnr_mouth", "perceptual", "sharpness", "flicker")),
    ("The lips found again", ("lmd", "opening_r", "articulation")),
    ("Face and frame", ("ssim_face", "psnr_face", "ssim_frame", "psnr_frame")),
    ("The border of what is drawn", ("seam_colour", "seam_gradient", "colour_step", "outside")),
)
#: What is better, as a sign, and what the signs mean.
BETTER = {"high": "↑", "low": "↓", "one": "→1", "": ""}
SIGNS = "↑ more is better, ↓ less is better, →1 best is 1, as in the real video"
#: Measures on a terminal, with names that fit: of textures, of blends.
_SHOWN = {
    "textures": {
        "ssim_mouth": "SSIM mouth",
        "perceptual": "perceptual",
        "sharpness": "sharpness",
        "flicker": "flicker",
        "lmd": "LMD",
    },
    "blends": {
        "ssim_mouth": "SSIM",
        "seam_gradient": "seam",
        "colour_step": "colour",
        "flicker": "flicker",
        "outside": "outside",
    },
}
_MEANINGS = {
    "textures": "perceptual, LMD: distance from the real mouth and from the real lips (in eye distances).",
    "blends": "seam: step across the border; colour, outside: change there and beyond it, in grey levels.",
}
#: Widths on a terminal: of all, of a figure.
_WIDTH, _FIGURE_W = 100, {"textures": 13, "blends": 12}


def grouped(measures: Sequence[Mapping]) -> list[tuple[str, list[Mapping]]]:
    """The measures by GROUPS, each in the group's order."""
    by_key = {m["key"]: m for m in measures}
    groups = [(title, [by_key.pop(key) for key in keys if key in by_key]) for title, keys in GROUPS]
    return [(title, some) for title, some in [*groups, ("More", list(by_key.values()))] if some]


def best_names(rows: Sequence[Mapping], measure: Mapping) -> set[str]:
    """The method that is clearly best: the interval of no other overlaps its own. Where 1 is best, by the distance
    from it. None among fewer than two."""
    if not measure["better"]:
        return set()
    found = {
        row["name"]: _merits(row["measures"][measure["key"]], measure["better"])
        for row in rows
        if row["is_method"] and "failed" not in row and row["measures"][measure["key"]]
    }
    if len(found) < 2:
        return set()
    first, second = sorted(found, key=lambda name: -found[name][1])[:2]
    least = min(found[first])
    most = max(max(merits) for name, merits in found.items() if name != first)
    return {first} if least > most and found[first][1] > found[second][1] else set()


def _merits(value: Mapping, better: str) -> tuple[float, float, float]:
    """(worst, mean, best) of the interval, more is better."""
    low, mean, high = (value[name] for name in ("low", "mean", "high"))
    if better == "high":
        return low, mean, high
    if better == "low":
        return -high, -mean, -low
    worst = max(abs(low - 1), abs(high - 1))
    return -worst, -abs(mean - 1), 0.0 if low <= 1 <= high else -min(abs(low - 1), abs(high - 1))


def summary(results: Mapping) -> list[str]:
    """A few columns for a terminal of 100, one table for each kind of lips; clearly best values with a star; what the
    signs mean."""
    kind_of_table = "blends" if results.get("compared") == "blends" else "textures"
    short = _SHOWN[kind_of_table]
    shown = [m for m in results["measures"] if m["key"] in short]
    lines = []
    for kind in kinds_of(results):
        rows = table_rows(results, kind)
        best = {m["key"]: best_names(rows, m) for m in shown}
        headings = [f"{short[m['key']]} {BETTER[m['better']]}" for m in shown]
        headings += ["s/frame ↓"] if kind_of_table == "blends" else []
        wide = _FIGURE_W[kind_of_table]
        name_w = min(_WIDTH - wide * len(headings), max(len(row["name"]) for row in rows) + 1)
        lines.append(f"{kind + ' lips':<{name_w}}" + "".join(f"{heading:>{wide}}" for heading in headings))
        for row in rows:
            name = f"{shortened(row['name'], name_w - 1):<{name_w}}"
            if "failed" in row:
                lines.append(f"{name}failed: {row['failed']}")
                continue
            cells = [
                mean_text(row["measures"][m["key"]], m) + ("*" if row["name"] in best[m["key"]] else " ") for m in shown
            ]
            spent = row["costs"].get("blend_s") if kind_of_table == "blends" else None
            cells += [] if spent is None else [f"{spent:.4f} "]
            lines.append((name + "".join(f"{cell:>{wide}}" for cell in cells)).rstrip())
    return [*lines, f"{SIGNS}.", "* clearly best: no other's 95 % interval overlaps.", _MEANINGS[kind_of_table]]


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
    """For a paper that loads booktabs: for each kind of lips and group of measures a table with a caption, intervals
    under the means, what is clearly best in bold."""
    groups = grouped(results["measures"])
    narrowest = min(groups, key=lambda group: len(group[1]))
    tables = [
        _table(results, kind, number, group, with_cost=group is narrowest)
        for kind in kinds_of(results)
        for number, group in enumerate(groups, 1)
    ]
    return "\n\n".join([f"% \\usepackage{{booktabs}}\n% {printable(results['command'])}\n{_STACK}", *tables]) + "\n"


#: Lines over each other, beside the first of which the row goes on.
_STACK = r"\providecommand{\lipsyncstack}[2]{\begin{tabular}[t]{@{}#1@{}}#2\end{tabular}}"


def _table(results: Mapping, kind: str, number: int, group: tuple[str, Sequence[Mapping]], with_cost: bool) -> str:
    title, measures = group
    lines = [r"\begin{table}", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"]
    lines += [
        rf"\caption{{{title}. {_caption(results, kind)}}}",
        rf"\label{{tab:lipsync-{kind}-{number}}}",
        r"\par\smallskip",
    ]
    return "\n".join([*lines, *_tabular(table_rows(results, kind), measures, with_cost), r"\end{table}"])


def _tabular(rows: Sequence[Mapping], measures: Sequence[Mapping], with_cost: bool) -> list[str]:
    """One group of measures. with_cost: with the seconds per frame beside."""
    best = {m["key"]: best_names(rows, m) for m in measures}
    headings = [_stacked(m["label"], "r", 12, _TEX_BETTER[m["better"]]) for m in measures]
    headings += [r"s/frame $\downarrow$"] if with_cost else []
    lines = [r"\begin{tabular}{l" + "r" * len(headings) + "}", r"\toprule"]
    lines += [" & ".join(["Method", *headings]) + r" \\", r"\midrule"]
    for row in rows:
        name = _stacked(row["name"], "l", 20)
        if "failed" in row:
            lines.append(rf"{name} & \multicolumn{{{len(headings)}}}{{l}}{{failed}} \\ % {printable(row['failed'])}")
            continue
        cells = [_tex_cell(row["measures"][m["key"]], m, row["name"] in best[m["key"]]) for m in measures]
        spent = row["costs"].get("whole_s")
        cells += ["--" if spent is None else f"{spent:.3f}"] if with_cost else []
        lines.append(" & ".join([name, *cells]) + r" \\[2pt]")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _tex_cell(value: Mapping | None, measure: Mapping, is_best: bool) -> str:
    """The mean, and under it its interval."""
    text = mean_text(value, measure)
    text = rf"\textbf{{{text}}}" if is_best else text
    ends = interval_text(value, measure)
    return rf"\lipsyncstack{{r}}{{{text}\\[-2pt]{{\tiny {ends[0]} to {ends[1]}}}}}" if ends else text


def _stacked(text: str, side: str, width: int, sign: str = "") -> str:
    """Long text on several lines."""
    parts = [tex_escaped(part) for part in textwrap.wrap(text, width)] or [""]
    parts[-1] = f"{parts[-1]} {sign}".strip()
    broken = r"\\".join(parts)
    return broken if len(parts) == 1 else rf"\lipsyncstack{{{side}}}{{{broken}}}"


def _caption(results: Mapping, kind: str) -> str:
    what = "Ways to blend" if results.get("compared") == "blends" else "Textures"
    commit = f", commit {results['commit'][:10]}" if results["commit"] else ""
    return (
        f"{what} on {tex_escaped(results['target']['name'])}, {kind} lips: {results['n_rows']} held-out frames in "
        f"{results['n_blocks']} blocks. "
        r"Small: 95\,\% bootstrap interval of the mean over blocks. $\uparrow$ more is better, $\downarrow$ less is "
        r"better, $\to$1 best is 1, as in the real video. Bold: best, where no other's interval overlaps. Perceptual "
        f"distance: {tex_escaped(results['perceptual'])}. Measured with lipsync "
        f"{results['made_by']['lipsync']}{commit}."
    )


_TEX_BETTER = {"high": r"$\uparrow$", "low": r"$\downarrow$", "one": r"$\to$1", "": ""}
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def tex_escaped(text: str) -> str:
    return "".join(_TEX.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)


def mean_text(value: Mapping | None, measure: Mapping) -> str:
    """The mean as printed; "same" where all pictures are identical, whose PSNR has no number."""
    if value is None:
        return "--"
    return "same" if _identical(value, measure) else f"{value['mean']:.{measure['digits']}f}"


def interval_text(value: Mapping | None, measure: Mapping) -> tuple[str, str] | None:
    """The ends of the interval as printed."""
    if value is None or _identical(value, measure):
        return None
    return f"{value['low']:.{measure['digits']}f}", f"{value['high']:.{measure['digits']}f}"


def _identical(value: Mapping, measure: Mapping) -> bool:
    return measure["key"].startswith("psnr") and value["low"] >= PSNR_CAP
