"""The presenter: pictures and truth at any head time and mouth state, any size.

Pixel frame: x right, y down, origin at the corner of the first pixel, centre of (row r, column c) = (c + 0.5, r + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from lipsync.core.lips import LIPS_FROM_68, opening
from samples.presenter import parts, raster
from samples.presenter.geometry import Sheet, join, vertex_normals
from samples.presenter.head import LOWER_EDGE, UPPER_EDGE, Head
from samples.presenter.lighting import light_reaching, lights
from samples.presenter.motion import Pose, activity, pose_at
from samples.presenter.skin import paint, unwrap
from samples.presenter.speech import REST, as_mouth

_CAMERA_FAR = 16.0  # eye distances from the mouth to the camera
_NECK = np.array([0.0, 0.55, 1.0])  # what the head turns about


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What is true of one frame. lips: (18,2) and landmarks: (68,2) pixels; pixel_from_face: (3,3) affine of the plane
    through the resting mouth; lips_face: (18,2) = inverse of it on `lips`; pose: yaw, pitch, roll degrees (yaw > 0 to
    the picture's right, pitch > 0 down, roll > 0 clockwise); gap: mean inner-lip gap in eye distances; blink: 0..1;
    mouth: (9,) state; visible: False where no face is shown; covered: the mouth is behind something."""

    lips: np.ndarray
    landmarks: np.ndarray
    pixel_from_face: np.ndarray
    lips_face: np.ndarray
    pose: np.ndarray
    gap: float
    blink: float
    mouth: np.ndarray
    visible: bool
    covered: bool


@dataclass(frozen=True, slots=True)
class _Rig:
    """What does not depend on the picture's size: surfaces, and the light that reaches them at rest."""

    head: Head
    hair: Sheet
    torso: Sheet
    face_uv: np.ndarray
    face_light: np.ndarray
    hair_light: np.ndarray
    torso_light: np.ndarray


@cache
def _rig(person: int) -> _Rig:
    head, hair, torso = Head(person), parts.hair(person), parts.torso()
    n = len(head.rest)
    whole = join([Sheet(head.rest, head.triangles, np.zeros((n, 2)), np.ones(n)), hair, torso])
    light = light_reaching(whole.points, whole.triangles, vertex_normals(whole.points, whole.triangles))
    return _Rig(
        head, hair, torso, unwrap(head.rest), light[:n], light[n : n + len(hair.points)], light[n + len(hair.points) :]
    )


