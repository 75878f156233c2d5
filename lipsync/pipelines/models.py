"""The speech-to-lips model for one subject: the user's file, or trained on the subject's own speech and lips (cached by
content)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from lipsync.config.schema import DubConfig, LipsConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import all_threads, one_thread
from lipsync.core.texture import TextureMethod
from lipsync.core.types import TargetAnalysis
from lipsync.learning.lip_examples import spoken_lips
from lipsync.learning.textures import speech_at_mouths
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import prior_for, prior_path
from lipsync.store.cache import Cache, content_hash, step_key
from lipsync.target.rest import resting_lips
from lipsync.textures.registry import get_method
from lipsync.textures.trainable import TrainableTexture

#: Raise whenever the same footage would train another model.
VERSION = 5


def lip_model_for(
    subject: TargetAnalysis, config: LipsConfig, cache: Cache, device: torch.device, hook: Hook = silent
) -> LipModel:
    """The model that says new speech with this subject's lips, from their rest in the target. LipsyncError: nothing to
    learn from, no prior."""
    rest = resting_lips(subject, cache)
    if config.model:
        return LipModel.load(Path(config.model)).retarget(rest)
    prior = prior_for(config)
    start = content_hash(prior_path(config)) if prior else ""
    key = step_key("lips", VERSION, {"config": asdict(config), "prior": start}, [film.key for film in subject.films])

    def make(where: Path) -> None:
        from lipsync.learning.adaptation import adapt_lip_model

        examples, _ = spoken_lips(subject.films)
        if prior is None and not examples:
            raise LipsyncError(
                f"{subject.video.path.name} has no sound to learn lips from. Add footage of the same person speaking "
                "with --footage."
            )
        visible = [film.track.lips for film in subject.films]
        with one_thread():
            model = adapt_lip_model(examples, visible, rest, config, prior, hook, device)
        model.save(where / "model.safetensors")

    def load(folder: Path) -> LipModel:
        return LipModel.load(folder / "model.safetensors")

    return cache.read("lips", key, make, load, label=subject.video.path.name).retarget(rest)


def texture_for(
    subject: TargetAnalysis, config: DubConfig, cache: Cache, device: torch.device, hook: Hook = silent
) -> TextureMethod:
    """The configured method, ready to draw this subject. LipsyncError: it must learn first, or the weights do not
    fit."""
    method = get_method(config.texture, config)
    if isinstance(method, TrainableTexture) and method.weights is None and config.train_texture:

        def make(where: Path) -> None:
            from lipsync.learning.textures import train_texture

            method.weights = None  # of an entry that has gone
            with all_threads():
                train_texture(
                    method,
                    subject,
                    hook,
                    device,
                    spoken=speech_at_mouths(subject) if "speech" in method.needs else None,
                )
            method.save(where / "texture.safetensors")

        def load(folder: Path) -> TextureMethod:
            method.weights = folder / "texture.safetensors"
            return method.prepare(subject, device)

        return cache.read(
            "textures",
            texture_key(config.texture, method, subject),
            make,
            load,
            label=f"{method.name}, {subject.video.path.name}",
        )
    return method.prepare(subject, device)


def check_texture(config: DubConfig) -> None:
    """LipsyncError, before any work, where the configured method must learn first or its weights are another's."""
    method = get_method(config.texture, config)
    if isinstance(method, TrainableTexture) and not config.train_texture:
        method.check_weights()


def texture_key(name: str, method: TrainableTexture, subject: TargetAnalysis) -> str:
    """Of the weights that `method`, found by `name`, learns from `subject`."""
    code = content_hash(name) if name.endswith(".py") else ""
    return step_key(
        "texture", VERSION, {"method": method.name, "config": asdict(method.config), "code": code}, [subject.key]
    )


def texture_facts(method: TextureMethod) -> dict:
    """What a receipt says of a method: its name and, if it has learned, how."""
    learned = isinstance(method, TrainableTexture)
    report = {key: value for key, value in method.report.items() if key != "curve"} if learned else {}
    return {"method": method.name} | ({"parameters": method.n_parameters, "training": report} if learned else {})
