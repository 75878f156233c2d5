"""A lip model from footage of one person, to keep and to use with `--lips`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, Whole, silent
from lipsync.core.runtime import one_thread, pick_device
from lipsync.learning.lip_examples import LipExample, examples_of
from lipsync.pipelines.estimate import follow_all_s, learn_lips_s, materials
from lipsync.pipelines.models import VERSION
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import prior_files, prior_for
from lipsync.store.cache import UNFINISHED, Cache, content_hash, step_key
from lipsync.store.preflight import check_files, curve_path, written_whole
from lipsync.target.analyse import usable_footage


def train_lips(
    footage: Sequence[str | Path],
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    fresh: bool = False,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
) -> dict:
    """Writes the model of the person in `footage` and, beside it, a picture of its training; returns the report, plain
    values.

    An interrupted training goes on where it stopped when the same is asked for again, unless `fresh`. LipsyncError,
    MediaError: footage that cannot be used; nothing is left at `out` then."""
    paths, out = tuple(map(Path, footage)), Path(out)
    validate(config)
    check_files([(path, "footage") for path in paths], [out, curve_path(out)], force)
    device = pick_device(config.device)
    cache = cache or Cache.of(config.cache)
    material = materials(paths, config, cache)
    learning_s = learn_lips_s(sum(one.duration_s for one in material), config.lips)
    if material:
        hook = Whole(hook, {"faces": follow_all_s(material), "lips": learning_s})
    videos, notes = usable_footage(paths, config, cache, hook)
    examples, more = examples_of(videos)
    notes = [*notes, *more]
    if not examples:
        nothing = "There is nothing to learn lips from: give footage of a face that speaks, with its sound."
        raise LipsyncError(" ".join([*notes, nothing]))
    prior = prior_for(config.lips)
    start = " ".join(map(content_hash, prior_files(config.lips)))
    key = step_key("train-lips", VERSION, {"lips": config.lips, "prior": start}, [video.key for video in videos])
    if fresh:
        shutil.rmtree(cache.folder / UNFINISHED / key, ignore_errors=True)
    keep = cache.unfinished(UNFINISHED, key, label=", ".join(video.video.path.name for video in videos))
    model = _trained(examples, config, prior, keep, device, hook)
    with written_whole(out) as part:
        model.save(part)
    shutil.rmtree(keep, ignore_errors=True)
    return {
        "path": str(out),
        "picture": _write_curve(model.report, curve_path(out)),
        "footage": [str(video.video.path) for video in videos],
        "report": model.report,
        "notes": notes,
    }


def _trained(
    examples: list[LipExample], config: DubConfig, prior: LipModel | None, keep: Path, device: torch.device, hook: Hook
) -> LipModel:
    from lipsync.learning.lips import train_lip_model

    try:
        with one_thread():
            return train_lip_model(examples, config.lips, hook, device, prior=prior, keep=keep)
    except LipsyncError:
        shutil.rmtree(keep, ignore_errors=True)  # it would fail again
        raise


def _write_curve(report: dict, path: Path) -> str | None:
    """The picture's name; None where the report holds no curve, and then no picture of an earlier model stays."""
    import cv2

    from lipsync.learning.curves import curve_picture

    picture = curve_picture(report)
    if picture is None:
        path.unlink(missing_ok=True)
        return None
    with written_whole(path) as part:
        _, png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
        part.write_bytes(png.tobytes())
    return str(path)
