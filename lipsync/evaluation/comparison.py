"""Texture methods side by side on the same held-out frames: the same lips, the same compositing, the same encoder, the
same measures."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lipsync.config.schema import BlendName, DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.progress import Hook, silent
from lipsync.core.texture import MouthTexture, TextureMethod, TextureQuery
from lipsync.core.types import LipTrack, MouthSpace, TargetAnalysis
from lipsync.evaluation.held_out import HeldOutClip
from lipsync.evaluation.judge import Judge, Rows
from lipsync.face.registry import get_backend
from lipsync.learning.losses import Losses
from lipsync.render.blends.base import Join
from lipsync.render.blends.registry import get_blend
from lipsync.render.loop import Role, Scene, render
from media import MediaError
from video.clock import FrameBatch
from video.probe import VideoStream, probe
from video.read import read_rows
from video.write import VideoWriter


@dataclass(frozen=True, slots=True)
class PreparedMethod:
    """A method prepared for the learning part. facts: plain values for the report, such as its parameters and how it
    was trained; blend: how its mouths are put into the frame, "" = as the comparison's options say."""

    method: TextureMethod
    facts: dict = field(default_factory=dict)
    blend: BlendName | Literal[""] = ""

    def config(self, usual: DubConfig) -> DubConfig:
        """The options it is drawn with."""
        return replace(usual, composite=replace(usual.composite, blend=self.blend)) if self.blend else usual


class Comparison:
    """The held-out clips, and everything that is the same for all methods. real, floor, mouth_swapped: the rows of the
    table that are no method. speech_embedding: for each clip (N,256), or None."""

    def __init__(
        self,
        clips: Sequence[HeldOutClip],
        speech_embedding: Sequence[np.ndarray | None],
        learning: TargetAnalysis,
        config: DubConfig,
        device: torch.device,
        folder: Path,
        hook: Hook = silent,
    ) -> None:
        self.clips, self.speech_embedding, self.learning = clips, speech_embedding, learning
        self.config, self.device, self.folder, self.hook = config, device, folder, hook
        self.losses, backend = Losses(device), get_backend(config.face.backend, config.face)
        self.judges = [Judge(clip, learning.bank.space, config, self.losses, backend) for clip in clips]
        self.real = [judge.real for judge in self.judges]

        def copy_filmed(number: int, path: Path) -> None:
            self._copy(clips[number].footage.stream, clips[number].plan.source, clips[number], path)

        def copy_swapped(number: int, path: Path) -> None:
            self._copy(clips[number].mouth_swapped, np.arange(len(clips[number])), clips[number], path)

        self.floor = self._measured("re-encoding floor", copy_filmed)
        self.mouth_swapped = self._measured("disguised", copy_swapped)

    def evaluate_method(
        self,
        name: str,
        make: Callable[[], PreparedMethod],
        lips: Mapping[str, Sequence[np.ndarray]],
        then: Callable[[PreparedMethod], dict] = lambda prepared: {},
    ) -> dict:
        """What the report says of a method: its facts, and for each kind of lips its measures; or {"failed": why}.

        lips: by kind, for each clip (N,18,2) in the face frame; then: more to do with the method.
        """
        found: dict = {"name": name, "lips": {}}
        try:
            make()  # what must be learned is learned and kept: memory and seconds below are those of a later use
            memory = PeakMemory(self.device)
            with memory:
                start = time.perf_counter()
                prepared = make()
                prepare_s = round(time.perf_counter() - start, 2)
                self._warm(prepared)
            for kind, wanted in lips.items():
                found["lips"][kind] = self._dubbed(name, kind, prepared, wanted, memory)
            found |= prepared.facts | {
                "prepare_s": prepare_s,
                "memory_mib": memory.mib,
                "gpu_memory_mib": memory.gpu_mib,
            }
            return found | then(prepared)
        except Exception as error:  # a stranger's method may raise anything, and the others go on
            return {"name": name, "failed": failure_text(error)}
        finally:
            gc.collect()

    def _dubbed(
        self, name: str, kind: str, prepared: PreparedMethod, lips: Sequence[np.ndarray], memory: PeakMemory
    ) -> dict:
        spent = Spent()

        def draw(number: int, path: Path) -> None:
            with memory:
                self._draw(prepared, number, lips[number], path, spent)

        rows = self._measured(f"{name}, {kind} lips", draw)
        return {"judged": rows, "seconds_per_frame": spent.per_frame()}

    def _measured(self, what: str, write: Callable[[int, Path], None]) -> list[Rows]:
        """Every clip written by `write`, read back, and judged."""
        rows, done, total = [], 0, sum(map(len, self.clips))
        for number, (clip, judge) in enumerate(zip(self.clips, self.judges, strict=True)):
            path = self.folder / f"{_file_name(what)}-{number}.mp4"
            write(number, path)
            rows.append(judge.judge(probe(path)))
            done += len(clip)
            self.hook(what, done, total)
        return rows

    def _warm(self, prepared: PreparedMethod) -> None:
        """The first batch once, untimed: compilers and libraries take their time at first use."""
        clip = self.clips[0]
        next(self._render(prepared, 0, clip.plan.lips.points, Spent()))

    def _copy(self, stream: VideoStream, frames: np.ndarray, clip: HeldOutClip, path: Path) -> None:
        with self._writer(clip, path) as writer:
            for _, batch in read_rows(stream, frames, self.config.batch):
                writer.write(batch.rgb)

    def _draw(self, prepared: PreparedMethod, number: int, points: np.ndarray, path: Path, spent: Spent) -> None:
        """Writes the clip dubbed with these lips."""
        start, clip = time.perf_counter(), self.clips[number]
        with self._writer(clip, path) as writer:
            for _, frames, _ in self._render(prepared, number, points, spent):
                writer.write(frames)
        spent.whole_s += time.perf_counter() - start
        spent.n_rows += len(clip)

    def _render(
        self, prepared: PreparedMethod, number: int, points: np.ndarray, spent: Spent
    ) -> Iterator[tuple[slice, torch.Tensor, FrameBatch]]:
        """The clip with these lips drawn by the method, timed and checked."""
        clip, learning, n = self.clips[number], self.learning, len(points)
        method, config = prepared.method, prepared.config(self.config)
        lips = LipTrack(points, np.ones(n, bool), clip.plan.clock)
        plan = replace(clip.plan, lips=lips, source=np.arange(n), half=np.zeros(n, bool))  # its frames stand in a file
        scene = Scene.of(clip.mouth_swapped, clip.faces, learning)

        def answer(query: TextureQuery) -> MouthTexture:
            drawing = time.perf_counter()
            mouth = validate_texture(method.render(query), len(query.lips) - 2 * method.radius, learning.bank.space)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            spent.render_s += time.perf_counter() - drawing
            return mouth

        blend = TimedBlend(get_blend(config.composite, self.device), spent)
        speech = self.speech_embedding[number]
        return render(
            [Role.of(plan, scene, method, config, speech=speech, answer=answer)], config, self.device, blend=blend
        )

    def _writer(self, clip: HeldOutClip, path: Path) -> VideoWriter:
        stream, write = clip.footage.stream, self.config.write
        return VideoWriter(
            path,
            width=stream.width,
            height=stream.height,
            clock=clip.plan.clock,
            colour=stream.colour,
            codec=write.codec,
            crf=write.crf,
            preset=write.preset,
        )