class Presenter:
    """A rendered person who does not exist.

    size: (width, height) pixels. seed: 0 or 1 chooses the person (and the pattern of head motion). pauses: (K,2)
    seconds of the head clock in which the head rests. samples: per pixel side. yaw_override: degrees, fixes the yaw.
    absent, occluder: (start, end) seconds of the head clock without a person, or with a hand before the mouth. cut_s:
    head time of a cut to a closer view."""

    def __init__(
        self,
        size: tuple[int, int] = (1280, 720),
        seed: int = 0,
        *,
        pauses: np.ndarray | None = None,
        samples: int = 2,
        yaw_override: float | None = None,
        absent: tuple[float, float] | None = None,
        occluder: tuple[float, float] | None = None,
        cut_s: float | None = None,
    ) -> None:
        self.width, self.height = size
        self.seed, self.samples = seed, samples
        self.yaw_override, self.absent, self.occluder, self.cut_s = yaw_override, absent, occluder, cut_s
        self.pauses = np.zeros((0, 2)) if pauses is None else np.asarray(pauses, float)
        self._rig = _rig(seed % 2)
        self.head = self._rig.head
        self.scale = 0.212 * self.height
        self._texture = paint(self.head, float(np.clip(self.scale * 1.3, 60, 420)), seed)
        self._mouth_parts()
        self._background = _backdrop(self.width, self.height)
        grain = np.random.default_rng(5).normal(0, 1.5 / 255, (self.height + 64, self.width + 64)).astype(np.float32)
        self._noise = gaussian_filter(grain, 0.45)
        self._base = _base_colours(seed)
        self._lights = lights()
        self._tone = raster.tone_curve()

    # -- scene ---------------------------------------------------------------------------------------------------

    def _mouth_parts(self) -> None:
        self._eyeball = parts.eyeball()
        self._upper_teeth, self._upper_gum, self._lower_teeth, self._lower_gum = parts.teeth()
        self._tongue, self._cavity = parts.tongue(), parts.cavity()

    def _pose(self, head_t: float) -> Pose:
        pose = pose_at(head_t, activity(head_t, self.pauses), self.seed)
        if self.yaw_override is not None:
            pose = Pose(self.yaw_override, pose.pitch, pose.roll, pose.shift, pose.gaze, pose.blink, pose.brow)
        return pose

    def _view(self, head_t: float) -> tuple[float, float, float]:
        """Pixels per eye distance and the pixel of the head frame's origin."""
        closer = 1.22 if self.cut_s is not None and head_t >= self.cut_s else 1.0
        return self.scale * closer, self.width * 0.5, self.height * (0.585 + 0.05 * (closer - 1) / 0.22)

    def _turn(self, pose: Pose) -> np.ndarray:
        y, p, r = np.radians([pose.yaw, pose.pitch, pose.roll])
        about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
        about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
        return about_z @ about_y @ about_x

    def _place(self, points: np.ndarray, pose: Pose, follow: np.ndarray | float = 1.0) -> np.ndarray:
        """Head frame to camera frame; follow: 1 with the head .. 0 with the body."""
        moved = (points - _NECK) @ self._turn(pose).T + _NECK + pose.shift
        f = np.asarray(follow, float)
        return moved if f.ndim == 0 and f == 1 else points + (moved - points) * f[:, None]

    def _project(self, points: np.ndarray, head_t: float) -> np.ndarray:
        """Camera frame to pixels and depth."""
        scale, cx, cy = self._view(head_t)
        k = scale * _CAMERA_FAR / (_CAMERA_FAR + points[:, 2])
        return np.stack([cx + k * points[:, 0], cy + k * points[:, 1], points[:, 2]], 1)

    # -- picture -------------------------------------------------------------------------------------------------

    def frame(self, head_t: float, mouth: np.ndarray | dict[str, float] | None = None) -> np.ndarray:
        """(H,W,3) uint8 RGB."""
        mouth = as_mouth(mouth)
        picture = self._background.copy()
        if not self._is_absent(head_t):
            self._draw(picture, head_t, mouth)
        k = round(head_t * 1000)
        i, j = (k * 7919) % 64, (k * 104729) % 61
        picture += self._noise[i : i + self.height, j : j + self.width, None]
        return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)

    def _is_absent(self, head_t: float) -> bool:
        return self.absent is not None and self.absent[0] <= head_t < self.absent[1]

    def _draw(self, picture: np.ndarray, head_t: float, mouth: np.ndarray) -> None:
        points, triangles, material, uv, normals, light = self._scene(head_t, mouth)
        n = self.samples
        points = points * np.array([n, n, 1.0])
        shape = (self.height * n, self.width * n)
        depth, index = np.full(shape, 1e9), np.full(shape, -1, np.int32)
        low, high = np.floor(points[:, :2].min(0) / n).astype(int), np.ceil(points[:, :2].max(0) / n).astype(int)
        box = np.array([*np.maximum(low, 0), *np.minimum(high, (self.width, self.height))])
        raster.rasterise(points, triangles, material, uv, depth, index, *(box * n))
        scene = (points, triangles, material, uv, normals, light, self._texture, self._base, self._lights)
        raster.shade(scene, depth, index, self._tone, n, picture, box)

    def _scene(self, head_t: float, mouth: np.ndarray):
        """All surfaces of one frame: pixel points, triangles, material, uv, camera-frame normals, light."""
        pose, head, rig = self._pose(head_t), self.head, self._rig
        fine = head.face(mouth, pose.blink, pose.brow)
        inside = self._inside_mouth(fine, mouth)
        items: list[tuple] = [
            (
                Sheet(fine, head.triangles, rig.face_uv, np.ones(len(fine))),
                raster.SKIN,
                head.follow_fine,
                rig.face_light,
            )
        ]
        items += [(s, m, 1.0, np.stack([s.occ, s.occ], 1)) for s, m in inside]
        for eye, border, centre in zip((-1, 1), head.eye_borders, head.eyes, strict=True):
            items.append((self._eye(centre, pose, fine, border, eye), raster.EYE, 1.0, None))
            for upper, length, lift in ((True, 0.042, -1.0), (False, 0.014, 1.0)):
                s = parts.lashes(
                    parts.lid_edges(fine, border, eye, upper),
                    centre,
                    length,
                    lift * (1 - 1.4 * pose.blink if upper else 1),
                )
                items.append((s, raster.LASH, 1.0, None))
        items += [(s, raster.LINING, 1.0, np.stack([s.occ, s.occ], 1)) for s in head.lid_margins(fine)]
        low = np.clip((rig.hair.points[:, 1] - 0.1) / 1.2, 0, 1)
        items.append((rig.hair, raster.HAIR, 1 - 0.8 * low, rig.hair_light))
        items.append((rig.torso, raster.CLOTH, 0.0, rig.torso_light))
        if self.occluder is not None and self.occluder[0] <= head_t < self.occluder[1]:
            items.append((self._hand(head_t), raster.HAND, 0.0, None))
        return self._gather(items, pose, head_t)

    def _gather(self, items, pose: Pose, head_t: float):
        placed, material, light = [], [], []
        for sheet, kind, follow, got in items:
            f = np.broadcast_to(np.asarray(follow, float), len(sheet.points))
            placed.append(Sheet(self._place(sheet.points, pose, f), sheet.triangles, sheet.uv, sheet.occ))
            material.append(np.full(len(sheet.triangles), kind, np.int64))
            light.append(np.stack([sheet.occ, sheet.occ], 1) if got is None else got)
        whole = join(placed)
        normals = vertex_normals(whole.points, whole.triangles)
        return (
            self._project(whole.points, head_t),
            whole.triangles,
            np.concatenate(material),
            whole.uv,
            normals,
            np.concatenate(light),
        )

    def _inside_mouth(self, fine: np.ndarray, mouth: np.ndarray) -> list[tuple[Sheet, int]]:
        """Lip linings, teeth, gums, tongue and cavity, lit by how far the mouth is open above and below each point."""
        head = self.head
        out = [(head.lip_lining(fine), raster.LINING)]
        upper, lower = fine[UPPER_EDGE], fine[LOWER_EDGE]
        gap = float(np.clip((lower[:, 1] - upper[:, 1]).max(), 0, 1))
        if gap < 0.004:
            return out
        raised = self._tongue.points + np.array([0, -0.085, -0.02]) * float(mouth[6])
        tongue = replace(self._tongue, points=raised)
        fixed = ((self._upper_teeth, raster.TEETH), (self._upper_gum, raster.GUM), (self._cavity, raster.CAVITY))
        in_jaw = ((self._lower_teeth, raster.TEETH), (self._lower_gum, raster.GUM), (tongue, raster.TONGUE))
        for sheet, kind, jaw in [(*item, False) for item in fixed] + [(*item, True) for item in in_jaw]:
            p = head.in_jaw(sheet.points, mouth) if jaw else sheet.points
            below = p[:, 1] - np.interp(p[:, 0], upper[:, 0], upper[:, 1])
            above = np.interp(p[:, 0], lower[:, 0], lower[:, 1]) - p[:, 1]
            lit = np.clip((below + 0.03) / 0.075, 0.22, 1) ** 0.8 * np.clip((above + 0.05) / 0.08, 0.25, 1)
            lit *= 0.35 + 0.65 * np.clip(gap / 0.10, 0, 1)
            lit *= np.exp(-np.square(p[:, 0] / 0.27)) * np.exp(-np.clip(p[:, 2] + 0.02, 0, None) / 0.16)
            out.append((Sheet(p, sheet.triangles, sheet.uv, sheet.occ * lit), kind))
        return out

    def _eye(self, centre: np.ndarray, pose: Pose, fine: np.ndarray, border: list[int], side: int) -> Sheet:
        """An eyeball looking where the gaze goes; darker under the upper lid and towards the corners."""
        yaw, pitch = np.radians(np.clip(pose.gaze[0], -25, 25)), np.radians(np.clip(pose.gaze[1], -15, 15))
        s = self._eyeball
        about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        p = s.points @ (about_y @ about_x).T
        lid = parts.lid_edges(fine, border, side, True)
        order = np.argsort(lid[:, 0])
        below = p[:, 1] + centre[1] - np.interp(p[:, 0] + centre[0], lid[order, 0], lid[order, 1])
        occ = np.clip(0.38 + below / 0.11, 0.38, 1) * np.clip(1.25 - np.abs(p[:, 0]) / 0.22, 0.4, 1)
        return Sheet(p + centre, s.triangles, s.uv, occ)

    def _hand(self, head_t: float) -> Sheet:
        """A hand that rises before the mouth and sinks again."""
        start, end = self.occluder or (0.0, 1.0)
        rise = np.sin(np.pi * np.clip((head_t - start) / (end - start), 0, 1)) ** 0.6
        s = parts.hand()
        return Sheet(s.points + np.array([0.05, 3.0 - 2.85 * rise, -0.80]), s.triangles, s.uv, s.occ)

    # -- truth ---------------------------------------------------------------------------------------------------

    def truth(self, head_t: float, mouth: np.ndarray | dict[str, float] | None = None) -> FrameTruth:
        """Where everything in `frame(head_t, mouth)` is."""
        mouth = as_mouth(mouth)
        pose, head = self._pose(head_t), self.head
        fine = head.face(mouth, pose.blink, pose.brow)
        landmarks = self._project(self._place(head.landmarks_68(fine), pose), head_t)[:, :2]
        lips = landmarks[LIPS_FROM_68]
        affine = self._pixel_from_face(pose, head_t)
        face = (np.linalg.inv(affine) @ np.concatenate([lips, np.ones((18, 1))], 1).T).T[:, :2]
        covered = (
            self.occluder is not None
            and self.occluder[0] <= head_t < self.occluder[1]
            and self._hand_covers(lips, head_t)
        )
        angles = np.array([pose.yaw, pose.pitch, pose.roll])
        return FrameTruth(
            lips,
            landmarks,
            affine,
            face,
            angles,
            float(opening(face)),
            pose.blink,
            mouth,
            not self._is_absent(head_t),
            covered,
        )

    def _hand_covers(self, lips: np.ndarray, head_t: float) -> bool:
        hand = self._project(self._hand(head_t).points, head_t)
        return bool(hand[:, 1].min() < lips[:, 1].max())

    def _pixel_from_face(self, pose: Pose, head_t: float) -> np.ndarray:
        """(3,3) affine: the projection linearised at the resting mouth's centre, on the plane through it that faces
        with the head."""
        step = 1e-4
        probe = self.head.origin + step * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
        q = self._project(self._place(probe, pose), head_t)[:, :2]
        out = np.eye(3)
        out[:2, 0], out[:2, 1], out[:2, 2] = (q[1] - q[0]) / step, (q[2] - q[0]) / step, q[0]
        return out

    def resting_lips(self) -> np.ndarray:
        """(18,2) face-frame lips at rest, head straight."""
        return (self.head.landmarks_68(self.head.face(REST, 0, 0))[LIPS_FROM_68] - self.head.origin)[:, :2]


