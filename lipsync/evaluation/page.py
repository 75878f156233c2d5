"""A comparison as one page that needs no network: table, plots, curves, mouths, clips, and how it was measured."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from lipsync.evaluation import plots as svg
from lipsync.evaluation.judge import PERCEPTUAL_WIDTH
from lipsync.evaluation.table import COSTS, REAL, best_names, kinds_of, said, table_rows

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#22262e;background:#fff;max-width:1180px;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.6rem;margin-bottom:.2rem}
h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #dfe3e9}
h3{font-size:1rem}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .5rem;border-bottom:1px solid #e8ebf0;text-align:right;vertical-align:top}
th{font-weight:600}
th:first-child,td:first-child{text-align:left;white-space:nowrap;position:sticky;left:0;background:#fff}
.scroll{overflow-x:auto}
.ref td{color:#6b727d}
.best{font-weight:700;color:#0b5d3b}
small{display:block;color:#8a909a;font-size:11px;white-space:nowrap}
.failed{color:#a3242c;text-align:left}
.mark{display:inline-block;background:#fff3cd;border:1px solid #e0c36a;border-radius:4px;padding:.15rem .5rem;font-weight:600}
svg text{font:11px system-ui,sans-serif;fill:#22262e}
svg .axis{fill:#6b727d}
svg{max-width:100%;height:auto}
.key{margin-right:1rem;white-space:nowrap;font-size:13px}
.key i{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border-radius:2px}
.sheet th{width:10rem;text-align:left}
.sheet img{display:block}
figure{display:inline-block;margin:.4rem .8rem .4rem 0}
figcaption{font-size:13px}
video{display:block;background:#000}
pre{background:#f5f6f8;padding:.8rem;overflow-x:auto;font-size:12px}
"""
_SENTENCES = (
    "Before a method sees a held-out frame, the compositing of a dub puts another mouth over it: a stretch of learnt "
    "frames "
    "played on, the head turned alike, the lips clearly different. So no method can copy the truth from the frame; "
    "“unmodified "
    "target” is this disguised frame against the truth.",
    "Every method gets the same lips and the same frames; its answer goes through the same sharpening of teeth, the "
    "same "
    "compositing and the same encoder, and is measured as decoded. “Re-encoding floor”: the real frames through that "
    "encoder.",
    "True lips: the lips tracked in the real frame; the jaw is the method's own. Predicted lips: said by the held-out "
    "sound, of "
    "a lip model that learned from the learning part.",
    "Mean over the frames of a block, then over blocks; intervals by bootstrap over blocks. Sharpness (variance of the "
    "Laplacian, mouth), flicker (what optical flow cannot explain between neighbouring frames, mouth) and seam (step "
    "across the "
    "border of the redrawn region) are relative to the real frames' own. Opening r and articulation are those of each "
    "block.",
    "LMD, opening and articulation: lips found again in the written video, aligned on eyes and nose, 18 points; unit: "
    "distance "
    "of the outer eye corners.",
    "Seconds are those of this machine, after one warming batch; “all” is reading, asking, drawing, teeth, compositing "
    "and "
    "encoding. Memory is how far the process grew above where it stood before the method was prepared, reading and "
    "encoding "
    "included, sampled 50 times a second; memory that earlier work left to the process hides growth.",
    "Not measured: CPBD (a mouth is often less than one of its blocks), SyncNet scores (they exceed real video), "
    "identity, and "
    "what people prefer.",
)
_KINDS = {"true": "True lips", "predicted": "Lips predicted from the sound"}


def page(
    results: Mapping,
    films: Mapping[str, Sequence[tuple[str, bytes]]],
    sheets: Mapping[str, Sequence[tuple[str, np.ndarray]]],
) -> str:
    """The whole page. films: (name, MP4) by kind of lips, and "said"; sheets: (name, (h,w,3) uint8 strip of mouths) by
    kind of lips."""
    name = results["target"]["name"]
    parts = [f"<h1>Texture methods compared on {escape(name)}</h1>"]
    parts.append(
        '<p><span class="mark">AI-edited</span> The mouths shown here are synthesised, save those named real.</p>'
    )
    learnt = f"{results['mouths_learnt_from']} mouths of {results['mouth_px'][0]}x{results['mouth_px'][1]} pixels"
    parts.append(
        f"<p>{results['n_rows']} held-out frames in {results['n_blocks']} blocks; learnt from {learnt}. "
        "Small figures: 95 % bootstrap interval of the mean over blocks.</p>"
    )
    for kind in kinds_of(results):
        parts.append(
            f"<h2>{_KINDS.get(kind, escape(kind))}</h2>"
            + _table(results, kind)
            + _plots(results, kind)
            + _curves(results, kind)
        )
        parts.append(
            _sheet(sheets.get(kind, ())) + _clips(films.get(kind, ()), "Side by side: real | disguised | drawn")
        )
    if films.get("said"):
        parts.append(
            "<h2>New speech</h2><p>The same new words by every method; there is no truth to compare with.</p>"
            + _clips(films["said"], "With sound")
        )
    parts += [_protocol(results), _origin(results)]
    title = f"Texture methods on {escape(name)} (AI-edited pictures)"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(results: Mapping, kind: str) -> str:
    rows, measures = table_rows(results, kind), results["measures"]
    best = {m["key"]: best_names(rows, m) for m in measures}
    arrow = {"high": " ↑", "low": " ↓", "one": " → 1", "": ""}
    head = "".join(f"<th>{escape(m['label'])}{arrow[m['better']]}</th>" for m in measures) + "".join(
        f"<th>{escape(label)}</th>" for _, label, _ in COSTS
    )
    body = []
    for row in rows:
        if "failed" in row:
            why = f'<td class="failed" colspan="{len(measures) + len(COSTS)}">failed: {escape(row["failed"])}</td>'
            body.append(f"<tr><td>{escape(row['name'])}</td>{why}</tr>")
            continue
        cells = [_cell(row["measures"][m["key"]], m["digits"], row["name"] in best[m["key"]]) for m in measures]
        cells += [f"<td>{_number(row['costs'].get(key), digits)}</td>" for key, _, digits in COSTS]
        body.append(
            f"<tr{'' if row['is_method'] else ' class=ref'}><td>{escape(row['name'])}</td>{''.join(cells)}</tr>"
        )
    return f'<div class="scroll"><table><thead><tr><th>method</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(value: Mapping | None, digits: int, is_best: bool) -> str:
    mark = " class=best" if is_best else ""
    interval = "" if value is None else f"<small>{value['low']:.{digits}f}–{value['high']:.{digits}f}</small>"
    return f"<td{mark}>{said(value, digits)}{interval}</td>"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _plots(results: Mapping, kind: str) -> str:
    rows = [r for r in table_rows(results, kind) if r["is_method"] and "failed" not in r]
    plots = []
    for m in results["measures"]:
        if m["key"] in ("ssim_mouth", "perceptual", "sharpness", "flicker"):
            points = {
                r["name"]: (r["costs"]["whole_s"], r["measures"][m["key"]]["mean"])
                for r in rows
                if r["measures"][m["key"]]
            }
            plots.append(svg.scatter(points, "seconds per frame, all (logarithmic)", m["label"]))
    return "<h3>Quality against speed</h3><div>" + "".join(plots) + "</div>"


