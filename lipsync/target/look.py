"""What a target's mouths look like, kept by content."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lipsync.core.timebase import nominal_rate
from lipsync.core.types import TargetAnalysis
from lipsync.render.flaws import MouthLook, learn_look
from lipsync.store.cache import Cache, save_arrays, step_key

#: Raise whenever the same bank would give another look.
LOOK_VERSION = 1


def look_of(subject: TargetAnalysis, cache: Cache) -> MouthLook:
    """What the target's mouths look like (cached by content)."""
    rate = float(nominal_rate(subject.video.clock))
    key = step_key("look", LOOK_VERSION, {"rate": rate}, [subject.key])

    def make(folder: Path) -> None:
        save_arrays(
            folder / "look.safetensors", {k: np.asarray(v) for k, v in asdict(learn_look(subject.bank, rate)).items()}
        )

    arrays = cache.read("look", key, make, lambda folder: load_file(folder / "look.safetensors"))
    lips, change = (float(arrays.pop(name).item()) for name in ("lips", "change"))
    return MouthLook(lips=lips, change=change, **arrays)
