"""The benchmarks of speech to lips: their measures on constructed lips, and their rows on a few real clips where those
exist."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from audio.load import Waveform
from benchmarks import lips_grid, lips_study
from lipsync.config.schema import LipsConfig
from lipsync.core.canonical import canonical_68
from lipsync.core.lips import LIPS_FROM_68, LOWER_INNER, UPPER_INNER, opening
from lipsync.core.types import LipTrack
from training.background_sounds import vowels
from training.closures import Closures
from video.clock import FrameClock

REST = canonical_68()[LIPS_FROM_68, :2].astype(np.float32)


def lips(gap: np.ndarray) -> LipTrack:
    points = np.broadcast_to(REST, (len(gap), 18, 2)).copy()
    points[:, LOWER_INNER, 1] = points[:, UPPER_INNER, 1] + gap[:, None].astype(np.float32)
    return LipTrack(points, np.ones(len(gap), bool), FrameClock.constant(len(gap), Fraction(25)))


def clip(gap: np.ndarray, bilabials=()) -> lips_grid.Clip:
    return lips_grid.Clip(None, lips(gap), np.ones(len(gap), bool), tuple(bilabials))


def test_a_constant_offset_and_half_the_movement_are_told_apart():
    gap = 0.05 + 0.05 * np.sin(np.arange(75) / 3)
    real = lips(gap)
    shifted = lips_grid.compared(lips_grid.moved(real, np.float32([0.03, 0.04])), real)
    assert (
        shifted["lmd"] == pytest.approx(0.05, rel=1e-4)
        and shifted["lmd_centred"] < 1e-6
        and shifted["opening_r"] > 0.9999
    )
    half = lips_grid.compared(lips(gap / 2), real)
    assert half["articulation"] == pytest.approx(0.5, rel=1e-3) and half["opening_r"] > 0.9999
    assert lips_grid.compared(lips_grid.still(REST, clip(gap)), real)["opening_r"] == 0


def test_rows_come_with_closures_only_where_words_are_known():
    gap = np.full(75, 0.1)
    gap[20] = 0
    known, unknown = clip(gap, [(0.8, 0.8, "b")]), clip(gap)
    out = lips_grid.measured(
        [known.lips, lips(np.full(75, 0.1) + 0.01 * np.arange(75))], [known, clip(gap, [(0.8, 0.8, "b")])]
    )
    assert out["lmd"]["n"] == 2 and (out["closures"]["real"], out["closures"]["both"], out["closures"]["share"]) == (
        2,
        1,
        0.5,
    )
    assert out["closures"]["low"] == 0 and out["closures"]["high"] == 1
    assert "closures" not in lips_grid.measured([unknown.lips], [unknown])


def test_the_interval_of_closures_is_over_clips():
    sure = lips_grid.closure_summary([Closures(2, 2, 2, 0, 10, 1)] * 5)
    assert (
        sure["share"] == sure["low"] == sure["high"] == 1
        and sure["real"] == 10
        and sure["false_share"] == pytest.approx(0.1)
    )


def test_the_control_is_another_clip():
    clips = [clip(np.full(75, g)) for g in (0.1, 0.2, 0.3)]
    assert [opening(t.points).mean() for t in lips_grid.next_clips(clips)] == pytest.approx([0.2, 0.3, 0.1])


@cache
def loud_when_open(path: Path, tracks: Path) -> lips_grid.Clip:
    """A clip whose vowels are as loud as its mouth is open, different for each name."""
    rng = np.random.default_rng(int(path.stem))
    syllables = np.interp(np.arange(48000), np.sort(rng.uniform(8000, 40000, 8)), np.tile([0, 1.0], 4), 0, 0)
    wave = Waveform.of(syllables * vowels(48000, rng) * 0.1)
    gap = 0.15 * syllables[::640]
    return lips_grid.Clip(wave, lips(gap), gap > 0.01, ((0.5, 0.5, "b"),))


@pytest.fixture
def made_up(monkeypatch):
    """Clips "0", "1", ... in place of GRID's."""
    clips = {"train": [Path(str(i)) for i in range(60)], "val": [Path(str(i)) for i in range(500, 506)]}
    for module in (lips_grid, lips_study):
        monkeypatch.setattr(module, "grid_clips", clips.get)
    monkeypatch.setattr(lips_grid, "clip_of", loud_when_open)
    return clips


