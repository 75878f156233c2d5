"""The page of a comparison and its plots, from results that are made up."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lipsync.config.load import to_plain
from lipsync.config.schema import DubConfig
from lipsync.evaluation import plots
from lipsync.evaluation.citation import citation
from lipsync.evaluation.judge import MEASURES
from lipsync.evaluation.page import page
from lipsync.evaluation.table import FLOOR, MOUTH_SWAPPED, REAL, SIGNS, best_names, latex, summary
from tests.support import ROOT

MACHINE = {
    "cpu": "A <processor>",
    "cores": 2,
    "gpus": [],
    "memory_gib": 15.6,
    "system": "Linux",
    "python": "3.11.7",
    "torch": "2.13",
}
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
        "command": "lipsync compare 'a & <b>.mp4' -o report",
        "began": "2026-05-01T10:00:00+00:00",
        "commit": "abc123+changes",
        "machine": MACHINE,
        "config": to_plain(DubConfig(batch=3)),
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


def one(name, low, mean, high):
    return {
        "name": name,
        "is_method": True,
        "measures": {"x": {"low": low, "mean": mean, "high": high}},
        "costs": {},
    }


@pytest.mark.parametrize(
    ("better", "rows", "best"),
    [
        ("high", [("a", 0.8, 0.9, 1.0), ("b", 0.5, 0.6, 0.7)], {"a"}),
        ("high", [("a", 0.69, 0.9, 1.0), ("b", 0.5, 0.6, 0.7)], set()),  # they overlap
        ("low", [("a", 0.8, 0.9, 1.0), ("b", 0.5, 0.6, 0.7)], {"b"}),
        ("one", [("a", 0.94, 0.95, 0.96), ("b", 0.5, 0.6, 0.7), ("c", 1.1, 1.2, 1.3)], {"a"}),
        ("one", [("a", 0.6, 0.65, 0.7), ("b", 0.94, 0.95, 0.96)], {"b"}),  # less flicker than the real is no merit
        ("one", [("a", 0.94, 0.95, 0.96), ("c", 1.05, 1.2, 1.3)], set()),  # as near on the other side
        ("", [("a", 0.8, 0.9, 1.0), ("b", 0.5, 0.6, 0.7)], set()),
        ("high", [("a", 0.8, 0.9, 1.0)], set()),  # best of one
    ],
)
def test_bold_is_what_no_other_interval_overlaps(better, rows, best):
    assert best_names([one(*row) for row in rows], {"key": "x", "better": better}) == best


def test_flicker_and_sharpness_are_judged_by_nearness_to_the_real():
    assert {m.key: m.better for m in MEASURES if m.of == "ratio"} == dict.fromkeys(
        ("sharpness", "flicker", "seam_colour", "seam_gradient"), "one"
    )


def test_the_page_says_where_it_comes_from(text):
    for words in (
        "lipsync compare &#39;a &amp; &lt;b&gt;.mp4&#39; -o report",
        "2026-05-01 10:00:00 UTC",
        "commit abc123, with changes",
        "A &lt;processor&gt;, 2 cores, no GPU, 16 GiB of memory; Linux, Python 3.11.7",
        "<code>batch=3</code>",
        "10.1145/3072959.3073640",
        SIGNS,
    ):
        assert words in text, words
    for file in ("results.json", "results.csv", "table.tex", "split.json"):
        assert f'<a href="{file}">' in text


class _Tables(HTMLParser):
    """How many columns each table of figures has, and whether it scrolls."""

    def __init__(self):
        super().__init__()
        self.columns, self.is_inside_scroll, self.outside = [], False, 0

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "div":
            self.is_inside_scroll = attrs.get("class") == "scroll" and attrs.get("tabindex") == "0"
        if tag == "table":
            self.columns.append(0)
            self.outside += not self.is_inside_scroll
        if tag == "th" and attrs.get("scope") == "col":
            self.columns[-1] += 1


def test_tables_are_narrow_and_scroll_in_a_place_that_keys_reach(text):
    tables = _Tables()
    tables.feed(text)
    assert max(tables.columns) <= 7 and sum(tables.columns) >= len(MEASURES) + 6 and not tables.outside
    assert "background-attachment:local,local,scroll,scroll" in text, "the shadow that shows there is more"


def identical():
    results = made_up_results()
    for m in results["measures"]:
        if m["key"].startswith("psnr"):
            results["references"][REAL]["measures"][m["key"]] = {"mean": 100.0, "low": 100.0, "high": 100.0}
    return results


def test_identical_pictures_are_the_same_and_not_100_db():
    results = identical()
    assert "100.00" not in page(results, {}, {}) and page(results, {}, {}).count("<td>same</td>") == 3
    assert "100.00" not in latex(results) and latex(results).count("& same") == 3


def test_the_terminals_table_fits_100_columns_and_explains_its_signs():
    results = made_up_results()
    results["methods"][0]["name"] = "a method of a very long name, longer than any column.py"
    for compared in ("textures", "blends"):
        lines = summary(results | {"compared": compared})
        figures = [line for line in lines if not line.startswith("broken.py")]
        assert max(map(len, figures)) <= 100
        assert SIGNS in lines[-3] and "overlaps" in lines[-2] and "real" in " ".join(lines[-3:])


def test_latex_has_rules_arrows_intervals_and_a_caption():
    text = latex(made_up_results())
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{tabular}{l") == 4
    assert r"$\uparrow$" in text and r"$\downarrow$" in text and r"$\to$1" in text and " to 0." in text
    assert r". Textures on a \& \textless{}b\textgreater{}.mp4, true lips: 90 held-out frames in 3" in text
    assert r"\hline" not in text and "abc123" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_compiles_and_fits_the_page(tmp_path):
    if not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).stdout:
        pytest.skip("booktabs is not installed")
    (tmp_path / "table.tex").write_text(latex(identical()), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table.tex}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0 and (tmp_path / "paper.pdf").is_file(), done.stdout[-2000:]
    assert "Overfull" not in done.stdout and "too large" not in done.stdout


def test_the_citation_is_that_of_the_repository():
    file = Path(ROOT / "CITATION.cff").read_text(encoding="utf-8")
    said = citation("0.2.0")
    plain = said.replace("{", "").replace("}", "")
    for line in file.splitlines():
        key, _, value = line.strip(" -").partition(": ")
        if key in ("title", "journal", "volume", "issue", "year", "doi", "license", "version"):
            assert value.strip('"') in plain, key