def _base_colours(seed: int) -> np.ndarray:
    """(11,3) linear reflectance of each material."""
    out = np.zeros((11, 3))
    out[raster.LINING] = (0.34, 0.10, 0.09)
    out[raster.TEETH] = (0.86, 0.81, 0.70)
    out[raster.GUM] = (0.42, 0.13, 0.12)
    out[raster.TONGUE] = (0.42, 0.15, 0.14)
    out[raster.CAVITY] = (0.05, 0.012, 0.010)
    out[raster.EYE] = ((0.075, 0.085, 0.06), (0.07, 0.035, 0.015))[seed % 2]
    out[raster.LASH] = (0.012, 0.009, 0.008)
    out[raster.HAIR] = ((0.085, 0.042, 0.022), (0.018, 0.015, 0.013))[seed % 2]
    out[raster.CLOTH] = ((0.060, 0.105, 0.150), (0.30, 0.10, 0.07))[seed % 2]
    out[raster.HAND] = ((0.60, 0.365, 0.265), (0.36, 0.205, 0.135))[seed % 2]
    return out


def _backdrop(width: int, height: int) -> np.ndarray:
    """(H,W,3) float32 sRGB: a room far out of focus."""
    y, x = np.mgrid[0:height, 0:width] / height
    x = x - width / height / 2
    wall = np.array((0.46, 0.47, 0.46)) * (1.08 - 0.32 * np.hypot(x + 0.35, y - 0.35))[..., None]

    def patch(cx: float, cy: float, w: float, h: float, colour: tuple[float, float, float]) -> None:
        wall[(np.abs(x - cx) < w) & (np.abs(y - cy) < h)] = colour

    patch(0.62, 0.60, 0.20, 0.40, (0.30, 0.25, 0.21))
    for k, c in enumerate(
        ((0.42, 0.26, 0.20), (0.25, 0.31, 0.33), (0.52, 0.46, 0.36), (0.33, 0.26, 0.30), (0.24, 0.30, 0.26))
    ):
        patch(0.49 + 0.065 * k, 0.40, 0.026, 0.13, c)
        patch(0.50 + 0.065 * k, 0.75, 0.026, 0.12, (c[2], c[1], c[0]))
    patch(-0.72, 0.30, 0.16, 0.32, (0.66, 0.69, 0.72))
    for k in range(9):  # a plant
        turn, far = -1.2 + 0.3 * k, 0.16 + 0.05 * (k % 3)
        dx, dy = x + 0.52 - far * np.sin(turn), y - 0.95 + far * 1.5 * np.cos(turn)
        along, across = dx * np.sin(turn) - dy * np.cos(turn), dx * np.cos(turn) + dy * np.sin(turn)
        wall[np.hypot(along / 0.17, across / 0.032) < 1] = (0.20 + 0.02 * (k % 3), 0.27 + 0.015 * k, 0.19)
    return np.stack([gaussian_filter(wall[..., k], height * 0.024) for k in range(3)], -1).astype(np.float32)
