"""The speech-to-lips model for one subject: the user's file, or trained on the subject's own speech and lips (cached by content)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from audio import AudioError
from audio.load import load_track
from audio.voice import voice_activity
from lipsync.cache import Cache, content_hash, step_key
from lipsync.config import LipsConfig
from lipsync.errors import LipsyncError, UsageError
from lipsync.hooks import Hook, silent
from lipsync.lips import rest_shape
from lipsync.speech_to_lips import LipModel
from lipsync.threads import one_thread
from lipsync.timebase import voiced_at
from lipsync.types import Footage, TargetAnalysis

#: Raise whenever the same footage would train another model.
VERSION = 5


def lip_model_for(subject: TargetAnalysis, config: LipsConfig, cache: Cache, device: torch.device, hook: Hook = silent) -> LipModel:
    """The model that says new speech with this subject's lips, from their rest in the target. LipsyncError: nothing to learn from, no prior."""
    rest = resting_lips(subject)
    if config.model:
        return LipModel.load(Path(config.model)).on(rest)
    prior = prior_for(config)
    start = content_hash(prior_path(config)) if prior else ""
    key = step_key("lips", VERSION, {"config": asdict(config), "prior": start}, [film.key for film in subject.films])

    def make(where: Path) -> None:
        from training.person import lips_of_person

        examples, _ = spoken_lips(subject.films)
        if prior is None and not examples:
            raise LipsyncError(
                f"{subject.video.path.name} has no sound to learn lips from. Add footage of the same person speaking with --footage."
            )
        visible = [film.track.lips for film in subject.films]
        with one_thread():
            model = lips_of_person(examples, visible, rest, config, prior, hook, device)
        model.save(where / "model.safetensors")

    load = lambda folder: LipModel.load(folder / "model.safetensors")  # noqa: E731
    return cache.read("lips", key, make, load, label=subject.video.path.name).on(rest)


#: The prior that ships with the program.
BUNDLED = Path(__file__).parent / "weights" / "lips-prior.safetensors"


def bundled_lip_model() -> LipModel:
    """The prior that ships with the program: anybody's lips for anybody's speech."""
    return LipModel.load(BUNDLED)


def prior_path(config: LipsConfig) -> Path | None:
    """The file that learning starts from, if any."""
    return None if config.prior == "none" else BUNDLED if config.prior == "bundled" else Path(config.prior)


def prior_for(config: LipsConfig) -> LipModel | None:
    """The model that learning starts from; None = from nothing. UsageError: a file of another network."""
    if prior_path(config) is None or (config.prior == "bundled" and config.network != "bidirectional"):
        return None
    prior = LipModel.load(prior_path(config))
    if prior.network != config.network:
        raise UsageError(f"lips.prior {prior_path(config).name} is a {prior.network} network, not {config.network}.")
    return prior


def resting_lips(subject: TargetAnalysis) -> np.ndarray:
    """(18,2) face frame: the subject's lips, closed and at rest, from the frames of the target in which nobody speaks."""
    track = subject.track
    return rest_shape(track.lips.points, track.lips.valid & track.valid, voiced_frames(subject.films[0]))


def voiced_frames(film: Footage) -> np.ndarray:
    """(T,) bool: frames of the film during which somebody speaks; all False where it has no sound."""
    try:
        return voiced_at(voice_activity(load_track(film.video.path, film.stream.largest.hours)), film.video.clock)
    except AudioError:
        return np.zeros(len(film.track), bool)


def spoken_lips(films: Sequence[Footage]) -> tuple[list, list[str]]:
    """Speech with the lips that said it (`training.lip_examples.SpokenLips`), one of each film that has sound, and a note for each that has none."""
    from training.lip_examples import SpokenLips

    examples, notes = [], []
    for film in films:
        try:
            examples.append(SpokenLips(load_track(film.video.path, film.stream.largest.hours), film.track.lips, film.track.shot))
        except AudioError as error:
            notes.append(f"Footage {film.video.path.name} is of no use: {error}")
    return examples, notes
