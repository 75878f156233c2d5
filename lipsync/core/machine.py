"""What figures were taken on: the machine, and the commit of the program."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from lipsync.core.environment import cores
from lipsync.core.installation import HOME


def machine() -> dict[str, object]:
    """The processor, its cores that this process may use, GPUs, memory in GiB, system, Python and torch."""
    import torch

    return {
        "cpu": processor(),
        "cores": cores(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "memory_gib": _memory_gib(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """Its name; empty where the system does not tell."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def commit() -> str:
    """The commit of the clone that this program runs from, with "+changes" where files differ from it; "" where it is
    no clone, or git is not there."""
    if not (HOME / ".git").exists():
        return ""
    found = _git("rev-parse", "HEAD")
    return f"{found}+changes" if found and _git("status", "--porcelain", "--untracked-files=no") else found


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=HOME, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
