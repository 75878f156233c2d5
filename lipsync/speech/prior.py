"""The lip model that learning starts from."""

from __future__ import annotations

from pathlib import Path

from lipsync.config.schema import LipsConfig
from lipsync.core.errors import UsageError
from lipsync.speech.encoders.registry import OWN
from lipsync.speech.lip_model import LipModel
from lipsync.store.registry import LIP_PRIOR


def bundled_lip_model() -> LipModel:
    """The prior that ships with the program: anybody's lips for anybody's speech."""
    return LipModel.load(LIP_PRIOR)


def prior_path(config: LipsConfig) -> Path | None:
    """The file that learning starts from, if any."""
    return None if config.prior == "none" else LIP_PRIOR if config.prior == "bundled" else Path(config.prior)


def prior_for(config: LipsConfig) -> LipModel | None:
    """The model that learning starts from; None = from nothing. UsageError: a file of another network."""
    path = prior_path(config)
    if path is None or (config.prior == "bundled" and not _is_bundled_kind(config)):
        return None
    prior = LipModel.load(path, config.whisper_model)
    if prior.network != config.network:
        raise UsageError(f"lips.prior {path.name} is a {prior.network} network, not {config.network}.")
    if config.encoder not in ("auto", prior.encoder.name):
        raise UsageError(f"lips.prior {path.name} hears by {prior.encoder.name}, not by {config.encoder}.")
    return prior


def _is_bundled_kind(config: LipsConfig) -> bool:
    """Whether the configured network is of the shape and hears by the encoder of the prior that ships."""
    return config.network == "bidirectional" and config.encoder in ("auto", OWN["bidirectional"])