@dataclass(slots=True)
class Spent:
    """Seconds over so many rows: in `render` alone, in the blend alone, and for everything from reading to encoding."""

    render_s: float = 0.0
    blend_s: float = 0.0
    whole_s: float = 0.0
    n_rows: int = 0

    def per_frame(self) -> dict[str, float]:
        n = max(1, self.n_rows)
        return {"render": self.render_s / n, "blend": self.blend_s / n, "whole": self.whole_s / n}


class TimedBlend:
    """A blend that tells `spent` the seconds it takes."""

    def __init__(self, blend: Join, spent: Spent) -> None:
        self.blend, self.spent = blend, spent

    def __call__(self, under: torch.Tensor, over: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        out = self.blend(under, over, mask)
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        self.spent.blend_s += time.perf_counter() - start
        return out


class PeakMemory:
    """How far this process's resident memory rises, while this is entered, above where it stood at the first entry;
    sampled. mib is None where the system does not tell."""

    every_s = 0.02

    def __init__(self, device: torch.device) -> None:
        self._device, self._peak = device, 0.0
        self._start: float | None = None

    def __enter__(self) -> PeakMemory:
        if self._start is None:
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self._device)
            self._start = resident_mib()
            self._peak = self._start or 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mib(self) -> float | None:
        return None if self._start is None else round(self._peak - self._start, 1)

    @property
    def gpu_mib(self) -> float | None:
        return round(torch.cuda.max_memory_allocated(self._device) / 2**20, 1) if self._device.type == "cuda" else None

    def _sample(self) -> None:
        while self._start is not None and not self._stop.wait(self.every_s):
            self._peak = max(self._peak, resident_mib() or 0.0)


def resident_mib() -> float | None:
    """Of this process, now; None where /proc does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), None)


def validate_texture(mouth: MouthTexture, n: int, space: MouthSpace) -> MouthTexture:
    """The mouths of n rows. LipsyncError: it is not of the protocol's shapes, or not numbers."""
    height, width = space.height, space.width
    for name, shape in (("rgb", (n, 3, height, width)), ("alpha", (n, 1, height, width)), ("jaw", (n, 17, 2))):
        got = getattr(mouth, name, None)
        if not isinstance(got, torch.Tensor) or tuple(got.shape) != shape:
            what = tuple(got.shape) if isinstance(got, torch.Tensor) else type(got).__name__
            raise LipsyncError(f"render() must return {name} of shape {shape}; it returned {what}.")
        if not bool(torch.isfinite(got).all()):
            raise LipsyncError(f"render() returned {name} with values that are not numbers.")
    return mouth


def failure_text(error: Exception) -> str:
    """Why a method failed, in one line."""
    text = " ".join(str(error).split()) or "no reason given"
    return text if isinstance(error, (LipsyncError, MediaError)) else f"{type(error).__name__}: {text}"


def _file_name(text: str) -> str:
    """Letters, digits and a hash that keeps alike names apart."""
    plain = "".join(c if c.isalnum() else "-" for c in text)[:40]
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
