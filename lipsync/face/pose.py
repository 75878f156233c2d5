"""Head pose from landmarks: scaled orthographic camera, a face shape of the person's own, smoothing without lag.

Pose parameters are (T,6) float64 rows: rotation vector (3, radians), log scale (pixels per eye distance), shift x and y
(pixels of the face origin). The face frame with depth is that of `canonical.py`: x right, y down, z away from the
camera."""

from __future__ import annotations

import numpy as np

from lipsync.core.canonical import RIGID_68, canonical_68
from lipsync.core.geometry import similarity_fit

_ROUNDS = 12


def rotation(vector: np.ndarray) -> np.ndarray:
    """(...,3,3) rotation matrices of (...,3) rotation vectors."""
    from scipy.spatial.transform import Rotation  # 0.1 s, and a dub of a known target needs none

    return Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(*vector.shape, 3)


def yaw_pitch_roll(vector: np.ndarray) -> np.ndarray:
    """(...,3) float32 degrees of (...,3) rotation vectors: yaw > 0 looks to the picture's right, pitch > 0 up, roll > 0
    tilts clockwise."""
    r = rotation(vector)
    yaw = np.arcsin(np.clip(r[..., 2, 0], -1, 1))
    pitch = -np.arctan2(r[..., 2, 1], r[..., 2, 2])
    roll = np.arctan2(r[..., 1, 0], r[..., 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], -1)).astype(np.float32)


