"""`lipsync compare`: texture methods, or ways to blend, on the same held-out frames of real footage, and a report."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch

from audio.load import Waveform, load_track
from lipsync.config.load import changed_settings, to_plain, validate
from lipsync.config.schema import BlendName, DubConfig
from lipsync.core.errors import LipsyncError, UsageError
from lipsync.core.machine import commit, machine
from lipsync.core.progress import Hook, Whole, silent
from lipsync.core.runtime import pick_device
from lipsync.core.types import DubPlan, Footage, TargetAnalysis
from lipsync.evaluation.comparison import Comparison, PreparedMethod
from lipsync.evaluation.held_out import HeldOutClip, make_held_out_clips
from lipsync.evaluation.report import write_report
from lipsync.evaluation.split import MOST_S, SHARE, Split, learning_part, spread_blocks, whole_videos
from lipsync.pipelines.estimate import Material, disguise_s, draw_s, follow_all_s, judge_s, learn_lips_s
from lipsync.pipelines.models import lip_model_for, texture_facts, texture_for
from lipsync.render.loop import Role, Scene, render
from lipsync.render.plan import faces_along, make_plan
from lipsync.speech.predict import Utterance, lips_for, predict_utterance, speech_embedding
from lipsync.speech.voice import voice_activity
from lipsync.store.cache import Cache, content_hash
from lipsync.store.preflight import check_encoder, check_files, check_readable
from lipsync.store.receipt import versions
from lipsync.store.registry import trained_on
from lipsync.target.analyse import analyse, follow_face, of_person
from lipsync.textures import get_method, texture_names
from lipsync.textures.trainable import TrainableTexture, as_trainable
from media import MediaError
from video.write import VideoWriter

#: The longest new speech that is dubbed for the report, seconds, and how wide its face is shown there, pixels.
NEW_SPEECH_S, NEW_SPEECH_WIDTH = 6, 320
#: The sound of each video that holds truth, by its SHA-256; None where it has none.
_Sounds: TypeAlias = Mapping[str, Waveform | None]


def compare(
    target: str | Path,
    methods: Sequence[str] = (),
    out: str | Path = "report",
    config: DubConfig = DubConfig(),
    *,
    held_out: Sequence[str | Path] = (),
    footage: Sequence[str | Path] = (),
    speech: str | Path | None = None,
    method_files: Sequence[str | Path] = (),
    split: str | Path | None = None,
    true_lips_only: bool = False,
    blends: Sequence[str] = (),
    cache: Cache | None = None,
    hook: Hook = silent,
    force: bool = False,
) -> dict:
    """Writes the folder `out` (index.html, results.json, results.csv, table.tex, split.json) and returns what
    results.json holds.

    methods: names, empty = all; method_files: Python files of more; held_out: other videos of the same person as the
    truth, else blocks of the target that nobody may learn from; split: a split.json of an earlier comparison; speech:
    dubbed by every method, as clips; blends: compare these ways to blend, or ("all",), instead of textures: one
    texture (the one method named, else the config's) drawn with true lips. A method that fails is a row of the report.
    UsageError, LipsyncError, MediaError: inputs that cannot be used; no report then."""
    validate(config)
    candidates = _blends(blends, methods, method_files, config) if blends else _textures(methods, method_files)
    videos = tuple(map(Path, held_out)), tuple(map(Path, footage))
    files = _Files(Path(target), Path(out), *videos, Path(speech) if speech else None, Path(split) if split else None)
    files.check(config, force)
    stage = _Stage(config, cache or Cache.of(config.cache), pick_device(config.device), hook)
    true_lips_only = true_lips_only or bool(blends)
    stage = replace(stage, hook=Whole(hook, _expected_s(candidates, files, stage, true_lips_only)))
    about = {
        "command": _command(candidates, files, config, true_lips_only),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    with tempfile.TemporaryDirectory(prefix="lipsync-compare-") as work:
        return _compared(candidates, files, stage, true_lips_only, Path(work), about)


@dataclass(frozen=True, slots=True)
class _Files:
    """What is read and where the report goes."""

    target: Path
    out: Path
    held_out: tuple[Path, ...]
    footage: tuple[Path, ...]
    speech: Path | None
    split: Path | None

    def check(self, config: DubConfig, force: bool) -> None:
        """UsageError or LipsyncError before any work."""
        roles: list[tuple[Path, str]] = [(self.target, "target video")]
        roles += [(path, "held-out video") for path in self.held_out] + [(path, "footage") for path in self.footage]
        roles += [(path, role) for path, role in ((self.speech, "speech file"), (self.split, "split")) if path]
        for path, role in roles:
            check_readable(path, role)
        learnt = {content_hash(path): path for path in (self.target, *self.footage)}
        for path in self.held_out:
            if content_hash(path) in learnt:
                raise UsageError(
                    f"The held-out video {path} is also learnt from ({learnt[content_hash(path)]}). "
                    "Leave it out of one."
                )
        out = self.out
        if out.exists() and not out.is_dir():
            raise LipsyncError(f"The report {out} is a file. Name a folder with -o.")
        check_files([], [out / "index.html", out / "results.json"] if out.is_dir() else [out], force)
        check_encoder(out / "floor.mp4", config.write)


@dataclass(frozen=True, slots=True)
class _Stage:
    """How everything is computed."""

    config: DubConfig
    cache: Cache
    device: torch.device
    hook: Hook


def _compared(
    candidates: Sequence[_Candidate], files: _Files, stage: _Stage, true_lips_only: bool, work: Path, about: dict
) -> dict:
    started = time.monotonic()
    config, cache, device, hook = stage.config, stage.cache, stage.device, stage.hook
    subject = analyse(files.target, config, cache, hook, files.footage)
    truth = _truth(subject, files.held_out, stage)
    split = _split(files, truth)
    learning = learning_part(subject, split, config, cache)
    clips = make_held_out_clips(split, truth, learning, config, device, work, hook)
    sounds = {one.video.sha256: _sound_of(one) for one in truth}
    lips, lip_sources = _lips(clips, sounds, learning, stage, true_lips_only)
    new_speech = _NewSpeech.of(files.speech, subject, learning, stage, work) if files.speech else None
    comparison = Comparison(clips, _speech_embeddings(clips, sounds), learning, config, device, work, hook)
    tried = [
        comparison.evaluate_method(
            one.name,
            partial(_prepared, one, learning, stage),
            lips,
            new_speech.dub if new_speech else lambda prepared: {},
        )
        for one in candidates
    ]
    about |= _about(subject, learning, stage, lip_sources) | {
        "compared": "blends" if candidates[0].blend else "textures",
        "texture": candidates[0].texture if candidates[0].blend else "",
        "seconds": round(time.monotonic() - started, 1),
        "notes": [*subject.notes, *_unused(truth, split)],
    }
    files.out.mkdir(exist_ok=True)
    return write_report(files.out, about, split, comparison, tried)


def _expected_s(
    candidates: Sequence[_Candidate], files: _Files, stage: _Stage, true_lips_only: bool
) -> dict[str, float]:
    """Seconds of each step, about, in their order, by the names that progress has."""
    config, cache = stage.config, stage.cache
    target, *more = (Material.of(path, config, cache) for path in (files.target, *files.footage))
    truth = [Material.of(path, config, cache) for path in files.held_out]
    whole_s = target.duration_s or 1.0
    n = sum(one.frames for one in truth) or round(target.frames * min(SHARE, MOST_S / whole_s))
    mpx = max(one.mpx for one in (*truth, target))
    judged_s, drawn_s = judge_s(n, mpx), draw_s(n, mpx)
    expected = {"faces": follow_all_s([target, *more, *truth]), "disguise": disguise_s(n, mpx)}
    if files.speech or not true_lips_only:
        expected["lips"] = learn_lips_s(sum(one.duration_s for one in (target, *more)), config.lips)
    expected |= {"re-encoding floor": 2 * judged_s, "disguised": judged_s}  # the real frames are judged, too
    for one in candidates:
        learner = _learner(one, stage)
        if learner is not None:
            expected.setdefault(f"texture {learner.name}", learner.config.steps * learner.step_s)
        for kind in ("true",) if true_lips_only else ("true", "predicted"):
            expected[f"{one.name}, {kind} lips"] = drawn_s + judged_s
        if files.speech:
            expected[f"{one.name}, new speech"] = draw_s(round(NEW_SPEECH_S * target.frames / whole_s), target.mpx)
    return expected


def _learner(one: _Candidate, stage: _Stage) -> TrainableTexture | None:
    try:
        return as_trainable(get_method(one.texture, stage.config))
    except Exception:  # a stranger's method may raise anything: its row of the table will say so
        return None


def _command(candidates: Sequence[_Candidate], files: _Files, config: DubConfig, true_lips_only: bool) -> str:
    """The command line that does the same, with files by their names alone."""
    words = ["lipsync", "compare", files.target.name]
    textures = list(dict.fromkeys(one.texture for one in candidates))
    names = [name for name in textures if not name.endswith(".py")]
    words += ["--methods", ",".join(names)] if names else []
    for option, paths in (
        ("--method-file", [Path(name) for name in textures if name.endswith(".py")]),
        ("--held-out", files.held_out),
        ("--footage", files.footage),
        ("--speech", [files.speech] if files.speech else []),
        ("--split", [files.split] if files.split else []),
    ):
        words += [word for path in paths for word in (option, path.name)]
    if candidates[0].blend:
        words += ["--blends", ",".join(one.blend for one in candidates)]
    elif true_lips_only:
        words.append("--true-lips-only")
    words += [word for setting in changed_settings(config) for word in ("--set", setting)]
    return shlex.join([*words, "-o", files.out.name or "report"])


def _about(
    subject: TargetAnalysis, learning: TargetAnalysis, stage: _Stage, lip_sources: Mapping[str, str | dict]
) -> dict:
    """What was compared on what, as results.json says it."""
    return {
        "made_by": versions(),
        "target": {"name": subject.video.path.name, "sha256": subject.video.sha256},
        "footage": [{"name": one.video.path.name, "sha256": one.video.sha256} for one in subject.films[1:]],
        "mouths_learnt_from": len(learning.bank),
        "mouth_px": [learning.bank.space.width, learning.bank.space.height],
        "device": str(stage.device),
        "lips": lip_sources,
        "bundled_networks": trained_on(),
        "config": to_plain(stage.config),
    }


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row of the table. texture: a method's name or file; blend: "" = as the options say."""

    name: str
    texture: str
    blend: BlendName | Literal[""] = ""


def _textures(methods: Sequence[str], method_files: Sequence) -> list[_Candidate]:
    return [_Candidate(Path(name).name, name) for name in _names(methods, method_files)]


def _blends(
    blends: Sequence[str], methods: Sequence[str], method_files: Sequence, config: DubConfig
) -> list[_Candidate]:
    """Ways to blend one texture, each once. UsageError: an unknown one, or several textures."""
    known: tuple[BlendName, ...] = get_args(BlendName)
    for name in blends:
        if name not in (*known, "all"):
            raise UsageError(f"There is no way to blend {name!r}; known: {', '.join(known)}, all.")
    textures = _names([*methods, *map(str, method_files)] or [config.texture], ())
    if len(textures) != 1:
        raise UsageError("Ways to blend are compared on one texture: name one with --methods.")
    chosen: list[BlendName] = list(known) if "all" in blends else [name for name in known if name in blends]
    return [_Candidate(name, textures[0], name) for name in chosen]


def _names(methods: Sequence[str], method_files: Sequence) -> list[str]:
    """Every method once, in the order asked for; all that come with the program where none is named. UsageError: an
    unknown one."""
    names = list(dict.fromkeys([*(methods or texture_names()), *map(str, method_files)]))
    for name in names:
        if not name.endswith(".py") and name not in texture_names():
            get_method(name, DubConfig())  # raises, and says which is near
    return names


def _truth(subject: TargetAnalysis, held_out: Sequence[Path], stage: _Stage) -> list[Footage]:
    """What holds the held-out frames: the other videos, or the target."""
    if not held_out:
        return [subject.films[0]]
    # which face of the target is meant says nothing of another video
    return [follow_face(path, of_person(stage.config, -1), stage.cache, stage.hook) for path in held_out]


def _split(files: _Files, truth: Sequence[Footage]) -> Split:
    if files.split:
        return Split.load(files.split, truth)
    return whole_videos(truth) if files.held_out else spread_blocks(truth[0])


def _unused(truth: Sequence[Footage], split: Split) -> list[str]:
    used = {block.video for block in split.blocks}
    return [
        f"Held-out video {one.video.path.name} shows no usable face for long enough."
        for i, one in enumerate(truth)
        if i not in used
    ]


def _sound_of(footage: Footage) -> Waveform | None:
    try:
        return load_track(footage.video.path, footage.stream.limits)
    except MediaError:
        return None


def _speech_embeddings(clips: Sequence[HeldOutClip], sounds: _Sounds) -> list[np.ndarray | None]:
    """For each clip (N,256) of its rows, for methods that need speech; None without sound."""
    embeddings = {}
    for one in _footage_of(clips):
        wave = sounds[one.video.sha256]
        if wave is not None:
            embeddings[one.video.sha256] = speech_embedding(wave, one.video.clock)
    found = [(clip, embeddings.get(clip.footage.video.sha256)) for clip in clips]
    return [None if rows is None else rows[clip.plan.source] for clip, rows in found]


def _lips(
    clips: Sequence[HeldOutClip], sounds: _Sounds, learning: TargetAnalysis, stage: _Stage, true_lips_only: bool
) -> tuple[dict[str, list[np.ndarray]], dict[str, str | dict]]:
    """By kind of lips: those of each clip (N,18,2), and where they come from or why they are not compared."""
    lips = {"true": [clip.plan.lips.points for clip in clips]}
    sources: dict[str, str | dict] = {"true": "as tracked in the real frames"}
    if not true_lips_only:
        predicted, sources["predicted"] = _predicted_lips(clips, sounds, learning, stage)
        lips |= {} if predicted is None else {"predicted": predicted}
    return lips, sources


def _predicted_lips(
    clips: Sequence[HeldOutClip], sounds: _Sounds, learning: TargetAnalysis, stage: _Stage
) -> tuple[list[np.ndarray] | None, str | dict]:
    """For each clip the lips predicted from its sound, by a model that learned from the learning part alone, and its
    report; or (None, why)."""
    waves = {sha256: wave for sha256, wave in sounds.items() if wave is not None}
    if not all(clip.footage.video.sha256 in waves for clip in clips):
        return None, "not compared: the held-out footage has no sound."
    try:
        model = lip_model_for(learning.films, stage.config.lips, stage.cache, stage.device, stage.hook)
    except LipsyncError as error:
        return None, f"not compared: {error}"
    pause_s, points = stage.config.lips.pause_s, {}
    for one in _footage_of(clips):
        wave = waves[one.video.sha256]
        predicted = lips_for(model.predict(wave), voice_activity(wave), one.video.clock, model.rest, pause_s)[0]
        points[one.video.sha256] = predicted.points
    report = {name: value for name, value in model.report.items() if name != "curve"}
    return [points[clip.footage.video.sha256][clip.plan.source] for clip in clips], report


def _prepared(one: _Candidate, learning: TargetAnalysis, stage: _Stage) -> PreparedMethod:
    """Its method, trained on the learning part where it learns (cached by content), ready to draw."""
    config = replace(stage.config, texture=one.texture, texture_weights="", train_texture=True)
    method = texture_for(learning, config, stage.cache, stage.device, stage.hook)
    return PreparedMethod(method, {"parameters": 0, **texture_facts(method)}, one.blend)


@dataclass(frozen=True, slots=True)
class _NewSpeech:
    """New speech said by every method: a short clip of the face, with its sound, for the report.

    part: of the frame in which the face moves; size: (height, width), both even, at which it is shown."""

    speech: Path
    stage: _Stage
    folder: Path
    utterance: Utterance
    plan: DubPlan
    scene: Scene
    part: tuple[slice, slice]
    size: tuple[int, int]

    @classmethod
    def of(
        cls, speech: Path, subject: TargetAnalysis, learning: TargetAnalysis, stage: _Stage, folder: Path
    ) -> _NewSpeech:
        config = stage.config
        model = lip_model_for(learning.films, config.lips, stage.cache, stage.device, stage.hook)
        utterance = predict_utterance(speech, model, subject.video.clock, config, embed=True, preview_s=NEW_SPEECH_S)
        plan = make_plan(utterance.lips, utterance.voiced, subject, config)
        faces = faces_along(subject.track, plan, config.composite.fade_rows)
        scene = Scene.of(subject.films[0].stream, faces, learning)
        return cls(speech, stage, folder, utterance, plan, scene, *_face_part(subject, plan))

    def dub(self, prepared: PreparedMethod) -> dict[str, str]:
        """{"said": the clip's path}."""
        path = self.folder / f"said-{len(list(self.folder.glob('said-*.mp4')))}.mp4"
        height, width = self.size
        config, device, method = prepared.config(self.stage.config), self.stage.device, prepared.method
        one = Role.of(self.plan, self.scene, method, config, speech=self.utterance.embedding)
        drawn = render([one], config, device)
        with VideoWriter(
            path,
            width=width,
            height=height,
            clock=self.plan.clock,
            codec="libx264",
            crf=24,
            preset="medium",
            speech=self.speech,
            audio_end_s=self.utterance.length_s,
        ) as writer:
            for rows, frames, _ in drawn:
                face = frames[:, :, self.part[0], self.part[1]].float()
                small = torch.nn.functional.interpolate(face, self.size, mode="bilinear", antialias=True)
                writer.write(small.round().clamp(0, 255).to(torch.uint8))
                self.stage.hook(f"{method.name}, new speech", rows.stop, len(self.plan))
        return {"said": str(path)}


def _face_part(subject: TargetAnalysis, plan: DubPlan) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """The part of the frame in which the face moves, and the (even) size at which it is shown."""
    video, landmarks = subject.video, subject.track.landmarks[plan.source[plan.render]].reshape(-1, 2)
    low, high = landmarks.min(0), landmarks.max(0)
    wider = 0.25 * (high - low).max()
    low, high = np.clip([low - wider, high + wider], 0, [video.width, video.height]).astype(int)
    width = min(NEW_SPEECH_WIDTH, int(high[0] - low[0])) // 2 * 2
    height = round(width * (high[1] - low[1]) / (high[0] - low[0])) // 2 * 2
    return (slice(low[1], high[1]), slice(low[0], high[0])), (height, width)


def _footage_of(clips: Sequence[HeldOutClip]) -> list[Footage]:
    return list({clip.footage.video.sha256: clip.footage for clip in clips}.values())
