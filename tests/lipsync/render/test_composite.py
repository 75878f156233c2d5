from dataclasses import replace

import cv2
import numpy as np
import torch

from lipsync.config.schema import CompositeConfig, DubConfig
from lipsync.core.graphics import Graphics
from lipsync.core.texture import MouthTexture
from lipsync.render.composite import composite
from lipsync.render.overlays import beside_mouth, without_graphics
from lipsync.render.plan import PlannedFaces, fade
from lipsync.render.region import blend_region, depth_inside, off_lips, region_polygon
from tests.support.drawn import drawn_subject, lips_open
from video.picture import RgbPicture

CONFIG = CompositeConfig()


def scene(strength=1.0, jaw_shift=0.0, tint=0.0):
    """A smooth frame, and a mouth texture cut from the same picture: compositing must change (almost) nothing."""
    subject = drawn_subject(np.full(2, 0.05))
    y, x = np.mgrid[:240, :300]
    frame = np.stack([100 + 60 * np.sin(x / 40), 120 + 50 * np.cos(y / 30), 90 + 0.3 * x]).astype(np.uint8)
    frames = torch.from_numpy(frame)[None].repeat(2, 1, 1, 1)
    from lipsync.core.geometry import warp

    space, track = subject.bank.space, subject.track
    mouth_from_pixel = space.mouth_from_face @ np.linalg.inv(track.pixel_from_face)
    rgb = warp(frames.float() / 255, mouth_from_pixel, (space.height, space.width)) + tint
    jaw = torch.from_numpy(subject.bank.jaw) + torch.tensor([0.0, jaw_shift])
    mouth = MouthTexture(rgb, torch.ones(2, 1, space.height, space.width), jaw)
    faces = PlannedFaces(
        track.pixel_from_face, track.lips.points, subject.bank.jaw, track.pose, np.full(2, strength, np.float32)
    )
    return subject, frames, mouth, faces, space


def test_strength_zero_returns_the_input_bit_for_bit():
    subject, frames, mouth, faces, space = scene(strength=0.0, jaw_shift=0.05, tint=0.3)
    assert torch.equal(composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG), frames)


def test_pixels_outside_the_region_stay_as_decoded():
    subject, frames, mouth, faces, space = scene(jaw_shift=0.08, tint=0.2)
    mouth = MouthTexture(torch.rand_like(mouth.rgb), mouth.alpha, mouth.jaw)
    out = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    changed = (out != frames).any(1)[0].numpy()
    rows, columns = np.nonzero(changed)
    # face frame: 60 px per unit, origin at (150, 120); the region ends at the jaw's reach and just above the nose base
    assert changed.any()
    assert rows.min() >= 120 + 60 * -0.55 and rows.max() <= 120 + 60 * (0.51 + 0.08 + CONFIG.jaw_reach) + 5
    assert columns.min() >= 150 - 60 * 1.0 and columns.max() <= 150 + 60 * 1.0


def test_the_targets_own_mouth_changes_almost_nothing():
    subject, frames, mouth, faces, space = scene()
    out = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    assert (out.int() - frames.int()).abs().float().mean() < 0.2
    assert (out.int() - frames.int()).abs().max() <= 4


def test_colour_difference_is_matched():
    subject, frames, mouth, faces, space = scene(tint=0.15)
    out = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    assert (out.int() - frames.int()).abs().float().max() < 10, "a tint of 38 levels must be gone"


def test_other_light_does_not_tint_the_dark_inside_of_a_mouth():
    subject, frames, mouth, faces, space = scene(tint=-0.15)
    middle = space.mouth_from_face @ np.append(subject.bank.lips[0].mean(0), 1)
    x, y = int(middle[0]), int(middle[1])
    mouth.rgb[:, :, y - 4 : y + 5, x - 6 : x + 7] = 0.04
    out = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    face = subject.bank.lips[0].mean(0)
    column, row = (subject.track.pixel_from_face[0] @ np.append(face, 1))[:2].astype(int)
    assert out[0, :, row, column].max() < 30, "38 levels were missing on the skin; next to black there are none to add"


def test_a_row_does_not_depend_on_its_batch():
    subject, frames, mouth, faces, space = scene(jaw_shift=0.04)
    both = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    one = MouthTexture(mouth.rgb[1:], mouth.alpha[1:], mouth.jaw[1:])
    alone = composite(frames[1:], one, subject.bank.lips[1:], faces, slice(1, 2), space, CONFIG)
    assert (alone[0].int() - both[1].int()).abs().max() <= 1


def test_depth_is_the_distance_to_the_edge():
    square = torch.tensor([[[0.0, 0], [2, 0], [2, 2], [0, 2]]])
    points = torch.tensor([[[[1.0, 1.0], [0.5, 1.0], [3.0, 1.0], [-1.0, -1.0]]]])
    found = depth_inside(square, points)[0, 0, 0]
    assert torch.allclose(found, torch.tensor([1.0, 0.5, -1.0, -(2**0.5)]))
    assert torch.allclose(depth_inside(square.flip(1), points)[0, 0, 0], found), "either direction round the polygon"


