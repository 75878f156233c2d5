"""The mouth encoder: a small network whose layers tell how different two pictures of a mouth look, for the perceptual
loss.

It learns from footage alone: where the lips are, and how badly a picture was spoilt (`training.distortions`).
`python -m training encoder --recipe mouth-encoder` makes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, relu, smooth_l1_loss

from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import LOWER_INNER, UPPER_INNER
from lipsync.core.objective import Objective
from lipsync.core.progress import Hook, silent
from lipsync.learning.loop import train
from lipsync.learning.losses import feature_distance, of_length_one
from lipsync.learning.perceptual import WIDTHS, MouthEncoder
from lipsync.store.cache import Cache
from lipsync.target.analyse import analyse
from training import grid
from training.distortions import SPOILERS, Material, examples
from training.recipe import Recipe

PRESENTER = Path(__file__).parents[1] / "samples" / "target.mp4"
#: Root of the distance between pictures of severity 1.
FAR = 0.5


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class EncoderRecipe(Recipe):
    """How the encoder is made. pixels: of the clean pictures of one batch, together; widths: of the pictures, from and
    to; first_clip, every, clips: which GRID s1 `train` clips (the first 40 are the benchmarks' target and stay unseen);
    held_clips: of these, the last ones are not learned from, held_share: nor is this last part of the presenter."""

    FILES: ClassVar[str] = "mouth-encoder*.toml"
    steps: int = 1500
    rate: float = 2e-3
    pixels: int = 120_000
    widths: tuple[int, int] = (64, 270)
    seed: int = 0
    first_clip: int = 80
    every: int = 8
    clips: int = 40
    held_clips: int = 4
    held_share: float = 0.1


def make_encoder(recipe: EncoderRecipe, work: Path, hook: Hook = silent) -> MouthEncoder:
    """The encoder of a recipe, from nothing. work: a folder for all that is made on the way. LipsyncError: footage is
    missing."""
    learned, _ = footage(recipe, work, hook)
    return train_encoder(learned, recipe, hook, work / "mouth-encoder.safetensors")


def footage(recipe: EncoderRecipe, work: Path, hook: Hook = silent) -> tuple[list[Material], list[Material]]:
    """Mouths to learn from and mouths held out, of the presenter and of GRID s1. LipsyncError: footage is missing."""
    from training.concat import join_clips

    if not PRESENTER.exists():
        raise LipsyncError(f"{PRESENTER} is missing. Render it with: python -m samples.presenter target -o {PRESENTER}")
    work.mkdir(parents=True, exist_ok=True)
    clips = grid.clips("train")[recipe.first_clip :: recipe.every][: recipe.clips]
    joined = work / f"grid-{recipe.first_clip}-{recipe.every}-{len(clips)}.mkv"
    if not joined.exists():
        join_clips(clips, joined)
    learned, held = [], []
    for path, first_held in ((PRESENTER, 1 - recipe.held_share), (joined, 1 - recipe.held_clips / len(clips))):
        subject = analyse(path, DubConfig(), Cache(work / "cache"), hook)
        late = subject.bank.source >= first_held * len(subject.track)
        learned.append(Material(subject.bank, np.flatnonzero(~late)))
        held.append(Material(subject.bank, np.flatnonzero(late)))
    return learned, held


class _Student(nn.Module):
    """The encoder with the two heads that are thrown away: lips, and kind of fault."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MouthEncoder()
        self.lips = nn.Sequential(nn.Linear(WIDTHS[-1] * 20, 64), nn.ReLU(), nn.Linear(64, 36))
        self.kind = nn.Linear(sum(WIDTHS), len(SPOILERS))


def train_encoder(
    materials: Sequence[Material], recipe: EncoderRecipe, hook: Hook = silent, keep: Path | None = None
) -> MouthEncoder:
    """A trained encoder; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        student, generator = _Student(), torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(student.parameters(), recipe.rate, (0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps + 1, pct_start=0.1)

    def terms(step: int) -> dict[str, Tensor]:
        low, high = np.log(recipe.widths)
        width = round(float(np.exp(low + (high - low) * float(torch.rand((), generator=generator)))))
        n = max(4, round(recipe.pixels / (0.8 * width**2)))
        drawn = examples(materials, n, width, np.random.default_rng(int(torch.randint(2**31, (), generator=generator))))
        return encoder_terms(
            student, *map(torch.from_numpy, (drawn.clean, drawn.spoilt, drawn.kind, drawn.severity, drawn.lips))
        )

    objective = Objective("encoder", student, terms, optimiser=optimiser, schedule=schedule)

    def tell(step: int) -> None:
        hook("encoder", step, recipe.steps)

    train([objective], recipe.steps, generator, lambda: 0.0, lambda step: False, tell, keep)
    return student.encoder.eval().requires_grad_(False)


def encoder_terms(
    student: _Student, clean: Tensor, spoilt: Tensor, kind: Tensor, severity: Tensor, lips: Tensor
) -> dict[str, Tensor]:
    """What the encoder learns by: distance follows severity, and its order; which fault it was; where the lips are, and
    how far apart."""
    n, layers = len(clean), student.encoder(torch.cat([clean, spoilt]))
    ours, theirs = [x[:n] for x in layers], [x[n:] for x in layers]
    root = (feature_distance(ours, theirs) + 1e-5).sqrt() / FAR
    apart = severity[:, None] - severity
    ahead = (root[:, None] - root) * apart.sign()
    pairs = zip(ours, theirs, strict=True)
    changed = torch.cat([(of_length_one(a) - of_length_one(b)).abs().mean((2, 3)) for a, b in pairs], 1)
    predicted = student.lips(adaptive_avg_pool2d(ours[-1], (4, 5)).flatten(1)).unflatten(1, (18, 2)) + 0.5
    return {
        "severity": (smooth_l1_loss(root, severity, reduction="none", beta=0.1) / (severity + 0.15)).mean(),
        "order": 2 * relu(apart.abs() / 2 - ahead).mean(),
        "kind": 0.1 * (severity * cross_entropy(student.kind(10 * changed), kind, reduction="none")).mean(),
        "lips": 20 * smooth_l1_loss(predicted, lips, beta=0.02),
        "gap": 20 * smooth_l1_loss(_gaps(predicted), _gaps(lips), beta=0.02),
    }


def _gaps(lips: Tensor) -> Tensor:
    return lips[:, LOWER_INNER, 1] - lips[:, UPPER_INNER, 1]
