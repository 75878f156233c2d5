"""Every measure gives the number that the constructed case must have."""

import numpy as np
import pytest
import torch

from lipsync.core.canonical import canonical_68
from lipsync.metrics import lips as lip_metrics
from lipsync.metrics import pictures as picture_metrics
from lipsync.metrics.lips import opening_r, opening_r_interval

FACE = canonical_68()[:, :2].astype(np.float64)
INNER_LOWER = [65, 66, 67]


def a_film(n=40, seed=0, opening=None, scale=80.0):
    """(N,68,2) pixel landmarks: the average face, moved, turned and scaled in every frame, its lower inner lip lowered
    by `opening`."""
    rng = np.random.default_rng(seed)
    face = np.repeat(FACE[None], n, 0)
    if opening is not None:
        face[:, INNER_LOWER, 1] += opening[:, None]
    angle, size, shift = rng.normal(0, 0.2, n), scale * rng.uniform(0.9, 1.1, n), rng.uniform(100, 300, (n, 1, 2))
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], 1), np.stack([np.sin(angle), np.cos(angle)], 1)], 1)
    return size[:, None, None] * face @ turn.transpose(0, 2, 1) + shift


def test_alignment_undoes_every_similarity():
    reference = lip_metrics.rigid_reference(a_film())
    lips = lip_metrics.aligned_lips(a_film(seed=1), reference)
    again = lip_metrics.aligned_lips(a_film(seed=2, scale=31.0), reference)
    np.testing.assert_allclose(lips, again, atol=1e-9)
    eyes = np.linalg.norm(FACE[45] - FACE[36])
    width = np.linalg.norm(FACE[54] - FACE[48]) / eyes
    assert np.linalg.norm(lips[0, 6] - lips[0, 0]) == pytest.approx(width, rel=1e-6)


def test_lmd_counts_eye_distances():
    eyes = np.linalg.norm(FACE[45] - FACE[36])
    real = a_film()
    reference = lip_metrics.rigid_reference(real)
    opened = lip_metrics.aligned_lips(a_film(seed=3, opening=np.full(40, 0.06)), reference)
    closed = lip_metrics.aligned_lips(real, reference)
    assert lip_metrics.lmd(opened, closed) == pytest.approx(0.06 / eyes * 3 / 18, rel=1e-6)
    assert lip_metrics.lmd(opened, closed, remove_means=True) == pytest.approx(0, abs=1e-9)
    assert lip_metrics.lmd(closed, closed) == 0


def test_opening_measures():
    real = np.sin(np.linspace(0, 9, 200))
    assert lip_metrics.opening_r(3 * real + 1, real) == pytest.approx(1)
    assert lip_metrics.opening_r(-real, real) == pytest.approx(-1)
    assert lip_metrics.opening_r(np.ones(200), real) == 0
    assert lip_metrics.articulation(0.6 * real + 5, real) == pytest.approx(0.6)


def test_rigid_distance_in_eye_distances():
    real = a_film()
    eyes = np.linalg.norm(real[:, 45] - real[:, 36], axis=1)
    moved = real + 0.25 * eyes[:, None, None] * np.array([0.6, 0.8])
    np.testing.assert_allclose(lip_metrics.rigid_distance(moved, real), 0.25)


def test_silence():
    voiced = np.ones(100, bool)
    voiced[10:17] = False  # 7 frames at 25 a second: 0.28 s
    voiced[40:48] = False
    voiced[90:100] = False
    silences = lip_metrics.long_silences(voiced, 25)
    assert silences == [slice(40, 48), slice(90, 100)]
    opening = np.where(np.arange(100) % 2, 0.1, 0.3)
    opening[90:] = 0.01 + 0.02 * (np.arange(10) % 2)
    expected = np.sqrt((8 * 0.1**2 + 10 * 0.01**2) / 18)
    assert lip_metrics.silent_lip_std(opening, silences) == pytest.approx(expected)
    assert lip_metrics.silent_lip_std(opening, []) is None
    assert lip_metrics.resting_gap(opening, [slice(90, 100)]) == pytest.approx(0.02)
    assert lip_metrics.closed(np.array([0.0, 0.039, 0.041]), 0.02).tolist() == [True, True, False]


