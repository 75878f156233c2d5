"""The weights that ship with the program, and what their card says of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"
#: That of the causal network, which hears by logmel.
CAUSAL_LIP_PRIOR = WEIGHTS / "lips-prior-causal.safetensors"
#: Those of the bidirectional network, by the encoder that they hear by.
LIP_PRIORS = {
    "logmel": WEIGHTS / "lips-prior-logmel.safetensors",
    "distilled": WEIGHTS / "lips-prior-distilled.safetensors",
    "whisper": WEIGHTS / "lips-prior-whisper.safetensors",
}
#: The encoders of a joint one, in its order: its prior is the mean of theirs.
JOINT = ("distilled", "logmel")
SPEECH_ENCODER = WEIGHTS / "speech-encoder.safetensors"
MOUTH_ENCODER = WEIGHTS / "mouth-encoder.safetensors"
VOICE = WEIGHTS / "voice.safetensors"
BLEND = WEIGHTS / "blend.safetensors"


def trained_on() -> dict[str, str]:
    """What each shipped network has learned from, by its name: some of it may be a comparison's own footage."""
    cards = tomllib.loads((WEIGHTS / "weights.toml").read_text(encoding="utf-8"))
    return {name: card["trained_on"] for name, card in cards.items()}
