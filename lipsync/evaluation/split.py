"""Which frames of real footage a comparison is judged on, and what is left to learn from: split by time, with a guard
gap."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LIPS_FROM_68
from lipsync.core.text import readable
from lipsync.core.types import FaceTrack, Footage, LipTrack, MouthBank, TargetAnalysis
from lipsync.store.cache import Cache, step_key
from lipsync.target.mouth_bank import BANK_COLUMNS, cached_bank, find_teeth, write_columns, write_crops
from media.atomic import atomic_write

#: Raise whenever the same split would leave other things to learn from.
VERSION = 1
#: Of a target that is its own truth: blocks, their share of the usable frames together, the most they hold, and the gap
#: beside each.
N_BLOCKS, SHARE, MOST_S, GUARD_S = 5, 0.2, 60.0, 0.5
#: Fewer frames than this in a block, or mouths to learn from, are no comparison.
LEAST_BLOCK, LEAST_MOUTHS = 5, 20


@dataclass(frozen=True, slots=True)
class Block:
    """Frames start to stop - 1 of video `video` (its place among those that hold the truth)."""

    video: int
    start: int
    stop: int

    @property
    def frames(self) -> np.ndarray:
        return np.arange(self.start, self.stop, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Split:
    """The held-out blocks. videos: (name, SHA-256) of those that hold the truth; in_target: there is one, the target
    itself, and frames nearer to a block than `guard_s` are neither learnt from nor judged."""

    videos: tuple[tuple[str, str], ...]
    blocks: tuple[Block, ...]
    in_target: bool
    guard_s: float = GUARD_S

    def to_plain(self) -> dict:
        """For JSON: blocks as [video, first frame, last frame]."""
        return {
            "in_target": self.in_target,
            "guard_s": self.guard_s,
            "films": [{"name": name, "sha256": sha256} for name, sha256 in self.videos],
            "blocks": [[b.video, b.start, b.stop - 1] for b in self.blocks],
        }

    def save(self, path: Path) -> None:
        with atomic_write(path) as part:
            part.write_text(
                json.dumps(readable(self.to_plain()), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )

    @classmethod
    def load(cls, path: Path, footage: Sequence[Footage]) -> Split:
        """A kept split. LipsyncError: not a split, or of other videos than `footage`, in this order."""
        try:
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
            named = tuple((video["name"], video["sha256"]) for video in plain["films"])
            blocks = tuple(Block(int(video), int(first), int(last) + 1) for video, first, last in plain["blocks"])
            split = cls(named, blocks, bool(plain["in_target"]), float(plain["guard_s"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LipsyncError(
                f"{path} is not a split that `lipsync compare` wrote. Leave it out, and a new one is made."
            ) from error
        if [sha256 for _, sha256 in named] != [one.video.sha256 for one in footage]:
            raise LipsyncError(
                f"{path} splits other films ({', '.join(name for name, _ in named)}). Leave it out, and a new one is "
                "made."
            )
        if not blocks or any(
            not (0 <= b.video < len(footage) and 0 <= b.start < b.stop <= len(footage[b.video].track)) for b in blocks
        ):
            raise LipsyncError(f"{path} names frames that its films do not have. Leave it out, and a new one is made.")
        return split


def spread_blocks(
    footage: Footage, n_blocks: int = N_BLOCKS, share: float = SHARE, guard_s: float = GUARD_S, most_s: float = MOST_S
) -> Split:
    """`n_blocks` equal blocks spread evenly over the footage's usable frames. LipsyncError: too few of them."""
    usable = np.flatnonzero(footage.track.valid)
    length = int(min(len(usable) * share, most_s * float(footage.video.clock.rate)) / n_blocks)
    if length < LEAST_BLOCK:
        raise LipsyncError(
            f"{footage.video.path.name} has {len(usable)} frames with a usable face, too few to hold some out. "
            f"Take a target of at least {LEAST_BLOCK * n_blocks / share:.0f}, or give the truth with --held-out."
        )
    first = [round((b + 0.5) / n_blocks * len(usable) - length / 2) for b in range(n_blocks)]
    blocks = tuple(Block(0, int(usable[at]), int(usable[at + length - 1]) + 1) for at in first)
    return Split(((footage.video.path.name, footage.video.sha256),), blocks, True, guard_s)


