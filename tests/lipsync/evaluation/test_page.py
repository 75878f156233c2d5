"""The page of a comparison and its plots, from results that are made up."""

import numpy as np
import pytest

from lipsync.evaluation import plots
from lipsync.evaluation.judge import MEASURES
from lipsync.evaluation.page import page
from lipsync.evaluation.table import FLOOR, MOUTH_SWAPPED, REAL

ROWS_OF_BLOCK = (40, 25, 25)
NAMES = ("median", "nearest", "_mine.py", "<img src=x>.py", "cost $a$b.py")


def rows(seed):
    rng = np.random.default_rng(seed)
    wave = [0.06 + 0.05 * np.sin(np.arange(n) / 3 + seed / 9) for n in ROWS_OF_BLOCK]
    return [
        {"opening": w.tolist(), "ssim_mouth": [None, *(0.9 + 0.01 * rng.standard_normal(len(w) - 1)).tolist()]}
        for w in wave
    ]


def measured(seed):
    rng = np.random.default_rng(seed)
    values = {m.key: float(rng.uniform(0.5, 1)) for m in MEASURES}
    return {
        "measures": {key: {"mean": v, "low": v - 0.02, "high": v + 0.02} for key, v in values.items()},
        "rows": rows(seed),
    }


def made_up_results():
    methods = [
        {
            "name": name,
            "lips": {"true": measured(i) | {"seconds_per_frame": {"render": 0.01 * 3**i, "whole": 0.02 * 3**i}}},
            "memory_mib": 12.5,
            "parameters": 1000,
        }
        for i, name in enumerate(NAMES)
    ]
    return {
        "target": {"name": "a & <b>.mp4", "sha256": "0" * 64},
        "footage": [{"name": "more.mp4", "sha256": "1" * 64}],
        "mouths_learnt_from": 200,
        "mouth_px": [96, 72],
        "n_rows": sum(ROWS_OF_BLOCK),
        "n_blocks": len(ROWS_OF_BLOCK),
        "rows_of_block": list(ROWS_OF_BLOCK),
        "measures": [{"key": m.key, "label": m.label, "better": m.better, "digits": m.digits} for m in MEASURES],
        "references": {REAL: measured(90), FLOOR: measured(91), MOUTH_SWAPPED: measured(92)},
        "methods": [*methods, {"name": "broken.py", "failed": "ValueError: no <b>mouth</b> today"}],
        "split": {"in_target": True, "guard_s": 0.5, "blocks": [[0, 10, 49]]},
        "perceptual": "a network",
        "bundled_networks": {"prior": "synthetic speech"},
        "lips": {"true": "as tracked in the real frames"},
        "notes": ["A note <i>."],
        "made_by": {"lipsync": "0.2.0"},
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def text():
    strip = np.full((40, 120, 3), 128, np.uint8)
    return page(made_up_results(), {"true": [("median", b"mp4")]}, {"true": [("real", strip), ("median", strip)]})


def test_the_same_results_are_the_same_bytes(text):
    strip = np.full((40, 120, 3), 128, np.uint8)
    again = page(made_up_results(), {"true": [("median", b"mp4")]}, {"true": [("real", strip), ("median", strip)]})
    assert again == text


def test_names_are_text_and_nothing_is_loaded(text):
    assert "<img src=x>" not in text and "&lt;img src=x&gt;.py" in text
    assert "<b>" not in text and "a &amp; &lt;b&gt;.mp4" in text and "&lt;i&gt;" in text
    assert "http:" not in text and "https:" not in text and "<script" not in text and "<metadata" not in text
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:" in text


def test_every_method_is_in_the_key_of_every_plot(text):
    for name in ("median", "nearest", "_mine.py", "cost $a$b.py", "&lt;img src=x&gt;.py"):
        drawn = [part for part in text.split("<svg")[1:] if f"{name}</text>" in part.split("</svg>")[0]]
        assert len(drawn) == 6, name
    assert text.count("<svg") == 6


def test_curves_are_open_where_nothing_is_known_and_between_blocks():
    line = [1.0, 2.0, None, 2.0, 1.0, 3.0, 1.0]
    whole = plots.curves({"a": [1.0, 2.0, 2.0, 2.0, 1.0, 3.0, 1.0]}, "y")
    parts = plots.curves({"a": line}, "y", breaks=[5])

    def strokes(svg):
        path = next(part for part in svg.split("<path ") if "#2563af" in part)
        return path.count("M ")

    assert strokes(whole) == 1 and strokes(parts) == 3


def test_no_points_no_plot():
    assert plots.scatter({}, "x", "y") == "" and plots.scatter({"a": (0.0, 1.0)}, "x", "y") == ""
    assert plots.curves({"a": [None, None]}, "y") == ""
