"""Compositing on a CPU draws what the reference draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lipsync.config.schema import CompositeConfig
from lipsync.core.geometry import mouth_space, warp
from lipsync.core.graphics import Graphics
from lipsync.core.texture import MouthTexture
from lipsync.render.box import STEP, Box
from lipsync.render.composite import composite
from lipsync.render.cpu import skin as cpu_skin
from lipsync.render.cpu.grid import fine, means, zone_of
from lipsync.render.plan import PlannedFaces
from lipsync.render.skin import clearance, skin_colours, skin_likeness
from tests.support.drawn import lips_open
from tests.support.portrait import PIXEL_FROM_FACE, SCALE, moved_jaw, portrait
from video.pyramid import gaussian_blur

CONFIG = CompositeConfig()
CHIN = 0.5


def scene(filmed: float, wanted: float, noise: float = 4.0, **look):
    """(frames, mouth, lips, faces, space): a portrait with grain whose lips are `filmed` apart, drawn with `wanted`."""
    rng = np.random.default_rng(0)
    before, drawn = (
        portrait(gap, drop=CHIN * gap, **look)[0].astype(np.float32) + rng.normal(0, noise, (280, 300, 1))
        for gap in (filmed, wanted)
    )
    space = mouth_space(1.2 * SCALE)
    mouth_from_pixel = (space.mouth_from_face @ np.linalg.inv(PIXEL_FROM_FACE))[None]
    picture = (
        torch.from_numpy(drawn).permute(2, 0, 1)[None].float() / 255 * torch.tensor([0.9, 1.0, 1.1])[:, None, None]
    )
    rgb = warp(picture, mouth_from_pixel, (space.height, space.width)).clamp(0, 1)
    alpha = torch.linspace(0.6, 1, space.width).expand(1, 1, space.height, -1).contiguous()
    faces = PlannedFaces(
        PIXEL_FROM_FACE[None],
        lips_open(filmed)[None],
        moved_jaw(CHIN * filmed)[None],
        np.zeros((1, 3)),
        np.ones(1, np.float32),
        CHIN,
    )
    frames = torch.from_numpy(before.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)[None].contiguous()
    jaw = torch.from_numpy(moved_jaw(CHIN * wanted - 0.02))[None]
    return frames, MouthTexture(rgb, alpha, jaw), lips_open(wanted)[None], faces, space


def assert_same(frames, mouth, lips, faces, space, config=CONFIG):
    reference, found = (
        composite(frames, mouth, lips, faces, slice(0, 1), space, config, compiled=c) for c in (False, True)
    )
    assert (reference != frames).any(1).float().mean() > 0.05
    off = (reference.int() - found.int()).abs()
    assert off.max() <= 1 and (off > 0).float().mean() < 0.001
    return found


@pytest.mark.parametrize("filmed, wanted", [(0.0, 0.2), (0.2, 0.0), (0.1, 0.1)])
@pytest.mark.parametrize("collar_at", [0.52, 0.66])
def test_a_row_is_the_references_within_one_level(filmed, wanted, collar_at):
    assert_same(*scene(filmed, wanted, collar_at=collar_at))


def test_so_is_a_faded_row():
    frames, mouth, lips, faces, space = scene(0.0, 0.2)
    assert_same(frames, mouth, lips, replace(faces, strength=np.array([0.4], np.float32)), space)


@pytest.mark.parametrize("degrees, at", [(25.0, (150, 110)), (-40.0, (150, 130)), (0.0, (40, 110)), (10.0, (150, 230))])
def test_so_is_a_tilted_head_and_one_at_the_pictures_edge(degrees, at):
    frames, mouth, lips, faces, space = scene(0.05, 0.15)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    place = np.array([[SCALE * c, -SCALE * s, at[0]], [SCALE * s, SCALE * c, at[1]], [0, 0, 1]])
    assert_same(frames, mouth, lips, replace(faces, pixel_from_face=place[None]), space)


@pytest.mark.parametrize("blend", ["feather", "poisson"])
def test_every_blend_is_given_the_same(blend):
    assert_same(*scene(0.0, 0.15), CompositeConfig(blend=blend))


def test_a_graphic_is_taken_out_and_put_back():
    frames, mouth, lips, faces, space = scene(0.0, 0.2)
    letters = np.zeros((280, 300), bool)
    letters[140:150, 120:180:3] = True
    frames[:, :, torch.from_numpy(letters)] = 255
    graphics = Graphics.of([(0, 1, (0, 0), letters)], 1, 1)
    found = assert_same(frames, mouth, lips, replace(faces, graphics=graphics, shown=np.zeros((1, 2), int)), space)
    assert (found[0][:, torch.from_numpy(letters)] == 255).all()


@pytest.mark.parametrize("softer, sharper", [(1.5, 0.0), (0.0, 1.5)])
def test_sharpness_is_matched_alike(softer, sharper):
    frames, mouth, lips, faces, space = scene(0.1, 0.1, noise=12)
    frames = gaussian_blur(frames.float(), softer).round().to(torch.uint8)
    mouth = MouthTexture(gaussian_blur(mouth.rgb, sharper), mouth.alpha, mouth.jaw)
    assert_same(frames, mouth, lips, faces, space)


def test_skin_is_told_alike():
    rgb = torch.from_numpy(portrait(0.1)[0].astype(np.float32) / 255)
    face = torch.zeros(rgb.shape[:2])
    face[60:140, 100:200] = 1
    mean, spread = skin_colours(rgb.permute(2, 0, 1)[None], face[None, None])
    colours = cpu_skin.skin_colours(rgb.numpy(), face.numpy())
    assert np.allclose(colours, torch.cat([mean, spread])[..., 0, 0], atol=1e-4)
    like = skin_likeness(rgb.permute(2, 0, 1)[None], mean, spread)[0, 0]
    assert np.allclose(cpu_skin.skin_likeness(rgb.numpy(), colours), like, atol=2e-3)


def test_room_beside_other_things_is_alike():
    skin = (np.random.default_rng(0).random((40, 50)) > 0.01).astype(np.uint8)
    box = Box(torch.zeros(1), torch.zeros(1), 160, 200, torch.eye(3)[None], 100.0)
    expected = clearance(torch.from_numpy(skin).float()[None, None], box, 0.2)[0, 0]
    assert np.allclose(cpu_skin.clearance(skin, round(0.2 * 100 / STEP)), expected, atol=1e-5)


def test_grids_are_alike():
    rng = np.random.default_rng(0)
    box = Box(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 41, 54, torch.eye(3)[None], 100.0)
    nodes = rng.random((12, 15, 3)).astype(np.float32)
    expected = box.fine(torch.from_numpy(nodes).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    assert np.allclose(fine(nodes, 41, 54), expected, atol=1e-6)
    picture = rng.random((41, 54, 3)).astype(np.float32)
    pooled = torch.nn.functional.avg_pool2d(
        torch.from_numpy(picture).permute(2, 0, 1)[None], STEP, ceil_mode=True, count_include_pad=False
    )[0].permute(1, 2, 0)
    assert np.allclose(means(picture, STEP), pooled, atol=1e-6)
    zone = np.zeros((12, 15), np.float32)
    zone[5:8, 12:15] = 0.3
    part, mine = box.around_zone(torch.from_numpy(zone)[None, None]), zone_of(zone, (41, 54, 3))
    assert part is not None and mine is not None and mine.nodes == part.nodes
    assert np.array_equal(picture[mine.pixels], picture[part.pixels])
    assert zone_of(0 * zone, (41, 54, 3)) is None
