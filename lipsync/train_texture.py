"""Weights of a texture method from footage of one person, to keep and to use with `--texture-weights`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lipsync.analyse import analyse
from lipsync.cache import Cache
from lipsync.config import DubConfig
from lipsync.config_file import checked
from lipsync.dub import pick_device
from lipsync.errors import LipsyncError, UsageError
from lipsync.hooks import Hook, silent
from lipsync.paths import check_files, samples_path, written_whole
from lipsync.texture_model import heard_at_mouths, texture_key
from lipsync.textures import get_method
from lipsync.textures.learned import Learned
from lipsync.train_lips import UNFINISHED


def train_texture(
    method: str, target: str | Path, out: str | Path, config: DubConfig = DubConfig(), *, footage: Sequence[str | Path] = (), fresh: bool = False,
    cache: Cache | None = None, hook: Hook = silent, force: bool = False,
) -> dict:  # fmt: skip
    """Writes the weights that `method` learns from the person in `target` and, beside them, pictures drawn on the way; returns the report.

    The weights fit dubs of this target (with or without the footage). An interrupted training goes on where it stopped when the same is
    asked for again, unless `fresh`. UsageError: a method that learns nothing. LipsyncError, VideoError: footage that cannot be used.
    """
    from training.textures import train_texture as train

    target, out, footage = Path(target), Path(out), tuple(map(Path, footage))
    config = checked(replace(config, texture=method, texture_weights=""))
    check_files([(path, "footage") for path in (target, *footage)], [out, samples_path(out)], force)
    learner = get_method(method, config)
    if not isinstance(learner, Learned):
        raise UsageError(f"The texture {learner.name} learns nothing: use it as it is.")
    device = pick_device(config.device)
    cache = cache or Cache(config.cache.folder or None)
    subject = analyse(target, config, cache, hook, footage)
    key = texture_key(method, learner, subject)
    if fresh:
        shutil.rmtree(cache.folder / UNFINISHED / key, ignore_errors=True)
    keep = cache.unfinished(UNFINISHED, key, label=f"{learner.name}, {target.name}")
    spoken = heard_at_mouths(subject) if learner.hears else None
    try:
        report = train(learner, subject, hook, device, spoken=spoken, keep=keep / "training.safetensors", samples=_keeper(samples_path(out)))
    except LipsyncError:
        shutil.rmtree(keep, ignore_errors=True)  # it would fail again
        raise
    with written_whole(out) as part:
        learner.save(part)
    shutil.rmtree(keep, ignore_errors=True)
    return {
        "path": str(out), "picture": str(samples_path(out)), "method": learner.name, "target": str(target), "footage": list(map(str, footage)),
        "report": report, "notes": list(subject.notes),
    }  # fmt: skip


def _keeper(path: Path) -> Callable[[np.ndarray], None]:
    """Writes each (H,W,3) picture over the last one."""

    def keep(picture: np.ndarray) -> None:
        import cv2

        _, png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
        with written_whole(path) as part:
            part.write_bytes(png.tobytes())

    return keep
