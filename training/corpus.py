"""What the prior learns from: many voices in many rooms over real lips (GRID s1), and synthetic speech over
coarticulated lips.

The real lips come with their own sound, that sound from a smaller or larger speaker, and with synthetic voices that say
the same sentence, laid onto its time by dynamic time warping: one pair of lips, dozens of voices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from audio.features import FEATURE_RATE
from audio.load import Waveform
from lipsync.core.progress import Hook, silent
from lipsync.core.timebase import to_feature_clock
from lipsync.speech.encoders.base import SpeechEncoder
from lipsync.speech.encoders.registry import get_encoder
from media.atomic import atomic_write
from training import grid
from training.acoustic_augmentation import augment, resized_speaker
from training.alignment import at_rows, phones_of, time_map
from training.coarticulation import Coarticulation
from training.sentences import sentence_of, text_for
from training.tts import FLITE_VOICES, Voice, synthesize

#: Kinds of pieces: a real voice over its lips; another voice over real lips; a synthetic voice over synthetic lips; a
#: real voice over the lips that the prior with Whisper's encoder sees in it.
KINDS = REAL, REVOICED, SYNTHETIC, TAUGHT = range(4)
#: What TAUGHT pieces have for phones, which nobody knows.
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of sound with lips. first, n: its feature rows; lips: its first lip row; kind: REAL, ...; part: of
    the material, for holding out: pieces of one sentence share it."""

    first: int
    n: int
    lips: int
    kind: int
    part: int


class Corpus:
    """Pieces of sound over lips.

    features: (R,D) float16 in blocks; offsets: (L,18,2) float32 lips less the person's resting lips, face frame, 100
    per second, in blocks; valid: (L,) bool in blocks; phones: (L,) int8 index in PHONES of what sounds, or UNKNOWN, in
    blocks."""

    def __init__(self) -> None:
        self.features: list[np.ndarray] = []
        self.offsets: list[np.ndarray] = []
        self.valid: list[np.ndarray] = []
        self.phones: list[np.ndarray] = []
        self.pieces: list[Piece] = []
        self.n_features = self.n_lips = 0

    def add(self, part: int, sounding: Sounding) -> None:
        """Lips, and all that sounds over them."""
        for kind, features in sounding.sounds:
            self.pieces.append(Piece(self.n_features, len(features), self.n_lips, kind, part))
            self.features.append(features.astype(np.float16))
            self.n_features += len(features)
        self.offsets.append(sounding.offsets.astype(np.float32))
        self.valid.append(sounding.valid)
        self.phones.append(sounding.phones.astype(np.int8))
        self.n_lips += len(sounding.offsets)

    def real_lips(self) -> np.ndarray:
        """(L,) bool: lips of real people."""
        real = np.zeros(self.n_lips, bool)
        for p in self.pieces:
            real[p.lips : p.lips + p.n] |= p.kind in (REAL, REVOICED)
        return real

    def stacked(self) -> tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray]:
        """features (R,D), offsets (L,18,2), valid (L,), phones (L,) of the whole corpus."""
        offsets, valid, phones = (np.concatenate(getattr(self, name)) for name in ("offsets", "valid", "phones"))
        return torch.from_numpy(np.concatenate(self.features)), offsets, valid, phones


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is made. resized: for each real clip, its own sound from this many other sizes of speaker; voices:
    synthetic voices per clip; size: the farthest size, as a factor; seed."""

    resized: int = 2
    voices: int = 5
    size: float = 1.35
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Sounding:
    """Lips and what sounds over them. offsets: (L,18,2) from rest; valid: (L,); phones: (L,) index in PHONES, or
    UNKNOWN; sounds: (kind, (L,D) features) of each."""

    offsets: np.ndarray
    valid: np.ndarray
    phones: np.ndarray
    sounds: list[tuple[int, np.ndarray]]


def real_clip(number: int, clip: Path, tracks: Path, encoder: str, voices: Sequence[Voice], plan: Plan) -> Sounding:
    """The lips of a clip under its own sound, that of other sizes of speaker, and other voices. tracks: of
    `grid.follow`; encoder: by name, since this runs in other processes."""
    heard_by = get_encoder(encoder)
    rng = np.random.default_rng((plan.seed, number))
    wave = grid.sound(clip)
    rows = np.arange(1 + len(wave.samples) * FEATURE_RATE // wave.rate)
    sounds = [(REAL, _features(wave, heard_by, rows, 1.0, None))]
    for k in range(plan.resized):
        sounds.append((REAL, _features(wave, heard_by, rows, 1.0 if k == 0 else _size(plan, rng), rng)))
    text = sentence_of(clip.with_suffix(".align"))
    for voice in _some(voices, plan.voices, rng):
        utterance = synthesize(text, voice, speed=rng.uniform(0.8, 1.2), pitch=rng.uniform(0.85, 1.2))
        acoustics = None if rng.random() < 0.4 else rng
        same = time_map(wave, utterance.wave)
        sounds.append((REVOICED, _features(utterance.wave, heard_by, same, _size(plan, rng), acoustics)))
    phones = phones_of(wave, [synthesize(text, voice) for voice in FLITE_VOICES])
    return Sounding(*offsets_from_rest(grid.lips(clip, tracks), wave, len(rows)), phones.at(len(rows)), sounds)


def synthetic_text(number: int, mouth: Coarticulation, encoder: str, voices: Sequence[Voice], plan: Plan) -> Sounding:
    """The same of a text that a synthetic voice says, with the lips that `mouth` gives its phones."""
    heard_by = get_encoder(encoder)
    rng = np.random.default_rng((plan.seed, number))
    pair = _some(voices, 2, rng)
    voice = pair[rng.integers(len(pair))]
    text = text_for(voice.language, rng)
    utterance = synthesize(text, voice, speed=rng.uniform(0.75, 1.25), pitch=rng.uniform(0.85, 1.2))
    rows = np.arange(1 + len(utterance.wave.samples) * FEATURE_RATE // utterance.wave.rate)
    features = _features(utterance.wave, heard_by, rows, _size(plan, rng), None if rng.random() < 0.4 else rng)
    phones, n = utterance.phones, len(rows)
    return Sounding(mouth.lips(phones, n), np.ones(n, bool), phones.at(n), [(SYNTHETIC, features)])


def gather(
    corpus: Corpus,
    make: Callable[[int], Sounding],
    numbers: Sequence[int],
    step: str,
    hook: Hook = silent,
    workers: int = 1,
) -> None:
    """Adds what `make` makes of each number, in order; in `workers` processes, with the same result. The number is the
    part."""
    for done, (number, made) in enumerate(zip(numbers, in_order(make, numbers, workers), strict=True)):
        corpus.add(number, made)
        hook(step, done + 1, len(numbers))


def in_order(make: Callable, items: Iterable, workers: int) -> Iterator:
    """What `make` makes of each item, in order; from two workers on in processes of their own, a thread each."""
    if workers < 2:
        yield from map(make, items)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        yield from pool.map(make, items, chunksize=4)


def offsets_from_rest(lips, wave: Waveform, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,18,2) offsets from this clip's own resting lips (a turned head leaks into them, and differs from clip to
    clip), (n,) valid."""
    track = to_feature_clock(lips, n)
    return track.points - grid.rest_of(lips, wave), track.valid