def region_of(lips, filmed):
    """(mask, support (80,80), positions) of a face with these two mouths (18,2)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 80), torch.linspace(-1, 1, 80), indexing="ij")
    face, both = torch.stack([x, y], -1)[None], torch.from_numpy(np.stack([lips, filmed]))[None]
    jaw = torch.from_numpy(drawn_subject(np.zeros(1)).bank.jaw)
    beyond = off_lips(both, face).amin(1, keepdim=True) - CONFIG.lip_margin
    mask, support = blend_region(region_polygon(jaw, both), face, beyond, CONFIG)
    return mask[0, 0], support[0, 0], face[0]


def test_support_covers_the_mask():
    mask, support, _ = region_of(lips_open(0.0), lips_open(0.0))
    assert (support[mask > 0] == 1).all() and 0 < float(mask.mean()) < 0.5


def test_both_mouths_lie_inside_the_mask():
    high, wide = lips_open(0.0), lips_open(0.05)
    high[:12, 1] -= 0.12  # an upper lip drawn up to the moustache
    wide[:, 0] *= 1.5
    for pair in ((high, wide), (wide, high)):
        mask, support, face = region_of(*pair)
        for lips in pair:
            inside = depth_inside(torch.from_numpy(lips[None, :12]), face[None])[0, 0] > -CONFIG.lip_margin
            assert (mask[inside] == 1).all() and (support[inside] == 1).all()


def test_folds_of_a_wider_mouth_are_replaced():
    smile = lips_open(0.0)
    smile[:, 0] *= 1.5
    (calm, _, face), (one, *_), (other, *_) = (region_of(*p) for p in _pairs(lips_open(0.0), smile))
    fold = (face[..., 0].abs() > 0.36) & (face[..., 0].abs() < 0.46) & ((face[..., 1] + 0.1).abs() < 0.05)
    assert calm[fold].mean() < 0.5 and one[fold].mean() > calm[fold].mean() + 0.3
    assert torch.allclose(one, other)


def _pairs(calm, smile):
    return (calm, calm), (calm, smile), (smile, calm)


def test_creases_of_the_filmed_mouth_are_not_taken_for_grain():
    subject, frames, mouth, faces, space = scene()
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(-6, 7, frames.shape, generator=rng)
    frames = (frames.int() + noise).clamp(0, 255).to(torch.uint8)
    clean = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    row, columns = 120 + 16, slice(135, 165)
    creased = frames.clone()
    creased[:, :, row, columns] = creased[:, :, row, columns] // 3
    out = composite(creased, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)
    left = (out.int() - clean.int())[:, :, row, columns].abs().float().mean()
    was = (creased.int() - frames.int())[:, :, row, columns].abs().float().mean()
    assert left < 0.25 * was
    grain = (clean.float() - clean.float().roll(1, 3))[:, :, row, columns].std()
    assert grain > 0.6 * (frames.float() - frames.float().roll(1, 3))[:, :, row, columns].std(), "but grain is"


def test_fade_rises_beside_passed_rows_but_not_across_a_seek():
    render = np.array([1, 1, 1, 0, 1, 1, 1, 1, 1, 1], bool)
    ramp = fade(render, np.array([5]), 3)
    assert np.allclose(ramp, [0.75, 0.5, 0.25, 0, 0.25, 1, 1, 1, 1, 1])
    assert fade(np.ones(4, bool), np.zeros(0, int), 3).tolist() == [1, 1, 1, 1]


def test_config_default_is_the_section():
    assert DubConfig().composite == CONFIG


def test_a_graphic_stays_to_the_pixel_and_is_not_drawn_into_the_skin_beside_it():
    subject, frames, mouth, faces, space = scene(jaw_shift=0.05, tint=0.1)
    letters = np.zeros((240, 300), bool)
    letters[136:142, 130:172:2] = letters[136:138, 130:172] = True
    graphics = Graphics.of([(0, 1, (0, 0), letters)], 1, 2)
    over, shown = torch.from_numpy(letters), np.array([[0, 0], [1, 1]])
    captioned = frames.clone()
    captioned[:, :, over] = 255

    def drawn(rows, **how):
        return composite(captioned, mouth, subject.bank.lips, replace(faces, **how), rows, space, CONFIG)

    with_it = drawn(slice(0, 2), graphics=graphics, shown=shown)
    assert torch.equal(with_it[0][:, over], captioned[0][:, over]), "as filmed"
    assert (with_it[1][:, over] != captioned[1][:, over]).any(), "frame 1 has no graphic"
    clean = composite(frames, mouth, subject.bank.lips, faces, slice(0, 2), space, CONFIG)[0].int()
    near = torch.from_numpy(cv2.dilate(letters.astype(np.uint8), np.ones((9, 9))) > 0) & ~over
    with_error, without_error = (
        (d[0].int() - clean).abs()[:, near].float().mean() for d in (with_it, drawn(slice(0, 2)))
    )
    assert with_error < 4 < without_error


def test_what_a_bank_learns_has_no_letters_in_it():
    subject, frames, _, _, space = scene()
    letters = np.zeros((240, 300), bool)
    letters[140:150, 120:180:4] = True
    picture = frames[0].permute(1, 2, 0).numpy().copy()
    picture[letters] = 255
    mouth_from_pixel = space.mouth_from_face @ np.linalg.inv(subject.track.pixel_from_face[0])
    graphics = Graphics.of([(5, 9, (0, 0), letters)], 1, 20)
    x0, y0, x1, y1 = rect = beside_mouth(RgbPicture(picture), mouth_from_pixel, space)
    part = np.ascontiguousarray(picture[y0:y1, x0:x1])
    clean = without_graphics(part, graphics, 6, rect)
    assert np.abs(clean.astype(int) - frames[0].permute(1, 2, 0).numpy()[y0:y1, x0:x1]).max() < 12
    assert without_graphics(part, graphics, 9, rect) is part
