"""What the benchmarks share: where footage is, one place that dubs, one shape of answer."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from lipsync.config.load import load
from lipsync.config.schema import DubConfig
from lipsync.core.errors import LipsyncError
from lipsync.core.machine import commit, machine
from lipsync.metrics.lips import bootstrap_interval
from lipsync.store.cache import Cache
from training import grid

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
DATA = Path(os.environ.get("LIPSYNC_DATA", ROOT.parent / "shared" / "data"))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of every benchmark: a folder for its files (kept, so that a second run is warm) and configuration
    settings."""
    made = argparse.ArgumentParser(description=(description or "").partition("\n\n")[0])
    made.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "lipsync-benchmarks",
        help="folder for dubs and the cache",
    )
    made.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return made


def config_of(args: argparse.Namespace) -> DubConfig:
    """The configuration of the options, with the cache inside the work folder."""
    args.work.mkdir(parents=True, exist_ok=True)
    config = load(None, args.set)
    return replace(config, cache=replace(config.cache, folder=str(args.work / "cache")))


def make_dub(target: Path, speech: Path, out: Path, config: DubConfig, footage: tuple[Path, ...] = ()) -> dict:
    """Dubs, and returns the receipt's facts."""
    from lipsync.pipelines.dub import dub

    return dub(target, speech, out, config, footage=footage, cache=Cache.of(config.cache), force=True).to_plain()


def dub_apart(target: Path, speech: Path, out: Path, config_set: list[str], cache: Path) -> dict:
    """Dubs in a process of its own: the receipt's facts, and "peak_rss_mib" of that process."""
    command = [sys.executable, "-m", "lipsync", "dub", str(target), str(speech), "-o", str(out), "--force", "--quiet"]
    for setting in (*config_set, f"cache.folder={cache}"):
        command += ["--set", setting]
    child = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {child.returncode}")
    facts = json.loads(out.with_name(out.name + ".json").read_text())
    return facts | {"peak_rss_mib": usage.ru_maxrss / 1024}


def grid_clips(split: str) -> list[Path]:
    """Clips of GRID speaker s1 in the manifest's order. Ends the benchmark where the footage is absent."""
    try:
        return grid.clips(split)
    except LipsyncError as trouble:
        raise SystemExit(str(trouble)) from None


def joined(clips: list[Path], out: Path) -> Path:
    """The clips as one video, made once."""
    from training.concat import join_clips

    if not out.exists():
        join_clips(clips, out)
    return out


def sample_target() -> Path:
    """The presenter's target clip. Ends the benchmark where it has not been rendered."""
    path = SAMPLES / "target.mp4"
    if not path.exists():
        raise SystemExit(f"{path} is missing; render it with: python -m samples.presenter target -o {path}")
    return path


def with_interval(values: list[float]) -> dict:
    """Mean over clips and its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values)
    return {"mean": float(np.mean(values)), "low": low, "high": high, "n": len(values)}


def means_of(rows: list[dict]) -> dict:
    """`with_interval` of every number in equally built nested dictionaries; None and text are left out."""
    out = {}
    for name, first in rows[0].items():
        column = [row.get(name) for row in rows]
        if isinstance(first, dict):
            out[name] = means_of([value for value in column if isinstance(value, dict)])
        else:
            numbers = [
                float(value) for value in column if isinstance(value, (int, float)) and not isinstance(value, bool)
            ]
            if numbers:
                out[name] = with_interval(numbers)
    return out


def report(benchmark: str, measures: dict) -> None:
    """Prints one JSON object: the measures, the commit they were taken at, and the machine."""

    found = commit()
    taken = {
        "benchmark": benchmark,
        "commit": found.removesuffix("+changes"),
        "changed_since": found.endswith("+changes"),
    }
    print(json.dumps(taken | {"machine": machine()} | measures, indent=1))
