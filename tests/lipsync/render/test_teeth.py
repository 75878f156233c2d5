"""The detail of sharp teeth lent to a drawn mouth: what lies in the openings' box is what the whole crop would give."""

import numpy as np
import torch

from lipsync.config.schema import TeethConfig
from lipsync.core.geometry import mouth_space
from lipsync.core.lips import soft_step
from lipsync.core.texture import MouthTexture
from lipsync.core.types import TeethReference
from lipsync.render.teeth import high_frequencies, inner_mouth, sharpen_teeth, whiteness
from tests.support.drawn import lips_open

SPACE, CONFIG = mouth_space(150.0), TeethConfig()


def given(gaps):
    """Noise for mouths and for two references, and lips this far open."""
    rng, size = np.random.default_rng(4), (SPACE.height, SPACE.width)
    rgb = torch.from_numpy(rng.random((len(gaps), 3, *size)).astype(np.float32))
    mouth = MouthTexture(rgb, torch.ones_like(rgb[:, :1]), torch.zeros(len(gaps), 17, 2))
    detail, mask = rng.normal(0, 0.1, (2, 3, *size)).astype(np.float32), rng.random((2, *size)).astype(np.float32)
    known = np.stack([lips_open(0.1), lips_open(0.25)]).astype(np.float32)
    teeth = TeethReference(detail, mask, known, np.array([0.3, 0.2], np.float32))
    return mouth, teeth, np.stack([lips_open(gap) for gap in gaps]).astype(np.float32)


def test_teeth_are_those_of_the_whole_crop():
    mouth, teeth, lips = given([0.2, 0.0, 0.12])
    drawn, rgb = torch.from_numpy(lips), mouth.rgb
    mask = soft_step((whiteness(rgb) - 0.3) / 0.2) * inner_mouth(drawn, SPACE)
    distance = torch.cdist(drawn.flatten(1), torch.from_numpy(teeth.lips).flatten(1)) / 18**0.5
    weight = torch.softmax(-((distance / CONFIG.nearness) ** 2), 1)
    detail = torch.einsum("br,rchw->bchw", weight, torch.from_numpy(teeth.detail))
    known = torch.einsum("br,rhw->bhw", weight, torch.from_numpy(teeth.mask))[:, None]
    lent = detail / known.clamp_min(0.2) - high_frequencies(rgb, SPACE, CONFIG)
    expected = (rgb + CONFIG.strength * mask * known * lent).clamp(0, 1)
    found = sharpen_teeth(mouth, teeth, lips, SPACE, CONFIG).rgb
    assert (expected - rgb).abs().max() > 0.1 and torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(found[1], rgb[1]), "a closed mouth has no teeth"


def test_lips_beyond_the_crop_and_closed_mouths_change_nothing():
    mouth, teeth, lips = given([0.2])
    assert torch.equal(sharpen_teeth(mouth, teeth, lips + np.float32(9), SPACE, CONFIG).rgb, mouth.rgb)
    assert torch.equal(sharpen_teeth(mouth, teeth, lips - np.float32(9), SPACE, CONFIG).rgb, mouth.rgb)
    assert sharpen_teeth(*given([0.0, 0.0]), SPACE, CONFIG).rgb.shape[0] == 2
