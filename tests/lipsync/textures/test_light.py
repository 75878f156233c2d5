"""Mouths of several shots brought into one light."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipsync.config.schema import DubConfig
from lipsync.textures import get_method
from lipsync.textures.light import EvenLight
from lipsync.textures.methods.median import Method as Median
from tests.support.drawn import drawn_subject
from tests.support.textures import query_for

GAPS = np.tile(0.06 + 0.06 * np.sin(np.arange(30) / 3.0), 2)
SHOT = (np.arange(60) >= 30).astype(np.int64)


@pytest.fixture(scope="module")
def subject():
    """Twice the same mouths, each time in a shot of its own."""
    drawn = drawn_subject(GAPS)
    return replace(drawn, bank=replace(drawn.bank, shot=SHOT))


@pytest.fixture(scope="module")
def two_lamps(subject):
    """The second shot is redder, darker, and lit from the other side."""
    colour = np.array([0.9, 0.7, 0.6])[:, None, None] * np.linspace(1.2, 0.8, subject.bank.space.width)
    light = np.where(SHOT[:, None, None, None] == 1, colour, 1.0)
    return replace(subject, bank=replace(subject.bank, crops=(subject.bank.crops * light).round().astype(np.uint8)))


def in_one_light(bank, rows):
    return EvenLight(bank)(torch.from_numpy(bank.take(rows)), rows).float()


def test_the_same_mouth_in_two_lights_becomes_one(two_lamps):
    first, second = np.arange(0, 30, 5), np.arange(30, 60, 5)
    filmed = np.abs(two_lamps.bank.crops[first].astype(float) - two_lamps.bank.crops[second]).mean()
    ours = in_one_light(two_lamps.bank, first) - in_one_light(two_lamps.bank, second)
    assert filmed > 30 and float(ours.abs().mean()) < 0.08 * filmed


def test_any_rows_in_any_order_come_out_the_same(two_lamps):
    rows = np.array([41, 3, 3, 59])
    together = in_one_light(two_lamps.bank, rows)
    assert all(torch.equal(one, in_one_light(two_lamps.bank, rows[k : k + 1])[0]) for k, one in enumerate(together))


def test_one_light_is_left_alone_whatever_the_mouths_do(subject):
    order = np.argsort(GAPS, kind="stable")  # a shot of closed mouths, and one of open ones
    bank = replace(
        subject.bank, crops=subject.bank.crops[order], lips=subject.bank.lips[order], jaw=subject.bank.jaw[order]
    )
    for known in (subject.bank, bank, replace(subject.bank, shot=np.zeros(60, np.int64))):
        crops = torch.from_numpy(known.take(np.arange(60)))
        assert EvenLight(known)(crops, np.arange(60)) is crops


def test_a_median_of_two_lights_keeps_one(two_lamps):
    """Closed mouths of one light, open ones of the other: what lies beside the mouth stays as the mouth opens."""
    small = GAPS < 0.06
    rows = np.r_[np.flatnonzero(small & (SHOT == 0)), np.flatnonzero(~small & (SHOT == 1))]
    bank = two_lamps.bank
    parts = {name: getattr(bank, name)[rows] for name in ("crops", "lips", "jaw", "pose", "sharpness", "shot")}
    bank = replace(bank, source=np.arange(len(rows)), **parts)
    method = get_method("median", DubConfig()).prepare(replace(two_lamps, bank=bank), "cpu")
    drawn = method.render(query_for(np.linspace(0.01, 0.11, 30), method.radius, bank.space)).rgb * 255
    beside = drawn[..., -4:].mean((2, 3))
    assert float((beside - beside[0]).abs().max()) < 6


def test_mouths_of_the_frames_own_look_are_preferred(two_lamps):
    method = Median().prepare(two_lamps, "cpu")
    asked = query_for(GAPS[:3], method.radius, two_lamps.bank.space)
    for shot in (0, 1):
        crop = (
            torch.from_numpy(two_lamps.bank.crops[30 * shot + 9 :][:3]).float() / 255
        )  # its mouth says something else
        index, weight = method.candidates.for_query(replace(asked, crop=crop))
        of_it = torch.from_numpy(SHOT)[index] == shot
        assert float((weight * of_it).sum(1).min()) > 0.9


def test_only_a_bank_of_several_lights_asks_for_the_frame(subject, two_lamps):
    assert get_method("median", DubConfig()).prepare(two_lamps, "cpu").needs == {"crop", "shown"}
    assert get_method("median", DubConfig()).prepare(subject, "cpu").needs == {"shown"}
