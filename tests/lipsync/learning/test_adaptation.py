"""Which lips a person gets: adapted where sound and lips belong together, the prior in their style where they do
not."""

from __future__ import annotations

import numpy as np
import pytest

from audio.load import Waveform
from lipsync.config.schema import LipsConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import opening
from lipsync.core.types import LipTrack
from lipsync.learning.adaptation import adapt_lip_model, expectation, matching, shifted, style_of
from lipsync.learning.lip_examples import LipExample, lip_rows
from lipsync.learning.lips import train_lip_model
from lipsync.speech.lip_model import LipModel
from tests.support.speech import talk

QUICK = LipsConfig(members=1, steps=40, encoder="logmel")


@pytest.fixture(scope="module")
def prior(one_thread) -> LipModel:
    return train_lip_model([talk(20, 0), talk(20, 1)], LipsConfig(members=1, steps=80, encoder="logmel"))


def another(example: LipExample, reach: float, right_s: float = 0.0) -> LipExample:
    """The same speech by a person whose lips lie elsewhere and move `reach` times as far; the picture comes `right_s`
    after the sound."""
    points = example.lips.points
    rest = points[np.argmin(opening(points))]
    moved = rest + reach * (points - rest) + np.float32(0.05)
    late = np.clip(np.arange(len(points)) - round(right_s * 25), 0, None)
    return LipExample(
        example.wave, LipTrack(moved[late].astype(np.float32), example.lips.valid, example.lips.clock), example.shot
    )


def rest_of(example: LipExample) -> np.ndarray:
    return example.lips.points[np.argmin(opening(example.lips.points))]


def test_own_speech_is_adapted_to(prior):
    person = another(talk(12, 5), 1.5)
    model = adapt_lip_model([person], [person.lips], rest_of(person), QUICK, prior)
    assert (
        model.report["lips_from"] == "prior and own speech"
        and model.report["opening_r"] > 0.9
        and model.report["sound_r"] > 0.8
    )
    new = another(talk(6, 6), 1.5)
    said = model.predict(new.wave).points[::4][:150]
    assert np.linalg.norm(said - new.lips.points, axis=-1).mean() < 0.03
    assert opening(said).std() == pytest.approx(opening(new.lips.points).std(), rel=0.2)


def test_the_readout_is_kept_where_the_networks_learnt_nothing(prior):
    person = another(talk(12, 5), 1.5)
    barely = LipsConfig(members=1, steps=2, encoder="logmel")
    model = adapt_lip_model([person], [person.lips], rest_of(person), barely, prior)
    assert model.report["learnt"] == "readout"
    new = another(talk(6, 6), 1.5)
    said = model.predict(new.wave).points[::4][:150]
    assert np.linalg.norm(said - new.lips.points, axis=-1).mean() < 0.03
    assert opening(said).std() == pytest.approx(opening(new.lips.points).std(), rel=0.2)


def test_what_is_expected_are_the_figures_of_the_same_rows(prior):
    person = talk(12, 5)
    found = expectation(prior, [person], rest_of(person))
    assert found is not None and found.r_low <= found.r <= found.r_high and found.r > 0.8


def test_sound_that_is_not_theirs_is_not_learnt_from(prior):
    shown, heard = another(talk(40, 7), 1.4), talk(40, 8)
    dubbed = LipExample(heard.wave, shown.lips, shown.shot)
    model = adapt_lip_model([dubbed], [dubbed.lips], rest_of(shown), QUICK, prior)
    assert (
        model.report["lips_from"] == "prior"
        and "do not follow its sound" in model.report["warning"]
        and abs(model.report["sound_r"]) < 0.35
    )
    new = another(talk(6, 9), 1.4)
    said = model.predict(new.wave).points[::4][:150]
    assert np.corrcoef(opening(said), opening(new.lips.points))[0, 1] > 0.9
    assert opening(said).std() == pytest.approx(opening(new.lips.points).std(), rel=0.3)


def test_a_silent_face_gets_the_prior_on_its_own_rest(prior):
    face = talk(4, 3)
    still = LipTrack(np.repeat(rest_of(face)[None] + np.float32(0.1), 100, 0), np.ones(100, bool))
    rest = still.points[0]
    model = adapt_lip_model([], [still], rest, QUICK, prior)
    assert (
        model.report["lips_from"] == "prior"
        and "no sound track" in model.report["warning"]
        and model.report["style"] == 1
    )
    wave = talk(5, 2).wave
    moved = prior.predict(wave).points - prior.rest
    assert np.allclose(model.predict(wave).points - rest, moved, atol=1e-4)


