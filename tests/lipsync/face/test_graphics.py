"""Letters over a drawn face: those that stay on the screen are found, stroke by stroke; those on the face are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync.core.canonical import canonical_68
from lipsync.core.graphics import Graphics
from lipsync.face.graphics import GraphicsFinder

HEIGHT, WIDTH, EYE, FRAMES = 360, 480, 90.0, 90
_FACE = canonical_68()[:, :2]


def _landmarks(i: int) -> np.ndarray:
    return _FACE * EYE + [240 + 9 * np.sin(i / 5), 190 + 5 * np.sin(i / 4)]


def _letters(words: str, at: tuple[int, int]) -> np.ndarray:
    """(H,W) bool the white of the letters; their black edge is two pixels wide."""
    out = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(out, words, at, cv2.FONT_HERSHEY_DUPLEX, 1.0, 255, 3)
    return out > 0


def _video(captions: list[tuple[int, int, str]], rides: bool = False, moves: bool = True):
    """Frames and landmarks of a talking face. captions: (first, end, words); rides: they move with the face."""
    for i in range(FRAMES):
        points = _landmarks(i if moves else 0)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        middle = points[30]
        skin = ((x - middle[0]) / 90) ** 2 + ((y - middle[1]) / 120) ** 2 < 1
        rgb = np.where(skin[..., None], [205, 160, 135], [70, 80, 90]).astype(np.uint8)
        rgb[skin] = np.clip(rgb[skin] + 8 * np.sin((x - middle[0]) / 13)[skin][:, None], 0, 255).astype(np.uint8)
        mouth = points[48:60].copy()
        mouth[7:] += [0, 6 * abs(np.sin(i / 3))]
        cv2.fillPoly(rgb, [mouth.round().astype(np.int32)], (90, 20, 25))
        for first, end, words in captions:
            if first <= i < end:
                at = (175, 246) if not rides else tuple((points[30] + [-65, 98]).round().astype(int).tolist())
                letters = _letters(words, at)
                rgb[cv2.dilate(letters.astype(np.uint8), np.ones((5, 5))) > 0] = 0
                rgb[letters] = 255
        yield rgb, points


def _found(captions, **how) -> Graphics | None:
    finder = GraphicsFinder(WIDTH, HEIGHT)
    for rgb, points in _video(captions, **how):
        finder.push([(rgb, points)])
    return finder.finish()


def test_captions_are_found_while_they_are_shown_and_the_face_is_not():
    captions = [(0, 40, "WHAT WE"), (40, 90, "HAVE TO")]
    graphics = _found(captions)
    assert graphics is not None
    for frame in (2, 20, 37, 44, 70, 88):
        words = captions[frame >= 40][2]
        letters, mask = _letters(words, (175, 246)), graphics.over(frame, 0, 0, WIDTH, HEIGHT)
        looked_at = np.zeros_like(letters)
        low, high = _landmarks(frame)[2:15].min(0), _landmarks(frame)[2:15].max(0)
        looked_at[:, int(low[0]) : int(high[0])] = True
        assert mask is not None and mask[letters & looked_at].mean() > 0.97
        beside = cv2.dilate(letters.astype(np.uint8), np.ones((17, 17))) == 0
        assert (mask & beside).sum() < 60, "only letters, and what is close to them"


def test_letters_that_move_with_the_face_and_a_face_without_letters_are_none():
    assert _found([(0, 90, "WHAT WE")], rides=True) is None
    assert _found([]) is None
    assert _found([(0, 90, "WHAT WE")], moves=False) is None, "nothing moved: nobody can know"


def test_captions_over_a_face_that_rests_are_known_by_how_they_come_and_go():
    graphics = _found([(30, 60, "WHAT WE")], moves=False)
    assert graphics is not None
    mask = graphics.over(45, 0, 0, WIDTH, HEIGHT)
    letters = _letters("WHAT WE", (175, 246))
    letters[:, :195] = letters[:, 285:] = False
    assert mask is not None and mask[letters].mean() > 0.9
    assert graphics.over(15, 0, 0, WIDTH, HEIGHT) is None and graphics.over(75, 0, 0, WIDTH, HEIGHT) is None


@pytest.mark.parametrize("step", [1, 3])
def test_masks_come_back_as_they_were_kept(step):
    rng = np.random.default_rng(0)
    first, second = rng.random((7, 11)) > 0.5, rng.random((20, 5)) > 0.5
    graphics = Graphics.of([(4, 8, (10, 20), first), (12, 30, (3, 0), second)], step, 40)
    whole = np.zeros((120, 120), bool)
    whole[20 * step : 27 * step, 10 * step : 21 * step] = np.kron(first, np.ones((step, step))) > 0
    got = graphics.over(7, 0, 0, 120, 120)
    assert got is not None and np.array_equal(got, whole)
    part = graphics.over(4, 12 * step + 1, 21 * step, 90, 100)
    assert part is not None and np.array_equal(part, whole[21 * step : 100, 12 * step + 1 : 90])
    assert [graphics.over(f, 0, 0, 120, 120) is None for f in (0, 8, 11, 12, 29, 30)] == [1, 1, 1, 0, 0, 1]
    points = np.array([[10.5 * step, 20.5 * step], [0.5, 0.5], [-5.0, 500.0]])
    assert graphics.at(7, points).tolist() == [bool(first[0, 0]), False, False]
