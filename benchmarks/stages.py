"""Seconds of every stage of one dub, in a process of its own, as JSON.  python -m benchmarks.stages TARGET SPEECH OUT
--cache FOLDER [--set SECTION.KEY=VALUE] [--profile FILE.svg]

The stages are functions of the product, wrapped here from outside. A stage's time is its own: what it calls that is a
stage of its own counts there. Stages run side by side in several threads, so that their seconds add up to more than the
clock's; a thread that waits for another one counts as "waiting"."""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import inspect
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

#: Stage -> where its functions stand: "module:name" or "module:Class.name".
STAGES: dict[str, tuple[str, ...]] = {
    "decode": ("video.read:_Reel.frame",),
    "colour conversion": (
        "video.colour:Converter.planes",
        "video.colour:Converter.frame",
        "video.read:_Reel.copy",
        "video.samples:drawn_over",
        "video.samples:Painter.frame",
    ),
    "flow": ("video.flow:half_step",),
    "query": ("lipsync.render.plan:build_query",),
    "candidates": (
        "lipsync.textures.candidates:Candidates.for_query",
        "lipsync.textures.candidates:CandidateWarp.fields",
    ),
    "warp and median": ("lipsync.textures.warped_median:warped_medians",),
    "sharpening": ("lipsync.textures.candidates:resharpened", "lipsync.textures.detail:with_detail"),
    "teeth": ("lipsync.render.teeth:sharpen_teeth",),
    "composite": ("lipsync.render.composite:composite",),
    "doubt": ("lipsync.pipelines.doubt:DubDoubt.watch",),
    "encode": ("video.write:VideoWriter._encode_all",),
    "waiting for work": ("video.write:VideoWriter._frames",),
    "waiting": ("video.prefetch:ahead", "video.write:VideoWriter._offer"),
}


class StageClock:
    """Adds up the time of wrapped functions. wall_s, processor_s: seconds by stage (processor: of the calling thread,
    without threads that a library keeps)."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = defaultdict(float)
        self.processor_s: dict[str, float] = defaultdict(float)
        self._lock, self._local = threading.Lock(), threading.local()

    def timed(self, stage: str, call: Callable[[], Any]) -> Any:
        """What `call` returns; its time, less that of stages inside it, is the stage's."""
        stack: list[list[float]] = self._local.__dict__.setdefault("stack", [])
        stack.append([0.0, 0.0])
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            return call()
        finally:
            spent = time.perf_counter() - wall, time.thread_time() - processor
            inside = stack.pop()
            if stack:
                stack[-1][0] += spent[0]
                stack[-1][1] += spent[1]
            with self._lock:
                self.wall_s[stage] += spent[0] - inside[0]
                self.processor_s[stage] += spent[1] - inside[1]

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or generator function, with its time taken."""

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            return self.timed(stage, lambda: function(*args, **options))

        @functools.wraps(function)
        def generate(*args: Any, **options: Any) -> Generator[Any]:
            items, end = iter(function(*args, **options)), object()
            try:
                while (item := self.timed(stage, lambda: next(items, end))) is not end:
                    yield item
            finally:
                items.close()

        return generate if inspect.isgeneratorfunction(function) else call

    def watch(self, stage: str, place: str) -> None:
        """Wraps the function at `place` wherever the product's modules hold it. LookupError: it is not there."""
        owner, name, function = found(place)
        wrapped = self.wrapped(stage, function)
        replace_everywhere(owner, name, function, wrapped)


def found(place: str) -> tuple[Any, str, Callable[..., Any]]:
    """(module or class, name in it, function) at "module:name" or "module:Class.name". LookupError: nothing there."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    try:
        for each in classes:
            owner = getattr(owner, each)
        return owner, name, getattr(owner, name)
    except AttributeError as error:
        raise LookupError(f"{place} is gone: name what took its place in benchmarks/stages.py.") from error


def replace_everywhere(owner: Any, name: str, old: object, new: object) -> None:
    """Sets `name` of `owner`, and every global of a loaded module that is the same object."""
    setattr(owner, name, new)
    for module in list(sys.modules.values()):
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if value is old:
                setattr(module, key, new)


class Moments:
    """Seconds, processor time and memory at the first frame that a dub hands to its writer, and at its end."""

    def __init__(self, started: float) -> None:
        self.started = started  #: time.time() before the process
        self.opened = False
        self.first: tuple[float, float] | None = None

    def now(self) -> tuple[float, float]:
        """(seconds since the process was started, its processor time)."""
        return time.time() - self.started, time.process_time()

    def install(self) -> None:
        """Watches the writers that `dub` opens, not those that try the encoder beforehand."""
        for place in ("lipsync.pipelines.output:open_writer", "video.write:VideoWriter.write"):
            owner, name, function = found(place)
            replace_everywhere(owner, name, function, self._noticed(name, function))

    def _noticed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if name == "open_writer":
                self.opened = True
            elif self.opened and self.first is None:
                self.first = self.now()
            return function(*args, **options)

        return call


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    options.add_argument("target", type=Path)
    options.add_argument("speech", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--cache", type=Path, required=True)
    options.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options.add_argument("--started", type=float, default=time.time(), help="time.time() before this process")
    options.add_argument("--stages", action="store_true", help="time the stages, too")
    options.add_argument("--profile", type=Path, metavar="FILE.svg", help="write a flame graph")
    args = options.parse_args()
    print(json.dumps(_dub(args)))


def _dub(args: argparse.Namespace) -> dict[str, Any]:
    """Dubs as the command does; what was measured."""
    from lipsync.core.environment import prepare_environment

    gc.set_threshold(200_000)  # as the command does
    prepare_environment()
    from benchmarks.sampler import Sampler
    from lipsync.config.load import load
    from lipsync.pipelines.dub import dub
    from lipsync.store.cache import Cache

    imported = time.time() - args.started
    moments, clock = Moments(args.started), StageClock()
    config = load(None, args.set)
    if args.stages:
        for stage, places in STAGES.items():
            for place in places:
                clock.watch(stage, place)
    moments.install()
    sampler = Sampler() if args.profile else None
    if sampler is not None:
        sampler.start()
    receipt = dub(args.target, args.speech, args.out, config, cache=Cache(args.cache), force=True)
    if sampler is not None:
        sampler.stop()
        sampler.save(args.profile, f"lipsync dub {args.target.name}")
    return _measured(receipt, moments, clock) | {"import_s": imported}


def _measured(receipt: Any, moments: Moments, clock: StageClock) -> dict[str, Any]:
    end_s, end_processor_s = moments.now()
    first_s, first_processor_s = moments.first or (end_s, end_processor_s)
    frames, size = receipt.output.frames, max(1, receipt.output.frames)
    return {
        "frames": frames,
        "first_frame_s": first_s,
        "whole_s": end_s,
        "drawing_s": end_s - first_s,
        "processor_s": end_processor_s,
        "drawing_processor_s": end_processor_s - first_processor_s,
        "seconds": receipt.seconds,
        "stages_ms_per_frame": {k: round(1000 * v / size, 2) for k, v in sorted(clock.wall_s.items())},
        "stages_processor_ms_per_frame": {k: round(1000 * v / size, 2) for k, v in sorted(clock.processor_s.items())},
    }


if __name__ == "__main__":
    main()
