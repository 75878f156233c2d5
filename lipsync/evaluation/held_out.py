"""Held-out frames as dubs with a known right answer: the truth's own mouth is first replaced by another, so that
nothing can be copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import opening
from lipsync.core.progress import Hook, silent
from lipsync.core.texture import MouthTexture
from lipsync.core.timebase import nominal_rate
from lipsync.core.types import DubPlan, FaceTrack, Footage, LipTrack, MouthBank, TargetAnalysis
from lipsync.evaluation.split import Block, Split
from lipsync.render.jaw import jaw_move
from lipsync.render.loop import Role, Scene, render
from lipsync.render.plan import PlannedFaces, faces_along
from video.clock import FrameClock
from video.probe import VideoStream, probe
from video.write import VideoWriter

#: A swapped mouth comes from frames at least this far from the block, plays on for at most so long, and is one of so
#: many that fit as well.
AWAY_S, PLAY_S, ALIKE = 1.0, 2.0, 8


@dataclass(frozen=True, slots=True)
class HeldOutClip:
    """One held-out block, ready to be dubbed; its N rows are the block's frames.

    plan: source = the footage's frames, lips = the true ones; faces, mouth_swapped: the faces and the (losslessly
    stored) frames a method sees, with the mouths of the bank's rows `pasted` (N,)."""

    footage: Footage
    plan: DubPlan
    faces: PlannedFaces
    mouth_swapped: VideoStream
    pasted: np.ndarray

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def track(self) -> FaceTrack:
        """The true face, row by row."""
        track, at = self.footage.track, self.plan.source
        parts = {
            name: getattr(track, name)[at]
            for name in ("pixel_from_face", "landmarks", "pose", "eyes", "valid", "reason", "shot")
        }
        return FaceTrack(lips=LipTrack(track.lips.points[at], track.lips.valid[at], self.plan.clock), **parts)


def make_held_out_clips(
    split: Split,
    footage: Sequence[Footage],
    learning: TargetAnalysis,
    config: DubConfig,
    device: torch.device,
    folder: Path,
    hook: Hook = silent,
) -> list[HeldOutClip]:
    """One clip for every block; the frames with swapped mouths are written to `folder`. footage: what holds the truth,
    as the blocks count it."""
    clips = []
    for number, block in enumerate(split.blocks):
        truth = footage[block.video]
        plan = true_plan(truth, block)
        of_target = truth.video.sha256 == learning.video.sha256
        allowed = _far(block, truth, learning) if of_target else None
        pasted = choose_swap(truth.track, plan, learning.bank, allowed, number)
        path = folder / f"disguised-{number}.mkv"
        faces = _write_swapped(truth, plan, pasted, learning, config, device, path)
        clips.append(HeldOutClip(truth, plan, faces, probe(path), pasted))
        hook("disguise", number + 1, len(split.blocks))
    return clips


def true_plan(footage: Footage, block: Block) -> DubPlan:
    """The block's frames one after the other, at the footage's rate, saying what they say."""
    track, frames = footage.track, block.frames
    clock = FrameClock.constant(len(frames), nominal_rate(footage.video.clock))
    lips = LipTrack(track.lips.points[frames].astype(np.float32), track.lips.valid[frames], clock)
    seeks = np.flatnonzero(np.diff(track.shot[frames])) + 1
    return DubPlan(
        frames, np.zeros(len(frames), bool), lips, track.valid[frames], clock, np.r_[0, seeks].astype(np.int64)
    )


def _far(block: Block, footage: Footage, learning: TargetAnalysis) -> np.ndarray:
    """(K,) bool: mouths of the bank that are far from the block in time, or of other footage."""
    bank, seconds = learning.bank, footage.video.clock.seconds
    of_target = bank.shot <= footage.track.shot.max()
    at = seconds[np.where(of_target, bank.source, 0)]
    return ~of_target | (at < seconds[block.start] - AWAY_S) | (at > seconds[block.stop - 1] + AWAY_S)


