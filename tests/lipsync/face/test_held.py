"""The compiled loops of `lipsync.face.held` against the same in numpy."""

import numpy as np
import pytest

from lipsync.face.graphics import _KEPT
from lipsync.face.held import (
    AT_REST,
    CONTRAST,
    FORGOTTEN,
    JUMP,
    LASTS,
    LEAST_MOVE,
    MISSES,
    MOVED,
    SAME,
    SAME_SLOPE,
    compare,
    renew,
)

SIZE, FRAMES = (24, 40), 60


def looked_at(held, grey, slope_x, slope_y, contrast, stroke, frame, at):
    """What `compare` and `renew` do, whole arrays at a time; and whether something may have ended."""
    steep = np.hypot(slope_x, slope_y)
    off = np.abs(grey.astype(int) - held["level"])
    turned = np.hypot(slope_x - held["slope_x"], slope_y - held["slope_y"])
    same = (off <= SAME) & (turned <= np.maximum(SAME, np.float32(SAME_SLOPE) * steep))
    forgotten = frame - held["seen"] > FORGOTTEN
    held["missed"][:] = np.where(same, 0, held["missed"] + 1)
    over = (held["missed"] >= MISSES) | forgotten
    moved, jumped = held["proof"] >= MOVED, ~forgotten & (np.minimum(held["jump"], off) >= JUMP)
    lasted = np.where(forgotten, held["seen"] + 1, frame - MISSES + 1) - held["since"] >= LASTS
    jumped &= np.hypot(at[0] - held["x"], at[1] - held["y"]) <= AT_REST
    ended = bool((over & (held["contrast"] >= CONTRAST) & lasted & (moved | jumped)).any())
    facts = off, same.copy(), over, forgotten
    held["level"][over], held["slope_x"][over], held["slope_y"][over] = grey[over], slope_x[over], slope_y[over]
    held["jump"][over] = np.where(forgotten, 0, off)[over]
    held["since"][over] = frame - np.where(forgotten, 0, MISSES - 1)[over]
    held["x"][over], held["y"][over] = at
    held["proof"][over] = held["missed"][over] = 0
    held["seen"][:] = frame
    same |= over
    least = np.minimum(contrast, held["contrast"])
    held["contrast"][:] = np.where(over, contrast, np.where(same, least, held["contrast"]))
    np.copyto(held["stroke"], stroke, where=same)
    gone = np.abs((at[0] - held["x"]) * slope_x + (at[1] - held["y"]) * slope_y)
    across = gone >= LEAST_MOVE * steep
    held["proof"][:] = np.maximum(held["proof"], np.where(same & across, np.minimum(gone, contrast), 0))
    return ended, facts, bool((held["proof"] >= MOVED).any())


def fresh():
    held = {name: np.zeros((30, 50), kind) for name, kind in _KEPT.items()}
    held["seen"][:] = -(10**6)
    return held


@pytest.fixture(scope="module")
def frames():
    """Levels, slopes, contrasts, strokes, the face's place: pictures that stay for some frames, in part, with noise."""
    rng = np.random.default_rng(3)
    shown, out = rng.integers(0, 256, SIZE), []
    for _ in range(FRAMES):
        shown = np.where(rng.random(SIZE) < 0.12, rng.integers(0, 256, SIZE), shown)
        grey = np.clip(shown + rng.integers(-3, 4, SIZE), 0, 255).astype(np.uint8)
        slope_y, slope_x = (slope.astype(np.float32) for slope in np.gradient(shown.astype(float)))
        contrast = np.clip(rng.integers(60, 256, SIZE), 0, 255).astype(np.uint8)
        at = tuple(np.float32(value) for value in rng.normal(20, 4 if len(out) % 20 < 8 else 0.2, 2))
        out.append((grey, slope_x, slope_y, contrast, rng.random(SIZE) < 0.5, at))
    return out


def test_the_loops_hold_what_whole_arrays_would(frames):
    ours, theirs, box = fresh(), fresh(), np.s_[3 : 3 + SIZE[0], 5 : 5 + SIZE[1]]
    held, reference = ({name: values[box] for name, values in each.items()} for each in (ours, theirs))
    ends = strongs = 0
    for i, (grey, slope_x, slope_y, contrast, stroke, at) in enumerate(frames):
        frame = i if i < 40 else i + FORGOTTEN + 1  # a face that is lost for a while
        off, (same, over, forgotten) = np.empty_like(grey), np.empty((3, *SIZE), bool)
        names = ("level", "slope_x", "slope_y", "contrast", "jump", "missed", "since", "seen", "x", "y", "proof")
        compared = (held[name] for name in names)
        ended = compare(grey, slope_x, slope_y, *compared, frame, *at, off, same, over, forgotten)
        seen = grey, slope_x, slope_y, contrast, stroke, off, same, over, forgotten
        strong = renew(*seen, *held.values(), frame, *at)
        wanted = looked_at(reference, grey, slope_x, slope_y, contrast, stroke, frame, at)
        assert (bool(ended), bool(strong)) == (wanted[0], wanted[2]), frame
        for ours_now, theirs_now in zip((off, same, over, forgotten), wanted[1], strict=True):
            assert np.array_equal(ours_now, theirs_now), frame
        for name in _KEPT:
            assert np.allclose(held[name], reference[name], rtol=1e-5, atol=1e-3), (name, frame)
        ends, strongs = ends + ended, strongs + strong
    assert ends > 5 and strongs > 5, "nothing happened: the test shows nothing"
    assert all((ours[name][:3] == fresh()[name][:3]).all() for name in _KEPT), "nothing outside the box"
