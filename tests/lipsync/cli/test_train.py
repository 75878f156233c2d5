"""`lipsync train lips`: what reaches the training, what is written, resuming, and the picture of the curve."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from audio.load import Waveform
from lipsync.cli.app import app
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LipBasis
from lipsync.core.types import LipTrack
from lipsync.learning.curves import HEIGHT, WIDTH, curve_picture, summary
from lipsync.pipelines import train_lips as training_module
from lipsync.pipelines.estimate import Material
from lipsync.speech.encoders.registry import LOGMEL
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet
from media.container import InputLimits
from tests.support.drawn import REST
from video.clock import FrameClock

REPORT = {
    "network": "causal", "members": 2, "steps": 40, "training_s": 1.0, "speech_minutes": 0.5, "held_out_s": 6.0,
    "lmd": 0.02, "floor_lmd": 0.002,
    "mean_shape_lmd": 0.04, "opening_r": 0.9, "articulation": 0.97, "warning": "", "from_prior": False,
    "curve": [[m, s, 1.0 / s, 2.0 / s + 0.01 * m] for m in (0, 1) for s in (10, 20, 30, 40)],
}  # fmt: skip


def small_model(report):
    shape = SHAPES["causal"]
    basis = LipBasis(REST.copy(), np.eye(36, dtype=np.float32)[:3].reshape(3, 18, 2), np.ones(3, np.float32))
    size = LOGMEL.size
    return LipModel(
        "causal", [LipNet(size, 3, shape).eval()], torch.zeros(size), torch.ones(size), basis, REST, 1.0, report
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command, on footage that is not looked at: face and sound are stand-ins."""
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"x")
    lips = LipTrack(np.repeat(REST[None], 10, 0), np.ones(10, bool), FrameClock.constant(10, 25))

    def films(paths, config, cache, hook):
        track = types.SimpleNamespace(lips=lips, shot=np.zeros(10, int))
        stream = types.SimpleNamespace(limits=InputLimits())
        return [
            types.SimpleNamespace(
                video=types.SimpleNamespace(path=p), track=track, key=p.name, stream=stream, speaks=None
            )
            for p in paths
            if p.name != "two.mp4"
        ], ("no face in two",)

    monkeypatch.setattr(training_module, "usable_footage", films)
    monkeypatch.setattr(Material, "of", lambda path, config, cache: Material(10, 0.1, 0.4))
    monkeypatch.setattr("lipsync.learning.lip_examples.load_track", lambda path, limits: Waveform.of(np.zeros(6400)))
    return lambda *args: CliRunner().invoke(app, ["train", "lips", *[str(a) for a in args]])


@pytest.fixture
def calls(monkeypatch):
    got = []

    def train_lip_model(examples, config, hook, device, *, prior, keep):
        got.append(
            types.SimpleNamespace(
                examples=examples, config=config, prior=prior, keep=keep, found=[p.name for p in keep.glob("state")]
            )
        )
        (keep / "state").write_text("half-way")
        hook("lips", 1, 1)
        return small_model(REPORT)

    monkeypatch.setattr("lipsync.learning.lips.train_lip_model", train_lip_model)
    return got


def test_the_model_and_its_picture_are_written(run, calls, tmp_path):
    import cv2

    result = run(
        "one.mp4", "two.mp4", "-o", "m.safetensors", "--network", "causal", "--set", "lips.steps=40", "--device", "cpu"
    )
    assert result.exit_code == 0, result.output
    assert (calls[0].config.network, calls[0].config.steps, len(calls[0].examples)) == ("causal", 40, 1)
    assert LipModel.load("m.safetensors").report["lmd"] == 0.02
    assert cv2.imread("m.curve.png").shape == (HEIGHT, WIDTH, 3)
    said = result.stdout
    assert (
        "0.0200" in said
        and "0.0020" in said
        and "0.0400" in said
        and "0.90" in said
        and "0.97" in said
        and "Note: no face in two" in said
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "m.curve.png", "m.safetensors", "one.mp4", "two.mp4"]
    assert not calls[0].keep.exists()


def test_json(run, calls):
    made = json.loads(run("one.mp4", "-o", "m.safetensors", "--json").stdout)
    assert made["report"]["lmd"] == 0.02 and made["picture"] == "m.curve.png" and made["footage"] == ["one.mp4"]