def whole_videos(footage: Sequence[Footage]) -> Split:
    """Every shot of the footage, from its first usable frame to its last, as a block, save those with too few."""
    blocks = []
    for number, one in enumerate(footage):
        for shot in np.unique(one.track.shot):
            usable = np.flatnonzero(one.track.valid & (one.track.shot == shot))
            if len(usable) >= LEAST_BLOCK:
                blocks.append(Block(number, int(usable[0]), int(usable[-1]) + 1))
    if not blocks:
        raise LipsyncError(
            "The held-out footage shows no usable face for long enough. Look at it with `lipsync analyse`."
        )
    return Split(tuple((one.video.path.name, one.video.sha256) for one in footage), tuple(blocks), False, 0.0)


def hidden_frames(split: Split, footage: Footage) -> np.ndarray:
    """(T,) bool: frames of the target that nobody may learn from, the blocks and what is nearer to them than the
    guard."""
    seconds, hidden = footage.video.clock.seconds, np.zeros(len(footage.track), bool)
    for block in split.blocks if split.in_target else ():
        near = (seconds >= seconds[block.start] - split.guard_s - 1e-6) & (
            seconds <= seconds[block.stop - 1] + split.guard_s + 1e-6
        )
        hidden |= near
    return hidden


def learning_part(subject: TargetAnalysis, split: Split, config: DubConfig, cache: Cache) -> TargetAnalysis:
    """The subject without what is held out: its mouths, its teeth, and in its track frames without a face (cached by
    content)."""
    if not split.in_target:
        return subject
    target = subject.films[0]
    hidden = hidden_frames(split, target)
    parameters = {"blocks": split.to_plain()["blocks"], "guard_s": split.guard_s}
    key = step_key("held-out", VERSION, parameters, [subject.key])
    bank = _bank_without(subject, hidden, key, cache)
    track = _track_without(subject.track, hidden)
    target = replace(target, track=track, key=step_key("held-out", VERSION, parameters, [target.key]))
    teeth = find_teeth(bank, key, config, cache)
    return replace(subject, track=track, bank=bank, teeth=teeth, films=(target, *subject.films[1:]), key=key)


def _bank_without(subject: TargetAnalysis, hidden: np.ndarray, key: str, cache: Cache) -> MouthBank:
    bank = subject.bank
    of_target = bank.shot <= subject.track.shot.max()  # shot numbers go on from video to video
    kept = np.flatnonzero(~(of_target & hidden[np.where(of_target, bank.source, 0)]))
    if len(kept) < LEAST_MOUTHS:
        raise LipsyncError(
            f"Only {len(kept)} mouths of {subject.video.path.name} are left to learn from. Take a longer target, or "
            "add --footage."
        )

    def make(where: Path) -> None:
        write_crops(where, len(kept), bank.space, (bank.take(kept[at : at + 64]) for at in range(0, len(kept), 64)))
        write_columns(where, {name: getattr(bank, name)[kept] for name in BANK_COLUMNS})

    return cached_bank(cache, key, make, bank.space, f"{subject.video.path.name}, a part held out")


def _track_without(track: FaceTrack, hidden: np.ndarray) -> FaceTrack:
    """As though no face had been found there: nothing of the lips or the jaw can be read from it."""
    visible = track.valid & ~hidden
    shape, landmarks = track.lips.points.copy(), track.landmarks.copy()
    shape[hidden] = shape[visible].mean(0)
    mouth_and_jaw = np.r_[0:17, LIPS_FROM_68, 60, 64]
    landmarks[np.ix_(hidden, mouth_and_jaw)] = landmarks[visible].mean(0)[mouth_and_jaw]
    lips = LipTrack(shape, track.lips.valid & ~hidden, track.lips.clock)
    return replace(
        track,
        lips=lips,
        landmarks=landmarks,
        valid=visible,
        reason=np.where(hidden, 1, track.reason).astype(track.reason.dtype),
    )
