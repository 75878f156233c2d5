"""Lips alone: numbers, mouth cues, the drawn animation, and the command that writes them."""

import csv
import io
import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lipsync.cli.app import app
from lipsync.core.errors import UsageError
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, LipBasis, opening
from lipsync.core.types import LipTrack
from lipsync.speech.animation import DARK, HEIGHT, STAGE_PX, WIDTH, LipAnimation, LipArcs, draw_mouth
from lipsync.speech.cues import Cue, mouth_cues, rhubarb_json, rhubarb_tsv
from lipsync.speech.encoders.registry import LOGMEL
from lipsync.speech.export import lips_csv, lips_json
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet
from lipsync.store.preflight import lips_format
from tests.support.drawn import REST as AVERAGE
from video.clock import FrameClock

#: The average face's lips, closed.
REST = AVERAGE.copy()
REST[LOWER_INNER] = REST[UPPER_INNER]
W = float(np.linalg.norm(REST[6] - REST[0]))


def mouth(gap=0.0, drop=0.0, width=1.0):
    """(18,2) lips opened by `gap`, the outer lower lip lowered by `drop` (resting widths), `width` times as wide."""
    lips = REST.copy()
    lips[:, 0] *= width
    lips[LOWER_INNER, 1] += drop * W
    lips[7:12, 1] += drop * W
    lips[UPPER_INNER, 1] -= (gap - drop) * W
    return lips


CLOSED, WIDE, PUCKERED, TUCKED, SPREAD = (
    mouth(),
    mouth(0.25, 0.25),
    mouth(0.07, 0.1, 0.9),
    mouth(0.06, 0.0),
    mouth(0.13, 0.08, 1.02),
)


def said(*parts):
    """Lips at 100 per second and voice: (shape, rows, voiced) one after the other, eased over three rows."""
    points = np.concatenate([np.repeat(shape[None], n, 0) for shape, n, _ in parts]).astype(np.float32)
    eased = np.stack([points[max(0, i - 1) : i + 2].mean(0) for i in range(len(points))]).astype(np.float32)
    return LipTrack(eased, np.ones(len(points), bool)), np.concatenate([np.full(n, voiced) for _, n, voiced in parts])


def at(cues, row):
    return next(cue.shape for cue in cues if cue.start <= row < cue.end)


def test_cues_follow_the_lips():
    lips, voiced = said(
        (CLOSED, 40, False),
        (WIDE, 30, True),
        (CLOSED, 12, True),
        (PUCKERED, 30, True),
        (SPREAD, 30, True),
        (TUCKED, 20, True),
        (CLOSED, 60, False),
    )
    cues = mouth_cues(lips, voiced, REST, Fraction(222, 100))
    assert [at(cues, row) for row in (20, 55, 76, 97, 127, 152, 200)] == list("XDAFBGX")
    assert cues[0].start == 0 and cues[-1].end == 222
    assert all(one.end == other.start and one.shape != other.shape for one, other in itertools.pairwise(cues))


@pytest.mark.parametrize("rows", [4, 6])
def test_lips_that_meet_for_a_moment_are_a_closed_sound(rows):
    lips, voiced = said((WIDE, 40, True), (CLOSED, rows, True), (SPREAD, 40, True))
    cues = mouth_cues(lips, voiced, REST, (80 + rows) / 100)
    assert "".join(cue.shape for cue in cues) == "DAB" and at(cues, 41) == "A"


def test_cues_do_not_flicker():
    rng = np.random.default_rng(0)
    shapes = [CLOSED, WIDE, PUCKERED, TUCKED, SPREAD]
    points = np.stack([shapes[i] for i in rng.integers(0, 5, 400)]).astype(np.float32)
    cues = mouth_cues(LipTrack(points, np.ones(400, bool)), np.ones(400, bool), REST, 4)
    assert len(cues) > 3 and all(cue.end - cue.start >= 6 for cue in cues)
    one_row = np.repeat(SPREAD[None], 100, 0).astype(np.float32)
    one_row[50] = WIDE
    assert len(mouth_cues(LipTrack(one_row, np.ones(100, bool)), np.ones(100, bool), REST, 1)) == 1