def test_clips_of_the_study_are_evenly_spaced():
    clips = [Path(str(i)) for i in range(402)]
    assert [path.name for path in lips_study.spaced(clips, 0.25)] == ["0", "80", "160", "241", "321"]
    assert len(set(lips_study.spaced(clips, 20))) == 400
    with pytest.raises(SystemExit, match="600 clips"):
        lips_study.spaced(clips, 30)


def test_a_speaker_is_given_their_own_rest(made_up):
    """What zero_shot and 0 minutes do: movements from the model's rest, on top of the speaker's."""
    clip = loud_when_open(Path("7"), None)

    class Model:
        rest = REST

        def predict(self, wave):
            return LipTrack(np.broadcast_to(REST + np.float32(0.5), (301, 18, 2)).copy(), np.ones(301, bool))

    found = lips_grid.predicted_lips(Model(), clip, REST + np.float32([0.1, 0.2]))
    assert found.points == pytest.approx(np.broadcast_to(REST + np.float32([0.6, 0.7]), (75, 18, 2)), abs=1e-5)


@pytest.mark.slow
def test_the_study_writes_its_table_and_picture(made_up, monkeypatch, tmp_path, capsys):
    short = LipsConfig(steps=20, members=1, network="bidirectional")
    prior = lips_study.train_lip_model([lips_grid.joined(made_up["train"][:5], Path())], short)
    prior.save(tmp_path / "prior.safetensors")
    folders = ["--out", str(tmp_path), "--work", str(tmp_path), "--prior", str(tmp_path / "prior.safetensors")]
    options = ["--quick", "--minutes", "0", "0.25", *folders]
    monkeypatch.setattr(sys, "argv", ["lips_study", str(tmp_path), *options])
    lips_study.main()
    found = json.loads((tmp_path / "lips_study.json").read_text())
    curves = found["curves"]
    assert (
        set(curves[lips_study.ADAPTED]) == {"0", "0.25"}
        and set(curves[lips_study.PAPER]) == {"0.25"}
        and found["test_clips"] == 4
    )
    assert (
        curves[lips_study.ADAPTED]["0"]["opening_r"]["mean"] > 0.5
        and found["floor"]["mean shape"]["opening_r"]["mean"] == 0
    )
    table = (tmp_path / "lips_study.md").read_text().splitlines()
    assert len(table) == 2 + 4 + 3 and all(line.count("|") == 8 for line in table)
    assert "prior, adapted" in capsys.readouterr().out and (tmp_path / "lips_study.png").stat().st_size > 10_000


def test_rows_of_the_benchmark_say_what_they_start_from(made_up, monkeypatch, tmp_path, capsys):
    options = [
        "--rows",
        "two_minutes",
        "--networks",
        "paper",
        "--set",
        "lips.steps=20",
        "--work",
        str(tmp_path),
        "--save",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["lips_grid", str(tmp_path), *options])
    lips_grid.main()
    row = json.loads(capsys.readouterr().out)["two_minutes"]["paper"]
    assert row["starts_from"] == "nothing" and row["train_clips"] == 40
    assert row["val_58"]["predicted"]["lmd"]["n"] == 6 and row["val_58"]["predicted"]["opening_r"]["mean"] > 0.3
    assert (
        row["val_58"]["predicted"]["closures"]["bilabials"] == 6
        and len(list(tmp_path.glob("paper_40_*.safetensors"))) == 1
    )