@pytest.mark.parametrize(("again", "found"), [([], ["state"]), (["--fresh"], []), (["--set", "lips.steps=7"], [])])
def test_an_interrupted_training_goes_on(run, calls, monkeypatch, tmp_path, again, found):
    import lipsync.learning.lips

    whole = lipsync.learning.lips.train_lip_model

    def interrupted(*args, **options):
        whole(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lipsync.learning.lips.train_lip_model", interrupted)
        result = run("one.mp4", "-o", "m.safetensors")
    assert (
        result.exit_code == 130
        and result.stderr.splitlines()[-1] == "lipsync: interrupted; the same command goes on from here."
    )
    assert not list(tmp_path.glob("*m.*")) and "one.mp4" in CliRunner().invoke(app, ["cache", "list"]).stdout
    assert run("one.mp4", "-o", "other.safetensors", *again).exit_code == 0
    assert [call.found for call in calls] == [[], found]


def test_a_training_that_cannot_be_leaves_nothing(run, monkeypatch, tmp_path):
    def hopeless(*args, **options):
        raise LipsyncError("Too little speech. Use more.")

    monkeypatch.setattr("lipsync.learning.lips.train_lip_model", hopeless)
    result = run("one.mp4", "-o", "m.safetensors")
    assert result.exit_code == 3 and result.stderr.endswith("quicker).\nlipsync: Too little speech. Use more.\n")
    assert not list(tmp_path.glob("*m.*")) and not list(tmp_path.glob("cache/unfinished/*"))


@pytest.mark.parametrize(("option", "expected"), [([], True), (["--no-prior"], False), (["--network", "paper"], False)])
def test_the_prior(run, calls, option, expected):
    assert run("one.mp4", "-o", "m.safetensors", *option).exit_code == 0
    assert (calls[0].prior is not None) == expected


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["none.mp4", "-o", "m.safetensors"], 3, "none.mp4"),
        (["one.mp4", "-o", "m.pt"], 2, "m.safetensors"),
        (["one.mp4", "-o", "there.safetensors"], 3, "--force"),
        (["one.mp4", "-o", "nowhere/m.safetensors"], 3, "nowhere"),
        (["one.mp4", "-o", "m.safetensors", "--network", "huge"], 2, "huge"),
        (["two.mp4", "-o", "m.safetensors"], 3, "no face in two"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, calls, tmp_path, args, status, words):
    (tmp_path / "there.safetensors").write_text("x")
    before = sorted(tmp_path.iterdir())
    result = run(*args)
    assert result.exit_code == status and words in result.stderr and result.stdout == "" and calls == []
    said = [line for line in result.stderr.splitlines() if not line.startswith("This will take about ")]
    assert said[0].startswith("lipsync: ") and len(said) == 1
    assert sorted(p for p in tmp_path.iterdir() if p.name != "cache") == before


def test_dub_takes_the_model(run, monkeypatch, tmp_path):
    got = []
    module = types.ModuleType("lipsync.pipelines.dub")
    receipt = types.SimpleNamespace(summary=lambda verbose: [], to_plain=dict)
    module.dub = lambda target, speech, out, config, **options: got.append(config) or receipt
    monkeypatch.setitem(__import__("sys").modules, "lipsync.pipelines.dub", module)
    (tmp_path / "m.safetensors").write_text("x")
    assert (
        CliRunner().invoke(app, ["dub", "one.mp4", "two.mp4", "-o", "out.mp4", "--lips", "m.safetensors"]).exit_code
        == 0
    )
    assert got[0].lips.model == "m.safetensors"
    result = CliRunner().invoke(app, ["dub", "one.mp4", "two.mp4", "-o", "out.mp4", "--lips", "none.safetensors"])
    assert result.exit_code == 3 and "none.safetensors" in result.stderr


def test_the_picture_shows_the_curve():
    picture = curve_picture(REPORT)
    blue = lambda p: int(((p[..., 2].astype(int) - p[..., 0]) > 90).sum())
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    without = curve_picture(REPORT | {"curve": [[1, *row[1:]] for row in REPORT["curve"]]})
    assert blue(picture) > blue(without)  # the first member's lines are blue
    assert curve_picture({}) is None and curve_picture({"curve": [[0, 1, None, None]]}) is not None


def test_a_summary_of_little():
    assert len(summary({})) == 1 and summary(REPORT | {"warning": "too short"})[-1] == "Note: too short"
    assert Path(training_module.curve_path("a/m.safetensors")) == Path("a/m.curve.png")


def test_how_long_it_will_take_is_said_first(run, calls):
    said = run("one.mp4", "-o", "m.safetensors", "--no-prior").stderr
    assert said.startswith("This will take about ") and "(an estimate" in said.splitlines()[0]