def _curves(results: Mapping, kind: str) -> str:
    found = {one["name"]: one["lips"][kind]["rows"] for one in results["methods"] if kind in one.get("lips", {})}
    line = lambda rows, key: [v for block in rows for v in block[key]]  # noqa: E731
    breaks = np.cumsum(results["rows_of_block"])[:-1].tolist()
    real = results["references"][REAL]["rows"]
    quality = svg.curves({name: line(rows, "ssim_mouth") for name, rows in found.items()}, "SSIM mouth", breaks)
    gaps = {REAL: line(real, "opening")} | {name: line(rows, "opening") for name, rows in found.items()}
    return f"<h3>Frame by frame</h3><p>{svg.legend([REAL, *found], -1)}</p>{quality}<br>{svg.curves(gaps, 'mouth opening', breaks, -1)}"


def _sheet(strips: Sequence[tuple[str, np.ndarray]]) -> str:
    rows = "".join(
        f'<tr><th>{escape(name)}</th><td><img alt="mouths: {escape(name)}" src="{_jpeg(strip)}"></td></tr>'
        for name, strip in strips
    )
    return f'<h3>Mouths</h3><div class="scroll"><table class="sheet">{rows}</table></div>'


def _clips(films: Sequence[tuple[str, bytes]], caption: str) -> str:
    if not films:
        return ""
    shown = "".join(
        '<figure><video controls loop playsinline preload="metadata" '
        f'src="data:video/mp4;base64,{base64.b64encode(film).decode()}"></video>'
        f"<figcaption>{escape(name)} (AI-edited)</figcaption></figure>"
        for name, film in films
    )
    return f"<h3>{escape(caption)}</h3>{shown}"


def _jpeg(rgb: np.ndarray) -> str:
    import cv2

    _, packed = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return "data:image/jpeg;base64," + base64.b64encode(packed.tobytes()).decode()


def _protocol(results: Mapping) -> str:
    split = results["split"]
    what = (
        "The truth is other footage of the same person; every shot of it is a block. Everything is learnt from the "
        "whole target."
    )
    if split["in_target"]:
        what = (
            f"{results['n_blocks']} blocks spread evenly over the target are held out, with a guard of "
            f"{split['guard_s']:g} s on "
            "either side; nothing of them or of the guard is in the mouths, the teeth or the lips that anything learns "
            "from."
        )
    sentences = [what, *_SENTENCES, *_of_networks(results)]
    lips = "".join(
        f"<li>{escape(_KINDS.get(kind, kind))}: {escape(_lips_words(about))}</li>"
        for kind, about in results["lips"].items()
    )
    return "<h2>How it was measured</h2><ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + f"{lips}</ul>"


def _of_networks(results: Mapping) -> list[str]:
    which = (
        f"The perceptual distance is that of {results['perceptual']}, mouth region, {PERCEPTUAL_WIDTH} pixels wide: "
        "compare it only "
        "with values of the same network."
    )
    return [
        which,
        *(f"Bundled network {name}: learned from {what}." for name, what in results["bundled_networks"].items()),
    ]


def _lips_words(about: object) -> str:
    if not isinstance(about, Mapping):
        return str(about)
    sources = {
        "prior": "the bundled prior, fitted to this person's mouth",
        "own speech": "this person's own speech (learning part)",
        "prior and own speech": "the bundled prior and this person's own speech (learning part)",
    }
    return f"{sources.get(about.get('lips_from'), 'a model given by the user')}."


def _origin(results: Mapping) -> str:
    files = "".join(
        f"<li>{escape(film['name'])}: sha256 {escape(film['sha256'])}</li>"
        for film in [results["target"], *results["footage"]]
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in results["notes"])
    split = escape(json.dumps(results["split"], indent=1, ensure_ascii=False))
    made = escape(", ".join(f"{name} {version}" for name, version in results["made_by"].items()))
    return (
        f"<h2>Split and origin</h2><ul>{files}{notes}</ul><p>Made by {made}, on "
        f"{escape(results['device'])}.</p><pre>{split}</pre>"
    )