def test_the_cheapest_cues_equal_all_tried(monkeypatch):
    from itertools import product

    from lipsync.speech import cues

    monkeypatch.setattr(cues, "SHORTEST", 2)
    monkeypatch.setattr(cues, "CHANGE", 0.7)
    rng = np.random.default_rng(1)
    for _ in range(5):
        costs = rng.random((7, 3))

        def price(path):
            runs = np.diff(np.flatnonzero(np.diff(path, prepend=-1, append=-1)))
            return np.inf if runs.min() < 2 else costs[np.arange(7), path].sum() + 0.7 * (len(runs) - 1)

        least = min(price(np.array(path)) for path in product(range(3), repeat=7))
        assert price(cues._cheapest(costs)) == pytest.approx(least)


def test_cues_of_next_to_nothing():
    empty = LipTrack(np.zeros((0, 18, 2), np.float32), np.zeros(0, bool))
    assert mouth_cues(empty, np.zeros(0, bool), REST, 0.5) == [Cue(0, 50, "X")]
    short, voiced = said((CLOSED, 2, False))
    assert mouth_cues(short, voiced, REST, 0.03) == [Cue(0, 3, "X")]


def test_rhubarb_files():
    cues = [Cue(0, 25, "X"), Cue(25, 131, "D"), Cue(131, 200, "X")]
    speech = Path('a "b".wav')
    text = rhubarb_json(cues, speech)
    read = json.loads(text)
    assert list(read) == ["metadata", "mouthCues"] and read["metadata"] == {
        "soundFile": str(speech.resolve()),
        "duration": 2.0,
    }
    assert read["mouthCues"][1] == {"start": 0.25, "end": 1.31, "value": "D"}
    assert '{ "start": 0.25, "end": 1.31, "value": "D" },' in text
    assert rhubarb_tsv(cues) == "0.00\tX\n0.25\tD\n1.31\tX\n2.00\tX\n"


def track(n=7, rate=Fraction(30000, 1001)):
    points = (REST + 0.1 * np.random.default_rng(2).standard_normal((n, 18, 2))).astype(np.float32)
    return LipTrack(points, np.ones(n, bool), FrameClock.constant(n, rate)), np.arange(n) % 3 == 0


def test_json_holds_every_number():
    lips, voiced = track()
    read = json.loads(lips_json(lips, voiced, REST, {"model": {"network": "é"}}))
    assert (
        read["format"] == "lipsync-lip-track-1"
        and read["fps_exact"] == "30000/1001"
        and read["model"]["network"] == "é"
    )
    assert np.array_equal(np.array(read["lips"]), np.round(lips.points.astype(float), 5)) and read["frames"] == 7
    assert np.array_equal(np.array(read["rest"]), np.round(REST.astype(float), 5)) and len(read["points"]) == 18
    assert np.array_equal(np.array(read["voiced"], bool), voiced)
    again = LipTrack(np.array(read["lips"], np.float32), lips.valid, lips.clock)
    assert json.loads(lips_json(again, voiced, np.array(read["rest"], np.float32), {}))["lips"] == read["lips"]


