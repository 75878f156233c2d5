"""Drawn mouths whose every number is known, for tests of textures and compositing."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from lipsync.core.canonical import canonical_68
from lipsync.core.geometry import apply, mouth_space
from lipsync.core.lips import LIPS_FROM_68, LOWER_INNER, UPPER_INNER
from lipsync.core.types import FaceTrack, LipTrack, MouthBank, TargetAnalysis, TargetVideo, TeethReference
from video.clock import FrameClock

REST = canonical_68()[LIPS_FROM_68][:, :2].astype(np.float32)
JAW = canonical_68()[:17, :2].astype(np.float32)


def lips_open(gap: float) -> np.ndarray:
    """(18,2) lips whose inner edges are `gap` apart, the lower lip moved down."""
    lips = REST.copy()
    middle = (lips[UPPER_INNER, 1] + lips[LOWER_INNER, 1]) / 2
    lips[UPPER_INNER, 1], lips[LOWER_INNER, 1] = middle, middle + gap
    lips[7:12, 1] += gap
    return lips


def draw(lips: np.ndarray, space, skin=(200, 150, 130), red=(170, 60, 60), dark=(30, 10, 10)) -> np.ndarray:
    """(3,Hm,Wm) uint8: lips and mouth opening as filled polygons on skin with a smooth shade."""
    import cv2

    picture = np.ascontiguousarray(np.broadcast_to(np.array(skin, np.uint8), (space.height, space.width, 3)))
    picture = (picture * np.linspace(0.9, 1.1, space.width)[None, :, None]).clip(0, 255).astype(np.uint8)
    points = apply(space.mouth_from_face, lips.astype(np.float64)) - 0.5

    def fixed(p: np.ndarray) -> np.ndarray:
        return (p * 16).round().astype(np.int32)

    cv2.fillPoly(picture, [fixed(points[:12])], red, cv2.LINE_AA, 4)
    cv2.fillPoly(picture, [fixed(points[[0, 12, 13, 14, 6, 15, 16, 17]])], dark, cv2.LINE_AA, 4)
    return picture.transpose(2, 0, 1)


def drawn_subject(gaps: np.ndarray, eye_distance_px: float = 60.0) -> TargetAnalysis:
    """A subject whose frame k shows lips opened by gaps[k]; a still, frontal head."""
    space, n = mouth_space(eye_distance_px), len(gaps)
    lips = np.stack([lips_open(g) for g in gaps]).astype(np.float32)
    jaw = np.stack([JAW + [0, 0.5 * g] * (np.arange(17) % 16 != 0)[:, None] for g in gaps]).astype(np.float32)
    crops = np.stack([draw(p, space) for p in lips])
    clock = FrameClock.constant(n, Fraction(25))
    place = np.array([[eye_distance_px, 0, 150], [0, eye_distance_px, 120], [0, 0, 1.0]])
    placed = np.broadcast_to(place, (n, 3, 3)).copy()
    landmarks = np.zeros((n, 68, 2), np.float32)
    landmarks[:, :17] = apply(placed, jaw)
    zeros = np.zeros(n, np.float32)
    track = FaceTrack(
        placed,
        landmarks,
        LipTrack(lips, np.ones(n, bool), clock),
        np.zeros((n, 3), np.float32),
        zeros + 0.1,
        np.ones(n, bool),
        np.zeros(n, np.int8),
        np.zeros(n, np.int32),
    )
    bank = MouthBank(
        crops, np.arange(n), lips, jaw, np.zeros((n, 3), np.float32), zeros + 100, np.zeros(n, np.int64), space
    )
    empty = TeethReference(
        np.zeros((0, 3, space.height, space.width), np.float32),
        np.zeros((0, space.height, space.width), np.float32),
        np.zeros((0, 18, 2), np.float32),
        np.zeros(2, np.float32),
    )
    video = TargetVideo(Path("drawn.mp4"), clock, 300, 240, "0" * 64)
    return TargetAnalysis(video, track, bank, zeros, empty, (), "drawn")