def project(params: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """(T,n,2) pixels of the (n,3) points of a face under (T,6) poses."""
    scale = np.exp(params[:, 3])[:, None, None]
    return scale * (shape @ rotation(params[:, :3])[:, :2].swapaxes(-1, -2)) + params[:, None, 4:]


def fit_pose(pixels: np.ndarray, shape: np.ndarray, prior: float = 1e-4) -> np.ndarray:
    """(T,6) poses that bring the (n,3) `shape` nearest to (T,n,2) `pixels` (least squares, Gauss-Newton from an upright
    start).

    prior: pull of yaw and pitch towards frontal, as squared error in eye distances per squared radian: keeps the depth
    sign from flipping."""
    from scipy.spatial.transform import Rotation

    pixels = np.asarray(pixels, np.float64)
    start = similarity_fit(pixels, shape[:, :2])
    params = np.zeros((len(pixels), 6))
    params[:, 2] = np.arctan2(start[:, 1, 0], start[:, 0, 0])
    params[:, 3] = np.log(np.maximum(np.hypot(start[:, 0, 0], start[:, 1, 0]), 1e-6))
    params[:, 4:] = start[:, :2, 2]
    n = shape.shape[0]
    for _ in range(_ROUNDS):
        turned = shape @ rotation(params[:, :3]).swapaxes(-1, -2)
        scale = np.exp(params[:, 3])[:, None]
        x, y, z = np.moveaxis(turned, -1, 0)
        jacobian = np.zeros((len(pixels), n, 2, 6))
        # A small turn w before the present one moves a point p by w x p; only x and y are seen.
        jacobian[..., 0, 1], jacobian[..., 0, 2] = scale * z, -scale * y
        jacobian[..., 1, 0], jacobian[..., 1, 2] = -scale * z, scale * x
        jacobian[..., 0, 3], jacobian[..., 1, 3] = scale * x, scale * y
        jacobian[..., 0, 4] = jacobian[..., 1, 5] = 1
        jacobian = jacobian.reshape(len(pixels), 2 * n, 6)
        residual = (pixels - (scale[..., None] * turned[..., :2] + params[:, None, 4:])).reshape(len(pixels), 2 * n, 1)
        normal = jacobian.swapaxes(-1, -2) @ jacobian
        pull = prior * n * scale[:, 0] ** 2
        normal[:, 0, 0] += pull
        normal[:, 1, 1] += pull
        right = (jacobian.swapaxes(-1, -2) @ residual)[..., 0]
        right[:, :2] -= pull[:, None] * params[:, :2]
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        size = np.linalg.norm(step[:, :3], axis=-1, keepdims=True)
        step[:, :3] *= np.minimum(1, 0.5 / np.maximum(size, 1e-12))
        params[:, :3] = (Rotation.from_rotvec(step[:, :3]) * Rotation.from_rotvec(params[:, :3])).as_rotvec()
        params[:, 3:] += step[:, 3:] * [0.9999, 1, 1]
    return params


def own_shape(pixels: np.ndarray, weights: np.ndarray, rounds: int = 3, stiffness: float = 0.1) -> np.ndarray:
    """(13,3) rigid points of this person, from (T,13,2) pixels over many frames and (T,) weights.

    The average face is bent, point by point, to what the frames show (least squares, drawn to the average by
    `stiffness` of the frames' weight), so that a face unlike the average does not turn its misfit into pose noise.
    Scaled to an outer-eye-corner distance of 1."""
    average = canonical_68()[RIGID_68].astype(np.float64)
    use = np.flatnonzero(weights > 0)
    if len(use) == 0:
        return average
    use = use[np.linspace(0, len(use) - 1, min(len(use), 600)).astype(int)]
    pixels, weights = pixels[use], weights[use] / weights[use].mean()
    shape = average
    for _ in range(rounds):
        params = fit_pose(pixels, shape)
        scale = np.exp(params[:, 3])
        camera = rotation(params[:, :3])[:, :2]
        seen = (pixels - params[:, None, 4:]) / scale[:, None, None]
        normal = np.einsum("t,tia,tib->ab", weights, camera, camera) + stiffness * len(use) * np.diag([1e-2, 1e-2, 1])
        right = np.einsum("t,tia,tni->na", weights, camera, seen - average @ camera.swapaxes(-1, -2))
        bent = average + np.linalg.solve(normal, right.T).T
        shape = _normalised(bent, average)
    return shape


def _normalised(shape: np.ndarray, average: np.ndarray) -> np.ndarray:
    """`shape` moved, turned and scaled to lie on `average`, then scaled so that the outer eye corners are 1 apart."""
    a, b = average - average.mean(0), shape - shape.mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    turned = b @ turn.T
    left, right = RIGID_68.tolist().index(36), RIGID_68.tolist().index(45)
    factor = 1 / np.linalg.norm(turned[right] - turned[left])
    return turned * factor + average.mean(0)


def pixel_from_face(params: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(T,3,3) affines of the plane through `origin` (3,), the midpoint of the resting mouth corners, parallel to the
    face."""
    turn = rotation(params[:, :3])
    scale = np.exp(params[:, 3])[:, None, None]
    out = np.zeros((len(params), 3, 3))
    out[:, :2, :2] = scale * turn[:, :2, :2]
    out[:, :2, 2] = params[:, 4:] + (scale * (turn[:, :2] @ origin[:, None]))[..., 0]
    out[:, 2, 2] = 1
    return out


def smooth(
    values: np.ndarray, seconds: np.ndarray, weights: np.ndarray, shot: np.ndarray, width_s: float, order: int = 2
) -> np.ndarray:
    """(T,d) float64 `values` without their jitter and without lag: a local polynomial under a Gaussian of `width_s`
    seconds, per shot.

    Fitted at every frame to its neighbours at their own times (Savitzky-Golay for any frame rate). weights: (T,) >= 0;
    a frame of weight 0 takes its neighbours' curve. `width_s` <= 0, or no weight nearby, leaves the value as it is."""
    values = np.asarray(values, np.float64)
    n = len(values)
    if n < 2 or width_s <= 0:
        return values.copy()
    reach = min(n - 1, int(np.ceil(3 * width_s / max(float(np.median(np.diff(seconds))), 1e-6))))
    moments = np.zeros((n, order + 1, order + 1))
    right = np.zeros((n, order + 1, values.shape[1]))
    for offset in range(-reach, reach + 1):
        here = np.arange(max(0, -offset), min(n, n - offset))
        there = here + offset
        x = (seconds[there] - seconds[here]) / width_s
        w = np.exp(-0.5 * x * x) * weights[there] * (shot[there] == shot[here])
        powers = x[:, None] ** np.arange(order + 1)
        moments[here] += w[:, None, None] * powers[:, :, None] * powers[:, None, :]
        right[here] += w[:, None, None] * powers[:, :, None] * (values[there] - values[here])[:, None]
    known = moments[:, 0, 0] > 1e-6
    moments += np.diag([1e-12] + [1e-3] * order)
    moments[~known] = np.eye(order + 1)
    out = values + np.linalg.solve(moments, right)[:, 0]
    out[~known] = values[~known]
    return out
