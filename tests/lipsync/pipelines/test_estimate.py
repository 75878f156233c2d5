"""How long work will take: what it hangs on, and what was done before."""

import pytest

from lipsync.config.schema import LipsConfig
from lipsync.pipelines.estimate import MOST_LEARN_S, Material, draw_s, follow_all_s, learn_lips_s


def test_what_was_followed_before_takes_no_time():
    new, kept = Material(100, 1.0, 4.0), Material(1000, 1.0, 40.0, kept=True)
    assert (
        follow_all_s([new, kept]) == follow_all_s([new]) == pytest.approx(10 * follow_all_s([Material(10, 1.0, 0.4)]))
    )


def test_more_rows_and_larger_pictures_take_longer():
    assert draw_s(200, 0.5) == 2 * draw_s(100, 0.5) and draw_s(100, 2.0) > 2 * draw_s(100, 0.5)


def test_lips_take_no_time_with_a_model_and_a_bounded_time_from_the_prior():
    assert learn_lips_s(30.0, LipsConfig(model="mine.safetensors")) == 0
    assert learn_lips_s(10.0, LipsConfig()) < learn_lips_s(20.0, LipsConfig()) < learn_lips_s(1e6, LipsConfig())
    assert learn_lips_s(1e6, LipsConfig()) == MOST_LEARN_S
    own = LipsConfig(prior="none", steps=100, members=2)
    assert learn_lips_s(30.0, own) == 2 * learn_lips_s(30.0, LipsConfig(prior="none", steps=100, members=1))
