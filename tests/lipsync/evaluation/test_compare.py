"""The comparison of texture methods: nothing held out is learnt from, nothing can be copied, and every file says the
same."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from lipsync.config.schema import DubConfig, LipsConfig, TeethConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.types import Footage, TargetAnalysis
from lipsync.evaluation.held_out import AWAY_S, choose_swap, true_plan
from lipsync.evaluation.judge import MEASURES, PER_ROW, Rows, summary
from lipsync.evaluation.split import GUARD_S, Block, Split, hidden_frames, learning_part, spread_blocks
from lipsync.evaluation.table import grouped
from lipsync.evaluation.table import summary as summary_lines
from lipsync.store.cache import Cache
from tests.support.drawn import drawn_subject

GAPS = 0.06 + 0.06 * np.sin(np.arange(400) / 3.0)

CHEAT = """
import torch
from lipsync.core.texture import MouthTexture
class Method:
    name = "cheat"
    needs = {"crop"}
    radius = 0
    def __init__(self, config): pass
    def prepare(self, subject, device):
        self.jaw = torch.from_numpy(subject.bank.jaw.mean(0)).float()
        return self
    def render(self, query):
        return MouthTexture(query.crop, torch.ones_like(query.crop[:, :1]), self.jaw.expand(len(query.crop), -1, -1))
