"""The bundled prior: speech to lips for any speaker, learned from GRID s1's lips under many voices and from synthetic
speech.

`python -m training lips --recipe prior` makes it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, field
from dataclasses import dataclass as plain_dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn.functional import cross_entropy

from audio.features import FEATURE_RATE
from lipsync.core.errors import LipsyncError
from lipsync.core.lips import CLOSED_GAP, LipBasis, opening
from lipsync.core.objective import Objective
from lipsync.core.progress import Hook, silent
from lipsync.core.types import LipTrack
from lipsync.learning.lip_examples import N_FOLDS, Variation, varied
from lipsync.learning.lips import at_steps, importance_of, lip_terms, lips_learner, undelayed, weighted_mean
from lipsync.learning.loop import train
from lipsync.learning.losses import OpeningLoss
from lipsync.metrics.lips import articulation, lmd, opening_r
from lipsync.speech.encoders.registry import get_encoder
from lipsync.speech.lip_model import SHAPES, LipModel, LipNet, predict_standardised, scale_of
from training import grid
from training.alignment import phones_of
from training.coarticulation import Coarticulation
from training.corpus import (
    KINDS,
    REAL,
    REVOICED,
    UNKNOWN,
    Corpus,
    Piece,
    Plan,
    Sounding,
    gather,
    in_order,
    load_corpus,
    offsets_from_rest,
    real_clip,
    save_corpus,
    synthetic_text,
)
from training.free_speech import gather_speech, taught_speech
from training.phones import BILABIALS, PHONES, Phones
from training.recipe import Recipe
from training.sentences import sentence_of
from training.tts import FLITE_VOICES, TRAIN_VOICES, engine_missing, synthesize


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class PriorRecipe(Recipe):
    """How a prior is made. texts: synthetic ones; real: learn from real recordings, too (False: from synthetic speech
    alone); taught: learn from real people's speech under the lips of the prior with Whisper's encoder, too, each
    recording as it is and so many times changed (None: not); shares: of the pieces of a batch that are real, revoiced,
    synthetic, taught; flatten, opening: see lipsync.learning.lips.Recipe; noise: std added to standardised features;
    phones: weight of naming the phone that sounds (cross-entropy, a layer that is thrown away); closure: weight of the
    gap that is left, as share of CLOSED_GAP, at /p b m/; reach: how far people's lips move, relative to the speaker of
    the real ones."""

    FILES: ClassVar[str] = "prior*.toml"
    network: str = "bidirectional"
    encoder: str = "distilled"
    members: int = 3
    steps: int = 5000
    rate: float = 4e-3
    batch: int = 24
    length: int = 160
    flatten: float = 1.0
    opening: float = 0.05
    noise: float = 0.1
    phones: float = 0.02
    closure: float = 0.05
    seed: int = 0
    texts: int = 5000
    real: bool = True
    taught: int | None = None
    shares: tuple[float, float, float, float] = (0.2, 0.3, 0.5, 0.0)
    reach: float = 1.15
    plan: Plan = field(default_factory=Plan)
    vary: Variation = field(default_factory=lambda: Variation(0.12, 2.5, 0.6, 0.3, 0.1, 0.5))

    def name(self) -> str:
        """Tells recipes with other networks or material apart."""
        kept = {key: value for key, value in asdict(self).items() if key not in ("members", "reach")}
        return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def make_prior(recipe: PriorRecipe, work: Path, hook: Hook = silent, workers: int = 2) -> LipModel:
    """The prior of a recipe, from nothing: GRID s1 `train`, flite and espeak-ng must be there. work: a folder for all
    that is made on the way; what lies there is used again. LipsyncError: footage or a synthesiser is missing."""
    for engine in ("flite", "espeak"):
        if missing := engine_missing(engine):
            raise LipsyncError(missing)
    work.mkdir(parents=True, exist_ok=True)
    clips, tracks = grid.clips("train"), work / "tracks"
    grid.follow(clips, tracks, hook)
    mouth = _mouth(clips, tracks, work / "mouth.safetensors", hook, workers)
    corpus = _corpus(recipe, clips, tracks, mouth, work, hook, workers)
    rest = np.median([grid.rest(clip, tracks) for clip in clips], axis=0).astype(np.float32)
    return train_prior(corpus, rest, recipe, hook, work)


def _mouth(clips: Sequence[Path], tracks: Path, path: Path, hook: Hook, workers: int) -> Coarticulation:
    """Phones to lips, fitted to the real lips of the clips."""
    if not path.exists():
        pairs = []
        for pair in in_order(partial(phones_and_lips, tracks=tracks), clips, workers):
            pairs.append(pair)
            hook("phones", len(pairs), len(clips))
        Coarticulation.fit(pairs).save(path)
    return Coarticulation.load(path)


def phones_and_lips(clip: Path, tracks: Path) -> tuple[Phones, LipTrack]:
    """The phones of a clip, and its lips as offsets from rest at 100 per second."""
    wave = grid.sound(clip)
    phones = phones_of(wave, [synthesize(sentence_of(clip.with_suffix(".align")), voice) for voice in FLITE_VOICES])
    offsets, valid = offsets_from_rest(grid.lips(clip, tracks), wave, 1 + len(wave.samples) * FEATURE_RATE // wave.rate)
    return phones, LipTrack(offsets, valid)


def _corpus(
    recipe: PriorRecipe,
    clips: Sequence[Path],
    tracks: Path,
    mouth: Coarticulation,
    work: Path,
    hook: Hook,
    workers: int,
) -> Corpus:
    known = [asdict(recipe.plan), recipe.texts, recipe.real, recipe.taught, get_encoder(recipe.encoder).identity]
    path = work / f"corpus-{sha256(json.dumps(known).encode()).hexdigest()[:12]}.safetensors"
    if not path.exists():
        corpus = Corpus()
        if recipe.real:
            make = partial(
                numbered_clip, clips=clips, tracks=tracks, encoder=recipe.encoder, voices=TRAIN_VOICES, plan=recipe.plan
            )
            gather(corpus, make, range(len(clips)), "voices", hook, workers)
        make = partial(synthetic_text, mouth=mouth, encoder=recipe.encoder, voices=TRAIN_VOICES, plan=recipe.plan)
        gather(corpus, make, range(1000, 1000 + recipe.texts), "texts", hook, workers)
        if recipe.taught is not None:
            path_of_speech = work / f"recorded-{recipe.taught}-{recipe.seed}.npz"
            speech = gather_speech(0, recipe.taught, recipe.seed, path_of_speech, hook, workers)
            make = partial(taught_speech, path=path_of_speech, encoder=recipe.encoder)
            gather(corpus, make, range(speech.recorded), "taught", hook, workers)
        save_corpus(corpus, path)
    return load_corpus(path)


def numbered_clip(number: int, clips: Sequence[Path], **how) -> Sounding:
    """`real_clip` of the clip of this number."""
    return real_clip(number, clips[number], **how)


@plain_dataclass(frozen=True, slots=True)
class Material:
    """The corpus as tensors. features: (R,D) float16; offsets: (L,18,2); targets: (L,K) standardised; valid: (L,)
    float; phones: (L,) index in PHONES; basis: of offsets."""

    features: torch.Tensor
    offsets: np.ndarray
    targets: torch.Tensor
    valid: torch.Tensor
    phones: torch.Tensor
    basis: LipBasis
    corpus: Corpus

    @classmethod
    def of(cls, corpus: Corpus) -> Material:
        features, offsets, valid, phones = corpus.stacked()
        real = valid & corpus.real_lips()  # synthetic lips know only a few components
        basis = LipBasis.fit(offsets[::3], (real if real.any() else valid)[::3], 20)
        targets = torch.from_numpy(basis.encode(offsets) / scale_of(basis)).float()
        counts, named = torch.from_numpy(valid).float(), torch.from_numpy(phones).long()
        return cls(features, offsets, targets, counts, named, basis, corpus)

    def scale_of_features(self, pieces: Sequence[Piece]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and spread (D,) over some of the pieces."""
        rows = torch.cat([self.features[p.first : p.first + p.n].float() for p in pieces[::7]])
        return rows.mean(0), rows.std(0) + 1e-3


