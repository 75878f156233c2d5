"""The lip model that learning starts from."""

from __future__ import annotations

from pathlib import Path

from lipsync.config.schema import LipsConfig
from lipsync.core.errors import UsageError
from lipsync.speech.encoders.registry import OWN
from lipsync.speech.lip_model import LipModel
from lipsync.speech.merge import merged
from lipsync.store.registry import CAUSAL_LIP_PRIOR, JOINT, LIP_PRIORS


def bundled_lip_model(encoder: str = "auto", whisper_model: str = "") -> LipModel:
    """The prior that ships with the program for this encoder: anybody's lips for anybody's speech. UsageError: there
    is none."""
    return _loaded(_files_for(encoder), whisper_model)


def prior_files(config: LipsConfig) -> list[Path]:
    """The files that learning starts from, if any: of those that ship, the ones of the configured network and
    encoder."""
    if config.prior == "none":
        return []
    if config.prior != "bundled":
        return [Path(config.prior)]
    encoder = OWN[config.network] if config.encoder == "auto" else config.encoder
    if config.network == "causal":
        return [CAUSAL_LIP_PRIOR] if encoder == "logmel" else []
    bundled = config.network == "bidirectional" and (encoder == "joint" or encoder in LIP_PRIORS)
    return _files_for(encoder) if bundled else []


def prior_for(config: LipsConfig) -> LipModel | None:
    """The model that learning starts from; None = from nothing. UsageError: a file of another network or encoder."""
    files = prior_files(config)
    if not files:
        return None
    prior = _loaded(files, config.whisper_model)
    if prior.network != config.network:
        raise UsageError(f"lips.prior {files[0].name} is a {prior.network} network, not {config.network}.")
    if config.encoder not in ("auto", prior.encoder.name):
        raise UsageError(f"lips.prior {files[0].name} hears by {prior.encoder.name}, not by {config.encoder}.")
    return prior


def _files_for(encoder: str) -> list[Path]:
    encoder = OWN["bidirectional"] if encoder == "auto" else encoder
    if encoder != "joint" and encoder not in LIP_PRIORS:
        raise UsageError(f"No lip model for the encoder {encoder} ships; name one with lips.model.")
    return [LIP_PRIORS[part] for part in (JOINT if encoder == "joint" else (encoder,))]


def _loaded(files: list[Path], whisper_model: str) -> LipModel:
    models = [LipModel.load(path, whisper_model) for path in files]
    return models[0] if len(models) == 1 else merged(models)
