"""The lips of a speech, without a video of a person: numbers, mouth cues, or a drawn animation."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from audio.load import Waveform, load_speech
from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import pick_device
from lipsync.core.text import readable
from lipsync.core.types import LipTrack
from lipsync.pipelines.models import lip_model_for
from lipsync.speech.animation import HEIGHT, WIDTH, LipAnimation
from lipsync.speech.cues import Cue, mouth_cues, rhubarb_json, rhubarb_tsv
from lipsync.speech.export import lips_csv, lips_json
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import lips_for
from lipsync.speech.prior import bundled_lip_model
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache, content_hash
from lipsync.store.preflight import check_encoder, check_files, lips_format, written_whole
from lipsync.store.receipt import own_version
from lipsync.target.analyse import follow_films
from video.clock import FrameClock
from video.write import VideoWriter

#: Rows a second where none are asked for: of numbers, and of the animation.
NUMBERS_RATE, FILM_RATE = Fraction(100), Fraction(25)


def lips_of(
    speech: str | Path,
    out: str | Path,
    config: DubConfig = DubConfig(),
    *,
    target: str | Path | None = None,
    kind: str | None = None,
    rate: Fraction | None = None,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
) -> dict:
    """Writes the lips that say `speech` and returns what was written, plain values.

    kind: "json", "csv", "mp4", "rhubarb-json" or "rhubarb-tsv"; None = by the ending of `out`. rate: rows a second. The
    model is config.lips.model, else the one of `target`'s own speech, else the bundled one. UsageError: kind and ending
    do not fit; LipsyncError, MediaError: material that cannot be used; nothing is left behind then."""
    speech, out = Path(speech), Path(out)
    kind = _check(speech, out, config, target, kind, rate, force)
    device, cache = pick_device(config.device), cache or Cache.of(config.cache)
    wave = load_speech(speech, config.input_limits)
    model, source = _model_for(target, config, cache, device, hook)
    predicted, voice = model.to(device).predict(wave), voice_activity(wave)
    clock = FrameClock.constant(max(1, round(wave.duration_s * _rate(kind, rate))), _rate(kind, rate))
    lips, voiced = lips_for(predicted, voice, clock, model.rest, config.lips.pause_s)
    closed, _ = lips_for(predicted, voice, None, model.rest, config.lips.pause_s)
    cues = mouth_cues(closed, voice, model.rest, wave.duration_s)
    made = _Lips(speech, wave, model, lips, voiced, cues, _about(speech, wave, model, source))
    if kind == "mp4":
        _write_animation(made, out, config, hook)
    else:
        with written_whole(out) as part:
            part.write_text(_text(made, kind), encoding="utf-8")
    notes = [*wave.notes, *filter(None, [model.report.get("warning")])]
    rows = len(cues) if kind.startswith("rhubarb") else len(lips)
    return {"path": str(out), "format": kind, "rows": rows, **made.about, "notes": notes}


@dataclass(frozen=True, slots=True)
class _Lips:
    """What is written, in whatever form. lips, voiced: on the output's clock."""

    speech: Path
    wave: Waveform
    model: LipModel
    lips: LipTrack
    voiced: np.ndarray
    cues: list[Cue]
    about: dict


def _check(
    speech: Path,
    out: Path,
    config: DubConfig,
    target: str | Path | None,
    kind: str | None,
    rate: Fraction | None,
    force: bool,
) -> str:
    """The format, and errors before any work."""
    validate(config)
    kind = lips_format(out, kind, rate)
    check_files([(speech, "speech file"), *([(target, "target video")] if target else [])], [out], force)
    if kind == "mp4":
        check_encoder(out, config.write, (WIDTH, HEIGHT))
    return kind


def _about(speech: Path, wave: Waveform, model: LipModel, source: str) -> dict:
    """What is said of speech and model."""
    report = {k: v for k, v in model.report.items() if k not in ("network", "curve")}
    return {
        "made_by": f"lipsync {own_version()}",
        "speech": {"file": speech.name, "sha256": content_hash(speech), "duration_s": round(float(wave.duration_s), 6)},
        "model": {"source": source, "network": model.network, **report},
    }


def _text(made: _Lips, kind: str) -> str:
    """The file's text, in every format but the animation."""
    if kind == "json":
        return lips_json(made.lips, made.voiced, made.model.rest, made.about)
    if kind == "csv":
        return lips_csv(made.lips, made.voiced)
    return rhubarb_json(made.cues, made.speech) if kind == "rhubarb-json" else rhubarb_tsv(made.cues)


def _rate(kind: str, rate: Fraction | None) -> Fraction:
    return rate or (FILM_RATE if kind == "mp4" else NUMBERS_RATE)


def _model_for(
    target: str | Path | None, config: DubConfig, cache: Cache, device: torch.device, hook: Hook
) -> tuple[LipModel, str]:
    """The model, and where it is from."""
    if target:
        films, _ = follow_films(Path(target), config, cache, hook)
        model = lip_model_for(films, config.lips, cache, device, hook)
        return model, config.lips.model or Path(target).name
    if config.lips.model:
        model = LipModel.load(Path(config.lips.model), config.lips.whisper_model)
        return model, Path(config.lips.model).name
    model = bundled_lip_model(config.lips.encoder, config.lips.whisper_model)
    return model, "the bundled model"


def _write_animation(made: _Lips, out: Path, config: DubConfig, hook: Hook) -> None:
    clock, write, about = made.lips.frames, config.write, made.about
    metadata = {
        "title": f"{readable(made.speech.stem)} (AI-generated lip animation)",
        "comment": f"AI-generated by {about['made_by']}: a drawing of lips predicted from sound. "
        f"Speech sha256 {about['speech']['sha256']}.",
        "digital_source_type": "compositeWithTrainedAlgorithmicMedia",
    }
    caption = "lips predicted from the sound by lipsync"
    samples = made.wave.samples.numpy()
    animation = LipAnimation(made.lips, samples, made.wave.rate, made.cues, made.model.rest, caption)
    picture = {"width": WIDTH, "height": HEIGHT, "codec": write.codec, "crf": write.crf, "preset": write.preset}
    sound = {"speech": made.speech, "audio_end_s": clock.duration_s + 1 / clock.rate}
    with VideoWriter(out, clock=clock, metadata=metadata, **picture, **sound) as writer:
        for row, frame in enumerate(animation.frames()):
            writer.write(torch.from_numpy(frame).permute(2, 0, 1)[None].contiguous())
            hook("drawing", row + 1, len(made.lips))
