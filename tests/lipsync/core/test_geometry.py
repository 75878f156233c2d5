"""Frames of reference: points and pictures move by one rule."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from lipsync.core.geometry import apply, mouth_space, similarity_fit, warp, warp_frame


def _affine(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1.0]])


def _spots(height: int, width: int, centres: list[tuple[float, float]], sigma: float = 2.5) -> np.ndarray:
    """Picture with a soft spot at each (x, y), by the pixel-centre rule."""
    y, x = np.mgrid[:height, :width] + 0.5
    return sum(200 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)) for cx, cy in centres).astype(np.float32)


def _centre(picture: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.array([(x * picture).sum(), (y * picture).sum()]) / picture.sum()


def test_apply_is_the_matrix_product_in_any_batch_shape():
    rng = np.random.default_rng(0)
    matrix = np.stack([_affine(a, 2, 3, -1) for a in (0.1, 0.2, 0.3)])
    points = rng.normal(size=(3, 5, 2))
    want = np.stack([[(m @ [*p, 1])[:2] for p in ps] for m, ps in zip(matrix, points, strict=False)])
    np.testing.assert_allclose(apply(matrix, points), want, atol=1e-12)
    np.testing.assert_allclose(apply(torch.tensor(matrix), torch.tensor(points)).numpy(), want, atol=1e-12)
    assert apply(matrix, points.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(apply(np.linalg.inv(matrix), apply(matrix, points)), points, atol=1e-12)


def test_similarity_fit_recovers_a_batch_and_ignores_weightless_points():
    rng = np.random.default_rng(1)
    b = rng.normal(size=(4, 7, 2))
    truth = np.stack([_affine(a, s, 5, 6) for a, s in ((0.5, 2), (-2, 0.3), (3, 1), (0, 10))])
    a = apply(truth, b)
    np.testing.assert_allclose(similarity_fit(a, b), truth, atol=1e-9)
    a[:, 0] += 100
    weights = np.ones(7)
    weights[0] = 0
    np.testing.assert_allclose(similarity_fit(a, b, weights), truth, atol=1e-9)


def test_similarity_fit_is_the_least_squares_answer():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    fitted = similarity_fit(a, b)
    least = ((apply(fitted, b) - a) ** 2).sum()
    for change in rng.normal(scale=1e-3, size=(50, 4)):
        c, s, x, y = (
            fitted[0, 0] + change[0],
            fitted[1, 0] + change[1],
            fitted[0, 2] + change[2],
            fitted[1, 2] + change[3],
        )
        assert ((apply(np.array([[c, -s, x], [s, c, y], [0, 0, 1]]), b) - a) ** 2).sum() >= least


def test_mouth_space_shows_the_mouth_and_is_even():
    for eye_distance in (31.7, 64.0, 203.1):
        space = mouth_space(eye_distance)
        assert space.height % 2 == space.width % 2 == 0
        corners = apply(np.linalg.inv(space.mouth_from_face), np.array([[0.0, 0.0], [space.width, space.height]]))
        assert (corners[0] <= [-0.72, -0.42]).all() and (corners[1] >= [0.72, 0.72]).all()
        assert (np.abs(corners - [[-0.72, -0.42], [0.72, 0.72]]) < 2 / eye_distance).all()
    with pytest.raises(ValueError, match="eye distance"):
        mouth_space(0)


@pytest.mark.parametrize(
    "matrix",
    [_affine(0.4, 1.3, 4, -2), _affine(-0.2, 1, 3.3, 5.7), _affine(0.1, 2.5, -30, -20), _affine(0.3, 0.3, 20, 10)],
)
def test_both_warps_put_a_spot_where_apply_puts_its_centre(matrix):
    picture = _spots(80, 100, [(45.3, 33.8)], sigma=4)
    size = (130, 150)
    torch_out = warp(torch.tensor(picture)[None, None], matrix[None], size)[0, 0].numpy()
    cv_out = warp_frame(np.repeat(picture[..., None], 3, 2).round().astype(np.uint8), matrix, *size)[..., 0]
    want = apply(matrix, np.array([[45.3, 33.8]]))[0]
    np.testing.assert_allclose(_centre(torch_out), want, atol=0.03)
    np.testing.assert_allclose(_centre(cv_out.astype(float)), want, atol=0.15)


def test_a_frame_of_planes_is_warped_as_one_of_pixels():
    frame = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    planes = np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0)
    for scale in (1.3, 0.4):
        matrix = np.diag([scale, scale, 1.0])
        np.testing.assert_array_equal(warp_frame(planes, matrix, 24, 28), warp_frame(frame, matrix, 24, 28))


def test_warps_agree_pixel_by_pixel_where_nothing_shrinks():
    rng = np.random.default_rng(3)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (60, 70, 3), np.uint8), (0, 0), 1.5)
    matrix = _affine(0.3, 1.2, 2.2, -6.1)
    ours = warp_frame(frame, matrix, 50, 64).astype(np.float32)
    theirs = (
        warp(torch.tensor(frame).permute(2, 0, 1)[None].float(), torch.tensor(matrix)[None], (50, 64))[0]
        .permute(1, 2, 0)
        .numpy()
    )
    y, x = np.mgrid[:50, :64] + 0.5
    back = apply(np.linalg.inv(matrix), np.stack([x, y], -1).reshape(-1, 2)).reshape(50, 64, 2)
    inside = (back > 2).all(-1) & (back < [68, 58]).all(-1)
    # cv2 rounds positions to 1/32 pixel; half a pixel would differ by 5 levels on average.
    assert inside.sum() > 1000 and np.abs(ours - theirs)[inside].mean() < 1


def test_whole_pixel_moves_are_exact_and_come_back():
    rng = np.random.default_rng(4)
    frame = rng.integers(0, 256, (40, 50, 3), np.uint8)
    move = _affine(0, 1, -7, -5)
    np.testing.assert_array_equal(warp_frame(frame, move, 20, 30), frame[5:25, 7:37])
    image = torch.tensor(frame).permute(2, 0, 1)[None].float()
    there = warp(image, move[None], (40, 50), "zeros")
    torch.testing.assert_close(there[..., :35, :43], image[..., 5:, 7:], atol=2e-3, rtol=0)
    back = warp(there, np.linalg.inv(move)[None], (40, 50), "zeros")
    torch.testing.assert_close(back[..., 5:, 7:], image[..., 5:, 7:], atol=4e-3, rtol=0)


def test_shrinking_averages_instead_of_picking():
    stripes = np.zeros((120, 120), np.float32)
    stripes[:, ::2] = 200
    matrix = _affine(0, 1 / 4, 0, 0)
    small = warp(torch.tensor(stripes)[None, None], matrix[None], (30, 30))[0, 0].numpy()[3:-3, 3:-3]
    assert np.abs(small - 100).max() < 3
    small = warp_frame(np.repeat(stripes[..., None], 3, 2).astype(np.uint8), matrix, 30, 30)[3:-3, 3:-3].astype(float)
    assert np.abs(small - 100).max() < 3


def test_warp_has_gradients_and_batches_like_single_pictures():
    image = torch.rand(3, 2, 20, 24, requires_grad=True)
    matrices = np.stack([_affine(0.1 * i, 1, i, 0) for i in range(3)])
    together = warp(image, matrices, (16, 18))
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], warp(image[i : i + 1], matrices[i : i + 1], (16, 18)))
    together.sum().backward()
    assert image.grad.abs().sum() > 0