def test_lip_leak_counts_silent_frames_only():
    opening = np.array([0.0, 0.1, 0.1, 0.0, 0.1])
    silent = np.array([True, True, False, True, True])
    assert lip_metrics.lip_leak(opening, 0.0, silent) == 0.5
    assert lip_metrics.lip_leak(opening, 0.0, silent, np.array([True, True, True, False, False])) == 0.5
    assert lip_metrics.lip_leak(opening, 0.0, silent, np.array([False, True, True, False, True])) == 1.0
    assert lip_metrics.lip_leak(opening, 0.0, np.zeros(5, bool)) is None


def test_region_box_of_a_placed_face():
    pixel_from_face = np.array([[80.0, 0, 200], [0, 80, 150], [0, 0, 1]])
    assert picture_metrics.region_box(pixel_from_face, 400, 400) == (slice(130, 190), slice(160, 240))
    rows, columns = picture_metrics.region_box(pixel_from_face, 160, 180)
    assert (rows, columns) == (slice(130, 160), slice(160, 180))


def test_psnr():
    a = np.full((20, 30, 3), 100, np.uint8)
    assert picture_metrics.psnr(a, a) == picture_metrics.PSNR_CAP
    assert picture_metrics.psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5), rel=1e-6)


def test_ssim_of_flat_pictures_and_of_itself():
    a, b = torch.full((1, 1, 20, 20), 0.2, dtype=torch.float64), torch.full((1, 1, 20, 20), 0.6, dtype=torch.float64)
    c1 = 0.01**2
    assert float(picture_metrics.ssim(a, b)) == pytest.approx((2 * 0.12 + c1) / (0.04 + 0.36 + c1), abs=1e-7)
    noise = torch.rand(2, 3, 24, 31, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(picture_metrics.ssim(noise, noise), 1, atol=1e-5)
    with pytest.raises(ValueError, match="11 x 11"):
        picture_metrics.ssim(a[..., :5], b[..., :5])


def test_ssim_equals_the_definition():
    rng = np.random.default_rng(0)
    a = rng.random((14, 17))
    b = np.clip(a + rng.normal(0, 0.2, a.shape), 0, 1)
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    scores = []
    for y in range(4):
        for x in range(7):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq, cov = (
                (window * (p - mp) ** 2).sum(),
                (window * (q - mq) ** 2).sum(),
                (window * (p - mp) * (q - mq)).sum(),
            )
            scores.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    mine = picture_metrics.ssim(*(torch.from_numpy(x)[None, None] for x in (a, b)))
    assert float(mine) == pytest.approx(np.mean(scores), abs=1e-9)


def a_picture(height=96, width=128, seed=0):
    """(H,W,3) uint8 with structure at several scales."""
    import cv2

    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    layers = sum(s * cv2.GaussianBlur(noise, (0, 0), s) for s in (2, 4, 8))
    return np.clip(128 + 45 * layers, 0, 255).astype(np.uint8)


def test_sharpness():
    import cv2

    checker = np.indices((20, 20)).sum(0) % 2
    grey = np.repeat((checker * 10 + 50).astype(np.uint8)[..., None], 3, 2)
    assert picture_metrics.sharpness(grey) == pytest.approx(40**2, rel=1e-3)  # every Laplacian is +40 or -40
    picture = a_picture()
    assert picture_metrics.sharpness(cv2.GaussianBlur(picture, (0, 0), 1.5)) < 0.5 * picture_metrics.sharpness(picture)


def test_flicker_sees_through_motion_but_not_through_noise():
    picture = a_picture(140, 180)
    before, after = picture[10:130, 10:170], picture[12:132, 13:173]
    still = picture_metrics.flicker(before, before, 8)
    moved = picture_metrics.flicker(before, after, 8)
    assert still == 0
    assert np.abs(before.astype(float) - after).mean() > 8 > 1 > moved
    noisy = np.clip(before + np.random.default_rng(0).normal(0, 6, before.shape), 0, 255).astype(np.uint8)
    assert picture_metrics.flicker(before, noisy, 8) > 3
    brighter = (before * 0.8 + 10 + 5).astype(np.uint8)
    assert picture_metrics.flicker((before * 0.8 + 10).astype(np.uint8), brighter, 8) == pytest.approx(5, abs=1.5)


def test_seam():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 25:55] = True
    flat = np.full((60, 80, 3), 100, np.uint8)
    assert picture_metrics.seam(flat, mask) == (0.0, 0.0)
    step = flat.copy()
    step[mask] = (110, 100, 100)
    colour, _ = picture_metrics.seam(step, mask)
    assert colour == pytest.approx(10, abs=0.6)
    bend = flat.copy().astype(np.float32)
    bend[..., :] += 2.0 * np.maximum(np.arange(80) - 25, 0)[None, :, None]
    band = np.zeros((60, 80), bool)
    band[:, 25:] = True
    _, gradient = picture_metrics.seam(bend, band, reach_px=3)
    assert gradient == pytest.approx(2, abs=0.1)
    assert picture_metrics.seam(flat, np.zeros((60, 80), bool)) == (0.0, 0.0)


