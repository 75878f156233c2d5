"""Speech of many people that is free to use: what the speech encoder learns to hear.

Recorded prompts and games' voices of Debian packages, the second speaker of `facegood`, GRID s1 `train`, and synthetic
voices. Nothing is known of it but the sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from audio.load import RATE, Waveform, load_speech
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.speech.encoders.registry import get_encoder
from lipsync.speech.lip_model import LipModel
from lipsync.speech.prior import bundled_lip_model
from media import MediaError
from media.atomic import atomic_write
from training import grid
from training.acoustic_augmentation import augment, resized_speaker, with_music
from training.corpus import TAUGHT, UNKNOWN, Sounding, in_order
from training.recordings import files_of, load_recording
from training.sentences import text_for
from training.tts import TRAIN_VOICES, synthesize

#: Debian packages: their sounds below share/, and how many parts of such a path tell one speaker from another.
PACKAGES = {
    "asterisk-core-sounds-en-g722": ("asterisk/sounds/en_*/**/*.g722", 3),
    "asterisk-core-sounds-es-g722": ("asterisk/sounds/es_*/**/*.g722", 3),
    "asterisk-core-sounds-fr-g722": ("asterisk/sounds/fr_*/**/*.g722", 3),
    "asterisk-core-sounds-ru-g722": ("asterisk/sounds/ru_*/**/*.g722", 3),
    "asterisk-prompt-es-co": ("asterisk/sounds/es/**/*.gsm", 3),
    "asterisk-prompt-fr-armelle": ("asterisk/sounds/fr/**/*.gsm", 3),
    "hedgewars-data": ("games/hedgewars/Data/Sounds/voices/*/*.ogg", 6),
    "klettres-data": ("klettres/*/*/*.ogg", 2),
    "gcin-voice": ("gcin-voice/**/*.ogg", 1),
}
MUSIC = "games/hedgewars/Data/Music/*.ogg"
#: Italian, Swedish and Turkish are kept to test on.
HELD_OUT = ("/it/", "/sv/", "/tr/")
#: Sounds are joined to pieces of at least SHORT_S, cut into such of at most LONG_S, and brought to PEAK.
SHORT_S, LONG_S, PEAK = 5.0, 12.0, 0.5
#: Recordings that one job of a pool reads.
BLOCK = 60


@dataclass(frozen=True, slots=True)
class Speech:
    """Pieces of sound, one after the other. samples: (S,) int16, 16 kHz; first, n: (P,) samples of each piece;
    recorded: so many of them, the first, are real people's speech."""

    samples: np.ndarray
    first: np.ndarray
    n: np.ndarray
    recorded: int = 0

    def __len__(self) -> int:
        return len(self.n)

    def wave(self, piece: int) -> Waveform:
        """The piece, float32 in -1 to 1."""
        part = self.samples[self.first[piece] : self.first[piece] + self.n[piece]]
        return Waveform.of(part.astype(np.float32) / 32768)

    @classmethod
    def joined(cls, pieces: Iterable[np.ndarray], recorded: int = 0) -> Speech:
        kept = list(pieces)
        n = np.array([len(piece) for piece in kept], np.int64)
        return cls(np.concatenate(kept), np.concatenate([[0], np.cumsum(n)[:-1]]), n, recorded)

    def save(self, path: Path) -> None:
        with atomic_write(path) as part:
            np.savez(part, samples=self.samples, first=self.first, n=self.n, recorded=self.recorded)

    @classmethod
    def load(cls, path: Path) -> Speech:
        with np.load(path) as kept:
            return cls(kept["samples"], kept["first"], kept["n"], int(kept["recorded"]))


def people() -> list[list[Path]]:
    """The recordings of everybody, a list each. LipsyncError: packages or GRID are missing."""
    found: dict[tuple[str, ...], list[Path]] = {}
    for package, (pattern, n_parts) in PACKAGES.items():
        paths = files_of((pattern,), HELD_OUT)
        if not paths:
            raise LipsyncError(
                f"There are no sounds of the Debian package {package}. Install it, or unpack it into a folder and name "
                "that in LIPSYNC_SOUNDS."
            )
        for path in paths:
            parts = path.parts[path.parts.index("share") + 1 :]
            found.setdefault((package, *parts[:n_parts]), []).append(path)
    facegood = sorted((grid.data_folder() / "facegood").glob("*.flac"))
    return [*found.values(), facegood, grid.clips("train")]


@cache
def music() -> list[np.ndarray]:
    """Up to a minute of each track to lay under speech."""
    return [load_speech(path).samples[: 60 * RATE].numpy() for path in files_of((MUSIC,))[:20]]


