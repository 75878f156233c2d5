"""Doubt before and after drawing, on drawn mouths whose every defect is made here."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lipsync.config.schema import DoubtConfig
from lipsync.core.lips import opening
from lipsync.core.types import LipTrack
from lipsync.render.doubt import (
    CAUSES,
    N_FORESEEN,
    foreseen,
    known_mouths,
    safe_share,
    scores,
    softened,
    worst_spans,
)
from lipsync.render.flaws import FlawFinder, learn_look, thumbnail
from tests.support.drawn import drawn_subject, lips_open
from video.clock import FrameClock

RATE = 25.0
GAPS = 0.08 + 0.06 * np.sin(np.arange(120) * 0.7)


def _subject(gaps=GAPS):
    """A drawn person, filmed: every frame with noise, and lips found a little beside where they are."""
    subject, rng = drawn_subject(gaps), np.random.default_rng(0)
    bank = subject.bank
    crops = (bank.crops + rng.normal(0, 2, bank.crops.shape)).clip(0, 255).astype(np.uint8)
    lips = bank.lips + rng.normal(0, 0.002, (len(bank), 1, 2)).astype(np.float32)
    return replace(subject, bank=replace(bank, crops=crops, lips=lips))


@pytest.fixture(scope="module")
def bank():
    return _subject().bank


@pytest.fixture(scope="module")
def look(bank):
    return learn_look(bank, RATE)


def flaws(bank, look, crops, lips, beneath=None):
    """Of crops in order, each over itself or over `beneath`."""
    finder, place, own = FlawFinder(look, RATE), bank.space.mouth_from_face, beneath if beneath is not None else crops
    thumbs = [[thumbnail(c.transpose(1, 2, 0), place) for c in some] for some in (crops, own)]
    jaw = bank.jaw[0]
    return [finder(k, a, b, p, p, jaw)._asdict() for k, (a, b, p) in enumerate(zip(*thumbs, lips, strict=True))]


def test_real_mouths_raise_no_doubt(bank, look):
    found = flaws(bank, look, bank.crops[:40], bank.lips[:40])
    assert max(max(f.values()) for f in found) < 1.5
    assert np.quantile([max(f.values()) for f in found], 0.9) < 1.1


def test_a_persons_only_mouth_can_be_looked_at():
    """One frame with a face in a whole film: nothing is known of how it varies."""
    look = learn_look(drawn_subject(np.array([0.05])).bank, 25.0)
    assert np.isfinite(look.lips) and look.lips >= 1


def test_torn_and_doubled_lips_are_seen(bank, look):
    crop, other, k = bank.crops[20].copy(), bank.crops[int(np.argmin(GAPS))], 20
    shift = int(0.07 * bank.space.scale)
    torn = crop.copy()
    half = crop.shape[2] // 2
    torn[:, :, half:] = np.roll(crop[:, :, half:], shift, 1)
    wide = bank.crops[int(np.argmax(GAPS))]
    ghost = ((wide.astype(int) + other) // 2).astype(np.uint8)
    assert flaws(bank, look, [torn], [bank.lips[k]])[0]["lips"] > 2
    seen = flaws(bank, look, [ghost], [bank.lips[int(np.argmax(GAPS))]])[0]
    assert max(seen["lips"], seen["inside"]) > 2


def test_an_inside_without_contrast_is_seen(bank, look):
    k = int(np.argmax(GAPS))
    pale = (bank.crops[k] * 0.4 + bank.crops[k].mean((1, 2), keepdims=True) * 0.6).astype(np.uint8)
    real, washed = flaws(bank, look, [bank.crops[k], pale], [bank.lips[k]] * 2)
    assert real["inside"] < 1.5 < 3 < washed["inside"]


def test_teeth_that_stand_still_are_seen(bank, look):
    """The inside of one mouth stays while the opening changes; real insides change."""
    rows = np.arange(8)
    moving = _inside_changes(bank, rows, True)
    still = _inside_changes(bank, rows, False)
    known = replace(look, change=4.0)
    assert max(f["teeth"] for f in flaws(bank, known, still, bank.lips[rows])) > 1.5
    assert max(f["teeth"] for f in flaws(bank, known, moving, bank.lips[rows])) < 0.8


def _inside_changes(bank, rows, changes):
    """Crops with a striped inside that flickers by 20 grey levels a frame, or not at all."""
    out = bank.crops[rows].copy()
    inside = slice(*(np.array([-0.3, 0.3]) * bank.space.scale + bank.space.width // 2).astype(int))
    stripes = 60 + 60 * (np.arange(bank.space.width)[inside] // 6 % 2)
    for k, crop in enumerate(out):
        crop[:, :, inside] = stripes + (20 * (k % 2) if changes else 0)
    return out


def test_a_collar_that_moves_and_other_light_are_seen_and_the_frame_as_it_was_is_not(bank, look):
    beneath = bank.crops[5].copy()
    y = int((0.62 - bank.space.top) * bank.space.scale)
    beneath[:, y:] = 255  # a collar
    dragged = beneath.copy()
    dragged[:, y - 4 : y] = 255
    warm = beneath.copy()
    warm[:, : y - 6] = (beneath[:, : y - 6] * np.array([1.1, 1.0, 0.9])[:, None, None]).clip(0, 255)
    same, moved, lit = flaws(bank, look, [beneath, dragged, warm], [bank.lips[5]] * 3, [beneath] * 3)
    assert same["under"] == 0 and same["light"] == 0
    assert moved["under"] > 3 and moved["light"] < 0.5
    assert lit["light"] > 1.5


def test_mouths_unlike_the_persons_are_foreseen(bank):
    known = known_mouths(bank, RATE)
    own, wide = lips_open(0.1), lips_open(0.3)
    puckered = own * [0.6, 1]
    turned = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [30.0, 0, 0]])
    values = foreseen(known, np.stack([own, wide, puckered, own]).astype(np.float32), turned)
    assert values[0].max() < 1
    assert values[1, :2].min() > 2 and values[2, 0] > 2 and values[2, 1] == 0
    assert values[3, 2] == pytest.approx(3.0) and values.shape[1] == N_FORESEEN < len(CAUSES)
    assert safe_share(known, np.stack([own, puckered]).astype(np.float32)) == 0.5


def test_scores_and_spans():
    assert scores(np.array([0.0, 1.0, 3.0])).tolist() == pytest.approx([0, 0.5, 0.9])
    curve = np.array([0, 0.7, 0.8, 0, 0.9, 0, 0.65])
    assert worst_spans(curve, 0.6, 2) == [(1, 3), (4, 5)]
    assert worst_spans(curve, 0.95, 2) == []


def _track(points):
    n = len(points)
    return LipTrack(np.asarray(points, np.float32), np.ones(n, bool), FrameClock.constant(n, Fraction(25)))


def test_only_lips_beyond_the_persons_own_are_softened_and_closures_stay_closed(bank):
    known, config = known_mouths(bank, RATE), DoubtConfig()
    own = _track(bank.lips[:30])
    assert softened(own, known, config).points.tobytes() == own.points.tobytes()

    gaps = np.array([0.0, 0.02, 0.1, 0.14, 0.1, 0.02, 0.0, 0.1, 0.3, 0.1])
    puckered = _track(np.stack([lips_open(g) * [0.6, 1] for g in gaps]))
    soft = softened(puckered, known, config).points
    ours, asked = opening(soft), opening(puckered.points)
    assert np.abs(ours - asked)[asked < known.widest].max() < 1e-5  # every closure, every movement
    assert known.widest < ours[8] < 0.2 < asked[8]  # but no wider than this mouth goes
    inner = slice(2, 7)
    assert foreseen(known, soft)[inner, 0].max() < 1.6 < 3 < foreseen(known, puckered.points)[inner, 0].min()
    step = np.abs(np.diff(soft, axis=0)).max((1, 2))[:7]
    assert step.max() < np.abs(np.diff(puckered.points, axis=0)).max() + 0.05
    assert softened(puckered, known, DoubtConfig(soften=0)) is puckered
