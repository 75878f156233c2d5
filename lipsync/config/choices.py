"""What some options choose from, once: the types of the configuration, and the names for messages."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Literal, get_args

Backend = Literal["mediapipe", "dlib"]
LengthPolicy = Literal["speech", "cut", "loop", "bounce", "hold"]
LipNetwork = Literal["bidirectional", "causal", "paper"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
LENGTH_POLICIES: tuple[LengthPolicy, ...] = get_args(LengthPolicy)
LIP_NETWORKS: tuple[LipNetwork, ...] = get_args(LipNetwork)
#: Built-in texture methods by name; their files are listed, not imported.
TEXTURES = tuple(
    sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules([str(Path(__file__).parents[1] / "textures" / "methods")])
    )
)