def choose_swap(track: FaceTrack, plan: DubPlan, bank: MouthBank, allowed: np.ndarray | None, seed: int) -> np.ndarray:
    """(N,) rows of the bank to paste over the plan's frames: stretches that play on, heads turned alike, lips that say
    something else.

    Of all stretches of the wanted length those that move at least half as much as the truth are considered (a target
    speaks), of these the half with the most different lips, of these one of the ALIKE nearest in head pose, drawn at
    random. Where nothing in the bank is long enough, the stretch is halved. LipsyncError: no mouth is allowed."""
    rng, rows = np.random.default_rng(seed), np.zeros(len(plan), np.int64)
    allowed = np.ones(len(bank), bool) if allowed is None else allowed
    if not allowed.any():
        raise LipsyncError(
            "No mouth is far enough from the held-out frames to disguise them with. Take a longer target."
        )
    follows = (bank.shot[1:] == bank.shot[:-1]) & (np.diff(bank.source) == 1) & allowed[1:] & allowed[:-1]
    length = max(1, round(PLAY_S * float(plan.clock.rate)))
    waiting = [slice(at, min(at + length, len(plan))) for at in reversed(range(0, len(plan), length))]
    while waiting:
        part = waiting.pop()
        n = part.stop - part.start
        starts = _runs(follows, allowed, n)
        if len(starts) == 0:
            middle = part.start + n // 2
            waiting += [slice(middle, part.stop), slice(part.start, middle)]
            continue
        play = starts[:, None] + np.arange(n)
        rows[part] = play[rng.choice(_best_fitting(play, plan.source[part], track, bank))]
    return rows


def _best_fitting(play: np.ndarray, frames: np.ndarray, track: FaceTrack, bank: MouthBank) -> np.ndarray:
    """Indices of the stretches (S,n) rows of the bank that suit the frames (n,) best, ALIKE at most."""
    lips = track.lips.points[frames]
    unlike = np.sqrt(((bank.lips[play] - lips) ** 2).sum(-1)).mean((1, 2))
    turned = np.abs(bank.pose[play] - track.pose[frames]).sum(-1).mean(1)
    moving = opening(bank.lips)[play].std(1) >= 0.5 * opening(lips).std()
    moving = moving if moving.any() else ~moving
    turned = np.where(moving & (unlike >= np.median(unlike[moving])), turned, np.inf)
    return np.argsort(turned)[: min(ALIKE, int(np.isfinite(turned).sum()))]


def _runs(follows: np.ndarray, allowed: np.ndarray, n: int) -> np.ndarray:
    """First rows of all runs of n allowed mouths that are neighbours in time."""
    ahead = np.concatenate([[0], np.cumsum(follows)])
    starts = np.arange(len(allowed) - n + 1)
    return starts[allowed[starts] & (ahead[starts + n - 1] - ahead[starts] == n - 1)]


def _write_swapped(
    footage: Footage,
    plan: DubPlan,
    pasted: np.ndarray,
    learning: TargetAnalysis,
    config: DubConfig,
    device: torch.device,
    path: Path,
) -> PlannedFaces:
    """Writes the frames with swapped mouths; returns the faces in them. Usable rows are covered fully, whatever lies
    beside them."""
    bank, faces = learning.bank, faces_along(footage.track, plan, 0)
    scene = Scene.of(footage.stream, faces, learning)
    pasted_jaw = bank.jaw[pasted].astype(np.float32)

    def paste(rows: slice, frames: torch.Tensor, faces: PlannedFaces) -> tuple[MouthTexture, np.ndarray]:
        rgb = torch.from_numpy(bank.take(pasted[rows])).to(device).float() / 255
        jaw = torch.from_numpy(pasted_jaw[rows]).to(device)
        return MouthTexture(rgb, torch.ones_like(rgb[:, :1]), jaw), bank.lips[pasted[rows]]

    width, height = footage.stream.width, footage.stream.height
    with VideoWriter(path, width=width, height=height, clock=plan.clock, codec="ffv1") as writer:
        for _, frames, _ in render([Role(plan, scene, paste)], config, device):
            writer.write(frames)
    seen = plan.render[:, None, None]
    new, old = (torch.from_numpy(p.astype(np.float32)) for p in (bank.lips[pasted], faces.lips))
    moved = jaw_move(new, old, faces.chin, config.composite).numpy()
    return replace(
        faces,
        lips=np.where(seen, bank.lips[pasted], faces.lips).astype(np.float32),
        jaw=np.where(seen, faces.jaw + moved, faces.jaw).astype(np.float32),
    )
