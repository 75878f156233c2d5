"""What a self-supervised speech network hears, 100 vectors a second: wav2vec 2.0, HuBERT, WavLM through torchaudio's pipelines.

Optional (extra `speech`). The weights are torchaudio's own downloads, hundreds of MB, kept by torch.hub; nothing of them ships with us.
Papers: Baevski et al. 2020, Hsu et al. 2021, Chen et al. 2022.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn

from audio import AudioError
from audio.load import RATE

PREFIX = "ssl:"
#: torchaudio's pipelines without a fine-tuned output, and their layers.
LAYERS = {
    "WAV2VEC2_BASE": 12, "WAV2VEC2_LARGE": 24, "WAV2VEC2_XLSR53": 24, "HUBERT_BASE": 12, "HUBERT_LARGE": 24, "WAVLM_BASE": 12,
    "WAVLM_BASE_PLUS": 12, "WAVLM_LARGE": 24,
}  # fmt: skip
#: Samples from one output to the next, and those that one output sees.
STEP, SIGHT = 320, 400
#: No answer for this long ends a download.
PATIENCE_S = 10.0
#: Attention grows with the square of the length, so longer speech is heard in chunks, each with this much around it.
CHUNK_S, CONTEXT_S = 20, 2


def parsed_kind(kind: str) -> tuple[str, int]:
    """("HUBERT_BASE", 9) of "ssl:HUBERT_BASE:9"; without a number the layer three quarters up, where sounds are told apart best.

    ValueError: an unknown name or layer.
    """
    name, _, layer = kind.removeprefix(PREFIX).partition(":")
    if not kind.startswith(PREFIX) or name not in LAYERS:
        raise ValueError(f"{kind!r} is no self-supervised feature; known: {', '.join(PREFIX + known for known in LAYERS)}")
    chosen = int(layer) if layer.isdigit() else LAYERS[name] * 3 // 4
    if layer and not (layer.isdigit() and 1 <= chosen <= LAYERS[name]):
        raise ValueError(f"{kind!r}: the layers of {name} are 1 to {LAYERS[name]}")
    return name, chosen


def self_supervised_features(samples: torch.Tensor, kind: str) -> torch.Tensor:
    """(F,D) float32, F = 1 + S // 160, of (S,) sound at 16 kHz, where `samples` live. AudioError: library or weights cannot be had."""
    name, layer = parsed_kind(kind)
    return heard(load_network(name).to(samples.device), samples, layer)


@lru_cache(maxsize=1)
def load_network(name: str) -> nn.Module:
    """The network with its weights, from torch.hub's folder or downloaded into it. AudioError: neither is possible."""
    bundle = getattr(_pipelines(), name, None)
    if bundle is None:
        raise AudioError(f"This torchaudio has no pipeline {name}. Update it, or choose other speech features.")
    if bundle.sample_rate != RATE:
        raise AudioError(f"{name} listens at {bundle.sample_rate} Hz, not {RATE}; choose other speech features.")
    try:
        with _impatient(PATIENCE_S):
            # weights_only: the file is a pickle, and only its numbers may be read.
            return bundle.get_model(dl_kwargs={"progress": False, "weights_only": True}).eval()
    except (OSError, RuntimeError, EOFError, ValueError) as trouble:
        raise AudioError(
            f"The weights of {name} are neither in {torch.hub.get_dir()}/checkpoints nor to be downloaded ({_first_line(trouble)}). "
            "Connect once to the internet, copy the folder from a machine that has them, or choose log-mel features."
        ) from None


def _pipelines():
    """torchaudio.pipelines; the only place that imports it."""
    try:
        import torchaudio.pipelines
    except (ImportError, OSError, RuntimeError) as trouble:
        raise AudioError(
            f"Self-supervised speech features need torchaudio, which cannot be loaded ({_first_line(trouble)}). "
            "Install the extra `speech` built for your torch, or choose log-mel features."
        ) from None
    return torchaudio.pipelines


def _first_line(trouble: Exception) -> str:
    lines = str(trouble).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(trouble).__name__


@contextmanager
def _impatient(seconds: float) -> Iterator[None]:
    """New network connections fail when nothing comes for this long; torch.hub itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@torch.no_grad()
def heard(network: nn.Module, samples: torch.Tensor, layer: int) -> torch.Tensor:
    """(F,D) the `layer`-th layer's output (from 1) on the feature clock: row f is centred at f / 100 s, F = 1 + S // 160.

    The network answers 50 times a second; with half its sight of silence in front, answer i is centred at sample 320 i, which is row 2 i.
    """
    n_rows = 1 + len(samples) // (STEP // 2)
    n_answers = n_rows // 2 + 1
    padded = nn.functional.pad(samples, (SIGHT // 2, max(0, (n_answers - 1) * STEP + SIGHT // 2 - len(samples))))
    chunk, context = CHUNK_S * RATE // STEP, CONTEXT_S * RATE // STEP
    parts = []
    for start in range(0, n_answers, chunk):
        first, last = max(0, start - context), min(n_answers, start + chunk + context)
        excerpt = padded[None, first * STEP : (last - 1) * STEP + SIGHT]
        answers = network.extract_features(excerpt, num_layers=layer)[0][-1][0]
        parts.append(answers[start - first : min(n_answers, start + chunk) - first])
    answers = torch.cat(parts).float()
    between = (answers[:-1] + answers[1:]) / 2
    rows = torch.stack([answers[:-1], between], 1).flatten(0, 1)
    return torch.cat([rows, answers[-1:]])[:n_rows]
