"""A synthetic speaker whose mouth opens with the loudness of a vowel: the network must find that, say so, and survive
being saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from audio.features import speech_features
from audio.load import Waveform
from lipsync.config.schema import LipsConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LOWER_INNER, UPPER_INNER, opening
from lipsync.core.types import LipTrack
from lipsync.learning import lips
from lipsync.learning.lip_examples import N_FOLDS, NO_VARIATION, LipExample, Variation, excerpts, lip_rows, varied
from lipsync.learning.lips import train_lip_model
from lipsync.speech.encoders.registry import PAPER
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet, predict_standardised
from tests.support.speech import talk

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = LipsConfig(members=1, steps=60, encoder="logmel")


def correlation(model: LipModel, example: LipExample) -> float:
    return float(
        np.corrcoef(
            opening(model.predict(example.wave).points[::4][: len(example.lips)]), opening(example.lips.points)
        )[0, 1]
    )


@pytest.fixture(scope="module")
def model() -> LipModel:
    return train_lip_model([talk(16, 0), talk(14, 1)], QUICK)


def test_new_speech_moves_the_lips_as_it_should(model):
    new = talk(6, 5)
    track = model.predict(new.wave)
    assert len(track) == len(speech_features(new.wave)) and track.clock is None and track.valid.all()
    assert correlation(model, new) > 0.9
    assert (track.points[:, LOWER_INNER, 1] >= track.points[:, UPPER_INNER, 1] - 1e-6).all()
    moved = opening(track.points).std() / opening(new.lips.points).std()
    assert 0.8 < moved < 1.25


def test_the_report_is_of_parts_the_networks_never_saw(model):
    report = model.report
    assert report["opening_r"] > 0.85 and report["lmd"] < 0.6 * report["mean_shape_lmd"]
    assert report["speech_minutes"] < 0.5 and "Only" in report["warning"]
    assert report["steps"] == 60 and report["network"] == "bidirectional"


def test_sound_of_somebody_else_is_noticed():
    a, b = talk(15, 0), talk(15, 1)
    report = train_lip_model([LipExample(b.wave, a.lips, a.shot)], QUICK).report
    assert report["opening_r"] < 0.25 and "another person" in report["warning"]


def test_the_papers_network_undoes_its_delay():
    example = talk(30, 2)
    model = train_lip_model([example], LipsConfig(network="paper", steps=60))
    assert len(model.nets) == 1 and model.nets[0].lstm.hidden_size == 60 and not model.nets[0].lstm.bidirectional
    new = talk(6, 6)
    ours, real = opening(model.predict(new.wave).points[::4][:150]), opening(new.lips.points)
    by_lag = [np.corrcoef(ours[5 + lag : 140 + lag], real[5:140])[0, 1] for lag in range(-5, 6)]
    assert int(np.argmax(by_lag)) - 5 in (-1, 0, 1) and max(by_lag) > 0.75


def test_same_seed_same_model():
    example = talk(12, 3)
    once, again = (
        train_lip_model([example], LipsConfig(members=1, steps=8, encoder="logmel")).predict(example.wave).points
        for _ in range(2)
    )
    other = (
        train_lip_model([example], LipsConfig(members=1, steps=8, encoder="logmel"), seed=1)
        .predict(example.wave)
        .points
    )
    assert np.array_equal(once, again) and not np.array_equal(once, other)


@pytest.mark.parametrize("encoder", ["logmel", "joint"])
def test_networks_trained_side_by_side_are_those_trained_one_by_one(monkeypatch, encoder):
    config = LipsConfig(members=3, steps=6, encoder=encoder)
    models = []
    for threads in (0, 3):
        monkeypatch.setattr(lips, "learning_threads", lambda *_, n=threads: n)
        models.append(train_lip_model([talk(8, 0)], config))
    one_by_one, side_by_side = models
    for a, b in zip(one_by_one.nets, side_by_side.nets, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert one_by_one.report["curve"] == side_by_side.report["curve"]


def test_saved_and_loaded_it_says_the_same(model, tmp_path):
    model.save(tmp_path / "lips.safetensors", {"made_by": "a test"})
    again = LipModel.load(tmp_path / "lips.safetensors")
    wave = talk(3, 9).wave
    assert np.array_equal(again.predict(wave).points, model.predict(wave).points)
    assert again.report == model.report and again.encoder is model.encoder


def test_files_that_are_no_lip_models(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "junk").write_bytes(b"junk" * 100)
    save_file({"a": torch.zeros(1)}, str(tmp_path / "other"))
    for name in ("gone", "junk", "other"):
        with pytest.raises(LipsyncError, match=name):
            LipModel.load(tmp_path / name)


def test_no_usable_speech_is_an_error_and_names_the_cure():
    example = talk(10, 0)
    silent = Waveform.of(np.zeros(160000, np.float32))
    with pytest.raises(LipsyncError, match="footage"):
        train_lip_model([LipExample(silent, example.lips, example.shot)], QUICK)
    hidden = LipTrack(example.lips.points, np.zeros(250, bool), example.lips.clock)
    with pytest.raises(LipsyncError, match="never visible"):
        train_lip_model([LipExample(example.wave, hidden, example.shot)], QUICK)
    with pytest.raises(ValueError, match="paper"):
        LipsConfig(network="papers")


def test_a_chunked_answer_has_no_seams():
    torch.manual_seed(0)
    for name, size in (("bidirectional", 40), ("paper", 28)):
        net = LipNet(size, 4, SHAPES[name]).eval()
        rows = torch.randn(901, size)
        assert (
            np.abs(
                predict_standardised(net, rows, chunk=250, context=200) - predict_standardised(net, rows, chunk=2000)
            ).max()
            < 1e-3
        )


def test_progress_is_told():
    seen = []
    train_lip_model(
        [talk(12, 3)], LipsConfig(members=2, steps=5, encoder="logmel"), hook=lambda *step: seen.append(step)
    )
    assert seen == [("lips", i, 10) for i in range(1, 11)]


def test_held_out_rows_are_guarded_and_shots_are_pieces():
    example = talk(30, 4)
    shot = np.repeat([0, 1], [300, 450])
    rows = lip_rows([LipExample(example.wave, example.lips, shot)], PAPER)
    assert set(rows.fold) == set(range(N_FOLDS)) and not rows.valid[-1]
    assert rows.fold[1199] != rows.fold[1200] and not rows.valid[1197:1200].any()
    learn, held = rows.learnable(2), rows.fold == 2
    near = np.abs(np.flatnonzero(learn)[:, None] - np.flatnonzero(held)[None]).min()
    assert near == 31


def test_excerpts_keep_sound_and_lips_together():
    ramp = torch.arange(1000.0)[:, None]
    rng = torch.Generator().manual_seed(0)
    speed = Variation(0.1, 0, 0, 0, 0)
    heard, wanted, _weight = excerpts(ramp.expand(-1, 40), ramp, torch.ones(1000), 16, 100, speed, rng)
    assert heard.shape == (16, 100, 40) and torch.allclose(heard[..., :1], wanted, atol=1e-2)
    pace = (wanted[:, -1] - wanted[:, 0])[:, 0] / 99
    assert pace.min() < 0.95 and pace.max() > 1.05 and pace.min() >= 0.9 and pace.max() <= 1.1
    rows = torch.randn(4, 50, 40, generator=rng)
    assert torch.equal(varied(rows, NO_VARIATION, rng), rows) and varied(rows, Variation(), rng).shape == rows.shape


def test_an_adaptation_to_little_speech_ends_after_fewer_worse_evaluations(model, monkeypatch):
    patience, real = [], lips.train

    def train(*args, **options):
        patience.append(options["patience"])
        return real(*args, **options)

    monkeypatch.setattr(lips, "train", train)
    for config, prior in ((QUICK, None), (QUICK, model)):
        train_lip_model([talk(8, 0)], replace(config, members=1, steps=2), prior=prior)
    assert patience == [lips.PATIENCE, lips.SHORT_PATIENCE] and lips.SHORT_PATIENCE < lips.PATIENCE
