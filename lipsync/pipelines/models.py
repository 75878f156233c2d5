"""The speech-to-lips model for one subject: the user's file, or trained on the subject's own speech and lips (cached by
content)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch

from lipsync.config.schema import DubConfig, LipsConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import all_threads, one_thread
from lipsync.core.texture import TextureMethod
from lipsync.core.types import Footage, TargetAnalysis
from lipsync.learning.adaptation import adapt_lip_model
from lipsync.learning.lip_examples import examples_of
from lipsync.learning.textures import speech_at_mouths, train_texture
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import bundled_lip_model, prior_files, prior_for
from lipsync.store.cache import Cache, content_hash, step_key
from lipsync.target.rest import resting_lips
from lipsync.textures.registry import get_method
from lipsync.textures.trainable import TrainableTexture, as_trainable

#: Raise whenever the same footage would train another model.
VERSION = 9


class Prepared(NamedTuple):
    """A person of a target who is ready to say anything: all that does not hang on the speech."""

    subject: TargetAnalysis
    model: LipModel
    method: TextureMethod
    device: torch.device


def lip_model_for(
    films: Sequence[Footage], config: LipsConfig, cache: Cache, device: torch.device, hook: Hook = silent
) -> LipModel:
    """The model that says new speech with the lips of the person in the films, from their rest in the first, the
    target. LipsyncError: nothing to learn from, no prior."""
    rest, name = resting_lips(films[0], cache), films[0].video.path.name
    if config.model:
        return LipModel.load(Path(config.model), config.whisper_model).retarget(rest)
    prior = prior_for(config)
    start = " ".join(map(content_hash, prior_files(config)))
    key = step_key("lips", VERSION, {"config": asdict(config), "prior": start}, [film.key for film in films])

    def make(where: Path) -> None:
        examples, _ = examples_of(films)
        if prior is None and not examples:
            raise LipsyncError(
                f"{name} has no sound to learn lips from. Add footage of the same person speaking with --footage."
            )
        visible = [film.track.lips for film in films]
        with one_thread():
            model = adapt_lip_model(examples, visible, rest, config, prior, hook, device)
        model.save(where / "model.safetensors")

    def load(folder: Path) -> LipModel:
        return LipModel.load(folder / "model.safetensors", config.whisper_model)

    return cache.read("lips", key, make, load, label=name).retarget(rest)


def resting_model(subject: TargetAnalysis, cache: Cache) -> LipModel:
    """A model with the subject's rest that has learnt nothing of him, for lips that come from a film."""
    model = bundled_lip_model().retarget(resting_lips(subject.films[0], cache))
    model.report = {"lips_from": "performance"}
    return model


def texture_for(
    subject: TargetAnalysis,
    config: DubConfig,
    cache: Cache,
    device: torch.device,
    hook: Hook = silent,
    method: TextureMethod | None = None,
) -> TextureMethod:
    """The configured method, ready to draw this subject. method: that of `check_texture`, whose weights are not read
    again. LipsyncError: it must learn first, or the weights do not fit."""
    method = method or get_method(config.texture, config)
    learner = as_trainable(method)
    if learner is None or learner.weights is not None or not config.train_texture:
        return method.prepare(subject, device)

    def make(where: Path) -> None:
        learner.weights = None  # of an entry that has gone
        speech = speech_at_mouths(subject) if "speech" in learner.needs else None
        with all_threads():
            train_texture(learner, subject, hook, device, speech=speech)
        learner.save(where / "texture.safetensors")

    def load(folder: Path) -> TrainableTexture:
        learner.weights = folder / "texture.safetensors"
        return learner.prepare(subject, device)

    key = texture_key(config.texture, learner, subject)
    return cache.read("textures", key, make, load, label=f"{learner.name}, {subject.video.path.name}")


def check_texture(config: DubConfig) -> TextureMethod:
    """The configured method, its weights read. LipsyncError, before any work, where it must learn first or the weights
    are another's."""
    method = get_method(config.texture, config)
    learner = as_trainable(method)
    if learner is not None and not config.train_texture:
        learner.check_weights()
    return method


def texture_key(name: str, method: TrainableTexture, subject: TargetAnalysis) -> str:
    """Of the weights that `method`, found by `name`, learns from `subject`."""
    code = content_hash(name) if name.endswith(".py") else ""
    return step_key(
        "texture", VERSION, {"method": method.name, "config": asdict(method.config), "code": code}, [subject.key]
    )


def texture_facts(method: TextureMethod) -> dict:
    """What a receipt says of a method: its name and, if it has learned, how."""
    learner = as_trainable(method)
    if learner is None:
        return {"method": method.name}
    report = {key: value for key, value in learner.report.items() if key != "curve"}
    return {"method": learner.name, "parameters": learner.n_parameters, "training": report}
