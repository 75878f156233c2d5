"""A person in a video says a new recording: `dub("target.mp4", "speech.wav", "out.mp4", DubConfig(device="cpu"))`."""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

#: Public name -> module that has it; nothing is imported before it is asked for.
_HOME = {
    "dub": "lipsync.pipelines.dub",
    "segments_from": "lipsync.pipelines.casting",
    "Segment": "lipsync.core.segments",
    "analyse": "lipsync.target.analyse",
    "Cache": "lipsync.store.cache",
    "DubConfig": "lipsync.config.schema",
    "load_config": "lipsync.config.load",
    "LipsyncError": "lipsync.core.errors",
    "UsageError": "lipsync.core.errors",
}
_NAME_THERE = {"load_config": "load"}
__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'lipsync' has no attribute {name!r}")
    importlib.import_module("lipsync.core.environment").prepare_environment()
    value = getattr(importlib.import_module(_HOME[name]), _NAME_THERE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
