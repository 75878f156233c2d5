"""What a large catalogue will cost: processor seconds, disk and memory of each part of the work, for one target and one core.

    python -m benchmarks.catalogue [--target FILE] [--speech FILE] [--short-s 2]

Every figure is of one thread. The target is analysed, prepared again from the cache, and made to say two speeches of different lengths:
what a job costs at all and what each of its frames costs are told apart by them. docs/catalogue.md says what to do with the figures.
"""

from __future__ import annotations

import os

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # before anything counts cores

import resource  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from benchmarks.common import SAMPLES, config_of, parser, report, sample_target  # noqa: E402


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
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--target", type=Path, help="default: the shipped 1280x720 clip")
    options.add_argument("--speech", type=Path, default=SAMPLES / "speech.wav")
    options.add_argument("--short-s", type=float, default=2.0, help="how much of it the shorter job says")
    args = options.parse_args()
    import torch

    from lipsync.cache import Cache
    from lipsync.dub import dub, prepare
    from video.read import probe

    torch.set_num_threads(1)
    config, target = config_of(args), args.target or sample_target()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        cache, cold = Cache(Path(folder) / "cache"), ProcessorTime()
        prepare(target, config, cache=cache, hook=cold)
        first_s = cold.seconds
        warm = ProcessorTime()
        ready = prepare(target, config, cache=cache, hook=warm)
        again_s = warm.seconds
        jobs = []
        for length_s in (args.short_s, None):
            watch, out = ProcessorTime(), Path(folder) / "out.mp4"
            facts = dub(target, args.speech, out, config, preview_s=length_s, cache=cache, hook=watch, force=True, prepared=ready).to_plain()
            made = facts["output"]
            jobs.append({"frames": made["frames"], "duration_s": made["duration_s"], "bytes": made["bytes"], "cpu_s": watch.seconds, "steps": watch.steps})
        stored = {}
        for entry in cache.entries():
            stored[entry.step] = stored.get(entry.step, 0) + entry.size_bytes
    stream = probe(target)
    short, long = jobs
    per_frame_s = (long["cpu_s"] - short["cpu_s"]) / (long["frames"] - short["frames"])
    minutes = float(stream.clock.duration_s) / 60
    report("catalogue", {
        "target": {"name": target.name, "width": stream.width, "height": stream.height, "frames": len(stream), "minutes": minutes},
        "texture": config.texture,
        "first_time": {"cpu_s": first_s, "steps": cold.steps},
        "from_the_cache": {"cpu_s": again_s},
        "jobs": jobs,
        "per_frame_cpu_s": per_frame_s, "frames_per_core_second": 1 / per_frame_s, "per_job_cpu_s": short["cpu_s"] - per_frame_s * short["frames"],
        "output_mb_per_minute": long["bytes"] / 1e6 / long["duration_s"] * 60,
        "cache_mb": {step: n_bytes / 1e6 for step, n_bytes in stored.items()}, "cache_mb_per_target_minute": sum(stored.values()) / 1e6 / minutes,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    })  # fmt: skip


if __name__ == "__main__":
    main()