"""
BROKEN = CHEAT.replace(
    "return MouthTexture(query.crop,",
    "raise ValueError('no <b>mouth</b> today')\n        return MouthTexture(query.crop,",
)
WRONG_SHAPE = CHEAT.replace("MouthTexture(query.crop,", "MouthTexture(query.crop[:, :, 1:],")
ODD_NAME = "<script>alert(1)<.py"


@pytest.fixture(scope="module")
def subject():
    made = drawn_subject(GAPS)
    return replace(made, films=(footage_of(made),))


def footage_of(subject: TargetAnalysis) -> Footage:
    """Footage whose frames nobody reads."""
    stream: Any = None
    return Footage(subject.video, stream, subject.track, 1, "film")


def test_blocks_do_not_overlap_and_keep_the_guard(subject):
    split = spread_blocks(subject.films[0])
    held = np.concatenate([b.frames for b in split.blocks])
    assert len(split.blocks) == 5 and len(held) == len(set(held.tolist())) == 80
    hidden, seconds = hidden_frames(split, subject.films[0]), subject.video.clock.seconds
    assert hidden[held].all()
    apart = np.abs(seconds[~hidden][:, None] - seconds[held][None]).min()
    assert apart > GUARD_S and apart <= GUARD_S + 2 / 25, "the guard is kept, and is not wider than it must be"
    assert held.min() > 30 and held.max() < 370, "spread, not at the ends"


def test_nothing_held_out_is_learnt_from(subject, tmp_path):
    split = spread_blocks(subject.films[0])
    hidden = hidden_frames(split, subject.films[0])
    learning = learning_part(subject, split, DubConfig(), Cache(tmp_path))
    assert sorted(learning.bank.source.tolist()) == np.flatnonzero(~hidden).tolist()
    for at in (0, len(learning.bank) // 2, len(learning.bank) - 1):
        assert np.array_equal(learning.bank.crops[at], subject.bank.crops[learning.bank.source[at]])
    film = learning.films[0].track
    assert not film.valid[hidden].any() and not film.lips.valid[hidden].any() and not learning.track.valid[hidden].any()
    assert np.ptp(film.lips.points[hidden], axis=0).max() == 0, "the held-out lips cannot be read from the track"
    assert np.ptp(film.landmarks[hidden][:, :17], axis=0).max() == 0
    assert learning.key != subject.key and learning.films[0].key != subject.films[0].key, "caches must tell them apart"
    again = learning_part(subject, split, DubConfig(teeth=TeethConfig(references=3)), Cache(tmp_path))
    assert again.key == learning.key


def test_too_short_a_target_says_so(subject):
    short = drawn_subject(GAPS[:60])
    with pytest.raises(LipsyncError, match="too few to hold some out"):
        spread_blocks(footage_of(short))


def test_a_kept_split_is_read_back_and_checked(subject, tmp_path):
    split = spread_blocks(subject.films[0])
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json", subject.films) == split
    other = replace(subject.films[0], video=replace(subject.video, sha256="1" * 64))
    with pytest.raises(LipsyncError, match="splits other films"):
        Split.load(tmp_path / "split.json", [other])
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(LipsyncError, match="is not a split"):
        Split.load(tmp_path / "split.json", subject.films)


def test_a_swapped_mouth_plays_on_says_something_else_and_is_far_away(subject, tmp_path):
    split = spread_blocks(subject.films[0])
    learning = learning_part(subject, split, DubConfig(), Cache(tmp_path))
    block, seconds = split.blocks[2], subject.video.clock.seconds
    plan, bank = true_plan(subject.films[0], block), learning.bank
    far = np.abs(seconds[bank.source][:, None] - seconds[block.frames][None]).min(1) > AWAY_S
    rows = choose_swap(subject.track, plan, bank, far, 0)
    assert far[rows].all() and (np.diff(bank.source[rows]) == 1).all(), "one stretch, played forwards"
    unlike = np.abs(bank.lips[rows] - subject.track.lips.points[block.frames]).mean()
    usual = np.abs(bank.lips[:, None] - subject.track.lips.points[block.frames][None]).mean()
    assert unlike > usual
    assert np.array_equal(choose_swap(subject.track, plan, bank, far, 0), rows)


def test_a_long_block_is_swapped_piece_by_piece(subject):
    bank = replace(subject.bank, source=subject.bank.source * 2)  # no two mouths are neighbours
    rows = choose_swap(subject.track, true_plan(subject.films[0], Block(0, 0, 70)), bank, None, 0)
    assert len(rows) == 70 and len(set(rows.tolist())) > 1


def test_means_are_over_blocks_and_ratios_to_the_real_frames():
    def rows(n, value, gap):
        return Rows({name: [value] * n for name in PER_ROW} | {"opening": list(gap)}, [], None)

    wave = np.sin(np.arange(6.0))
    ours, real = [rows(6, 2.0, 2 * wave), rows(2, 6.0, wave[:2])], [rows(6, 1.0, wave), rows(2, 2.0, wave[:2])]
    ours[1].values["ssim_mouth"][0] = None
    found = summary(ours, real)
    assert found["measures"]["ssim_mouth"]["mean"] == pytest.approx(4.0), "the mean of the blocks, not of the rows"
    assert found["blocks"]["sharpness"] == pytest.approx([2.0, 3.0])
    assert found["blocks"]["opening_r"][0] == pytest.approx(1.0) and found["blocks"]["articulation"][
        0
    ] == pytest.approx(2.0)
    assert found["blocks"]["opening_r"][1] is None, "two rows have no correlation"


@pytest.fixture(scope="module")
def report(small_target, short_speech, shared_cache, tmp_path_factory):
    from lipsync.pipelines.compare import compare

    folder = tmp_path_factory.mktemp("compare")
    files = {"cheat.py": CHEAT, "wrong.py": WRONG_SHAPE, ODD_NAME: BROKEN}
    for name, text in files.items():
        (folder / name).write_text(text)
    out = folder / "report"
    config, files = DubConfig(lips=LipsConfig(members=1, steps=20)), [folder / name for name in files]
    return compare(
        small_target, ["nearest"], out, config, method_files=files, speech=short_speech, cache=shared_cache
    ), out


def test_who_copies_the_frame_is_no_better_than_the_disguise(report):
    results, _ = report
    cheat = next(one for one in results["methods"] if one["name"] == "cheat.py")["lips"]["true"]["measures"]
    mouth_swapped = results["references"]["unmodified target (disguised)"]["measures"]
    honest = next(one for one in results["methods"] if one["name"] == "nearest")["lips"]["true"]["measures"]
    assert cheat["ssim_mouth"]["mean"] == pytest.approx(mouth_swapped["ssim_mouth"]["mean"], abs=0.03)
    assert cheat["lmd"]["mean"] == pytest.approx(mouth_swapped["lmd"]["mean"], abs=0.01)
    assert (
        honest["ssim_mouth"]["mean"] > cheat["ssim_mouth"]["mean"] + 0.02
        and honest["lmd"]["mean"] < 0.7 * cheat["lmd"]["mean"]
    )
    assert honest["opening_r"]["mean"] > 0.8 > cheat["opening_r"]["mean"]


def test_the_references_stand_where_they_must(report):
    results, _ = report
    real, floor = (results["references"][name]["measures"] for name in ("real video", "re-encoding floor"))
    assert real["ssim_mouth"]["mean"] == 1 and real["sharpness"]["mean"] == 1 and real["lmd"]["mean"] == 0
    assert 0.93 < floor["ssim_mouth"]["mean"] < 1 and floor["lmd"]["mean"] < 0.01
    assert set(real) == {m.key for m in MEASURES}


def test_predicted_lips_and_new_speech_are_in_the_report(report):
    results, out = report
    nearest = next(one for one in results["methods"] if one["name"] == "nearest")["lips"]
    assert results["lips"]["predicted"]["lips_from"] == "prior", (
        "what is left of ten seconds is too little to learn from"
    )
    assert nearest["true"]["measures"]["lmd"]["mean"] < nearest["predicted"]["measures"]["lmd"]["mean"] < 0.1
    assert "New speech" in (out / "index.html").read_text()


def test_a_method_that_fails_is_a_row_that_says_why(report):
    results, _ = report
    failed = {one["name"]: one["failed"] for one in results["methods"] if "failed" in one}
    assert failed[ODD_NAME] == "ValueError: no <b>mouth</b> today"
    assert failed["wrong.py"].startswith("render() must return rgb of shape") and len(failed) == 2


class _Cells(HTMLParser):
    """Rows of the page's tables; names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.rows, self._inside, self._small = [], [], False, False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._small = tag == "small"
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        self._inside = tag == "td"

    def handle_endtag(self, tag):
        self._small = False if tag == "small" else self._small
        self._inside = False if tag == "td" else self._inside

    def handle_data(self, data):
        if self._inside and not self._small:
            self.rows[-1][-1] += data


