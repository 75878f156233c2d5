"""The label that everybody sees: legible, away from faces, and only where it belongs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lipsync.core.errors import UsageError
from lipsync.render.badge import draw_words, make_badge, rows_of_badge


def face(x: float, y: float, scale: float = 60.0, n: int = 4, strength=None) -> Any:
    """A face whose mouth is at (x, y)."""
    matrix = np.array([[scale, 0, x], [0, scale, y], [0, 0, 1.0]])
    return SimpleNamespace(
        pixel_from_face=np.repeat(matrix[None], n, 0), strength=np.ones(n) if strength is None else np.array(strength)
    )


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1920, 1080), (480, 270)])
@pytest.mark.parametrize(
    "words", ["AI MODIFIED", "KI-VERÄNDERT", "Изменено ИИ", "AI-generated lips, in Alsatian for TV"]
)
def test_capitals_are_9_px_high_where_the_picture_is_shown_360_px_wide(size, words):
    one = draw_words("I", "", size)
    pad = draw_words(words, "", size)
    rows = np.flatnonzero(one.max(axis=1) > 0.5)
    assert (rows[-1] - rows[0] + 1) * 360 / size[0] >= 9
    assert pad.shape[1] < 0.7 * size[0] and pad[:, 0].max() == 0 and pad[0].max() == 0  # room around the words


@pytest.mark.parametrize(
    ("at", "corner"),
    [
        ([], "top left"),
        ([(150, 120)], "top right"),
        ([(150, 120), (1100, 120)], "bottom left"),
        ([(150, 300)], "top left"),
    ],
)
def test_it_takes_a_corner_without_a_face(at, corner):
    badge = make_badge("eu", "", (1280, 720), [face(x, y) for x, y in at], np.ones(4, bool))
    assert ("top" if badge.top < 360 else "bottom") + (" left" if badge.left < 640 else " right") == corner
    height, width = badge.alpha.shape
    assert badge.left > 0 and badge.left + width < 1280 and badge.top > 0 and badge.top + height < 720


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_it_stands_out_on_any_ground_and_changes_nothing_else(grey):
    shown = np.array([True, False, True])
    badge = make_badge("eu", "", (640, 360), [], shown)
    frames = torch.full((3, 3, 360, 640), grey, dtype=torch.uint8)
    out = badge.on(slice(0, 3), frames)
    height, width = badge.alpha.shape
    inside = out[0, 0, badge.top : badge.top + height, badge.left : badge.left + width].float()
    words = badge.white > 0.9
    plate = badge.white == 0
    assert inside[words].mean() > 240 and inside[words].mean() - inside[plate].mean() > 100
    assert (frames == grey).all() and (out[1] == grey).all() and (out[0] == out[2]).all()
    out[0, :, badge.top : badge.top + height, badge.left : badge.left + width] = grey
    assert (out[0] == grey).all()
    assert badge.on(slice(1, 2), frames[1:2]).data_ptr() == frames[1:2].data_ptr()


def test_it_is_shown_where_mouths_are_drawn_and_does_not_flicker():
    drawn = np.zeros(200)
    drawn[10:40] = drawn[60:80] = drawn[150:160] = 0.5
    shown = rows_of_badge([face(0, 0, n=200, strength=drawn), face(0, 0, n=200, strength=np.zeros(200))], 25.0)
    assert np.flatnonzero(np.diff(shown.astype(int))).tolist() == [9, 79, 149, 159]


@pytest.mark.parametrize(("words", "said"), [("人工智能", "mark.badge_font"), ("   ", "blank"), ("W" * 40, "too long")])
def test_what_cannot_be_read_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        draw_words(words, "", (1280, 720))


def test_a_font_that_is_none(tmp_path):
    (tmp_path / "no.ttf").write_bytes(b"no font")
    with pytest.raises(UsageError, match=r"mark\.badge_font"):
        draw_words("eu", str(tmp_path / "no.ttf"), (1280, 720))


def test_it_survives_being_small():
    """At 360 px the words still have strokes that part: as many columns of light and dark as letters, at least."""
    words = draw_words("AI MODIFIED", "", (1280, 720))
    small = cv2.resize(words, None, fx=360 / 1280, fy=360 / 1280, interpolation=cv2.INTER_AREA)
    middle = small[small.shape[0] // 2] > 0.4
    assert np.count_nonzero(np.diff(middle.astype(int)) > 0) >= 11
