"""The voice network: says of every 10 ms whether somebody speaks, whatever else sounds (`lipsync.speech.voice`).

It learns from speech of known extent that is mixed with everything that is not speech. `python -m training voice
--recipe voice` makes it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from audio.features import FEATURE_RATE, HOP, FeatureRows
from audio.load import RATE, Waveform
from lipsync.core.objective import Objective
from lipsync.core.progress import Hook, silent
from lipsync.learning.loop import train
from lipsync.speech.voice import SPEC, VoiceNet
from training import background_sounds as made
from training.acoustic_augmentation import augment
from training.recipe import Recipe
from training.voice_material import Material, Sound, materials

#: Kinds of background, and how often: two names of one maker make it twice as likely.
_MADE = (
    made.steady_noise,
    made.unsteady_noise,
    made.hum,
    made.clicks,
    made.tones,
    made.tones,
    made.chords,
    made.chords,
)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class VoiceRecipe(Recipe):
    """How the network is made. scenes: mixtures of `seconds` to learn from, held_scenes: to choose the best weights by;
    synthetic: sentences of synthesisers; batch: scenes of one step."""

    FILES: ClassVar[str] = "voice*.toml"
    steps: int = 2000
    rate: float = 3e-3
    batch: int = 24
    scenes: int = 7000
    held_scenes: int = 300
    seconds: float = 6.0
    synthetic: int = 700
    seed: int = 0


def make_voice(recipe: VoiceRecipe, work: Path, hook: Hook = silent) -> VoiceNet:
    """The network of a recipe, from nothing. work: a folder for all that is made on the way. LipsyncError: sounds are
    missing."""
    work.mkdir(parents=True, exist_ok=True)
    kind = (recipe.scenes, recipe.held_scenes, recipe.seconds, recipe.synthetic, recipe.seed)
    kept = work / f"voice-scenes-{'-'.join(f'{value:g}' for value in kind)}.npz"
    if not kept.exists():
        learned, choosing = materials(recipe.synthetic, recipe.seed, hook)
        x, y = scenes(learned, recipe.scenes, recipe.seconds, recipe.seed, hook)
        held_x, held_y = scenes(choosing, recipe.held_scenes, recipe.seconds, recipe.seed + 1, hook)
        np.savez(kept, x=x, y=y, held_x=held_x, held_y=held_y)
    with np.load(kept) as found:
        learned, held = ((found[a + "x"], found[a + "y"]) for a in ("", "held_"))
        return train_voice(learned, held, recipe, hook, work / "voice-training.safetensors")


def train_voice(
    learned: tuple[np.ndarray, np.ndarray],
    held: tuple[np.ndarray, np.ndarray],
    recipe: VoiceRecipe,
    hook: Hook = silent,
    keep: Path | None = None,
) -> VoiceNet:
    """A trained network, at the weights that were best on the `held` scenes; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net, generator = VoiceNet(), torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(net.parameters(), recipe.rate, (0.9, 0.99), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps + 1, pct_start=0.1)

    def terms(step: int) -> dict[str, Tensor]:
        drawn = torch.randint(len(learned[0]), (recipe.batch,), generator=generator).numpy()
        return {"voice": _loss(net, learned[0][drawn], learned[1][drawn])}

    def error() -> float:
        with torch.no_grad():
            parts = [slice(i, i + 50) for i in range(0, len(held[0]), 50)]
            return float(np.mean([float(_loss(net, held[0][part], held[1][part])) for part in parts]))

    objective = Objective("voice", net, terms, optimiser=optimiser, schedule=schedule)
    train(
        [objective],
        recipe.steps,
        generator,
        error,
        lambda step: step % 250 == 0,
        lambda step: hook("voice", step, recipe.steps),
        keep,
    )
    return net.eval().requires_grad_(False)


def _loss(net: VoiceNet, log_mel: np.ndarray, voiced: np.ndarray) -> Tensor:
    heard = net(torch.from_numpy(log_mel.astype(np.float32)).transpose(1, 2))
    return binary_cross_entropy_with_logits(heard, torch.from_numpy(voiced.astype(np.float32)))


def scenes(material: Material, n: int, seconds: float, seed: int, hook: Hook = silent) -> tuple[np.ndarray, np.ndarray]:
    """(n,F,40) float16 log-mel of mixtures, and (n,F) bool: when somebody speaks in them."""
    rows = round(seconds * FEATURE_RATE)
    x, y = np.empty((n, rows, SPEC.n_mels), np.float16), np.empty((n, rows), bool)
    for i in range(n):
        samples, voiced = scene(material, rows, np.random.default_rng((seed, i)))
        x[i], y[i] = FeatureRows(Waveform.of(samples), SPEC)[:rows].numpy(), voiced
        hook("scenes", i + 1, n)
    return x, y


