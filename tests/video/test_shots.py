"""Cadences, odd frames, slow transitions and captions: what is a new shot, and what only looks like one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from video.shots import Mark, ShotDetector

HEIGHT, WIDTH = 144, 256


def _scene(seed: int) -> np.ndarray:
    """(400,500,3) uint8 with coarse shapes and fine detail."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (8, 10, 3), np.uint8), (500, 400), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 60, (400, 500, 3)), (0, 0), 1.0)
    return np.clip(0.7 * coarse + 40 + fine, 0, 255).astype(np.uint8)


A, B = _scene(0), _scene(1)


def _pan(scene: np.ndarray, n: int, step: float = 1.0) -> list[np.ndarray]:
    return [
        scene[20 + round(8 * np.sin(step * i / 7)) :, 20 + round(step * 3 * i) :][:HEIGHT, :WIDTH].copy()
        for i in range(n)
    ]


def _marks(frames) -> np.ndarray:
    detector, out = ShotDetector(), []
    for frame in frames:
        detector.push(frame)
        out += detector.settled()
    out += detector.finish()
    assert len(out) == len(frames)
    return np.array(out)


@pytest.mark.parametrize(
    "shown",
    [
        [i for i in range(40) for _ in range(2)],
        [i for i in range(30) for _ in range(3)],
        [i * 5 // 6 for i in range(48)],
        [i - (i % 7 == 3) for i in range(48)],
    ],
    ids=["every frame twice", "every frame three times", "25 as 30", "one repeated, then a step twice as large"],
)
def test_repeated_frames_are_no_stills_and_the_motion_after_them_is_no_cut(shown):
    pan = _pan(A, 60)
    assert set(_marks([pan[i] for i in shown])) == {Mark.GOES_ON}
    two = [pan[i] for i in shown] + [_pan(B, 60)[i] for i in shown]
    assert np.flatnonzero(_marks(two)).tolist() == [len(shown)]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_odd_and_the_shot_goes_on(length):
    frames = _pan(A, 60, 0.2)
    for i in range(30, 30 + length):
        frames[i] = np.clip(frames[i] * 3.0, 0, 255).astype(np.uint8)
    marks = _marks(frames)
    assert np.flatnonzero(marks).tolist() == list(range(30, 30 + length))
    assert set(marks[30 : 30 + length]) == {Mark.ODD}


@pytest.mark.parametrize("length", [1, 6, 15, 30])
def test_a_dissolve_is_two_shots_and_blended_frames(length):
    a, b = _pan(A, 80, 0.05), _pan(B, 80, 0.05)
    share = np.clip((np.arange(80 + length) - 39) / (length + 1), 0, 1)
    frames = [cv2.addWeighted(a[min(i, 79)], 1 - s, b[max(0, i - 40)], s, 0) for i, s in enumerate(share) if i < 80]
    marks = _marks(frames)
    assert np.flatnonzero(marks == Mark.CUT).tolist() == [40 + length]
    between = np.flatnonzero(marks == Mark.BETWEEN)
    # the first and the last may have too little of the other picture to tell
    assert set(range(41, 39 + length)) <= set(between) <= set(range(40, 40 + length))
    assert len(between) >= 1


def test_pans_zooms_and_light_that_changes_slowly_are_no_dissolves():
    zoom = [cv2.resize(A[i : 300 - i, i : 400 - i], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for i in range(60)]
    light = [np.clip(A[:HEIGHT, :WIDTH] * (0.6 + 0.6 * np.clip((i - 20) / 20, 0, 1)), 0, 255) for i in range(60)]
    for frames in (_pan(A, 60, 0.3), _pan(A, 60), zoom, [f.astype(np.uint8) for f in light]):
        assert set(_marks(frames)) == {Mark.GOES_ON}


def test_a_caption_that_changes_is_no_cut_and_a_cut_beneath_one_is():
    frames = _pan(A, 30, 0.1) + _pan(A, 60, 0.1)[30:] + _pan(B, 30, 0.1)
    frames = [cv2.resize(f, (640, 360), interpolation=cv2.INTER_CUBIC) for f in frames]
    for i, frame in enumerate(frames):
        for thick, colour in ((8, (0, 0, 0)), (3, (255, 255, 255))):
            cv2.putText(frame, ["WHAT WE", "HAVE TO", "DO NOW"][i // 15 % 3], (220, 300), 2, 1.3, colour, thick)
    assert np.flatnonzero(_marks(frames)).tolist() == [60]
