"""The speech encoder that ships: taught to give, from log-mel bands, what the encoder of Whisper tiny.en gives, and the
lips that the prior with that encoder sees in it.

Knowledge distillation (Hinton, Vinyals and Dean 2015) on speech of many people (training/free_speech.py).
`python -m training speech-encoder --recipe speech-encoder` makes it again; the teacher is the extra `whisper`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from audio.features import FeatureRows
from audio.load import Waveform
from lipsync.core.lips import opening
from lipsync.core.objective import Objective
from lipsync.core.progress import Hook, silent
from lipsync.learning.loop import train
from lipsync.speech.encoders.distilled import SPEC, Distilled, EncoderNet
from lipsync.speech.encoders.whisper import HOP
from lipsync.speech.lip_model import LipModel
from media.atomic import atomic_write
from training.corpus import in_order
from training.free_speech import Speech, gather_speech, lips_seen, teacher
from training.recipe import Recipe

#: One in so many pieces is never learnt from.
HELD_OUT = 40


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class SpeechEncoderRecipe(Recipe):
    """How the encoder is made. size, blocks: of the network; texts: synthetic ones; versions: of each recorded piece
    beside itself; length: rows of 20 ms of an excerpt; batch: excerpts of a step; jitter: std of loudness and spectral
    tilt of an excerpt, in standardised bands; lips: weight of the teacher's lips beside its features."""

    FILES: ClassVar[str] = "speech-encoder*.toml"
    size: int = 192
    blocks: int = 6
    texts: int = 5000
    versions: int = 2
    steps: int = 4000
    batch: int = 32
    length: int = 100
    rate: float = 3e-3
    jitter: float = 0.1
    lips: float = 1.0
    seed: int = 0


#: Numbers of a row of lips: 18 points, and how far the mouth is open.
LIPS = 37


