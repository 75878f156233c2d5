"""A file of weights as ONNX, for other programs: lip models, the speech encoder, learned textures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.progress import Hook, silent
from lipsync.core.texture import TextureQuery
from lipsync.core.types import MouthBank
from lipsync.speech.encoders import distilled
from lipsync.speech.lip_model import FORMAT as LIPS
from lipsync.speech.lip_model import LipModel, scale_of
from lipsync.store.cache import Cache
from lipsync.store.onnx_file import Exported, export_net, require_onnx
from lipsync.store.preflight import check_readable, written_whole
from lipsync.target.analyse import analyse
from lipsync.textures import get_method
from lipsync.textures.trainable import FORMAT as TEXTURE
from lipsync.textures.trainable import TrainableTexture, as_trainable, numbers_of, read_weights

#: The file beside the networks that says what they are.
ABOUT = "export.json"
#: Rows of speech features, a hundred a second, and of mouths that networks are tried with.
_SPEECH_ROWS, _MOUTHS = 400, 2
#: The free axis of speech: its name in what goes in, and in what comes out, of which there may be fewer.
_ALONG, _ANSWERED = {1: "rows"}, {1: "answers"}


def export(
    weights: str | Path,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    target: str | Path | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
) -> dict:
    """Writes the networks of a file of weights into the folder `out`, each compared with torch, and export.json, which
    says what they take and give; returns what that says. target: the video that texture weights were trained on.
    UsageError: no target for these; LipsyncError: not such a file, a network that ONNX cannot hold, no extra `onnx`."""
    weights, out = Path(weights), Path(out)
    check_readable(weights, "file of weights")
    require_onnx()
    write = _writer_of(weights, config, target, cache or Cache.of(config.cache), hook)
    _check_folder(out, force)
    out.mkdir(exist_ok=True)
    about = write(out)
    with written_whole(out / ABOUT) as part:
        part.write_text(json.dumps(about, indent=1) + "\n")
    return {"path": str(out), "weights": str(weights)} | about


def _writer_of(
    weights: Path, config: DubConfig, target: str | Path | None, cache: Cache, hook: Hook
) -> Callable[[Path], dict]:
    """What writes the networks of this kind of file."""
    kind = _format_of(weights)
    if kind == TEXTURE:
        if target is None:
            raise UsageError(f"{weights.name} fits one person: add --target VIDEO, the one that it was trained on.")
        return partial(export_texture, _prepared(weights, Path(target), config, cache, hook))
    if kind == distilled.FORMAT:
        return partial(_export_encoder, distilled.Distilled.load(weights))
    if kind.startswith(LIPS.rstrip("0123456789")):
        return partial(_export_lips, LipModel.load(weights, config.lips.whisper_model))
    raise LipsyncError(
        f"{weights.name} holds no network that can be exported. Name a lip model (`lipsync train lips`), texture "
        "weights (`lipsync train texture`), or a speech encoder."
    )


def _format_of(weights: Path) -> str:
    try:
        with safe_open(str(weights), "pt") as file:
            return (file.metadata() or {}).get("format", "")
    except (SafetensorError, OSError):
        return ""


def _check_folder(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise LipsyncError(f"{out} is a file. Name a folder to write the networks to.")
    if not out.parent.is_dir():
        raise LipsyncError(f"The folder {out.parent} does not exist. Create it, or choose another with -o.")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise LipsyncError(f"{out} is not empty. Add --force to write into it, or choose another folder with -o.")


# --- speech ---


class _Lips(nn.Module):
    """(1,F,D) rows of the encoder to (1,F/stack,18,2) lips: the networks' mean, in the person's own face frame."""

    mean: Tensor
    scale: Tensor
    axes: Tensor
    middle: Tensor
    rest: Tensor
    gain: Tensor

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.nets = nn.ModuleList(model.nets)
        basis, gain = model.basis, torch.from_numpy(np.array(model.gain, np.float32))
        self.register_buffer("mean", model.feature_mean)
        self.register_buffer("scale", model.feature_scale)
        axes = torch.from_numpy(basis.components.reshape(len(basis.spread), 36)).float()
        self.register_buffer("axes", torch.from_numpy(scale_of(basis)).float()[:, None] * axes)
        self.register_buffer("middle", torch.from_numpy(basis.mean).float())
        self.register_buffer("rest", torch.from_numpy(np.array(model.rest, np.float32)))
        self.register_buffer("gain", gain)

    def forward(self, rows: Tensor) -> Tensor:
        rows = (rows - self.mean) / self.scale
        each = torch.stack([net(rows) for net in self.nets]).mean(0)
        lips = (each @ self.axes).unflatten(-1, (18, 2)) + self.middle
        return self.rest + self.gain * (lips - self.rest)


def _export_lips(model: LipModel, out: Path) -> dict:
    net, encoder = model.nets[0], model.encoder
    rows = torch.randn(1, _SPEECH_ROWS, len(model.feature_mean), generator=torch.Generator().manual_seed(0))
    rows = rows * model.feature_scale + model.feature_mean
    done = export_net(_Lips(model).eval(), [rows], out / "lips.onnx", _ALONG, ["features", "lips"], _ANSWERED)
    return {
        "what": "lip model",
        "network": model.network,
        "encoder": encoder.name,
        "note": f"features: rows of the encoder {encoder.name}, 100 a second, a multiple of {net.stack} of them; lips: "
        f"18 points in eye distances, row i is for feature row i * {net.stack} - {net.delay}; crossed lips are not "
        "parted, as the program does after it",
        "files": {"lips.onnx": asdict(done)},
    }


class _Encoder(nn.Module):
    """(1,L,80) log-mel bands to (1,L/2,D) features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: distilled.Distilled) -> None:
        super().__init__()
        self.net = encoder.net
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("scale", encoder.scale)

    def forward(self, bands: Tensor) -> Tensor:
        return self.net((bands - self.mean) / self.scale)