def test_all_files_hold_the_same_numbers(report):
    results, out = report
    kept = json.loads((out / "results.json").read_text())
    assert kept == json.loads(json.dumps(results))
    with (out / "results.csv").open(newline="") as file:
        lines = {row["name"]: row for row in csv.DictReader(file) if row["lips"] == "true"}
    cells = _Cells()
    cells.feed((out / "index.html").read_text())
    groups = len(grouped(kept["measures"]))
    shown, tex = {}, {}  # the first tables are those of the true lips
    for row in cells.rows:
        if len(row) > 1 and len(shown.setdefault(row[0], [])) < len(MEASURES):
            shown[row[0]] += row[1:]
    for line in "".join((out / "table.tex").read_text().split("\\bottomrule")[:groups]).splitlines():
        name, _, rest = line.partition(" & ")
        cells_of = tex.setdefault(re.sub(r"\\lipsyncstack\{l\}\{|\}$", "", name).replace(r"\\", " "), [])
        cells_of += [cell for cell in rest.split(" & ") if "tiny" in cell or "same" in cell]  # without the seconds
    order = [m["key"] for _, some in grouped(kept["measures"]) for m in some]
    nearest = next(one for one in kept["methods"] if one["name"] == "nearest")["lips"]["true"]
    rows = {"nearest": nearest["measures"]} | {name: found["measures"] for name, found in kept["references"].items()}
    for name, measures in rows.items():
        for m in MEASURES:
            value, number = measures[m.key], order.index(m.key)
            assert float(lines[name][m.key]) == value["mean"] and float(lines[name][f"{m.key}_low"]) == value["low"]
            same = m.key.startswith("psnr") and value["mean"] == 100
            printed = "same" if same else f"{value['mean']:.{m.digits}f}"
            assert shown[name][number] == printed
            assert printed in tex[name][number]
    assert json.loads((out / "split.json").read_text()) == kept["split"]
    assert len(nearest["rows"]) == 5 and len(nearest["rows"][0]["ssim_mouth"]) == kept["rows_of_block"][0]


def test_the_page_stands_alone_and_escapes_names(report):
    _, out = report
    text = (out / "index.html").read_text()
    cells = _Cells()
    cells.feed(text)
    assert "script" not in cells.tags and "b" not in cells.tags and "&lt;script&gt;alert(1)" in text
    assert "AI-edited" in text and "http://" not in text and "https://" not in text
    assert cells.tags.count("video") == 6 and "data:video/mp4;base64," in text and cells.tags.count("svg") >= 4
    assert r"\textless{}script\textgreater{}" in (out / "table.tex").read_text()


def test_the_report_says_how_it_was_made(report):
    from lipsync.config.load import from_plain, load

    results, out = report
    words = shlex.split(results["command"])
    assert words[:2] == ["lipsync", "compare"] and words[-2:] == ["-o", "report"]
    assert words.count("--method-file") == 3 and words[words.index("--methods") + 1] == "nearest"
    settings = [after for word, after in itertools.pairwise(words) if word == "--set"]
    assert load(None, settings).lips == from_plain(results["config"]).lips, "the options are in the command"
    assert results["machine"]["cores"] and results["began"].endswith("+00:00")
    assert results["command"].split()[2] in (out / "index.html").read_text()