def test_colour_step_is_what_the_real_frame_has_not():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 25:55] = True
    real = np.full((60, 80, 3), 100, np.uint8)
    real[mask] = (130, 100, 100)  # lips step at their edge in the real frame, too
    drawn = real.copy()
    assert picture_metrics.colour_step(real, drawn, mask) == 0
    drawn[mask] += np.array([0, 12, 0], np.uint8)
    assert picture_metrics.colour_step(real, drawn, mask) == pytest.approx(12, abs=0.6)
    half = np.where(np.arange(80)[None, :, None] < 40, drawn, real)
    assert picture_metrics.colour_step(real, half, mask) == pytest.approx(6, abs=2), "sectors do not cancel"
    noise = np.random.default_rng(0).integers(-12, 13, real.shape)
    noisy = np.clip(real.astype(int) + noise, 0, 255).astype(np.uint8)
    assert picture_metrics.colour_step(real, noisy, mask) < 5
    assert picture_metrics.colour_step(real, drawn, np.zeros((60, 80), bool)) == 0.0


def test_bootstrap_interval():
    assert lip_metrics.bootstrap_interval([3.0, 3.0, 3.0]) == (3.0, 3.0)
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = lip_metrics.bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03) and high == pytest.approx(
        values.mean() + half, abs=0.03
    )
    assert lip_metrics.bootstrap_interval(values) == (low, high)


def test_of_two_seconds_no_correlation_is_sure():
    """Two seconds that are alike: by blocks of a second there would be no doubt at all."""
    rng = np.random.default_rng(0)
    real, noise = rng.standard_normal((2, 100))
    real, ours = np.tile(real, 2), np.tile(real + noise, 2)
    low, high = opening_r_interval(ours, real)
    assert low < opening_r(ours, real) < high and high - low > 0.02
    real = rng.standard_normal(20_000)
    ours = real + rng.standard_normal(20_000)
    low, high = opening_r_interval(ours, real)
    assert low < opening_r(ours, real) < high and high - low < 0.05


def _textured(shift=(0.0, 0.0), size=80):
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wave = 128 + 60 * np.sin((x - shift[0]) / 4) + 50 * np.sin((y - shift[1]) / 5)
    return np.repeat(wave[..., None], 3, 2).round().astype(np.uint8)


@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.0, -0.7), (0.6, 0.8)])
def test_displacement_is_how_far_things_moved(shift):
    inner = np.zeros((80, 80), bool)
    inner[10:-10, 10:-10] = True
    assert picture_metrics.displacement(_textured(), _textured(shift), inner) == pytest.approx(
        np.hypot(*shift), abs=0.12
    )


def test_displacement_sees_the_worst_place_and_only_the_mask():
    before, after = _textured(), _textured()
    after[50:, 50:] = _textured((0.0, 1.0))[50:, 50:]
    everywhere = np.ones((80, 80), bool)
    assert picture_metrics.displacement(before, before, everywhere) == 0
    assert picture_metrics.displacement(before, after, everywhere) > 0.8
    everywhere[50:, 50:] = False
    assert picture_metrics.displacement(before, after, everywhere) < 0.1
    assert picture_metrics.displacement(before, after, np.zeros((80, 80), bool)) == 0


def test_edge_sharpness_falls_with_blur_not_with_contrast():
    import cv2

    sharp = np.kron(np.random.default_rng(0).integers(60, 200, (10, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    faint = (sharp // 2 + 60).astype(np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.5)
    everywhere = np.ones(sharp.shape[:2], bool)
    found = [picture_metrics.edge_sharpness(p, everywhere) for p in (sharp, faint, soft, np.full_like(sharp, 90))]
    assert found[1] == pytest.approx(found[0], abs=0.02) and found[2] < 0.7 * found[0] and found[3] == 0