def _export_encoder(encoder: distilled.Distilled, out: Path) -> dict:
    bands = torch.randn(1, _SPEECH_ROWS, len(encoder.mean), generator=torch.Generator().manual_seed(0))
    bands = bands * encoder.scale + encoder.mean
    done = export_net(_Encoder(encoder).eval(), [bands], out / "encoder.onnx", _ALONG, ["bands", "features"], _ANSWERED)
    return {
        "what": "speech encoder",
        "note": "bands: log-mel, 100 rows a second, as audio/features.py makes them; features: 50 rows a second",
        "files": {"encoder.onnx": asdict(done)},
    }


# --- textures ---


def _prepared(weights: Path, target: Path, config: DubConfig, cache: Cache, hook: Hook) -> TrainableTexture:
    """The method of the weights, ready to draw the target."""
    about, _ = read_weights(weights)
    config = validate(replace(config, texture=about["method"], texture_weights=str(weights), engine="torch"))
    method = as_trainable(get_method(config.texture, config))
    if method is None:
        raise LipsyncError(f"{weights.name}: the texture {about['method']} learns nothing in this version.")
    subject = analyse(target, config, cache, hook)
    method.prepare(subject, "cpu")
    draw_some(method, subject.bank)
    return method


def draw_some(method: TrainableTexture, bank: MouthBank) -> None:
    """Draws a few of the target's mouths; what the networks were asked for it is kept as `_asked` of each."""

    def keep(net: nn.Module, args: tuple) -> None:
        net.__dict__.setdefault("_asked", args)

    hooks = [net.register_forward_pre_hook(keep) for net in method.nets.values()]
    rows = np.arange(_MOUTHS + 2 * method.radius) % len(bank)
    own = rows[method.radius : method.radius + _MOUTHS]
    crop = torch.from_numpy(bank.take(own)).float() / 255
    method.render(TextureQuery(numbers_of(bank.lips[rows], "cpu"), numbers_of(bank.pose[rows], "cpu"), crop))
    for hook in hooks:
        hook.remove()


def export_texture(method: TrainableTexture, out: Path) -> dict:
    """Every network that drawing asks."""
    files: dict[str, Exported] = {}
    for name, net in method.nets.items():
        asked = net.__dict__.pop("_asked", None)
        if asked is not None:
            files[f"{name}.onnx"] = export_net(net, asked, out / f"{name}.onnx", {0: "batch"})
    unused = [name for name in method.nets if f"{name}.onnx" not in files]
    return {
        "what": "texture",
        "method": method.name,
        "mouth": {"height": method.space.height, "width": method.space.width, "scale": method.space.scale},
        "config": asdict(method.config),
        "note": f"the networks of lipsync/textures/methods/{method.name.replace('-', '_')}.py, which says what lies "
        "between them" + (f". Only for training: {', '.join(unused)}" if unused else ""),
        "files": {name: asdict(one) for name, one in files.items()},
    }
