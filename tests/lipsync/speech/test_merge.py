"""Models that hear by different encoders, averaged as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.core.lips import LipBasis
from lipsync.speech.encoders.registry import LOGMEL, get_encoder
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet
from lipsync.speech.merge import merged
from tests.support.speech import talk


def some_model(encoder, seed: int) -> LipModel:
    """Untrained networks with a basis of their own that spans all lips."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    axes = np.ascontiguousarray(np.linalg.qr(rng.standard_normal((36, 36)))[0].T, np.float32).reshape(36, 18, 2)
    rest = rng.normal(0, 0.1, (18, 2)).astype(np.float32)
    rest[[12, 13, 14], 1] -= 5  # far apart, so that no lips cross
    basis = LipBasis(
        rest + rng.normal(0, 0.01, (18, 2)).astype(np.float32), axes, np.linspace(0.1, 0.02, 36, dtype=np.float32)
    )
    nets = [LipNet(encoder.size, 36, SHAPES["bidirectional"]).eval() for _ in range(2)]
    mean, scale = torch.randn(encoder.size), torch.rand(encoder.size) + 0.5
    return LipModel("bidirectional", nets, mean, scale, basis, rest, 1.0 + 0.2 * seed, {"reach": 1.1}, encoder)


def test_the_merged_model_says_the_mean_of_both(tmp_path):
    one, other = some_model(get_encoder("distilled"), 1), some_model(LOGMEL, 2)
    both, wave = merged([one, other]), talk(3, 0).wave
    moved = [model.predict(wave).points - model.rest for model in (one, other)]
    said = both.predict(wave).points - both.rest
    assert np.abs(moved[0] - moved[1]).max() > 0.02
    np.testing.assert_allclose(said, (moved[0] + moved[1]) / 2, atol=2e-4)
    both.save(tmp_path / "m.safetensors")
    again = LipModel.load(tmp_path / "m.safetensors")
    assert [net.columns for net in again.nets] == [(0, 192), (192, 232)] * 2
    np.testing.assert_array_equal(again.predict(wave).points, both.predict(wave).points)


def test_other_features_than_the_joint_ones_are_refused():
    with pytest.raises(ValueError, match="features"):
        merged([some_model(LOGMEL, 1), some_model(LOGMEL, 2)])
