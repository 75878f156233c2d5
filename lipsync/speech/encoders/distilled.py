"""The encoder that ships: a small convolutional network that has learnt to hear what a speech recogniser hears.

Its blocks are ConvNeXt's (Liu et al. 2022) along time; it was trained to give the features of Whisper's encoder
(Radford et al. 2022) from 80 log-mel bands (distillation: Hinton et al. 2015), see training/speech_encoder.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import gelu, pad

from audio.features import FeatureRows, FeatureSpec
from audio.load import Waveform
from lipsync.core.runtime import one_thread
from lipsync.speech.encoders.base import OnFeatureClock, SpeechEncoder
from lipsync.store.cache import content_hash, save_tensors
from lipsync.store.registry import SPEECH_ENCODER
from lipsync.store.weights_file import read_weights_file

FORMAT = "lipsync-speech-encoder-1"
SPEC = FeatureSpec("logmel", n_mels=80, differences=False)
#: Taps of a block's filter, and how far apart they are, in rows of 20 ms: one after the other, again and again.
TAPS, DILATIONS = 9, (1, 2, 4)
#: Rows of 20 ms encoded at once.
CHUNK = 1500


class Block(nn.Module):
    """Each channel's filter along time, then every row by itself; added to what came in."""

    def __init__(self, size: int, dilation: int, wider: int = 3) -> None:
        super().__init__()
        self.reach = (TAPS - 1) // 2 * dilation
        self.along = nn.Conv1d(size, size, TAPS, dilation=dilation, groups=size)
        self.norm = nn.LayerNorm(size)
        self.wide, self.back = nn.Linear(size, wider * size), nn.Linear(wider * size, size)
        self.gain = nn.Parameter(torch.full((size,), 0.1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        heard = self.along(pad(rows.transpose(1, 2), (self.reach, self.reach))).transpose(1, 2)
        return rows + self.gain * self.back(gelu(self.wide(self.norm(heard))))


class EncoderNet(nn.Module):
    """Standardised log-mel (B,2L,M) to features (B,L,D), 50 a second; row k is centred on log-mel row 2k."""

    def __init__(self, size: int, n_blocks: int, n_bands: int = SPEC.n_mels) -> None:
        super().__init__()
        self.size = size
        self.stem = nn.Conv1d(n_bands, size, 5, stride=2, padding=2)
        self.norm_in, self.norm_out = nn.LayerNorm(size), nn.LayerNorm(size)
        blocks = [Block(size, DILATIONS[i % len(DILATIONS)]) for i in range(n_blocks)]
        self.blocks = nn.ModuleList(blocks)
        #: Rows of 20 ms on either side that a row hears.
        self.reach = 1 + sum(block.reach for block in blocks)

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        rows = self.norm_in(gelu(self.stem(bands.transpose(1, 2)).transpose(1, 2)))
        for block in self.blocks:
            rows = block(rows)
        return self.norm_out(rows)


class Distilled(SpeechEncoder):
    """A trained `EncoderNet` with the scale of its log-mel bands."""

    name, rate, varies = "distilled", 50, False

    def __init__(self, net: EncoderNet, mean: torch.Tensor, scale: torch.Tensor, identity: str = "") -> None:
        self.net, self.mean, self.scale = net.eval().requires_grad_(False), mean, scale
        self.identity, self.size = identity, net.size
        self.latency_s = net.reach / self.rate

    def rows(self, wave: Waveform) -> EncodedRows:
        return EncodedRows(self, wave)

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """One safetensors file of 16-bit floats."""
        tensors = {f"net.{name}": value.half().contiguous() for name, value in self.net.state_dict().items()}
        tensors |= {"mean": self.mean, "scale": self.scale}
        about = {"size": self.net.size, "blocks": len(self.net.blocks)}
        save_tensors(path, tensors, {**(metadata or {}), "format": FORMAT, "encoder": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Distilled:
        """What `save` wrote. LipsyncError: missing, damaged, or something else."""
        file = read_weights_file(path, "a speech encoder")
        if file.metadata.get("format") != FORMAT:
            raise file.refuse(f"is not a speech encoder of this version ({FORMAT})")
        with file.whole():
            about = file.about("encoder")
            if not (1 <= about["size"] <= 1024 and 1 <= about["blocks"] <= 64):
                raise ValueError("sizes that no encoder has")
            net = EncoderNet(about["size"], about["blocks"])
            file.fill(net, "net.")
            mean, scale = file.array("mean", SPEC.n_mels), file.array("scale", SPEC.n_mels)
        return cls(net, mean, scale, f"distilled {content_hash(path)}")


class EncodedRows(OnFeatureClock):
    """The features of one sound, made piece by piece; a piece is what it is in the whole."""

    def __init__(self, encoder: Distilled, wave: Waveform) -> None:
        self.encoder, self.bands = encoder, FeatureRows(wave, SPEC)
        super().__init__(len(self.bands), encoder.size)

    @torch.no_grad()
    def make(self, first: int, after: int) -> torch.Tensor:
        parts, encoder, reach = [], self.encoder, self.encoder.net.reach
        with one_thread():
            for start in range(first, after, CHUNK):
                stop = min(after, start + CHUNK)
                before = max(0, start - reach)
                bands = self.bands[2 * before : min(len(self.bands), 2 * (stop + reach))].cpu()
                rows = encoder.net(((bands - encoder.mean) / encoder.scale)[None])[0]
                parts.append(rows[start - before : stop - before])
        return torch.cat(parts)


@cache
def bundled_encoder() -> Distilled:
    """The encoder that ships with the program."""
    return Distilled.load(SPEECH_ENCODER)
