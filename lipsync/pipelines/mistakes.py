"""Inputs that were perhaps meant otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.store.cache import Cache
from lipsync.store.preflight import check_speech, refuse_photo
from lipsync.target.analyse import probed
from media import MediaError
from video.probe import VideoStream


def target_stream(target: Path, speeches: Sequence[Path], config: DubConfig, cache: Cache) -> VideoStream:
    """What is in the target. LipsyncError where it is the speech, and the speech is the film; where it is a single
    picture. MediaError: it cannot be read."""
    try:
        stream, fault = probed(target, config, cache), None
    except MediaError as error:
        stream, fault = None, error
    if stream is None or len(stream) == 1:  # of music with a cover the picture is one frame
        _refuse_swapped(target, speeches, config)
    if stream is None:
        raise fault or MediaError(str(target))
    refuse_photo(target, len(stream))
    return stream


def _refuse_swapped(target: Path, speeches: Sequence[Path], config: DubConfig) -> None:
    try:
        check_speech(target, config.input_limits)
        film = next(path for path in speeches if len(probed(path, config)) > 1)
    except (MediaError, StopIteration):
        return
    raise LipsyncError(
        f"TARGET {target} is a sound, and SPEECH {film} is a film. Did you mean it the other way round: "
        f"lipsync dub {film} {target}?"
    )
