"""The prior's material and training on made-up speech, and the model that ships."""

from __future__ import annotations

import json
import tomllib
from hashlib import sha256

import numpy as np
import pytest
import torch

from audio.load import Waveform, load_speech
from lipsync.config.schema import LipsConfig
from lipsync.core.errors import UsageError
from lipsync.core.lips import CLOSED_GAP, opening
from lipsync.core.timebase import to_feature_clock
from lipsync.learning.lip_examples import NO_VARIATION, Variation, settled
from lipsync.speech.encoders.registry import LOGMEL
from lipsync.speech.prior import bundled_lip_model, prior_for
from lipsync.store.registry import LIP_PRIORS, WEIGHTS
from tests.support import ROOT, SAMPLES
from tests.support.speech import talk
from training.acoustic_augmentation import augment, resized_speaker
from training.corpus import KINDS, REAL, TAUGHT, UNKNOWN, Corpus, Sounding, gather, load_corpus, save_corpus
from training.prior import Material, PriorRecipe, batch_of, train_prior


def clicks(seconds: float = 2.0) -> Waveform:
    sound = np.zeros(round(seconds * 16000), np.float32)
    sound[4000::3000] = 0.5
    return Waveform.of(sound)


@pytest.mark.parametrize("seed", range(8))
def test_elsewhere_the_same_is_heard_at_the_same_time(seed):
    wave = clicks()
    heard = augment(wave, np.random.default_rng(seed))
    assert heard.samples.shape == wave.samples.shape and torch.isfinite(heard.samples).all()
    lags = np.correlate(np.abs(heard.samples.numpy()), wave.samples.numpy(), "same")
    assert abs(int(lags.argmax()) - len(lags) // 2) < 80  # 5 ms


def test_a_smaller_speaker_is_quicker_and_higher():
    t = np.arange(16000) / 16000
    small = resized_speaker(Waveform.of(np.sin(2 * np.pi * 400 * t)), 1.25).samples.numpy()
    assert len(small) == pytest.approx(12800, abs=2)
    assert np.abs(np.fft.rfft(small)).argmax() * 16000 / len(small) == pytest.approx(500, abs=3)


def made_up(number: int) -> Sounding:
    """Lips whose every coordinate is their row's number, over sounds that hear the same number; a kind each."""
    n = 180
    ramp = (1000.0 * (number % 3) + np.arange(n, dtype=np.float32)) / 500
    offsets = np.broadcast_to(ramp[:, None, None], (n, 18, 2)).copy()
    sounds = [(kind, np.repeat(ramp[:, None], 40, 1)) for kind in KINDS]
    return Sounding(offsets, np.ones(n, bool), np.full(n, number), sounds)


def a_corpus() -> Corpus:
    corpus = Corpus()
    gather(corpus, made_up, range(16), "clips")
    return corpus


def test_a_batch_keeps_sound_and_lips_together():
    corpus = a_corpus()
    material = Material.of(corpus)
    pieces = {kind: [p for p in corpus.pieces if p.kind == kind and p.part != 3] for kind in KINDS}
    shares, vary = (0.2, 0.2, 0.3, 0.3), Variation(0.2, 0, 0, 0, 0)
    recipe = PriorRecipe(encoder="logmel", batch=40, length=200, shares=shares, vary=vary)
    heard, wanted, weight, phones = batch_of(material, pieces, recipe, torch.Generator().manual_seed(0))
    lips = material.basis.decode(
        (wanted.reshape(-1, wanted.shape[-1]).numpy() * material.basis.spread[: wanted.shape[-1]]).astype(np.float32)
    )
    used = weight.reshape(-1).numpy() > 0
    assert 0.5 < used.mean() < 1  # the pieces end before the stretches do
    assert np.abs(lips[used, 0, 0] - heard.reshape(-1, 40).numpy()[used, 0]).max() < 0.02
    assert (phones % 3 == (heard[..., 0] // 2).round()).reshape(-1)[used].all()


@pytest.mark.slow
def test_a_corpus_survives_the_disk_and_workers_change_nothing(tmp_path):
    corpus = a_corpus()
    save_corpus(corpus, tmp_path / "c.safetensors")
    again = load_corpus(tmp_path / "c.safetensors")
    assert again.pieces == corpus.pieces and all(
        np.array_equal(a, b) for a, b in zip(again.stacked(), corpus.stacked(), strict=True)
    )
    apart = Corpus()
    gather(apart, made_up, range(16), "clips", workers=2)
    assert apart.pieces == corpus.pieces and all(
        np.array_equal(a, b) for a, b in zip(apart.stacked(), corpus.stacked(), strict=True)
    )


def test_a_prior_learns_what_all_voices_share(one_thread):
    corpus, rest = Corpus(), talk(1, 0).lips.points[0]
    recipe = PriorRecipe(
        encoder="logmel", members=1, steps=60, batch=8, length=100, vary=NO_VARIATION, shares=(0.5, 0.0, 0.0, 0.5)
    )
    for number in range(16):
        example = talk(4, number)
        features = LOGMEL.encode(example.wave).values.numpy()
        track = to_feature_clock(example.lips, len(features))
        kind, phones = (REAL, np.zeros(len(features))) if number % 4 else (TAUGHT, np.full(len(features), UNKNOWN))
        corpus.add(number, Sounding(track.points - rest, track.valid, phones, [(kind, features)]))
    model = train_prior(corpus, rest, recipe)
    new = talk(5, 99)
    assert np.corrcoef(opening(model.predict(new.wave).points[::4][:125]), opening(new.lips.points))[0, 1] > 0.9
    assert model.report["opening_r"] > 0.9 and model.report["held_out_s"] == pytest.approx(2 * 4, abs=0.3)


def test_each_shots_rest_is_brought_to_the_common_one():
    rng = np.random.default_rng(0)
    rest = talk(1, 0).lips.points[0]
    shot, voiced = np.repeat([0, 1, 2], 200), np.tile(np.arange(200) > 80, 3)
    shape = np.zeros((600, 18, 2), np.float32)
    shape[:, [17, 16, 15], 1] = (voiced * rng.uniform(0, 0.1, 600))[:, None]
    there = np.array([[0, 0], [0.01, 0.02], [-0.01, 0]], np.float32)[shot][:, None]
    out = settled(rest + shape + there, np.ones(600, bool), voiced, shot)
    assert np.ptp((out - rest - shape), axis=0).max() < 1e-5
    never = settled(rest + shape + there, np.ones(600, bool), np.ones(600, bool), shot)
    assert np.array_equal(never, rest + shape + there)


def test_recipes_load_and_mistakes_are_named(tmp_path):
    shipped = sorted((ROOT / "training" / "recipes").glob("prior*.toml"))
    assert len(shipped) >= 2 and all(PriorRecipe.load(path.stem).steps > 0 for path in shipped)
    (tmp_path / "odd.toml").write_text("steps = 5\nstep = 6\n")
    with pytest.raises(UsageError, match="step"):
        PriorRecipe.load(str(tmp_path / "odd.toml"))
    with pytest.raises(UsageError, match="prior"):
        PriorRecipe.load("none-such")


def test_the_bundled_files_are_the_listed_ones():
    listed = tomllib.loads((WEIGHTS / "weights.toml").read_text())
    files = {entry["file"]: entry for entry in listed.values()}
    assert set(files) == {path.name for path in WEIGHTS.glob("*.safetensors")}
    for name, entry in files.items():
        assert sha256((WEIGHTS / name).read_bytes()).hexdigest() == entry["sha256"]
        assert (WEIGHTS / name).stat().st_size < 6e6 and {"licence", "trained_on", "scores"} <= set(entry)


def test_the_bundled_prior_speaks():
    """It has never heard the shipped speech: it must close for /p b m/, open for open vowels, and rest in silence."""
    model, rows = bundled_lip_model(), json.loads((SAMPLES / "speech.json").read_text())["phones"]
    gap = opening(model.predict(load_speech(SAMPLES / "speech.wav")).points) - opening(model.rest)
    ends = np.array([end for _, end in rows])
    spans = [(name, start, end) for (name, end), start in zip(rows, np.r_[0, ends[:-1]], strict=True)]
    smallest = [gap[int(s * 100) - 2 : int(e * 100) + 3].min() for name, s, e in spans if name in "pbm"]
    widest = [gap[int(s * 100) : int(e * 100) + 1].max() for name, s, e in spans if name in ("aa", "ae", "ay", "aw")]
    silent = [gap[int(s * 100) + 25 : int(e * 100) - 45] for name, s, e in spans if name == "pau" and e - s > 0.8]
    assert (
        np.mean(np.array(smallest) < CLOSED_GAP) > 0.6
        and np.median(smallest) < 0.25 * np.median(widest)
        and np.median(widest) > 0.06
    )
    assert all(np.median(part) < 0.03 for part in silent)


def test_learning_starts_from_the_prior_of_the_same_network(tmp_path):
    assert prior_for(LipsConfig()).network == "bidirectional"
    assert prior_for(LipsConfig(prior="none")) is None and prior_for(LipsConfig(network="paper")) is None
    with pytest.raises(UsageError, match="bidirectional"):
        prior_for(LipsConfig(network="paper", prior=str(LIP_PRIORS["logmel"])))