class Lessons:
    """Sound and what the teacher makes of it. bands: (2R,M) float16 log-mel; wanted: (R,D + LIPS) float16, features and
    lips (`lip_rows`); n: (P,) rows of 20 ms of each piece."""

    def __init__(self, bands: np.ndarray, wanted: np.ndarray, n: np.ndarray) -> None:
        self.bands, self.wanted, self.n = bands, wanted, n
        self.first = np.concatenate([[0], np.cumsum(n)[:-1]])
        some = bands[::53].astype(np.float32), wanted[::53].astype(np.float32)
        self.bands_scale, self.wanted_scale = (
            (torch.from_numpy(x.mean(0)), torch.from_numpy(x.std(0) + 1e-3)) for x in some
        )
        points = self.wanted_scale[1][-LIPS:-1]
        points[:] = points.square().mean().sqrt()  # far moves count more than small ones

    def batch(
        self, pieces: np.ndarray, size: int, length: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised bands (B,2L,M), what is wanted (B,L,D), and which rows count (B,L); long pieces are drawn more
        often."""
        share = np.cumsum(self.n[pieces])
        chosen = pieces[np.searchsorted(share, rng.random(size) * share[-1], side="right")]
        bands = np.zeros((size, 2 * length, self.bands.shape[1]), np.float32)
        wanted = np.zeros((size, length, self.wanted.shape[1]), np.float32)
        counts = np.zeros((size, length), np.float32)
        for row, piece in enumerate(chosen):
            start = self.first[piece] + rng.integers(max(1, self.n[piece] - length + 1))
            stop = min(self.first[piece] + self.n[piece], start + length)
            n = stop - start
            bands[row, : 2 * n], wanted[row, :n] = self.bands[2 * start : 2 * stop], self.wanted[start:stop]
            bands[row, 2 * n :] = bands[row, 2 * n - 1]
            counts[row, :n] = 1
        heard = (torch.from_numpy(bands) - self.bands_scale[0]) / self.bands_scale[1]
        return heard, (torch.from_numpy(wanted) - self.wanted_scale[0]) / self.wanted_scale[1], torch.from_numpy(counts)


def make_speech_encoder(recipe: SpeechEncoderRecipe, work: Path, hook: Hook = silent, workers: int = 2) -> Distilled:
    """The encoder of a recipe, from nothing. work: a folder for all that is made on the way; what lies there is used
    again. LipsyncError: speech or the teacher is missing."""
    work.mkdir(parents=True, exist_ok=True)
    name = f"speech-{recipe.texts}-{recipe.versions}-{recipe.seed}"
    speech = gather_speech(recipe.texts, recipe.versions, recipe.seed, work / f"{name}.npz", hook, workers)
    return train_encoder(lessons_of(speech, work / f"{name}-taught.npy", hook, workers), recipe, hook, work)


def lessons_of(speech: Speech, path: Path, hook: Hook = silent, workers: int = 2) -> Lessons:
    """What the teacher makes of the speech, kept in `path`."""
    if not path.exists():
        taught = []
        for rows in in_order(_taught, map(speech.wave, range(len(speech))), workers):
            taught.append(rows)
            hook("teacher", len(taught), len(speech))
        with atomic_write(path) as part, part.open("wb") as file:
            np.save(file, np.concatenate(taught))
    bands = [_bands(speech.wave(piece)) for piece in range(len(speech))]
    return Lessons(np.concatenate(bands), np.load(path), -(-speech.n // HOP))


def _taught(wave: Waveform) -> np.ndarray:
    """(R,D + LIPS) float16, R = ceil(S / 320): the teacher's features and lips."""
    features = teacher().encoder.encode(wave).values
    rows = np.concatenate([features.numpy(), lip_rows(teacher(), features)], 1)
    return rows[: 2 * -(-len(wave.samples) // HOP) : 2].astype(np.float16)


def lip_rows(model: LipModel, features: torch.Tensor) -> np.ndarray:
    """(F,LIPS) float32 lips for (F,D) features: the points less those at rest, and the opening."""
    offsets = lips_seen(model, features)
    return np.concatenate([offsets.reshape(-1, LIPS - 1), opening(offsets + model.rest)[:, None]], 1)


def _bands(wave) -> np.ndarray:
    """(2R,M) float16, R = ceil(S / 320)."""
    n = 2 * -(-len(wave.samples) // HOP)
    values = FeatureRows(wave, SPEC)[:].numpy()
    return np.concatenate([values, np.repeat(values[-1:], max(0, n - len(values)), 0)])[:n].astype(np.float16)


class _Student(nn.Module):
    """The encoder with the layer that is thrown away: from its features to the teacher's, and to the teacher's lips."""

    def __init__(self, recipe: SpeechEncoderRecipe, n_bands: int, n_wanted: int) -> None:
        super().__init__()
        self.encoder = EncoderNet(recipe.size, recipe.blocks, n_bands)
        self.teachers = nn.Linear(recipe.size, n_wanted)

    def errors(self, bands: Tensor, wanted: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared differences from the teacher's standardised features, and from its lips, of which the points
        count half and the opening half."""
        square = (self.teachers(self.encoder(bands)) - wanted).square()
        features, points, gap = square[..., :-LIPS], square[..., -LIPS:-1], square[..., -1]
        each = features.mean(-1), (points.mean(-1) + gap) / 2
        features_off, lips_off = ((error * counts).sum() / counts.sum() for error in each)
        return features_off, lips_off


def train_encoder(
    lessons: Lessons, recipe: SpeechEncoderRecipe, hook: Hook = silent, work: Path | None = None
) -> Distilled:
    """A trained encoder; the same for the same seed on one machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        student = _Student(recipe, lessons.bands.shape[1], lessons.wanted.shape[1])
    generator = torch.Generator().manual_seed(recipe.seed)
    held = np.arange(len(lessons.n)) % HELD_OUT == 0
    draw = partial(_drawn, lessons, np.flatnonzero(~held), recipe, generator)
    optimiser = torch.optim.AdamW(student.parameters(), recipe.rate, (0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps + 1, pct_start=0.06)

    def terms(step: int) -> dict[str, Tensor]:
        features, lips = student.errors(*draw())
        return {"features": features, "lips": recipe.lips * lips}

    objective = Objective("encoder", student, terms, optimiser=optimiser, schedule=schedule)
    test = [lessons.batch(np.flatnonzero(held), 32, recipe.length, np.random.default_rng(i)) for i in range(8)]

    @torch.no_grad()
    def judge() -> float:
        return float(np.mean([[float(x) for x in student.errors(*batch)] for batch in test]))

    def tell(step: int) -> None:
        hook("speech encoder", step, recipe.steps)

    keep = work and work / f"speech-encoder-{recipe.size}-{recipe.blocks}-{recipe.steps}-{recipe.lips}.safetensors"
    train([objective], recipe.steps, generator, judge, lambda step: step % 500 == 0, tell, keep, keep_every_s=60)
    return Distilled(student.encoder, *lessons.bands_scale)


def _drawn(
    lessons: Lessons, pieces: np.ndarray, recipe: SpeechEncoderRecipe, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    bands, wanted, counts = lessons.batch(pieces, recipe.batch, recipe.length, rng)
    loudness, tilt = (recipe.jitter * torch.randn(recipe.batch, 1, 1, generator=generator) for _ in range(2))
    return bands + loudness + tilt * torch.linspace(-1, 1, bands.shape[2]), wanted, counts
