"""The sections of `benchmarks.gpu_check`, each in a process of its own: rows of JSON, written as they are found."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("median", "hybrid", "pix2pix")
#: Height -> rows of a warm dub, and rows of the one on the CPU that it is compared with.
ROWS = {720: (100, 25), 1080: (75, 15), 2160: (25, 5)}
#: The height at which a trace is kept.
_TRACED = 1080
RECIPES = ROOT / "training" / "recipes"
_CPU_TRAINS_S, _PROFILED_ROWS = 8.0, 16


def main() -> None:
    made = argparse.ArgumentParser()
    made.add_argument("section")
    made.add_argument("--pack", type=Path)
    made.add_argument("--rows-file", type=Path)
    made.add_argument("--device")
    made.add_argument("--train-seconds", type=float)
    made.add_argument("--share", type=float)
    args = made.parse_args()
    name, _, of = args.section.partition("-")
    check = Check(args)
    {"machine": machine, "tests": tests, "speed": speed, "train": train, "codecs": codecs}[name](check, of)


class Check:
    """What all sections need: the pack, the device, and where to write."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.pack, self.file, self.train_s, self.share = args.pack, args.rows_file, args.train_seconds, args.share
        self.name = args.device
        self.gpu = args.device != "cpu"

    def row(self, **values: Any) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(values) + "\n")

    def config(self, texture: str = "median", device: str | None = None, **options: Any) -> Any:
        from lipsync.config.schema import DubConfig

        made = DubConfig(texture=texture, device=device or self.name, **options)
        lips = replace(made.lips, model=str(self.pack / "lips.safetensors"))
        retime = replace(made.retime, length="bounce")
        cache = replace(made.cache, folder=str(self.pack / "cache"))
        return replace(made, lips=lips, cache=cache, retime=retime)

    def synchronize(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def target(self, height: int = 720) -> Path:
        return self.pack / f"target-{height}p.mp4"


def machine(check: Check, _: str) -> None:
    """What it runs on. LipsyncError: the device is not there; falling back in silence would make all worthless."""
    from lipsync.core.machine import machine as described
    from lipsync.core.runtime import pick_device

    device = pick_device(check.name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    facts = described() | {"device": str(device), "commit": commit.stdout.strip(), "numpy": _version("numpy")}
    facts |= {"pack": json.loads((check.pack / "pack.json").read_text()), "mediapipe": _version("mediapipe")}
    if check.gpu:
        about = torch.cuda.get_device_properties(0)
        facts |= {"gpu": about.name, "gpu_gib": round(about.total_memory / 2**30, 1), "cuda": torch.version.cuda}
        x = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
        facts["matmul_tflops"] = round(2 * 4096**3 / _seconds(lambda: x @ x, check) / 1e12, 1)
    check.row(**facts)


def tests(check: Check, _: str) -> None:
    """The tests marked `gpu`."""
    report = check.file.with_suffix(".xml")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", f"--junitxml={report}", str(ROOT / "tests" / "gpu")]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  our own pytest wrote it
    failed = [
        {"test": case.get("name"), "why": (found.get("message") or "")[:600]}
        for case in cases
        for found in (*case.findall("failure"), *case.findall("error"))
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    check.row(status=status, tests=len(cases), skipped=skipped, failed=failed, pretended=not torch.cuda.is_available())


# --- speed ---


def speed(check: Check, size: str) -> None:
    """Whole warm dubs by every method: frames a second, stages, memory, and places that wait for the GPU."""
    height = int(size.removesuffix("p"))
    for method in METHODS:
        _speed_of(check, method, height)


def _speed_of(check: Check, method: str, height: int) -> None:
    from lipsync.pipelines.dub import prepare

    rows = max(8, round(ROWS[height][0] * check.share))
    config = _with_weights(check, check.config(method), height)
    start = time.perf_counter()
    ready = prepare(check.target(height), config)
    found: dict[str, Any] = {"method": method, "height": height, "rows": rows}
    found |= {"prepare_s": round(time.perf_counter() - start, 2), "mouths": len(ready.subject.bank)}
    if check.gpu:
        if ready.device.type != "cuda":
            raise RuntimeError("the product chose another device")
        torch.cuda.reset_peak_memory_stats()
    cold_s = _dub(check, config, ready, height, 16)
    warm_s = _dub(check, config, ready, height, rows)
    found |= {"first_16_rows_s": round(cold_s, 2), "frames_per_s": round(rows / warm_s, 2)}
    found["rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if check.gpu:
        found["gpu_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    check.row(**found)
    with staged(check, ready.method) as stages:
        total_s = _dub(check, config, ready, height, max(8, rows // 2))
    check.row(
        method=method, height=height, stages_ms={k: round(1000 * v / max(8, rows // 2), 2) for k, v in stages.items()},
        whole_ms=round(1000 * total_s / max(8, rows // 2), 2),
    )  # fmt: skip
    if check.gpu:
        check.row(method=method, height=height, **_waits(check, config, ready, height))
        _against_cpu(check, method, height, found["frames_per_s"])
    check.row(method=method, height=height, **_profile(check, config, ready, height))


def _dub(check: Check, config: Any, ready: Any, height: int, rows: int) -> float:
    """Seconds of a dub of so many rows, from the call to the finished file."""
    from lipsync.pipelines.dub import dub

    check.synchronize()
    start = time.perf_counter()
    receipt = dub(
        check.target(height), check.pack / "speech.wav", check.pack / f"out-{height}.mp4", config, force=True,
        prepared=ready, preview_s=rows / 25,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    if receipt.output.frames != rows or receipt.rendered_share < 0.9:
        raise RuntimeError(f"{receipt.output.frames} of {rows} frames, mouths drawn in {receipt.rendered_share:.2f}")
    return seconds


def _with_weights(check: Check, config: Any, height: int) -> Any:
    """With weights of the right sizes for a texture that learns: untrained ones draw as fast."""
    from lipsync.target.analyse import analyse
    from lipsync.textures import get_method
    from lipsync.textures.trainable import as_trainable

    learner = as_trainable(get_method(config.texture, config))
    if learner is None:
        return config
    path = check.pack / f"{config.texture}-{height}.safetensors"
    if not path.exists():
        from lipsync.store.cache import Cache

        learner.begin(analyse(check.target(height), config, Cache.of(config.cache)), "cpu").save(path)
    return replace(config, texture_weights=str(path))


def _against_cpu(check: Check, method: str, height: int, gpu_frames_per_s: float) -> None:
    """The same on this machine's CPU, all cores."""
    from lipsync.pipelines.dub import prepare

    config = _with_weights(check, check.config(method, device="cpu"), height)
    ready, rows = prepare(check.target(height), config), ROWS[height][1]
    _dub(check, config, ready, height, 8)
    found = rows / _dub(check, config, ready, height, rows)
    ratio = round(gpu_frames_per_s / found, 2)
    check.row(method=method, height=height, cpu_frames_per_s=round(found, 2), gpu_over_cpu=ratio)


@contextmanager
def staged(check: Check, method: Any) -> Iterator[dict[str, float]]:
    """Inside, seconds by stage are added up, the GPU waited for after each: their sum is longer than a dub in which
    they overlap. A stage whose function has another name by now is told with -1."""
    from lipsync.pipelines.doubt import DubDoubt
    from lipsync.render import loop, plan
    from video import read
    from video.write import VideoWriter

    places = [
        ("decode", plan, "read_rows"), ("flow", read, "half_step"), ("query", loop, "build_query"),
        ("texture", method, "render"), ("teeth", loop, "sharpen_teeth"), ("composite", loop, "composite"),
        ("watch", DubDoubt, "watch"), ("encode_queue", VideoWriter, "write"),
    ]  # fmt: skip
    spent: defaultdict[str, float] = defaultdict(float)
    kept: list[tuple[Any, str, Any]] = []
    for stage, owner, name in places:
        if not hasattr(owner, name):
            spent[stage] = -1
            continue
        kept.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, _timed(getattr(owner, name), stage, spent, check))
    try:
        yield spent
    finally:
        for owner, name, before in kept:
            delattr(owner, name) if before is None else setattr(owner, name, before)


def _timed(work: Callable, stage: str, spent: dict[str, float], check: Check) -> Callable:
    def timed(*args: Any, **named: Any) -> Any:
        check.synchronize()
        start = time.perf_counter()
        out = work(*args, **named)
        check.synchronize()
        spent[stage] += time.perf_counter() - start
        return _timed_items(out, stage, spent) if isinstance(out, Iterator) else out

    return timed


def _timed_items(items: Iterator, stage: str, spent: dict[str, float]) -> Iterator:
    while True:
        start = time.perf_counter()
        item = next(items, None)
        spent[stage] += time.perf_counter() - start
        if item is None:
            return
        yield item


def _waits(check: Check, config: Any, ready: Any, height: int) -> dict:
    """The lines of ours that make the CPU wait for the GPU, with how often a row they do."""
    seen: Counter[str] = Counter()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, category, file, line, *_: seen.update(  # type: ignore[assignment]
                [f"{Path(file).relative_to(ROOT) if str(file).startswith(str(ROOT)) else Path(file).name}:{line}"]
                if "synchronizing" in str(message) else []
            )  # fmt: skip
            _dub(check, config, ready, height, _PROFILED_ROWS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"waits_per_row": {line: n / _PROFILED_ROWS for line, n in seen.most_common(15)}}


def _profile(check: Check, config: Any, ready: Any, height: int) -> dict:
    """What torch's profiler says: the operations that take longest, how busy the GPU is; a trace beside the JSON."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if check.gpu else [])]
    with profile(activities=kinds) as profiler:
        seconds = _dub(check, config, ready, height, _PROFILED_ROWS)
    key = "self_device_time_total" if check.gpu else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, key))
    total_s = sum(getattr(event, key) for event in events) / 1e6
    if height == _TRACED:
        profiler.export_chrome_trace(str(check.file.parent / f"{config.texture}-{height}p.trace.json.gz"))
    longest = {event.key: round(getattr(event, key) / 1000 / _PROFILED_ROWS, 3) for event in events[:15]}
    kernels = sum(event.count for event in events if getattr(event, key) > 0) / _PROFILED_ROWS
    return {
        "profiled_ms_per_row": round(1000 * seconds / _PROFILED_ROWS, 2), "busy_ms_per_row": round(
            1000 * total_s / _PROFILED_ROWS, 2
        ), "operations_per_row": round(kernels), "longest_ms_per_row": longest,
    }  # fmt: skip


# --- training ---


class Enough(Exception):
    """The time of a training is over."""


def train(check: Check, method: str) -> None:
    """Steps a second of the larger recipe, without its first steps; and of the same on the CPU."""
    gpu = _trained(check, method, check.name, check.train_s)
    check.row(**gpu)
    if check.gpu:
        cpu = _trained(check, method, "cpu", _CPU_TRAINS_S)
        check.row(**cpu, gpu_over_cpu=round(gpu["steps_per_s"] / max(cpu["steps_per_s"], 1e-9), 1))


def _trained(check: Check, method: str, device: str, seconds: float) -> dict:
    from lipsync.config.load import load
    from lipsync.learning.textures import train_texture
    from lipsync.store.cache import Cache
    from lipsync.target.analyse import analyse
    from lipsync.textures import get_method
    from lipsync.textures.trainable import as_trainable

    config = check.config(device=device)
    subject = analyse(check.target(), config, Cache.of(config.cache))
    recipe = load(RECIPES / f"texture-{method}-gpu.toml")
    learner = as_trainable(get_method(recipe.texture, recipe))
    if learner is None:
        raise RuntimeError(f"{method} learns nothing")
    times, losses = [], []

    def hook(step: str, done: int, total: int) -> None:
        times.append(time.perf_counter())
        if times[-1] - times[0] > seconds and len(times) >= 2:
            raise Enough

    hook.note = losses.append  # type: ignore[attr-defined]
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    with suppress(Enough):
        train_texture(learner, subject, hook, device)
    first = min(5, len(times) - 2)
    found = {"method": learner.name, "device": device, "batch": learner.config.batch, "steps": len(times)}
    found |= {"parameters": learner.n_parameters, "steps_per_s": round(
        (len(times) - 1 - first) / (times[-1] - times[first]), 3
    )}  # fmt: skip
    found |= {"losses_first": losses[0], "losses_last": losses[-1]} if losses else {}
    if device != "cpu":
        found["gpu_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


# --- codecs ---


def codecs(check: Check, _: str) -> None:
    """Frames a second of FFmpeg's encoders and decoders for NVIDIA's hardware, beside those for the CPU."""
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    from video.codecs import does_not_work

    check.row(
        devices=hwdevices_available(),
        does_not_work={name: does_not_work(name) for name in ("h264_nvenc", "hevc_nvenc")},
    )
    path = check.target(1080)
    for kind in ("cpu", "cuda"):
        try:
            accel = None if kind == "cpu" else HWAccel("cuda", allow_software_fallback=False)
            with av.open(str(path), hwaccel=accel) as container:
                container.streams.video[0].thread_type = "AUTO"
                start = time.perf_counter()
                pictures = [frame for _, frame in zip(range(100), container.decode(video=0), strict=False)]
                fps = len(pictures) / (time.perf_counter() - start)
            check.row(decode=kind, frames_per_s=round(fps, 1), format=pictures[0].format.name)
        except Exception as trouble:
            check.row(decode=kind, error=repr(trouble)[:300])
    for name in ("libx264", "h264_nvenc"):
        check.row(encode=name, **_encoded(pictures, name))


def _encoded(pictures: list, name: str) -> dict:
    import av

    from video.codecs import does_not_work

    if why := does_not_work(name):
        return {"error": why}
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
    context.framerate, context.time_base = 25, pictures[0].time_base
    context.options = {"preset": "fast", **({"crf": "12"} if name == "libx264" else {"rc": "vbr", "cq": "12"})}
    start = time.perf_counter()
    size = sum(
        packet.size
        for frame in [*pictures, None]
        for packet in context.encode(frame and frame.reformat(format="yuv420p"))
    )
    return {"frames_per_s": round(len(pictures) / (time.perf_counter() - start), 1), "bytes": size}


def _seconds(work: Callable[[], object], check: Check, times: int = 20) -> float:
    """Of one call, warm: the median of some."""
    found = []
    for _ in range(times):
        check.synchronize()
        start = time.perf_counter()
        work()
        check.synchronize()
        found.append(time.perf_counter() - start)
    return sorted(found)[times // 2]


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