def batch_of(
    material: Material, pieces: dict[int, list[Piece]], recipe: PriorRecipe, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random stretches: features (B,L,D), targets (B,L,K), weight (B,L), phones (B,L); pieces shorter than a stretch
    count as far as they go."""
    n, length = recipe.batch, recipe.length
    share = torch.tensor([recipe.shares[kind] if pieces[kind] else 0.0 for kind in KINDS])
    kinds = torch.multinomial(share, n, True, generator=generator).tolist()
    drawn = [pieces[k][int(torch.randint(len(pieces[k]), (1,), generator=generator))] for k in kinds]
    first, size, lips = (torch.tensor([getattr(p, name) for p in drawn])[:, None] for name in ("first", "n", "lips"))
    pace = 1 + (2 * torch.rand(n, 1, generator=generator) - 1) * recipe.vary.speed
    room = (size - 2 - length * pace).clamp(min=0)
    position = torch.rand(n, 1, generator=generator) * room + torch.arange(length)[None] * pace
    beyond = position > size - 2.01
    position = torch.minimum(position, size - 2.01)
    row = position.long()
    part = (position - row)[..., None]
    features = material.features[first + row].float() * (1 - part) + material.features[first + row + 1].float() * part
    wanted = material.targets[lips + row] * (1 - part) + material.targets[lips + row + 1] * part
    weight = material.valid[lips + row] * material.valid[lips + row + 1] * ~beyond
    if get_encoder(recipe.encoder).varies:
        features = varied(features, recipe.vary, generator)
    return features, wanted, weight, material.phones[lips + row]


def train_prior(
    corpus: Corpus, rest: np.ndarray, recipe: PriorRecipe, hook: Hook = silent, keep: Path | None = None
) -> LipModel:
    """The prior. rest: (18,2) resting lips it is drawn on. Each network is judged on the sentences (and on the voices
    over them) that it never learned from: part of the material number `member` of N_FOLDS."""
    material = Material.of(corpus)
    mean, scale = material.scale_of_features(corpus.pieces)
    basis = LipBasis((material.basis.mean + rest).astype(np.float32), material.basis.components, material.basis.spread)
    model = LipModel(recipe.network, [], mean, scale, basis, rest, encoder=get_encoder(recipe.encoder))
    truth, guess = [], []
    with torch.random.fork_rng(devices=[]):
        for member in range(recipe.members):
            held = [p for p in corpus.pieces if p.part % N_FOLDS == member]
            file = keep and keep / f"{recipe.name()}-member{member}.safetensors"
            net = _trained(material, model, recipe, member, held, hook, file)
            model.nets.append(net)
            real, ours = _answers(material, model, net, held)
            truth.append(real)
            guess.append(ours)
    real, ours = np.concatenate(truth), np.concatenate(guess)
    lack = float(np.clip(opening(real + rest).std() / opening(ours + rest).std(), 1.0, 1.4))
    model.report = _report(real, ours, lack) | {
        "network": recipe.network,
        "encoder": recipe.encoder,
        "members": recipe.members,
        "reach": recipe.reach,
    }
    return model.with_gain(lack * recipe.reach)


def _report(real: np.ndarray, ours: np.ndarray, lack: float) -> dict[str, float]:
    """Figures of the held-out offsets (N,18,2); lack: factor by which ours open too little."""
    figures = {
        "lmd": lmd(ours, real),
        "mean_shape_lmd": lmd(real.mean(0), real),
        "opening_r": opening_r(opening(ours), opening(real)),
        "articulation": lack * articulation(opening(ours), opening(real)),
        "held_out_s": len(real) / 100,
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _trained(
    material: Material,
    model: LipModel,
    recipe: PriorRecipe,
    member: int,
    held: Sequence[Piece],
    hook: Hook,
    keep: Path | None,
) -> LipNet:
    """The network number `member`, trained on all pieces that are not `held`."""
    torch.manual_seed(recipe.seed + member)
    generator = torch.Generator().manual_seed(recipe.seed + member)
    inside = set(held)
    pieces = {kind: [p for p in material.corpus.pieces if p.kind == kind and p not in inside] for kind in KINDS}
    net = LipNet(material.features.shape[1], material.targets.shape[1], SHAPES[recipe.network])
    draw = partial(batch_of, material, pieces, recipe, generator)
    objective = prior_objective(net, model, draw, recipe)

    def judge() -> float:
        real, ours = _answers(material, model, net, held[::2])
        return float(np.square(real - ours).sum((1, 2)).mean())

    def tell(step: int) -> None:
        hook("prior", member * recipe.steps + step, recipe.members * recipe.steps)

    train([objective], recipe.steps, generator, judge, lambda step: step % 250 == 0, tell, keep)
    return net


class _WithPhones(nn.Module):
    """A lip network, and the layer that names the phone, which is thrown away."""

    def __init__(self, net: LipNet) -> None:
        super().__init__()
        self.net, self.phones = net, nn.Linear(net.head.in_features, len(PHONES))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heard = self.net.drop(self.net.encode(rows))
        return self.net.head(heard), self.phones(heard)


def prior_objective(
    net: LipNet,
    model: LipModel,
    draw: Callable[[], tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]],
    recipe: PriorRecipe,
) -> Objective[int]:
    """Lips as in `lip_objective`, the name of the phone, and lips that close at /p b m/ where the wanted ones do. draw:
    features, wanted coefficients, weights and phones of `batch_of`."""
    importance, both = importance_of(model.basis, recipe.flatten), _WithPhones(net)
    close = OpeningLoss(model.basis)
    bilabial = torch.tensor([name in BILABIALS for name in PHONES])
    rest_gap = float(opening(model.rest))

    def terms(step: int) -> dict[str, torch.Tensor]:
        features, wanted, counts, phones = draw()
        heard = model.standardised(features)
        predicted, named = both(heard + recipe.noise * torch.randn_like(heard))
        predicted, named = (undelayed(net, answers) for answers in (predicted, named))
        wanted, counts, phones = (at_steps(net, rows) for rows in (wanted, counts, phones))
        known = counts * (phones != UNKNOWN)
        closed = known * (bilabial[phones] & (close.gap_of(wanted) - rest_gap < CLOSED_GAP))
        left = (close.gap_of(predicted) - rest_gap - CLOSED_GAP / 4).clamp(min=0) / CLOSED_GAP
        surprise = cross_entropy(named.transpose(1, 2), phones, reduction="none", ignore_index=UNKNOWN)
        return lip_terms(predicted, wanted, counts, importance, close, recipe.opening) | {
            "phones": recipe.phones * weighted_mean(surprise, known),
            "closure": recipe.closure * weighted_mean(left, closed),
        }

    return lips_learner(both, terms, recipe.rate, recipe.steps)


def _answers(
    material: Material, model: LipModel, net: LipNet, pieces: Sequence[Piece]
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (N,18,2) from rest, true and predicted, of all valid rows of the pieces that have real lips (of all, if
    none has)."""
    real, ours = [], []
    offset_mean = model.basis.mean - model.rest
    for p in [p for p in pieces if p.kind in (REAL, REVOICED)] or pieces:
        out = predict_standardised(
            net, model.standardised(material.features[p.first : p.first + p.n].float())
        ) * scale_of(model.basis)
        ok = material.valid[p.lips : p.lips + p.n].numpy() > 0
        real.append(material.offsets[p.lips : p.lips + p.n][ok])
        ours.append(
            (offset_mean + (out.astype(np.float32) @ model.basis.components.reshape(-1, 36)).reshape(-1, 18, 2))[ok]
        )
    return np.concatenate(real), np.concatenate(ours)
