"""Weights of a texture method from footage of one person, to keep and to use with `--texture-weights`."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.progress import Hook, Lines, Whole, silent
from lipsync.core.runtime import pick_device
from lipsync.core.types import TargetAnalysis
from lipsync.learning.distributed import Ranks
from lipsync.learning.textures import speech_at_mouths
from lipsync.pipelines.estimate import follow_all_s, materials
from lipsync.pipelines.models import texture_key
from lipsync.store.cache import UNFINISHED, Cache
from lipsync.store.preflight import check_files, samples_path, written_whole
from lipsync.target.analyse import analyse
from lipsync.textures import get_method
from lipsync.textures.trainable import TrainableTexture, as_trainable

#: In the folder of an interrupted training: hashes of the pictures it drew.
_DRAWN = "samples.sha256"


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
    target, out = Path(target), Path(out)
    videos = tuple(map(Path, footage))
    config = validate(replace(config, texture=method, texture_weights=""))
    cache = cache or Cache.of(config.cache)
    picture = samples_path(out)
    written = [out] if _of_interrupted(picture, cache) else [out, picture]
    check_files([(path, "footage") for path in (target, *videos)], written, force)
    learner = as_trainable(found := get_method(method, config))
    if learner is None:
        raise UsageError(f"The texture {found.name} learns nothing: use it as it is.")
    device = pick_device(config.device)
    material = materials((target, *videos), config, cache)
    training_s = learner.config.steps * learner.step_s
    if material:
        hook = Whole(hook, {"faces": follow_all_s(material), f"texture {learner.name}": training_s})
    subject = analyse(target, config, cache, hook, videos)
    key = texture_key(method, learner, subject)
    if fresh:
        shutil.rmtree(cache.folder / UNFINISHED / key, ignore_errors=True)
    keep = cache.unfinished(UNFINISHED, key, label=f"{learner.name}, {target.name}")
    run = _Run(method, target, videos, out, config, cache.folder, keep)
    with _unfinished(keep):
        report = _learn_together(run, devices, device) if devices > 1 else _learn(run, learner, subject, device, hook)
    return {
        "path": str(out),
        "picture": str(picture),
        "method": learner.name,
        "target": str(target),
        "footage": list(map(str, videos)),
        "report": report,
        "notes": list(subject.notes),
    }


@contextmanager
def _unfinished(keep: Path) -> Iterator[None]:
    """The folder stays where the training is interrupted, and goes when it is done, or would fail again."""
    try:
        yield
    except LipsyncError:
        shutil.rmtree(keep, ignore_errors=True)
        raise
    shutil.rmtree(keep, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Run:
    """What to learn, in words that can be sent to another process. cache, keep: folders; keep holds what an interrupted
    training goes on from."""

    method: str
    target: Path
    footage: tuple[Path, ...]
    out: Path
    config: DubConfig
    cache: Path
    keep: Path


def _learn_together(run: _Run, devices: int, device: torch.device) -> dict:
    from lipsync.learning.distributed import launch

    # bound, not an argument: Lightning would look into it
    return launch(devices, partial(_on_rank, run=run), accelerator="cpu" if device.type == "cpu" else "auto")


def _on_rank(ranks: Ranks, run: _Run) -> dict:
    """One of several processes that learn together; the subject comes from the cache."""
    subject = analyse(run.target, run.config, Cache(str(run.cache)), silent, run.footage)
    learner = as_trainable(get_method(run.method, run.config))
    if learner is None:
        raise UsageError(f"The texture {run.method} learns nothing: use it as it is.")
    return _learn(run, learner, subject, ranks.device, Lines(sys.stderr) if ranks.first else silent, ranks)


def _learn(
    run: _Run,
    learner: TrainableTexture,
    subject: TargetAnalysis,
    device: torch.device,
    hook: Hook,
    ranks: Ranks | None = None,
) -> dict:
    """The report of a training; the first rank writes the weights."""
    from lipsync.learning import textures

    first = ranks is None or ranks.first
    speech = speech_at_mouths(subject) if "speech" in learner.needs else None
    samples = partial(_write_samples, samples_path(run.out), run.keep / _DRAWN) if first else None
    state = run.keep / "training.safetensors"
    report = textures.train_texture(
        learner, subject, hook, device, speech=speech, keep=state, samples=samples, ranks=ranks
    )
    if first:
        with written_whole(run.out) as part:
            learner.save(part)
    return report


def _write_samples(path: Path, drawn: Path, picture: np.ndarray) -> None:
    """Writes the (H,W,3) picture over the last one, and its hash to `drawn` before, so that it is known as our own."""
    import cv2

    _, png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    content = png.tobytes()
    with suppress(OSError), drawn.open("a") as file:
        file.write(f"{hashlib.sha256(content).hexdigest()}\n")
    with written_whole(path) as part:
        part.write_bytes(content)


def _of_interrupted(picture: Path, cache: Cache) -> bool:
    """Whether an interrupted training drew this picture: then it may be drawn over."""
    if not picture.is_file():
        return False
    own = hashlib.sha256(picture.read_bytes()).hexdigest()
    return any(own in file.read_text().split() for file in (cache.folder / UNFINISHED).glob(f"*/{_DRAWN}"))
