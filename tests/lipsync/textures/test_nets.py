"""Blocks of layers: by compiled loops as by torch, and as the layers that they stand for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lipsync.core.runtime import channels_last
from lipsync.textures.nets import Beside, Residual, conv
from lipsync.textures.norm import NormLeakyReLU


@pytest.mark.parametrize(("groups", "channels"), [(8, 24), (4, 12), (1, 3), (2, 2)])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_normalising_by_the_loops_is_that_of_torch(groups, channels, offset):
    """Of pictures of other contrast each; also where the mean is large against it, where torch's own is not exact."""
    torch.manual_seed(channels)
    norm, contrast = NormLeakyReLU(groups, channels), torch.tensor([0.5, 2, 30])[:, None, None, None]
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    planes = torch.randn(3, channels, 5, 7) * contrast + offset
    inner = planes.contiguous(memory_format=torch.channels_last)  # these go through the loops
    weight, bias = norm.weight.double(), norm.bias.double()
    expected = F.leaky_relu(F.group_norm(planes.double(), groups, weight, bias, norm.eps), 0.2).float()
    with torch.no_grad():
        assert torch.allclose(norm(inner.clone()), expected, atol=3e-4 if offset else 1e-5)
    if not offset:
        assert torch.allclose(norm(planes.clone()), expected, atol=1e-5)
        assert torch.allclose(norm(inner.clone()), expected, atol=1e-5), "with gradients"


def test_normalising_learns():
    norm, layer = NormLeakyReLU(4, 12), channels_last(nn.Conv2d(3, 12, 3))
    norm(layer(torch.randn(2, 3, 6, 6))).square().sum().backward()
    assert norm.weight.grad is not None and float(norm.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("differences", [True, False])
def test_what_is_common_is_convolved_once_and_changes_nothing(differences):
    torch.manual_seed(1)
    layers = conv(3 + 6 * differences + 4, 8, stride=2), Residual(8)
    beside, whole = Beside(3, *layers, differences=differences), nn.Sequential(*layers)
    own, mean, more = torch.rand(5, 3, 12, 16), torch.rand(1, 3, 12, 16), torch.rand(1, 4, 12, 16)
    each = lambda x: x.expand(5, -1, -1, -1)
    rest = torch.cat([mean, more], 1) if differences else more
    seen = [own, each(mean), own - mean, each(more)] if differences else [own, each(more)]
    answer = beside(own, each(beside.common(rest)))
    assert torch.allclose(answer, whole(torch.cat(seen, 1)), atol=1e-5)
    assert beside.state_dict().keys() == whole.state_dict().keys(), "files of weights stay what they are"
    with torch.no_grad():
        assert torch.allclose(channels_last(beside)(own, each(beside.common(rest))), answer, atol=1e-5)
