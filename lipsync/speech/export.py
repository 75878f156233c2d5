"""Lips over time as numbers that other programs read: JSON that says what it holds, and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from lipsync.core.lips import opening
from lipsync.core.text import readable
from lipsync.core.types import LipTrack

FORMAT = "lipsync-lip-track-1"
#: Decimals of coordinates: a hundred-thousandth of an eye distance is far below what any camera shows.
DECIMALS = 5
POINTS = (
    "outer left corner", "outer upper 1", "outer upper 2", "outer upper middle", "outer upper 4", "outer upper 5",
    "outer right corner", "outer lower 1", "outer lower 2", "outer lower middle", "outer lower 4", "outer lower 5",
    "inner upper left", "inner upper middle", "inner upper right",
    "inner lower right", "inner lower middle", "inner lower left",
)  # fmt: skip
IBUG_68 = (*range(48, 60), 61, 62, 63, 65, 66, 67)


def lips_json(lips: LipTrack, voiced: np.ndarray, rest: np.ndarray, about: Mapping) -> str:
    """The text of a JSON file. lips: with a clock; voiced: (N,) bool; rest: (18,2); about: what to say of speech and
    model, plain values."""
    head = {
        "format": FORMAT,
        "note": "predicted from sound by a trained model; no camera saw these lips",
        **about,
        "fps": round(float(lips.frames.rate), 6),
        "fps_exact": str(lips.frames.rate),
        "frames": len(lips),
        "unit": "distance between the outer eye corners of the same face",
        "frame_of_reference": "head pose removed; origin midway between the resting mouth corners; x right and y down "
        "on the picture",
        "point_order": "outer contour clockwise from the picture's left corner; inner upper edge left to right; inner "
        "lower edge right to left",
        "points": list(POINTS),
        "points_ibug68": list(IBUG_68),
    }
    arrays = {"rest": _rounded(rest), "voiced": voiced.astype(int).tolist()}
    lines = [
        f'  "{name}": {json.dumps(readable(value), ensure_ascii=False)}' for name, value in (head | arrays).items()
    ]
    rows = ",\n".join("    " + json.dumps(row, separators=(",", ":")) for row in _rounded(lips.points))
    return "{\n" + ",\n".join(lines) + ',\n  "lips": [\n' + rows + "\n  ]\n}\n"


def lips_csv(lips: LipTrack, voiced: np.ndarray) -> str:
    """The text of a CSV file: frame, time_s, voiced, opening, width, x0, y0, ... y17, one row a frame."""
    names = [
        "frame",
        "time_s",
        "voiced",
        "opening",
        "width",
        *(f"{axis}{i}" for i in range(len(POINTS)) for axis in "xy"),
    ]
    gap, width = opening(lips.points), np.linalg.norm(lips.points[:, 6] - lips.points[:, 0], axis=-1)
    lines = [",".join(names)]
    for i, second in enumerate(lips.frames.seconds):
        numbers = [gap[i], width[i], *lips.points[i].ravel()]
        lines.append(f"{i},{second:.6f},{int(voiced[i])}," + ",".join(f"{x + 0.0:.{DECIMALS}f}" for x in numbers))
    return "\n".join(lines) + "\n"


def _rounded(points: np.ndarray) -> list:
    return (np.round(points.astype(np.float64), DECIMALS) + 0.0).tolist()  # + 0.0: no -0.0