def test_csv_holds_every_number():
    lips, voiced = track()
    rows = list(csv.DictReader(io.StringIO(lips_csv(lips, voiced))))
    points = np.array([[[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(18)] for row in rows])
    assert np.array_equal(points, np.round(lips.points.astype(float), 5))
    assert np.allclose([float(row["time_s"]) for row in rows], lips.clock.seconds, atol=1e-6)
    assert np.array_equal(np.array([row["voiced"] for row in rows]) == "1", voiced)
    assert np.allclose([float(row["opening"]) for row in rows], opening(lips.points), atol=1e-5)


def n_dark(picture):
    return int((np.abs(picture.astype(int) - DARK).sum(-1) < 12).sum())


def test_the_drawn_mouth_is_dark_only_where_it_is_open():
    arcs = LipArcs(REST)
    draw = lambda lips: draw_mouth(lips, arcs, 320, 240, 400.0, (0.0, 0.05))
    half, wide = n_dark(draw(mouth(0.12, 0.12))), n_dark(draw(WIDE))
    assert n_dark(draw(CLOSED)) == 0 and 0 < half < wide
    polygon_px = 0.25 * W * 400 * np.ptp(WIDE[UPPER_INNER, 0]) * 400
    assert 0.8 * polygon_px < wide < 2.2 * polygon_px


def test_drawn_edges_pass_through_the_points():
    arcs, lips = LipArcs(REST), track(1)[0].points[0]
    top, bottom, roof, floor = arcs.of(WIDE)
    for arc, rows in ((top, range(7)), (bottom, (0, 11, 10, 9, 8, 7, 6)), (roof, (12, 13, 14)), (floor, (17, 16, 15))):
        away = np.linalg.norm(arc[None] - WIDE[list(rows)][:, None], axis=-1).min(1)
        assert away.max() < 0.012 * W, away
    _, _, roof, floor = arcs.of(lips)
    assert (floor[:, 1] >= roof[:, 1]).all()


def test_the_cursor_moves_and_pages_turn():
    lips, voiced = said((CLOSED, 600, False), (WIDE, 600, True))
    film_lips = LipTrack(lips.points[::4], lips.valid[::4], FrameClock.constant(300, Fraction(25)))
    sound = np.random.default_rng(3).uniform(-1, 1, 16000 * 12).astype(np.float32)
    film = LipAnimation(film_lips, sound, 16000, mouth_cues(lips, voiced, REST, 12), REST, "caption")
    frames = [film.frame(row, row / 25) for row in (5, 50, 155)]
    assert all(frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8 for frame in frames)
    cursor = [
        int((frame[STAGE_PX + 60 : STAGE_PX + 180].astype(int).sum(-1) > 700).sum(0).argmax()) for frame in frames
    ]
    assert 20 < cursor[0] < cursor[1] and cursor[2] < cursor[1]  # 6.2 s is on the second page of 6 s


@pytest.mark.parametrize(
    ("name", "asked", "kind"),
    [
        ("a.json", None, "json"),
        ("a.CSV", None, "csv"),
        ("a.mp4", None, "mp4"),
        ("a.tsv", None, "rhubarb-tsv"),
        ("a.json", "rhubarb-json", "rhubarb-json"),
    ],
)
def test_the_format_by_name(name, asked, kind):
    assert lips_format(name, asked, None) == kind


@pytest.mark.parametrize(
    ("name", "asked", "rate"),
    [
        ("a.wav", None, None),
        ("a", None, None),
        ("a.json", "csv", None),
        ("a.json", "xml", None),
        ("a.tsv", None, Fraction(25)),
        ("a.csv", None, Fraction(0)),
    ],
)
def test_formats_that_do_not_fit(name, asked, rate):
    with pytest.raises(UsageError):
        lips_format(name, asked, rate)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A file with an untrained network: lips that move, whatever they say."""
    torch.manual_seed(0)
    shape = SHAPES["causal"]
    n_mels = LOGMEL.size
    net = LipNet(n_mels, 4, shape).eval()
    axes = np.ascontiguousarray(
        np.linalg.qr(np.random.default_rng(4).standard_normal((36, 4)))[0].T.reshape(4, 18, 2), np.float32
    )
    basis = LipBasis(REST.copy(), axes, np.array([0.3, 0.2, 0.1, 0.05], np.float32))
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    LipModel(
        "causal",
        [net],
        torch.zeros(n_mels),
        torch.ones(n_mels),
        basis,
        REST,
        1.0,
        {"curve": [[0, 1, 1.0, 1.0]]},
    ).save(path)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, short_speech):
    monkeypatch.setenv("LIPSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(app, ["lips", str(short_speech), *[str(a) for a in args]])


def test_the_command_writes_every_format(run, model, tmp_path, short_speech):
    for name in ("a.json", "a.csv", "a.tsv"):
        result = run("--lips", model, "-o", name, "--json")
        assert result.exit_code == 0, result.output
        assert (
            json.loads(result.stdout)["model"]["source"] == "m.safetensors"
            and "curve" not in json.loads(result.stdout)["model"]
        )
    assert run("--lips", model, "-o", "r.json", "--format", "rhubarb-json").stdout.startswith("r.json: ")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["fps"] == 100 and read["frames"] == 241 and len(read["lips"]) == 241
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 242
    assert (tmp_path / "a.tsv").read_text().splitlines()[-1] == "2.41\tX"
    assert json.loads((tmp_path / "r.json").read_text())["metadata"] == {
        "soundFile": str(short_speech.resolve()),
        "duration": 2.41,
    }
    assert run("--lips", model, "-o", "b.csv", "--fps", "30000/1001", "-q").output == ""
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 73
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == [
        "a.csv",
        "a.json",
        "a.tsv",
        "b.csv",
        "r.json",
    ]


def test_without_a_model_the_bundled_one_speaks(run, model, tmp_path, monkeypatch):
    monkeypatch.setattr("lipsync.pipelines.lips.bundled_lip_model", lambda *asked: LipModel.load(model))
    assert run("-o", "a.csv").exit_code == 0 and run("-o", "b.csv", "--lips", model).exit_code == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_the_command_draws(run, model, tmp_path):
    import av

    result = run("--lips", model, "-o", "a.mp4", "--fps", "5", "--set", "write.preset=ultrafast")
    assert result.exit_code == 0, result.output
    with av.open("a.mp4") as film:
        assert film.streams.video[0].frames == 12 and film.streams.audio and "AI-generated" in film.metadata["title"]
        assert film.metadata["digital_source_type"] == "compositeWithTrainedAlgorithmicMedia"
        assert abs(film.streams.audio[0].duration * film.streams.audio[0].time_base - Fraction("2.41")) < Fraction(
            1, 10
        )


def test_the_mouth_rests_in_silence(run, model, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    result = CliRunner().invoke(app, ["lips", "silence.wav", "--lips", str(model), "-o", "s.json"])
    assert result.exit_code == 0, result.output
    read = json.loads((tmp_path / "s.json").read_text())
    assert np.array_equal(np.array(read["lips"]), np.repeat(np.array(read["rest"])[None], 100, 0)) and not any(
        read["voiced"]
    )
    assert CliRunner().invoke(app, ["lips", "silence.wav", "--lips", str(model), "-o", "s.tsv"]).exit_code == 0
    assert (tmp_path / "s.tsv").read_text() == "0.00\tX\n1.00\tX\n"


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["-o", "a.json", "--lips", "none.safetensors"], 3, "none.safetensors"),
        (["-o", "a.json", "--lips", "text.txt"], 3, "text.txt"),
        (["-o", "a.wav"], 2, "ending"),
        (["-o", "there.json"], 3, "--force"),
        (["-o", "nowhere/a.json"], 3, "nowhere"),
        (["-o", "a.csv", "--fps", "fast"], 2, "--fps"),
        (["-o", "a.csv", "--format", "wav"], 2, "wav"),
        (["-o", "a.csv", "--target", "none.mp4"], 3, "none.mp4"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, tmp_path, args, status, words):
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "text.txt").write_text("no model")
    result = run(*args)
    assert result.exit_code == status and words in result.stderr and result.stdout == ""
    assert result.stderr.startswith("lipsync: ") and len(result.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt", "there.json"]


def test_nothing_is_left_after_a_failure_in_drawing(run, model, tmp_path, monkeypatch):
    def frame(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(LipAnimation, "frame", frame)
    assert run("--lips", model, "-o", "a.mp4").exit_code == 130 and list(tmp_path.iterdir()) == []
