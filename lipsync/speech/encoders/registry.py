"""Speech encoders by name."""

from __future__ import annotations

from functools import cache

from audio.features import FeatureSpec
from lipsync.core.errors import UsageError
from lipsync.speech.encoders.base import Acoustic, Joint, SpeechEncoder
from lipsync.store.registry import JOINT

PAPER = Acoustic("paper", FeatureSpec())
LOGMEL = Acoustic("logmel", FeatureSpec("logmel", differences=False))
NAMES = ("paper", "logmel", "whisper", "distilled", "joint")
#: What "auto" is for each network.
OWN = {"paper": "paper", "causal": "logmel", "bidirectional": "joint"}


@cache
def _joint() -> Joint:
    return Joint("joint", [get_encoder(name) for name in JOINT])


def get_encoder(name: str, network: str = "bidirectional", whisper_model: str = "") -> SpeechEncoder:
    """The encoder of this name; "auto" is the network's own. UsageError: there is none; LipsyncError: it cannot be
    had here."""
    name = OWN.get(network, name) if name == "auto" else name
    if name == "paper":
        return PAPER
    if name == "logmel":
        return LOGMEL
    if name == "whisper":
        from lipsync.speech.encoders.whisper import whisper_encoder

        return whisper_encoder(whisper_model)
    if name == "distilled":
        from lipsync.speech.encoders.distilled import bundled_encoder

        return bundled_encoder()
    if name == "joint":
        return _joint()
    raise UsageError(f"There is no speech encoder {name!r}; known: {', '.join(NAMES)}.")