def _some(voices: Sequence[Voice], n: int, rng: np.random.Generator) -> list[Voice]:
    """`n` voices, half of them (as far as there are any) flite's, which are made from people."""
    human = [v for v in voices if v.engine == "flite"]
    other = [v for v in voices if v.engine != "flite"]
    k = min(len(human), n // 2) if other else n
    return [human[i] for i in rng.permutation(len(human))[:k]] + [
        other[i] for i in rng.permutation(len(other))[: n - k]
    ]


def _size(plan: Plan, rng: np.random.Generator) -> float:
    return plan.size ** rng.uniform(-1, 1)


def _features(
    wave: Waveform, encoder: SpeechEncoder, rows: np.ndarray, size: float, rng: np.random.Generator | None
) -> np.ndarray:
    """(R,D) features of the sound at its `rows` (fractions), from a speaker of another size, and with `rng`
    in another room or over another line."""
    if size != 1:
        before = len(wave.samples)
        wave = resized_speaker(wave, size)
        rows = rows * (len(wave.samples) / before)
    if rng is not None:
        wave = augment(wave, rng)
    values = encoder.encode(wave).values.numpy()
    return at_rows(values, rows)


def save_corpus(corpus: Corpus, path: Path) -> None:
    """One safetensors file, complete or not there."""
    from lipsync.store.cache import save_arrays

    features, offsets, valid, phones = corpus.stacked()
    pieces = np.array([[p.first, p.n, p.lips, p.kind, p.part] for p in corpus.pieces], np.int64)
    with atomic_write(path) as part:
        save_arrays(
            part, {"features": features.numpy(), "offsets": offsets, "valid": valid, "phones": phones, "pieces": pieces}
        )


def load_corpus(path: Path) -> Corpus:
    """What `save_corpus` wrote."""
    from safetensors.numpy import load_file

    rows, corpus = load_file(path), Corpus()
    corpus.features, corpus.offsets = [rows["features"]], [rows["offsets"]]
    corpus.valid, corpus.phones = [rows["valid"]], [rows["phones"]]
    corpus.pieces = [Piece(*map(int, piece)) for piece in rows["pieces"]]
    corpus.n_features, corpus.n_lips = len(rows["features"]), len(rows["offsets"])
    return corpus