def scene(material: Material, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(S,) samples and (F,) bool: some speech, or none, among other sounds."""
    n, with_speech = rows * HOP, rng.random() < 0.75
    samples, voiced = _speech(material, rows, rng) if with_speech else (np.zeros(n), np.zeros(rows, bool))
    level = np.sqrt((samples[np.repeat(voiced, HOP)] ** 2).mean()) if voiced.any() else 0.05
    if with_speech and rng.random() < 0.15:
        samples = samples + 0.5 * level * _in_places(made.breath, n, rng, (0.15, 0.7)) * ~np.repeat(voiced, HOP)
    for _ in range(rng.choice([0, 1, 2], p=[0.25, 0.55, 0.2] if with_speech else [0.0, 0.7, 0.3])):
        loudness = 10 ** (-rng.uniform(0, 30) / 20)
        samples = samples + level * loudness * _background(material, n, rng)
    if with_speech and rng.random() < 0.3:  # and so little noise that a gap is not nothing
        samples = samples + level * 10 ** (-rng.uniform(30, 60) / 20) * made.steady_noise(n, rng)
    if rng.random() < 0.15:
        samples = augment(Waveform.of(samples.astype(np.float32)), rng).samples.numpy()
    return samples * 10 ** (rng.uniform(-8, 8) / 20), voiced


def _speech(material: Material, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Utterances of one kind one after the other, now and then of many, with pauses between."""
    samples, voiced = np.zeros(rows * HOP), np.zeros(rows, bool)
    kind, at = int(rng.integers(len(material.speech))), int(rng.integers(-100, rows // 2))
    until = rows if rng.random() < 0.7 else int(rng.integers(rows // 4, rows))
    while at < until:
        said, told = _vowels(rng) if rng.random() < 0.06 else _utterance(material.speech[kind], rng)
        said, told = _interrupted(said, told, rng) if rng.random() < 0.3 else (said, told)
        first = max(0, -at)
        count = min(len(told) - first, until - max(at, 0))
        if count > 0:
            here, inside = max(at, 0), slice(first * HOP, (first + count) * HOP)
            samples[here * HOP : (here + count) * HOP] = np.pad(said, (0, HOP))[inside]
            voiced[here : here + count] = told[first : first + count]
        at += len(told) + (int(rng.integers(0, 100)) if rng.random() < 0.7 else 0)
    if rng.random() < 0.6:
        samples = augment(Waveform.of(samples.astype(np.float32)), rng).samples.numpy().astype(np.float64)
    return samples, voiced


def _utterance(sounds: Sequence[Sound], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One recording as whole rows, as loud as any other, from a somewhat larger or smaller speaker."""
    sound = sounds[rng.integers(len(sounds))]
    count = len(sound.samples) // HOP
    samples, voiced = sound.samples[: count * HOP] / 32768, sound.voiced[:count]
    factor = rng.uniform(0.85, 1.2)
    if rng.random() < 0.4:
        at = np.arange(int(count / factor) * HOP) * factor
        samples = np.interp(at, np.arange(len(samples)), samples)
        voiced = voiced[np.minimum(count - 1, (np.arange(len(at) // HOP) * factor).round().astype(int))]
    loud = samples[np.repeat(voiced, HOP)]
    return samples * 0.05 / (np.sqrt((loud**2).mean()) + 1e-3 if len(loud) else 1.0), voiced


def _interrupted(samples: np.ndarray, voiced: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same with a pause of 0.2 to 0.6 s somewhere, which would be rare."""
    at, count = int(rng.integers(len(voiced) + 1)), int(rng.integers(20, 60))
    return np.insert(samples, at * HOP, np.zeros(count * HOP)), np.insert(voiced, at, np.zeros(count, bool))


def _vowels(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    count = int(rng.integers(30, 150))
    return 0.05 * made.vowels(count * HOP, rng), np.ones(count, bool)


def _background(material: Material, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) of RMS about 1: recorded or made, throughout or in places."""
    chosen = rng.random()
    if chosen < 0.45 and material.music:
        sound = _piece(material.music, n, rng)
    elif chosen < 0.55 and material.effects:
        return _in_places(lambda n, rng: _piece(material.effects, n, rng), n, rng, (0.3, 4))
    else:
        sound = _MADE[rng.integers(len(_MADE))](n, rng)
    if rng.random() < 0.25:  # it begins or ends
        edge = np.clip((np.arange(n) - rng.uniform(0, n)) / rng.uniform(0.01 * RATE, RATE), 0, 1)
        sound = sound * (edge if rng.random() < 0.5 else 1 - edge)
    return sound


def _piece(sounds: Sequence[Sound], n: int, rng: np.random.Generator) -> np.ndarray:
    samples = sounds[rng.integers(len(sounds))].samples
    at = int(rng.integers(max(1, len(samples) - n)))
    part = samples[at : at + n] / 32768
    return np.pad(part, (0, n - len(part))) / (np.sqrt((part**2).mean()) + 1e-3)


def _in_places(maker: made.Maker, n: int, rng: np.random.Generator, seconds: tuple[float, float]) -> np.ndarray:
    out = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        length = int(rng.uniform(*seconds) * RATE)
        at = int(rng.integers(0, max(1, n - length)))
        part = rng.uniform(0.2, 1) * maker(length, rng)
        out[at : at + length] += part[: n - at]
    return out
