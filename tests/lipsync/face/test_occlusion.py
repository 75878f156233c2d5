"""Covered mouths: a thing before a drawn mouth is found, talking is not."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.face.occlusion import Thumbnails, _components, covered, mouth_outlines, mouth_thumbnail

FRAMES = 120
_AT = np.array([[60.0, 0, 80], [0, 60, 70], [0, 0, 1]])


def _mouth(gap: float, shift: float, light: float) -> np.ndarray:
    """(140,160,3) uint8 skin with lips and a dark gap."""
    y, x = np.mgrid[:140, :160] + 0.5
    skin = np.array([200, 150, 120]) * (0.9 + 0.1 * np.sin(x / 40))[..., None]
    centre = 70 + 6 * gap
    lips = ((x - 80 - shift) / 17) ** 2 + ((y - centre) / (6 + 12 * gap)) ** 2 < 1
    dark = ((x - 80 - shift) / 12) ** 2 + ((y - centre) / (0.5 + 10 * gap)) ** 2 < 1
    skin[lips] = [170, 90, 90]
    skin[dark] = [60, 25, 25]
    return np.clip(skin * light, 0, 255).astype(np.uint8)


def _talk(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    gaps = np.maximum(0, np.sin(np.arange(FRAMES) * 0.5)) * rng.uniform(0.3, 0.7, FRAMES)
    return [_mouth(g, rng.normal(0, 0.7), 1 + 0.1 * np.sin(i / 20)) for i, g in enumerate(gaps)]


#: Lips found at rest in every frame, also where something covers them.
_TURN = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_LANDMARKS = np.zeros((68, 2))
_LANDMARKS[48:60] = np.stack([80 + 17 * np.cos(_TURN), 72 + 10 * np.sin(_TURN)], -1)


def _covered(frames: list[np.ndarray]) -> np.ndarray:
    thumbnails = _thumbnails(frames)
    return covered(thumbnails, mouth_outlines(np.repeat(_LANDMARKS[None], len(frames), 0), _AT))


def _thumbnails(frames: list[np.ndarray]) -> np.ndarray:
    thumbnails = Thumbnails()
    for frame in frames:
        thumbnails.add(mouth_thumbnail(frame, _AT))
    assert len(thumbnails) == len(frames)
    return thumbnails.stacked()


def test_talking_in_changing_light_is_not_covered():
    rows = _thumbnails(_talk())
    assert rows.shape == (FRAMES, 1152) and rows.dtype == np.uint8
    assert not _covered(_talk()).any()


@pytest.mark.parametrize(
    ("colour", "half"), [((205, 155, 130), (34, 18)), ((30, 30, 30), (12, 12))], ids=["hand", "microphone"]
)
def test_a_hand_or_a_microphone_is_found_frame_by_frame(colour, half):
    frames = _talk()
    for i in range(50, 68):
        part = frames[i][72 - half[1] : 72 + half[1], 80 - half[0] : 80 + half[0]]
        part[:] = colour
        for finger in range(0, part.shape[1], 14):
            part[:, finger : finger + 4] = np.array(colour) // 3
    flagged = np.flatnonzero(_covered(frames))
    assert set(range(50, 68)) <= set(flagged) <= set(range(48, 70))


def test_too_few_frames_to_know_say_nothing():
    assert not _covered(_talk()[:10]).any()
    assert covered(Thumbnails().stacked(), np.zeros((0, 12, 2))).shape == (0,)


def test_in_a_second_and_a_half_a_mouth_opened_once_is_not_covered_and_a_hand_is():
    frames = [_mouth(0.12 + 0.1 * np.sin(0.5 * i), 0.3 * np.sin(i), 1) for i in range(40)]
    for i in range(18, 22):
        frames[i] = _mouth(0.55, 0, 1)
    assert not _covered(frames).any()
    for i in range(24, 32):
        frames[i][50:100, 50:110] = (205, 155, 130)
        frames[i][50:100, 50:110:14] = 60
    assert set(range(24, 32)) <= set(np.flatnonzero(_covered(frames))) <= set(range(22, 34))


def test_components_from_products_are_those_of_the_rows():
    rng = np.random.default_rng(5)
    rows = (rng.normal(size=(40, 6)) @ rng.normal(size=(6, 60)) + rng.normal(3, 0.1, (40, 60))).astype(np.float32)
    mean, directions = _components(rows, rows.astype(np.float64) @ rows.T.astype(np.float64), 4)
    _, _, expected = np.linalg.svd((rows - rows.mean(0)).astype(np.float64), full_matrices=False)
    assert np.allclose(mean, rows.mean(0)) and directions.shape == (4, 60)
    assert np.allclose(np.abs((directions * expected[:4]).sum(1)), 1, atol=1e-6), "in order, up to their signs"
