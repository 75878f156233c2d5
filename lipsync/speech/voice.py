"""When somebody speaks: a small network says how much each moment sounds like speech."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from audio.features import FeatureRows, FeatureSpec, pieces
from audio.load import Waveform
from audio.vad import recorded, stretches
from lipsync.store.cache import save_tensors
from lipsync.store.registry import VOICE
from lipsync.store.weights_file import read_weights_file
from media.atomic import atomic_write

SPEC = FeatureSpec("logmel", differences=False)
CHANNELS, KERNEL = 56, 5
DILATIONS = (1, 2, 4, 8, 16, 32, 48)
#: Rows before and after one that its answer hangs on.
REACH = KERNEL // 2 * (1 + sum(DILATIONS))
#: About the mean and the spread of log-mel speech.
MEAN, SPREAD = -6.0, 5.0
#: How much like speech something must sound to be taken for speech, and to be taken for more of it.
START, STAY = 0.9, 0.4


class VoiceNet(nn.Module):
    """(B,40,F) log-mel at 100 per second to (B,F) logits: does somebody speak? Residual dilated convolutions, each
    along time in every channel and then across channels; row f hangs on rows f - REACH to f + REACH."""

    def __init__(self) -> None:
        super().__init__()
        self.hear = nn.Conv1d(SPEC.n_mels, CHANNELS, KERNEL, padding=KERNEL // 2)
        self.along = nn.ModuleList(
            nn.Conv1d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2 * d, dilation=d, groups=CHANNELS)
            for d in DILATIONS
        )
        self.across = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in DILATIONS)
        self.answer = nn.Conv1d(CHANNELS, 1, 1)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = relu(self.hear((log_mel - MEAN) / SPREAD))
        for along, across in zip(self.along, self.across, strict=True):
            x = x + relu(across(relu(along(x))))
        return self.answer(x)[:, 0]

    def save(self, path: Path, about: dict[str, str]) -> None:
        """Writes the network, 16-bit floats, with `about` beside it."""
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        with atomic_write(path) as part:
            save_tensors(part, tensors, {"what": "voice"} | about)


@lru_cache(maxsize=2)
def voice_net(path: Path = VOICE) -> VoiceNet:
    """The network of a file, ready to use: the one that ships. LipsyncError: not such a file."""
    net, file = VoiceNet(), read_weights_file(path, "a voice network", "Install lipsync again.")
    with file.whole():
        file.fill(net)
    return net.eval().requires_grad_(False)


def speech_likeness(wave: Waveform, net: VoiceNet | None = None) -> np.ndarray:
    """(F,) 0 to 1 at 100 per second: how much each moment sounds like speech. Heard piece by piece, each with REACH
    rows around it, which gives the same as the whole."""
    net, rows = net or voice_net(), FeatureRows(wave, SPEC)
    out = np.empty(len(rows), np.float32)
    with torch.inference_mode():
        for part in pieces(len(rows)):
            first, last = max(0, part.start - REACH), min(len(rows), part.stop + REACH)
            heard = net(rows[first:last].T[None].cpu())[0]
            out[part] = torch.sigmoid(heard[part.start - first : part.stop - first]).numpy()
    return out


def voice_activity(wave: Waveform) -> np.ndarray:
    """(F,) bool at 100 per second: True while somebody speaks, closures of plosives included.

    Music, hum, noise, clicks and digital silence are not speech; speech over them is."""
    likeness, there = speech_likeness(wave), recorded(wave.samples)
    return stretches((likeness > START) & there, (likeness > STAY) & there)
