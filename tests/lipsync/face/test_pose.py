"""Head pose from constructed faces: what was projected is recovered."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.core.canonical import RIGID_68, canonical_68
from lipsync.core.geometry import apply
from lipsync.face.pose import fit_pose, own_shape, pixel_from_face, project, rotation, smooth, yaw_pitch_roll

RIGID = canonical_68()[RIGID_68].astype(np.float64)


def _poses(n: int, spread: float = 0.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    params = rng.uniform(-spread, spread, (n, 6))
    params[:, 3] = np.log(rng.uniform(30, 200, n))
    params[:, 4:] = rng.uniform(50, 500, (n, 2))
    return params


def test_pose_is_recovered_up_to_30_degrees_each_way():
    truth = _poses(200)
    found = fit_pose(project(truth, RIGID), RIGID, prior=1e-9)
    np.testing.assert_allclose(found, truth, atol=2e-3)


def test_signs_of_the_angles():
    """Yaw > 0 moves the nose tip to the picture's right of the eyes, pitch > 0 up, roll > 0 turns clockwise."""

    def at(vector):
        return yaw_pitch_roll(np.array(vector, float)), (canonical_68() @ rotation(np.array(vector, float)).T)[:, :2]

    angles, face = at([0, -0.3, 0])
    assert angles[0] == pytest.approx(np.degrees(0.3), abs=1e-3) and face[30, 0] > face[27, 0] + 0.05
    angles, face = at([-0.3, 0, 0])
    assert angles[1] == pytest.approx(np.degrees(0.3), abs=1e-3) and face[30, 1] - face[27, 1] < 0.4
    angles, face = at([0, 0, 0.3])
    assert angles[2] == pytest.approx(np.degrees(0.3), abs=1e-3) and face[45, 1] > face[36, 1]


def test_transform_maps_the_mouth_plane_whatever_the_pose():
    truth = _poses(50, seed=1)
    origin = np.array([0.02, -0.03, 0.0])
    plane = np.random.default_rng(2).uniform(-0.3, 0.3, (9, 3)) * [1, 1, 0]
    want = project(truth, plane + origin)
    np.testing.assert_allclose(apply(pixel_from_face(truth, origin), plane[:, :2]), want, atol=1e-9)


def test_a_face_unlike_the_average_is_learnt():
    rng = np.random.default_rng(3)
    person = RIGID + rng.normal(scale=0.03, size=RIGID.shape)
    truth = _poses(300, 0.35, seed=4)
    pixels = project(truth, person)
    shape = own_shape(pixels, np.ones(300), stiffness=1e-3)
    eyes = [RIGID_68.tolist().index(i) for i in (36, 45)]
    assert np.linalg.norm(np.subtract(*shape[eyes])) == pytest.approx(1)

    def misfit(points):
        return np.abs(project(fit_pose(pixels, points), points) - pixels).mean() / np.exp(truth[:, 3]).mean()

    assert misfit(shape) < 0.15 * misfit(RIGID)


def test_smoothing_has_no_lag_keeps_cuts_and_fills_holes():
    seconds = np.cumsum(np.random.default_rng(5).uniform(0.02, 0.05, 120))
    shot = (np.arange(120) >= 60).astype(int)
    slow = np.sin(2 * np.pi * 0.5 * seconds)[:, None] + 5 * shot[:, None]
    weights = np.ones(120)
    np.testing.assert_allclose(smooth(slow, seconds, weights, shot, 0.06), slow, atol=0.01)
    spoilt = slow.copy()
    spoilt[30] += 100
    weights[30] = 0
    np.testing.assert_allclose(smooth(spoilt, seconds, weights, shot, 0.06), slow, atol=0.02)
    noise = np.random.default_rng(6).normal(size=(2000, 1))
    quiet = smooth(noise, np.arange(2000) / 25, np.ones(2000), np.zeros(2000), 0.06)
    assert quiet.std() < 0.75 * noise.std()
