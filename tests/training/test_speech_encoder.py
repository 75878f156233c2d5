"""The speech encoder's training, on a teacher whose features and lips are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.core.lips import opening
from lipsync.speech.prior import bundled_lip_model
from training.free_speech import Speech
from training.speech_encoder import LIPS, Lessons, SpeechEncoderRecipe, lip_rows, train_encoder

M, D = 80, 6
QUICK = {"size": 8, "blocks": 1, "rate": 1e-2, "batch": 8, "length": 40, "jitter": 0.0, "texts": 0}


@pytest.fixture
def lessons() -> Lessons:
    """Features and lips that bend with the bands of the same moment; forty pieces of two seconds."""
    rng = np.random.default_rng(0)
    t = np.arange(40 * 200)[:, None]
    slow = np.sin(t / [7.0, 11.0, 17.0])
    bands = slow @ rng.standard_normal((3, M)) + 0.01 * rng.standard_normal((len(t), M))
    wanted = np.square(slow[::2]) @ rng.standard_normal((3, D + LIPS))
    return Lessons(bands.astype(np.float16), wanted.astype(np.float16), np.full(40, 100))


def test_what_the_teacher_says_is_learnt(lessons, one_thread):
    start, once, again = (train_encoder(lessons, SpeechEncoderRecipe(steps=steps, **QUICK)) for steps in (0, 60, 60))
    assert all(torch.equal(a, b) for a, b in zip(once.net.parameters(), again.net.parameters(), strict=True))
    bands, wanted = (torch.from_numpy(rows.astype(np.float32)) for rows in (lessons.bands, lessons.wanted))

    def unexplained(encoder) -> float:
        """By a linear readout of its features, as share of the variance of what is wanted."""
        heard = encoder.net(((bands - encoder.mean) / encoder.scale)[None])[0]
        heard = torch.cat([heard, torch.ones(len(heard), 1)], 1)
        left = wanted - heard @ torch.linalg.lstsq(heard, wanted).solution
        return float(left.var() / wanted.var())

    assert unexplained(once) < 0.5 * unexplained(start)


def test_far_moves_of_the_lips_count_more(lessons):
    spread = lessons.wanted_scale[1]
    points = lessons.wanted[::53, -LIPS:-1].astype(np.float32)
    assert torch.allclose(spread[-LIPS:-1], torch.full((LIPS - 1,), float(spread[-LIPS])))
    assert float(spread[-LIPS]) == pytest.approx(np.sqrt(np.square(points.std(0)).mean()), rel=0.01)


def test_rows_of_lips_are_the_teachers_less_its_rest_and_the_opening():
    teacher = bundled_lip_model("logmel")
    features = torch.randn(120, teacher.encoder.size, generator=torch.Generator().manual_seed(0))
    rows, points = lip_rows(teacher, features), teacher.with_gain(1.0).predict_rows(features)
    assert np.allclose(rows[:, :-1].reshape(-1, 18, 2) + teacher.rest, points, atol=1e-6)
    assert np.allclose(rows[:, -1], opening(points), atol=1e-6)


def test_speech_survives_the_disk(tmp_path):
    speech = Speech.joined([np.arange(n, dtype=np.int16) for n in (500, 300, 400)], 2)
    speech.save(tmp_path / "s.npz")
    again = Speech.load(tmp_path / "s.npz")
    assert len(again) == 3 and again.recorded == 2
    assert np.array_equal(again.wave(1).samples.numpy() * 32768, np.arange(300))
