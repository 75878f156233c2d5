"""What a large catalogue will cost: processor seconds, disk and memory of each part of the work, for one target and one
core.

    python -m benchmarks.catalogue [--target FILE] [--speech FILE] [--short-s 2]

Every figure is of one thread. The target is analysed, prepared again from the cache, and made to say two speeches of
different lengths: what a job costs at all and what each of its frames costs are told apart by them. docs/catalogue.md
says what to do with the figures."""

from __future__ import annotations

import os

# Before anything counts cores.
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
)

import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import SAMPLES, config_of, parser, report, sample_target
from lipsync.config.schema import DubConfig
from lipsync.store.cache import Cache

if TYPE_CHECKING:
    from lipsync.pipelines.models import Prepared


class ProcessorTime:
    """A hook that counts the processor seconds of each step; `steps` holds them by name."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = self._began = time.process_time()

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.process_time()
        self.steps[step] = self.steps.get(step, 0.0) + now - self._last
        self._last = now

    @property
    def seconds(self) -> float:
        return time.process_time() - self._began


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--target", type=Path, help="default: the shipped 1280x720 clip")
    options.add_argument("--speech", type=Path, default=SAMPLES / "speech.wav")
    options.add_argument("--short-s", type=float, default=2.0, help="how much of it the shorter job says")
    args = options.parse_args()
    config, target = config_of(args), args.target or sample_target()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        report("catalogue", measures(target, args.speech, args.short_s, config, Path(folder)))


def measures(target: Path, speech: Path, short_s: float, config: DubConfig, folder: Path) -> dict:
    """All figures, with an empty cache inside the folder."""
    import torch

    from lipsync.pipelines.dub import prepare
    from video.probe import probe

    torch.set_num_threads(1)
    cache, stream, cold = Cache(folder / "cache"), probe(target), ProcessorTime()
    prepare(target, config, cache=cache, hook=cold)
    first_s, warm = cold.seconds, ProcessorTime()
    ready = prepare(target, config, cache=cache, hook=warm)
    again_s = warm.seconds
    short, long = (job(target, speech, length_s, config, folder, cache, ready) for length_s in (short_s, None))
    per_frame_s = (long["cpu_s"] - short["cpu_s"]) / (long["frames"] - short["frames"])
    stored = dict.fromkeys((entry.step for entry in cache.entries()), 0.0)
    for entry in cache.entries():
        stored[entry.step] += entry.size_bytes / 1e6
    minutes = float(stream.clock.duration_s) / 60
    return {
        "target": {
            "name": target.name,
            "width": stream.width,
            "height": stream.height,
            "frames": len(stream),
            "minutes": minutes,
        },
        "texture": config.texture,
        "first_time": {"cpu_s": first_s, "steps": cold.steps},
        "from_the_cache": {"cpu_s": again_s},
        "jobs": [short, long],
        "frames_per_core_second": 1 / per_frame_s,
        "per_job_cpu_s": short["cpu_s"] - per_frame_s * short["frames"],
        "output_mb_per_minute": long["bytes"] / 1e6 / long["duration_s"] * 60,
        "cache_mb": stored,
        "cache_mb_per_target_minute": sum(stored.values()) / minutes,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def job(
    target: Path, speech: Path, length_s: float | None, config: DubConfig, folder: Path, cache: Cache, ready: Prepared
) -> dict:
    """What a dub of a prepared target took; length_s: of its speech, None = all."""
    from lipsync.pipelines.dub import dub

    timer = ProcessorTime()
    receipt = dub(
        target,
        speech,
        folder / "out.mp4",
        config,
        preview_s=length_s,
        cache=cache,
        hook=timer,
        force=True,
        prepared=ready,
    )
    made = receipt.output
    return {
        "frames": made.frames,
        "duration_s": made.duration_s,
        "bytes": made.bytes,
        "cpu_s": timer.seconds,
        "steps": timer.steps,
    }


if __name__ == "__main__":
    main()
