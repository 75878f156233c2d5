"""The lips of a speech, without a video of a person: numbers, mouth cues, or a drawn animation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from audio.load import Waveform, load_speech
from audio.vad import voice_activity
from lipsync.config.load import validate
from lipsync.config.schema import DubConfig
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import pick_device
from lipsync.core.types import LipTrack
from lipsync.pipelines.models import lip_model_for
from lipsync.speech.animation import HEIGHT, WIDTH, LipFilm
from lipsync.speech.cues import Cue, mouth_cues, rhubarb_json, rhubarb_tsv
from lipsync.speech.export import lips_csv, lips_json
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import lips_for
from lipsync.speech.prior import bundled_lip_model
from lipsync.store.cache import Cache, content_hash
from lipsync.store.preflight import check_encoder, check_files, lips_format, written_whole
from lipsync.store.receipt import own_version
from lipsync.target.analyse import analyse
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
    validate(config)
    kind = lips_format(out, kind, rate)
    check_files([(speech, "speech file"), *([(target, "target video")] if target else [])], [out], force)
    if kind == "mp4":
        check_encoder(out, config.write)
    device = pick_device(config.device)
    wave = load_speech(speech, config.input_limits)
    model, source = _model_for(target, config, cache or Cache(config.cache.folder or None), device, hook)
    voice, rest = voice_activity(wave), model.rest
    said = model.to(device).predict(wave)
    clock = FrameClock.constant(max(1, round(wave.duration_s * _rate(kind, rate))), _rate(kind, rate))
    lips, voiced = lips_for(said, voice, clock, rest, config.lips.pause_s)
    cues = mouth_cues(lips_for(said, voice, None, rest, config.lips.pause_s)[0], voice, rest, wave.duration_s)
    about = {
        "made_by": f"lipsync {own_version()}",
        "speech": {"file": speech.name, "sha256": content_hash(speech), "duration_s": round(float(wave.duration_s), 6)},
        "model": {
            "source": source,
            "network": model.network,
            **{k: v for k, v in model.report.items() if k not in ("network", "curve")},
        },
    }
    if kind == "mp4":
        _write_film(out, speech, wave, lips, cues, rest, about, config, hook)
    else:
        texts = {
            "json": lambda: lips_json(lips, voiced, rest, about),
            "csv": lambda: lips_csv(lips, voiced),
            "rhubarb-json": lambda: rhubarb_json(cues, speech),
            "rhubarb-tsv": lambda: rhubarb_tsv(cues),
        }
        with written_whole(out) as part:
            part.write_text(texts[kind](), encoding="utf-8")
    notes = [*wave.notes, *filter(None, [model.report.get("warning")])]
    rows = len(cues) if kind.startswith("rhubarb") else len(lips)
    return {"path": str(out), "format": kind, "rows": rows, **about, "notes": notes}


def _rate(kind: str, rate: Fraction | None) -> Fraction:
    return rate or (FILM_RATE if kind == "mp4" else NUMBERS_RATE)


def _model_for(
    target: str | Path | None, config: DubConfig, cache: Cache, device: torch.device, hook: Hook
) -> tuple[LipModel, str]:
    """The model, and where it is from."""
    if target:
        subject = analyse(Path(target), config, cache, hook)
        model = lip_model_for(subject, config.lips, cache, device, hook)
        return model, config.lips.model or Path(target).name
    if config.lips.model:
        model = LipModel.load(Path(config.lips.model))
        return model, Path(config.lips.model).name
    model = bundled_lip_model()
    return model, "the bundled model"


def _write_film(
    out: Path,
    speech: Path,
    wave: Waveform,
    lips: LipTrack,
    cues: list[Cue],
    rest: np.ndarray,
    about: dict,
    config: DubConfig,
    hook: Hook,
) -> None:
    metadata = {
        "title": f"{speech.stem} (AI-generated lip animation)",
        "comment": f"AI-generated by {about['made_by']}: a drawing of lips predicted from sound. Speech sha256 "
        f"{about['speech']['sha256']}.",
        "digital_source_type": "compositeWithTrainedAlgorithmicMedia",
    }
    film = LipFilm(lips, wave.samples.numpy(), wave.rate, cues, rest, "lips predicted from the sound by lipsync")
    with VideoWriter(
        out,
        width=WIDTH,
        height=HEIGHT,
        clock=lips.frames,
        codec=config.write.codec,
        crf=config.write.crf,
        preset=config.write.preset,
        speech=speech,
        metadata=metadata,
        audio_end_s=lips.frames.duration_s + 1 / lips.frames.rate,
    ) as writer:
        for row, picture in enumerate(film.frames()):
            writer.write(torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous())
            hook("drawing", row + 1, len(lips))
