"""Where one face becomes another's: a dissolve has frames that show both, a cut has none, however people move."""

import numpy as np
import pytest

from lipsync.face.identity import STEADY, other_person
from lipsync.face.people import Seen

SIDE = 3072


def seen(look: np.ndarray) -> Seen:
    """A face at one place with this look."""
    landmarks = np.zeros((68, 2))
    landmarks[36], landmarks[45], landmarks[30] = (40, 50), (60, 50), (50, 60)
    box = np.array([30.0, 30, 70, 80])
    return Seen(landmarks, box, (look / np.linalg.norm(look)).astype(np.float32), (5.0, 5.0), np.zeros(1152, np.uint8))


def film(weights: list[float], moves: float) -> list[Seen]:
    """Faces whose looks are so much of the second person; moves: how unlike their other looks people are meanwhile."""
    rng = np.random.default_rng(0)
    one, two = np.linalg.qr(rng.normal(size=(SIDE, 2)))[0].T
    other = rng.normal(size=(len(weights), SIDE)) / np.sqrt(SIDE)
    still = np.ones(len(weights))
    still[STEADY:-STEADY] = moves
    return [seen((1 - w) * one + w * two + k * noise) for w, k, noise in zip(weights, still - 1, other, strict=True)]


@pytest.mark.parametrize("moves", [1.0, 1.5])
def test_a_cut_shows_nobody_between(moves):
    """Somebody who moves is no blend of two people."""
    faces = film([0.0] * 30 + [1.0] * 22, moves)
    assert other_person(faces[:STEADY], [[face] for face in faces[STEADY:]]) == (30 - STEADY, 30 - STEADY)


def test_a_dissolve_is_between_two():
    faces = film([0.0] * 20 + list(np.linspace(0, 1, 12)[1:-1]) + [1.0] * 20, 1.0)
    first, new = other_person(faces[:STEADY], [[face] for face in faces[STEADY:50]]) or (0, 0)
    assert 20 <= first + STEADY <= 22 and 28 <= new + STEADY <= 30


def test_one_person_becomes_nobody_else():
    faces = film([0.0] * 60, 1.5)
    assert other_person(faces[:STEADY], [[face] for face in faces[STEADY:50]]) is None
