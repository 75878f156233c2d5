"""The texture method of one dub, ready to draw: untrained, from the user's file of weights, or trained on the subject now (cached by content)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from audio import AudioError
from audio.load import Waveform, load_track
from lipsync.cache import Cache, content_hash, step_key
from lipsync.config import DubConfig
from lipsync.hooks import Hook, silent
from lipsync.lip_model import bundled_lip_model
from lipsync.textures import get_method
from lipsync.textures.base import TextureMethod
from lipsync.textures.learned import Learned
from lipsync.threads import all_threads
from lipsync.timebase import pieces_at
from lipsync.types import TargetAnalysis
from video.frames import FrameClock

#: Raise whenever the same footage would train other weights.
VERSION = 1


def texture_for(subject: TargetAnalysis, config: DubConfig, cache: Cache, device: torch.device, hook: Hook = silent) -> TextureMethod:
    """The configured method, ready to draw this subject. LipsyncError: it must learn first, or the weights do not fit."""
    method = get_method(config.texture, config)
    if isinstance(method, Learned) and method.weights is None and config.train_texture:

        def make(where: Path) -> None:
            from training.textures import train_texture

            method.weights = None  # of an entry that has gone
            with all_threads():
                train_texture(method, subject, hook, device, spoken=heard_at_mouths(subject) if method.hears else None)
            method.save(where / "texture.safetensors")

        def load(folder: Path) -> TextureMethod:
            method.weights = folder / "texture.safetensors"
            return method.prepare(subject, device)

        return cache.read("textures", texture_key(config.texture, method, subject), make, load, label=f"{method.name}, {subject.video.path.name}")
    return method.prepare(subject, device)


def check_texture(config: DubConfig) -> None:
    """LipsyncError, before any work, where the configured method must learn first or its weights are another's."""
    method = get_method(config.texture, config)
    if isinstance(method, Learned) and not config.train_texture:
        method.check_weights()


def texture_key(name: str, method: Learned, subject: TargetAnalysis) -> str:
    """Of the weights that `method`, found by `name`, learns from `subject`."""
    code = content_hash(name) if name.endswith(".py") else ""
    return step_key("texture", VERSION, {"method": method.name, "config": asdict(method.config), "code": code}, [subject.key])


def texture_facts(method: TextureMethod) -> dict:
    """What a receipt says of a method: its name and, if it has learned, how."""
    learned = isinstance(method, Learned)
    report = {key: value for key, value in method.report.items() if key != "curve"} if learned else {}
    return {"method": method.name} | ({"parameters": method.n_parameters, "training": report} if learned else {})


def heard(wave: Waveform, clock: FrameClock) -> np.ndarray:
    """(N,256) float32: what the bundled lip model's LSTM makes of the sound at the frames of `clock`."""
    return pieces_at(bundled_lip_model().hear(wave), clock)


def heard_at_mouths(subject: TargetAnalysis) -> np.ndarray | None:
    """(K,256) float32 `heard` at each mouth of the bank, 0 where its film has no sound; None where none has."""
    bank, first, found, out = subject.bank, 0, False, np.zeros((len(subject.bank), 256), np.float32)
    for film in subject.films:
        after = first + int(film.track.shot.max()) + 1  # shots are numbered film after film
        rows = np.flatnonzero((bank.shot >= first) & (bank.shot < after))
        first = after
        try:
            out[rows] = heard(load_track(film.video.path, film.stream.largest.hours), film.video.clock)[bank.source[rows]]
            found = True
        except AudioError:
            continue
    return out if found else None
