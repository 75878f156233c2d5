"""Weights of a texture method from footage of one person, to keep and to use with `--texture-weights`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.progress import Hook, Lines, silent
from lipsync.core.runtime import pick_device
from lipsync.core.types import TargetAnalysis
from lipsync.learning.textures import speech_at_mouths
from lipsync.pipelines.models import texture_key
from lipsync.store.cache import UNFINISHED, Cache
from lipsync.store.preflight import check_files, samples_path, written_whole
from lipsync.target.analyse import analyse
from lipsync.textures import get_method
from lipsync.textures.trainable import TrainableTexture


def train_texture(
    method: str,
    target: str | Path,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    footage: Sequence[str | Path] = (),
    devices: int = 1,
    fresh: bool = False,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
) -> dict:
    """Writes the weights that `method` learns from the person in `target` and, beside them, pictures drawn on the way;
    returns the report.

    The weights fit dubs of this target (with or without the footage). An interrupted training goes on where it stopped
    when the same is asked for again, unless `fresh`. devices: so many GPUs, or processes on the CPU, each with its own
    batches. UsageError: a method that learns nothing. LipsyncError, MediaError: footage that cannot be used, or
    Lightning is not installed."""
    target, out, footage = Path(target), Path(out), tuple(map(Path, footage))
    config = validate(replace(config, texture=method, texture_weights=""))
    check_files([(path, "footage") for path in (target, *footage)], [out, samples_path(out)], force)
    learner = get_method(method, config)
    if not isinstance(learner, TrainableTexture):
        raise UsageError(f"The texture {learner.name} learns nothing: use it as it is.")
    device = pick_device(config.device)
    cache = cache or Cache(config.cache.folder or None)
    subject = analyse(target, config, cache, hook, footage)
    key = texture_key(method, learner, subject)
    if fresh:
        shutil.rmtree(cache.folder / UNFINISHED / key, ignore_errors=True)
    keep = cache.unfinished(UNFINISHED, key, label=f"{learner.name}, {target.name}")
    learning = _Learning(method, target, footage, out, config, str(cache.folder), keep / "training.safetensors")
    try:
        if devices > 1:
            from lipsync.learning.distributed import launch

            # bound, not an argument: Lightning would look into it
            report = launch(
                devices, partial(_on_rank, learning=learning), accelerator="cpu" if device.type == "cpu" else "auto"
            )
        else:
            report = _learn(learning, learner, subject, device, hook, None)
    except LipsyncError:
        shutil.rmtree(keep, ignore_errors=True)  # it would fail again
        raise
    shutil.rmtree(keep, ignore_errors=True)
    return {
        "path": str(out),
        "picture": str(samples_path(out)),
        "method": learner.name,
        "target": str(target),
        "footage": list(map(str, footage)),
        "report": report,
        "notes": list(subject.notes),
    }


@dataclass(frozen=True, slots=True)
class _Learning:
    """What to learn, in words that can be sent to another process."""

    method: str
    target: Path
    footage: tuple[Path, ...]
    out: Path
    config: DubConfig
    cache: str
    keep: Path


def _on_rank(ranks: object, learning: _Learning) -> dict:
    """One of several processes that learn together; the subject comes from the cache."""
    subject = analyse(learning.target, learning.config, Cache(learning.cache), silent, learning.footage)
    hook = Lines(sys.stderr) if ranks.first else silent
    return _learn(learning, get_method(learning.method, learning.config), subject, ranks.device, hook, ranks)


def _learn(
    learning: _Learning,
    learner: TrainableTexture,
    subject: TargetAnalysis,
    device: torch.device,
    hook: Hook,
    ranks: object | None,
) -> dict:
    """The report of a training; the first rank writes the weights."""
    from lipsync.learning.textures import train_texture as train

    first = ranks is None or ranks.first
    spoken = speech_at_mouths(subject) if "speech" in learner.needs else None
    samples = _keeper(samples_path(learning.out)) if first else None
    report = train(learner, subject, hook, device, spoken=spoken, keep=learning.keep, samples=samples, ranks=ranks)
    if first:
        with written_whole(learning.out) as part:
            learner.save(part)
    return report


def _keeper(path: Path) -> Callable[[np.ndarray], None]:
    """Writes each (H,W,3) picture over the last one."""

    def keep(picture: np.ndarray) -> None:
        import cv2

        _, png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
        with written_whole(path) as part:
            part.write_bytes(png.tobytes())

    return keep
