"""Normalisation within the picture and a leaky ReLU in one: compiled where a network draws on the CPU, as there torch
passes over the numbers several times, and slowly where channels lie innermost."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lipsync.core.compiled import compiled

_SLOPE = 0.2


class NormLeakyReLU(nn.GroupNorm):
    """(B,C,h,w) of zero mean and unit variance in each picture's groups of channels (Wu and He 2018), scaled, shifted,
    and what is negative times 0.2. The numbers given are written over."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not _is_for_the_loops(input):
            return F.leaky_relu(super().forward(input), _SLOPE, True)
        numbers = input.detach().permute(0, 2, 3, 1).numpy()
        weight, bias = self.weight.detach().numpy(), self.bias.detach().numpy()
        normalise(numbers, self.num_groups, weight, bias, self.eps, np.float32(_SLOPE))
        return input


def _is_for_the_loops(x: torch.Tensor) -> bool:
    innermost = x.is_contiguous(memory_format=torch.channels_last)
    drawing = not torch.is_grad_enabled() and not torch.onnx.is_in_onnx_export()
    return drawing and innermost and x.device.type == "cpu" and x.dtype == torch.float32


@compiled
def normalise(x, groups, weight, bias, eps, slope):  # pragma: no cover - compiled
    """Of (B,h,w,C) float32 numbers, in place."""
    count, height, width, channels = x.shape
    line, size = width * channels, height * width * channels // groups
    for k in range(count):
        rows = x[k].reshape(height, line)
        total, scale, shift = np.zeros(line, np.float32), np.empty(line, np.float32), np.empty(line, np.float32)
        for y in range(height):
            row = rows[y]
            for i in range(line):
                total[i] += row[i]
        mean = _of_channels(total, groups, channels) / size
        _along(mean, shift)
        total[:] = 0
        for y in range(height):
            row = rows[y]
            for i in range(line):
                total[i] += (row[i] - shift[i]) * (row[i] - shift[i])
        unit = weight / np.sqrt(_of_channels(total, groups, channels) / size + eps)
        _along(unit, scale)
        _along(bias - unit * mean, shift)
        for y in range(height):
            row = rows[y]
            for i in range(line):
                value = row[i] * scale[i] + shift[i]
                row[i] = max(value, slope * value)


@compiled
def _of_channels(line, groups, channels):  # pragma: no cover - compiled
    """(C,) float64 sums over a row of pixels and the channels of a group, the same for each of these."""
    each, out = channels // groups, np.zeros(channels, np.float64)
    for x in range(len(line) // channels):
        for c in range(channels):
            out[c] += line[x * channels + c]
    for g in range(groups):
        out[g * each : (g + 1) * each] = out[g * each : (g + 1) * each].sum()
    return out


@compiled
def _along(values, line):  # pragma: no cover - compiled
    """(C,) values for each pixel of a row."""
    for x in range(len(line) // len(values)):
        for c in range(len(values)):
            line[x * len(values) + c] = values[c]
