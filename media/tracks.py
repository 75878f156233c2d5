"""Which of a file's sound tracks is heard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from media.container import InputLimits, open_media
from media.demux import decoded
from media.sound import RATES

if TYPE_CHECKING:
    import av.container

#: A track of which none of the first so many frames can be decoded cannot be decoded.
_TRIED = 100


def sound_track(
    container: av.container.InputContainer, path: Path, limits: InputLimits = InputLimits()
) -> tuple[Any | None, tuple[str, ...]]:
    """The best of the sound tracks that can be decoded, and a note where a better one was left. Where none can, the
    best of all, whose codec_context may be None; None: there is no sound track."""
    tracks = list(container.streams.audio)
    best: Any = container.streams.best("audio")
    if len(tracks) < 2 or best is None:
        return best, ()
    ranked = sorted(tracks, key=lambda track: (track is not best and track.index != best.index, *_rank(track)))
    heard = next((track for track in ranked if _decodes(track, path, limits)), None)
    if heard is None:
        return next((track for track in ranked if track.codec_context is not None), best), ()
    left = [str(1 + tracks.index(track)) for track in ranked[: ranked.index(heard)]]
    if not left:
        return heard, ()
    which = f"track {left[0]}" if len(left) == 1 else f"tracks {', '.join(left)}"
    return heard, (
        f"{path.name}: its sound {which} cannot be decoded, so that track {1 + tracks.index(heard)} of {len(tracks)} "
        "is taken",
    )


def _rank(track: Any) -> tuple[bool, int, int]:
    """Lower is better: marked as the default, of a higher bit rate, earlier."""
    from av.stream import Disposition

    context = track.codec_context
    return not track.disposition & Disposition.default, -((context and context.bit_rate) or 0), track.index


def _decodes(track: Any, path: Path, limits: InputLimits) -> bool:
    """Whether a first frame comes of it; looked for in the file opened anew, so that the open one stays at its
    start."""
    from av.error import FFmpegError

    if track.codec_context is None or not RATES[0] <= track.codec_context.sample_rate <= RATES[1]:
        return False
    try:
        with open_media(path, limits) as again:
            frames = decoded(again, again.streams[track.index])
            return any(frame is not None for frame, _ in zip(frames, range(_TRIED), strict=False))
    except (FFmpegError, OSError, ValueError):
        return False
