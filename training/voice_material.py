"""What the voice network hears in training: speech of known extent from many mouths, and music and effects without any.

Real voices, music and effects come from Debian packages (`PACKAGES`), installed or unpacked; nothing of them is part of
this project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio.features import FEATURE_RATE, HOP
from audio.load import RATE, Waveform
from audio.vad import GAP_S, closed, sound_activity
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from media import MediaError
from training import grid
from training.phones import SILENCE
from training.recordings import files_of, load_recording, share_folders
from training.sentences import text_for
from training.tts import TRAIN_VOICES, engine_missing, synthesize

PACKAGES = (
    "asterisk-core-sounds-en-g722",
    "asterisk-core-sounds-es-g722",
    "asterisk-core-sounds-fr-g722",
    "asterisk-core-sounds-ru-g722",
    "hedgewars-data",
    "klettres-data",
    "unknown-horizons",
)
#: Recorded prompts and shouts, by folder under share/; Italian, Swedish and Turkish are kept for measuring.
_VOICES = (
    "asterisk/sounds/en*/**/*.g722",
    "asterisk/sounds/es*/**/*.g722",
    "asterisk/sounds/fr*/**/*.g722",
    "games/hedgewars/Data/Sounds/voices/*/*.ogg",
    "klettres/*/alpha/*.ogg",
    "klettres/*/syllab/*.ogg",
)
_HELD_VOICES = ("asterisk/sounds/ru*/**/*.g722",)
_NO_SPEECH = ("/silence/", "/beep", "tone", "/tt-", "confbridge-", "/Singer/", "/Robot/")
_NOT_VOICES = (*_NO_SPEECH, "/it/", "/sv/", "/tr/")
_MUSIC = ("games/hedgewars/Data/Music/*.ogg", "unknown-horizons/content/audio/music/**/*.ogg")
#: Tracks to choose by, and tracks that only the benchmark hears.
CHOOSING_MUSIC = ("Desert", "oriental", "waves")
BENCHMARK_MUSIC = ("City", "Halloween", "Jungle", "Castle", "hell", "battle", "music2")
_EFFECTS = ("games/hedgewars/Data/Sounds/*.ogg", "unknown-horizons/content/audio/sounds/**/*.ogg")
#: Effects in which somebody shouts, counts or sings.
_NOT_EFFECTS = (
    "hell",
    "hog",
    "count",
    "custom",
    "Yoohoo",
    "Kiss",
    "duck",
    "voice",
    "homerun",
    "denied",
    "valkyries",
    "lowgrav",
)
LONGEST_S = 240


@dataclass(frozen=True, slots=True)
class Sound:
    """samples: (S,) int16 at 16 kHz; voiced: (F,) bool at 100 per second, when somebody speaks in it."""

    samples: np.ndarray
    voiced: np.ndarray


@dataclass(frozen=True, slots=True)
class Material:
    """speech: lists of sounds, each list as likely; music, effects: without speech."""

    speech: tuple[list[Sound], ...]
    music: list[Sound]
    effects: list[Sound]


def music_files(names: Sequence[str] = ()) -> list[Path]:
    """The tracks of these names; of none: those to learn from."""
    kept = CHOOSING_MUSIC + BENCHMARK_MUSIC
    return [path for path in files_of(_MUSIC) if (path.stem in names if names else path.stem not in kept)]


def materials(n_synthetic: int, seed: int, hook: Hook = silent) -> tuple[Material, Material]:
    """To learn from, and to choose by. LipsyncError: GRID, the packages or both synthesisers are missing."""
    check_present()
    clips, said = grid.clips("train"), list(_synthetic(n_synthetic, seed, hook))
    held = set(clips[::10])
    of_grid = {clip: _grid(clip) for clip in clips}
    effects = list(_sounds(files_of(_EFFECTS, _NOT_EFFECTS), False, hook))
    learned = Material(
        (
            [sound for clip, sound in of_grid.items() if clip not in held],
            list(_sounds(files_of(_VOICES, _NOT_VOICES), True, hook)),
            said[: len(said) * 9 // 10],
        ),
        list(_sounds(music_files(), False, hook)),
        effects[::2],
    )
    choosing = Material(
        (
            [of_grid[clip] for clip in sorted(held)],
            list(_sounds(files_of(_HELD_VOICES, _NOT_VOICES), True, hook)),
            said[len(said) * 9 // 10 :],
        ),
        list(_sounds(music_files(CHOOSING_MUSIC), False, hook)),
        effects[1::2],
    )
    return learned, choosing


def check_present() -> None:
    """LipsyncError: something that the training hears is not on this machine."""
    missing = engine_missing("flite") or engine_missing("espeak")
    if missing:
        raise LipsyncError(missing)
    grid.data_folder()
    for what, patterns in (("voices", _VOICES[:1]), ("voices", _VOICES[3:4]), ("music", _MUSIC[:1])):
        if not files_of(patterns):
            raise LipsyncError(
                f"There are no {what} like {patterns[0]} in {', '.join(map(str, share_folders()))}. Install the Debian "
                f"packages {', '.join(PACKAGES)}, or unpack them into a folder and name it in LIPSYNC_SOUNDS."
            )


def _grid(clip: Path) -> Sound:
    wave, spoken = grid.sound(clip), [w for w in grid.words(clip.with_suffix(".align")) if w[2] not in ("sil", "sp")]
    return _sound(wave, _between([(start, end) for start, end, _ in spoken], len(wave.samples)))


def _synthetic(n: int, seed: int, hook: Hook) -> Iterator[Sound]:
    rng = np.random.default_rng(seed)
    for i in range(n):
        voice = TRAIN_VOICES[rng.integers(len(TRAIN_VOICES))]
        said = synthesize(text_for(voice.language, rng), voice, rng.uniform(0.85, 1.2), rng.uniform(0.85, 1.2))
        spans = zip(said.phones.start_s, said.phones.end_s, said.phones.name, strict=True)
        yield _sound(said.wave, _between([(a, b) for a, b, name in spans if name != SILENCE], len(said.wave.samples)))
        hook("synthetic speech", i + 1, n)


def _between(spans: Sequence[tuple[float, float]], n_samples: int) -> np.ndarray:
    """(F,) bool: rows inside the spans (seconds), short gaps filled."""
    voiced = np.zeros(1 + n_samples // HOP, bool)
    for start, end in spans:
        voiced[round(start * FEATURE_RATE) : round(end * FEATURE_RATE)] = True
    return closed(voiced, round(GAP_S * FEATURE_RATE))


def held_out_prompts(every: int) -> list[Sound]:
    """Italian prompts (Debian package `asterisk-prompt-it-menardi-wav`), which nothing was trained on; empty where they
    are not there."""
    return list(_sounds(files_of(("asterisk/sounds/it*/**/*.wav",), _NO_SPEECH)[::every], True, silent))


def _sounds(paths: Sequence[Path], speech: bool, hook: Hook) -> Iterator[Sound]:
    """Recordings; in clean ones of speech, loudness tells when somebody speaks."""
    for i, path in enumerate(paths):
        hook("recordings", i + 1, len(paths))
        try:
            wave = load_recording(path)
        except MediaError:
            continue
        samples = wave.samples[: LONGEST_S * RATE]
        if len(samples) < RATE // 5 or samples.abs().max() < 0.01:
            continue
        heard = Waveform.of(samples.numpy())
        yield _sound(heard, loud_rows(heard) if speech else np.zeros(1 + len(samples) // HOP, bool))


def loud_rows(wave: Waveform) -> np.ndarray:
    """(F,) bool: when the recording is loud, its ends and gaps being as quiet as a room."""
    room, around = np.random.default_rng(0), 30
    samples = np.pad(wave.samples.numpy(), around * HOP)
    samples = samples + 1e-4 * room.standard_normal(len(samples))
    return sound_activity(Waveform.of(samples))[around : around + 1 + len(wave.samples) // HOP]


def _sound(wave: Waveform, voiced: np.ndarray) -> Sound:
    top = max(1.0, float(wave.samples.abs().max()))
    return Sound((wave.samples.numpy() * (32767 / top)).astype(np.int16), voiced)
