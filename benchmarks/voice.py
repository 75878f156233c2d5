"""Who is taken for speaking: GRID s1 `val` against its word alignments, clean and among other sounds, and sounds
without speech.  python -m benchmarks.voice

Three judges: the network that ships ("voice"), loudness over a noise floor ("loudness"), and silero-vad where it is
installed. Music is that of `training.voice_material.BENCHMARK_MUSIC`, which nothing was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from audio.features import FEATURE_RATE, HOP
from audio.load import RATE, Waveform, load_speech
from audio.vad import sound_activity
from benchmarks.common import grid_clips, parser, report
from lipsync.speech.voice import voice_activity
from training import background_sounds as made
from training import grid
from training.voice_material import BENCHMARK_MUSIC, held_out_prompts, music_files

Judge = Callable[[Waveform], np.ndarray]
PAUSE_S = 0.3
LEAD_S = 1.5


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--every", type=int, default=1, help="every so manieth clip")
    options.add_argument("--music", type=float, default=60, help="seconds of each track")
    args = options.parse_args()
    clips, tracks = grid_clips("val")[:: args.every], music_files(BENCHMARK_MUSIC)
    report("voice", {"n_clips": len(clips)} | measured(clips, tracks, args.music, judges()))


def judges() -> dict[str, Judge]:
    """By name; silero-vad only where it is installed."""
    known: dict[str, Judge] = {"loudness": sound_activity, "voice": voice_activity}
    try:
        return known | {"silero": _silero()}
    except ImportError:
        return known


def measured(clips: list[Path], tracks: list[Path], music_s: float, known: dict[str, Judge]) -> dict:
    """recall, precision, accuracy of rows per condition; pauses found; share of rows taken for speech without any."""
    music = [load_speech(path).samples[RATE * 10 : round(RATE * (10 + music_s))].numpy() for path in tracks]
    speech = [(grid.sound(clip).samples.numpy().astype(np.float64), _truth(clip)) for clip in clips]
    conditions = {
        name: list(_among(name, speech, music)) for name in ("clean", "hum", "room", "zeros_then_room", "gated")
    }
    if music:
        conditions |= {f"music_{db}_db": list(_among(f"music_{db}_db", speech, music)) for db in (15, 10, 5)}
    prompts = list(_prompts())
    conditions |= {"italian_prompts": prompts} if prompts else {}
    pauses = {name: list(_with_pauses(speech, music, name)) for name in ("room", "music_15_db")[: 1 + bool(music)]}
    alone = _without_speech(music, {path.stem: i for i, path in enumerate(tracks)})
    return {
        name: {
            "speech": {key: _scores(judge, pairs) for key, pairs in conditions.items()},
            "pauses_found": {key: _found(judge, pairs) for key, pairs in pauses.items()},
            "taken_for_speech": {
                key: float(np.mean([judge(Waveform.of(s)).mean() for s in sounds])) for key, sounds in alone.items()
            },
        }
        for name, judge in known.items()
    }


def _truth(clip: Path) -> np.ndarray:
    truth = np.zeros(1 + grid.CLIP_S * FEATURE_RATE, bool)
    for start, end, word in grid.words(clip.with_suffix(".align")):
        if word not in ("sil", "sp"):
            truth[round(start * FEATURE_RATE) : round(end * FEATURE_RATE)] = True
    return truth


def _among(name: str, speech: list, music: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each clip in this condition, and its truth; seconds put before it are not part of the truth's rows."""
    for i, (samples, truth) in enumerate(speech):
        rng, level = np.random.default_rng(i), _level(samples, truth)
        t = np.arange(len(samples)) / RATE
        if name == "hum":
            samples = samples + level * (np.sin(100 * np.pi * t) + 0.4 * np.sin(300 * np.pi * t))
        elif name.startswith("music"):
            samples = _over_music(samples, level, music[i % len(music)], float(name.split("_")[1]), rng)
        elif "room" in name:
            samples = samples + level * 10 ** (-30 / 20) * rng.standard_normal(len(samples))
        elif name == "gated":
            samples = samples * np.repeat(np.convolve(truth, np.ones(11), "same") > 0, HOP)[: len(samples)]
        if name == "zeros_then_room":
            samples = np.concatenate([np.zeros(round(LEAD_S * RATE)), samples])
        yield samples, truth