def test_a_few_words_tell_the_mean_shape_and_nothing_of_how_far_lips_close(prior):
    """The mouth speaks wider than it is at rest, where its corners lie as the prior's."""
    said = talk(2.5, 5)
    wider = np.float32(0.04) * np.sign(said.lips.points[..., :1] - said.lips.points[..., :1].mean(1, keepdims=True))
    points = said.lips.points + np.concatenate([wider, 0 * wider], -1)
    example = LipExample(said.wave, LipTrack(points, said.lips.valid, said.lips.clock), said.shot)
    model = adapt_lip_model([example], [example.lips], rest_of(said), QUICK, prior)
    assert model.report["lips_from"] == "prior"
    theirs, plain = model.predict(said.wave).points, prior.retarget(rest_of(said)).predict(said.wave).points
    width = lambda lips: (lips[:, 6, 0] - lips[:, 0, 0]).mean()
    assert abs(width(theirs) - width(points)) < 0.02 < abs(width(plain) - width(points))
    assert np.corrcoef(opening(theirs), opening(plain))[0, 1] > 0.99
    assert abs(opening(theirs).min() - opening(plain).min()) < 0.01


def test_without_prior_and_without_sound_there_is_nothing(prior):
    with pytest.raises(LipsyncError):
        adapt_lip_model(
            [LipExample(Waveform.of(np.zeros(64000, np.float32)), *_quiet())], [], rest_of(talk(2, 0)), QUICK, None
        )


def _quiet():
    example = talk(4, 0)
    return example.lips, example.shot


@pytest.mark.parametrize("late_s", [0.24, -0.16])
def test_late_sound_is_found_and_put_right(prior, late_s):
    example = talk(20, 11)
    person = LipExample(shifted(example.wave, -late_s), example.lips, example.shot)
    match = matching(prior.retarget(rest_of(person)), [lip_rows([person], prior.encoder)])
    assert match.r > 0.8 and match.lag_s == pytest.approx(late_s, abs=0.03)
    assert matching(prior, [lip_rows([example], prior.encoder)]).lag_s == 0
    model = adapt_lip_model([person], [person.lips], rest_of(person), QUICK, prior)
    assert "put right" in model.report["warning"] and model.report["opening_r"] > 0.9


def test_each_recording_has_its_own_lag(prior):
    lags = (0.2, 0.0, -0.14)
    people = [talk(12, number) for number in (21, 22, 23)]
    shown = [LipExample(shifted(p.wave, -lag), p.lips, p.shot) for p, lag in zip(people, lags, strict=True)]
    match = matching(prior.retarget(rest_of(people[0])), [lip_rows([one], prior.encoder) for one in shown])
    assert match.lags_s == pytest.approx(lags, abs=0.03) and match.r > 0.8


def test_a_short_recording_leans_on_the_others(prior):
    """Half a second of it tells nothing by itself; the others say where to look."""
    long, brief = talk(14, 24), talk(2, 25)
    noisy = brief.lips.points + 0.03 * np.random.default_rng(0).standard_normal(brief.lips.points.shape)
    brief = LipExample(
        shifted(brief.wave, -0.2), LipTrack(noisy.astype(np.float32), brief.lips.valid, brief.lips.clock), brief.shot
    )
    rows = [
        lip_rows([one], prior.encoder) for one in (LipExample(shifted(long.wave, -0.2), long.lips, long.shot), brief)
    ]
    match = matching(prior.retarget(rest_of(long)), rows)
    assert match.lags_s == pytest.approx((0.2, 0.2), abs=0.1)


def test_shifted_sound_is_as_long_and_moved():
    wave = Waveform.of(np.arange(8000, dtype=np.float32) / 8000)
    for late_s, first in ((0.0, 0), (0.1, 1600), (-0.1, 0)):
        moved = shifted(wave, late_s).samples
        assert len(moved) == 8000 and moved[0] == wave.samples[first]
    assert shifted(wave, -0.1).samples[1600] == wave.samples[0] and shifted(wave, 0.1).samples[-1] == 0


def test_style_is_believed_as_far_as_it_was_seen(prior):
    spread = np.sqrt((prior.basis.components**2 * (prior.basis.spread**2)[:, None, None]).sum(0))
    rng = np.random.default_rng(0)
    wave = np.abs(np.sin(np.arange(3000) / 7)) + 0.01 * rng.normal(size=3000)
    points = (prior.rest + (wave / wave.std())[:, None, None] * spread * 1.4).astype(np.float32)
    much = style_of(prior, [LipTrack(points, np.ones(3000, bool))], prior.rest)
    little = style_of(prior, [LipTrack(points[:60], np.ones(60, bool))], prior.rest)
    moves = spread > 0.05 * spread.max()
    assert much[moves] == pytest.approx(1.4, abs=0.05) and (much[~moves] == 1).all()
    assert (little[moves] > 1.05).all() and (little[moves] < 1.25).all()
    assert (style_of(prior, [], prior.rest) == 1).all()
