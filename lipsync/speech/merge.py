"""Lip models that hear by different encoders as one model: what they know differs, and their mean errs less."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np
import torch

from lipsync.speech.encoders.registry import get_encoder
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet, scale_of


def merged(models: Sequence[LipModel], encoder: str = "joint") -> LipModel:
    """The mean of the models' networks, in the basis, with the rest and the gain of the first; their networks take
    turns, so that the first few of them are not all alike. encoder: a joint one of the models' own, in their order."""
    joint, first = get_encoder(encoder), models[0]
    starts = np.cumsum([0, *(model.encoder.size for model in models)])
    if starts[-1] != joint.size:
        raise ValueError(f"merged: {encoder} has {joint.size} features, the models {starts[-1]}")
    each = [
        [_moved(net, model, first, joint.size, int(start)) for net in model.nets]
        for model, start in zip(models, starts, strict=False)
    ]
    nets = [net for net in chain.from_iterable(zip_longest(*each)) if net is not None]
    mean, scale = (torch.cat([getattr(m, name) for m in models]) for name in ("feature_mean", "feature_scale"))
    r = [model.report["opening_r"] for model in models if "opening_r" in model.report]
    report = ({"opening_r": min(r)} if r else {}) | {
        "network": first.network,
        "encoder": encoder,
        "members": len(nets),
        "reach": first.report.get("reach", 1.0),
    }
    return LipModel(first.network, nets, mean, scale, first.basis, first.rest, first.gain, report, joint)


def _moved(net: LipNet, own: LipModel, into: LipModel, n_in: int, start: int) -> LipNet:
    """The same network, answering in the basis of `into`, as far as that reaches: both bases are linear, so it is a
    change of the last layer."""
    columns = (start + net.columns[0], start + net.columns[1])
    moved = LipNet(n_in, len(into.basis.spread), SHAPES[own.network], columns).eval()
    ratio = (own.gain / into.gain).reshape(36).astype(np.float64)
    theirs, ours = (m.basis.components.reshape(-1, 36).astype(np.float64) for m in (own, into))
    offset = ratio * (own.basis.mean - own.rest).reshape(36) - (into.basis.mean - into.rest).reshape(36)
    turn = (ours * ratio) @ theirs.T * scale_of(own.basis) / scale_of(into.basis)[:, None]
    shift = ours @ offset / scale_of(into.basis)
    weights = {name: value.double() for name, value in net.state_dict().items()}
    turned, shifted = torch.from_numpy(turn), torch.from_numpy(shift)
    weights["head.bias"] = turned @ weights["head.bias"] + shifted
    weights["head.weight"] = turned @ weights["head.weight"]
    moved.load_state_dict({name: value.float() for name, value in weights.items()})
    return moved
