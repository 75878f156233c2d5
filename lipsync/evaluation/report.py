"""The report of a comparison as a folder: index.html, results.json, results.csv, table.tex, split.json. All hold the
same numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lipsync.core.text import readable
from lipsync.evaluation.comparison import Comparison
from lipsync.evaluation.judge import MEASURES, PICTURE_WIDTH, Rows, summary
from lipsync.evaluation.page import page
from lipsync.evaluation.split import Split
from lipsync.evaluation.table import FLOOR, MOUTH_SWAPPED, REAL, latex, write_csv
from media.atomic import atomic_write
from video.clock import FrameClock
from video.probe import VideoStream, probe
from video.read import read_rows
from video.write import VideoWriter

#: A side-by-side clip holds whole blocks up to so many seconds.
CLIP_S = 6.0


def write_report(out: Path, about: dict, split: Split, comparison: Comparison, tried: Sequence[dict]) -> dict:
    """Writes the report of `tried` (answers of `Comparison.evaluate_method`) to the folder `out`; returns
    results.json's content. about: more facts."""
    results = results_of(about, split, comparison, tried)
    split.save(out / "split.json")
    _write(out / "results.json", json.dumps(readable(results), indent=1, ensure_ascii=False) + "\n")
    write_csv(out / "results.csv", results)
    _write(out / "table.tex", readable(latex(results)))
    _write(out / "index.html", page(results, _clips(comparison, tried), _mouths(comparison, tried)))
    return results


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def results_of(about: dict, split: Split, comparison: Comparison, tried: Sequence[dict]) -> dict:
    """Everything as plain values: per block and per row, too."""
    references = {
        name: _measured(rows, comparison.real)
        for name, rows in (
            (REAL, comparison.real),
            (FLOOR, comparison.floor),
            (MOUTH_SWAPPED, comparison.mouth_swapped),
        )
    }
    methods = []
    for one in tried:
        lips = {
            kind: _measured(found["judged"], comparison.real) | {"seconds_per_frame": found["seconds_per_frame"]}
            for kind, found in one.get("lips", {}).items()
        }
        methods.append(
            {name: value for name, value in one.items() if name not in ("lips", "said")}
            | ({} if "failed" in one else {"lips": lips})
        )
    return about | {
        "ai_edited": "the mouths in the pictures and clips of this report are synthesised, save those named real",
        "split": split.to_plain(),
        "n_blocks": len(comparison.clips),
        "n_rows": int(sum(clip.plan.render.sum() for clip in comparison.clips)),
        "rows_of_block": [len(clip) for clip in comparison.clips],
        "first_frames": [int(clip.plan.source[0]) for clip in comparison.clips],
        "perceptual": comparison.losses.perceptual_name,
        "measures": [
            {"key": m.key, "label": m.label, "better": m.better, "of": m.of, "digits": m.digits} for m in MEASURES
        ],
        "references": references,
        "methods": methods,
    }


def _measured(rows: Sequence[Rows], real: Sequence[Rows]) -> dict:
    return summary(rows, real) | {"rows": [r.to_plain() for r in rows]}


def _mouths(comparison: Comparison, tried: Sequence[dict]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """For each kind of lips (name, strip of mouths) of the truth, the frames with swapped mouths, and every method."""

    def strip(rows: Sequence[Rows]) -> np.ndarray:
        return np.hstack([picture for r in rows for picture in r.pictures] or [np.zeros((8, 8, 3), np.uint8)])

    above = [("real", strip(comparison.real)), ("disguised", strip(comparison.mouth_swapped))]
    kinds = list(dict.fromkeys(kind for one in tried for kind in one.get("lips", {})))
    return {
        kind: above
        + [(one["name"], strip(one["lips"][kind]["judged"])) for one in tried if kind in one.get("lips", {})]
        for kind in kinds
    }


def _clips(comparison: Comparison, tried: Sequence[dict]) -> dict[str, list[tuple[str, bytes]]]:
    """For each kind of lips, and "said" for the new speech, (name, MP4) of every method."""
    clips: dict[str, list[tuple[str, bytes]]] = {}
    for one in tried:
        for kind, found in one.get("lips", {}).items():
            paths = [r.path for r in found["judged"]]
            clips.setdefault(kind, []).append((one["name"], side_by_side(comparison, paths)))
        if "said" in one:
            clips.setdefault("said", []).append((one["name"], Path(one["said"]).read_bytes()))
    return clips


def side_by_side(comparison: Comparison, ours: Sequence[Path]) -> bytes:
    """An H.264 MP4 of mouths: real, disguised, drawn; whole blocks, up to CLIP_S and at least one."""
    rate = comparison.clips[0].plan.clock.rate
    blocks, n = [], 0
    for number, clip in enumerate(comparison.clips):
        if not blocks or n + len(clip) <= CLIP_S * rate:
            blocks.append(number)
            n += len(clip)
    height = comparison.judges[0].picture_size[0]
    path = comparison.folder / "side-by-side.mp4"
    metadata = {
        "title": "real, disguised, drawn (AI-edited: mouths re-synthesised)",
        "comment": "AI-edited by lipsync: the drawn mouths were synthesised.",
    }
    with VideoWriter(
        path,
        width=3 * PICTURE_WIDTH,
        height=height,
        clock=FrameClock.constant(n, rate),
        crf=23,
        preset="medium",
        metadata=metadata,
    ) as writer:
        for number in blocks:
            for row, frames in _together(comparison, number, probe(ours[number])):
                mouths = np.hstack([comparison.judges[number].picture(row, rgb) for rgb in frames])
                writer.write(torch.from_numpy(mouths).permute(2, 0, 1)[None].contiguous())
    return path.read_bytes()


def _together(comparison: Comparison, number: int, ours: VideoStream):
    """(row, [real, disguised, ours]) of one clip, each (H,W,3) uint8."""
    clip, batch = comparison.clips[number], comparison.config.batch
    each = np.arange(len(clip))
    reels = [
        read_rows(clip.footage.stream, clip.plan.source, batch),
        read_rows(clip.mouth_swapped, each, batch),
        read_rows(ours, each, batch),
    ]
    for parts in zip(*reels, strict=True):
        for k, row in enumerate(range(parts[0][0].start, parts[0][0].stop)):
            yield row, [np.ascontiguousarray(frames.rgb[k].permute(1, 2, 0).numpy()) for _, frames in parts]