def gather_speech(texts: int, versions: int, seed: int, path: Path, hook: Hook = silent, workers: int = 2) -> Speech:
    """All of it, kept in `path`. texts: synthetic ones; versions: how often each recorded piece comes once more, from
    another speaker's size, another room, line, or over music."""
    if not path.exists():
        blocks = [one[i : i + BLOCK] for one in people() for i in range(0, len(one), BLOCK)]
        jobs = [(files, versions, (seed, number)) for number, files in enumerate(blocks)]
        pieces: list[np.ndarray] = []
        for done, part in enumerate(in_order(partial(_made, recorded), jobs, workers)):
            pieces += part
            hook("recorded speech", done + 1, len(jobs))
        n_recorded = len(pieces)
        for done, part in enumerate(in_order(partial(_made, synthetic), [(seed, i) for i in range(texts)], workers)):
            pieces += part
            hook("synthetic speech", done + 1, texts)
        for track in music():
            pieces += [as_int16(track[start : start + 10 * RATE]) for start in range(0, 3 * 10 * RATE, 10 * RATE)]
        Speech.joined(pieces, n_recorded).save(path)
    return Speech.load(path)


def _made(make: Callable[..., list[np.ndarray]], arguments: Sequence) -> list[np.ndarray]:
    return make(*arguments)


def recorded(files: Sequence[Path], versions: int, seed: tuple[int, int]) -> list[np.ndarray]:
    """int16 pieces of some recordings of one person, each as it is and `versions` times changed."""
    rng, out = np.random.default_rng(seed), []
    tracks = music() if versions else []
    for piece in _pieces_of(files, rng):
        if len(piece) < RATE // 4:
            continue
        out.append(as_int16(piece))
        for _ in range(versions):
            out.append(as_int16(_changed(piece, tracks, rng)))
    return out


def synthetic(seed: int, number: int) -> list[np.ndarray]:
    """One text in one synthetic voice, changed in six of ten cases."""
    rng = np.random.default_rng((seed, 1, number))
    voice = TRAIN_VOICES[rng.integers(len(TRAIN_VOICES))]
    text = text_for(voice.language, rng)
    samples = synthesize(text, voice, rng.uniform(0.75, 1.25), rng.uniform(0.85, 1.2)).wave.samples.numpy()
    return [as_int16(_changed(samples, [], rng) if rng.random() < 0.6 else samples)]


def _changed(samples: np.ndarray, tracks: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    wave = Waveform.of(samples.astype(np.float32))
    if rng.random() < 0.8:
        wave = resized_speaker(wave, 1.3 ** rng.uniform(-1, 1))
    changed = augment(wave, rng).samples.numpy()
    return with_music(changed, tracks[rng.integers(len(tracks))], rng) if tracks and rng.random() < 0.25 else changed


def _pieces_of(files: Sequence[Path], rng: np.random.Generator) -> Iterable[np.ndarray]:
    """Sounds without the silence around them, joined with short gaps."""
    waiting: list[np.ndarray] = []
    for path in files:
        sound = _sound(path)
        for start in range(0, len(sound), round(LONG_S * RATE)):
            waiting += [sound[start : start + round(LONG_S * RATE)], np.zeros(round(rng.uniform(0.02, 0.4) * RATE))]
            if sum(map(len, waiting)) > SHORT_S * RATE:
                yield np.concatenate(waiting).astype(np.float32)
                waiting = []
    if waiting:
        yield np.concatenate(waiting).astype(np.float32)


def _sound(path: Path) -> np.ndarray:
    """What a file holds, from 0.1 s before its first sound to 0.1 s after its last; nothing if it cannot be read."""
    try:
        samples = load_recording(path).samples.numpy()
    except MediaError:
        return np.zeros(0, np.float32)
    samples = samples * (PEAK / max(float(np.abs(samples).max()), 1e-3))
    loud = np.flatnonzero(np.sqrt(np.convolve(samples**2, np.ones(400) / 400, "same")) > 0.01)
    margin = RATE // 10
    return samples[max(0, loud[0] - margin) : loud[-1] + margin] if len(loud) > 1000 else np.zeros(0, np.float32)


def as_int16(samples: np.ndarray) -> np.ndarray:
    return np.round(samples * (32767 / max(1.0, float(np.abs(samples).max())))).astype(np.int16)


@cache
def teacher() -> LipModel:
    """The prior with Whisper's encoder; loaded once, for thousands of pieces."""
    return bundled_lip_model("whisper")


def lips_seen(model: LipModel, features: torch.Tensor) -> np.ndarray:
    """(F,18,2) lips less those at rest for (F,D) features, as far from rest as the model's networks say."""
    return model.with_gain(1.0).predict_rows(features) - model.rest


def taught_speech(number: int, path: Path, encoder: str) -> Sounding:
    """A piece of the speech in `path`, with the lips that the prior with Whisper's encoder sees in it."""
    wave = _speech(path).wave(number)
    offsets = lips_seen(teacher(), teacher().encoder.encode(wave).values)
    n = len(offsets)
    features = get_encoder(encoder).encode(wave).values.numpy()
    return Sounding(offsets, np.ones(n, bool), np.full(n, UNKNOWN), [(TAUGHT, features)])


@cache
def _speech(path: Path) -> Speech:
    return Speech.load(path)
