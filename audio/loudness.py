"""How loud sound is, as EBU R128 has it (ITU-R BS.1770-4), by pyloudnorm (Steinmetz and Reiss 2021); extra
`loudness`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np

from media import MediaError
from media.sound import Sound

#: The meter is given so much sound at a time: a film's whole sound would be gigabytes.
_PIECE_S = 20.0
#: Heard before the first block that counts of a piece, so that the meter's filters have settled.
_LEAD_S = 1.0
_BLOCK_S, _HOP_S = 0.4, 0.1
_SURROUND = [0, 1, 2, 4, 5]  # without the low-frequency channel, which the standard leaves out


def is_measurable() -> bool:
    """Whether pyloudnorm is installed."""
    return find_spec("pyloudnorm") is not None


def loudness_of(sound: Sound) -> tuple[float, float]:
    """Integrated loudness in LUFS, -inf for silence, and the highest sample (full scale 1). MediaError: shorter than a
    block of 0.4 s."""
    blocks: list[float] = []
    peak, held, first = 0.0, np.zeros((0, sound.n_channels), np.float32), True
    step = round((_PIECE_S + _LEAD_S) * sound.rate)
    keep = round((_LEAD_S + _BLOCK_S - _HOP_S) * sound.rate)
    for block in sound.blocks():
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        held = np.concatenate([held, block.T])
        while len(held) >= step + keep:
            blocks += _blocks_of(held[:step], sound.rate, first)
            held, first = held[step - keep :], False
    if first and len(held) < _BLOCK_S * sound.rate:
        raise MediaError("Sound shorter than 0.4 s has no loudness to measure. Leave out --loudness.")
    blocks += _blocks_of(held, sound.rate, first)
    return _gated(np.array(blocks)), peak


def _blocks_of(samples: np.ndarray, rate: int, first: bool) -> list[float]:
    """Loudness of the 0.4 s blocks, ten a second, that begin in (n,C) samples, without those of the lead."""
    meter = import_module("pyloudnorm").Meter(rate, block_size=_BLOCK_S)
    with np.errstate(divide="ignore", invalid="ignore"):
        meter.integrated_loudness(samples[:, _SURROUND] if samples.shape[1] == 6 else samples)
    return list(meter.blockwise_loudness[0 if first else round(_LEAD_S / _HOP_S) :])


def _gated(blocks: np.ndarray) -> float:
    """The mean of the blocks that are not silent, and not 10 dB below the others."""
    loud = blocks[blocks >= -70]
    if not len(loud):
        return float("-inf")
    relative = _mean(loud) - 10
    return _mean(loud[loud > relative])


def _mean(blocks: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(10 ** (blocks / 10))))
