"""Synthetic speakers: any text in the voices of flite or espeak-ng, with the time of every phone.

Both are run as system programs (Debian packages `flite` and `espeak-ng`); nothing of theirs is part of this project.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from audio.load import Waveform, load_speech
from lipsync.core.errors import LipsyncError
from training.espeak import WORDS_PER_MINUTE
from training.phones import SILENCE, Phones, arpabet_of


@dataclass(frozen=True, slots=True)
class Voice:
    """A synthetic speaker. engine: "flite" or "espeak"; name: as the engine knows it; language: of the text it reads
    ("en", "de", ...)."""

    engine: str
    name: str
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Utterance:
    """Synthetic speech. wave: 16 kHz mono; phones: on the clock of `wave`, from its first sample to its last."""

    wave: Waveform
    phones: Phones
    text: str
    voice: Voice


#: Silence that espeak-ng, unlike flite, lacks before and after its speech.
QUIET_S = 0.25
STOPS = frozenset({"p", "b", "t", "d", "k", "g", "ch", "jh"})
#: A stop after silence is closed this long before its burst; after a sound, as long as that has fallen under this share
#: of its peak.
CLOSURE_S, LONGEST_CLOSURE_S, CLOSURE_LEVEL = 0.055, 0.1, 0.12
#: flite's own pitch of each voice, Hz.
_FLITE_PITCH = {"kal": 105.0, "kal16": 105.0, "slt": 170.0, "rms": 105.0, "awb": 115.0}
FLITE_VOICES = tuple(Voice("flite", name) for name in _FLITE_PITCH)

#: espeak-ng's names of English accents (files, because language tags are looked up less strictly and may find another
#: voice).
_ENGLISH = (
    "gmw/en",
    "gmw/en-GB-x-rp",
    "gmw/en-US",
    "gmw/en-GB-scotland",
    "gmw/en-GB-x-gbclan",
    "gmw/en-GB-x-gbcwmd",
    "gmw/en-US-nyc",
    "gmw/en-029",
)
_LANGUAGES = {
    "de": "gmw/de",
    "fr": "roa/fr",
    "es": "roa/es",
    "pl": "zlw/pl",
    "nl": "gmw/nl",
    "pt": "roa/pt",
    "cs": "zlw/cs",
    "da": "gmq/da",
}
#: Languages and variants (larynx and vocal tract) that nothing is trained on.
_HELD_OUT_LANGUAGES = {"it": "roa/it", "sv": "gmq/sv", "tr": "trk/tr"}
_VARIANTS = (
    "f1",
    "m1",
    "f2",
    "m2",
    "f3",
    "m3",
    "f5",
    "m4",
    "m5",
    "m6",
    "m8",
    "Andy",
    "Annie",
    "Alex",
    "Andrea",
    "belinda",
    "edward",
    "linda",
    "steph",
    "quincy",
    "david",
    "antonio",
    "gustave",
    "pablo",
    "max",
)
_HELD_OUT_VARIANTS = ("f4", "m7", "Alicia", "Gene", "victor", "anika")


def _espeak(accents: Mapping[str, tuple[str, ...]], variants: tuple[str, ...]) -> tuple[Voice, ...]:
    return tuple(
        Voice("espeak", f"{a}+{v}", language) for language, names in accents.items() for a in names for v in variants
    )


_FOREIGN = {language: (name,) for language, name in _LANGUAGES.items()}
TRAIN_VOICES = FLITE_VOICES + _espeak({"en": _ENGLISH, **_FOREIGN}, _VARIANTS)
HELD_OUT_VOICES = _espeak({"en": _ENGLISH[:4]}, _HELD_OUT_VARIANTS)
HELD_OUT_LANGUAGES = tuple(_HELD_OUT_LANGUAGES)
HELD_OUT_LANGUAGE_VOICES = _espeak(
    {language: (name,) for language, name in _HELD_OUT_LANGUAGES.items()}, ("m1", "f2", "f4", "m7")
)


def synthesize(text: str, voice: Voice, speed: float = 1.0, pitch: float = 1.0) -> Utterance:
    """The text in this voice, `speed` times as fast and `pitch` times as high as it is by itself; the same every time.

    LipsyncError: the engine or the voice is not on this machine, or it said nothing.
    """
    engine = {"flite": _flite, "espeak": _espeak_ng}.get(voice.engine)
    if engine is None:
        raise LipsyncError(f'There is no speech engine {voice.engine!r}; known: "flite", "espeak".')
    wave, name, end_s = engine(text, voice, speed, pitch)
    length_s = len(wave.samples) / wave.rate
    if not name or length_s <= 0:
        raise LipsyncError(
            f"{voice.engine} voice {voice.name} said nothing for the text {text!r}. Give it a text with words."
        )
    ends = np.minimum(end_s, length_s)
    if length_s - ends[-1] > 1e-3:
        name, ends = [*name, SILENCE], np.append(ends, length_s)
    return Utterance(wave, Phones.of_ends(name, ends), text, voice)


def engine_missing(engine: str) -> str:
    """Why this engine cannot speak here, in a sentence; empty where it can."""
    if engine == "flite":
        return (
            "" if shutil.which("flite") else "The speech synthesiser flite is not installed (Debian package `flite`)."
        )
    try:
        _worker(os.getpid())
    except LipsyncError as trouble:
        return str(trouble)
    return ""


def _flite(text: str, voice: Voice, speed: float, pitch: float) -> tuple[Waveform, list[str], np.ndarray]:
    missing = engine_missing("flite")
    if missing:
        raise LipsyncError(missing)
    if voice.name not in _FLITE_PITCH:
        raise LipsyncError(f"flite has no voice {voice.name!r}; known: {', '.join(_FLITE_PITCH)}.")
    settings = ["--setf", f"duration_stretch={1 / speed:.4f}"]
    if pitch != 1:
        settings += ["--setf", f"int_f0_target_mean={_FLITE_PITCH[voice.name] * pitch:.2f}"]
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice.name, *settings, "-psdur", "-t", text, "-o", str(sound)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not sound.exists():
            raise LipsyncError(
                f"flite voice {voice.name} failed on the text {text!r}: {done.stderr.strip() or done.returncode}."
            )
        wave = load_speech(sound)
    pairs = [item.rsplit(":", 1) for item in done.stdout.split()]
    return wave, [name for name, _ in pairs], np.array([float(end) for _, end in pairs])


def _espeak_ng(text: str, voice: Voice, speed: float, pitch: float) -> tuple[Waveform, list[str], np.ndarray]:
    requests, answers, rate = _worker(os.getpid())
    wpm, height = round(WORDS_PER_MINUTE * speed), round(min(99, max(0, 50 + 50 * math.log2(pitch))))
    requests.write(
        json.dumps({"text": text, "voice": voice.name, "words_per_minute": wpm, "pitch": height}).encode() + b"\n"
    )
    requests.flush()
    sizes = answers.read(8)
    if len(sizes) < 8:
        _worker.cache_clear()
        raise LipsyncError(f"espeak-ng stopped on the text {text!r} with voice {voice.name}.")
    n_head, n_sound = struct.unpack("<II", sizes)
    head, sound = json.loads(answers.read(n_head)), answers.read(n_sound)
    if "missing" in head:
        raise LipsyncError(f"espeak-ng has no voice {head['missing']!r} (Debian package `espeak-ng`, version 1.51).")
    if not sound:
        return Waveform.of(np.zeros(1)), [], np.zeros(0)
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
    name, end = _phones_of_events(head["events"], len(samples), voice.language)
    end = _with_closures(name, end, np.abs(samples), rate)
    quiet = round(QUIET_S * rate)
    padded = np.pad(samples, quiet)
    return Waveform.of(padded, rate, voice.name), [*name, SILENCE], np.append(end + quiet, len(padded)) / rate


def _phones_of_events(events: list[tuple[str, int]], n_samples: int, language: str) -> tuple[list[str], np.ndarray]:
    """Names and last samples. A sound that is several phones is shared among them evenly; English "a" is the vowel of
    "at"."""
    name, end = [SILENCE], [float(events[0][1]) if events else float(n_samples)]
    for (symbol, first), after in zip(events, [event[1] for event in events[1:]] + [n_samples], strict=True):
        phones = arpabet_of("æ" if symbol == "a" and language == "en" else symbol) if symbol else (SILENCE,)
        if not phones:  # an event without a sound of its own lengthens what went before
            end[-1] = float(after)
            continue
        name += phones
        end += list(first + (after - first) * (np.arange(len(phones)) + 1) / len(phones))
    return name, np.array(end)


def _with_closures(name: list[str], end: np.ndarray, loudness: np.ndarray, rate: int) -> np.ndarray:
    """The ends, moved so that a stop begins when its closure does: espeak-ng marks its burst, and counts the closure to
    the sound before."""
    moved = end.copy()
    block = rate // 200
    for k in range(1, len(name)):
        if name[k] not in STOPS:
            continue
        first, burst = moved[k - 2] if k > 1 else 0.0, end[k - 1]
        if name[k - 1] == SILENCE:
            moved[k - 1] = max(burst - CLOSURE_S * rate, (first + burst) / 2) if k > 1 else burst - CLOSURE_S * rate
            continue
        lowest = max((first + burst) / 2, burst - LONGEST_CLOSURE_S * rate)
        before = loudness[int(first) : int(burst)]
        level = [before[max(0, i - block) : i].max() for i in range(len(before), 0, -block)]
        quiet = next((i for i, one in enumerate(level) if one > CLOSURE_LEVEL * max(level)), 0)
        moved[k - 1] = max(burst - quiet * block, lowest)
    return moved


@lru_cache(maxsize=1)
def _worker(owner: int) -> tuple[IO[bytes], IO[bytes], int]:
    """The pipes to and from the process in which espeak-ng waits, and its sample rate; `owner`, a process number, gives
    forked processes one each.

    LipsyncError: not installed.
    """
    script = Path(__file__).with_name("espeak.py")
    worker = subprocess.Popen([sys.executable, "-I", "-S", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    rate = int(worker.stdout.readline() or 0) if worker.stdin and worker.stdout else 0
    if not (rate and worker.stdin and worker.stdout):
        raise LipsyncError("The speech synthesiser espeak-ng is not installed (Debian package `espeak-ng`).")
    atexit.register(worker.stdin.close)
    return worker.stdin, worker.stdout, rate