def _prompts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Recordings of another speaker and language with half a second of a quiet room around; loudness is the truth."""
    for i, sound in enumerate(held_out_prompts(10)):
        count, around = len(sound.samples) // HOP, FEATURE_RATE // 2
        samples = np.pad(sound.samples[: count * HOP] / 32768, around * HOP)
        truth = np.pad(sound.voiced[:count], (around, around + 1))
        yield samples + _level(samples, truth) * 1e-2 * np.random.default_rng(i).standard_normal(len(samples)), truth


def _with_pauses(speech: list, music: list[np.ndarray], name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each clip cut in the middle of its speech, with 0.3 s of nobody between, and True where those are."""
    for i, (samples, truth) in enumerate(speech):
        rng, level, spoken = np.random.default_rng(i), _level(samples, truth), np.flatnonzero(truth)
        middle, gap = int(spoken.mean()), round(PAUSE_S * FEATURE_RATE)
        joined = np.concatenate([samples[: middle * HOP], np.zeros(gap * HOP), samples[middle * HOP :]])
        joined += level * 10 ** (-40 / 20) * rng.standard_normal(len(joined))
        if name != "room":
            joined = _over_music(joined, level, music[i % len(music)], float(name.split("_")[1]), rng)
        pause = np.zeros(len(truth) + gap, bool)
        pause[middle : middle + gap] = True
        yield joined, pause


def _over_music(
    samples: np.ndarray, level: float, track: np.ndarray, db: float, rng: np.random.Generator
) -> np.ndarray:
    at = int(rng.integers(0, len(track) - len(samples)))
    part = track[at : at + len(samples)]
    return samples + part * level * 10 ** (-db / 20) / (np.sqrt((part**2).mean()) + 1e-9)


def _level(samples: np.ndarray, truth: np.ndarray) -> float:
    """RMS while somebody speaks."""
    return float(np.sqrt((samples[np.repeat(truth, HOP)[: len(samples)]] ** 2).mean()))


def _without_speech(music: list[np.ndarray], names: dict[str, int]) -> dict[str, list[np.ndarray]]:
    n, made_up = 10 * RATE, ("steady_noise", "unsteady_noise", "hum", "clicks", "tones", "chords", "breath")
    rng = np.random.default_rng(77)
    alone = {name: [0.05 * getattr(made, name)(n, rng) for _ in range(12)] for name in made_up}
    return alone | {f"music_{name}": [music[i]] for name, i in names.items()}


def _scores(judge: Judge, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    hits = misses = alarms = rests = 0
    for samples, truth in pairs:
        voiced = judge(Waveform.of(samples))[-len(truth) :]
        hits, misses = hits + int((voiced & truth).sum()), misses + int((~voiced & truth).sum())
        alarms, rests = alarms + int((voiced & ~truth).sum()), rests + int((~voiced & ~truth).sum())
    return {
        "recall": hits / (hits + misses),
        "precision": hits / max(1, hits + alarms),
        "accuracy": (hits + rests) / (hits + misses + alarms + rests),
    }


def _found(judge: Judge, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of the pauses at least half of which is nobody speaking."""
    return float(np.mean([(~judge(Waveform.of(samples)))[pause].mean() >= 0.5 for samples, pause in pairs]))


def _silero() -> Judge:
    """silero-vad as its own package joins and pads its answers. ImportError: not installed."""
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad  # pyright: ignore[reportMissingImports]

    model = load_silero_vad()

    def judge(wave: Waveform) -> np.ndarray:
        voiced = np.zeros(1 + len(wave.samples) // HOP, bool)
        with torch.inference_mode():
            for span in get_speech_timestamps(wave.samples, model, sampling_rate=RATE):
                voiced[round(span["start"] / HOP) : round(span["end"] / HOP)] = True
        return voiced

    return judge


if __name__ == "__main__":
    main()
