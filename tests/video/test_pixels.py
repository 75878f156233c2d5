"""Blending, blurring, flow and shots against answers known beforehand."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tests.support import DATA
from tests.support.video_clips import numbered
from video.flow import flow, half_step
from video.picture import Cutter, FramePicture
from video.probe import probe
from video.pyramid import (
    _let_through,
    _let_through_by_opencv,
    blend,
    blur_along,
    gaussian_blur,
    half_gaussian,
    symmetric_filter,
)
from video.read import pictures_of
from video.shots import Mark, ShotDetector

SIZES = [(220, 300), (33, 47), (5, 7), (221, 301), (64, 64)]


@pytest.mark.parametrize("size", SIZES)
def test_blend_keeps_what_is_unmasked_bit_for_bit(size):
    under, over = torch.rand(2, 2, 3, *size)
    none = torch.zeros(2, 1, *size)
    assert torch.equal(blend(under, over, none, 5), under)
    assert (blend(under, over, none + 1, 5) - over).abs().max() < 1e-5
    assert (blend(under, over, none + 0.25, 4) - (0.75 * under + 0.25 * over)).abs().max() < 1e-5


def test_blend_of_one_picture_with_itself_is_that_picture():
    picture = torch.rand(1, 3, 70, 90)
    assert torch.equal(blend(picture, picture.clone(), torch.rand(1, 1, 70, 90), 4), picture)


@pytest.mark.parametrize("size", SIZES)
def test_opencv_and_torch_blend_alike(size):
    """One on the CPU, the other everywhere else."""
    change, mask = torch.rand(3, *size) - 0.5, torch.rand(1, *size)
    expected = _let_through(change[None], mask[None], 4)[0]
    assert (_let_through_by_opencv(change, mask, 4) - expected).abs().max() < 1e-6


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_opencv_and_torch_filter_alike(axes):
    picture = torch.rand(1, 3, 23, 31)
    found = symmetric_filter(picture[0].permute(1, 2, 0).numpy(), half_gaussian(4.0), axes)
    for axis in axes:
        picture = blur_along(picture, 4.0, axis + 2)
    assert np.allclose(found, picture[0].permute(1, 2, 0), atol=1e-6)


def test_blend_changes_only_near_the_mask_and_without_a_step():
    under, over = torch.zeros(1, 3, 200, 240), torch.ones(1, 3, 200, 240)
    mask = torch.zeros(1, 1, 200, 240)
    mask[..., 80:120, 100:140] = 1
    for levels in (1, 2, 3):
        out = blend(under, over, mask, levels)
        margin = 2 ** (levels + 2)
        away = torch.ones(200, 240, dtype=torch.bool)
        away[80 - margin : 120 + margin, 100 - margin : 140 + margin] = False
        assert (out[0, :, away] == 0).all()
    assert out[0, 0, 100, 120] > 0.95
    assert (out[0, 0, 100, 1:] - out[0, 0, 100, :-1]).abs().max() < 0.2


def test_blend_equals_the_textbook_pyramid_of_two_pictures():
    from video.pyramid import _down, _up

    under, over = torch.rand(2, 1, 3, 61, 83)
    mask = torch.rand(1, 1, 61, 83)
    stacks = []
    for picture in (under, over):
        bands = []
        for _ in range(3):
            small = _down(picture)
            bands.append(picture - _up(small, picture.shape[-2:]))
            picture = small
        stacks.append([*bands, picture])
    weights = [mask]
    for _ in range(3):
        weights.append(_down(weights[-1]))
    out = None
    for u, o, w in reversed(list(zip(*stacks, weights, strict=True))):
        joined = u * (1 - w) + o * w
        out = joined if out is None else _up(out, joined.shape[-2:]) + joined
    assert (blend(under, over, mask, 3) - out).abs().max() < 1e-5


@pytest.mark.parametrize("sigma", [0.6, 2.0, 5.5])
def test_gaussian_blur_is_the_gaussian(sigma):
    x = torch.rand(2, 3, 40, 50, dtype=torch.float64)
    radius = max(1, round(3 * sigma))
    want = np.stack([[gaussian_filter(c, sigma, mode="nearest", radius=radius) for c in v] for v in x.numpy()])
    assert np.abs(gaussian_blur(x, sigma).numpy() - want).max() < 1e-12
    assert torch.equal(gaussian_blur(x, 0), x)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (260, 340, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def moved(texture, dx, dy):
    return np.ascontiguousarray(texture[20 - dy : 220 - dy, 20 - dx : 300 - dx])


def framed(rgb, pix_fmt="gbrp") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24").reformat(format=pix_fmt)


def half_way(a, b, pix_fmt="gbrp") -> np.ndarray:
    """(H,W,3) RGB of the half step between two, (H,W,3) uint8, stored in this format."""
    return half_step(framed(a, pix_fmt), framed(b, pix_fmt)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("dx,dy", [(6, 4), (-8, 2), (0, 0), (2, -10)])
def test_flow_and_half_step_of_a_known_shift(texture, dx, dy):
    a, half, b = moved(texture, 0, 0), moved(texture, dx // 2, dy // 2), moved(texture, dx, dy)
    inner = np.s_[24:-24, 24:-24]
    assert np.abs(flow(a, b) - [dx, dy])[inner].max() < 0.1
    assert np.abs(half_way(a, b).astype(int) - half)[inner].max() <= 3


@pytest.mark.parametrize(
    "pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p", "nv12", "bgr24", "gray", "yuyv422", "yuva420p"]
)
def test_a_half_step_is_drawn_in_the_samples_of_any_format(texture, pix_fmt):
    smooth = [cv2.GaussianBlur(moved(texture, 2 * k, 0), (0, 0), 3) for k in range(3)]
    wanted = framed(smooth[1], pix_fmt).to_ndarray(format="rgb24").astype(int)
    off = np.abs(half_way(smooth[0], smooth[2], pix_fmt) - wanted)[24:-24, 24:-24]
    assert off.mean() < 1.5 and np.quantile(off, 0.99) <= 4


def test_the_half_step_of_a_large_picture_is_that_of_its_small_one_as_sharp(texture):
    a, b = moved(texture, 0, 0), moved(texture, 6, 4)
    large = [cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for picture in (a, b)]
    wanted = cv2.resize(moved(texture, 3, 2), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert max(wanted.shape) > 960, "else its flow is found at full size"
    assert np.abs(half_way(*large).astype(int) - wanted)[96:-96, 96:-96].max() <= 3


def test_half_step_of_small_equal_and_unlike_pictures(texture):
    small = texture[:20, :24]
    assert np.array_equal(half_way(small, small.copy()), small)
    assert half_way(small, np.roll(small, 1, 1)).shape == small.shape
    kept = framed(small, "yuv420p")
    before = kept.to_ndarray().copy()
    made = half_step(kept, framed(texture[:40, :48], "yuv444p"))
    assert (made.format.name, made.width, made.height) == ("yuv420p", 24, 20)
    assert np.array_equal(kept.to_ndarray(), before), "the decoder may still need it"


def marks(frames) -> list[Mark]:
    detector, out = ShotDetector(), []
    for frame in frames:
        detector.push(frame)
        out += detector.settled()
    return out + detector.finish()


def cuts(frames) -> list[int]:
    return [i for i, mark in enumerate(marks(frames)) if mark == Mark.CUT]


def test_cuts_are_found_and_noise_pans_and_flashes_are_not(texture):
    rng = np.random.default_rng(0)
    big = cv2.resize(texture, (1200, 900), interpolation=cv2.INTER_CUBIC)

    def noisy(picture):
        return np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)

    still = [noisy(big[:288, :360]) for _ in range(12)]
    pan = [noisy(big[300:588, 5 * i : 360 + 5 * i]) for i in range(12)]
    zoomed = [noisy(cv2.resize(big[300:540, 60:360], (360, 288))) for _ in range(12)]
    assert cuts(still + pan + zoomed) == [12, 24]
    flash = list(still)
    flash[6] = np.clip(flash[6].astype(int) + 20, 0, 255).astype(np.uint8)
    assert cuts(flash) == []
    assert cuts([numbered(0, 64, 144)] * 3 + [numbered(0, 72, 144)]) == [3]


def test_takes_of_one_person_before_one_wall_are_told_apart():
    root = DATA / "grid" / "s1"
    clips = sorted(root.glob("*.mpg"))[:120:12]
    if not clips:
        pytest.skip("no footage: set LIPSYNC_DATA")
    found = cuts(
        FramePicture(frame, cutter)
        for stream in map(probe, clips)
        for cutter in [Cutter(stream)]
        for frame in pictures_of(stream)
    )
    joins = [75 * k for k in range(1, len(clips))]
    assert set(found) <= set(joins) and len(found) >= len(joins) - 1
