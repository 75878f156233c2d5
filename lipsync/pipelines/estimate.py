"""How long work will take, about, before it begins: from pixels, frames and steps. Seconds of one thread. Following,
learning and drawing were measured on a busy machine with targets of 480x270, 360x288 and 1280x720: parts up to a fifth
off. The others are guesses."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipsync.config.schema import DubConfig, LipsConfig
from lipsync.store.cache import Cache, content_hash
from media import MediaError

#: Per frame of a target, and more per megapixel: finding faces, cutting out mouths.
FOLLOW_S, FOLLOW_MPX_S = 0.012, 0.033
#: Learning to speak from the prior: per second of a target, and at most; a training step of one network from nothing.
LEARN, MOST_LEARN_S, LIP_STEP_S = 1.1, 60.0, 0.06
#: Per row of an output, and more per megapixel, with the texture `median`.
DRAW_S, DRAW_MPX_S = 0.02, 0.14
#: Of a comparison, per row: a picture judged, and one disguised and stored without loss.
JUDGE_S, JUDGE_MPX_S = 0.05, 0.13
DISGUISE_S, DISGUISE_MPX_S = 0.02, 0.1


@dataclass(frozen=True, slots=True)
class Material:
    """A video to be learnt from or looked at. mpx: megapixels of a frame; kept: its faces were followed before."""

    frames: int
    mpx: float
    duration_s: float
    kept: bool = False

    @classmethod
    def of(cls, path: Path, config: DubConfig, cache: Cache) -> Material:
        """Raises MediaError for a file that is no video."""
        from lipsync.target.analyse import probed, track_key

        stream = probed(path, config)
        kept = cache.holds("track", track_key(content_hash(path), config))
        return cls(len(stream), stream.width * stream.height / 1e6, float(stream.clock.duration_s), kept)


def materials(paths: Sequence[Path], config: DubConfig, cache: Cache) -> list[Material]:
    """Those of the videos that can be opened: what is wrong with the others is said when they are used."""
    found = []
    for path in paths:
        with contextlib.suppress(MediaError):
            found.append(Material.of(path, config, cache))
    return found


def follow_s(frames: int, mpx: float) -> float:
    """Following the faces of a video, and cutting out its mouths."""
    return frames * (FOLLOW_S + FOLLOW_MPX_S * mpx)


def follow_all_s(videos: Sequence[Material]) -> float:
    """The same of all videos whose faces were not followed before."""
    return sum(follow_s(one.frames, one.mpx) for one in videos if not one.kept)


def draw_s(rows: int, mpx: float) -> float:
    """Drawing, compositing and encoding rows of an output."""
    return rows * (DRAW_S + DRAW_MPX_S * mpx)


def judge_s(rows: int, mpx: float) -> float:
    """Measuring rows of a comparison."""
    return rows * (JUDGE_S + JUDGE_MPX_S * mpx)


def disguise_s(rows: int, mpx: float) -> float:
    """Putting other mouths over the rows of a comparison."""
    return rows * (DISGUISE_S + DISGUISE_MPX_S * mpx)


def learn_lips_s(duration_s: float, config: LipsConfig) -> float:
    """A lip model from so many seconds of video."""
    if config.model:
        return 0.0
    if config.prior != "none" and not config.steps:
        return min(MOST_LEARN_S, LEARN * duration_s)
    from lipsync.learning.lips import RECIPES, default_steps

    members = config.members or RECIPES[config.network].members
    return (config.steps or default_steps(duration_s)) * members * LIP_STEP_S