def test_a_held_out_file_that_is_also_learnt_from_is_refused(small_target, tmp_path):
    from lipsync.pipelines.compare import compare

    with pytest.raises(UsageError, match="also learnt from"):
        compare(small_target, ["median"], tmp_path / "report", held_out=[small_target])
    with pytest.raises(UsageError, match="median"):
        compare(small_target, ["meidan"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.fixture(scope="module")
def blends(small_target, shared_cache, tmp_path_factory):
    """Two ways to blend on one short block."""
    from lipsync.pipelines.compare import compare
    from lipsync.store.cache import content_hash

    folder = tmp_path_factory.mktemp("blends")
    Split(((small_target.name, content_hash(small_target)),), (Block(0, 120, 128),), True).save(folder / "split.json")
    return compare(
        small_target,
        ["nearest"],
        folder / "report",
        DubConfig(),
        blends=["poisson", "laplacian"],
        split=folder / "split.json",
        cache=shared_cache,
    ), folder / "report"


def test_blends_are_compared_on_one_texture_with_true_lips(blends):
    results, out = blends
    assert results["compared"] == "blends" and results["texture"] == "nearest"
    assert [one["name"] for one in results["methods"]] == ["laplacian", "poisson"], "each once, none failed"
    found = {one["name"]: one["lips"] for one in results["methods"]}
    assert all(set(lips) == {"true"} for lips in found.values())
    a, b = (found[name]["true"]["measures"] for name in ("laplacian", "poisson"))
    assert a["seam_gradient"] != b["seam_gradient"] and a["ssim_mouth"]["mean"] == pytest.approx(
        b["ssim_mouth"]["mean"], abs=0.05
    )
    assert all(found[name]["true"]["seconds_per_frame"]["blend"] > 0 for name in found)
    floor, real = (results["references"][name]["measures"] for name in ("re-encoding floor", "real video"))
    assert real["outside"]["mean"] == real["colour_step"]["mean"] == 0
    assert 0 < floor["outside"]["mean"] < a["outside"]["mean"] < 5 and floor["colour_step"]["mean"] < 3
    assert "Ways to blend compared" in (out / "index.html").read_text()


def test_the_terminal_shows_what_blends_are_judged_by(blends):
    lines = summary_lines(blends[0])
    assert "colour" in lines[0] and "s/frame" in lines[0] and "LMD" not in lines[0]
    row = next(line for line in lines if line.startswith("poisson"))
    spent = blends[0]["methods"][1]["lips"]["true"]["seconds_per_frame"]["blend"]
    assert row.split()[-1] == f"{spent:.4f}"


def test_blends_that_cannot_be_compared(small_target, tmp_path):
    from lipsync.pipelines.compare import compare

    with pytest.raises(UsageError, match="no way to blend 'poison'; known: .*poisson"):
        compare(small_target, [], tmp_path / "report", blends=["poison"])
    with pytest.raises(UsageError, match="on one texture"):
        compare(small_target, ["median", "nearest"], tmp_path / "report", blends=["all"])


def test_the_command_hands_everything_over(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from lipsync.cli.app import app

    given = {}
    measures = [{"key": "ssim_mouth", "label": "SSIM mouth", "digits": 3, "better": "high"}]
    of = lambda mean: {"measures": {"ssim_mouth": {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}}}
    methods = [
        {"name": "a", "lips": {"true": of(0.9) | {"seconds_per_frame": {"render": 0.1, "whole": 0.2}}}},
        {"name": "b", "failed": "it broke"},
        {"name": "c", "lips": {"true": of(0.8) | {"seconds_per_frame": {"render": 0.1, "whole": 0.2}}}},
    ]

    def compare(target, methods_, out, config, **more):
        given.update(more, target=target, methods=methods_, out=out, config=config)
        return {"measures": measures, "references": {"real video": of(1.0)}, "methods": methods}

    monkeypatch.setattr("lipsync.pipelines.compare.compare", compare)
    (tmp_path / "t.mp4").write_bytes(b"x")
    args = [
        "compare",
        tmp_path / "t.mp4",
        "--methods",
        "median, nearest",
        "--method-file",
        "mine.py",
        "--held-out",
        "h.mp4",
        "--true-lips-only",
        "--blends",
        "poisson, feather",
        "-o",
        tmp_path / "r",
    ]
    done = CliRunner().invoke(app, [str(a) for a in args])
    assert done.exit_code == 0, done.output
    assert given["methods"] == ["median", "nearest"] and given["true_lips_only"] and given["out"] == tmp_path / "r"
    assert given["blends"] == ["poisson", "feather"]
    assert [p.name for p in given["method_files"]] == ["mine.py"] and [p.name for p in given["held_out"]] == ["h.mp4"]
    assert "0.900*" in done.stdout and "failed: it broke" in done.stdout and "index.html" in done.stdout
