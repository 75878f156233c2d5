"""`lipsync compare`: texture methods on the same held-out frames of real footage, and a report of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from audio.load import Waveform, load_track
from audio.vad import voice_activity
from lipsync.config.load import to_plain, validate
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.progress import Hook, silent
from lipsync.core.runtime import pick_device
from lipsync.core.types import Footage, LipTrack, TargetAnalysis
from lipsync.evaluation.comparison import Ready
from lipsync.pipelines.models import lip_model_for, texture_facts, texture_for
from lipsync.render.loop import Scene, render
from lipsync.render.plan import faces_along, make_plan
from lipsync.speech.lip_model import LipModel
from lipsync.speech.predict import lips_for, predict_utterance, speech_embedding
from lipsync.store.cache import Cache, content_hash
from lipsync.store.preflight import check_encoder, check_files, check_readable
from lipsync.store.receipt import versions
from lipsync.store.registry import trained_on
from lipsync.target.analyse import analyse, follow_face
from lipsync.textures import get_method, texture_names
from media import MediaError
from video.clock import FrameClock
from video.write import VideoWriter

#: The longest new speech that is dubbed for the report, seconds, and how wide its face is shown there, pixels.
NEW_SPEECH_S, NEW_SPEECH_WIDTH = 6, 320
_CLIP = {"codec": "libx264", "crf": 24, "preset": "medium"}


def compare(
    target: str | Path,
    methods: Sequence[str] = (),
    out: str | Path = "report",
    config: DubConfig = DubConfig(),
    *,
    held_out: Sequence = (),
    footage: Sequence = (),
    speech: str | Path | None = None,
    method_files: Sequence = (),
    split: str | Path | None = None,
    true_lips_only: bool = False,
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
) -> dict:
    """Writes the folder `out` (index.html, results.json, results.csv, table.tex, split.json) and returns what
    results.json holds.

    methods: names, empty = all; method_files: Python files of more; held_out: other videos of the same person as the
    truth, else blocks of the target that nobody may learn from; split: a split.json of an earlier comparison; speech:
    dubbed by every method, as clips. A method that fails is a row of the report. UsageError, LipsyncError, MediaError:
    inputs that cannot be used; no report then."""
    from lipsync.evaluation.comparison import Comparison
    from lipsync.evaluation.held_out import make_held_out_clips
    from lipsync.evaluation.report import write_report
    from lipsync.evaluation.split import Split, learning_part, spread_blocks, whole_films

    target, out, held_out, footage = Path(target), Path(out), tuple(map(Path, held_out)), tuple(map(Path, footage))
    names = _names(methods, method_files)
    validate(config)
    _check(target, out, held_out, footage, speech, split, config, force)
    device = pick_device(config.device)
    cache = cache or Cache(config.cache.folder or None)
    started = time.monotonic()

    subject = analyse(target, config, cache, hook, footage)
    films = _truth_films(subject, held_out, config, cache, hook)
    chosen = Split.load(Path(split), films) if split else whole_films(films) if held_out else spread_blocks(films[0])
    learning = learning_part(subject, chosen, config, cache)
    with tempfile.TemporaryDirectory(prefix="lipsync-compare-") as work:
        clips = make_held_out_clips(chosen, films, learning, config, device, Path(work), hook)
        sounds = {film.video.sha256: _sound_of(film) for film in films}
        lips, said = {"true": [clip.plan.lips.points for clip in clips]}, {"true": "as tracked in the real frames"}
        if not true_lips_only:
            predicted, said["predicted"] = _predicted_lips(clips, sounds, learning, config, cache, device, hook)
            lips |= {} if predicted is None else {"predicted": predicted}
        saying = (
            _NewSpeech(Path(speech), subject, learning, config, device, Path(work), hook).prepare(cache)
            if speech
            else None
        )
        comparison = Comparison(clips, _heard_in(clips, sounds), learning, config, device, Path(work), hook)
        tried = []
        for name in names:
            make = lambda name=name: _ready(name, learning, config, cache, device, hook)  # noqa: E731
            tried.append(
                comparison.evaluate_method(Path(name).name, make, lips, saying.dub if saying else lambda ready: {})
            )
        about = {
            "made_by": versions(),
            "target": {"name": target.name, "sha256": subject.video.sha256},
            "footage": [{"name": film.video.path.name, "sha256": film.video.sha256} for film in subject.films[1:]],
            "mouths_learnt_from": len(learning.bank),
            "mouth_px": [learning.bank.space.width, learning.bank.space.height],
            "device": str(device),
            "lips": said,
            "bundled_networks": trained_on(),
            "config": to_plain(config),
            "seconds": round(time.monotonic() - started, 1),
            "notes": [*subject.notes, *_unused(films, chosen)],
        }
        out.mkdir(exist_ok=True)
        return write_report(out, about, chosen, comparison, tried)


def _names(methods: Sequence[str], method_files: Sequence) -> list[str]:
    """Every method once, in the order asked for; all that come with the program where none is named. UsageError: an
    unknown one."""
    names = list(dict.fromkeys([*(methods or texture_names()), *map(str, method_files)]))
    for name in names:
        if not name.endswith(".py") and name not in texture_names():
            get_method(name, None)  # raises, and says which is near
    return names


def _check(target: Path, out: Path, held_out, footage, speech, split, config: DubConfig, force: bool) -> None:
    """UsageError or LipsyncError before any work."""
    given = [
        (target, "target video"),
        *((path, "held-out video") for path in held_out),
        *((path, "footage") for path in footage),
    ]
    given += [(speech, "speech file")] if speech else []
    given += [(split, "split")] if split else []
    for path, role in given:
        check_readable(path, role)
    learnt = {content_hash(path): path for path in (target, *footage)}
    for path in held_out:
        if content_hash(path) in learnt:
            raise UsageError(
                f"The held-out video {path} is also learnt from ({learnt[content_hash(path)]}). Leave it out of one."
            )
    if out.exists() and not out.is_dir():
        raise LipsyncError(f"The report {out} is a file. Name a folder with -o.")
    check_files([], [out / "index.html", out / "results.json"] if out.is_dir() else [out], force)
    check_encoder(out / "floor.mp4", config.write)


def _truth_films(
    subject: TargetAnalysis, held_out: Sequence[Path], config: DubConfig, cache: Cache, hook: Hook
) -> list[Footage]:
    if not held_out:
        return [subject.films[0]]
    free = replace(
        config, face=replace(config.face, index=-1, at=None)
    )  # which face of the target is meant says nothing of another film
    return [follow_face(path, free, cache, hook) for path in held_out]


def _unused(films: Sequence[Footage], split) -> list[str]:
    used = {block.film for block in split.blocks}
    return [
        f"Held-out video {film.video.path.name} shows no usable face for long enough."
        for i, film in enumerate(films)
        if i not in used
    ]


def _sound_of(film: Footage) -> Waveform | None:
    try:
        return load_track(film.video.path, film.stream.limits)
    except MediaError:
        return None


def _heard_in(clips, sounds: dict) -> list[np.ndarray | None]:
    """For each exam what methods that hear are given: (N,256) of its rows."""
    films = {film.video.sha256: film for film in _films_of(clips)}
    of_film = {
        sha256: speech_embedding(wave, films[sha256].video.clock)
        for sha256, wave in sounds.items()
        if wave is not None and sha256 in films
    }
    return [
        of_film[clip.film.video.sha256][clip.plan.source] if clip.film.video.sha256 in of_film else None
        for clip in clips
    ]


def _predicted_lips(
    clips, sounds: dict, learning: TargetAnalysis, config: DubConfig, cache: Cache, device: torch.device, hook: Hook
):
    """For each exam lips said by its sound, of a model that learned from the learning part alone, and its report; or
    (None, why)."""
    if not all(sounds[clip.film.video.sha256] for clip in clips):
        return None, "not compared: the held-out footage has no sound."
    try:
        model = lip_model_for(learning, config.lips, cache, device, hook)
    except LipsyncError as error:
        return None, f"not compared: {error}"
    spoken = {
        sha256: _spoken(wave, film.video.clock, model, config)
        for film in _films_of(clips)
        for sha256, wave in [(film.video.sha256, sounds[film.video.sha256])]
    }
    return [spoken[clip.film.video.sha256].points[clip.plan.source] for clip in clips], {
        k: v for k, v in model.report.items() if k != "curve"
    }


def _spoken(wave: Waveform, clock: FrameClock, model: LipModel, config: DubConfig) -> LipTrack:
    """Lips for the sound at the frames of `clock`, closed in its pauses."""
    return lips_for(model.predict(wave), voice_activity(wave), clock, model.rest, config.lips.pause_s)[0]


def _ready(name: str, learning: TargetAnalysis, config: DubConfig, cache: Cache, device: torch.device, hook: Hook):
    """The method, trained on the learning part where it learns (cached by content), ready to draw."""
    from lipsync.evaluation.comparison import Ready

    method = texture_for(
        learning, replace(config, texture=name, texture_weights="", train_texture=True), cache, device, hook
    )
    return Ready(method, {"parameters": 0, **texture_facts(method)})


@dataclass
class _NewSpeech:
    """New speech said by every method: a short film of the face, with its sound, for the report."""

    speech: Path
    subject: TargetAnalysis
    learning: TargetAnalysis
    config: DubConfig
    device: torch.device
    folder: Path
    hook: Hook

    def prepare(self, cache: Cache) -> _NewSpeech:
        subject, config = self.subject, self.config
        model = lip_model_for(self.learning, config.lips, cache, self.device, self.hook)
        self.said = predict_utterance(
            self.speech, model, subject.video.clock, config, embed=True, preview_s=NEW_SPEECH_S
        )
        self.plan = make_plan(self.said.lips, self.said.voiced, subject, config)
        faces = faces_along(subject.track, self.plan, config.composite.fade_rows)
        self.scene = Scene(subject.films[0].stream, faces, self.learning.bank.space, self.learning.teeth)
        self.part, self.size = self._face()
        return self

    def dub(self, ready: Ready) -> dict:
        """{"said": the film's path}."""
        path = self.folder / f"said-{len(list(self.folder.glob('said-*.mp4')))}.mp4"
        size = dict(zip(("height", "width"), self.size, strict=True))
        sound = {"speech": self.speech, "audio_end_s": self.said.length_s}
        drawn = render(self.plan, self.scene, ready.method, self.config, self.device, speech=self.said.embedding)
        with VideoWriter(path, clock=self.plan.clock, **size, **sound, **_CLIP) as writer:
            for rows, frames in drawn:
                face = frames[:, :, self.part[0], self.part[1]].float()
                small = torch.nn.functional.interpolate(face, self.size, mode="bilinear", antialias=True)
                writer.write(small.round().clamp(0, 255).to(torch.uint8))
                self.hook(f"{ready.method.name}, new speech", rows.stop, len(self.plan))
        return {"said": str(path)}

    def _face(self) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """The part of the frame in which the face moves, and the (even) size at which it is shown."""
        video, landmarks = (
            self.subject.video,
            self.subject.track.landmarks[self.plan.source[self.plan.render]].reshape(-1, 2),
        )
        low, high = landmarks.min(0), landmarks.max(0)
        wider = 0.25 * (high - low).max()
        low, high = np.clip([low - wider, high + wider], 0, [video.width, video.height]).astype(int)
        width = min(NEW_SPEECH_WIDTH, int(high[0] - low[0])) // 2 * 2
        return (slice(low[1], high[1]), slice(low[0], high[0])), (
            round(width * (high[1] - low[1]) / (high[0] - low[0])) // 2 * 2,
            width,
        )


def _films_of(clips) -> list[Footage]:
    return list({clip.film.video.sha256: clip.film for clip in clips}.values())
