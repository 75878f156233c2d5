"""The jaw: how far it goes, what goes with it, what stays."""

import dataclasses

import numpy as np
import pytest
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import apply, mouth_space, warp
from lipsync.core.texture import MouthTexture
from lipsync.core.track import jaw_in_face
from lipsync.metrics.pictures import displacement
from lipsync.render.composite import composite
from lipsync.render.jaw import chin_per_opening, jaw_move
from lipsync.render.plan import PlannedFaces
from tests.support.drawn import JAW, drawn_subject, lips_open
from tests.support.portrait import PIXEL_FROM_FACE, SCALE, moved_jaw, portrait

CONFIG = CompositeConfig()


def chin_of(track):
    return chin_per_opening(track, jaw_in_face(track))


def dubbed(filmed: float, wanted: float, chin: float = 0.5, around: tuple[int, int, int] | None = None, **scene):
    """(before, after (H,W,3), what is not skin): a portrait whose lips are `filmed` apart drawn with `wanted`. around:
    colour of what the texture shows beside the face."""
    before, other = portrait(filmed, drop=chin * filmed, **scene)
    drawn, _ = portrait(wanted, drop=chin * wanted, **scene)
    if around is not None:
        drawn[other] = around
    space = mouth_space(SCALE)
    mouth_from_pixel = (space.mouth_from_face @ np.linalg.inv(PIXEL_FROM_FACE))[None]
    picture = torch.from_numpy(drawn).permute(2, 0, 1)[None].float() / 255
    rgb = warp(picture, mouth_from_pixel, (space.height, space.width))
    jaw = torch.from_numpy(moved_jaw(chin * wanted))[None]
    mouth = MouthTexture(rgb, torch.ones_like(rgb[:, :1]), jaw)
    faces = PlannedFaces(
        PIXEL_FROM_FACE[None],
        lips_open(filmed)[None],
        moved_jaw(chin * filmed)[None],
        np.zeros((1, 3)),
        np.ones(1, np.float32),
        chin,
    )
    frames = torch.from_numpy(before).permute(2, 0, 1)[None].contiguous()
    out = composite(frames, mouth, lips_open(wanted)[None], faces, slice(0, 1), space, CONFIG)
    return before, out[0].permute(1, 2, 0).numpy(), other


def chin_edge(rgb: np.ndarray) -> float:
    """Where the face in the middle column ends, eye distances below the mouth: light skin above, shadow below."""
    column = rgb[:, 145:156, 0].mean(1)[145:]
    return (145 + int(np.flatnonzero(column < 130)[0]) - 110) / SCALE


@pytest.mark.parametrize("filmed, wanted", [(0.0, 0.2), (0.2, 0.0), (0.05, 0.12)])
def test_the_chin_goes_where_the_drawn_opening_has_it(filmed, wanted):
    before, after, _ = dubbed(filmed, wanted)
    assert chin_edge(after) - chin_edge(before) == pytest.approx(0.5 * (wanted - filmed), abs=0.02)


@pytest.mark.parametrize("collar_at", [0.56, 0.66, 0.8])
@pytest.mark.parametrize("filmed, wanted", [(0.0, 0.2), (0.2, 0.0)])
def test_collar_and_background_stay(filmed, wanted, collar_at):
    before, after, other = dubbed(filmed, wanted, collar_at=collar_at)
    changed = (np.abs(after.astype(int) - before).max(2) > 4) & other
    lowest = np.nonzero(changed)[0].max(initial=0)
    chin = 110 + SCALE * moved_jaw(0.5 * max(wanted, filmed))[8, 1]
    assert lowest <= chin + 4, "what is not skin changes only where the chin comes down on it"
    assert displacement(before, after, other & ~covered(wanted)) <= 0.5


def test_a_collar_in_the_texture_is_not_drawn():
    """It touches the chin, and the texture was filmed before another one."""
    before, after, other = dubbed(0.1, 0.1, around=(250, 30, 30), collar_at=0.5)
    assert np.abs(after.astype(int) - before)[other].max() <= 4


def covered(wanted: float) -> np.ndarray:
    """(H,W) bool where the face of a mouth this open lies, a little more."""
    import cv2

    face = np.zeros((280, 300), np.uint8)
    points = apply(PIXEL_FROM_FACE, moved_jaw(0.5 * wanted).astype(np.float64))
    cv2.fillPoly(face, [points.round().astype(np.int32)], 1)
    return cv2.dilate(face, np.ones((9, 9), np.uint8)) > 0


def test_a_chin_that_comes_down_on_a_collar_covers_it():
    _, after, other = dubbed(0.0, 0.2, collar_at=0.52)
    row, columns = int(110 + SCALE * (JAW[8, 1] + 0.05)), slice(145, 156)
    assert other[row, columns].mean() > 0.8, "collar, before"
    assert (after[row, columns, 0] > after[row, columns, 2] + 20).all(), "skin, now"


def test_a_chin_that_rises_leaves_no_second_edge_and_lifts_no_collar():
    before, after, other = dubbed(0.2, 0.0, collar_at=0.64)
    assert (after[other].astype(int) - before[other]).max() <= 3


def test_only_vertical_and_no_farther_than_the_limit():
    lips, filmed = (torch.from_numpy(lips_open(g))[None] for g in (0.9, 0.0))
    moved = jaw_move(lips, filmed, 0.5, CONFIG)
    assert moved[0, 8, 1] == pytest.approx(CONFIG.jaw_limit) and not moved[..., 0].any()
    assert not moved[0, [0, 1, 2, 14, 15, 16]].any()
    assert torch.equal(jaw_move(filmed, lips, 0.5, CONFIG), -moved)


def test_the_chins_share_is_the_persons_own_whatever_the_head_does():
    gaps = 0.06 + 0.06 * np.sin(np.arange(200) / 3)
    subject = drawn_subject(gaps)
    track = subject.track
    assert chin_of(track) == pytest.approx(0.5, abs=0.06)
    nod = np.random.default_rng(0).normal(0, 3, 200) + 50 * gaps  # a head that nods as it speaks
    landmarks, pose = track.landmarks.copy(), track.pose.copy()
    landmarks[:, :17, 1] += 60 * 0.01 * nod[:, None]
    pose[:, 1] = nod
    assert chin_of(dataclasses.replace(track, landmarks=landmarks, pose=pose)) == pytest.approx(0.5, abs=0.06)


def test_where_the_mouth_never_opened_the_chin_is_a_usual_one():
    assert chin_of(drawn_subject(np.full(30, 0.01)).track) == pytest.approx(0.3, abs=0.01)
    assert chin_of(drawn_subject(np.full(3, 0.01)).track) == pytest.approx(0.3)
